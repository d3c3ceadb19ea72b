-- 0007 Schedules.
--
-- What:  what the worker keeps for each row of workflowschedule: when it is due, its policies, its fires; a trigger that
--        keeps that true, whoever writes the row; functions and a view for its owner.
-- Why:   workflowschedule has no place for a time zone, a policy or an error, and no index on the time. A fire must move
--        the row on in the transaction that makes the execution, and a change by plain SQL must take effect at once.
-- Locks: CREATE TRIGGER takes SHARE ROW EXCLUSIVE on workflowschedule for the moment of a catalogue change; ALTER TABLE
--        takes ACCESS EXCLUSIVE on run_queue for one (no row is rewritten).
-- An older worker meanwhile: fires no schedules; it takes the new payload of NOTIFY for 'there may be work'.
--
-- Lock order: the row of workflowschedule, then its row here, then the run queue.

------------------------------------------------------------------------------------------------------------------
-- schedule_states: one row per row of workflowschedule.
--
-- cron_expression, is_active and next_run_at are what was seen last in the host row, so that a difference is a change
-- by somebody else, found by the trigger at once and by the repair when the trigger was off.
--
-- due_at says when the scheduler has to look at it:
--
--   -infinity   it is new or was changed: to be checked and planned
--   a time      the next fire
--   infinity    never: it is off, or its error has to be mended first
CREATE TABLE workflow_worker.schedule_states (
    -- workflowschedule.id. No foreign key: a trigger on DELETE does its work, and locks nothing of the platform.
    schedule_id       uuid        NOT NULL,
    due_at            timestamptz NOT NULL,
    -- Goes up by one with each write. A fire names the one that it has read.
    version           bigint      NOT NULL DEFAULT 0,
    cron_expression   text        NOT NULL,
    is_active         boolean     NOT NULL,
    next_run_at       timestamp,
    -- Whether next_run_at is to be computed from now on, whatever it says.
    is_to_plan        boolean     NOT NULL,
    -- An IANA name. NULL: UTC.
    time_zone         text,
    -- What happens to a fire while the last execution of this schedule is still in the run queue.
    overlap           text        NOT NULL DEFAULT 'allow',
    -- What happens to times that passed while no worker ran, and to how many of them. NULL: as the worker is set.
    missed            text,
    max_catch_up      integer,
    -- The most fires that wait (overlap 'queue').
    max_queued        integer     NOT NULL DEFAULT 100,
    -- Added to the execution_data of each fire. jsonb, so that any variant of the host tables takes it.
    input             jsonb,
    -- The times of the fires that wait for the end of the last execution (overlap 'queue'), oldest first.
    waiting           timestamptz[] NOT NULL DEFAULT '{}',
    -- What is wrong with it; taken back when its row is changed.
    error             text,
    last_execution_id uuid,
    fired             bigint      NOT NULL DEFAULT 0,
    skipped           bigint      NOT NULL DEFAULT 0,
    last_skipped_at   timestamptz,
    -- Why the last fire was skipped. NULL after one that was not.
    skip_reason       text,
    CONSTRAINT schedule_states_pkey PRIMARY KEY (schedule_id),
    CONSTRAINT overlap_is_known CHECK (overlap IN ('allow', 'skip', 'queue')),
    CONSTRAINT missed_is_known CHECK (missed IN ('coalesce', 'catch_up', 'skip')),
    CONSTRAINT catch_up_is_bounded CHECK (max_catch_up BETWEEN 1 AND 1000),
    CONSTRAINT queue_is_bounded CHECK (max_queued BETWEEN 1 AND 1000),
    -- Each fire carries it, and one statement may make many.
    CONSTRAINT input_is_a_small_object CHECK (jsonb_typeof(input) = 'object' AND octet_length(input::text) <= 65536)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 500
);
COMMENT ON TABLE workflow_worker.schedule_states
    IS 'What the worker keeps for each row of workflowschedule; read it through the view schedules';
REVOKE ALL ON workflow_worker.schedule_states FROM PUBLIC;

-- What comes due next.
CREATE INDEX schedule_states_due ON workflow_worker.schedule_states (due_at) WHERE due_at < 'infinity';
-- Fires that wait for the end of an execution. All columns that are asked for: the planner takes the array for a third of
-- the rows, and would rather scan the table than fetch as many from it.
CREATE INDEX schedule_states_waiting ON workflow_worker.schedule_states (last_execution_id, schedule_id)
    WHERE cardinality(waiting) > 0;

------------------------------------------------------------------------------------------------------------------
-- Takes over what others have done to these rows of workflowschedule (NULL: to any). Returns how many had changed.
--
--   a new row                     its next_run_at counts, if there is one
--   next_run_at was set           it counts; NULL: planned from now
--   another expression, or on     planned from now, unless that write has set next_run_at as well; so nothing fires for
--   again                         the time it was off
--   off                           what waits is dropped
--
-- Any change takes an error back: the scheduler looks at the row anew.
CREATE FUNCTION workflow_worker.mirror_schedules(schedules uuid[]) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changes integer;
BEGIN
    WITH changed AS MATERIALIZED (
        SELECT host.id, host.cron_expression, host.is_active, host.next_run_at
        FROM public.workflowschedule AS host
        LEFT JOIN workflow_worker.schedule_states AS seen ON seen.schedule_id = host.id
        WHERE host.id = ANY (coalesce(schedules, ARRAY(SELECT every.id FROM public.workflowschedule AS every)))
          AND (seen.schedule_id IS NULL
               OR seen.cron_expression <> host.cron_expression
               OR seen.is_active <> host.is_active
               OR seen.next_run_at IS DISTINCT FROM host.next_run_at)
        ORDER BY host.id
        -- The repair waits for nobody. (The trigger's own row is never locked by somebody else.)
        FOR NO KEY UPDATE OF host SKIP LOCKED
    )
    INSERT INTO workflow_worker.schedule_states AS state
        (schedule_id, due_at, cron_expression, is_active, next_run_at, is_to_plan)
    SELECT
        changed.id,
        CASE WHEN changed.is_active THEN '-infinity'::timestamptz ELSE 'infinity' END,
        changed.cron_expression,
        changed.is_active,
        changed.next_run_at,
        changed.next_run_at IS NULL
    FROM changed
    ON CONFLICT (schedule_id) DO UPDATE
    SET due_at = excluded.due_at,
        version = state.version + 1,
        cron_expression = excluded.cron_expression,
        is_active = excluded.is_active,
        next_run_at = excluded.next_run_at,
        is_to_plan = CASE
            WHEN state.next_run_at IS DISTINCT FROM excluded.next_run_at THEN excluded.next_run_at IS NULL
            ELSE state.is_to_plan
                OR state.cron_expression <> excluded.cron_expression
                OR (excluded.is_active AND NOT state.is_active)
        END,
        waiting = CASE WHEN excluded.is_active THEN state.waiting ELSE '{}' END,
        error = NULL
    -- A fire that was committed since this statement began is no change by somebody else.
    WHERE state.cron_expression <> excluded.cron_expression
       OR state.is_active <> excluded.is_active
       OR state.next_run_at IS DISTINCT FROM excluded.next_run_at;
    GET DIAGNOSTICS changes = ROW_COUNT;
    RETURN changes;
END
$$;
COMMENT ON FUNCTION workflow_worker.mirror_schedules(uuid[]) IS 'Takes over what others have done to rows of workflowschedule';

-- The rules are those of 0003: never fails the statement of whoever writes, works whoever that is.
CREATE FUNCTION workflow_worker.schedule_written() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM workflow_worker.schedule_states;
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM workflow_worker.schedule_states WHERE schedule_id = OLD.id;
    ELSE
        IF TG_OP = 'UPDATE' AND OLD.id <> NEW.id THEN
            DELETE FROM workflow_worker.schedule_states WHERE schedule_id = OLD.id;
        END IF;
        IF workflow_worker.mirror_schedules(ARRAY[NEW.id]) > 0 THEN
            PERFORM pg_notify('workflow_worker', 'schedule');
        END IF;
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'workflow_worker: a change of schedules is seen at the next repair only: %', SQLERRM;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.schedule_written() IS 'AFTER any write to workflowschedule by anyone but the worker';

-- Per row: there are few of these rows, and they are written seldom.
CREATE TRIGGER workflow_worker_scheduled
    AFTER INSERT OR UPDATE OR DELETE ON public.workflowschedule
    FOR EACH ROW
    WHEN (current_setting('workflow_worker.writer', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION workflow_worker.schedule_written();

CREATE TRIGGER workflow_worker_schedules_truncated
    AFTER TRUNCATE ON public.workflowschedule
    FOR EACH STATEMENT
    EXECUTE FUNCTION workflow_worker.schedule_written();

INSERT INTO workflow_worker.host_changes (kind, table_name, object_name)
VALUES
    ('trigger', 'workflowschedule', 'workflow_worker_scheduled'),
    ('trigger', 'workflowschedule', 'workflow_worker_schedules_truncated');

------------------------------------------------------------------------------------------------------------------
-- Whose end a schedule waits for.
ALTER TABLE workflow_worker.run_queue
    -- The schedule that started it, if its next fire waits for the end of this one (overlap 'queue').
    ADD COLUMN schedule_id uuid;

CREATE FUNCTION workflow_worker.awaited_by_schedule() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- And nothing else: it takes no lock. The scheduler finds out which fires may start.
    PERFORM pg_notify('workflow_worker', 'schedule');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.awaited_by_schedule() IS 'AFTER DELETE on run_queue: wakes the scheduler';

-- Whatever ends it, a record or a DELETE by the platform. For all other executions this costs the look at one column.
CREATE TRIGGER awaited_by_schedule
    AFTER DELETE ON workflow_worker.run_queue
    FOR EACH ROW
    WHEN (OLD.schedule_id IS NOT NULL)
    EXECUTE FUNCTION workflow_worker.awaited_by_schedule();

-- Starts executions for schedules: host rows, complete and as the platform's Run writes them; their first log rows; and
-- the mark in the run queue for those whose end is awaited. One element per execution. Returns how many.
--
-- A function, because the run queue's rows come from the trigger on the host rows: only a statement of its own sees them.
CREATE FUNCTION workflow_worker.start_scheduled(
    executions uuid[], names text[], workflows uuid[], inputs text[], awaiting uuid[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    utc_now CONSTANT timestamp := clock_timestamp() AT TIME ZONE 'utc';
    started bigint;
BEGIN
    INSERT INTO public.workflowexecution
        (id, workflow_id, workflow_version, execution_id, status, started_at, execution_state, retry_count)
    SELECT
        fire.execution, workflow.id, workflow.version, fire.name, 'running', utc_now,
        json_build_object(
            'execution_id', fire.name,
            'workflow_id', workflow.id,
            'workflow_version', workflow.version,
            'status', 'running',
            'current_node_id', NULL,
            'completed_node_ids', json_build_array(),
            'node_results', json_build_object(),
            'execution_data', fire.input::json,
            'started_at', to_char(utc_now, 'YYYY-MM-DD"T"HH24:MI:SS.US'),
            'retry_count', 0),
        0
    FROM unnest(executions, names, workflows, inputs) WITH ORDINALITY
        AS fire (execution, name, workflow_id, input, place)
    JOIN public.workflow ON workflow.id = fire.workflow_id
    ORDER BY fire.place;
    GET DIAGNOSTICS started = ROW_COUNT;

    INSERT INTO public.executionlog (id, execution_id, node_id, level, message, "timestamp")
    SELECT gen_random_uuid(), host.id, 'start', 'info', 'Workflow execution started: ' || host.execution_id, utc_now
    FROM public.workflowexecution AS host
    WHERE host.id = ANY (executions);

    UPDATE workflow_worker.run_queue AS queued
    SET schedule_id = fire.schedule
    FROM unnest(executions, awaiting) AS fire (execution, schedule)
    WHERE queued.execution_id = fire.execution
      AND fire.schedule IS NOT NULL;
    RETURN started;
END
$$;
COMMENT ON FUNCTION workflow_worker.start_scheduled(uuid[], text[], uuid[], text[], uuid[])
    IS 'Starts executions for schedules';

------------------------------------------------------------------------------------------------------------------
-- For owners of schedules.
--
-- The arguments that both functions below take, checked. Raises WW400 with the argument's name.
CREATE FUNCTION workflow_worker.check_schedule_arguments(
    cron_expression text, time_zone text, overlap text, missed text, max_catch_up integer, max_queued integer,
    input jsonb) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    problem text;
BEGIN
    problem := CASE
        WHEN length(cron_expression) > 100 THEN
            format('cron_expression is %s characters long, at most 100 are stored', length(cron_expression))
        -- Whether the fields make sense is the worker's to say: see the column error of the view schedules.
        WHEN cron_expression !~ '^\s*(@[A-Za-z]+|\S+(\s+\S+){4,6})\s*$' THEN
            format('cron_expression %L has not five to seven fields, and is no name such as @hourly', cron_expression)
        WHEN NOT EXISTS (SELECT FROM pg_timezone_names AS known WHERE known.name = time_zone)
             AND time_zone IS NOT NULL THEN
            format('time_zone %L is not known; an IANA name is expected, such as Europe/Berlin, or UTC', time_zone)
        WHEN overlap NOT IN ('allow', 'skip', 'queue') THEN
            format('overlap is %L; allow, skip or queue is expected', overlap)
        WHEN missed NOT IN ('default', 'coalesce', 'catch_up', 'skip') THEN
            format('missed is %L; default, coalesce, catch_up or skip is expected', missed)
        WHEN max_catch_up NOT BETWEEN 0 AND 1000 THEN
            format('max_catch_up is %s; 1 to 1000 is expected, or 0 for the worker''s own setting', max_catch_up)
        WHEN max_queued NOT BETWEEN 1 AND 1000 THEN
            format('max_queued is %s; 1 to 1000 is expected', max_queued)
        WHEN jsonb_typeof(input) <> 'object' THEN
            format('input is a JSON %s; an object is expected', jsonb_typeof(input))
        WHEN octet_length(input::text) > 65536 THEN
            format('input has %s bytes; at most 65536 are taken', octet_length(input::text))
    END;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'WW400', MESSAGE = problem;
    END IF;
END
$$;
COMMENT ON FUNCTION workflow_worker.check_schedule_arguments(text, text, text, text, integer, integer, jsonb)
    IS 'Raises WW400 for an argument that schedule() and configure_schedule() do not take';

-- Changes what is given and leaves the rest: NULL means 'as it is'. 'UTC', 'default', 0 and {} take a setting back.
CREATE FUNCTION workflow_worker.configure_schedule(
    schedule_id     uuid,
    time_zone       text        DEFAULT NULL,
    overlap         text        DEFAULT NULL,
    missed          text        DEFAULT NULL,
    max_catch_up    integer     DEFAULT NULL,
    max_queued      integer     DEFAULT NULL,
    input           jsonb       DEFAULT NULL,
    cron_expression text        DEFAULT NULL,
    is_active       boolean     DEFAULT NULL,
    next_run_at     timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    asked_at CONSTANT timestamp := configure_schedule.next_run_at AT TIME ZONE 'utc';
BEGIN
    PERFORM workflow_worker.check_schedule_arguments(
        configure_schedule.cron_expression, configure_schedule.time_zone, configure_schedule.overlap,
        configure_schedule.missed, configure_schedule.max_catch_up, configure_schedule.max_queued,
        configure_schedule.input);
    -- Locks the host row also if nothing in it changes.
    UPDATE public.workflowschedule AS host
    SET cron_expression = coalesce(configure_schedule.cron_expression, host.cron_expression),
        is_active = coalesce(configure_schedule.is_active, host.is_active),
        next_run_at = coalesce(asked_at, host.next_run_at)
    WHERE host.id = configure_schedule.schedule_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'WW404',
            MESSAGE = format('there is no schedule %s', coalesce(configure_schedule.schedule_id::text, 'NULL'));
    END IF;
    -- The trigger has done it, unless it is off.
    PERFORM workflow_worker.mirror_schedules(ARRAY[configure_schedule.schedule_id]);
    UPDATE workflow_worker.schedule_states AS state
    SET version = state.version + 1,
        time_zone = CASE
            WHEN configure_schedule.time_zone IS NULL THEN state.time_zone
            ELSE nullif(configure_schedule.time_zone, 'UTC')
        END,
        overlap = coalesce(configure_schedule.overlap, state.overlap),
        missed = nullif(coalesce(configure_schedule.missed, state.missed), 'default'),
        max_catch_up = nullif(coalesce(configure_schedule.max_catch_up, state.max_catch_up), 0),
        max_queued = coalesce(configure_schedule.max_queued, state.max_queued),
        input = nullif(coalesce(configure_schedule.input, state.input), '{}'),
        -- Fires wait under 'queue' only.
        waiting = CASE
            WHEN coalesce(configure_schedule.overlap, state.overlap) = 'queue' THEN state.waiting
            ELSE '{}'
        END,
        -- In another zone the same expression means other times; a time that was asked for in this call stays.
        is_to_plan = state.is_to_plan OR (asked_at IS NULL AND configure_schedule.time_zone IS NOT NULL
            AND nullif(configure_schedule.time_zone, 'UTC') IS DISTINCT FROM state.time_zone),
        error = NULL,
        due_at = CASE WHEN state.is_active THEN '-infinity'::timestamptz ELSE 'infinity' END
    WHERE state.schedule_id = configure_schedule.schedule_id;
    PERFORM pg_notify('workflow_worker', 'schedule');
END
$$;
COMMENT ON FUNCTION workflow_worker.configure_schedule(
    uuid, text, text, text, integer, integer, jsonb, text, boolean, timestamptz)
    IS 'Changes a schedule; NULL leaves a setting as it is. WW404: no such schedule. WW400: an argument that cannot be';

-- Makes a schedule, or gives the one with this id all of these settings.
CREATE FUNCTION workflow_worker.schedule(
    workflow_id     uuid,
    cron_expression text,
    time_zone       text    DEFAULT 'UTC',
    overlap         text    DEFAULT 'allow',
    missed          text    DEFAULT 'default',
    input           jsonb   DEFAULT '{}',
    max_catch_up    integer DEFAULT 0,
    max_queued      integer DEFAULT 100,
    is_active       boolean DEFAULT true,
    schedule_id     uuid    DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    its_id CONSTANT uuid := coalesce(schedule.schedule_id, gen_random_uuid());
    missing text;
BEGIN
    missing := CASE
        WHEN schedule.workflow_id IS NULL THEN 'workflow_id'
        WHEN schedule.cron_expression IS NULL THEN 'cron_expression'
    END;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'WW400', MESSAGE = format('%s is NULL', missing);
    END IF;
    PERFORM workflow_worker.check_schedule_arguments(
        schedule.cron_expression, schedule.time_zone, schedule.overlap, schedule.missed, schedule.max_catch_up,
        schedule.max_queued, schedule.input);
    PERFORM FROM public.workflow AS known WHERE known.id = schedule.workflow_id FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'WW404', MESSAGE = format('there is no workflow %s', schedule.workflow_id);
    END IF;
    INSERT INTO public.workflowschedule AS host (id, workflow_id, cron_expression, is_active)
    VALUES (its_id, schedule.workflow_id, schedule.cron_expression, coalesce(schedule.is_active, true))
    ON CONFLICT (id) DO UPDATE
    SET workflow_id = excluded.workflow_id,
        cron_expression = excluded.cron_expression,
        is_active = excluded.is_active;
    PERFORM workflow_worker.configure_schedule(
        schedule_id => its_id,
        time_zone => coalesce(schedule.time_zone, 'UTC'),
        overlap => coalesce(schedule.overlap, 'allow'),
        missed => coalesce(schedule.missed, 'default'),
        max_catch_up => coalesce(schedule.max_catch_up, 0),
        max_queued => coalesce(schedule.max_queued, 100),
        input => coalesce(schedule.input, '{}'));
    RETURN its_id;
END
$$;
COMMENT ON FUNCTION workflow_worker.schedule(
    uuid, text, text, text, text, jsonb, integer, integer, boolean, uuid)
    IS 'Makes a schedule, or replaces the one with this id; returns the id. WW404: no such workflow. WW400: an argument that cannot be';

CREATE FUNCTION workflow_worker.unschedule(schedule_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF unschedule.schedule_id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'WW400', MESSAGE = 'schedule_id is NULL; it must name a schedule';
    END IF;
    DELETE FROM public.workflowschedule AS host WHERE host.id = unschedule.schedule_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'WW404',
            MESSAGE = format('there is no schedule %s', unschedule.schedule_id);
    END IF;
    -- The trigger has done it, unless it is off.
    DELETE FROM workflow_worker.schedule_states AS state WHERE state.schedule_id = unschedule.schedule_id;
END
$$;
COMMENT ON FUNCTION workflow_worker.unschedule(uuid)
    IS 'Deletes a schedule; what it has started goes on. WW400: schedule_id is NULL. WW404: no such schedule';

-- What an owner wants to know. Reads with the rights of its owner: who may read it sees every schedule, row-level
-- security or not.
CREATE VIEW workflow_worker.schedules AS
SELECT
    host.id AS schedule_id,
    host.workflow_id,
    workflow.name AS workflow_name,
    workflow.is_active AS workflow_is_active,
    host.is_active,
    host.cron_expression,
    coalesce(state.time_zone, 'UTC') AS time_zone,
    host.next_run_at AT TIME ZONE 'utc' AS next_run_at,
    host.last_run_at AT TIME ZONE 'utc' AS last_run_at,
    state.error,
    coalesce(state.overlap, 'allow') AS overlap,
    coalesce(state.missed, 'default') AS missed,
    state.max_catch_up,
    state.max_queued,
    state.input,
    cardinality(state.waiting) AS queued,
    state.fired,
    state.skipped,
    state.last_skipped_at,
    state.skip_reason,
    state.last_execution_id,
    execution.execution_id AS last_execution_name,
    execution.status AS last_execution_status
FROM public.workflowschedule AS host
JOIN public.workflow ON workflow.id = host.workflow_id
LEFT JOIN workflow_worker.schedule_states AS state ON state.schedule_id = host.id
LEFT JOIN public.workflowexecution AS execution ON execution.id = state.last_execution_id;
COMMENT ON VIEW workflow_worker.schedules IS 'Each schedule with its policies, its next and last fire, and what is wrong with it';
REVOKE ALL ON workflow_worker.schedules FROM PUBLIC;
COMMENT ON COLUMN workflow_worker.schedules.schedule_id IS 'workflowschedule.id';
COMMENT ON COLUMN workflow_worker.schedules.workflow_id IS 'The workflow that it starts';
COMMENT ON COLUMN workflow_worker.schedules.workflow_name IS 'Its name';
COMMENT ON COLUMN workflow_worker.schedules.workflow_is_active IS 'Without it nothing fires';
COMMENT ON COLUMN workflow_worker.schedules.is_active IS 'Whether it fires';
COMMENT ON COLUMN workflow_worker.schedules.cron_expression IS 'When, in the dialect of croniter';
COMMENT ON COLUMN workflow_worker.schedules.time_zone IS 'Where the expression is read';
COMMENT ON COLUMN workflow_worker.schedules.next_run_at IS 'Its next fire; NULL if there is none, or none is computed yet';
COMMENT ON COLUMN workflow_worker.schedules.last_run_at IS 'Its last fire';
COMMENT ON COLUMN workflow_worker.schedules.overlap IS 'While its last execution has not ended: allow, skip, queue';
COMMENT ON COLUMN workflow_worker.schedules.missed IS 'After an outage: coalesce, catch_up, skip, or default (as the worker is set)';
COMMENT ON COLUMN workflow_worker.schedules.max_queued IS 'How many fires may wait (overlap queue)';
COMMENT ON COLUMN workflow_worker.schedules.input IS 'What each execution gets beside trigger_type, schedule_id and cron_expression';
COMMENT ON COLUMN workflow_worker.schedules.last_skipped_at IS 'When a fire was last dropped';
COMMENT ON COLUMN workflow_worker.schedules.last_execution_id IS 'workflowexecution.id of the last that it has started';
COMMENT ON COLUMN workflow_worker.schedules.last_execution_name IS 'Its name, exec-…';
COMMENT ON COLUMN workflow_worker.schedules.last_execution_status IS 'Its workflowexecution.status';
COMMENT ON COLUMN workflow_worker.schedules.error IS 'What is wrong with it; without a next_run_at it does not fire until it is changed';
COMMENT ON COLUMN workflow_worker.schedules.queued IS 'Fires that wait for the end of the last execution (overlap queue)';
COMMENT ON COLUMN workflow_worker.schedules.fired IS 'Executions that it has started';
COMMENT ON COLUMN workflow_worker.schedules.skipped IS 'Fires that were dropped by one of its policies';
COMMENT ON COLUMN workflow_worker.schedules.skip_reason IS 'Why the last fire was dropped; NULL if it was not';
COMMENT ON COLUMN workflow_worker.schedules.max_catch_up IS 'NULL: as the worker is set';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA workflow_worker FROM PUBLIC;

-- The schedules that are there: those with a next_run_at keep it.
SELECT workflow_worker.mirror_schedules(NULL);
