-- Counts what `prune_host` would remove after `prune_history`, one page. Returns one row per table, and where the next
-- page begins.
-- $1 before timestamptz; where the page begins: $2 time text, $3 execution id uuid; $4 executions at most bigint.
-- Index: as `prune_host`; without those this scans the tables.
-- Race-free: reads only.
WITH picked AS MATERIALIZED (
    SELECT host.id, host.started_at, pg_column_size(host.execution_state) AS bytes
    FROM public.workflowexecution AS host
    WHERE host.started_at < $1 AT TIME ZONE 'utc'
      AND host.started_at >= $2::timestamp
      AND (host.started_at, host.id) > ($2::timestamp, $3)
      AND coalesce(host.completed_at, host.started_at) < $1 AT TIME ZONE 'utc'
      AND host.status NOT IN ('running', 'paused', 'waiting_for_signal')
      AND NOT (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL)
      AND NOT EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = host.id)
      AND NOT EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.replay_of = host.id)
      AND NOT EXISTS (
          SELECT
          FROM workflow_worker.children AS family
          JOIN workflow_worker.run_queue AS queued ON queued.execution_id = family.parent_id
          WHERE family.child_id = host.id)
      AND NOT EXISTS (
          SELECT
          FROM workflow_worker.children AS family
          JOIN workflow_worker.run_queue AS queued ON queued.execution_id = family.child_id
          WHERE family.parent_id = host.id)
      AND NOT EXISTS (
          SELECT
          FROM workflow_worker.finished AS ended
          WHERE ended.execution_id = host.id AND ended.finished_at >= $1)
    ORDER BY host.started_at, host.id
    LIMIT $4
),
last AS (
    SELECT picked.started_at::text AS at, picked.id
    FROM picked
    ORDER BY picked.started_at DESC, picked.id DESC
    LIMIT 1
)
SELECT
    counted.table_name,
    counted.rows,
    counted.bytes,
    last.at AS last_at,
    last.id AS last_id
FROM (
    SELECT
        'public.workflowexecution' AS table_name,
        count(*) AS rows,
        coalesce(sum(coalesce(picked.bytes, 0) + 200), 0)::bigint AS bytes
    FROM picked
    UNION ALL
    SELECT 'public.executionlog', count(*), coalesce(sum(pg_column_size(entry.message) + 100), 0)::bigint
    FROM picked
    JOIN public.executionlog AS entry ON entry.execution_id = picked.id
    UNION ALL
    SELECT
        'public.workflowsignal',
        count(*),
        coalesce(sum(coalesce(pg_column_size(there.signal_data), 0) + 100), 0)::bigint
    FROM picked
    JOIN public.workflowsignal AS there ON there.execution_id = picked.id
    UNION ALL
    SELECT
        'workflow_worker.finished',
        count(*),
        coalesce(sum(coalesce(pg_column_size(there.checkpoint), 0) + 150), 0)::bigint
    FROM picked
    JOIN workflow_worker.finished AS there ON there.execution_id = picked.id
    UNION ALL
    SELECT 'workflow_worker.children', count(*), count(*) * 150
    FROM picked
    JOIN workflow_worker.children AS there ON there.child_id = picked.id
) AS counted
LEFT JOIN last ON true;
