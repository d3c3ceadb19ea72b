-- Puts up to $3 runnable executions into the run queue that have no place in it: triggers were off, or the rows are
-- older than the installation. Returns how many were added.
-- $1 only rows that started within this many seconds double precision (the adoption limit), $2 the same for a quick
-- look at the newest rows only, or NULL for all of them, $3 limit bigint.
-- Index: workflow_worker_runnable on workflowexecution, run_queue_pkey.
-- Race-free: host rows first, as everywhere, and those that somebody is writing are left for the next time (their
-- trigger is adding the same row, and waiting for it would stop the dispatcher); then ON CONFLICT DO NOTHING.
WITH missing AS MATERIALIZED (
    SELECT host.id, host.status, host.next_retry_at, host.execution_state::text AS execution_state
    FROM public.workflowexecution AS host
    WHERE (host.status = 'running'
           OR (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL))
      AND host.started_at > (now() AT TIME ZONE 'utc') - make_interval(secs => least($1::double precision, coalesce($2::double precision, $1)))
      AND NOT EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = host.id)
    ORDER BY host.started_at
    LIMIT $3
    FOR NO KEY UPDATE OF host SKIP LOCKED
)
INSERT INTO workflow_worker.run_queue
    (execution_id, run_at, priority, ready, limit_key, replay_of, replay_from, revision, graph_hash, checkpoint)
SELECT
    missing.id,
    CASE WHEN missing.status = 'running' THEN now() ELSE workflow_worker.retry_time(missing.next_retry_at) END,
    coalesce(finished.priority, workflow_worker.priority_in(missing.execution_state), 5),
    missing.status = 'running',
    coalesce(finished.limit_key, workflow_worker.concurrency_key_in(missing.execution_state)),
    replay.replay_of,
    replay.replay_from,
    coalesce(finished.revision, 0),
    finished.graph_hash,
    finished.checkpoint
FROM missing
CROSS JOIN LATERAL workflow_worker.replay_in(missing.execution_state) AS replay
LEFT JOIN workflow_worker.finished ON finished.execution_id = missing.id
ON CONFLICT (execution_id) DO NOTHING;
