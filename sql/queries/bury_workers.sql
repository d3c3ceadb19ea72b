-- Removes the rows of dead workers that hold nothing any more. Returns their ids and names.
-- $1 worker ids uuid[].
-- Index: workers_pkey, run_queue_leased.
-- Race-free: a worker that lives after all finds its row missing at its next heartbeat, drops what it runs and takes a
-- fresh identity; a claim of it that slips through is found by `repair`.
DELETE FROM workflow_worker.workers
WHERE id = ANY ($1)
  AND heartbeat_at < now() - silence
  AND NOT EXISTS (SELECT FROM workflow_worker.run_queue WHERE run_queue.worker_id = workers.id)
RETURNING id, name;
