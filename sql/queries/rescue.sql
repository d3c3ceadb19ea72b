-- Makes up to $2 executions of dead workers due again. Returns how many.
-- $1 worker ids uuid[] (as `heartbeat` named them), $2 limit bigint.
-- Index: run_queue_leased.
-- Race-free: looks once more whether each is still silent, and keeps its row locked until the commit, so that a
-- heartbeat that comes late waits, finds its row and knows nothing of the rescue; its fences are void all the same.
WITH dead AS MATERIALIZED (
    SELECT id
    FROM workflow_worker.workers
    WHERE id = ANY ($1)
      AND heartbeat_at < now() - silence
    FOR UPDATE SKIP LOCKED
),
orphaned AS MATERIALIZED (
    SELECT execution_id
    FROM workflow_worker.run_queue
    WHERE worker_id IN (SELECT id FROM dead)
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),
rescued AS (
    UPDATE workflow_worker.run_queue AS queued
    SET worker_id = NULL,
        ready = true,
        run_at = now(),
        rescues = queued.rescues + 1
    FROM orphaned
    WHERE queued.execution_id = orphaned.execution_id
    RETURNING queued.execution_id
)
SELECT
    (SELECT count(*) FROM rescued) AS rescued,
    (SELECT count(*) FROM dead) AS dead,
    (SELECT count(pg_notify('workflow_worker', '')) FROM (SELECT FROM rescued LIMIT 1) AS any_rescued) AS notifications;
