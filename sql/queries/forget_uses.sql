-- Removes what counts under no limit any more and that no look at its key has removed: places of leases that are over, starts
-- outside their period. At most 10,000 of each.
-- No parameters.
-- Index: none on purpose: reads both tables, which are as small as what runs and what has started; once a minute.
-- Race-free: a place whose lease is over never counts again, since no fence is drawn twice. SKIP LOCKED: waits for nobody,
-- so it can be part of no deadlock.
WITH over AS MATERIALIZED (
    SELECT used.ctid
    FROM workflow_worker.limit_uses AS used
    WHERE NOT EXISTS (
        SELECT
        FROM workflow_worker.run_queue AS queued
        WHERE queued.execution_id = used.execution_id
          AND CASE
              WHEN used.fence = 0 THEN queued.ready AND queued.worker_id IS NULL
              ELSE queued.worker_id IS NOT NULL AND queued.fence = used.fence
          END)
    LIMIT 10000
    FOR UPDATE OF used SKIP LOCKED
),
passed AS MATERIALIZED (
    SELECT start.ctid
    FROM workflow_worker.limit_starts AS start
    CROSS JOIN LATERAL workflow_worker.limit_with(start.limit_key) AS bounds
    WHERE start.taken_at <= now() - coalesce(bounds.per, interval '0')
    LIMIT 10000
    FOR UPDATE OF start SKIP LOCKED
),
places AS (
    DELETE FROM workflow_worker.limit_uses AS used
    USING over
    WHERE used.ctid = over.ctid
)
DELETE FROM workflow_worker.limit_starts AS start
USING passed
WHERE start.ctid = passed.ctid;
