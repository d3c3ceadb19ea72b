-- What the migrations make of an empty database, for reading: the schema workflow_worker, and what they add to the
-- platform's tables. Nothing runs this file. To write it anew: UPDATE_SCHEMA=1 cargo test --test it schema_file

CREATE SCHEMA workflow_worker;

COMMENT ON SCHEMA workflow_worker IS 'Owned by workflow-worker. Remove with: workflow-worker uninstall';

CREATE FUNCTION workflow_worker.enqueue_inserted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
    due_now bigint;
BEGIN
    WITH queued AS (
        INSERT INTO workflow_worker.run_queue (execution_id, run_at, priority, ready, replay_of, replay_from)
        SELECT
            inserted.id,
            CASE WHEN inserted.status = 'running' THEN now() ELSE workflow_worker.retry_time(inserted.next_retry_at) END,
            coalesce(workflow_worker.priority_in(inserted.execution_state::text), 5),
            inserted.status = 'running',
            replay.replay_of,
            replay.replay_from
        FROM inserted
        CROSS JOIN LATERAL workflow_worker.replay_in(inserted.execution_state::text) AS replay
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

CREATE FUNCTION workflow_worker.fill_execution() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $_$
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
$_$;

COMMENT ON FUNCTION workflow_worker.fill_execution() IS 'BEFORE INSERT on workflowexecution: fills what only Python filled';

CREATE FUNCTION workflow_worker.forget_deleted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
    was_held boolean := false;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        SELECT EXISTS (SELECT FROM workflow_worker.run_queue WHERE worker_id IS NOT NULL) INTO was_held;
        DELETE FROM workflow_worker.run_queue;
        DELETE FROM workflow_worker.steps;
        DELETE FROM workflow_worker.finished;
        DELETE FROM workflow_worker.children;
    ELSE
        WITH dequeued AS (
            DELETE FROM workflow_worker.run_queue USING deleted
            WHERE run_queue.execution_id = deleted.id
            RETURNING run_queue.worker_id
        )
        SELECT coalesce(bool_or(dequeued.worker_id IS NOT NULL), false) INTO was_held FROM dequeued;
        DELETE FROM workflow_worker.steps USING deleted WHERE steps.execution_id = deleted.id;
        DELETE FROM workflow_worker.finished USING deleted WHERE finished.execution_id = deleted.id;
        -- A block of its own: a relative that somebody has locked for long keeps nothing of the deleted from going.
        BEGIN
            PERFORM workflow_worker.forget_relatives(ARRAY(SELECT deleted.id FROM deleted));
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'workflow_worker: relatives of deleted executions learn of it at the next repair only: %', SQLERRM;
        END;
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

CREATE FUNCTION workflow_worker.forget_relatives(gone uuid[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    parents uuid[];
    orphans uuid[];
    any_due boolean;
    any_held boolean;
BEGIN
    IF NOT EXISTS (SELECT FROM workflow_worker.children) THEN
        RETURN;
    END IF;
    WITH forgotten AS (
        DELETE FROM workflow_worker.children
        USING unnest(gone) AS gone_row (execution_id)
        WHERE children.child_id = gone_row.execution_id
        RETURNING children.parent_id, children.is_awaited
    )
    SELECT coalesce(array_agg(DISTINCT forgotten.parent_id) FILTER (WHERE forgotten.is_awaited), '{}') INTO parents
    FROM forgotten;

    SELECT coalesce(array_agg(child.child_id), '{}') INTO orphans
    FROM workflow_worker.children AS child
    JOIN unnest(gone) AS gone_row (execution_id) ON gone_row.execution_id = child.parent_id
    JOIN workflow_worker.run_queue AS queued ON queued.execution_id = child.child_id
    WHERE child.is_awaited;

    -- In one order, as everywhere.
    PERFORM
    FROM workflow_worker.run_queue AS queued
    WHERE queued.execution_id = ANY (parents || orphans)
    ORDER BY queued.execution_id
    FOR UPDATE;

    UPDATE workflow_worker.children AS child
    SET cancel_reason = format('Parent execution %s was deleted', child.parent_id)
    WHERE child.child_id = ANY (orphans)
      AND EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = child.child_id);

    DELETE FROM workflow_worker.children AS child
    USING unnest(gone) AS gone_row (execution_id)
    WHERE child.parent_id = gone_row.execution_id
      AND NOT EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = child.child_id);

    WITH woken AS (
        UPDATE workflow_worker.run_queue AS queued
        SET host_version = queued.host_version + 1,
            ready = queued.ready OR seen.is_to_wake,
            run_at = CASE WHEN seen.is_to_wake THEN least(queued.run_at, now()) ELSE queued.run_at END
        FROM (
            SELECT
                relative.execution_id,
                relative.worker_id IS NOT NULL AS is_held,
                -- A paused parent stays so; a child is to be ended, paused or not.
                relative.worker_id IS NULL
                    AND (host.status <> 'paused' OR relative.execution_id = ANY (orphans)) AS is_to_wake
            FROM workflow_worker.run_queue AS relative
            JOIN public.workflowexecution AS host ON host.id = relative.execution_id
            WHERE relative.execution_id = ANY (parents || orphans)
        ) AS seen
        WHERE queued.execution_id = seen.execution_id
        RETURNING seen.is_held, seen.is_to_wake
    )
    SELECT coalesce(bool_or(woken.is_to_wake), false), coalesce(bool_or(woken.is_held), false)
    INTO any_due, any_held
    FROM woken;
    IF any_due THEN
        PERFORM pg_notify('workflow_worker', '');
    END IF;
    IF any_held THEN
        PERFORM pg_notify('workflow_worker', 'interrupt');
    END IF;
END
$$;

COMMENT ON FUNCTION workflow_worker.forget_relatives(gone uuid[]) IS 'What becomes of parents and children of executions that are gone';

CREATE FUNCTION workflow_worker.host_row_written() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
    is_runnable CONSTANT boolean := NEW.status = 'running';
    is_retry CONSTANT boolean :=
        NEW.status = 'failed' AND NEW.next_retry_at IS NOT NULL AND NEW.completed_at IS NULL;
    is_parked CONSTANT boolean := NEW.status IN ('paused', 'waiting_for_signal');
    is_paused CONSTANT boolean := NEW.status = 'paused';
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
        END,
        paused_at = CASE WHEN is_paused THEN coalesce(queued.paused_at, now()) END,
        timed_from = CASE
            WHEN is_paused OR queued.paused_at IS NULL THEN queued.timed_from
            ELSE queued.timed_from + (now() - queued.paused_at)
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

CREATE FUNCTION workflow_worker.is_being_deleted(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM FROM public.workflow WHERE workflow.id = wanted FOR KEY SHARE SKIP LOCKED;
    RETURN NOT FOUND AND EXISTS (SELECT FROM public.workflow WHERE workflow.id = wanted);
END
$$;

COMMENT ON FUNCTION workflow_worker.is_being_deleted(wanted uuid) IS 'Whether a workflow is being deleted; if not, keeps it so';

CREATE FUNCTION workflow_worker.priority_in(state text) RETURNS integer
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.priority_in(state text) IS 'The priority named in an execution_state, or NULL';

CREATE FUNCTION workflow_worker.replay_in(state text, OUT replay_of uuid, OUT replay_from text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    asked json;
BEGIN
    -- Spares nearly every row the parsing of its state.
    IF state IS NULL OR strpos(state, '"original_execution_id"') = 0 THEN
        RETURN;
    END IF;
    asked := state::json -> 'execution_data';
    IF asked ->> 'trigger_type' = 'replay' THEN
        replay_of := (asked ->> 'original_execution_id')::uuid;
        replay_from := asked ->> 'replay_from_node';
    END IF;
EXCEPTION WHEN OTHERS THEN
    replay_of := NULL;
    replay_from := NULL;
END
$$;

COMMENT ON FUNCTION workflow_worker.replay_in(state text, OUT replay_of uuid, OUT replay_from text) IS 'The replay that a new execution_state asks for, or NULLs';

CREATE FUNCTION workflow_worker.retry_time(next_retry_at timestamp without time zone) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT least(greatest(next_retry_at, '0001-01-01'), '9999-12-31') AT TIME ZONE 'utc'
$$;

COMMENT ON FUNCTION workflow_worker.retry_time(next_retry_at timestamp without time zone) IS 'A retry time within what any clock can hold';

CREATE FUNCTION workflow_worker.signals_written() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM workflow_worker.wake_signalled(waiting.executions)
        FROM (
            SELECT array_agg(DISTINCT inserted.execution_id) AS executions
            FROM inserted
            WHERE NOT inserted.processed
        ) AS waiting
        WHERE waiting.executions IS NOT NULL;
    ELSE
        PERFORM workflow_worker.wake_signalled(ARRAY[NEW.execution_id]);
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'workflow_worker: signals are seen at the next repair only: %', SQLERRM;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION workflow_worker.signals_written() IS 'AFTER INSERT or UPDATE on workflowsignal by anyone but the worker';

CREATE FUNCTION workflow_worker.start_child(parent uuid, child uuid, child_name text, child_workflow uuid, input json, by_node text, by_visit integer, at_depth integer, is_waited_for boolean) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    utc_now CONSTANT timestamp := clock_timestamp() AT TIME ZONE 'utc';
    its_version integer;
BEGIN
    SELECT workflow.version INTO its_version FROM public.workflow WHERE workflow.id = child_workflow;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO public.workflowexecution
        (id, workflow_id, workflow_version, execution_id, status, started_at, execution_state, retry_count)
    VALUES (
        child, child_workflow, its_version, child_name, 'running', utc_now,
        json_build_object(
            'execution_id', child_name,
            'workflow_id', child_workflow,
            'workflow_version', its_version,
            'status', 'running',
            'current_node_id', NULL,
            'completed_node_ids', json_build_array(),
            'node_results', json_build_object(),
            'execution_data', input,
            'started_at', to_char(utc_now, 'YYYY-MM-DD"T"HH24:MI:SS.US'),
            'retry_count', 0),
        0)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO workflow_worker.children (child_id, parent_id, node_id, visit, depth, is_awaited)
    VALUES (child, parent, by_node, by_visit, at_depth, is_waited_for)
    -- Left over from one that was deleted while triggers were off.
    ON CONFLICT (child_id) DO UPDATE SET cancel_reason = NULL;
    INSERT INTO public.executionlog (id, execution_id, node_id, level, message, "timestamp")
    VALUES (
        gen_random_uuid(), child, 'start', 'info', left('Workflow execution started: ' || child_name, 5000), utc_now);
    RETURN true;
END
$$;

COMMENT ON FUNCTION workflow_worker.start_child(parent uuid, child uuid, child_name text, child_workflow uuid, input json, by_node text, by_visit integer, at_depth integer, is_waited_for boolean) IS 'Starts an execution of a workflow for a node of another';

CREATE FUNCTION workflow_worker.status_now(execution uuid) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (SELECT host.status FROM public.workflowexecution AS host WHERE host.id = execution);
END
$$;

COMMENT ON FUNCTION workflow_worker.status_now(execution uuid) IS 'The status of a host row at this moment';

CREATE FUNCTION workflow_worker.wake_signalled(executions uuid[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    any_due boolean;
    any_held boolean;
    any_added boolean;
BEGIN
    PERFORM
    FROM workflow_worker.run_queue AS queued
    WHERE queued.execution_id = ANY (executions)
    ORDER BY queued.execution_id
    FOR UPDATE;

    WITH woken AS (
        UPDATE workflow_worker.run_queue AS queued
        SET host_version = queued.host_version + 1,
            ready = queued.ready OR seen.is_to_wake,
            run_at = CASE WHEN seen.is_to_wake THEN least(queued.run_at, now()) ELSE queued.run_at END
        FROM (
            SELECT
                held.execution_id,
                held.worker_id IS NOT NULL AS is_held,
                held.worker_id IS NULL AND host.status IN ('waiting_for_signal', 'running') AS is_to_wake
            FROM workflow_worker.run_queue AS held
            JOIN public.workflowexecution AS host ON host.id = held.execution_id
            WHERE held.execution_id = ANY (executions)
        ) AS seen
        WHERE queued.execution_id = seen.execution_id
        RETURNING seen.is_held, seen.is_to_wake
    )
    SELECT coalesce(bool_or(woken.is_to_wake), false), coalesce(bool_or(woken.is_held), false)
    INTO any_due, any_held
    FROM woken;

    INSERT INTO workflow_worker.run_queue
        (execution_id, run_at, priority, ready, revision, graph_hash, checkpoint)
    SELECT
        host.id,
        now(),
        coalesce(workflow_worker.priority_in(host.execution_state::text), 5),
        true,
        coalesce(finished.revision, 0),
        finished.graph_hash,
        finished.checkpoint
    FROM public.workflowexecution AS host
    LEFT JOIN workflow_worker.finished ON finished.execution_id = host.id
    WHERE host.id = ANY (executions)
      AND host.status = 'waiting_for_signal'
      AND NOT EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = host.id)
    ORDER BY host.id
    ON CONFLICT (execution_id) DO NOTHING;
    any_added := FOUND;

    IF any_due OR any_added THEN
        PERFORM pg_notify('workflow_worker', '');
    END IF;
    IF any_held THEN
        PERFORM pg_notify('workflow_worker', 'interrupt');
    END IF;
END
$$;

COMMENT ON FUNCTION workflow_worker.wake_signalled(executions uuid[]) IS 'Wakes whoever waits for signals among these executions';

CREATE FUNCTION workflow_worker.with_status(state text, new_status text, new_error text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.with_status(state text, new_status text, new_error text) IS 'An execution_state with another status and error message';

CREATE TABLE workflow_worker.children (
    child_id uuid NOT NULL,
    parent_id uuid NOT NULL,
    node_id text NOT NULL,
    visit integer NOT NULL,
    depth integer NOT NULL,
    is_awaited boolean NOT NULL,
    cancel_reason text,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE workflow_worker.children IS 'Executions that were started by a node of another, and which';

CREATE SEQUENCE workflow_worker.fence
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE workflow_worker.finished (
    execution_id uuid NOT NULL,
    outcome text NOT NULL,
    fence bigint NOT NULL,
    revision integer NOT NULL,
    graph_hash bytea,
    checkpoint json,
    finished_at timestamp with time zone DEFAULT now() NOT NULL,
    pruned_at timestamp with time zone
);

COMMENT ON TABLE workflow_worker.finished IS 'The last checkpoint of each execution that has left the run queue';

CREATE TABLE workflow_worker.graphs (
    hash bytea NOT NULL,
    source text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    unused_since timestamp with time zone
);

COMMENT ON TABLE workflow_worker.graphs IS 'Each graph content once, by SHA-256';

CREATE TABLE workflow_worker.host_changes (
    id integer NOT NULL,
    kind text NOT NULL,
    table_name text NOT NULL,
    object_name text DEFAULT ''::text NOT NULL
);

COMMENT ON TABLE workflow_worker.host_changes IS 'What was changed outside the schema workflow_worker; uninstall takes it back';

ALTER TABLE workflow_worker.host_changes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME workflow_worker.host_changes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE workflow_worker.migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum bytea NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE workflow_worker.retention (
    is_only_row boolean DEFAULT true NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    started_by text,
    rows bigint DEFAULT 0 NOT NULL,
    bytes bigint DEFAULT 0 NOT NULL,
    problem text,
    CONSTRAINT there_is_one_row CHECK (is_only_row)
);

COMMENT ON TABLE workflow_worker.retention IS 'When old history was last removed, and how much of it';

CREATE TABLE workflow_worker.run_queue (
    execution_id uuid NOT NULL,
    run_at timestamp with time zone DEFAULT now() NOT NULL,
    priority integer DEFAULT 5 NOT NULL,
    ready boolean DEFAULT true NOT NULL,
    worker_id uuid,
    fence bigint,
    claimed_at timestamp with time zone,
    revision integer DEFAULT 0 NOT NULL,
    host_version integer DEFAULT 0 NOT NULL,
    rescues integer DEFAULT 0 NOT NULL,
    graph_hash bytea,
    checkpoint json,
    enqueued_at timestamp with time zone DEFAULT now() NOT NULL,
    timed_from timestamp with time zone DEFAULT now() NOT NULL,
    paused_at timestamp with time zone,
    replay_of uuid,
    replay_from text,
    CONSTRAINT a_lease_has_a_fence CHECK (((worker_id IS NULL) OR (fence IS NOT NULL)))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE workflow_worker.run_queue IS 'One row per execution that is not finished: due, timed, parked or leased';

CREATE TABLE workflow_worker.steps (
    execution_id uuid NOT NULL,
    seq integer NOT NULL,
    node_id text NOT NULL,
    node_type text NOT NULL,
    visit integer NOT NULL,
    attempt integer NOT NULL,
    status text NOT NULL,
    output json NOT NULL,
    error text,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone NOT NULL,
    worker_id uuid NOT NULL,
    fence bigint NOT NULL,
    scope text DEFAULT ''::text NOT NULL,
    is_end boolean DEFAULT false NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.05');

COMMENT ON TABLE workflow_worker.steps IS 'What each execution has done, one row per attempt of a node; seq 0 is its input';

CREATE TABLE workflow_worker.workers (
    id uuid NOT NULL,
    name text NOT NULL,
    hostname text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    lease interval NOT NULL,
    silence interval NOT NULL,
    presence_key bigint,
    state text DEFAULT 'running'::text NOT NULL,
    concurrency integer NOT NULL,
    running integer DEFAULT 0 NOT NULL,
    listening boolean DEFAULT false NOT NULL,
    CONSTRAINT state_is_known CHECK ((state = ANY (ARRAY['running'::text, 'draining'::text])))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='200');

COMMENT ON TABLE workflow_worker.workers IS 'One row per running worker process, with its heartbeat';

ALTER TABLE ONLY workflow_worker.children
    ADD CONSTRAINT children_pkey PRIMARY KEY (child_id);

ALTER TABLE ONLY workflow_worker.finished
    ADD CONSTRAINT finished_pkey PRIMARY KEY (execution_id);

ALTER TABLE ONLY workflow_worker.graphs
    ADD CONSTRAINT graphs_pkey PRIMARY KEY (hash);

ALTER TABLE ONLY workflow_worker.host_changes
    ADD CONSTRAINT host_changes_kind_table_name_object_name_key UNIQUE (kind, table_name, object_name);

ALTER TABLE ONLY workflow_worker.host_changes
    ADD CONSTRAINT host_changes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY workflow_worker.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY workflow_worker.retention
    ADD CONSTRAINT retention_pkey PRIMARY KEY (is_only_row);

ALTER TABLE ONLY workflow_worker.run_queue
    ADD CONSTRAINT run_queue_pkey PRIMARY KEY (execution_id);

ALTER TABLE workflow_worker.steps
    ADD CONSTRAINT status_is_known CHECK ((status = ANY (ARRAY['input'::text, 'success'::text, 'failed'::text, 'opened'::text, 'continued'::text, 'skipped'::text, 'joined'::text]))) NOT VALID;

ALTER TABLE ONLY workflow_worker.steps
    ADD CONSTRAINT steps_pkey PRIMARY KEY (execution_id, seq);

ALTER TABLE ONLY workflow_worker.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);

CREATE INDEX children_parent ON workflow_worker.children USING btree (parent_id);

CREATE INDEX finished_graph ON workflow_worker.finished USING btree (graph_hash);

CREATE INDEX finished_unpruned ON workflow_worker.finished USING btree (finished_at) WHERE (pruned_at IS NULL);

CREATE INDEX run_queue_due ON workflow_worker.run_queue USING btree (priority DESC, run_at, execution_id) WHERE (ready AND (worker_id IS NULL));

CREATE INDEX run_queue_leased ON workflow_worker.run_queue USING btree (worker_id) WHERE (worker_id IS NOT NULL);

CREATE INDEX run_queue_replays ON workflow_worker.run_queue USING btree (replay_of) WHERE (replay_of IS NOT NULL);

CREATE INDEX run_queue_timed ON workflow_worker.run_queue USING btree (run_at) WHERE ((NOT ready) AND (worker_id IS NULL) AND (run_at < 'infinity'::timestamp with time zone));

ALTER TABLE public.executionlog ALTER COLUMN id SET DEFAULT gen_random_uuid();
ALTER TABLE public.executionlog ALTER COLUMN level SET DEFAULT 'info'::character varying;
ALTER TABLE public.executionlog ALTER COLUMN "timestamp" SET DEFAULT (clock_timestamp() AT TIME ZONE 'utc'::text);
ALTER TABLE public.workflow ALTER COLUMN created_at SET DEFAULT (now() AT TIME ZONE 'utc'::text);
ALTER TABLE public.workflowexecution ALTER COLUMN execution_id SET DEFAULT ('exec-'::text || "left"(replace((gen_random_uuid())::text, '-'::text, ''::text), 12));
ALTER TABLE public.workflowexecution ALTER COLUMN id SET DEFAULT gen_random_uuid();
ALTER TABLE public.workflowexecution ALTER COLUMN retry_count SET DEFAULT 0;
ALTER TABLE public.workflowexecution ALTER COLUMN started_at SET DEFAULT (now() AT TIME ZONE 'utc'::text);
ALTER TABLE public.workflowexecution ALTER COLUMN status SET DEFAULT 'running'::character varying;
ALTER TABLE public.workflow ALTER COLUMN id SET DEFAULT gen_random_uuid();
ALTER TABLE public.workflow ALTER COLUMN is_active SET DEFAULT true;
ALTER TABLE public.workflownode ALTER COLUMN id SET DEFAULT gen_random_uuid();
ALTER TABLE public.workflownode ALTER COLUMN position_x SET DEFAULT 0;
ALTER TABLE public.workflownode ALTER COLUMN position_y SET DEFAULT 0;
ALTER TABLE public.workflow ALTER COLUMN owner_id SET DEFAULT '00000000-0000-0000-0000-000000000001'::uuid;
ALTER TABLE public.workflowschedule ALTER COLUMN id SET DEFAULT gen_random_uuid();
ALTER TABLE public.workflowschedule ALTER COLUMN is_active SET DEFAULT true;
ALTER TABLE public.workflowsignal ALTER COLUMN id SET DEFAULT gen_random_uuid();
ALTER TABLE public.workflowsignal ALTER COLUMN processed SET DEFAULT false;
ALTER TABLE public.workflowsignal ALTER COLUMN received_at SET DEFAULT (now() AT TIME ZONE 'utc'::text);
ALTER TABLE public.workflow ALTER COLUMN updated_at SET DEFAULT (now() AT TIME ZONE 'utc'::text);
ALTER TABLE public.workflow ALTER COLUMN version SET DEFAULT 1;
CREATE INDEX workflow_worker_runnable ON public.workflowexecution USING btree (started_at) WHERE (((status)::text = 'running'::text) OR (((status)::text = 'failed'::text) AND (next_retry_at IS NOT NULL) AND (completed_at IS NULL)));
CREATE INDEX workflow_worker_signals ON public.workflowsignal USING btree (execution_id);
CREATE TRIGGER workflow_worker_deleted AFTER DELETE ON public.workflowexecution REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION workflow_worker.forget_deleted();
CREATE TRIGGER workflow_worker_fill BEFORE INSERT ON public.workflowexecution FOR EACH ROW WHEN (((new.workflow_version IS NULL) OR (new.id IS NULL) OR (new.execution_id IS NULL) OR (new.status IS NULL) OR (new.started_at IS NULL) OR (new.retry_count IS NULL) OR (new.execution_state IS NULL) OR (strpos((new.execution_state)::text, '"execution_id"'::text) = 0) OR (strpos((new.execution_state)::text, '"started_at"'::text) = 0))) EXECUTE FUNCTION workflow_worker.fill_execution();
CREATE TRIGGER workflow_worker_inserted AFTER INSERT ON public.workflowexecution REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION workflow_worker.enqueue_inserted();
CREATE TRIGGER workflow_worker_truncated AFTER TRUNCATE ON public.workflowexecution FOR EACH STATEMENT EXECUTE FUNCTION workflow_worker.forget_deleted();
CREATE TRIGGER workflow_worker_updated AFTER UPDATE OF status, execution_state, next_retry_at, completed_at ON public.workflowexecution FOR EACH ROW WHEN ((current_setting('workflow_worker.writer'::text, true) IS DISTINCT FROM 'on'::text)) EXECUTE FUNCTION workflow_worker.host_row_written();
CREATE TRIGGER workflow_worker_signal_updated AFTER UPDATE OF signal_data, processed, signal_type ON public.workflowsignal FOR EACH ROW WHEN (((NOT new.processed) AND (current_setting('workflow_worker.writer'::text, true) IS DISTINCT FROM 'on'::text))) EXECUTE FUNCTION workflow_worker.signals_written();
CREATE TRIGGER workflow_worker_signalled AFTER INSERT ON public.workflowsignal REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT WHEN ((current_setting('workflow_worker.writer'::text, true) IS DISTINCT FROM 'on'::text)) EXECUTE FUNCTION workflow_worker.signals_written();
