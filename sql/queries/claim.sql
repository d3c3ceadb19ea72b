-- Takes up to $2 due executions under a lease and returns them with all that a first run needs. A row with is_claimed
-- false is one that was put to wait for a limit instead.
-- $1 worker uuid; $2 free slots bigint.
-- Index: run_queue_due, read up to $2 rows deep, and run_queue_timed, up to 100 rows deeper, whatever else is in the table.
-- Race-free: SKIP LOCKED leaves rows that another claim is taking; a worker that was declared dead (its row in workers
-- is gone) gets nothing. Locks rows of run_queue only; and the keys of limits, without waiting for them (take_places).
-- Does not wait for the disk (synchronous_commit off, for this statement): if a crash of the server loses the claim, the
-- row is due again and this worker's records find another lease there, or none. The fence could be drawn a second time
-- then; that is why records name the worker and the revision as well.
WITH ready_rows AS MATERIALIZED (
    SELECT execution_id, (run_at AT TIME ZONE 'UTC') - priority * interval '1 minute' AS place
    FROM workflow_worker.run_queue
    WHERE ready
      AND worker_id IS NULL
      AND held_by IS NULL
      AND EXISTS (SELECT FROM workflow_worker.workers WHERE workers.id = $1)
      AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
    ORDER BY (run_at AT TIME ZONE 'UTC') - priority * interval '1 minute', execution_id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),
-- Delays and retries whose time has come. They were not touched when it came.
timed_rows AS MATERIALIZED (
    SELECT execution_id, (run_at AT TIME ZONE 'UTC') - priority * interval '1 minute' AS place
    FROM workflow_worker.run_queue
    WHERE NOT ready
      AND worker_id IS NULL
      AND run_at < 'infinity'
      AND run_at <= now()
      AND EXISTS (SELECT FROM workflow_worker.workers WHERE workers.id = $1)
      AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
    ORDER BY run_at
    LIMIT $2 + 100
    FOR UPDATE SKIP LOCKED
),
-- MATERIALIZED here and above: without it the planner may run the subquery again and lock more rows than LIMIT says.
due AS MATERIALIZED (
    SELECT chosen.execution_id, chosen.place, nextval('workflow_worker.fence') AS fence
    FROM (
        SELECT candidates.execution_id, candidates.place
        FROM (SELECT * FROM ready_rows UNION ALL SELECT * FROM timed_rows) AS candidates
        ORDER BY candidates.place, candidates.execution_id
        LIMIT $2
    ) AS chosen
),
-- They take their place in the order of what is due: by run_at alone, one with a high priority would stay behind all that
-- came due before it.
overdue AS (
    UPDATE workflow_worker.run_queue AS queued
    SET ready = true,
        held_by = NULL
    FROM timed_rows
    WHERE queued.execution_id = timed_rows.execution_id
      AND timed_rows.execution_id NOT IN (SELECT due.execution_id FROM due)
),
-- A scalar subquery and no EXISTS, which would become a join: where there are no limits, the function is not called.
limited AS MATERIALIZED (
    SELECT place.execution_id, place.is_taken, place.is_held, place.limit_keys
    FROM workflow_worker.take_places(
        ARRAY(SELECT due.execution_id FROM due ORDER BY due.place, due.execution_id),
        ARRAY(SELECT due.fence FROM due ORDER BY due.place, due.execution_id)) AS place
    WHERE (SELECT true FROM workflow_worker.limits LIMIT 1)
),
claimed AS (
    UPDATE workflow_worker.run_queue AS queued
    SET worker_id = $1,
        fence = due.fence,
        claimed_at = now(),
        held_by = NULL
    FROM due
    LEFT JOIN limited ON limited.execution_id = due.execution_id
    WHERE queued.execution_id = due.execution_id
      AND coalesce(limited.is_taken, true)
    RETURNING queued.*
)
SELECT
    due.execution_id,
    claimed.execution_id IS NOT NULL AS is_claimed,
    -- The limits that it counts under, or NULL.
    limited.limit_keys,
    claimed.fence,
    claimed.revision,
    -- Of the same snapshot as the host row, not of the row that was locked: a write of somebody else in between must
    -- show as one that the runner has not seen.
    seen.host_version,
    claimed.rescues,
    claimed.graph_hash,
    claimed.checkpoint::text AS checkpoint,
    host.id IS NOT NULL AS host_row_exists,
    host.workflow_id,
    host.workflow_version,
    host.execution_id AS execution_name,
    host.status,
    -- Within what any clock can hold: the columns take infinity, and years that no date type knows.
    least(greatest(host.started_at, '0001-01-01'), '9999-12-31') AS started_at,
    host.completed_at IS NOT NULL AS is_completed,
    host.current_node_id,
    host.execution_state::text AS execution_state,
    host.retry_count,
    host.next_retry_at IS NOT NULL AS has_next_retry,
    coalesce(host.next_retry_at <= now() AT TIME ZONE 'utc', false) AS is_retry_due,
    -- Names one version of the workflow's row: a graph that was read under it need not be read again.
    workflow.xmin::text || workflow.ctid::text AS workflow_row_version,
    coalesce(child.depth, 0) AS depth,
    child.cancel_reason,
    claimed.timed_from,
    claimed.replay_of,
    claimed.replay_from,
    -- How long it has been due. (The column takes infinity, and one such row must not stop the claims.)
    (extract(epoch FROM clock_timestamp() - least(greatest(claimed.run_at, '0001-01-01'), clock_timestamp())) * 1000)
        ::double precision AS late_by_ms
FROM due
LEFT JOIN limited ON limited.execution_id = due.execution_id
LEFT JOIN claimed ON claimed.execution_id = due.execution_id
LEFT JOIN workflow_worker.run_queue AS seen ON seen.execution_id = claimed.execution_id
LEFT JOIN public.workflowexecution AS host ON host.id = claimed.execution_id
LEFT JOIN public.workflow ON workflow.id = host.workflow_id
LEFT JOIN workflow_worker.children AS child ON child.child_id = claimed.execution_id
WHERE claimed.execution_id IS NOT NULL OR limited.is_held
ORDER BY due.place, due.execution_id;
