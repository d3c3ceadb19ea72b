-- 0003 Triggers.
--
-- What:  the triggers on the platform's tables that keep the run queue true and wake the workers.
-- Why:   they are the ONLY place that decides what is runnable, whoever wrote the row: the API, psql, another
--        service, a worker.
-- Locks: CREATE TRIGGER takes SHARE ROW EXCLUSIVE on workflowexecution for the moment of a catalogue change.
-- An older worker meanwhile: sees no difference.
--
-- What makes a row runnable (workflowexecution.status → run_queue):
--
--   running                                            → due now
--   failed, next_retry_at set, completed_at NULL       → timed, due at next_retry_at
--   paused, waiting_for_signal                         → parked
--   anything else is final; if a worker still holds it → due now, so that a worker stops and settles it
--
-- Rules that every function here keeps:
--   * It can never make the platform's own statement fail: each body is a block whose errors become a WARNING; the
--     worker's repair finds what was missed. lock_timeout bounds the one wait there can be, because a time-out of the
--     platform's own statement could not be caught.
--   * SECURITY DEFINER with a fixed search_path: it works whoever inserts, row-level security or not.
--   * Lock order: host row first, then the row of the run queue. The worker's writes keep the same order.
--   * Nothing heavy in a NOTIFY, and at most one per statement: NOTIFY takes a database-wide lock at commit.

-- The channel on which workers listen. Payload '': there may be work. Payload 'interrupt': somebody wrote the row of
-- an execution that a worker holds. Either means 'look'; the tables say what.
--
-- The priority named in an execution_state, or NULL: LOW, NORMAL, HIGH, CRITICAL or a number, as the key `priority`
-- or as execution_data.priority. Never fails: a state that cannot be read has no priority.
CREATE FUNCTION workflow_worker.priority_in(state text) RETURNS integer
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named text;
BEGIN
    -- Spares nearly every row the parsing of its state.
    IF state IS NULL OR strpos(state, '"priority"') = 0 THEN
        RETURN NULL;
    END IF;
    named := coalesce(state::json ->> 'priority', state::json -> 'execution_data' ->> 'priority');
    RETURN CASE upper(named)
        WHEN 'LOW' THEN 1
        WHEN 'NORMAL' THEN 5
        WHEN 'HIGH' THEN 10
        WHEN 'CRITICAL' THEN 20
        ELSE round(named::numeric)::integer
    END;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.priority_in(text) IS 'The priority named in an execution_state, or NULL';

-- A retry time as the run queue can hold it: within what any clock can hold. (The column takes infinity.)
CREATE FUNCTION workflow_worker.retry_time(next_retry_at timestamp) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT least(greatest(next_retry_at, '0001-01-01'), '9999-12-31') AT TIME ZONE 'utc'
$$;
COMMENT ON FUNCTION workflow_worker.retry_time(timestamp) IS 'A retry time within what any clock can hold';

-- An execution_state with another status and error message, for rows whose state the worker does not rebuild. The API
-- looks at the status inside the JSON, lists look at the column. Never fails: what is no object, or is refused by jsonb,
-- stays as it is.
CREATE FUNCTION workflow_worker.with_status(state text, new_status text, new_error text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF jsonb_typeof(state::jsonb) IS DISTINCT FROM 'object' THEN
        RETURN state;
    END IF;
    RETURN (state::jsonb
            || jsonb_build_object('status', new_status, 'error_message', new_error, 'next_retry_at', NULL))::text;
EXCEPTION WHEN OTHERS THEN
    RETURN state;
END
$$;
COMMENT ON FUNCTION workflow_worker.with_status(text, text, text) IS 'An execution_state with another status and error message';

------------------------------------------------------------------------------------------------------------------
-- BEFORE INSERT: what Python fills in, for rows that come from plain SQL. The API and the screens answer with an
-- error 500 if execution_state lacks one of its keys, so they are there before any worker touches the row.
CREATE FUNCTION workflow_worker.fill_execution() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
DECLARE
    complete json;
BEGIN
    NEW.id := coalesce(NEW.id, gen_random_uuid());
    NEW.execution_id := coalesce(NEW.execution_id, 'exec-' || left(replace(gen_random_uuid()::text, '-', ''), 12));
    NEW.status := coalesce(NEW.status, 'running');
    NEW.started_at := coalesce(NEW.started_at, now() AT TIME ZONE 'utc');
    NEW.retry_count := coalesce(NEW.retry_count, 0);
    NEW.workflow_version := coalesce(
        NEW.workflow_version,
        (SELECT workflow.version FROM public.workflow WHERE workflow.id = NEW.workflow_id),
        1);
    complete := json_build_object(
        'execution_id', NEW.execution_id,
        'workflow_id', NEW.workflow_id,
        'workflow_version', NEW.workflow_version,
        'status', NEW.status,
        'current_node_id', NULL,
        'completed_node_ids', json_build_array(),
        'node_results', json_build_object(),
        'execution_data', json_build_object(),
        'started_at', to_char(NEW.started_at, 'YYYY-MM-DD"T"HH24:MI:SS.US'),
        'retry_count', NEW.retry_count);
    IF NEW.execution_state IS NULL OR NEW.execution_state::text ~ '^\s*(null|\{\s*\})\s*$' THEN
        NEW.execution_state := complete;
    ELSIF NEW.execution_state::text ~ '^\s*\{' THEN
        -- Keys that are given (and are not null) win; missing ones are added. A state that jsonb refuses, such as one
        -- with \u0000 in it, stays as it is: the worker says what is wrong with it.
        BEGIN
            NEW.execution_state := complete::jsonb || (
                SELECT coalesce(jsonb_object_agg(given.key, given.value), '{}')
                FROM jsonb_each(NEW.execution_state::jsonb) AS given
                WHERE given.value <> 'null');
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END IF;
    RETURN NEW;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'workflow_worker: execution % was not completed: %', NEW.id, SQLERRM;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION workflow_worker.fill_execution() IS 'BEFORE INSERT on workflowexecution: fills what only Python filled';

-- The condition spares the API's own rows, which are complete. It compares text, because operators on JSON fail on
-- values that the column accepts.
CREATE TRIGGER workflow_worker_fill
    BEFORE INSERT ON public.workflowexecution
    FOR EACH ROW
    WHEN (NEW.workflow_version IS NULL
          OR NEW.id IS NULL
          OR NEW.execution_id IS NULL
          OR NEW.status IS NULL
          OR NEW.started_at IS NULL
          OR NEW.retry_count IS NULL
          OR NEW.execution_state IS NULL
          OR strpos(NEW.execution_state::text, '"execution_id"') = 0
          OR strpos(NEW.execution_state::text, '"started_at"') = 0)
    EXECUTE FUNCTION workflow_worker.fill_execution();

------------------------------------------------------------------------------------------------------------------
-- AFTER INSERT: into the run queue. Per statement, with a transition table: measured at 1.25 times the cost of a bulk
-- insert without a trigger, where a row trigger costs 1.7 to 2.3 times.
CREATE FUNCTION workflow_worker.enqueue_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
DECLARE
    due_now bigint;
BEGIN
    WITH queued AS (
        INSERT INTO workflow_worker.run_queue (execution_id, run_at, priority, ready)
        SELECT
            inserted.id,
            CASE WHEN inserted.status = 'running' THEN now() ELSE workflow_worker.retry_time(inserted.next_retry_at) END,
            coalesce(workflow_worker.priority_in(inserted.execution_state::text), 5),
            inserted.status = 'running'
        FROM inserted
        WHERE inserted.status = 'running'
           OR (inserted.status = 'failed' AND inserted.next_retry_at IS NOT NULL AND inserted.completed_at IS NULL)
        ON CONFLICT (execution_id) DO NOTHING
        RETURNING ready
    )
    SELECT count(*) INTO due_now FROM queued;
    IF due_now > 0 THEN
        PERFORM pg_notify('workflow_worker', '');
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'workflow_worker: executions were not queued and wait for the next repair: %', SQLERRM;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.enqueue_inserted() IS 'AFTER INSERT on workflowexecution: into the run queue, and wake';

CREATE TRIGGER workflow_worker_inserted
    AFTER INSERT ON public.workflowexecution
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT
    EXECUTE FUNCTION workflow_worker.enqueue_inserted();

------------------------------------------------------------------------------------------------------------------
-- AFTER UPDATE: somebody who is not the worker wrote the row: pause, resume, terminate, psql.
--
-- Per row: PostgreSQL refuses transition tables together with a column list. The worker's own writes set
-- workflow_worker.writer for their statement and cost nothing here.
CREATE FUNCTION workflow_worker.host_row_written() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
DECLARE
    is_runnable CONSTANT boolean := NEW.status = 'running';
    is_retry CONSTANT boolean :=
        NEW.status = 'failed' AND NEW.next_retry_at IS NOT NULL AND NEW.completed_at IS NULL;
    is_parked CONSTANT boolean := NEW.status IN ('paused', 'waiting_for_signal');
    named_priority CONSTANT integer := workflow_worker.priority_in(NEW.execution_state::text);
    holder uuid;
BEGIN
    UPDATE workflow_worker.run_queue AS queued
    SET host_version = queued.host_version + 1,
        priority = coalesce(named_priority, queued.priority),
        ready = CASE WHEN is_retry OR is_parked THEN false ELSE true END,
        run_at = CASE
            WHEN is_retry THEN workflow_worker.retry_time(NEW.next_retry_at)
            WHEN is_parked THEN 'infinity'
            ELSE now()
        END
    WHERE queued.execution_id = NEW.id
    RETURNING queued.worker_id INTO holder;

    IF FOUND THEN
        IF holder IS NOT NULL THEN
            PERFORM pg_notify('workflow_worker', 'interrupt');
        ELSIF NOT is_parked THEN
            PERFORM pg_notify('workflow_worker', '');
        END IF;
    ELSIF is_runnable OR is_retry THEN
        -- It had left the queue, or never was in it: it goes on from its last checkpoint, if it has one.
        INSERT INTO workflow_worker.run_queue
            (execution_id, run_at, priority, ready, revision, graph_hash, checkpoint)
        SELECT
            NEW.id,
            CASE WHEN is_runnable THEN now() ELSE workflow_worker.retry_time(NEW.next_retry_at) END,
            coalesce(named_priority, 5),
            is_runnable,
            coalesce(finished.revision, 0),
            finished.graph_hash,
            finished.checkpoint
        FROM (VALUES (NEW.id)) AS written (id)
        LEFT JOIN workflow_worker.finished ON finished.execution_id = written.id
        ON CONFLICT (execution_id) DO NOTHING;
        PERFORM pg_notify('workflow_worker', '');
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'workflow_worker: the change of execution % is seen at the next poll only: %', NEW.id, SQLERRM;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.host_row_written() IS 'AFTER UPDATE on workflowexecution by anyone but the worker';

CREATE TRIGGER workflow_worker_updated
    AFTER UPDATE OF status, execution_state, next_retry_at, completed_at ON public.workflowexecution
    FOR EACH ROW
    WHEN (current_setting('workflow_worker.writer', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION workflow_worker.host_row_written();

------------------------------------------------------------------------------------------------------------------
-- AFTER DELETE, TRUNCATE: what is gone for the platform is gone for the worker.
CREATE FUNCTION workflow_worker.forget_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
DECLARE
    was_held boolean := false;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        SELECT EXISTS (SELECT FROM workflow_worker.run_queue WHERE worker_id IS NOT NULL) INTO was_held;
        DELETE FROM workflow_worker.run_queue;
        DELETE FROM workflow_worker.steps;
        DELETE FROM workflow_worker.finished;
    ELSE
        WITH dequeued AS (
            DELETE FROM workflow_worker.run_queue USING deleted
            WHERE run_queue.execution_id = deleted.id
            RETURNING run_queue.worker_id
        )
        SELECT coalesce(bool_or(dequeued.worker_id IS NOT NULL), false) INTO was_held FROM dequeued;
        DELETE FROM workflow_worker.steps USING deleted WHERE steps.execution_id = deleted.id;
        DELETE FROM workflow_worker.finished USING deleted WHERE finished.execution_id = deleted.id;
    END IF;
    IF was_held THEN
        PERFORM pg_notify('workflow_worker', 'interrupt');
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'workflow_worker: the state of deleted executions was not removed: %', SQLERRM;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.forget_deleted() IS 'AFTER DELETE or TRUNCATE on workflowexecution: forget the rows here too';

CREATE TRIGGER workflow_worker_deleted
    AFTER DELETE ON public.workflowexecution
    REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT
    EXECUTE FUNCTION workflow_worker.forget_deleted();

CREATE TRIGGER workflow_worker_truncated
    AFTER TRUNCATE ON public.workflowexecution
    FOR EACH STATEMENT
    EXECUTE FUNCTION workflow_worker.forget_deleted();

-- Functions are executable by PUBLIC unless this is said; a trigger needs no such right.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA workflow_worker FROM PUBLIC;

INSERT INTO workflow_worker.host_changes (kind, table_name, object_name)
VALUES
    ('trigger', 'workflowexecution', 'workflow_worker_fill'),
    ('trigger', 'workflowexecution', 'workflow_worker_inserted'),
    ('trigger', 'workflowexecution', 'workflow_worker_updated'),
    ('trigger', 'workflowexecution', 'workflow_worker_deleted'),
    ('trigger', 'workflowexecution', 'workflow_worker_truncated');
