-- 0005 The run queue, and time.
--
-- What:  what the run queue has to know for time-outs, replays, priorities and limits; the trigger functions that fill it;
--        set_priority; limits on how many executions run or start, set_limit and remove_limit.
-- Why:   a host row cannot hold it: the platform's API rewrites execution_state and loses every key that it does not know.
-- Locks: ALTER TABLE takes ACCESS EXCLUSIVE on run_queue, for the moment of a catalogue change (no row is rewritten), and
--        CREATE INDEX keeps it for three scans of the executions that are not finished.
-- An older worker meanwhile: claims and records as before, in the old order, for which it has to sort; it knows nothing of
--        time-outs of executions, replays and limits, and what it runs is not counted.
--
-- Read in this order: order of the queue, priorities, trigger functions, limits.

ALTER TABLE workflow_worker.run_queue
    -- From when the execution's time-out counts: when it was inserted, or when it is to start; later by as long as it was
    -- paused; afresh after a retry of what had ended.
    ADD COLUMN timed_from  timestamptz NOT NULL DEFAULT now(),
    -- Since when it is paused: the clock of the time-out stands still meanwhile.
    ADD COLUMN paused_at   timestamptz,
    -- The execution that this one replays, and the node to begin with (NULL: from the beginning). Kept here because the
    -- API overwrites in a second commit what it has said about that in the first.
    ADD COLUMN replay_of   uuid,
    ADD COLUMN replay_from text,
    -- The execution's own key for limits of kind 'key'; NULL: none.
    ADD COLUMN limit_key   text,
    -- The limit that it waits for, such as 'key:tenant-7'; NULL: none. Means something only while the row is ready and
    -- nobody holds it.
    ADD COLUMN held_by     text;

COMMENT ON COLUMN workflow_worker.run_queue.limit_key IS 'The concurrency key of the execution, or NULL';
COMMENT ON COLUMN workflow_worker.run_queue.held_by IS 'The limit that the execution waits for, while it is ready and nobody holds it; held_reason() says it in words';

-- What comes back later comes back as what it was.
ALTER TABLE workflow_worker.finished
    ADD COLUMN priority  integer,
    ADD COLUMN limit_key text;

------------------------------------------------------------------------------------------------------------------
-- The order of the queue: by the time since which an execution is due, moved ahead by a minute for each point of its
-- priority. So NORMAL (5) goes before LOW (1), unless the latter has waited four minutes longer: nothing starves, and the
-- order of two rows never changes while they wait, so that it is one range of an index.
--
-- AT TIME ZONE 'UTC' because a timestamptz minus an interval depends on the session's zone; infinity stays infinity, and
-- no integer leads out of the range of timestamp.
DROP INDEX workflow_worker.run_queue_due;
CREATE INDEX run_queue_due ON workflow_worker.run_queue
    (((run_at AT TIME ZONE 'UTC') - priority * interval '1 minute'), execution_id)
    -- What the expression is made of: without it the poll would have to look at the rows.
    INCLUDE (run_at, priority)
    WHERE ready AND worker_id IS NULL AND held_by IS NULL;

-- What waits for a limit: by limit; then 0 for those that somebody has taken up before and 1 for new ones, or a long queue
-- would stop what is half done; then in the order of the queue.
CREATE INDEX run_queue_held ON workflow_worker.run_queue
    (held_by, ((fence IS NULL AND revision = 0)::integer), ((run_at AT TIME ZONE 'UTC') - priority * interval '1 minute'), execution_id)
    WHERE held_by IS NOT NULL AND ready AND worker_id IS NULL;

------------------------------------------------------------------------------------------------------------------
-- Priorities.
--
-- The number of a priority: LOW, NORMAL, HIGH, CRITICAL or a number. NULL for anything else. Never fails.
CREATE FUNCTION workflow_worker.priority_number(named text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE upper(btrim(named))
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
COMMENT ON FUNCTION workflow_worker.priority_number(text) IS 'The number of a priority (a word or a number), or NULL';

-- As in 0003, with the function above.
CREATE OR REPLACE FUNCTION workflow_worker.priority_in(state text) RETURNS integer
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Spares nearly every row the parsing of its state.
    IF state IS NULL OR strpos(state, '"priority"') = 0 THEN
        RETURN NULL;
    END IF;
    RETURN workflow_worker.priority_number(
        coalesce(state::json ->> 'priority', state::json -> 'execution_data' ->> 'priority'));
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;

-- Changes the priority of an execution that is not finished, whether it waits or runs. Only the order of what waits
-- changes, so nobody is woken. Later writes of the platform leave it, unless they bring a priority that was not in the
-- state before.
CREATE FUNCTION workflow_worker.set_priority(execution uuid, priority text) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
DECLARE
    wanted CONSTANT integer := workflow_worker.priority_number(set_priority.priority);
    its_status text;
BEGIN
    IF wanted IS NULL THEN
        RAISE EXCEPTION 'priority is %, and not LOW, NORMAL, HIGH, CRITICAL or a whole number',
            coalesce(quote_literal(set_priority.priority), 'NULL')
            USING ERRCODE = 'WW400';
    END IF;
    IF set_priority.execution IS NULL THEN
        RAISE EXCEPTION 'execution is NULL; it must name one' USING ERRCODE = 'WW400';
    END IF;
    UPDATE workflow_worker.run_queue AS queued
    SET priority = wanted
    WHERE queued.execution_id = set_priority.execution;
    IF FOUND THEN
        RETURN wanted;
    END IF;
    SELECT host.status INTO its_status FROM public.workflowexecution AS host WHERE host.id = set_priority.execution;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no execution %', set_priority.execution USING ERRCODE = 'WW404';
    END IF;
    RAISE EXCEPTION 'execution % has ended (%): only one that waits or runs has a priority', set_priority.execution, its_status
        USING ERRCODE = 'WW410';
END
$$;
COMMENT ON FUNCTION workflow_worker.set_priority(uuid, text) IS
    'Changes the priority of an execution that waits or runs, and returns its number. WW400: no such priority. WW404: no such execution. WW410: it has ended';

------------------------------------------------------------------------------------------------------------------
-- Limit keys.
--
-- A name as a part of a key that an index can hold: a long one is cut, and told from others by its MD5.
CREATE FUNCTION workflow_worker.limit_subject(name text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN octet_length(name) <= 200 THEN name ELSE left(name, 40) || '#' || md5(name) END
$$;
COMMENT ON FUNCTION workflow_worker.limit_subject(text) IS 'A name as a part of a limit key; a long one is cut';

-- The concurrency key named in an execution_state, or NULL: the key `concurrency_key`, or execution_data.concurrency_key.
-- Never fails: a state that cannot be read names none.
CREATE FUNCTION workflow_worker.concurrency_key_in(state text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Spares nearly every row the parsing of its state.
    IF state IS NULL OR strpos(state, '"concurrency_key"') = 0 THEN
        RETURN NULL;
    END IF;
    RETURN nullif(workflow_worker.limit_subject(
        coalesce(state::json ->> 'concurrency_key', state::json -> 'execution_data' ->> 'concurrency_key')), '');
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.concurrency_key_in(text) IS 'The concurrency key named in an execution_state, or NULL';

------------------------------------------------------------------------------------------------------------------
-- Trigger functions.
--
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

-- Wakes the workers that sleep. 0010 spares those inserts the NOTIFY that nobody would hear.
CREATE FUNCTION workflow_worker.wake() RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_notify('workflow_worker', '')
$$;
COMMENT ON FUNCTION workflow_worker.wake() IS 'Wakes the workers that sleep';

-- As in 0003, and the replay and the concurrency key. Of many new rows no more become due at once than the limits let run:
-- the rest is put to wait here, or each of them would cost a claim a look. Such rows are added as parked ones first, so that
-- none of them leaves anything in the index that claims read.
CREATE OR REPLACE FUNCTION workflow_worker.enqueue_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
DECLARE
    is_to_share boolean;
    due_now uuid[];
BEGIN
    is_to_share := EXISTS (SELECT FROM workflow_worker.limits) AND (SELECT count(*) > 1 FROM inserted);
    WITH queued AS (
        INSERT INTO workflow_worker.run_queue (execution_id, run_at, priority, ready, limit_key, replay_of, replay_from)
        SELECT
            inserted.id,
            CASE
                WHEN inserted.status <> 'running' THEN workflow_worker.retry_time(inserted.next_retry_at)
                WHEN is_to_share THEN 'infinity'
                ELSE now()
            END,
            -- A replay is like its original, unless it says otherwise.
            coalesce(workflow_worker.priority_in(inserted.execution_state::text), original.priority, 5),
            inserted.status = 'running' AND NOT is_to_share,
            coalesce(workflow_worker.concurrency_key_in(inserted.execution_state::text), original.limit_key),
            replay.replay_of,
            replay.replay_from
        FROM inserted
        CROSS JOIN LATERAL workflow_worker.replay_in(inserted.execution_state::text) AS replay
        LEFT JOIN LATERAL (
            SELECT queued.priority, queued.limit_key
            FROM workflow_worker.run_queue AS queued
            WHERE queued.execution_id = replay.replay_of
            UNION ALL
            SELECT finished.priority, finished.limit_key
            FROM workflow_worker.finished
            WHERE finished.execution_id = replay.replay_of
            LIMIT 1
        ) AS original ON replay.replay_of IS NOT NULL
        WHERE inserted.status = 'running'
           OR (inserted.status = 'failed' AND inserted.next_retry_at IS NOT NULL AND inserted.completed_at IS NULL)
        ON CONFLICT (execution_id) DO NOTHING
        RETURNING execution_id, ready, run_at
    )
    -- One is enough to know that there is any.
    SELECT CASE
        WHEN is_to_share THEN ARRAY(SELECT queued.execution_id FROM queued WHERE queued.run_at = 'infinity')
        ELSE ARRAY(SELECT queued.execution_id FROM queued WHERE queued.ready LIMIT 1)
    END INTO due_now;
    IF is_to_share THEN
        UPDATE workflow_worker.run_queue AS queued
        SET ready = true, run_at = now(), held_by = its.limit_key
        FROM workflow_worker.excess_of(due_now) AS its
        WHERE queued.execution_id = its.execution_id;
    END IF;
    IF cardinality(due_now) > 0 THEN
        PERFORM workflow_worker.wake();
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'workflow_worker: executions were not queued and wait for the next repair: %', SQLERRM;
    RETURN NULL;
END
$$;

-- As in 0003, and: how long it was paused; what is due already keeps its place, and goes on waiting for its limit; a priority
-- counts only where it is new in the state, or each rewrite would take back what set_priority has set; what somebody
-- writes as waiting for a signal keeps its deadline.
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
    new_priority CONSTANT integer :=
        nullif(named_priority, workflow_worker.priority_in(OLD.execution_state::text));
    holder uuid;
BEGIN
    UPDATE workflow_worker.run_queue AS queued
    SET host_version = queued.host_version + 1,
        priority = coalesce(new_priority, queued.priority),
        -- What is to start later keeps its time.
        ready = NOT (is_retry OR is_paused)
            AND NOT (is_runnable AND queued.timed_from > now() AND queued.revision = 0 AND queued.worker_id IS NULL),
        run_at = CASE
            WHEN is_retry THEN workflow_worker.retry_time(NEW.next_retry_at)
            WHEN is_paused THEN 'infinity'
            WHEN is_runnable AND queued.timed_from > now() AND queued.revision = 0 AND queued.worker_id IS NULL
                THEN queued.timed_from
            WHEN is_runnable AND queued.ready AND queued.worker_id IS NULL THEN queued.run_at
            ELSE now()
        END,
        -- One that is over waits for no limit: it is only to be settled.
        held_by = CASE WHEN is_runnable AND queued.ready AND queued.worker_id IS NULL THEN queued.held_by END,
        paused_at = CASE WHEN is_paused THEN coalesce(queued.paused_at, now()) END,
        timed_from = CASE
            WHEN is_paused OR queued.paused_at IS NULL THEN queued.timed_from
            ELSE queued.timed_from + greatest(now() - greatest(queued.paused_at, queued.timed_from), interval '0')
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
            (execution_id, run_at, priority, ready, limit_key, revision, graph_hash, checkpoint)
        SELECT
            NEW.id,
            CASE WHEN is_runnable THEN now() ELSE workflow_worker.retry_time(NEW.next_retry_at) END,
            coalesce(new_priority, finished.priority, named_priority, 5),
            is_runnable,
            coalesce(finished.limit_key, workflow_worker.concurrency_key_in(NEW.execution_state::text)),
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

-- As in 0004, and: what is to start later starts at its time, and what comes back has its priority and its key.
CREATE OR REPLACE FUNCTION workflow_worker.wake_signalled(executions uuid[]) RETURNS void
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
                held.worker_id IS NULL
                    AND host.status IN ('waiting_for_signal', 'running')
                    AND NOT (held.revision = 0 AND held.timed_from > now()) AS is_to_wake
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
        (execution_id, run_at, priority, ready, limit_key, revision, graph_hash, checkpoint)
    SELECT
        host.id,
        now(),
        coalesce(finished.priority, workflow_worker.priority_in(host.execution_state::text), 5),
        true,
        coalesce(finished.limit_key, workflow_worker.concurrency_key_in(host.execution_state::text)),
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

-- As in 0004, and the child has the priority of its parent. It is named in the state, so that it also holds where triggers
-- are off and the repair finds the row.
CREATE OR REPLACE FUNCTION workflow_worker.start_child(
    parent uuid, child uuid, child_name text, child_workflow uuid, input json,
    by_node text, by_visit integer, at_depth integer, is_waited_for boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    utc_now CONSTANT timestamp := clock_timestamp() AT TIME ZONE 'utc';
    its_version integer;
    its_priority integer;
    its_state text;
BEGIN
    SELECT workflow.version INTO its_version FROM public.workflow WHERE workflow.id = child_workflow;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    its_state := json_build_object(
        'execution_id', child_name,
        'workflow_id', child_workflow,
        'workflow_version', its_version,
        'status', 'running',
        'current_node_id', NULL,
        'completed_node_ids', json_build_array(),
        'node_results', json_build_object(),
        'execution_data', input,
        'started_at', to_char(utc_now, 'YYYY-MM-DD"T"HH24:MI:SS.US'),
        'retry_count', 0)::text;
    SELECT queued.priority INTO its_priority FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = parent;
    IF its_priority <> 5 THEN
        -- As text: operators on JSON fail on values that the column accepts.
        its_state := format('{"priority": %s, %s', its_priority, ltrim(substr(its_state, 2)));
    END IF;
    INSERT INTO public.workflowexecution
        (id, workflow_id, workflow_version, execution_id, status, started_at, execution_state, retry_count)
    VALUES (child, child_workflow, its_version, child_name, 'running', utc_now, its_state::json, 0)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF its_priority <> 5 THEN
        -- The trigger cannot read every state.
        UPDATE workflow_worker.run_queue AS queued
        SET priority = its_priority
        WHERE queued.execution_id = child AND queued.priority <> its_priority;
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

------------------------------------------------------------------------------------------------------------------
-- Limits: how many executions of a workflow, of an owner, or with a concurrency key may run, and start, at the same time.
--
-- An execution that is due and over a limit is put to wait: held_by names the limit, and the row leaves run_queue_due, so
-- that no claim passes it again. It is let go, in order, when there is room: by whoever sees the end of an execution under
-- the same limit, by a timer (rates), and by each poll.
--
--   due ──claim: no room──▶ waits (held_by) ──admit: room──▶ due, with a place promised ──claim──▶ leased, uses a place
--
-- What is true:
--   * 'Running' means: a worker holds it. A use of a place is a row of limit_uses with the fence of a lease, and counts as
--     long as that lease is in force. Whatever ends the lease frees the place, without a write: so none can leak.
--   * One key is dealt with by one transaction at a time, under an advisory lock that is held to its commit, and each look
--     takes a snapshot of its own after that: two claims cannot give away the same place.
--   * Claims only try for that lock; what they cannot get stays due for the next. `admit` waits for it; whoever holds it
--     waits for no row, and locks come in one order.
--   * At most as many rows under one limit are due as it lets run: what is let go has a place promised (a use with the
--     fence 0, which counts as long as the row is due), and a bulk insert puts the rest to wait by itself.
--   * A row is put to wait only by a claim that saw each place in use or promised, or beside another that stays due. So
--     there is always an end to come that lets it go. (Where that one is paused or deleted first, the poll does it.)
CREATE TABLE workflow_worker.limits (
    kind        text        NOT NULL,
    -- A workflow's id, a user's id, a concurrency key; or '*': each one separately that has no row of its own.
    subject     text        NOT NULL,
    max_running integer,
    max_starts  integer,
    per         interval,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT limits_pkey PRIMARY KEY (kind, subject),
    CONSTRAINT kind_is_known CHECK (kind IN ('workflow', 'owner', 'key')),
    CONSTRAINT something_is_limited CHECK (max_running IS NOT NULL OR max_starts IS NOT NULL),
    CONSTRAINT a_rate_has_a_period CHECK ((max_starts IS NULL) = (per IS NULL))
);
COMMENT ON TABLE workflow_worker.limits IS 'How many executions may run or start at once; written by set_limit and remove_limit';
COMMENT ON COLUMN workflow_worker.limits.kind IS 'workflow, owner or key';
COMMENT ON COLUMN workflow_worker.limits.subject IS 'The id or key, or * for each one separately';
COMMENT ON COLUMN workflow_worker.limits.max_running IS 'How many may run at the same time; NULL: any number';
COMMENT ON COLUMN workflow_worker.limits.max_starts IS 'How many may start within any period of the length `per`; NULL: any number';

CREATE TABLE workflow_worker.limit_uses (
    limit_key    text   NOT NULL,
    execution_id uuid   NOT NULL,
    -- Of the lease; 0: promised to a row that is due.
    fence        bigint NOT NULL,
    CONSTRAINT limit_uses_pkey PRIMARY KEY (limit_key, execution_id, fence)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE workflow_worker.limit_uses IS 'Who has a place under which limit, as long as the lease with that fence is in force';

CREATE TABLE workflow_worker.limit_starts (
    limit_key text        NOT NULL,
    -- Without gaps, so that two of them say how many lie between.
    seq       bigint      NOT NULL,
    taken_at  timestamptz NOT NULL,
    CONSTRAINT limit_starts_pkey PRIMARY KEY (limit_key, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE workflow_worker.limit_starts IS 'The first starts under each limited rate that count still';

-- When the next start will be possible under a rate for which something waits. Written under the key's lock only.
CREATE TABLE workflow_worker.limit_openings (
    limit_key text        NOT NULL,
    opens_at  timestamptz NOT NULL,
    CONSTRAINT limit_openings_pkey PRIMARY KEY (limit_key)
);
CREATE INDEX limit_openings_next ON workflow_worker.limit_openings (opens_at);
COMMENT ON TABLE workflow_worker.limit_openings IS 'When the next start will be possible under a rate for which something waits';

-- The limits on these executions. None on what is only to be ended or looked at: terminated, paused, cancelled.
--
-- enable_seqscan is off here and below because the plans of these functions are kept, and one that was made while the
-- tables were small would read all of them later.
CREATE FUNCTION workflow_worker.limits_on(executions uuid[])
RETURNS TABLE (execution_id uuid, limit_key text, max_running integer, max_starts integer)
ROWS 10
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY
    SELECT queued.execution_id, subject.kind || ':' || subject.name, chosen.max_running, chosen.max_starts
    FROM unnest(executions) AS given (execution_id)
    -- OFFSET 0: one after the other by its primary key. No estimate knows how many are given, and a plan that was made for
    -- a few would take hours for many.
    CROSS JOIN LATERAL (
        SELECT its.execution_id, its.limit_key
        FROM workflow_worker.run_queue AS its
        WHERE its.execution_id = given.execution_id
        OFFSET 0
    ) AS queued
    CROSS JOIN LATERAL (
        SELECT its.workflow_id, its.status, its.next_retry_at, its.completed_at
        FROM public.workflowexecution AS its
        WHERE its.id = given.execution_id
        OFFSET 0
    ) AS host
    CROSS JOIN LATERAL (
        SELECT its.owner_id
        FROM public.workflow AS its
        WHERE its.id = host.workflow_id
        OFFSET 0
    ) AS workflow
    CROSS JOIN LATERAL (
        VALUES
            ('workflow', host.workflow_id::text),
            ('owner', workflow.owner_id::text),
            ('key', queued.limit_key)
    ) AS subject (kind, name)
    CROSS JOIN LATERAL (
        SELECT limits.max_running, limits.max_starts
        FROM workflow_worker.limits
        WHERE limits.kind = subject.kind
          AND limits.subject IN (subject.name, '*')
        -- Its own before the one for all.
        ORDER BY limits.subject = '*'
        LIMIT 1
    ) AS chosen
    WHERE subject.name IS NOT NULL
      AND (host.status IN ('running', 'waiting_for_signal')
           OR (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL))
      AND NOT EXISTS (
          SELECT
          FROM workflow_worker.children AS child
          WHERE child.child_id = queued.execution_id AND child.cancel_reason IS NOT NULL);
END
$$;
COMMENT ON FUNCTION workflow_worker.limits_on(uuid[]) IS 'The limits on these executions';

-- The limit with this key, or NULLs.
CREATE FUNCTION workflow_worker.limit_with(
    wanted_key text, OUT max_running integer, OUT max_starts integer, OUT per interval, OUT is_there boolean)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    SELECT limits.max_running, limits.max_starts, limits.per
    INTO max_running, max_starts, per
    FROM workflow_worker.limits
    WHERE limits.kind = split_part(wanted_key, ':', 1)
      AND limits.subject IN (substr(wanted_key, strpos(wanted_key, ':') + 1), '*')
    ORDER BY limits.subject = '*'
    LIMIT 1;
    is_there := FOUND;
END
$$;
COMMENT ON FUNCTION workflow_worker.limit_with(text) IS 'The limit with this key, or NULLs';

-- How many more may run, and may start, under a limit at this moment; NULL: any number. Removes what counts no longer.
-- Under the key's lock, and before the caller takes a place: its own lease is not there yet.
CREATE FUNCTION workflow_worker.room_under(wanted_key text, OUT to_run integer, OUT to_start integer)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    bounds record;
    in_use integer;
    promised_starts integer;
    first_seq bigint;
    last_seq bigint;
BEGIN
    bounds := workflow_worker.limit_with(wanted_key);
    DELETE FROM workflow_worker.limit_uses AS used
    WHERE used.limit_key = wanted_key
      AND NOT EXISTS (
          SELECT
          FROM workflow_worker.run_queue AS queued
          WHERE queued.execution_id = used.execution_id
            AND CASE
                WHEN used.fence = 0 THEN queued.ready AND queued.worker_id IS NULL AND queued.held_by IS NULL
                ELSE queued.worker_id IS NOT NULL AND queued.fence = used.fence
            END);
    SELECT count(*), count(*) FILTER (WHERE used.fence = 0 AND queued.fence IS NULL AND queued.revision = 0)
    INTO in_use, promised_starts
    FROM workflow_worker.limit_uses AS used
    JOIN workflow_worker.run_queue AS queued ON queued.execution_id = used.execution_id
    WHERE used.limit_key = wanted_key;
    to_run := greatest(bounds.max_running - in_use, 0);
    IF bounds.max_running IS NULL THEN
        to_run := NULL;
    END IF;

    IF bounds.max_starts IS NULL THEN
        RETURN;
    END IF;
    -- From the oldest: what counts no longer is passed once, and removed.
    SELECT start.seq INTO first_seq
    FROM workflow_worker.limit_starts AS start
    WHERE start.limit_key = wanted_key AND start.taken_at > clock_timestamp() - bounds.per
    ORDER BY start.seq
    LIMIT 1;
    DELETE FROM workflow_worker.limit_starts AS start
    WHERE start.limit_key = wanted_key AND (first_seq IS NULL OR start.seq < first_seq);
    SELECT max(start.seq) INTO last_seq FROM workflow_worker.limit_starts AS start WHERE start.limit_key = wanted_key;
    to_start := greatest(bounds.max_starts - coalesce(last_seq - first_seq + 1, 0) - promised_starts, 0);
END
$$;
COMMENT ON FUNCTION workflow_worker.room_under(text) IS 'How many more may run and start under a limit; only under the lock on its key';

-- Lets go what waits for a limit, in order: as many as may run, and of those that are new as many as may
-- start (NULL: any number), at most `at_most`. Each has a place promised. Under the key's lock.
CREATE FUNCTION workflow_worker.let_go(wanted_key text, to_run integer, to_start integer, at_most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    left_to_run integer := least(to_run, at_most);
    gone integer;
BEGIN
    -- 0: was taken up before; 1: is new.
    FOR novelty IN 0..1 LOOP
        WITH next AS MATERIALIZED (
            SELECT queued.execution_id
            FROM workflow_worker.run_queue AS queued
            WHERE queued.held_by = wanted_key
              AND queued.ready
              AND queued.worker_id IS NULL
              AND ((queued.fence IS NULL AND queued.revision = 0)::integer) = novelty
            ORDER BY ((queued.run_at AT TIME ZONE 'UTC') - queued.priority * interval '1 minute'), queued.execution_id
            LIMIT CASE WHEN novelty = 1 THEN least(left_to_run, to_start) ELSE left_to_run END
            FOR UPDATE SKIP LOCKED
        ),
        freed AS (
            UPDATE workflow_worker.run_queue AS queued
            SET held_by = NULL
            FROM next
            WHERE queued.execution_id = next.execution_id
            RETURNING queued.execution_id
        ),
        promised AS (
            INSERT INTO workflow_worker.limit_uses (limit_key, execution_id, fence)
            SELECT wanted_key, freed.execution_id, 0
            FROM freed
            -- Nothing is promised where there is no limit any more.
            WHERE to_run IS NOT NULL OR to_start IS NOT NULL
            ON CONFLICT DO NOTHING
        )
        SELECT count(*) INTO gone FROM freed;
        left_to_run := left_to_run - gone;
    END LOOP;
    RETURN least(to_run, at_most) - left_to_run;
END
$$;
COMMENT ON FUNCTION workflow_worker.let_go(text, integer, integer, integer) IS 'Lets go what waits for a limit; only under the lock on its key';

-- Notes when the next start will be possible under a rate, if anything waits for that. Under the key's lock.
CREATE FUNCTION workflow_worker.note_opening(wanted_key text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    bounds CONSTANT record := workflow_worker.limit_with(wanted_key);
    next_start timestamptz;
BEGIN
    IF bounds.max_starts IS NOT NULL AND EXISTS (
        SELECT
        FROM workflow_worker.run_queue AS queued
        WHERE queued.held_by = wanted_key AND queued.ready AND queued.worker_id IS NULL
    ) THEN
        -- When the oldest of the last so many counts no longer.
        SELECT start.taken_at + bounds.per INTO next_start
        FROM workflow_worker.limit_starts AS start
        WHERE start.limit_key = wanted_key
          AND start.seq = (
              SELECT max(newest.seq) FROM workflow_worker.limit_starts AS newest WHERE newest.limit_key = wanted_key
          ) - bounds.max_starts + 1;
    END IF;
    IF next_start IS NULL THEN
        DELETE FROM workflow_worker.limit_openings AS opening WHERE opening.limit_key = wanted_key;
    ELSE
        INSERT INTO workflow_worker.limit_openings AS opening (limit_key, opens_at)
        VALUES (wanted_key, next_start)
        ON CONFLICT (limit_key) DO UPDATE SET opens_at = excluded.opens_at
        WHERE opening.opens_at <> excluded.opens_at;
    END IF;
END
$$;
COMMENT ON FUNCTION workflow_worker.note_opening(text) IS 'Notes when the next start will be possible under a rate; only under the lock on its key';

-- The first of these limits that leaves no room for a row, or NULL. Those that wait for the same limit and come before it
-- have the first claim on the room that there is.
CREATE FUNCTION workflow_worker.first_without_room(
    its_keys text[], rooms integer[], novelty integer, its_place timestamp, execution uuid) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    ahead integer;
BEGIN
    FOR nth IN 1..cardinality(its_keys) LOOP
        CONTINUE WHEN rooms[nth] IS NULL;
        SELECT count(*) INTO ahead
        FROM (
            SELECT
            FROM workflow_worker.run_queue AS queued
            WHERE queued.held_by = its_keys[nth]
              AND queued.ready
              AND queued.worker_id IS NULL
              AND (((queued.fence IS NULL AND queued.revision = 0)::integer),
                   ((queued.run_at AT TIME ZONE 'UTC') - queued.priority * interval '1 minute'),
                   queued.execution_id) < (novelty, its_place, execution)
            LIMIT greatest(rooms[nth], 0)
        ) AS before;
        IF rooms[nth] - ahead <= 0 THEN
            RETURN its_keys[nth];
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.first_without_room(text[], integer[], integer, timestamp, uuid)
    IS 'The first of these limits that leaves no room for a row, or NULL';

-- Takes places for executions that a claim has locked and is about to lease, with the fences that it will give them. Returns
-- one row for each that has a limit: whether it has its places (in all its limits, or in none), and whether it was put to
-- wait instead. Neither: somebody else deals with one of its limits at this moment, and it stays due.
CREATE FUNCTION workflow_worker.take_places(executions uuid[], fences bigint[])
RETURNS TABLE (execution_id uuid, is_taken boolean, is_held boolean, limit_keys text[])
ROWS 10
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    need_executions uuid[];
    need_keys text[];
    -- What is locked, and how many more may run and start there.
    locked text[] := '{}';
    to_run integer[] := '{}';
    to_start integer[] := '{}';
    candidate record;
    room record;
    key text;
    full_key text;
    nth integer;
    freed integer := 0;
BEGIN
    SELECT array_agg(need.execution_id), array_agg(need.limit_key)
    INTO need_executions, need_keys
    FROM workflow_worker.limits_on(executions) AS need;
    IF need_keys IS NULL THEN
        RETURN;
    END IF;
    FOR key IN SELECT DISTINCT need FROM unnest(need_keys) AS need LOOP
        IF pg_try_advisory_xact_lock(hashtext('workflow_worker.limits'), hashtext(key)) THEN
            locked := array_append(locked, key);
        END IF;
    END LOOP;
    -- What they were promised they are about to get.
    DELETE FROM workflow_worker.limit_uses AS used
    USING unnest(need_executions, need_keys) AS need (execution_id, limit_key)
    WHERE used.limit_key = need.limit_key
      AND used.execution_id = need.execution_id
      AND used.fence = 0
      AND NOT EXISTS (
          SELECT
          FROM unnest(need_executions, need_keys) AS other (execution_id, limit_key)
          WHERE other.execution_id = need.execution_id AND other.limit_key <> ALL (locked));
    FOREACH key IN ARRAY locked LOOP
        room := workflow_worker.room_under(key);
        to_run := array_append(to_run, room.to_run);
        to_start := array_append(to_start, room.to_start);
    END LOOP;

    FOR candidate IN
        SELECT
            given.execution_id,
            given.fence,
            (queued.fence IS NULL AND queued.revision = 0)::integer AS novelty,
            (queued.run_at AT TIME ZONE 'UTC') - queued.priority * interval '1 minute' AS place,
            its.keys,
            its.keys <@ locked AS is_mine
        FROM unnest(executions, fences) AS given (execution_id, fence)
        JOIN workflow_worker.run_queue AS queued ON queued.execution_id = given.execution_id
        CROSS JOIN LATERAL (
            SELECT array_agg(need.limit_key ORDER BY need.limit_key) AS keys
            FROM unnest(need_executions, need_keys) AS need (execution_id, limit_key)
            WHERE need.execution_id = given.execution_id
        ) AS its
        WHERE its.keys IS NOT NULL
        ORDER BY novelty, place, given.execution_id
    LOOP
        execution_id := candidate.execution_id;
        is_taken := false;
        is_held := false;
        limit_keys := candidate.keys;
        IF candidate.is_mine THEN
            full_key := workflow_worker.first_without_room(
                candidate.keys,
                ARRAY(
                    SELECT CASE WHEN candidate.novelty = 1 THEN least(to_run[where_it_is], to_start[where_it_is])
                                ELSE to_run[where_it_is] END
                    FROM unnest(candidate.keys) WITH ORDINALITY AS its (its_key, its_number)
                    CROSS JOIN LATERAL array_position(locked, its.its_key) AS where_it_is
                    ORDER BY its.its_number),
                candidate.novelty, candidate.place, candidate.execution_id);
            IF full_key IS NULL THEN
                is_taken := true;
                FOREACH key IN ARRAY candidate.keys LOOP
                    nth := array_position(locked, key);
                    to_run[nth] := to_run[nth] - 1;
                    INSERT INTO workflow_worker.limit_uses (limit_key, execution_id, fence)
                    VALUES (key, candidate.execution_id, candidate.fence);
                    IF candidate.novelty = 1 AND to_start[nth] IS NOT NULL THEN
                        to_start[nth] := to_start[nth] - 1;
                        PERFORM workflow_worker.note_start(key);
                    END IF;
                END LOOP;
            ELSE
                is_held := true;
                UPDATE workflow_worker.run_queue AS queued
                SET held_by = full_key, ready = true
                WHERE queued.execution_id = candidate.execution_id;
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;

    FOR number IN 1..cardinality(locked) LOOP
        freed := freed + workflow_worker.let_go(locked[number], to_run[number], to_start[number], 100);
        PERFORM workflow_worker.note_opening(locked[number]);
    END LOOP;
    IF freed > 0 THEN
        PERFORM pg_notify('workflow_worker', '');
    END IF;
END
$$;
COMMENT ON FUNCTION workflow_worker.take_places(uuid[], bigint[]) IS 'Takes places under limits for what a claim is about to lease';

-- A first start under a limited rate, at this moment. Under the key's lock.
CREATE FUNCTION workflow_worker.note_start(wanted_key text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    INSERT INTO workflow_worker.limit_starts (limit_key, seq, taken_at)
    SELECT wanted_key, coalesce(max(start.seq), 0) + 1, clock_timestamp()
    FROM workflow_worker.limit_starts AS start
    WHERE start.limit_key = wanted_key;
END
$$;
COMMENT ON FUNCTION workflow_worker.note_start(text) IS 'A first start under a limited rate; only under the lock on its key';

-- What runs counts, also what was claimed when nobody knew of the limit yet: while it was being set.
CREATE FUNCTION workflow_worker.count_running() RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO workflow_worker.limit_uses (limit_key, execution_id, fence)
    SELECT need.limit_key, queued.execution_id, queued.fence
    FROM workflow_worker.limits_on(ARRAY(
        SELECT held.execution_id FROM workflow_worker.run_queue AS held WHERE held.worker_id IS NOT NULL)) AS need
    JOIN workflow_worker.run_queue AS queued ON queued.execution_id = need.execution_id
    WHERE queued.worker_id IS NOT NULL
    ON CONFLICT DO NOTHING
$$;
COMMENT ON FUNCTION workflow_worker.count_running() IS 'Counts what runs under the limits that are there now';

-- Lets go what waits for limits: for these keys (those of executions that have ended), for the rates that have opened by
-- now, and, if `after` is not NULL, for the next 50 keys after that one for which something waits. Returns how many were
-- let go; the last key of those 50, or '' if there is none after them; and whether a key has more than one call lets go.
CREATE FUNCTION workflow_worker.admit(
    ended text[], after text, OUT let_go integer, OUT last_key text, OUT is_more boolean)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET lock_timeout = '2s'
AS $$
DECLARE
    at_most CONSTANT integer := 1000;
    swept text[] := '{}';
    key text;
    room record;
    gone integer;
BEGIN
    let_go := 0;
    is_more := false;
    last_key := after;
    -- A sweep from the first key: limits were changed, or a poll looks after them.
    IF after = '' AND EXISTS (SELECT FROM workflow_worker.limits) THEN
        PERFORM workflow_worker.count_running();
    END IF;
    WHILE last_key IS NOT NULL AND cardinality(swept) < 50 LOOP
        SELECT queued.held_by INTO key
        FROM workflow_worker.run_queue AS queued
        WHERE queued.held_by > last_key AND queued.ready AND queued.worker_id IS NULL
        ORDER BY queued.held_by
        LIMIT 1;
        last_key := coalesce(key, '');
        EXIT WHEN key IS NULL;
        swept := array_append(swept, key);
    END LOOP;
    -- Locks in one order. It is that of their numbers, since two keys may share one.
    FOR key IN
        SELECT wanted.limit_key
        FROM (
            SELECT unnest(ended || swept)
            UNION
            SELECT opening.limit_key
            FROM (
                SELECT due.limit_key
                FROM workflow_worker.limit_openings AS due
                WHERE due.opens_at <= clock_timestamp()
                ORDER BY due.opens_at
                LIMIT 50
            ) AS opening
        ) AS wanted (limit_key)
        ORDER BY hashtext(wanted.limit_key), wanted.limit_key
    LOOP
        PERFORM pg_advisory_xact_lock(hashtext('workflow_worker.limits'), hashtext(key));
        room := workflow_worker.room_under(key);
        gone := workflow_worker.let_go(key, room.to_run, room.to_start, at_most);
        PERFORM workflow_worker.note_opening(key);
        let_go := let_go + gone;
        is_more := is_more OR gone >= at_most;
    END LOOP;
    IF let_go > 0 THEN
        PERFORM pg_notify('workflow_worker', '');
    END IF;
END
$$;
COMMENT ON FUNCTION workflow_worker.admit(text[], text) IS 'Lets go what waits for limits that have room';

-- For each of these executions: the limit for which it waits if they all become due at this moment and nothing runs, in the
-- order of the queue; or NULL. It counts nothing that runs: what becomes due meets a claim, and that does.
CREATE FUNCTION workflow_worker.excess_of(executions uuid[]) RETURNS TABLE (execution_id uuid, limit_key text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY
    WITH ranked AS MATERIALIZED (
        SELECT
            queued.execution_id,
            need.limit_key,
            least(need.max_running, need.max_starts) AS at_once,
            row_number() OVER (
                PARTITION BY need.limit_key
                ORDER BY (queued.fence IS NULL AND queued.revision = 0)::integer,
                         (least(queued.run_at, now()) AT TIME ZONE 'UTC') - queued.priority * interval '1 minute',
                         queued.execution_id) AS place
        FROM workflow_worker.limits_on(executions) AS need
        CROSS JOIN LATERAL (
            SELECT its.*
            FROM workflow_worker.run_queue AS its
            WHERE its.execution_id = need.execution_id
            OFFSET 0
        ) AS queued
    )
    SELECT each_one.execution_id, min(each_one.limit_key)
    FROM (
        SELECT given AS execution_id, NULL::text AS limit_key
        FROM unnest(executions) AS given
        UNION ALL
        SELECT ranked.execution_id, ranked.limit_key
        FROM ranked
        WHERE ranked.place > ranked.at_once
    ) AS each_one
    GROUP BY each_one.execution_id;
END
$$;
COMMENT ON FUNCTION workflow_worker.excess_of(uuid[]) IS 'For each of these executions the limit for which it waits if they all become due at once, or NULL';

-- A child that is no longer wanted is to be ended: that needs no place.
CREATE FUNCTION workflow_worker.let_cancelled_go() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE workflow_worker.run_queue AS queued
    SET held_by = NULL
    WHERE queued.execution_id = NEW.child_id AND queued.held_by IS NOT NULL;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.let_cancelled_go() IS 'AFTER UPDATE on children: one that is cancelled waits for no limit';

CREATE TRIGGER cancelled
    AFTER UPDATE OF cancel_reason ON workflow_worker.children
    FOR EACH ROW
    WHEN (NEW.cancel_reason IS NOT NULL)
    EXECUTE FUNCTION workflow_worker.let_cancelled_go();

------------------------------------------------------------------------------------------------------------------
-- What others call.
--
-- The subject of a limit as the table holds it. Raises WW400 for what is none.
CREATE FUNCTION workflow_worker.checked_subject(kind text, subject text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF kind IS NULL OR kind NOT IN ('workflow', 'owner', 'key') THEN
        RAISE EXCEPTION 'kind is %, and not ''workflow'', ''owner'' or ''key''', coalesce(quote_literal(kind), 'NULL')
            USING ERRCODE = 'WW400';
    END IF;
    IF coalesce(subject, '') = '' THEN
        RAISE EXCEPTION 'subject is %: it is an id, a concurrency key, or ''*'' for each one separately',
            coalesce(quote_literal(subject), 'NULL')
            USING ERRCODE = 'WW400';
    END IF;
    IF subject = '*' THEN
        RETURN subject;
    END IF;
    IF kind = 'key' THEN
        RETURN workflow_worker.limit_subject(subject);
    END IF;
    BEGIN
        RETURN subject::uuid::text;
    EXCEPTION WHEN invalid_text_representation THEN
        RAISE EXCEPTION 'subject is %, and neither the id of % nor ''*''', quote_literal(subject),
            CASE kind WHEN 'owner' THEN 'an owner' ELSE 'a ' || kind END
            USING ERRCODE = 'WW400';
    END;
END
$$;
COMMENT ON FUNCTION workflow_worker.checked_subject(text, text) IS 'The subject of a limit as the table of limits holds it';

-- Raises WW400 for bounds that make no limit.
CREATE FUNCTION workflow_worker.check_bounds(max_running integer, max_starts integer, per interval) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF max_running IS NULL AND max_starts IS NULL AND per IS NULL THEN
        RAISE EXCEPTION 'nothing is limited: give max_running, or max_starts and per (remove_limit takes a limit away)'
            USING ERRCODE = 'WW400';
    END IF;
    IF max_running < 1 THEN
        RAISE EXCEPTION 'max_running is %, and not at least 1', max_running USING ERRCODE = 'WW400';
    END IF;
    IF (max_starts IS NULL) <> (per IS NULL) THEN
        RAISE EXCEPTION 'max_starts and per go together, as in max_starts => 10, per => ''1 minute'''
            USING ERRCODE = 'WW400';
    END IF;
    IF max_starts NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'max_starts is %, and not between 1 and 100000', max_starts USING ERRCODE = 'WW400';
    END IF;
    IF per NOT BETWEEN interval '1 millisecond' AND interval '366 days' THEN
        RAISE EXCEPTION 'per is %, and not between 1 millisecond and 366 days', per USING ERRCODE = 'WW400';
    END IF;
END
$$;
COMMENT ON FUNCTION workflow_worker.check_bounds(integer, integer, interval) IS 'Raises WW400 for bounds that make no limit';

-- Sets a limit, in place of the one that was there for kind and subject. It holds from the commit on: what runs by then goes
-- on and is counted, what is due and too much waits, and what may start because of it starts at once.
CREATE FUNCTION workflow_worker.set_limit(
    kind text, subject text, max_running integer DEFAULT NULL, max_starts integer DEFAULT NULL,
    per interval DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
#variable_conflict use_column
DECLARE
    its_kind CONSTANT text := set_limit.kind;
    its_subject CONSTANT text := workflow_worker.checked_subject(set_limit.kind, set_limit.subject);
BEGIN
    PERFORM workflow_worker.check_bounds(set_limit.max_running, set_limit.max_starts, set_limit.per);
    IF its_subject <> '*' AND (
        (its_kind = 'workflow' AND NOT EXISTS (SELECT FROM public.workflow WHERE workflow.id::text = its_subject))
        OR (its_kind = 'owner' AND NOT EXISTS (SELECT FROM public."user" AS owner WHERE owner.id::text = its_subject))
    ) THEN
        RAISE EXCEPTION '% % does not exist', its_kind, its_subject USING ERRCODE = 'WW404';
    END IF;
    INSERT INTO workflow_worker.limits (kind, subject, max_running, max_starts, per)
    VALUES (its_kind, its_subject, set_limit.max_running, set_limit.max_starts, set_limit.per)
    ON CONFLICT (kind, subject) DO UPDATE
    SET max_running = excluded.max_running,
        max_starts = excluded.max_starts,
        per = excluded.per,
        updated_at = now();
    PERFORM workflow_worker.count_running();
    -- What a claim is taking at this moment is left to it. Only what is to wait is locked: this may be one statement of a
    -- long transaction.
    WITH excess AS MATERIALIZED (
        SELECT its.execution_id, its.limit_key
        FROM workflow_worker.excess_of(ARRAY(
            SELECT due.execution_id
            FROM workflow_worker.run_queue AS due
            WHERE due.ready AND due.worker_id IS NULL AND due.held_by IS NULL)) AS its
        WHERE its.limit_key IS NOT NULL
    ),
    free AS MATERIALIZED (
        SELECT locked.ctid, excess.limit_key
        FROM excess
        CROSS JOIN LATERAL (
            SELECT its.ctid, its.ready, its.worker_id, its.held_by
            FROM workflow_worker.run_queue AS its
            WHERE its.execution_id = excess.execution_id
            FOR UPDATE SKIP LOCKED
        ) AS locked
        WHERE locked.ready AND locked.worker_id IS NULL AND locked.held_by IS NULL
    )
    UPDATE workflow_worker.run_queue AS queued
    SET held_by = free.limit_key
    FROM free
    WHERE queued.ctid = free.ctid;
    PERFORM pg_notify('workflow_worker', 'limits');
END
$$;
COMMENT ON FUNCTION workflow_worker.set_limit(text, text, integer, integer, interval) IS
    'Limits how many executions of a workflow, of an owner or with a concurrency key run (max_running) or start (max_starts per period) at once; subject * means each one separately. WW400: bad argument. WW404: no such workflow or owner';

-- Takes a limit away. Returns whether there was one. What waits for it is let go at once, or waits for the one for all ('*').
CREATE FUNCTION workflow_worker.remove_limit(kind text, subject text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
DECLARE
    its_subject CONSTANT text := workflow_worker.checked_subject(remove_limit.kind, remove_limit.subject);
BEGIN
    DELETE FROM workflow_worker.limits AS there
    WHERE there.kind = remove_limit.kind AND there.subject = its_subject;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM pg_notify('workflow_worker', 'limits');
    RETURN true;
END
$$;
COMMENT ON FUNCTION workflow_worker.remove_limit(text, text) IS
    'Takes a limit away, and returns whether there was one. WW400: bad argument';

-- Each limit key under which something runs, has started or waits, in figures.
CREATE VIEW workflow_worker.limit_usage AS
WITH present AS (
    SELECT used.limit_key FROM workflow_worker.limit_uses AS used
    UNION
    SELECT start.limit_key FROM workflow_worker.limit_starts AS start
    UNION
    SELECT queued.held_by
    FROM workflow_worker.run_queue AS queued
    WHERE queued.held_by IS NOT NULL AND queued.ready AND queued.worker_id IS NULL
)
SELECT
    present.limit_key,
    split_part(present.limit_key, ':', 1) AS kind,
    substr(present.limit_key, strpos(present.limit_key, ':') + 1) AS subject,
    bounds.max_running,
    (
        SELECT count(*)
        FROM workflow_worker.limit_uses AS used
        JOIN workflow_worker.run_queue AS queued
          ON queued.execution_id = used.execution_id AND queued.fence = used.fence AND queued.worker_id IS NOT NULL
        WHERE used.limit_key = present.limit_key
    ) AS running,
    bounds.max_starts,
    bounds.per,
    (
        SELECT count(*)
        FROM workflow_worker.limit_starts AS start
        WHERE start.limit_key = present.limit_key AND start.taken_at > clock_timestamp() - bounds.per
    ) AS starts,
    (
        SELECT count(*)
        FROM workflow_worker.run_queue AS queued
        WHERE queued.held_by = present.limit_key AND queued.ready AND queued.worker_id IS NULL
    ) AS waiting,
    (
        SELECT opening.opens_at FROM workflow_worker.limit_openings AS opening WHERE opening.limit_key = present.limit_key
    ) AS next_start_at
FROM present
JOIN LATERAL (
    SELECT limits.max_running, limits.max_starts, limits.per
    FROM workflow_worker.limits
    WHERE limits.kind = split_part(present.limit_key, ':', 1)
      AND limits.subject IN (substr(present.limit_key, strpos(present.limit_key, ':') + 1), '*')
    ORDER BY limits.subject = '*'
    LIMIT 1
) AS bounds ON true;
COMMENT ON VIEW workflow_worker.limit_usage IS 'What runs, has started and waits under each limit';
COMMENT ON COLUMN workflow_worker.limit_usage.limit_key IS 'As in run_queue.held_by: kind and subject';
COMMENT ON COLUMN workflow_worker.limit_usage.running IS 'How many run now';
COMMENT ON COLUMN workflow_worker.limit_usage.starts IS 'How many have started within the last period of the length per';
COMMENT ON COLUMN workflow_worker.limit_usage.waiting IS 'How many wait for this limit';
COMMENT ON COLUMN workflow_worker.limit_usage.next_start_at IS 'When the next start will be possible, where the rate is used up and something waits';

-- run_queue.held_by in words: 'workflow 8c3c…: 3 of 3 running'.
CREATE FUNCTION workflow_worker.held_reason(held_by text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    subject CONSTANT text := split_part(held_by, ':', 1) || ' ' || substr(held_by, strpos(held_by, ':') + 1);
    bounds record;
    next_start timestamptz;
    in_use integer;
BEGIN
    IF held_by IS NULL THEN
        RETURN NULL;
    END IF;
    bounds := workflow_worker.limit_with(held_by);
    IF NOT bounds.is_there THEN
        RETURN subject || ': its limit was removed, and it goes on in a moment';
    END IF;
    SELECT opening.opens_at INTO next_start
    FROM workflow_worker.limit_openings AS opening
    WHERE opening.limit_key = held_reason.held_by;
    IF next_start > clock_timestamp() THEN
        RETURN format('%s: %s starts per %s are used up, the next is possible at %s',
                      subject, bounds.max_starts, bounds.per, next_start);
    END IF;
    IF bounds.max_running IS NULL THEN
        RETURN format('%s: at most %s starts per %s', subject, bounds.max_starts, bounds.per);
    END IF;
    SELECT count(*) INTO in_use
    FROM workflow_worker.limit_uses AS used
    JOIN workflow_worker.run_queue AS queued
      ON queued.execution_id = used.execution_id AND queued.fence = used.fence AND queued.worker_id IS NOT NULL
    WHERE used.limit_key = held_reason.held_by;
    RETURN format('%s: %s of %s running', subject, in_use, bounds.max_running);
END
$$;
COMMENT ON FUNCTION workflow_worker.held_reason(text) IS 'run_queue.held_by in words';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA workflow_worker FROM PUBLIC;
