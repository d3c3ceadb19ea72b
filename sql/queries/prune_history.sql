-- Removes the steps of executions that ended before a time: one batch. Returns one row per table, with what was removed.
-- $1 before timestamptz, $2 executions at most bigint, $3 rows at most bigint, $4 key of the advisory lock bigint.
-- Index: finished_unpruned in its order, steps_pkey, run_queue_replays; the primary keys.
-- LATERAL with its LIMIT, and arrays instead of joins: whatever the planner believes of the tables, it cannot take a scan
-- of a whole one for cheaper.
-- Race-free: one batch at a time (`is_mine` false: another is at work). Nothing waits for a row lock, and the commit not
-- for the disk: if a crash loses it, the same is removed again. The host rows are kept as they are until the commit, so
-- whoever resumes an execution does so before, and it is left alone, or after.
--
-- Of what the worker keeps of an execution, `finished` stays as long as the host row is there: a resume without its
-- checkpoint would run everything again. Where the host row has gone (triggers were off), it goes as well.
-- Steps go in the order of their numbers, the input first: whoever finds a checkpoint and no input knows that history was
-- removed. An execution with more steps than $3 takes several batches.
WITH lock AS MATERIALIZED (
    SELECT
        pg_try_advisory_xact_lock($4) AS is_mine,
        set_config('synchronous_commit', 'off', true) AS synchronous_commit,
        set_config('lock_timeout', '200ms', true) AS lock_timeout
),
picked AS MATERIALIZED (
    SELECT ended.execution_id, host.id IS NULL AS is_gone
    FROM workflow_worker.finished AS ended
    LEFT JOIN public.workflowexecution AS host ON host.id = ended.execution_id
    WHERE (SELECT lock.is_mine FROM lock)
      AND ended.pruned_at IS NULL
      AND ended.finished_at < $1
      AND (host.id IS NULL
           OR (host.status NOT IN ('running', 'paused', 'waiting_for_signal')
               AND NOT (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL)))
      AND NOT EXISTS (
          SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = ended.execution_id)
      AND NOT EXISTS (
          SELECT FROM workflow_worker.run_queue AS queued WHERE queued.replay_of = ended.execution_id)
    ORDER BY ended.finished_at
    LIMIT $2
    FOR UPDATE OF ended SKIP LOCKED
),
kept AS MATERIALIZED (
    SELECT host.id
    FROM public.workflowexecution AS host
    WHERE host.id = ANY (ARRAY(SELECT picked.execution_id FROM picked))
      AND host.status NOT IN ('running', 'paused', 'waiting_for_signal')
      AND NOT (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL)
    FOR SHARE SKIP LOCKED
),
candidate AS MATERIALIZED (
    SELECT picked.execution_id, picked.is_gone
    FROM picked
    WHERE picked.is_gone OR picked.execution_id IN (SELECT kept.id FROM kept)
),
doomed AS MATERIALIZED (
    SELECT candidate.execution_id, step.seq, step.place
    FROM candidate
    CROSS JOIN LATERAL (
        SELECT there.seq, there.ctid AS place
        FROM workflow_worker.steps AS there
        WHERE there.execution_id = candidate.execution_id
        ORDER BY there.seq
        LIMIT $3
    ) AS step
    ORDER BY candidate.execution_id, step.seq
    LIMIT $3
),
-- All that is not cut off by the limit, which can be the last one only.
complete AS MATERIALIZED (
    SELECT candidate.execution_id, candidate.is_gone
    FROM candidate
    WHERE (SELECT count(*) FROM doomed) < $3
       OR candidate.execution_id < (SELECT doomed.execution_id FROM doomed ORDER BY doomed.execution_id DESC LIMIT 1)
),
step AS (
    DELETE FROM workflow_worker.steps
    -- Steps are never updated, so a row stays in its place.
    WHERE steps.ctid = ANY (ARRAY(SELECT doomed.place FROM doomed))
    RETURNING pg_column_size(steps.output) + 150 AS bytes
),
marked AS (
    UPDATE workflow_worker.finished AS ended
    SET pruned_at = now()
    WHERE ended.execution_id = ANY (ARRAY(SELECT complete.execution_id FROM complete WHERE NOT complete.is_gone))
),
gone AS (
    DELETE FROM workflow_worker.finished AS ended
    WHERE ended.execution_id = ANY (ARRAY(SELECT complete.execution_id FROM complete WHERE complete.is_gone))
    RETURNING coalesce(pg_column_size(ended.checkpoint), 0) + 150 AS bytes
),
child AS (
    DELETE FROM workflow_worker.children
    WHERE children.child_id = ANY (ARRAY(SELECT complete.execution_id FROM complete WHERE complete.is_gone))
    RETURNING 150 AS bytes
)
SELECT
    removed.table_name,
    removed.rows,
    removed.bytes,
    lock.is_mine,
    (SELECT count(*) FROM candidate) AS looked_at
FROM lock
CROSS JOIN (
    SELECT 'workflow_worker.steps' AS table_name, count(*) AS rows, coalesce(sum(step.bytes), 0)::bigint AS bytes FROM step
    UNION ALL
    SELECT 'workflow_worker.finished', count(*), coalesce(sum(gone.bytes), 0)::bigint FROM gone
    UNION ALL
    SELECT 'workflow_worker.children', count(*), coalesce(sum(child.bytes), 0)::bigint FROM child
) AS removed;
