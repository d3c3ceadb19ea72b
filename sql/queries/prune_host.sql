-- Removes executions of the platform that ended before a time, with their log rows and signals: one batch. Returns one
-- row per table, with what was removed.
-- $1 before timestamptz, $2 executions at most bigint, $3 log rows at most bigint, $4 key of the advisory lock bigint.
-- Index: one on workflowexecution (started_at), in its order: what has not gone by now at its beginning is what is kept
-- for a reason; one on executionlog (execution_id); workflow_worker_signals, children_parent, run_queue_replays; the
-- primary keys. Where the first two are missing, this is not run (`prune_facts`).
-- Race-free: one batch at a time (`is_mine` false: another is at work). Nothing waits for a row lock; a row that somebody
-- is writing is left for the next round, one that was resumed meanwhile is seen as such when it is locked.
--
-- Kept: what runs, waits or is to be retried; parents and children of what does (a parent reads the row of a child that
-- has ended); what a queued execution replays; what still has steps (`prune_history` goes first).
-- Log rows go first, at most $3 in a batch: the cascade then finds none, and an execution with a million of them takes
-- several batches. The trigger on DELETE removes what is left of it in the worker's own tables.
WITH lock AS MATERIALIZED (
    SELECT
        pg_try_advisory_xact_lock($4) AS is_mine,
        set_config('synchronous_commit', 'off', true) AS synchronous_commit,
        set_config('lock_timeout', '200ms', true) AS lock_timeout
),
candidate AS MATERIALIZED (
    SELECT host.id
    FROM public.workflowexecution AS host
    WHERE (SELECT lock.is_mine FROM lock)
      AND host.started_at < $1 AT TIME ZONE 'utc'
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
      AND NOT EXISTS (SELECT FROM workflow_worker.steps AS step WHERE step.execution_id = host.id)
    ORDER BY host.started_at
    LIMIT $2
    FOR UPDATE OF host SKIP LOCKED
),
doomed AS MATERIALIZED (
    SELECT entry.id, candidate.id AS execution_id
    FROM candidate
    CROSS JOIN LATERAL (
        SELECT there.id
        FROM public.executionlog AS there
        WHERE there.execution_id = candidate.id
        LIMIT $3
    ) AS entry
    ORDER BY candidate.id
    LIMIT $3
),
-- All that is not cut off by the limit, which can be the last one only.
complete AS MATERIALIZED (
    SELECT candidate.id
    FROM candidate
    WHERE (SELECT count(*) FROM doomed) < $3
       OR candidate.id < (SELECT doomed.execution_id FROM doomed ORDER BY doomed.execution_id DESC LIMIT 1)
),
log_row AS (
    DELETE FROM public.executionlog AS entry
    WHERE entry.id = ANY (ARRAY(SELECT doomed.id FROM doomed))
    RETURNING pg_column_size(entry.message) + 100 AS bytes
),
signal AS (
    SELECT count(*) AS rows, coalesce(sum(coalesce(pg_column_size(there.signal_data), 0) + 100), 0)::bigint AS bytes
    FROM public.workflowsignal AS there
    WHERE there.execution_id = ANY (ARRAY(SELECT complete.id FROM complete))
),
ended AS (
    SELECT count(*) AS rows, coalesce(sum(coalesce(pg_column_size(there.checkpoint), 0) + 150), 0)::bigint AS bytes
    FROM workflow_worker.finished AS there
    WHERE there.execution_id = ANY (ARRAY(SELECT complete.id FROM complete))
),
child AS (
    SELECT count(*) AS rows, count(*) * 150 AS bytes
    FROM workflow_worker.children AS there
    WHERE there.child_id = ANY (ARRAY(SELECT complete.id FROM complete))
),
execution AS (
    DELETE FROM public.workflowexecution AS host
    WHERE host.id = ANY (ARRAY(SELECT complete.id FROM complete))
    RETURNING coalesce(pg_column_size(host.execution_state), 0) + 200 AS bytes
)
SELECT
    removed.table_name,
    removed.rows,
    removed.bytes,
    lock.is_mine,
    (SELECT count(*) FROM candidate) AS looked_at
FROM lock
CROSS JOIN (
    SELECT
        'public.workflowexecution' AS table_name,
        count(*) AS rows,
        coalesce(sum(execution.bytes), 0)::bigint AS bytes
    FROM execution
    UNION ALL
    SELECT 'public.executionlog', count(*), coalesce(sum(log_row.bytes), 0)::bigint FROM log_row
    UNION ALL
    SELECT 'public.workflowsignal', signal.rows, signal.bytes FROM signal
    UNION ALL
    SELECT 'workflow_worker.finished', ended.rows, ended.bytes FROM ended
    UNION ALL
    SELECT 'workflow_worker.children', child.rows, child.bytes FROM child
) AS removed;
