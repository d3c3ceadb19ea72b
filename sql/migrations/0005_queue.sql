-- 0005 The run queue, and time.
--
-- What:  what the run queue has to know for time-outs, replays and limits, and the trigger functions that fill it.
-- Why:   a host row cannot hold it: the platform's API rewrites execution_state and loses every key that it does not know.
-- Locks: ALTER TABLE takes ACCESS EXCLUSIVE on run_queue, for the moment of a catalogue change (no row is rewritten).
-- An older worker meanwhile: claims and records as before; it knows nothing of time-outs of executions, replays and
--        limits.

ALTER TABLE workflow_worker.run_queue
    -- From when the execution's time-out counts: when it was inserted, or when it is to start; later by as long as it was
    -- paused; afresh after a retry of what had ended.
    ADD COLUMN timed_from  timestamptz NOT NULL DEFAULT now(),
    -- Since when it is paused: the clock of the time-out stands still meanwhile.
    ADD COLUMN paused_at   timestamptz,
    -- The execution that this one replays, and the node to begin with (NULL: from the beginning). Kept here because the
    -- API overwrites in a second commit what it has said about that in the first.
    ADD COLUMN replay_of   uuid,
    ADD COLUMN replay_from text;

-- The replay that a new row asks for (db-api: the API inserts execution_data = {"trigger_type": "replay",
-- "original_execution_id", "replay_from_node"}). Never fails: what cannot be read asks for none.
CREATE FUNCTION workflow_worker.replay_in(state text, OUT replay_of uuid, OUT replay_from text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
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
COMMENT ON FUNCTION workflow_worker.replay_in(text) IS 'The replay that a new execution_state asks for, or NULLs';

-- As in 0003, and the replay.
CREATE OR REPLACE FUNCTION workflow_worker.enqueue_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
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

-- As in 0003, and how long it was paused; and what somebody writes as waiting for a signal keeps its deadline.
CREATE OR REPLACE FUNCTION workflow_worker.host_row_written() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
DECLARE
    is_runnable CONSTANT boolean := NEW.status = 'running';
    is_retry CONSTANT boolean :=
        NEW.status = 'failed' AND NEW.next_retry_at IS NOT NULL AND NEW.completed_at IS NULL;
    -- What waits for a signal is due: the runner looks, and parks it again with its deadline.
    is_paused CONSTANT boolean := NEW.status = 'paused';
    named_priority CONSTANT integer := workflow_worker.priority_in(NEW.execution_state::text);
    holder uuid;
BEGIN
    UPDATE workflow_worker.run_queue AS queued
    SET host_version = queued.host_version + 1,
        priority = coalesce(named_priority, queued.priority),
        ready = CASE WHEN is_retry OR is_paused THEN false ELSE true END,
        run_at = CASE
            WHEN is_retry THEN workflow_worker.retry_time(NEW.next_retry_at)
            WHEN is_paused THEN 'infinity'
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
        ELSIF NOT is_paused THEN
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

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA workflow_worker FROM PUBLIC;
