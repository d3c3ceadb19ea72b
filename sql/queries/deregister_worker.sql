-- Takes this process off the workers at its end, after it has handed everything back; what it still holds is made due.
-- $1 worker uuid.
-- Index: workers_pkey, run_queue_leased.
-- Race-free: its own row and its own leases.
WITH released AS (
    UPDATE workflow_worker.run_queue
    SET worker_id = NULL,
        ready = true,
        run_at = now()
    WHERE worker_id = $1
    RETURNING execution_id
),
gone AS (
    DELETE FROM workflow_worker.workers
    WHERE id = $1
)
SELECT
    (SELECT count(*) FROM released) AS released,
    (SELECT count(pg_notify('workflow_worker', '')) FROM (SELECT FROM released LIMIT 1) AS any_released) AS notifications;
