-- Moves schedules on, and makes the executions of those that fire, all in one transaction. Returns the schedules that it
-- has moved, and how many executions it has made.
-- One array element per schedule: $1 id uuid, $2 version bigint (the one that was read), $3 next_run_at timestamp or NULL
-- (never), $4 waiting text (an array of timestamptz), $5 error text or NULL, $6 how many fires were skipped integer, $7 why
-- text or NULL, $8 the last execution uuid or NULL (none is started). One per execution, oldest first for each schedule:
-- $9 schedule uuid, $10 execution uuid, $11 its name, $12 execution_data text.
-- Index: the primary keys.
-- Race-free: compares the version and what was seen of the host row, under the locks on both; whoever comes second changes
-- nothing. Waits for nobody: rows that others hold are left for the next look (SKIP LOCKED), and so are schedules whose
-- workflow is being deleted.
WITH writer AS MATERIALIZED (
    -- Tells the trigger on workflowschedule that this is the worker; for this statement only.
    SELECT set_config('workflow_worker.writer', 'on', true) AS is_on
),
plan AS MATERIALIZED (
    SELECT *
    FROM unnest($1::uuid[], $2::bigint[], $3::timestamp[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::uuid[])
        AS plan (schedule_id, version, next_run_at, waiting, error, skipped, skip_reason, last_execution_id)
),
host AS MATERIALIZED (
    SELECT host_row.id, host_row.workflow_id, host_row.cron_expression, host_row.is_active, host_row.next_run_at
    FROM public.workflowschedule AS host_row
    CROSS JOIN writer
    WHERE host_row.id = ANY ($1)
      AND writer.is_on = 'on'
    ORDER BY host_row.id
    FOR NO KEY UPDATE OF host_row SKIP LOCKED
),
state AS MATERIALIZED (
    SELECT seen.schedule_id, seen.version, seen.cron_expression, seen.is_active, seen.next_run_at, seen.overlap
    FROM workflow_worker.schedule_states AS seen
    WHERE seen.schedule_id = ANY (ARRAY(SELECT host.id FROM host))
    FOR UPDATE SKIP LOCKED
),
current_plan AS MATERIALIZED (
    SELECT plan.*, host.workflow_id, state.overlap
    FROM plan
    JOIN host ON host.id = plan.schedule_id
    JOIN state ON state.schedule_id = plan.schedule_id
    WHERE state.version = plan.version
      AND state.cron_expression = host.cron_expression
      AND state.is_active = host.is_active
      AND state.next_run_at IS NOT DISTINCT FROM host.next_run_at
),
held AS MATERIALIZED (
    SELECT current_plan.*
    FROM current_plan
    WHERE current_plan.last_execution_id IS NULL
       OR NOT workflow_worker.is_being_deleted(current_plan.workflow_id)
),
fire AS MATERIALIZED (
    SELECT new_fire.*, held.workflow_id, CASE WHEN held.overlap = 'queue' THEN held.schedule_id END AS awaiting
    FROM unnest($9::uuid[], $10::uuid[], $11::text[], $12::text[]) WITH ORDINALITY
        AS new_fire (schedule_id, execution_id, name, input, place)
    JOIN held ON held.schedule_id = new_fire.schedule_id
),
started AS MATERIALIZED (
    SELECT workflow_worker.start_scheduled(
        array_agg(fire.execution_id ORDER BY fire.place), array_agg(fire.name ORDER BY fire.place),
        array_agg(fire.workflow_id ORDER BY fire.place), array_agg(fire.input ORDER BY fire.place),
        array_agg(fire.awaiting ORDER BY fire.place)) AS executions
    FROM fire
    HAVING count(*) > 0
),
moved AS (
    UPDATE public.workflowschedule AS host_row
    SET next_run_at = held.next_run_at,
        last_run_at = CASE
            WHEN held.last_execution_id IS NULL THEN host_row.last_run_at
            ELSE clock_timestamp() AT TIME ZONE 'utc'
        END
    FROM held
    WHERE host_row.id = held.schedule_id
      AND (held.last_execution_id IS NOT NULL OR host_row.next_run_at IS DISTINCT FROM held.next_run_at)
),
kept AS (
    UPDATE workflow_worker.schedule_states AS seen
    SET version = seen.version + 1,
        next_run_at = held.next_run_at,
        due_at = coalesce(held.next_run_at AT TIME ZONE 'utc', 'infinity'),
        is_to_plan = false,
        waiting = held.waiting::timestamptz[],
        error = held.error,
        last_execution_id = coalesce(held.last_execution_id, seen.last_execution_id),
        fired = seen.fired + (SELECT count(*) FROM fire WHERE fire.schedule_id = held.schedule_id),
        skipped = seen.skipped + held.skipped,
        last_skipped_at = CASE WHEN held.skipped > 0 THEN now() ELSE seen.last_skipped_at END,
        skip_reason = CASE
            WHEN held.skipped > 0 OR held.last_execution_id IS NOT NULL THEN held.skip_reason
            ELSE seen.skip_reason
        END
    FROM held
    WHERE seen.schedule_id = held.schedule_id
    RETURNING seen.schedule_id
)
SELECT kept.schedule_id, coalesce((SELECT started.executions FROM started), 0) AS executions
FROM kept;
