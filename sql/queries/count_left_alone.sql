-- Counts runnable host rows that have no place in the run queue and are too old to be taken on by surprise.
-- $1 the adoption limit in seconds double precision.
-- Index: workflow_worker_runnable on workflowexecution, run_queue_pkey.
-- Race-free: reads only.
SELECT count(*) AS left_alone
FROM public.workflowexecution AS host
WHERE (host.status = 'running'
       OR (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL))
  AND host.started_at <= (now() AT TIME ZONE 'utc') - make_interval(secs => $1)
  AND NOT EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = host.id);
