-- Returns what the worker holds, with what the runners must compare: somebody may have paused or terminated it.
-- $1 worker uuid.
-- Index: run_queue_leased, then the primary key of workflowexecution; as many rows as the worker has slots in use.
-- Race-free: reads only; each record checks the same again under a lock.
SELECT
    queued.execution_id,
    queued.fence,
    queued.host_version,
    host.status
FROM workflow_worker.run_queue AS queued
LEFT JOIN public.workflowexecution AS host ON host.id = queued.execution_id
WHERE queued.worker_id = $1;
