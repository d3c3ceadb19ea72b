-- Removes what the worker keeps of pruned executions whose host row has gone without a word (triggers were off): one page.
-- Returns one row per table, with what was removed or would be, and where the next page begins.
-- $1 where the page begins, execution id uuid; $2 executions to look at bigint, $3 key of the advisory lock bigint,
-- $4 whether only to count boolean.
-- Index: the primary keys, in the order of finished_pkey.
-- Race-free: one batch at a time. An id is never used twice, so a host row that has gone does not come back.
WITH lock AS MATERIALIZED (
    SELECT
        $4 OR pg_try_advisory_xact_lock($3) AS is_mine,
        set_config('synchronous_commit', 'off', true) AS synchronous_commit,
        set_config('lock_timeout', '200ms', true) AS lock_timeout
),
page AS MATERIALIZED (
    SELECT ended.execution_id, ended.pruned_at
    FROM workflow_worker.finished AS ended
    WHERE (SELECT lock.is_mine FROM lock)
      AND ended.execution_id > $1
    ORDER BY ended.execution_id
    LIMIT $2
),
orphan AS MATERIALIZED (
    SELECT page.execution_id
    FROM page
    WHERE page.pruned_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM public.workflowexecution AS host WHERE host.id = page.execution_id)
      AND NOT EXISTS (
          SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = page.execution_id)
),
step AS MATERIALIZED (
    SELECT there.execution_id, pg_column_size(there.output) + 150 AS bytes
    FROM workflow_worker.steps AS there
    WHERE there.execution_id = ANY (ARRAY(SELECT orphan.execution_id FROM orphan))
),
ended AS MATERIALIZED (
    SELECT there.execution_id, coalesce(pg_column_size(there.checkpoint), 0) + 150 AS bytes
    FROM workflow_worker.finished AS there
    WHERE there.execution_id = ANY (ARRAY(SELECT orphan.execution_id FROM orphan))
),
child AS MATERIALIZED (
    SELECT there.child_id, 150 AS bytes
    FROM workflow_worker.children AS there
    WHERE there.child_id = ANY (ARRAY(SELECT orphan.execution_id FROM orphan))
),
removed_step AS (
    DELETE FROM workflow_worker.steps
    WHERE steps.execution_id = ANY (ARRAY(SELECT orphan.execution_id FROM orphan WHERE NOT $4))
),
removed_ended AS (
    DELETE FROM workflow_worker.finished
    WHERE finished.execution_id = ANY (ARRAY(SELECT orphan.execution_id FROM orphan WHERE NOT $4))
),
removed_child AS (
    DELETE FROM workflow_worker.children
    WHERE children.child_id = ANY (ARRAY(SELECT orphan.execution_id FROM orphan WHERE NOT $4))
)
SELECT
    removed.table_name,
    removed.rows,
    removed.bytes,
    lock.is_mine,
    (SELECT count(*) FROM page) AS looked_at,
    (SELECT page.execution_id FROM page ORDER BY page.execution_id DESC LIMIT 1) AS last_id
FROM lock
CROSS JOIN (
    SELECT 'workflow_worker.steps' AS table_name, count(*) AS rows, coalesce(sum(step.bytes), 0)::bigint AS bytes FROM step
    UNION ALL
    SELECT 'workflow_worker.finished', count(*), coalesce(sum(ended.bytes), 0)::bigint FROM ended
    UNION ALL
    SELECT 'workflow_worker.children', count(*), coalesce(sum(child.bytes), 0)::bigint FROM child
) AS removed;
