-- Counts what `prune_history` would remove, one page. Returns one row per table, and where the next page begins.
-- $1 before timestamptz; where the page begins: $2 time text, $3 execution id uuid; $4 executions at most bigint.
-- Index: finished_unpruned in its order, steps_pkey, run_queue_replays; the primary keys.
-- Race-free: reads only.
WITH picked AS MATERIALIZED (
    SELECT ended.execution_id, ended.finished_at, ended.checkpoint, host.id IS NULL AS is_gone
    FROM workflow_worker.finished AS ended
    LEFT JOIN public.workflowexecution AS host ON host.id = ended.execution_id
    WHERE ended.pruned_at IS NULL
      AND ended.finished_at < $1
      AND ended.finished_at >= $2::timestamptz
      AND (ended.finished_at, ended.execution_id) > ($2::timestamptz, $3)
      AND (host.id IS NULL
           OR (host.status NOT IN ('running', 'paused', 'waiting_for_signal')
               AND NOT (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL)))
      AND NOT EXISTS (
          SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = ended.execution_id)
      AND NOT EXISTS (
          SELECT FROM workflow_worker.run_queue AS queued WHERE queued.replay_of = ended.execution_id)
    ORDER BY ended.finished_at, ended.execution_id
    LIMIT $4
),
last AS (
    SELECT picked.finished_at::text AS at, picked.execution_id
    FROM picked
    ORDER BY picked.finished_at DESC, picked.execution_id DESC
    LIMIT 1
)
SELECT
    counted.table_name,
    counted.rows,
    counted.bytes,
    last.at AS last_at,
    last.execution_id AS last_id
FROM (
    SELECT
        'workflow_worker.steps' AS table_name,
        count(*) AS rows,
        coalesce(sum(pg_column_size(step.output) + 150), 0)::bigint AS bytes
    FROM picked
    JOIN workflow_worker.steps AS step ON step.execution_id = picked.execution_id
    UNION ALL
    SELECT
        'workflow_worker.finished',
        count(*),
        coalesce(sum(coalesce(pg_column_size(picked.checkpoint), 0) + 150), 0)::bigint
    FROM picked
    WHERE picked.is_gone
    UNION ALL
    SELECT 'workflow_worker.children', count(*), count(*) * 150
    FROM picked
    JOIN workflow_worker.children AS child ON child.child_id = picked.execution_id
    WHERE picked.is_gone
) AS counted
LEFT JOIN last ON true;
