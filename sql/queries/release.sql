-- Hands back executions that the worker holds without running them: the answer to a claim was lost, or a runner broke.
-- $1 worker uuid; one element per execution: $2 id uuid, $3 fence bigint.
-- Index: run_queue_pkey.
-- Race-free: by worker and fence.
WITH released AS (
    UPDATE workflow_worker.run_queue AS queued
    SET worker_id = NULL,
        ready = true,
        run_at = now()
    FROM unnest($2::uuid[], $3::bigint[]) AS held (execution_id, fence)
    WHERE queued.execution_id = held.execution_id
      AND queued.fence = held.fence
      AND queued.worker_id = $1
    RETURNING queued.execution_id
)
SELECT count(pg_notify('workflow_worker', '')) AS notifications
FROM (SELECT FROM released LIMIT 1) AS any_released;
