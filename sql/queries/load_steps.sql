-- Returns what the given executions have done, in order.
-- $1 execution ids uuid[].
-- Index: steps_pkey.
-- Race-free: the caller holds the leases, so nobody else appends.
SELECT
    execution_id,
    seq,
    node_id,
    node_type,
    visit,
    attempt,
    status,
    output::text AS output,
    error,
    started_at,
    finished_at,
    scope,
    is_end
FROM workflow_worker.steps
WHERE execution_id = ANY ($1)
ORDER BY execution_id, seq;
