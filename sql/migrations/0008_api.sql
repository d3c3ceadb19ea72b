-- 0008 The SQL API.
--
-- What:  functions by which other services start and steer executions, views that say how these are, events that others
--        may LISTEN to, and a function that grants all that to a role. This file holds what the functions share, start
--        and replay; 0008_control.sql pause … retry, 0008_signals.sql signal … reject, 0008_views.sql the views,
--        0008_access.sql events and grants. They are one migration. docs/sql.md describes all of it for its users.
-- Why:   an INSERT can start an execution, but cannot say 'once', 'later' or 'not in this state', and needs rights on the
--        platform's tables.
-- Locks: CREATE TRIGGER takes SHARE ROW EXCLUSIVE on workflowexecution for the moment of a catalogue change.
-- An older worker meanwhile: sees rows as the platform's API writes them.
--
-- Rules that every function for others keeps:
--   * SECURITY DEFINER with a fixed search_path: its caller needs a right on the function alone. It acts on whatever it is
--     asked to act on; row-level security of the platform's tables does not bind it.
--   * It does what its name says, or it raises one of these, and nothing has happened:
--       WW300 several are meant      WW400 a bad argument        WW403 the workflow is not active
--       WW404 there is no such thing WW409 not in this state     WW410 it has ended
--       WW412 nothing waits for it   WW419 decided already       WW422 none of the options
--   * It writes what the platform's API writes: the status in the column and in execution_state, and the same log rows.
--   * Lock order as everywhere: host row, then the row of the run queue.
--   * A setting of the caller's session cannot make it pass for a worker (SET workflow_worker.writer).

------------------------------------------------------------------------------------------------------------------
-- idempotency_keys: which execution of a workflow was started under which key.
--
-- Kept as long as the execution: a trigger on DELETE removes it. No foreign key, which would make the platform's own
-- TRUNCATE fail; start takes over a key whose execution is gone.
CREATE TABLE workflow_worker.idempotency_keys (
    workflow_id  uuid        NOT NULL,
    key          text        NOT NULL,
    execution_id uuid        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (workflow_id, key)
);
COMMENT ON TABLE workflow_worker.idempotency_keys IS 'Which execution of a workflow was started under which key';

CREATE INDEX idempotency_keys_execution ON workflow_worker.idempotency_keys (execution_id);

CREATE FUNCTION workflow_worker.forget_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
BEGIN
    DELETE FROM workflow_worker.idempotency_keys AS known USING deleted WHERE known.execution_id = deleted.id;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'workflow_worker: idempotency keys of deleted executions were not removed: %', SQLERRM;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.forget_keys() IS 'AFTER DELETE on workflowexecution: its idempotency key goes too';

-- Not named workflow_worker_…: the idle poll counts those that it cannot do without.
CREATE TRIGGER forget_workflow_worker_keys
    AFTER DELETE ON public.workflowexecution
    REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT
    EXECUTE FUNCTION workflow_worker.forget_keys();

INSERT INTO workflow_worker.host_changes (kind, table_name, object_name)
VALUES ('trigger', 'workflowexecution', 'forget_workflow_worker_keys');

------------------------------------------------------------------------------------------------------------------
-- What the functions share.
--
-- The status of a host row, with a word of its own for what the platform calls failed and will be tried again.
CREATE FUNCTION workflow_worker.kind_of(status text, completed_at timestamp, next_retry_at timestamp) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN status = 'failed' AND next_retry_at IS NOT NULL AND completed_at IS NULL THEN 'retrying'
        ELSE status
    END
$$;
COMMENT ON FUNCTION workflow_worker.kind_of(text, timestamp, timestamp)
    IS 'The status of a host row; retrying if it is failed and will be tried again';

-- An object with some keys changed, or added at its end. The rest keeps its order and its spelling, which jsonb would not
-- keep: a replay goes by the order of node_results. Never fails: what is no object, or cannot be read, stays as it is.
CREATE FUNCTION workflow_worker.with_keys(object json, changes json) RETURNS json
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF object IS NULL OR json_typeof(object) <> 'object' THEN
        RETURN object;
    END IF;
    RETURN (
        SELECT json_object_agg(entry.key, entry.value ORDER BY entry.is_new, entry.place)
        FROM (
            SELECT given.key, coalesce(change.value, given.value) AS value, given.place, false AS is_new
            FROM json_each(object) WITH ORDINALITY AS given (key, value, place)
            LEFT JOIN json_each(changes) AS change ON change.key = given.key
            UNION ALL
            SELECT change.key, change.value, change.place, true
            FROM json_each(changes) WITH ORDINALITY AS change (key, value, place)
            WHERE NOT EXISTS (SELECT FROM json_each(object) AS given WHERE given.key = change.key)
        ) AS entry);
EXCEPTION WHEN OTHERS THEN
    RETURN object;
END
$$;
COMMENT ON FUNCTION workflow_worker.with_keys(json, json) IS 'An object with some keys changed or added, the rest as it was';

-- The id of an execution that is named by its id or by its name (exec-…).
CREATE FUNCTION workflow_worker.execution_id(reference text) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found uuid;
BEGIN
    IF coalesce(btrim(reference), '') = '' THEN
        RAISE EXCEPTION 'execution is NULL or blank; it must be an id or a name such as exec-0123456789ab'
            USING ERRCODE = 'WW400';
    END IF;
    SELECT host.id INTO found FROM public.workflowexecution AS host WHERE host.execution_id = btrim(reference);
    IF found IS NULL AND btrim(reference) ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
        SELECT host.id INTO found FROM public.workflowexecution AS host WHERE host.id = btrim(reference)::uuid;
    END IF;
    IF found IS NULL THEN
        RAISE EXCEPTION 'there is no execution "%"', left(reference, 300) USING ERRCODE = 'WW404';
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION workflow_worker.execution_id(text)
    IS 'The id of an execution, by its id or its name (exec-…). WW400: NULL or blank. WW404: there is none';

-- Locks the host row of an execution, and says what is known of it.
CREATE FUNCTION workflow_worker.lock_host_row(execution uuid, OUT name text, OUT kind text, OUT node text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF execution IS NULL THEN
        RAISE EXCEPTION 'execution is NULL; it must be the id of an execution' USING ERRCODE = 'WW400';
    END IF;
    SELECT
        host.execution_id,
        workflow_worker.kind_of(host.status, host.completed_at, host.next_retry_at),
        host.current_node_id
    INTO name, kind, node
    FROM public.workflowexecution AS host
    WHERE host.id = execution
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no execution %', execution USING ERRCODE = 'WW404';
    END IF;
END
$$;
COMMENT ON FUNCTION workflow_worker.lock_host_row(uuid) IS 'Locks the host row of an execution and says what is known of it';

-- Locks the host row and then the row of the run queue.
CREATE FUNCTION workflow_worker.lock_execution(execution uuid, OUT name text, OUT kind text, OUT node text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT * INTO name, kind, node FROM workflow_worker.lock_host_row(execution);
    PERFORM FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = execution FOR UPDATE;
END
$$;
COMMENT ON FUNCTION workflow_worker.lock_execution(uuid) IS 'Locks an execution and says what is known of it';

-- Says that an execution is not in a state for what was asked: WW410 if it has ended, else WW409.
CREATE FUNCTION workflow_worker.refuse(name text, kind text, asked text, hint text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    words CONSTANT text := format('execution %s is %s: it cannot be %s', name, kind, asked);
    code CONSTANT text := CASE WHEN kind IN ('completed', 'failed') THEN 'WW410' ELSE 'WW409' END;
BEGIN
    IF hint IS NULL THEN
        RAISE EXCEPTION '%', words USING ERRCODE = code;
    END IF;
    RAISE EXCEPTION '%', words USING ERRCODE = code, HINT = hint;
END
$$;
COMMENT ON FUNCTION workflow_worker.refuse(text, text, text, text) IS 'Raises WW410 if the execution has ended, else WW409';

-- A log row as the platform's API writes it.
CREATE FUNCTION workflow_worker.log_row(execution uuid, node text, level text, message text) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO public.executionlog (id, execution_id, node_id, level, message, "timestamp")
    VALUES (gen_random_uuid(), execution, left(coalesce(node, 'system'), 255), level, left(message, 5000),
            clock_timestamp() AT TIME ZONE 'utc')
$$;
COMMENT ON FUNCTION workflow_worker.log_row(uuid, text, text, text) IS 'A log row as the platform''s API writes it';

------------------------------------------------------------------------------------------------------------------
-- start.
--
-- The rows of a new execution, as the platform's Run writes them; keys that Run does not write stand at the end of the
-- state. One that is to start later is in the run queue as timed, in the same transaction.
CREATE FUNCTION workflow_worker.insert_execution(
    new_id uuid, workflow uuid, its_version integer, data json, extra json, run_at timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    utc_now CONSTANT timestamp := clock_timestamp() AT TIME ZONE 'utc';
    new_name CONSTANT text := 'exec-' || left(replace(gen_random_uuid()::text, '-', ''), 12);
    is_later CONSTANT boolean := run_at > now();
BEGIN
    INSERT INTO public.workflowexecution
        (id, workflow_id, workflow_version, execution_id, status, started_at, execution_state, retry_count)
    VALUES (
        new_id, workflow, its_version, new_name, 'running', utc_now,
        workflow_worker.with_keys(
            json_build_object(
                'execution_id', new_name,
                'workflow_id', workflow,
                'workflow_version', its_version,
                'status', 'running',
                'current_node_id', NULL,
                'completed_node_ids', json_build_array(),
                'node_results', json_build_object(),
                'execution_data', data,
                'started_at', to_char(utc_now, 'YYYY-MM-DD"T"HH24:MI:SS.US'),
                'retry_count', 0),
            extra),
        0);
    IF is_later THEN
        INSERT INTO workflow_worker.run_queue AS queued
            (execution_id, run_at, priority, ready, timed_from, limit_key, replay_of, replay_from)
        SELECT
            new_id, insert_execution.run_at, coalesce(workflow_worker.priority_in(made.state), 5), false,
            insert_execution.run_at, workflow_worker.concurrency_key_in(made.state), replay.replay_of, replay.replay_from
        FROM (
            SELECT host.execution_state::text AS state FROM public.workflowexecution AS host WHERE host.id = new_id
        ) AS made
        CROSS JOIN LATERAL workflow_worker.replay_in(made.state) AS replay
        ON CONFLICT (execution_id) DO UPDATE
        SET run_at = excluded.run_at,
            ready = false,
            timed_from = excluded.timed_from;
    END IF;
    PERFORM workflow_worker.log_row(new_id, 'start', 'info', 'Workflow execution started: ' || new_name);
    RETURN new_name;
END
$$;
COMMENT ON FUNCTION workflow_worker.insert_execution(uuid, uuid, integer, json, json, timestamptz)
    IS 'The rows of a new execution, as the platform''s Run writes them';

-- What is kept in a new state beside what Run writes. Raises WW400 for what cannot be.
CREATE FUNCTION workflow_worker.extra_state(priority text, concurrency_key text, timeout_seconds numeric) RETURNS json
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    word CONSTANT text := upper(btrim(priority));
    value CONSTANT integer := workflow_worker.priority_in(json_build_object('priority', word)::text);
    -- Ten years, as for nodes.
    most CONSTANT numeric := 315360000;
    extra json := '{}';
BEGIN
    IF word IS NOT NULL THEN
        IF value IS NULL THEN
            RAISE EXCEPTION 'priority is "%"; it must be LOW, NORMAL, HIGH, CRITICAL or a whole number', left(priority, 100)
                USING ERRCODE = 'WW400';
        END IF;
        extra := json_build_object(
            'priority', CASE WHEN word IN ('LOW', 'NORMAL', 'HIGH', 'CRITICAL') THEN to_json(word) ELSE to_json(value) END);
    END IF;
    IF concurrency_key IS NOT NULL THEN
        IF btrim(concurrency_key) = '' OR length(concurrency_key) > 255 THEN
            RAISE EXCEPTION 'concurrency_key has % characters; it must have 1 to 255, and not only blanks',
                length(concurrency_key) USING ERRCODE = 'WW400';
        END IF;
        extra := workflow_worker.with_keys(extra, json_build_object('concurrency_key', concurrency_key));
    END IF;
    IF timeout_seconds IS NOT NULL THEN
        IF timeout_seconds = 'NaN' OR timeout_seconds <= 0 OR timeout_seconds > most THEN
            RAISE EXCEPTION 'timeout_seconds is %; it must be more than 0 and at most %', timeout_seconds, most
                USING ERRCODE = 'WW400';
        END IF;
        extra := workflow_worker.with_keys(extra, json_build_object('timeout_seconds', timeout_seconds));
    END IF;
    RETURN extra;
END
$$;
COMMENT ON FUNCTION workflow_worker.extra_state(text, text, numeric) IS 'Keys of a new state beside those that Run writes';

-- The execution that has a key, or NULL: then the key is the caller's, for `new_id`.
--
-- Whoever comes second waits for the end of the first one's transaction: the INSERT meets its uncommitted row. The loop
-- is for keys whose execution is gone, and for two that find that at the same time.
CREATE FUNCTION workflow_worker.claim_key(workflow uuid, wanted text, new_id uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    holder uuid;
BEGIN
    LOOP
        INSERT INTO workflow_worker.idempotency_keys (workflow_id, key, execution_id)
        VALUES (workflow, wanted, new_id)
        ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        SELECT known.execution_id INTO holder
        FROM workflow_worker.idempotency_keys AS known
        WHERE known.workflow_id = workflow AND known.key = wanted;
        IF EXISTS (SELECT FROM public.workflowexecution AS host WHERE host.id = holder) THEN
            RETURN holder;
        END IF;
        DELETE FROM workflow_worker.idempotency_keys AS known
        WHERE known.workflow_id = workflow
          AND known.key = wanted
          AND known.execution_id = holder;
    END LOOP;
END
$$;
COMMENT ON FUNCTION workflow_worker.claim_key(uuid, text, uuid) IS 'The execution that has an idempotency key, or NULL';

-- Notes that an execution is started on behalf of another: cancelled with it, and one deeper.
--
-- The lock on the parent's row of the run queue keeps the parent from ending before this commit, so its end cannot miss
-- the child. KEY SHARE: several children may be started at the same time.
CREATE FUNCTION workflow_worker.adopt_child(child uuid, parent uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    host record;
BEGIN
    PERFORM FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = parent FOR KEY SHARE;
    SELECT
        parent_row.execution_id AS name,
        workflow_worker.kind_of(parent_row.status, parent_row.completed_at, parent_row.next_retry_at) AS kind
    INTO host
    FROM public.workflowexecution AS parent_row
    WHERE parent_row.id = parent;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no execution %, which is to be the parent', parent USING ERRCODE = 'WW404';
    END IF;
    IF host.kind IN ('completed', 'failed') THEN
        PERFORM workflow_worker.refuse(host.name, host.kind, 'the parent of a new one', NULL);
    END IF;
    INSERT INTO workflow_worker.children (child_id, parent_id, node_id, visit, depth, is_awaited)
    VALUES (
        child, parent, '', 0,
        1 + coalesce((SELECT above.depth FROM workflow_worker.children AS above WHERE above.child_id = parent), 0),
        true);
END
$$;
COMMENT ON FUNCTION workflow_worker.adopt_child(uuid, uuid) IS 'Notes that an execution is started on behalf of another';

CREATE FUNCTION workflow_worker.start(
    workflow_id uuid,
    input jsonb DEFAULT '{}',
    priority text DEFAULT NULL,
    run_at timestamptz DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    parent uuid DEFAULT NULL,
    concurrency_key text DEFAULT NULL,
    timeout_seconds numeric DEFAULT NULL,
    OUT id uuid, OUT name text, OUT is_new boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
AS $$
DECLARE
    extra CONSTANT json := workflow_worker.extra_state(priority, concurrency_key, timeout_seconds);
    new_id CONSTANT uuid := gen_random_uuid();
    target record;
BEGIN
    IF start.workflow_id IS NULL THEN
        RAISE EXCEPTION 'workflow_id is NULL; it must be the id of a workflow' USING ERRCODE = 'WW400';
    END IF;
    IF jsonb_typeof(input) NOT IN ('object', 'null') THEN
        RAISE EXCEPTION 'input is of JSON type %; it must be an object', jsonb_typeof(input) USING ERRCODE = 'WW400';
    END IF;
    IF start.run_at NOT BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00' THEN
        RAISE EXCEPTION 'run_at is %; it must be a time before the year 10000', start.run_at USING ERRCODE = 'WW400';
    END IF;
    IF idempotency_key IS NOT NULL THEN
        IF btrim(idempotency_key) = '' OR length(idempotency_key) > 255 THEN
            RAISE EXCEPTION 'idempotency_key has % characters; it must have 1 to 255, and not only blanks',
                length(idempotency_key) USING ERRCODE = 'WW400';
        END IF;
        id := workflow_worker.claim_key(start.workflow_id, idempotency_key, new_id);
        IF id IS NOT NULL THEN
            is_new := false;
            name := (SELECT host.execution_id FROM public.workflowexecution AS host WHERE host.id = start.id);
            RETURN;
        END IF;
    END IF;
    SELECT known.version, known.is_active, known.name INTO target
    FROM public.workflow AS known
    WHERE known.id = start.workflow_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no workflow %', start.workflow_id USING ERRCODE = 'WW404';
    END IF;
    IF NOT target.is_active THEN
        RAISE EXCEPTION 'the workflow "%" (%) is not active', target.name, start.workflow_id USING ERRCODE = 'WW403';
    END IF;
    IF parent IS NOT NULL THEN
        PERFORM workflow_worker.adopt_child(new_id, parent);
    END IF;
    id := new_id;
    name := workflow_worker.insert_execution(
        new_id, start.workflow_id, target.version,
        CASE WHEN jsonb_typeof(input) = 'object' THEN input::json ELSE '{}'::json END, extra, start.run_at);
    is_new := true;
END
$$;
COMMENT ON FUNCTION workflow_worker.start(uuid, jsonb, text, timestamptz, text, uuid, text, numeric) IS
    'Starts an execution of a workflow; with an idempotency key at most once. WW400: a bad argument. WW403: the workflow is not active. WW404: there is no such workflow or parent. WW410: the parent has ended';

------------------------------------------------------------------------------------------------------------------
-- replay.
--
-- Whether the graph of a workflow has a node, or had it when an execution ran it. What cannot be read is no reason to
-- refuse: the run says what is wrong with it.
CREATE FUNCTION workflow_worker.has_node(workflow uuid, execution uuid, node text) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    nodes jsonb;
BEGIN
    SELECT known.graph_config::jsonb -> 'nodes' INTO nodes FROM public.workflow AS known WHERE known.id = workflow;
    RETURN CASE jsonb_typeof(nodes)
        WHEN 'object' THEN nodes ? node
        WHEN 'array' THEN EXISTS (
            SELECT FROM jsonb_array_elements(nodes) AS given (value)
            WHERE coalesce(given.value ->> 'node_id', given.value ->> 'id') = node)
        ELSE true
    END OR EXISTS (
        SELECT FROM workflow_worker.steps AS step WHERE step.execution_id = execution AND step.node_id = node
    ) OR EXISTS (
        SELECT FROM public.workflownode AS given WHERE given.workflow_id = workflow AND given.node_id = node);
EXCEPTION WHEN OTHERS THEN
    RETURN true;
END
$$;
COMMENT ON FUNCTION workflow_worker.has_node(uuid, uuid, text) IS 'Whether the graph of a workflow has or had a node, as far as can be said';

CREATE FUNCTION workflow_worker.replay(
    execution uuid,
    from_node text DEFAULT NULL,
    priority text DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    OUT id uuid, OUT name text, OUT is_new boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
AS $$
DECLARE
    workflow uuid;
BEGIN
    IF execution IS NULL THEN
        RAISE EXCEPTION 'execution is NULL; it must be the id of an execution' USING ERRCODE = 'WW400';
    END IF;
    SELECT host.workflow_id INTO workflow FROM public.workflowexecution AS host WHERE host.id = execution;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no execution %', execution USING ERRCODE = 'WW404';
    END IF;
    IF from_node IS NOT NULL AND NOT workflow_worker.has_node(workflow, execution, from_node) THEN
        RAISE EXCEPTION 'from_node is "%"; the workflow has no such node', left(from_node, 300) USING ERRCODE = 'WW400';
    END IF;
    SELECT made.id, made.name, made.is_new INTO id, name, is_new
    FROM workflow_worker.start(
        workflow,
        jsonb_build_object(
            'trigger_type', 'replay', 'original_execution_id', execution, 'replay_from_node', from_node),
        priority => replay.priority,
        idempotency_key => replay.idempotency_key) AS made;
    IF is_new THEN
        PERFORM workflow_worker.log_row(id, NULL, 'info', coalesce(
            'Replay started from node: ' || from_node,
            format('Replay started from beginning of execution %s', execution)));
    END IF;
END
$$;
COMMENT ON FUNCTION workflow_worker.replay(uuid, text, text, text) IS
    'Starts an execution anew, from its beginning or from a node. WW400: a bad argument. WW403: the workflow is not active. WW404: there is no such execution';

CREATE FUNCTION workflow_worker.replay(
    execution text,
    from_node text DEFAULT NULL,
    priority text DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    OUT id uuid, OUT name text, OUT is_new boolean)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT * FROM workflow_worker.replay(workflow_worker.execution_id(execution), from_node, priority, idempotency_key)
$$;
COMMENT ON FUNCTION workflow_worker.replay(text, text, text, text) IS 'The same, for an execution by its id or its name';
