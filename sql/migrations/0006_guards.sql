-- 0006 Guards.
--
-- What:  what somebody else may not write into workflowexecution: a BEFORE trigger on INSERT and one on UPDATE.
-- Why:   a finished execution must not run again because of a stray UPDATE, and a status that means nothing must be told
--        to whoever writes it, not kept. Both are the only triggers here that may fail a statement, which is what they
--        are for; they fail it for no other reason.
-- Locks: CREATE TRIGGER takes SHARE ROW EXCLUSIVE on workflowexecution, ALTER TABLE takes ACCESS EXCLUSIVE on finished,
--        each for the moment of a catalogue change.
-- An older worker meanwhile: sees no difference; its own writes name themselves (workflow_worker.writer).
--
-- What is let through, because the platform's API does it: pause from any status, the end included, and the resume after
-- it; terminate; debug; a status of all five in an INSERT, as a restored dump has them.
--
-- What is neither refused nor taken: a whole state that the API has read before the end and writes back after it (the
-- second commit of a replay or of a test, a debug step, a second click on resume). The API cannot be told, and nothing
-- may run again; the row stays as it is, and a log row says so.

-- Which execution this one has replayed: the API's second commit may come when it has left the run queue.
ALTER TABLE workflow_worker.finished ADD COLUMN replay_of uuid;

------------------------------------------------------------------------------------------------------------------
-- BEFORE INSERT. Its condition is all that a right status costs. (NULL is filled in, see 0003.)
CREATE FUNCTION workflow_worker.refuse_status() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'WW400',
        MESSAGE = format('workflowexecution.status is %L; it must be one of running (queued or running), completed, '
                         'failed, paused, waiting_for_signal', NEW.status),
        HINT = 'Leave status out to have the execution run.';
END
$$;
COMMENT ON FUNCTION workflow_worker.refuse_status() IS 'BEFORE INSERT on workflowexecution: refuses an unknown status (WW400)';

CREATE TRIGGER workflow_guard_insert
    BEFORE INSERT ON public.workflowexecution
    FOR EACH ROW
    WHEN (NEW.status NOT IN ('running', 'completed', 'failed', 'paused', 'waiting_for_signal'))
    EXECUTE FUNCTION workflow_worker.refuse_status();

------------------------------------------------------------------------------------------------------------------
-- Whether an UPDATE is the API's second commit of a replay: it overwrites what the first has said with the original's
-- data and results. The runner takes those from the original itself, and may be far beyond them by now.
--
-- The data are the original's, and not what the row has: so a pause or a resume of a replay is never taken for it. Never
-- fails: what cannot be compared is no such commit.
CREATE FUNCTION workflow_worker.is_second_commit_of_replay(execution uuid, old_state text, new_state text)
    RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    original uuid;
    original_state text;
    new_data jsonb;
BEGIN
    SELECT coalesce(
        (SELECT queued.replay_of FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = execution),
        (SELECT finished.replay_of FROM workflow_worker.finished WHERE finished.execution_id = execution))
    INTO original;
    IF original IS NULL THEN
        RETURN false;
    END IF;
    SELECT host.execution_state::text INTO original_state
    FROM public.workflowexecution AS host
    WHERE host.id = original;
    new_data := new_state::jsonb -> 'execution_data';
    RETURN coalesce(
        new_data = original_state::jsonb -> 'execution_data'
            AND new_data - 'debug_mode' IS DISTINCT FROM (old_state::jsonb -> 'execution_data') - 'debug_mode',
        false);
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION workflow_worker.is_second_commit_of_replay(uuid, text, text)
    IS 'Whether an UPDATE of workflowexecution is the API''s second commit of a replay';

-- A new state with the key timeout_seconds of the old one, or NULL if it does not lack it: the API's rewrite loses it, also
-- before any worker has seen it. As text, because jsonb would put the results into another order. Never fails.
CREATE FUNCTION workflow_worker.with_kept_timeout(old_state text, new_state text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept json;
BEGIN
    IF coalesce(strpos(old_state, '"timeout_seconds"'), 0) = 0 THEN
        RETURN NULL;
    END IF;
    kept := old_state::json -> 'timeout_seconds';
    IF kept IS NULL
       OR new_state::json -> 'timeout_seconds' IS NOT NULL
       OR new_state !~ '^\s*\{.*[^\s{]\s*\}\s*$' THEN
        RETURN NULL;
    END IF;
    RETURN regexp_replace(new_state, '\}\s*$', '') || ', "timeout_seconds": ' || kept::text || '}';
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.with_kept_timeout(text, text) IS 'A new execution_state with the old one''s timeout_seconds';

-- The status inside an execution_state, or NULL. Never fails.
CREATE FUNCTION workflow_worker.status_in(state text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN state::json ->> 'status';
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.status_in(text) IS 'The status inside an execution_state, or NULL';

-- The execution has ended, and somebody writes a whole state that was read before that: nothing of it is taken. Never
-- fails: without the log row there is still the warning.
CREATE FUNCTION workflow_worker.tell_of_late_write(execution uuid, old_status text, new_status text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    message CONSTANT text := format(
        'A late write of status %s was not taken: the execution has ended as %s. To run it again, retry or replay it',
        new_status, old_status);
BEGIN
    RAISE WARNING 'workflow_worker: execution %: %', execution, message;
    INSERT INTO public.executionlog (id, execution_id, node_id, level, message, "timestamp")
    VALUES (gen_random_uuid(), execution, 'system', 'warning', message, clock_timestamp() AT TIME ZONE 'utc');
EXCEPTION WHEN OTHERS THEN
    NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.tell_of_late_write(uuid, text, text) IS 'Says that a write of a finished execution was not taken';

-- BEFORE UPDATE by anyone but the worker and retry. SECURITY DEFINER: it reads the worker's tables, whoever writes.
--
-- OLD instead of NULL where a write is not taken: the API counts the rows that its UPDATE has reached.
CREATE FUNCTION workflow_worker.guard_update() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
DECLARE
    -- So is a status that means nothing: no worker takes it up.
    is_over CONSTANT boolean :=
        OLD.status NOT IN ('running', 'paused', 'waiting_for_signal')
        AND NOT (OLD.status = 'failed' AND OLD.completed_at IS NULL AND OLD.next_retry_at IS NOT NULL);
    would_run CONSTANT boolean :=
        NEW.status IN ('running', 'waiting_for_signal')
        OR (NEW.status = 'failed' AND NEW.next_retry_at IS NOT NULL AND NEW.completed_at IS NULL);
    has_new_state CONSTANT boolean := NEW.execution_state::text IS DISTINCT FROM OLD.execution_state::text;
    kept_state text;
BEGIN
    -- It leaves the status alone, or says running as it was read. A pause or an end may have the same data, read before the
    -- runner has recorded more; and what was paused is resumed.
    IF has_new_state
       AND (NEW.status = OLD.status OR (NEW.status = 'running' AND OLD.status <> 'paused'))
       AND workflow_worker.is_second_commit_of_replay(NEW.id, OLD.execution_state::text, NEW.execution_state::text) THEN
        RETURN OLD;
    END IF;
    IF NEW.status IS DISTINCT FROM OLD.status
       AND NEW.status NOT IN ('running', 'completed', 'failed', 'paused', 'waiting_for_signal') THEN
        RAISE EXCEPTION USING
            ERRCODE = 'WW400',
            MESSAGE = format('workflowexecution.status is %L; it must be one of running, completed, failed, paused, '
                             'waiting_for_signal', NEW.status),
            HINT = 'To end an execution: SELECT workflow_worker.terminate(id, reason).';
    END IF;
    IF is_over AND would_run THEN
        IF has_new_state AND workflow_worker.status_in(NEW.execution_state::text) = NEW.status THEN
            PERFORM workflow_worker.tell_of_late_write(OLD.id, OLD.status, NEW.status);
            RETURN OLD;
        END IF;
        RAISE EXCEPTION USING
            ERRCODE = 'WW409',
            MESSAGE = format('execution %s has ended as %s and cannot be set to %s', OLD.id, OLD.status,
                             CASE WHEN NEW.status = 'failed' THEN 'wait for a retry' ELSE NEW.status END),
            HINT = CASE
                WHEN OLD.status = 'failed' THEN 'To go on where it failed: SELECT workflow_worker.retry(id). '
                ELSE ''
            END || 'To run it again as a new execution: SELECT workflow_worker.replay(id).';
    END IF;
    IF has_new_state THEN
        kept_state := workflow_worker.with_kept_timeout(OLD.execution_state::text, NEW.execution_state::text);
        IF kept_state IS NOT NULL THEN
            NEW.execution_state := kept_state::json;
        END IF;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION workflow_worker.guard_update()
    IS 'BEFORE UPDATE on workflowexecution by others: what has ended does not run again (WW409), no unknown status (WW400)';

CREATE TRIGGER workflow_guard_update
    BEFORE UPDATE OF status, execution_state, next_retry_at, completed_at ON public.workflowexecution
    FOR EACH ROW
    WHEN (current_setting('workflow_worker.writer', true) IS DISTINCT FROM 'on'
          AND current_setting('workflow_worker.restart', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION workflow_worker.guard_update();

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA workflow_worker FROM PUBLIC;

INSERT INTO workflow_worker.host_changes (kind, table_name, object_name)
VALUES
    ('trigger', 'workflowexecution', 'workflow_guard_insert'),
    ('trigger', 'workflowexecution', 'workflow_guard_update');
