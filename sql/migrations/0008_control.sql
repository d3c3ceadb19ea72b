-- 0008 The SQL API, second part: pause, resume, terminate, retry, debug, step. See 0008_api.sql.
--
-- Each locks the execution, looks at its state, writes it as the platform's API does, and returns its id. The trigger on
-- workflowexecution does the rest: the run queue follows, and a worker that runs it is told.
--
-- Which one is allowed when (else WW409, or WW410 for what has ended):
--
--              running  waiting_for_signal  paused  retrying  failed  completed
--   pause         x             x                      x
--   resume                                     x
--   terminate     x             x              x       x
--   retry                                              x        x
--   debug on      x             x              x       x
--   debug off     x             x              x       x
--   step                                       x  (and debug mode is on)

CREATE FUNCTION workflow_worker.pause(execution uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
AS $$
DECLARE
    held record;
BEGIN
    SELECT * INTO held FROM workflow_worker.lock_execution(execution);
    IF held.kind NOT IN ('running', 'waiting_for_signal', 'retrying') THEN
        PERFORM workflow_worker.refuse(held.name, held.kind, 'paused', NULL);
    END IF;
    UPDATE public.workflowexecution AS host
    SET status = 'paused',
        execution_state = workflow_worker.with_keys(host.execution_state::json, '{"status": "paused"}')
    WHERE host.id = execution;
    PERFORM workflow_worker.log_row(execution, held.node, 'info', 'Execution paused');
    RETURN execution;
END
$$;
COMMENT ON FUNCTION workflow_worker.pause(uuid) IS
    'Pauses an execution: what runs ends and is recorded, nothing more starts. WW400: NULL. WW404: there is none. WW409: not in this state. WW410: it has ended';

-- One that was to start later still does (host_row_written).
CREATE FUNCTION workflow_worker.resume(execution uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
AS $$
DECLARE
    held record;
BEGIN
    SELECT * INTO held FROM workflow_worker.lock_execution(execution);
    IF held.kind <> 'paused' THEN
        PERFORM workflow_worker.refuse(held.name, held.kind, 'resumed', CASE held.kind
            WHEN 'waiting_for_signal' THEN 'signal, approve or reject let it go on'
            WHEN 'retrying' THEN 'retry lets it go on at once'
            WHEN 'failed' THEN 'retry lets it go on where it has failed'
            WHEN 'completed' THEN 'replay runs it again'
        END);
    END IF;
    UPDATE public.workflowexecution AS host
    SET status = 'running',
        completed_at = NULL,
        execution_state = workflow_worker.with_keys(host.execution_state::json, '{"status": "running"}')
    WHERE host.id = execution;
    PERFORM workflow_worker.log_row(execution, held.node, 'info', 'Execution resumed');
    RETURN execution;
END
$$;
COMMENT ON FUNCTION workflow_worker.resume(uuid) IS
    'Lets a paused execution go on. WW400: NULL. WW404: there is none. WW409: it is not paused. WW410: it has ended';

CREATE FUNCTION workflow_worker.terminate(execution uuid, reason text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
AS $$
DECLARE
    words CONSTANT text := coalesce(nullif(btrim(reason), ''), 'Execution terminated by user');
    held record;
BEGIN
    SELECT * INTO held FROM workflow_worker.lock_execution(execution);
    IF held.kind NOT IN ('running', 'waiting_for_signal', 'paused', 'retrying') THEN
        PERFORM workflow_worker.refuse(held.name, held.kind, 'terminated', NULL);
    END IF;
    UPDATE public.workflowexecution AS host
    SET status = 'failed',
        completed_at = clock_timestamp() AT TIME ZONE 'utc',
        error_message = words,
        next_retry_at = NULL,
        execution_state = workflow_worker.with_keys(
            host.execution_state::json,
            json_build_object('status', 'failed', 'error_message', words, 'next_retry_at', NULL))
    WHERE host.id = execution;
    PERFORM workflow_worker.log_row(execution, held.node, 'warning', 'Execution terminated: ' || words);
    RETURN execution;
END
$$;
COMMENT ON FUNCTION workflow_worker.terminate(uuid, text) IS
    'Ends an execution, and what it has started and awaits: it is failed, with the reason. WW400: NULL. WW404: there is none. WW409: not in this state. WW410: it has ended';

-- All executions of a workflow that have not ended, in the order of their ids, as everywhere where several are locked.
CREATE FUNCTION workflow_worker.terminate_all(workflow_id uuid, reason text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    execution uuid;
    ended bigint := 0;
BEGIN
    IF terminate_all.workflow_id IS NULL THEN
        RAISE EXCEPTION 'workflow_id is NULL; it must name a workflow' USING ERRCODE = 'WW400';
    END IF;
    IF NOT EXISTS (SELECT FROM public.workflow AS known WHERE known.id = terminate_all.workflow_id) THEN
        RAISE EXCEPTION 'there is no workflow %', terminate_all.workflow_id USING ERRCODE = 'WW404';
    END IF;
    FOR execution IN
        SELECT host.id
        FROM public.workflowexecution AS host
        WHERE host.workflow_id = terminate_all.workflow_id
          AND (host.status IN ('running', 'waiting_for_signal', 'paused')
               OR (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL))
        ORDER BY host.id
    LOOP
        BEGIN
            PERFORM workflow_worker.terminate(execution, reason);
            ended := ended + 1;
        EXCEPTION WHEN SQLSTATE 'WW404' OR SQLSTATE 'WW409' OR SQLSTATE 'WW410' THEN
            NULL; -- It has ended meanwhile, by itself.
        END;
    END LOOP;
    RETURN ended;
END
$$;
COMMENT ON FUNCTION workflow_worker.terminate_all(uuid, text) IS
    'Ends all executions of a workflow that have not ended; returns how many. WW400: workflow_id is NULL. WW404: there is no such workflow';

-- What waits for a retry is tried at once; what has failed for good goes on where it failed, with all its retries.
--
-- The times of the next attempts stand in the checkpoint, inside the tokens that wait for them. Replaced as text, because
-- the JSON functions fail on characters that an error message may hold. Only while no worker holds the execution: one
-- that does is at it already.
CREATE FUNCTION workflow_worker.retry(execution uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
SET workflow_worker.restart = 'on'
AS $$
DECLARE
    utc_now CONSTANT timestamp := clock_timestamp() AT TIME ZONE 'utc';
    held record;
BEGIN
    SELECT * INTO held FROM workflow_worker.lock_execution(execution);
    IF held.kind = 'retrying' THEN
        UPDATE workflow_worker.run_queue AS queued
        SET checkpoint = regexp_replace(
            queued.checkpoint::text,
            '"state":\{"retrying":\{"at":"[^"]*"\}\}',
            format('"state":{"retrying":{"at":"%s"}}', to_char(utc_now, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
            'g')::json
        WHERE queued.execution_id = execution
          AND queued.worker_id IS NULL
          AND queued.checkpoint IS NOT NULL;
        UPDATE public.workflowexecution AS host
        SET next_retry_at = utc_now,
            execution_state = workflow_worker.with_keys(
                host.execution_state::json,
                json_build_object('next_retry_at', to_char(utc_now, 'YYYY-MM-DD"T"HH24:MI:SS.US')))
        WHERE host.id = execution;
    ELSIF held.kind = 'failed' THEN
        UPDATE public.workflowexecution AS host
        SET status = 'running',
            completed_at = NULL,
            error_message = NULL,
            next_retry_at = NULL,
            retry_count = 0,
            execution_state = workflow_worker.with_keys(
                host.execution_state::json,
                '{"status": "running", "error_message": null, "retry_count": 0, "next_retry_at": null}')
        WHERE host.id = execution;
    ELSE
        PERFORM workflow_worker.refuse(held.name, held.kind, 'retried', CASE held.kind
            WHEN 'completed' THEN 'replay runs it again'
            WHEN 'paused' THEN 'resume lets it go on'
        END);
    END IF;
    PERFORM workflow_worker.log_row(execution, held.node, 'info', 'Execution retried');
    RETURN execution;
END
$$;
COMMENT ON FUNCTION workflow_worker.retry(uuid) IS
    'Tries a failed execution again where it failed, at once. WW400: NULL. WW404: there is none. WW409: it has not failed. WW410: it has completed';

------------------------------------------------------------------------------------------------------------------
-- Debug mode: one node per step.
CREATE FUNCTION workflow_worker.is_debugged(state json) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce(state -> 'execution_data' ->> 'debug_mode' = 'true', false);
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION workflow_worker.is_debugged(json) IS 'Whether an execution_state says that debug mode is on';

-- On: paused, and one node per step from now on. Off: goes on, if it was paused.
CREATE FUNCTION workflow_worker.debug(execution uuid, is_on boolean DEFAULT true) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
AS $$
DECLARE
    held record;
BEGIN
    IF is_on IS NULL THEN
        RAISE EXCEPTION 'is_on is NULL; it must be true or false' USING ERRCODE = 'WW400';
    END IF;
    SELECT * INTO held FROM workflow_worker.lock_execution(execution);
    IF held.kind NOT IN ('running', 'waiting_for_signal', 'paused', 'retrying') THEN
        PERFORM workflow_worker.refuse(held.name, held.kind, 'debugged', 'replay starts it anew');
    END IF;
    UPDATE public.workflowexecution AS host
    SET status = changed.status,
        execution_state = workflow_worker.with_keys(
            host.execution_state::json,
            json_build_object('status', changed.status, 'execution_data', changed.data))
    FROM (
        SELECT
            CASE WHEN is_on THEN 'paused' WHEN found.status = 'paused' THEN 'running' ELSE found.status END AS status,
            workflow_worker.with_debug_mode(found.execution_state::json -> 'execution_data', is_on) AS data
        FROM public.workflowexecution AS found
        WHERE found.id = execution
    ) AS changed
    WHERE host.id = execution;
    RETURN execution;
END
$$;
COMMENT ON FUNCTION workflow_worker.debug(uuid, boolean) IS
    'Turns debug mode on (paused, one node per step) or off. WW400: NULL. WW404: there is none. WW410: it has ended';

-- The flag is removed and not set to false, as the platform does it.
CREATE FUNCTION workflow_worker.with_debug_mode(data json, is_on boolean) RETURNS json
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN data IS NULL OR json_typeof(data) <> 'object' THEN
            CASE WHEN is_on THEN '{"debug_mode": true}'::json ELSE data END
        WHEN is_on THEN workflow_worker.with_keys(data, '{"debug_mode": true}')
        ELSE (
            SELECT coalesce(json_object_agg(given.key, given.value ORDER BY given.place), '{}')
            FROM json_each(data) WITH ORDINALITY AS given (key, value, place)
            WHERE given.key <> 'debug_mode')
    END
$$;
COMMENT ON FUNCTION workflow_worker.with_debug_mode(json, boolean) IS 'execution_data with or without debug_mode';

CREATE FUNCTION workflow_worker.step(execution uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
AS $$
DECLARE
    held record;
BEGIN
    SELECT * INTO held FROM workflow_worker.lock_execution(execution);
    IF held.kind <> 'paused' THEN
        PERFORM workflow_worker.refuse(held.name, held.kind, 'stepped', 'debug pauses it and turns debug mode on');
    END IF;
    IF NOT EXISTS (
        SELECT FROM public.workflowexecution AS host
        WHERE host.id = execution AND workflow_worker.is_debugged(host.execution_state::json))
    THEN
        RAISE EXCEPTION 'execution % is not in debug mode: it cannot be stepped', held.name
            USING ERRCODE = 'WW409', HINT = 'debug turns debug mode on';
    END IF;
    UPDATE public.workflowexecution AS host
    SET status = 'running',
        execution_state = workflow_worker.with_keys(host.execution_state::json, '{"status": "running"}')
    WHERE host.id = execution;
    RETURN execution;
END
$$;
COMMENT ON FUNCTION workflow_worker.step(uuid) IS
    'Runs one node of an execution that is paused in debug mode. WW400: NULL. WW404: there is none. WW409: it is not paused, or not in debug mode. WW410: it has ended';

------------------------------------------------------------------------------------------------------------------
-- By id or name.

CREATE FUNCTION workflow_worker.set_priority(execution text, priority text) RETURNS integer
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT workflow_worker.set_priority(workflow_worker.execution_id(execution), priority) $$;
COMMENT ON FUNCTION workflow_worker.set_priority(text, text) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.pause(execution text) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT workflow_worker.pause(workflow_worker.execution_id(execution)) $$;
COMMENT ON FUNCTION workflow_worker.pause(text) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.resume(execution text) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT workflow_worker.resume(workflow_worker.execution_id(execution)) $$;
COMMENT ON FUNCTION workflow_worker.resume(text) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.terminate(execution text, reason text DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT workflow_worker.terminate(workflow_worker.execution_id(execution), reason) $$;
COMMENT ON FUNCTION workflow_worker.terminate(text, text) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.retry(execution text) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT workflow_worker.retry(workflow_worker.execution_id(execution)) $$;
COMMENT ON FUNCTION workflow_worker.retry(text) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.debug(execution text, is_on boolean DEFAULT true) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT workflow_worker.debug(workflow_worker.execution_id(execution), is_on) $$;
COMMENT ON FUNCTION workflow_worker.debug(text, boolean) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.step(execution text) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT workflow_worker.step(workflow_worker.execution_id(execution)) $$;
COMMENT ON FUNCTION workflow_worker.step(text) IS 'The same, for an execution by its id or its name';
