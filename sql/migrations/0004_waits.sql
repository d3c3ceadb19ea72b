-- 0004 Waits.
--
-- What:  what executions need that wait for somebody: triggers on workflowsignal that wake whoever waits for a signal,
--        and a table of the executions that others have started (sub_workflow), with what keeps both true.
-- Why:   an answer is a row that anybody inserts or updates by SQL; the end of a child is the commit that ends it. Either
--        makes the waiting execution due in that same commit, so there is nothing to poll for.
-- Locks: CREATE TRIGGER takes SHARE ROW EXCLUSIVE on workflowsignal for the moment of a catalogue change; CREATE INDEX
--        takes SHARE on it for one scan (writers wait, readers do not). Of the own tables only steps is altered, without
--        a scan of it.
-- An older worker meanwhile: writes steps without a scope, which is right for all that it knows, and does not tell a
--        parent of its child's end; repair_waiting.sql finds that.
--
-- A signal counts as a write of the host row by somebody else: run_queue.host_version goes up. A runner that has not seen
-- it is told so by its next record, and looks. So no signal can fall between a look and a park.
--
-- The DEFAULTs of 0002 fill id, received_at and processed of a workflowsignal that plain SQL inserts.

------------------------------------------------------------------------------------------------------------------
-- children: which execution was started by a node of which other.
--
-- A row is inserted in the commit of the parent's record that also inserts the child's host row. No foreign keys, as in
-- run_queue: a trigger on DELETE does their work.
CREATE TABLE workflow_worker.children (
    -- workflowexecution.id of the execution that was started …
    child_id      uuid        NOT NULL,
    -- … and of the one whose node started it.
    parent_id     uuid        NOT NULL,
    node_id       text        NOT NULL,
    visit         integer     NOT NULL,
    -- 1 for what a root starts, 2 for what that starts: bounds recursion.
    depth         integer     NOT NULL,
    -- Whether the parent waits for its end: then the end wakes the parent, and the parent's end cancels the child.
    is_awaited    boolean     NOT NULL,
    -- Set when the parent no longer wants it; the child's own runner then ends it, with this text, under its own lease.
    -- Taken back when that is done, so that one that is resumed by hand afterwards is not ended again.
    cancel_reason text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT children_pkey PRIMARY KEY (child_id)
);
COMMENT ON TABLE workflow_worker.children IS 'Executions that were started by a node of another, and which';

CREATE INDEX children_parent ON workflow_worker.children (parent_id);

------------------------------------------------------------------------------------------------------------------
-- steps: more ways in which a visit is recorded, and the rounds of the loops that it belongs to.
--
-- NOT VALID, and not validated: the rows that are there have met the narrower condition, so there is nothing to find, and
-- the scan would happen under the lock that ADD COLUMN holds to the commit.
ALTER TABLE workflow_worker.steps
    -- Such as orders[3]/lines[0]; empty outside loops. A constant default, so that no row is rewritten.
    ADD COLUMN scope text NOT NULL DEFAULT '',
    -- Whether a path of that round (branch, part of a try) ended with this step: its output is part of the result.
    ADD COLUMN is_end boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT status_is_known,
    ADD CONSTRAINT status_is_known CHECK (status IN (
        'input', 'success', 'failed', 'opened', 'continued', 'skipped', 'joined')) NOT VALID;

------------------------------------------------------------------------------------------------------------------
-- Signals of one execution, and the repair's look at the unprocessed ones. (The cascade from workflowexecution uses it
-- as well.)
CREATE INDEX IF NOT EXISTS workflow_worker_signals ON public.workflowsignal (execution_id);

-- Wakes whoever waits for signals among these executions; what each does with them its runner decides.
--
-- An execution that a worker holds is told to look. One that nobody holds becomes due, unless it is paused (the signal is
-- kept, and seen after the resume), waits for a retry, or is over. One that is parked by its host row alone, left by the
-- platform's earlier worker, gets its place in the run queue.
--
-- Two statements: the first takes the locks, always in one order; the second then sees what whoever held them before has
-- committed, the host row's status as well. In one, the status would be older than the row of the queue, and a runner
-- that parks at this moment would not be woken.
CREATE FUNCTION workflow_worker.wake_signalled(executions uuid[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
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
COMMENT ON FUNCTION workflow_worker.wake_signalled(uuid[]) IS 'Wakes whoever waits for signals among these executions';

-- AFTER INSERT: per statement, with a transition table, as for executions. AFTER UPDATE (an answer written into the
-- request's own row): per row, because PostgreSQL refuses transition tables together with a column list.
--
-- The rules are those of 0003: never fails the statement of whoever signals, works whoever that is.
CREATE FUNCTION workflow_worker.signals_written() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
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

CREATE TRIGGER workflow_worker_signalled
    AFTER INSERT ON public.workflowsignal
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT
    WHEN (current_setting('workflow_worker.writer', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION workflow_worker.signals_written();

CREATE TRIGGER workflow_worker_signal_updated
    AFTER UPDATE OF signal_data, processed, signal_type ON public.workflowsignal
    FOR EACH ROW
    WHEN (NOT NEW.processed AND current_setting('workflow_worker.writer', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION workflow_worker.signals_written();

------------------------------------------------------------------------------------------------------------------
-- What record.sql needs beside plain statements.
--
-- The status of a host row at this moment, and not as of the statement that asks: VOLATILE, so it takes a snapshot of its
-- own. Under the lock on the row of the run queue that is the status that this row goes with.
CREATE FUNCTION workflow_worker.status_now(execution uuid) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT host.status FROM public.workflowexecution AS host WHERE host.id = execution);
END
$$;
COMMENT ON FUNCTION workflow_worker.status_now(uuid) IS 'The status of a host row at this moment';

-- Whether somebody is deleting this workflow (or changing its key) in an open transaction. If not, its row is kept from
-- that until the end of ours, so that the foreign key of a new execution waits for nobody. SECURITY DEFINER: locking a
-- row takes a right to UPDATE it, which a worker needs for nothing else.
CREATE FUNCTION workflow_worker.is_being_deleted(wanted uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM public.workflow WHERE workflow.id = wanted FOR KEY SHARE SKIP LOCKED;
    RETURN NOT FOUND AND EXISTS (SELECT FROM public.workflow WHERE workflow.id = wanted);
END
$$;
COMMENT ON FUNCTION workflow_worker.is_being_deleted(uuid) IS 'Whether a workflow is being deleted; if not, keeps it so';

-- Starts an execution of a workflow for a node of another: its host row, complete and as the platform's Run writes it, so
-- that no trigger is needed for that; its row in children; its first log row. Returns whether it did: not if the
-- workflow is gone, nor if there is such an execution already.
--
-- A function, so that the many records which start nothing do not pay for it: a data-modifying WITH over no rows still
-- runs the triggers of its table.
CREATE FUNCTION workflow_worker.start_child(
    parent uuid, child uuid, child_name text, child_workflow uuid, input json,
    by_node text, by_visit integer, at_depth integer, is_waited_for boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
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
COMMENT ON FUNCTION workflow_worker.start_child(uuid, uuid, text, uuid, json, text, integer, integer, boolean)
    IS 'Starts an execution of a workflow for a node of another';

------------------------------------------------------------------------------------------------------------------
-- What becomes of the relatives of executions that are gone: a parent that waits for one of them looks, and learns that
-- there is nothing to wait for; their awaited children, which nobody waits for any more, are cancelled.
--
-- The rows of children go with the child. Those that name a parent which is gone go too, unless the child still runs: it
-- needs its depth and its cancel_reason.
CREATE FUNCTION workflow_worker.forget_relatives(gone uuid[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
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
COMMENT ON FUNCTION workflow_worker.forget_relatives(uuid[]) IS 'What becomes of parents and children of executions that are gone';

-- As in 0003, and the relatives.
CREATE OR REPLACE FUNCTION workflow_worker.forget_deleted() RETURNS trigger
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

-- Functions are executable by PUBLIC unless this is said; a trigger needs no such right.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA workflow_worker FROM PUBLIC;

INSERT INTO workflow_worker.host_changes (kind, table_name, object_name)
VALUES
    ('index', 'workflowsignal', 'workflow_worker_signals'),
    ('trigger', 'workflowsignal', 'workflow_worker_signalled'),
    ('trigger', 'workflowsignal', 'workflow_worker_signal_updated');
