-- Returns up to $1 schedules that the scheduler has to look at, and when it has to look next. There is always a row; without
-- anything to look at, its schedule_id is NULL.
-- $1 limit bigint.
-- Index: schedule_states_due, read up to $1 rows deep; schedule_states_waiting; the primary keys.
-- Race-free: reads only; fire_schedules.sql compares the version.
WITH due AS MATERIALIZED (
    (
        SELECT state.schedule_id
        FROM workflow_worker.schedule_states AS state
        WHERE state.due_at < 'infinity'
          AND state.due_at <= now()
        ORDER BY state.due_at
        LIMIT $1
    )
    UNION
    (
        -- A fire waits for the end of an execution that has ended.
        SELECT state.schedule_id
        FROM workflow_worker.schedule_states AS state
        WHERE cardinality(state.waiting) > 0
          AND NOT EXISTS (
              SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = state.last_execution_id)
        LIMIT $1
    )
),
found AS MATERIALIZED (
    SELECT
        state.schedule_id,
        state.version,
        host.workflow_id,
        state.cron_expression,
        -- Within what any clock can hold: the column takes infinity.
        least(greatest(state.next_run_at, '0001-01-01'), '9999-12-31') AT TIME ZONE 'utc' AS next_run_at,
        state.is_to_plan,
        state.time_zone,
        state.overlap,
        state.missed,
        state.max_catch_up,
        state.max_queued,
        state.input::text AS input,
        state.waiting,
        state.skip_reason,
        workflow.is_active AS workflow_is_active,
        workflow.name AS workflow_name,
        EXISTS (
            SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = state.last_execution_id
        ) AS is_open
    FROM due
    JOIN workflow_worker.schedule_states AS state ON state.schedule_id = due.schedule_id
    JOIN public.workflowschedule AS host ON host.id = due.schedule_id
    JOIN public.workflow ON workflow.id = host.workflow_id
)
SELECT
    found.*,
    (
        SELECT min(state.due_at)
        FROM workflow_worker.schedule_states AS state
        WHERE state.due_at < 'infinity'
          AND state.due_at > now()
    ) AS next_due_at,
    -- The moment that 'due' means here.
    now() AS looked_at,
    -- As in heartbeat.sql.
    statement_timestamp() + (clock_timestamp() - statement_timestamp()) / 2 AS database_time
FROM (VALUES (1)) AS one_row (one)
LEFT JOIN found ON true;
