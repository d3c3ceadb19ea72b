-- 0011 Claims and polls with plans that are kept.
--
-- What:  functions for the statements that a worker sends most: claim, look, and what the trigger on INSERT does.
-- Why:   planning a claim took four times as long as carrying it out, and it was planned each time: its LIMIT is a
--        parameter, and to plan that once and for all looked more expensive to the planner than to plan it again. In a
--        function the plan is kept, also behind a transaction pooler; and the settings that make it the right one for
--        tables of any size are the function's own, so that no other session ever sees them.
-- Locks: none on any table.
-- An older worker meanwhile: sends statements of its own, as before.
--
-- A later version that needs other arguments or columns takes another name: older workers go on calling these.

------------------------------------------------------------------------------------------------------------------
-- Takes up to `slots` due executions under a lease, and returns them with all that a first run needs. A row with is_claimed
-- false is one that was put to wait for a limit instead. `from_place`: rows before that place in the order of the queue are
-- not looked at (NULL: all are). While somebody holds an old snapshot (a dump, say), each row that has left the queue since
-- then stays in the index, before those that are due, and each claim has to pass it: with 100,000 of them a claim takes 180 ms,
-- and 1.3 ms from the place of the last one. What comes before that place meanwhile (a higher priority) is found by the next
-- claim without it: whoever names a place has to make such a one every second, and before it sleeps.
--
-- Index: run_queue_due, read up to `slots` rows deep, and run_queue_timed, up to 100 rows deeper, whatever else is in the
-- table. The settings see to it: a plan that was made while the tables were small, and is kept, would read all of them later.
-- So do the conditions with ANY, here and in 0011_record: they say once more what the join says, in a way that leaves no other
-- plan than to look the rows up (where a table seems to be empty, to read its whole index seems to be as good).
-- Race-free: SKIP LOCKED leaves rows that another claim is taking; a worker that was declared dead (its row in workers
-- is gone) gets nothing. Locks rows of run_queue only; and the keys of limits, without waiting for them (take_places).
-- What is locked is not written by anybody else until the commit, so that the later statements see it as it was chosen, and
-- the host row no older than host_version says.
-- Does not wait for the disk (synchronous_commit off, for this transaction): if a crash of the server loses the claim, the
-- row is due again and this worker's records find another lease there, or none. The fence could be drawn a second time
-- then; that is why records name the worker and the revision as well.
CREATE FUNCTION workflow_worker.claim(worker uuid, slots bigint, from_place timestamp)
RETURNS TABLE (
    execution_id uuid, is_claimed boolean, limit_keys text[], fence bigint, revision integer, host_version integer,
    rescues integer, graph_hash bytea, checkpoint text, host_row_exists boolean, workflow_id uuid, workflow_version integer,
    execution_name text, status text, started_at timestamp, is_completed boolean, current_node_id text,
    execution_state text, retry_count integer, has_next_retry boolean, is_retry_due boolean, workflow_row_version text,
    depth integer, cancel_reason text, timed_from timestamptz, replay_of uuid, replay_from text,
    late_by_ms double precision, place timestamp, took_ms double precision)
ROWS 10
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_mergejoin = off
SET enable_nestloop = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    chosen uuid[];
    fences bigint[];
    -- What take_places says of those that are under a limit, by their id; NULL: there are no limits, or none on these.
    places jsonb;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    WITH ready_rows AS MATERIALIZED (
        SELECT queued.execution_id, (queued.run_at AT TIME ZONE 'UTC') - queued.priority * interval '1 minute' AS place
        FROM workflow_worker.run_queue AS queued
        WHERE queued.ready
          AND queued.worker_id IS NULL
          AND queued.held_by IS NULL
          AND (queued.run_at AT TIME ZONE 'UTC') - queued.priority * interval '1 minute' >= coalesce(from_place, '-infinity')
          AND EXISTS (SELECT FROM workflow_worker.workers WHERE workers.id = worker)
        ORDER BY (queued.run_at AT TIME ZONE 'UTC') - queued.priority * interval '1 minute', queued.execution_id
        LIMIT slots
        FOR UPDATE SKIP LOCKED
    ),
    -- Delays and retries whose time has come. They were not touched when it came.
    timed_rows AS MATERIALIZED (
        SELECT queued.execution_id, (queued.run_at AT TIME ZONE 'UTC') - queued.priority * interval '1 minute' AS place
        FROM workflow_worker.run_queue AS queued
        WHERE NOT queued.ready
          AND queued.worker_id IS NULL
          AND queued.run_at < 'infinity'
          AND queued.run_at <= now()
          AND EXISTS (SELECT FROM workflow_worker.workers WHERE workers.id = worker)
        ORDER BY queued.run_at
        LIMIT slots + 100
        FOR UPDATE SKIP LOCKED
    ),
    -- MATERIALIZED here and above: without it the planner may run the subquery again and lock more rows than LIMIT says.
    due AS MATERIALIZED (
        SELECT first.execution_id, first.place, nextval('workflow_worker.fence') AS fence
        FROM (
            SELECT candidates.execution_id, candidates.place
            FROM (SELECT * FROM ready_rows UNION ALL SELECT * FROM timed_rows) AS candidates
            ORDER BY candidates.place, candidates.execution_id
            LIMIT slots
        ) AS first
    ),
    -- They take their place in the order of what is due: by run_at alone, one with a high priority would stay behind all that
    -- came due before it.
    overdue AS (
        UPDATE workflow_worker.run_queue AS queued
        SET ready = true,
            held_by = NULL
        FROM timed_rows
        WHERE queued.execution_id = timed_rows.execution_id
          AND queued.execution_id = ANY (ARRAY(SELECT timed_rows.execution_id FROM timed_rows))
          AND timed_rows.execution_id NOT IN (SELECT due.execution_id FROM due)
    )
    SELECT
        array_agg(due.execution_id ORDER BY due.place, due.execution_id),
        array_agg(due.fence ORDER BY due.place, due.execution_id)
    INTO chosen, fences
    FROM due;
    IF chosen IS NULL THEN
        RETURN;
    END IF;

    -- Where there are no limits, nothing of this is called.
    IF EXISTS (SELECT FROM workflow_worker.limits) THEN
        SELECT jsonb_object_agg(place.execution_id, to_jsonb(place))
        INTO places
        FROM workflow_worker.take_places(chosen, fences) AS place;
    END IF;

    RETURN QUERY
    WITH claimed AS (
        UPDATE workflow_worker.run_queue AS queued
        SET worker_id = worker,
            fence = its.fence,
            claimed_at = now(),
            held_by = NULL
        FROM unnest(chosen, fences) WITH ORDINALITY AS its (execution_id, fence, number)
        WHERE queued.execution_id = its.execution_id
          AND queued.execution_id = ANY (chosen)
          AND coalesce((places #>> ARRAY[its.execution_id::text, 'is_taken'])::boolean, true)
        RETURNING
            queued.execution_id, queued.fence, queued.revision, queued.host_version, queued.rescues, queued.graph_hash,
            queued.checkpoint, queued.timed_from, queued.replay_of, queued.replay_from, queued.run_at, queued.priority,
            its.number
    )
    SELECT
        claimed.execution_id,
        true,
        -- The limits that it counts under, or NULL.
        CASE WHEN places ? claimed.execution_id::text THEN ARRAY(
            SELECT jsonb_array_elements_text(places #> ARRAY[claimed.execution_id::text, 'limit_keys'])) END,
        claimed.fence,
        claimed.revision,
        claimed.host_version,
        claimed.rescues,
        claimed.graph_hash,
        claimed.checkpoint::text,
        host.id IS NOT NULL,
        host.workflow_id,
        host.workflow_version,
        host.execution_id::text,
        host.status::text,
        -- Within what any clock can hold: the columns take infinity, and years that no date type knows.
        least(greatest(host.started_at, '0001-01-01'), '9999-12-31'),
        host.completed_at IS NOT NULL,
        host.current_node_id::text,
        host.execution_state::text,
        host.retry_count,
        host.next_retry_at IS NOT NULL,
        coalesce(host.next_retry_at <= now() AT TIME ZONE 'utc', false),
        -- Names one version of the workflow's row: a graph that was read under it need not be read again.
        workflow.xmin::text || workflow.ctid::text,
        coalesce(child.depth, 0),
        child.cancel_reason,
        claimed.timed_from,
        claimed.replay_of,
        claimed.replay_from,
        -- How long it has been due. (The column takes infinity, and one such row must not stop the claims.)
        (extract(epoch FROM clock_timestamp() - least(greatest(claimed.run_at, '0001-01-01'), clock_timestamp())) * 1000)
            ::double precision,
        -- Within what any clock can hold, too; one that is earlier begins the queue all the same.
        greatest((claimed.run_at AT TIME ZONE 'UTC') - claimed.priority * interval '1 minute', '0001-01-01'),
        (extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000)::double precision
    FROM claimed
    LEFT JOIN public.workflowexecution AS host ON host.id = claimed.execution_id AND host.id = ANY (chosen)
    LEFT JOIN LATERAL (
        SELECT its.xmin, its.ctid FROM public.workflow AS its WHERE its.id = host.workflow_id OFFSET 0
    ) AS workflow ON true
    LEFT JOIN workflow_worker.children AS child ON child.child_id = claimed.execution_id AND child.child_id = ANY (chosen)
    ORDER BY claimed.number;

    IF places IS NOT NULL THEN
        FOR execution_id IN
            SELECT place.key::uuid FROM jsonb_each(places) AS place WHERE (place.value ->> 'is_held')::boolean
        LOOP
            is_claimed := false;
            RETURN NEXT;
        END LOOP;
    END IF;
END
$$;
COMMENT ON FUNCTION workflow_worker.claim(uuid, bigint, timestamp) IS 'Takes due executions under a lease';

------------------------------------------------------------------------------------------------------------------
-- As in 0005, and: each row is looked up by its key, whatever the tables looked like when the plan was made.
CREATE OR REPLACE FUNCTION workflow_worker.take_places(executions uuid[], fences bigint[])
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
        CROSS JOIN LATERAL (
            SELECT its_row.fence, its_row.revision, its_row.run_at, its_row.priority
            FROM workflow_worker.run_queue AS its_row
            WHERE its_row.execution_id = given.execution_id
            OFFSET 0
        ) AS queued
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

-- What a claim calls is planned by its own rules, and not by those of the claim, which it would take over.
ALTER FUNCTION workflow_worker.take_places(uuid[], bigint[]) SET plan_cache_mode = auto;
ALTER FUNCTION workflow_worker.limits_on(uuid[]) SET plan_cache_mode = auto;
ALTER FUNCTION workflow_worker.limit_with(text) SET plan_cache_mode = auto;
ALTER FUNCTION workflow_worker.room_under(text) SET plan_cache_mode = auto;
ALTER FUNCTION workflow_worker.let_go(text, integer, integer, integer) SET plan_cache_mode = auto;
ALTER FUNCTION workflow_worker.note_opening(text) SET plan_cache_mode = auto;
ALTER FUNCTION workflow_worker.first_without_room(text[], integer[], integer, timestamp, uuid) SET plan_cache_mode = auto;
ALTER FUNCTION workflow_worker.note_start(text) SET plan_cache_mode = auto;

------------------------------------------------------------------------------------------------------------------
-- Says whether anything is due, when the next timed execution will be, when the scheduler has to look next, whether the
-- worker holds anything, and whether a new host row has missed the run queue (its trigger was off). The whole cost of an
-- idle poll. `look_back`: how far back new host rows are looked at, in seconds; NULL: not at all. `from_place`: as at claim.
--
-- Index: one row each of run_queue_due, run_queue_timed, run_queue_leased, run_queue_held and limit_openings_next; at
-- most 1,000 of the newest entries of workflow_worker_runnable, so that a burst costs no more than that (what is older
-- is found by the full repair); one row of schedule_states_due, and schedule_states_waiting;
-- pg_trigger_tgrelid_tgname_index.
-- Race-free: reads only; the claim decides.
CREATE FUNCTION workflow_worker.next_due(worker uuid, look_back double precision, from_place timestamp)
RETURNS TABLE (
    is_due boolean, next_run_at timestamptz, next_schedule_at timestamptz, is_holding boolean,
    is_limit_waited_for boolean, next_opening_at timestamptz, is_missing boolean, triggers_are_off boolean,
    database_time timestamptz)
ROWS 1
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH newest AS MATERIALIZED (
        SELECT host.id
        FROM public.workflowexecution AS host
        WHERE (host.status = 'running'
               OR (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL))
          AND host.started_at > (now() AT TIME ZONE 'utc') - make_interval(secs => look_back)
        ORDER BY host.started_at DESC
        LIMIT 1000
    )
    SELECT
        -- ORDER BY as in the index: with it the planner cannot take a whole scan for cheaper.
        (
            SELECT true
            FROM workflow_worker.run_queue
            WHERE ready AND worker_id IS NULL AND held_by IS NULL
              AND (run_at AT TIME ZONE 'UTC') - priority * interval '1 minute' >= coalesce(from_place, '-infinity')
            ORDER BY (run_at AT TIME ZONE 'UTC') - priority * interval '1 minute', execution_id
            LIMIT 1
        ) IS NOT NULL AS is_due,
        (
            SELECT run_at
            FROM workflow_worker.run_queue
            WHERE NOT ready AND worker_id IS NULL AND run_at < 'infinity'
            ORDER BY run_at
            LIMIT 1
        ) AS next_run_at,
        -- NULL: at nothing. Now: something is due, or a fire waits for the end of an execution that has ended.
        CASE
            WHEN EXISTS (
                SELECT
                FROM workflow_worker.schedule_states AS state
                WHERE cardinality(state.waiting) > 0
                  AND NOT EXISTS (
                      SELECT FROM workflow_worker.run_queue AS queued
                      WHERE queued.execution_id = state.last_execution_id
                      OFFSET 0))
            THEN now()
            ELSE (
                SELECT greatest(state.due_at, now())
                FROM workflow_worker.schedule_states AS state
                WHERE state.due_at < 'infinity'
                ORDER BY state.due_at
                LIMIT 1
            )
        END AS next_schedule_at,
        EXISTS (SELECT FROM workflow_worker.run_queue WHERE worker_id = worker) AS is_holding,
        -- Something waits for a limit.
        (
            SELECT true
            FROM workflow_worker.run_queue
            WHERE held_by IS NOT NULL AND ready AND worker_id IS NULL
            ORDER BY held_by
            LIMIT 1
        ) IS NOT NULL AS is_limit_waited_for,
        -- When the next start under a limited rate will be possible.
        (
            SELECT opens_at
            FROM workflow_worker.limit_openings
            ORDER BY opens_at
            LIMIT 1
        ) AS next_opening_at,
        CASE WHEN look_back IS NULL THEN false ELSE EXISTS (
            SELECT FROM newest
            -- OFFSET 0, here and above: one look-up each. As a join it would read all of the queue for each row, if it was
            -- planned while the queue was empty.
            WHERE NOT EXISTS (
                SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = newest.id OFFSET 0)
        ) END AS is_missing,
        -- Then nothing tells of inserts, pauses, resumes, signals and schedules, and the poll has to find them all.
        CASE WHEN look_back IS NULL THEN false ELSE (
            SELECT count(*) < 9
            FROM pg_trigger
            WHERE tgrelid IN (
                      to_regclass('public.workflowexecution'),
                      to_regclass('public.workflowsignal'),
                      to_regclass('public.workflowschedule'))
              AND tgname LIKE 'workflow\_worker\_%'
              AND tgenabled <> 'D'
        ) END AS triggers_are_off,
        clock_timestamp() AS database_time;
END
$$;
COMMENT ON FUNCTION workflow_worker.next_due(uuid, double precision, timestamp) IS 'What is due now, and what comes due next';
