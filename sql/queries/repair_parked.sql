-- Makes executions due that the platform has resumed while triggers were off, and those whose worker has no row any
-- more. Returns how many.
-- $1 limit bigint.
-- Index: workflow_worker_runnable on workflowexecution, run_queue_leased.
-- Race-free: SKIP LOCKED; what is being claimed or recorded at this moment is left for the next time.
WITH lost AS MATERIALIZED (
    SELECT queued.execution_id
    FROM workflow_worker.run_queue AS queued
    WHERE (queued.worker_id IS NULL
           AND NOT queued.ready
           AND queued.run_at = 'infinity'
           AND EXISTS (
               SELECT FROM public.workflowexecution AS host
               WHERE host.id = queued.execution_id AND host.status = 'running'))
       OR (queued.worker_id IS NOT NULL
           AND queued.claimed_at < now() - interval '5 seconds'
           AND NOT EXISTS (SELECT FROM workflow_worker.workers WHERE workers.id = queued.worker_id))
    LIMIT $1
    FOR UPDATE OF queued SKIP LOCKED
)
UPDATE workflow_worker.run_queue AS queued
SET worker_id = NULL,
    ready = true,
    run_at = now()
FROM lost
WHERE queued.execution_id = lost.execution_id;
