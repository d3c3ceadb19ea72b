-- What the migrations make of an empty database, for reading: the schema workflow_worker, and what they add to the
-- platform's tables. Nothing runs this file. To write it anew: UPDATE_SCHEMA=1 cargo test --test it schema_file

CREATE SCHEMA workflow_worker;

COMMENT ON SCHEMA workflow_worker IS 'Owned by workflow-worker. Remove with: workflow-worker uninstall';

CREATE FUNCTION workflow_worker.admit(ended text[], after text, OUT let_go integer, OUT last_key text, OUT is_more boolean) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET lock_timeout TO '2s'
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

COMMENT ON FUNCTION workflow_worker.admit(ended text[], after text, OUT let_go integer, OUT last_key text, OUT is_more boolean) IS 'Lets go what waits for limits that have room';

CREATE FUNCTION workflow_worker.adopt_child(child uuid, parent uuid) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.adopt_child(child uuid, parent uuid) IS 'Notes that an execution is started on behalf of another';

CREATE FUNCTION workflow_worker.answer(execution uuid, decision text, is_approved boolean, node text, note json) RETURNS uuid
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    words CONSTANT text[] := CASE
        WHEN decision IS NOT NULL THEN ARRAY[decision]
        WHEN is_approved THEN ARRAY['approve', 'approved', 'yes', 'ok', 'true']
        ELSE ARRAY['reject', 'rejected', 'no', 'deny', 'false']
    END;
    held record;
    request record;
    chosen text;
BEGIN
    SELECT * INTO held FROM workflow_worker.lock_host_row(execution);
    IF held.kind NOT IN ('running', 'waiting_for_signal', 'paused', 'retrying') THEN
        PERFORM workflow_worker.refuse(held.name, held.kind, 'answered', NULL);
    END IF;
    SELECT * INTO request FROM workflow_worker.lock_request(execution, held.name, node);
    SELECT workflow_worker.option_of(request.options, word.text) INTO chosen
    FROM unnest(words) WITH ORDINALITY AS word (text, place)
    WHERE workflow_worker.option_of(request.options, word.text) IS NOT NULL
    ORDER BY word.place
    LIMIT 1;
    IF chosen IS NULL AND decision IS NULL THEN
        chosen := request.options[CASE WHEN is_approved THEN 1 ELSE 2 END];
    END IF;
    IF chosen IS NULL THEN
        RAISE EXCEPTION 'execution %: % is not one of the options: %', held.name,
            coalesce('"' || left(decision, 200) || '"', CASE WHEN is_approved THEN 'yes' ELSE 'no' END),
            array_to_string(request.options, ', ') USING ERRCODE = 'WW422';
    END IF;
    RETURN workflow_worker.insert_signal(
        execution, 'human_approval',
        workflow_worker.with_keys(
            note, json_build_object('signal_id', request.id, 'decision', chosen)));
END
$$;

COMMENT ON FUNCTION workflow_worker.answer(execution uuid, decision text, is_approved boolean, node text, note json) IS 'Answers a request for an approval';

CREATE FUNCTION workflow_worker.answers(signal_data text, request uuid) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN strpos(signal_data, request::text) > 0
        AND coalesce(signal_data::jsonb ->> 'signal_id', signal_data::jsonb ->> 'request_id') = request::text;
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END
$$;

COMMENT ON FUNCTION workflow_worker.answers(signal_data text, request uuid) IS 'Whether the data of a workflowsignal answer a request';

CREATE FUNCTION workflow_worker.approve(execution text, node text DEFAULT NULL::text, by text DEFAULT NULL::text, comment text DEFAULT NULL::text, data jsonb DEFAULT NULL::jsonb) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT workflow_worker.approve(workflow_worker.execution_id(execution), node, by, comment, data) $$;

COMMENT ON FUNCTION workflow_worker.approve(execution text, node text, by text, comment text, data jsonb) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.approve(execution uuid, node text DEFAULT NULL::text, by text DEFAULT NULL::text, comment text DEFAULT NULL::text, data jsonb DEFAULT NULL::jsonb) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
    AS $$
BEGIN
    RETURN workflow_worker.answer(execution, NULL, true, node, workflow_worker.note_of(by, comment, data));
END
$$;

COMMENT ON FUNCTION workflow_worker.approve(execution uuid, node text, by text, comment text, data jsonb) IS 'Answers a request for an approval with yes: the option approve, approved, yes, ok or true, else the first. Errors as decide';

CREATE FUNCTION workflow_worker.awaited_by_schedule() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    -- And nothing else: it takes no lock. The scheduler finds out which fires may start.
    PERFORM pg_notify('workflow_worker', 'schedule');
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION workflow_worker.awaited_by_schedule() IS 'AFTER DELETE on run_queue: wakes the scheduler';

CREATE FUNCTION workflow_worker.check_access(role_name text, access text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF access IS NULL OR access NOT IN ('producer', 'reader') THEN
        RAISE EXCEPTION 'access is %; it must be producer or reader', coalesce('"' || left(access, 100) || '"', 'NULL')
            USING ERRCODE = 'WW400';
    END IF;
    IF role_name IN ('public', 'anon', 'authenticated') THEN
        RAISE EXCEPTION 'role_name is "%"; everybody on the web would have these rights, on all executions', role_name
            USING ERRCODE = 'WW400';
    END IF;
    IF role_name IS NULL OR NOT EXISTS (SELECT FROM pg_roles WHERE pg_roles.rolname = role_name) THEN
        RAISE EXCEPTION 'there is no role %', coalesce('"' || left(role_name, 100) || '"', 'without a name') USING ERRCODE = 'WW404';
    END IF;
END
$$;

COMMENT ON FUNCTION workflow_worker.check_access(role_name text, access text) IS 'Raises WW400 or WW404 if such rights cannot be given';

CREATE FUNCTION workflow_worker.check_bounds(max_running integer, max_starts integer, per interval) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.check_bounds(max_running integer, max_starts integer, per interval) IS 'Raises WW400 for bounds that make no limit';

CREATE FUNCTION workflow_worker.check_schedule_arguments(cron_expression text, time_zone text, overlap text, missed text, max_catch_up integer, max_queued integer, input jsonb) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
$_$;

COMMENT ON FUNCTION workflow_worker.check_schedule_arguments(cron_expression text, time_zone text, overlap text, missed text, max_catch_up integer, max_queued integer, input jsonb) IS 'Raises WW400 for an argument that schedule() and configure_schedule() do not take';

CREATE FUNCTION workflow_worker.checked_subject(kind text, subject text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.checked_subject(kind text, subject text) IS 'The subject of a limit as the table of limits holds it';

CREATE FUNCTION workflow_worker.claim(worker uuid, slots bigint, from_place timestamp without time zone) RETURNS TABLE(execution_id uuid, is_claimed boolean, limit_keys text[], fence bigint, revision integer, host_version integer, rescues integer, graph_hash bytea, checkpoint text, host_row_exists boolean, workflow_id uuid, workflow_version integer, execution_name text, status text, started_at timestamp without time zone, is_completed boolean, current_node_id text, execution_state text, retry_count integer, has_next_retry boolean, is_retry_due boolean, workflow_row_version text, depth integer, cancel_reason text, timed_from timestamp with time zone, replay_of uuid, replay_from text, late_by_ms double precision, place timestamp without time zone, took_ms double precision)
    LANGUAGE plpgsql ROWS 10
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
    -- An initial value, because that is no statement of its own. Not a setting of the function: it would end with it, and
    -- the commit comes later.
    synchronous_commit CONSTANT text := set_config('synchronous_commit', 'off', true);
    chosen uuid[];
    is_timed_due boolean;
    is_limited boolean;
    -- Where there are limits: a fence for each, and by its id what take_places says of each that is under one (NULL: none is).
    fences bigint[];
    places jsonb;
BEGIN
    SELECT
        ARRAY(
            SELECT queued.execution_id
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
        EXISTS (
            SELECT
            FROM workflow_worker.run_queue AS queued
            WHERE NOT queued.ready AND queued.worker_id IS NULL AND queued.run_at < 'infinity' AND queued.run_at <= now()
        ),
        EXISTS (SELECT FROM workflow_worker.limits)
    INTO chosen, is_timed_due, is_limited;

    IF is_timed_due AND slots > 0 THEN
        -- Delays and retries whose time has come. They were not touched when it came.
        WITH timed_rows AS MATERIALIZED (
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
            SELECT candidates.execution_id, candidates.place
            FROM (
                SELECT queued.execution_id, (queued.run_at AT TIME ZONE 'UTC') - queued.priority * interval '1 minute' AS place
                FROM workflow_worker.run_queue AS queued
                WHERE queued.execution_id = ANY (chosen)
                UNION ALL
                SELECT timed_rows.execution_id, timed_rows.place
                FROM timed_rows
            ) AS candidates
            ORDER BY candidates.place, candidates.execution_id
            LIMIT slots
        ),
        -- They take their place in the order of what is due: by run_at alone, one with a high priority would stay behind all
        -- that came due before it.
        overdue AS (
            UPDATE workflow_worker.run_queue AS queued
            SET ready = true,
                held_by = NULL
            WHERE queued.execution_id = ANY (ARRAY(
                SELECT timed_rows.execution_id FROM timed_rows
                EXCEPT
                SELECT due.execution_id FROM due))
        )
        SELECT ARRAY(SELECT due.execution_id FROM due ORDER BY due.place, due.execution_id) INTO chosen;
    END IF;
    IF chosen = '{}' AND slots > 0 THEN
        RETURN;
    END IF;

    -- Where there are no limits, nothing of this is called.
    IF is_limited THEN
        fences := ARRAY(SELECT nextval('workflow_worker.fence') FROM unnest(chosen));
        SELECT jsonb_object_agg(place.execution_id, to_jsonb(place) || jsonb_build_object('fence', its.fence))
        INTO places
        FROM workflow_worker.take_places(chosen, fences) AS place
        JOIN unnest(chosen, fences) AS its (execution_id, fence) ON its.execution_id = place.execution_id;
    END IF;

    RETURN QUERY
    WITH claimed AS (
        UPDATE workflow_worker.run_queue AS queued
        SET worker_id = worker,
            fence = coalesce(
                (places #>> ARRAY[queued.execution_id::text, 'fence'])::bigint, nextval('workflow_worker.fence')),
            claimed_at = now(),
            held_by = NULL
        WHERE queued.execution_id = ANY (chosen)
          AND coalesce((places #>> ARRAY[queued.execution_id::text, 'is_taken'])::boolean, true)
        RETURNING
            queued.execution_id, queued.fence, queued.revision, queued.host_version, queued.rescues, queued.graph_hash,
            queued.checkpoint, queued.timed_from, queued.replay_of, queued.replay_from, queued.run_at,
            (queued.run_at AT TIME ZONE 'UTC') - queued.priority * interval '1 minute' AS place
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
        greatest(claimed.place, '0001-01-01'),
        (extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000)::double precision
    FROM claimed
    LEFT JOIN LATERAL (
        SELECT
            its.id, its.workflow_id, its.workflow_version, its.execution_id, its.status, its.started_at, its.completed_at,
            its.current_node_id, its.execution_state, its.retry_count, its.next_retry_at
        FROM public.workflowexecution AS its
        WHERE its.id = claimed.execution_id
        OFFSET 0
    ) AS host ON true
    LEFT JOIN LATERAL (
        SELECT its.xmin, its.ctid FROM public.workflow AS its WHERE its.id = host.workflow_id OFFSET 0
    ) AS workflow ON true
    LEFT JOIN LATERAL (
        SELECT its.depth, its.cancel_reason
        FROM workflow_worker.children AS its
        WHERE its.child_id = claimed.execution_id
        OFFSET 0
    ) AS child ON true
    ORDER BY claimed.place, claimed.execution_id;

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

COMMENT ON FUNCTION workflow_worker.claim(worker uuid, slots bigint, from_place timestamp without time zone) IS 'Takes due executions under a lease';

CREATE FUNCTION workflow_worker.claim_key(workflow uuid, wanted text, new_id uuid) RETURNS uuid
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.claim_key(workflow uuid, wanted text, new_id uuid) IS 'The execution that has an idempotency key, or NULL';

CREATE FUNCTION workflow_worker.concurrency_key_in(state text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.concurrency_key_in(state text) IS 'The concurrency key named in an execution_state, or NULL';

CREATE FUNCTION workflow_worker.configure_schedule(schedule_id uuid, time_zone text DEFAULT NULL::text, overlap text DEFAULT NULL::text, missed text DEFAULT NULL::text, max_catch_up integer DEFAULT NULL::integer, max_queued integer DEFAULT NULL::integer, input jsonb DEFAULT NULL::jsonb, cron_expression text DEFAULT NULL::text, is_active boolean DEFAULT NULL::boolean, next_run_at timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.configure_schedule(schedule_id uuid, time_zone text, overlap text, missed text, max_catch_up integer, max_queued integer, input jsonb, cron_expression text, is_active boolean, next_run_at timestamp with time zone) IS 'Changes a schedule; NULL leaves a setting as it is. WW404: no such schedule. WW400: an argument that cannot be';

CREATE FUNCTION workflow_worker.count_running() RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
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

CREATE FUNCTION workflow_worker.debug(execution text, is_on boolean DEFAULT true) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT workflow_worker.debug(workflow_worker.execution_id(execution), is_on) $$;

COMMENT ON FUNCTION workflow_worker.debug(execution text, is_on boolean) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.debug(execution uuid, is_on boolean DEFAULT true) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
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

COMMENT ON FUNCTION workflow_worker.debug(execution uuid, is_on boolean) IS 'Turns debug mode on (paused, one node per step) or off. WW400: NULL. WW404: there is none. WW410: it has ended';

CREATE FUNCTION workflow_worker.decide(execution text, decision text, node text DEFAULT NULL::text, by text DEFAULT NULL::text, comment text DEFAULT NULL::text, data jsonb DEFAULT NULL::jsonb) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT workflow_worker.decide(workflow_worker.execution_id(execution), decision, node, by, comment, data) $$;

COMMENT ON FUNCTION workflow_worker.decide(execution text, decision text, node text, by text, comment text, data jsonb) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.decide(execution uuid, decision text, node text DEFAULT NULL::text, by text DEFAULT NULL::text, comment text DEFAULT NULL::text, data jsonb DEFAULT NULL::jsonb) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
    AS $$
BEGIN
    IF coalesce(btrim(decision), '') = '' THEN
        RAISE EXCEPTION 'decision is NULL or blank; it must be one of the options' USING ERRCODE = 'WW400';
    END IF;
    RETURN workflow_worker.answer(execution, decision, NULL, node, workflow_worker.note_of(by, comment, data));
END
$$;

COMMENT ON FUNCTION workflow_worker.decide(execution uuid, decision text, node text, by text, comment text, data jsonb) IS 'Answers a request for an approval with one of its options; returns the id of the answer''s row. WW300: several are open and no node is named. WW400: a bad argument. WW404: there is no such execution. WW409: not in this state. WW410: it has ended. WW412: it waits for none. WW419: decided already. WW422: none of the options';

CREATE FUNCTION workflow_worker.enqueue_inserted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
    is_to_share boolean := false;
    due_now uuid[];
BEGIN
    IF EXISTS (SELECT FROM workflow_worker.limits) THEN
        is_to_share := (SELECT count(*) > 1 FROM inserted);
    END IF;
    WITH queued AS (
        INSERT INTO workflow_worker.run_queue (execution_id, run_at, priority, ready, limit_key, replay_of, replay_from)
        SELECT
            its.id,
            CASE
                WHEN its.status <> 'running' THEN workflow_worker.retry_time(its.next_retry_at)
                WHEN is_to_share THEN 'infinity'
                ELSE now()
            END,
            -- A replay is like its original, unless it says otherwise.
            coalesce(
                CASE WHEN strpos(its.state, '"priority"') > 0 THEN workflow_worker.priority_in(its.state) END,
                original.priority,
                5),
            its.status = 'running' AND NOT is_to_share,
            coalesce(
                CASE WHEN strpos(its.state, '"concurrency_key"') > 0 THEN workflow_worker.concurrency_key_in(its.state) END,
                original.limit_key),
            original.replay_of,
            original.replay_from
        FROM (
            SELECT inserted.id, inserted.status, inserted.next_retry_at, inserted.execution_state::text AS state
            FROM inserted
            WHERE inserted.status = 'running'
               OR (inserted.status = 'failed' AND inserted.next_retry_at IS NOT NULL AND inserted.completed_at IS NULL)
            -- So that the state is made a text once.
            OFFSET 0
        ) AS its
        LEFT JOIN LATERAL (
            SELECT replay.replay_of, replay.replay_from, known.priority, known.limit_key
            FROM workflow_worker.replay_in(its.state) AS replay
            LEFT JOIN LATERAL (
                SELECT queued.priority, queued.limit_key
                FROM workflow_worker.run_queue AS queued
                WHERE queued.execution_id = replay.replay_of
                UNION ALL
                SELECT finished.priority, finished.limit_key
                FROM workflow_worker.finished
                WHERE finished.execution_id = replay.replay_of
                LIMIT 1
            ) AS known ON true
            -- Here, where the function is not called if it is not so.
            WHERE strpos(its.state, '"original_execution_id"') > 0
            OFFSET 0
        ) AS original ON true
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

COMMENT ON FUNCTION workflow_worker.enqueue_inserted() IS 'AFTER INSERT on workflowexecution: into the run queue, and wake';

CREATE FUNCTION workflow_worker.events() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT coalesce((
        -- The argument of a trigger, with a NUL at its end.
        SELECT replace(encode(found.tgargs, 'escape'), '\000', '')
        FROM pg_trigger AS found
        WHERE found.tgrelid = to_regclass('public.workflowexecution')
          AND found.tgname = 'tell_workflow_worker_events'
          AND found.tgenabled <> 'D'
    ), 'off')
$$;

COMMENT ON FUNCTION workflow_worker.events() IS 'Which events are told on the channel workflow_worker_events: off, ends or all';

CREATE FUNCTION workflow_worker.excess_of(executions uuid[]) RETURNS TABLE(execution_id uuid, limit_key text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
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

COMMENT ON FUNCTION workflow_worker.excess_of(executions uuid[]) IS 'For each of these executions the limit for which it waits if they all become due at once, or NULL';

CREATE FUNCTION workflow_worker.execution_id(reference text) RETURNS uuid
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
$_$;

COMMENT ON FUNCTION workflow_worker.execution_id(reference text) IS 'The id of an execution, by its id or its name (exec-…). WW400: NULL or blank. WW404: there is none';

CREATE FUNCTION workflow_worker.extra_state(priority text, concurrency_key text, timeout_seconds numeric) RETURNS json
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.extra_state(priority text, concurrency_key text, timeout_seconds numeric) IS 'Keys of a new state beside those that Run writes';

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

CREATE FUNCTION workflow_worker.first_without_room(its_keys text[], rooms integer[], novelty integer, its_place timestamp without time zone, execution uuid) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'auto'
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

COMMENT ON FUNCTION workflow_worker.first_without_room(its_keys text[], rooms integer[], novelty integer, its_place timestamp without time zone, execution uuid) IS 'The first of these limits that leaves no room for a row, or NULL';

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

CREATE FUNCTION workflow_worker.forget_keys() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
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

CREATE FUNCTION workflow_worker.grant_access(role_name text, access text) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    object record;
    granted integer := 0;
BEGIN
    PERFORM workflow_worker.check_access(role_name, access);
    EXECUTE format('GRANT USAGE ON SCHEMA workflow_worker TO %I', role_name);
    FOR object IN SELECT * FROM workflow_worker.shared_objects(access) LOOP
        EXECUTE format('GRANT %s ON %s %s TO %I',
            CASE object.kind WHEN 'TABLE' THEN 'SELECT' ELSE 'EXECUTE' END, object.kind, object.name, role_name);
        granted := granted + 1;
    END LOOP;
    RETURN granted;
END
$$;

COMMENT ON FUNCTION workflow_worker.grant_access(role_name text, access text) IS 'Lets a role use the SQL API, as producer or reader; again after an upgrade. WW400: a bad argument. WW404: there is no such role';

CREATE FUNCTION workflow_worker.guard_update() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
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

COMMENT ON FUNCTION workflow_worker.guard_update() IS 'BEFORE UPDATE on workflowexecution by others: what has ended does not run again (WW409), no unknown status (WW400)';

CREATE FUNCTION workflow_worker.has_node(workflow uuid, execution uuid, node text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.has_node(workflow uuid, execution uuid, node text) IS 'Whether the graph of a workflow has or had a node, as far as can be said';

CREATE FUNCTION workflow_worker.held_reason(held_by text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.held_reason(held_by text) IS 'run_queue.held_by in words';

CREATE FUNCTION workflow_worker.host_row_written() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
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

COMMENT ON FUNCTION workflow_worker.host_row_written() IS 'AFTER UPDATE on workflowexecution by anyone but the worker';

CREATE FUNCTION workflow_worker.insert_execution(new_id uuid, workflow uuid, its_version integer, data json, extra json, run_at timestamp with time zone) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.insert_execution(new_id uuid, workflow uuid, its_version integer, data json, extra json, run_at timestamp with time zone) IS 'The rows of a new execution, as the platform''s Run writes them';

CREATE FUNCTION workflow_worker.insert_signal(execution uuid, signal_type text, signal_data json) RETURNS uuid
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    new_id CONSTANT uuid := gen_random_uuid();
BEGIN
    INSERT INTO public.workflowsignal (id, execution_id, signal_type, signal_data, received_at, processed)
    VALUES (new_id, execution, signal_type, signal_data, clock_timestamp() AT TIME ZONE 'utc', false);
    RETURN new_id;
END
$$;

COMMENT ON FUNCTION workflow_worker.insert_signal(execution uuid, signal_type text, signal_data json) IS 'A new row of workflowsignal';

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

CREATE FUNCTION workflow_worker.is_debugged(state json) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN coalesce(state -> 'execution_data' ->> 'debug_mode' = 'true', false);
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END
$$;

COMMENT ON FUNCTION workflow_worker.is_debugged(state json) IS 'Whether an execution_state says that debug mode is on';

CREATE FUNCTION workflow_worker.is_second_commit_of_replay(execution uuid, old_state text, new_state text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.is_second_commit_of_replay(execution uuid, old_state text, new_state text) IS 'Whether an UPDATE of workflowexecution is the API''s second commit of a replay';

CREATE FUNCTION workflow_worker.kind_of(status text, completed_at timestamp without time zone, next_retry_at timestamp without time zone) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT CASE
        WHEN status = 'failed' AND next_retry_at IS NOT NULL AND completed_at IS NULL THEN 'retrying'
        ELSE status
    END
$$;

COMMENT ON FUNCTION workflow_worker.kind_of(status text, completed_at timestamp without time zone, next_retry_at timestamp without time zone) IS 'The status of a host row; retrying if it is failed and will be tried again';

CREATE FUNCTION workflow_worker.let_cancelled_go() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE workflow_worker.run_queue AS queued
    SET held_by = NULL
    WHERE queued.execution_id = NEW.child_id AND queued.held_by IS NOT NULL;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION workflow_worker.let_cancelled_go() IS 'AFTER UPDATE on children: one that is cancelled waits for no limit';

CREATE FUNCTION workflow_worker.let_go(wanted_key text, to_run integer, to_start integer, at_most integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'auto'
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

COMMENT ON FUNCTION workflow_worker.let_go(wanted_key text, to_run integer, to_start integer, at_most integer) IS 'Lets go what waits for a limit; only under the lock on its key';

CREATE FUNCTION workflow_worker.limit_subject(name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT CASE WHEN octet_length(name) <= 200 THEN name ELSE left(name, 40) || '#' || md5(name) END
$$;

COMMENT ON FUNCTION workflow_worker.limit_subject(name text) IS 'A name as a part of a limit key; a long one is cut';

CREATE FUNCTION workflow_worker.limit_with(wanted_key text, OUT max_running integer, OUT max_starts integer, OUT per interval, OUT is_there boolean) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'auto'
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

COMMENT ON FUNCTION workflow_worker.limit_with(wanted_key text, OUT max_running integer, OUT max_starts integer, OUT per interval, OUT is_there boolean) IS 'The limit with this key, or NULLs';

CREATE FUNCTION workflow_worker.limits_on(executions uuid[]) RETURNS TABLE(execution_id uuid, limit_key text, max_running integer, max_starts integer)
    LANGUAGE plpgsql STABLE ROWS 10
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'auto'
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

COMMENT ON FUNCTION workflow_worker.limits_on(executions uuid[]) IS 'The limits on these executions';

CREATE FUNCTION workflow_worker.lock_execution(execution uuid, OUT name text, OUT kind text, OUT node text) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    SELECT * INTO name, kind, node FROM workflow_worker.lock_host_row(execution);
    PERFORM FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = execution FOR UPDATE;
END
$$;

COMMENT ON FUNCTION workflow_worker.lock_execution(execution uuid, OUT name text, OUT kind text, OUT node text) IS 'Locks an execution and says what is known of it';

CREATE FUNCTION workflow_worker.lock_host_row(execution uuid, OUT name text, OUT kind text, OUT node text) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.lock_host_row(execution uuid, OUT name text, OUT kind text, OUT node text) IS 'Locks the host row of an execution and says what is known of it';

CREATE FUNCTION workflow_worker.lock_request(execution uuid, execution_name text, node text, OUT id uuid, OUT options text[]) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    open_nodes text[];
    is_decided boolean;
BEGIN
    PERFORM
    FROM public.workflowsignal AS asked
    WHERE asked.execution_id = execution
      AND NOT asked.processed
      AND asked.signal_type IN ('human_approval', 'human_input', 'approval_response')
      AND asked.signal_data::text LIKE '%"options"%'
    ORDER BY asked.id
    FOR NO KEY UPDATE;

    WITH request AS (
        SELECT asked.id, asked.received_at, asked.processed, said.node_id, said.options
        FROM public.workflowsignal AS asked
        CROSS JOIN LATERAL workflow_worker.request_in(asked.signal_data::text) AS said
        WHERE asked.execution_id = execution
          AND asked.signal_type IN ('human_approval', 'human_input', 'approval_response')
          AND said.options IS NOT NULL
          AND (lock_request.node IS NULL OR said.node_id = lock_request.node)
    ),
    undecided AS (
        SELECT request.*
        FROM request
        WHERE NOT request.processed
          AND NOT EXISTS (
              SELECT
              FROM public.workflowsignal AS answer
              WHERE answer.execution_id = execution
                AND answer.id <> request.id
                AND workflow_worker.answers(answer.signal_data::text, request.id))
    )
    SELECT
        (SELECT array_agg(undecided.node_id ORDER BY undecided.received_at, undecided.id) FROM undecided),
        (SELECT undecided.id FROM undecided ORDER BY undecided.received_at, undecided.id LIMIT 1),
        (SELECT undecided.options FROM undecided ORDER BY undecided.received_at, undecided.id LIMIT 1),
        EXISTS (SELECT FROM request)
    INTO open_nodes, lock_request.id, lock_request.options, is_decided;

    IF cardinality(open_nodes) > 1 AND lock_request.node IS NULL THEN
        RAISE EXCEPTION 'execution % waits for % approvals, at the nodes %: name the node',
            execution_name, cardinality(open_nodes), array_to_string(open_nodes, ', ') USING ERRCODE = 'WW300';
    END IF;
    IF open_nodes IS NULL AND is_decided THEN
        RAISE EXCEPTION 'execution %: the approval% has been decided already, or is no longer asked for',
            execution_name, coalesce(' at node "' || left(lock_request.node, 300) || '"', '') USING ERRCODE = 'WW419';
    END IF;
    IF open_nodes IS NULL THEN
        RAISE EXCEPTION 'execution % waits for no approval%',
            execution_name, coalesce(' at node "' || left(lock_request.node, 300) || '"', '') USING ERRCODE = 'WW412';
    END IF;
END
$$;

COMMENT ON FUNCTION workflow_worker.lock_request(execution uuid, execution_name text, node text, OUT id uuid, OUT options text[]) IS 'Finds and locks the request for an approval that is meant';

CREATE FUNCTION workflow_worker.log_row(execution uuid, node text, level text, message text) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    INSERT INTO public.executionlog (id, execution_id, node_id, level, message, "timestamp")
    VALUES (gen_random_uuid(), execution, left(coalesce(node, 'system'), 255), level, left(message, 5000),
            clock_timestamp() AT TIME ZONE 'utc')
$$;

COMMENT ON FUNCTION workflow_worker.log_row(execution uuid, node text, level text, message text) IS 'A log row as the platform''s API writes it';

CREATE FUNCTION workflow_worker.mirror_schedules(schedules uuid[]) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.mirror_schedules(schedules uuid[]) IS 'Takes over what others have done to rows of workflowschedule';

CREATE FUNCTION workflow_worker.next_due(worker uuid, look_back double precision, from_place timestamp without time zone) RETURNS TABLE(is_due boolean, next_run_at timestamp with time zone, next_schedule_at timestamp with time zone, is_holding boolean, is_limit_waited_for boolean, next_opening_at timestamp with time zone, is_missing boolean, triggers_are_off boolean, database_time timestamp with time zone)
    LANGUAGE plpgsql ROWS 1
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
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

COMMENT ON FUNCTION workflow_worker.next_due(worker uuid, look_back double precision, from_place timestamp without time zone) IS 'What is due now, and what comes due next';

CREATE FUNCTION workflow_worker.note_of(by text, comment text, data jsonb) RETURNS json
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF jsonb_typeof(data) NOT IN ('object', 'null') THEN
        RAISE EXCEPTION 'data is of JSON type %; it must be an object', jsonb_typeof(data) USING ERRCODE = 'WW400';
    END IF;
    -- Keys that would make it another answer than the one that was asked for.
    RETURN ((CASE WHEN jsonb_typeof(data) = 'object' THEN data ELSE '{}' END)
            - ARRAY['signal_id', 'request_id', 'decision', 'response', 'option', 'approved', 'options', 'node_id']
            || jsonb_strip_nulls(jsonb_build_object('by', by, 'comment', comment)))::json;
END
$$;

COMMENT ON FUNCTION workflow_worker.note_of(by text, comment text, data jsonb) IS 'What comes with an answer';

CREATE FUNCTION workflow_worker.note_opening(wanted_key text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'auto'
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

COMMENT ON FUNCTION workflow_worker.note_opening(wanted_key text) IS 'Notes when the next start will be possible under a rate; only under the lock on its key';

CREATE FUNCTION workflow_worker.note_start(wanted_key text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'auto'
    AS $$
BEGIN
    INSERT INTO workflow_worker.limit_starts (limit_key, seq, taken_at)
    SELECT wanted_key, coalesce(max(start.seq), 0) + 1, clock_timestamp()
    FROM workflow_worker.limit_starts AS start
    WHERE start.limit_key = wanted_key;
END
$$;

COMMENT ON FUNCTION workflow_worker.note_start(wanted_key text) IS 'A first start under a limited rate; only under the lock on its key';

CREATE FUNCTION workflow_worker.option_of(options text[], decision text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT given.word
    FROM unnest(options) WITH ORDINALITY AS given (word, place)
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN btrim(given.word) = btrim(decision) THEN 1
            WHEN lower(btrim(given.word)) = lower(btrim(decision)) THEN 2
            WHEN lower(btrim(decision)) = 'approved' AND lower(btrim(given.word)) = 'approve' THEN 3
            WHEN lower(btrim(decision)) = 'rejected' AND lower(btrim(given.word)) = 'reject' THEN 3
        END AS likeness
    ) AS found
    WHERE found.likeness IS NOT NULL
    ORDER BY found.likeness, given.place
    LIMIT 1
$$;

COMMENT ON FUNCTION workflow_worker.option_of(options text[], decision text) IS 'The option that a decision means, or NULL';

CREATE FUNCTION workflow_worker.pause(execution text) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT workflow_worker.pause(workflow_worker.execution_id(execution)) $$;

COMMENT ON FUNCTION workflow_worker.pause(execution text) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.pause(execution uuid) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
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

COMMENT ON FUNCTION workflow_worker.pause(execution uuid) IS 'Pauses an execution: what runs ends and is recorded, nothing more starts. WW400: NULL. WW404: there is none. WW409: not in this state. WW410: it has ended';

CREATE FUNCTION workflow_worker.priority_in(state text) RETURNS integer
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.priority_in(state text) IS 'The priority named in an execution_state, or NULL';

CREATE FUNCTION workflow_worker.priority_number(named text) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.priority_number(named text) IS 'The number of a priority (a word or a number), or NULL';

CREATE FUNCTION workflow_worker.record(worker uuid, record_execution uuid[], record_fence bigint[], record_revision integer[], record_host_version integer[], record_host_status text[], record_checkpoint text[], record_graph_hash bytea[], record_disposition text[], record_run_at timestamp with time zone[], record_status text[], record_node text[], record_state text[], record_error text[], record_retry_count integer[], record_next_retry_at timestamp without time zone[], step_execution uuid[], step_seq integer[], step_node text[], step_type text[], step_visit integer[], step_attempt integer[], step_status text[], step_output text[], step_error text[], step_started_at timestamp with time zone[], step_finished_at timestamp with time zone[], step_scope text[], step_is_end boolean[], log_execution uuid[], log_id uuid[], log_node text[], log_level text[], log_message text[], log_logged_at timestamp without time zone[], log_is_closing boolean[], new_graph_hash bytea[], new_graph_source text[], request_execution uuid[], request_signal uuid[], request_type text[], request_data text[], handled_execution uuid[], handled_signal uuid[], start_parent uuid[], start_child uuid[], start_name text[], start_workflow uuid[], start_input text[], start_node text[], start_visit integer[], start_depth integer[], start_is_awaited boolean[], unwanted_parent uuid[], unwanted_child uuid[]) RETURNS TABLE(execution_id uuid, is_recorded boolean, is_current boolean, is_blocked boolean, notifications bigint, children_started bigint)
    LANGUAGE plpgsql ROWS 10
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_nestloop TO 'off'
    SET jit TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
    -- Tells the triggers on UPDATE and on signals that this is the worker; for this transaction only.
    is_writer CONSTANT text := set_config('workflow_worker.writer', 'on', true);
    -- One element per record: the name of its execution (NULL: its host row is locked or gone), whether its lease is in
    -- force and all that it needs was had, and whether the runner has seen the last write to the host row.
    record_name text[];
    record_is_held boolean[];
    record_is_current boolean[];
    -- Whether something stays in the run queue, ends, is published.
    any_kept boolean;
    any_ended boolean;
    any_published boolean;
    -- Executions in the run queue that are to be told something: by which, whether as its child, at its end.
    relative_of uuid[] := '{}';
    relative_id uuid[] := '{}';
    relative_is_child boolean[] := '{}';
    relative_is_at_end boolean[] := '{}';
    -- Those that could be locked, and what they are told.
    locked uuid[] := '{}';
    locked_is_free boolean[] := '{}';
    locked_is_planned boolean[] := '{}';
    told uuid[] := '{}';
    told_is_cancelled boolean[] := '{}';
    told_reason text[] := '{}';
    told_is_free boolean[] := '{}';
    told_may_be_woken boolean[] := '{}';
    -- Records that cannot be made now, because somebody else has locked what they need.
    obstructed uuid[] := '{}';
    is_family boolean;
    is_any_due boolean := false;
    is_any_interrupted boolean := false;
    its_children bigint := 0;
BEGIN
    WITH host AS MATERIALIZED (
        SELECT host_row.id, host_row.status, host_row.execution_id AS name
        FROM public.workflowexecution AS host_row
        WHERE host_row.id = ANY (record_execution)
        FOR NO KEY UPDATE SKIP LOCKED
    ),
    queue AS MATERIALIZED (
        SELECT
            queued.execution_id, queued.fence, queued.revision, queued.host_version,
            -- A column, because a condition would let the planner expect one row, and compare each with each.
            queued.worker_id = worker AS is_mine
        FROM workflow_worker.run_queue AS queued
        WHERE queued.execution_id = ANY (ARRAY(SELECT host.id FROM host))
        FOR UPDATE SKIP LOCKED
    )
    SELECT
        array_agg(seen.name),
        array_agg(seen.is_held),
        array_agg(seen.is_current),
        bool_or(seen.is_held AND NOT (seen.is_current AND seen.disposition = 'finish')),
        bool_or(seen.is_held AND seen.is_current AND seen.disposition = 'finish'),
        bool_or(seen.is_held AND seen.is_current AND seen.status IS NOT NULL)
    INTO record_name, record_is_held, record_is_current, any_kept, any_ended, any_published
    FROM (
        SELECT
            host.name,
            queue.execution_id IS NOT NULL AS is_held,
            coalesce(queue.host_version = record.host_version AND host.status = record.host_status, false)
                AS is_current,
            record.disposition,
            record.status
        FROM unnest(record_execution, record_fence, record_revision, record_host_version, record_host_status,
                    record_disposition, record_status)
            WITH ORDINALITY
            AS record (execution_id, fence, revision, host_version, host_status, disposition, status, number)
        LEFT JOIN host ON host.id = record.execution_id
        LEFT JOIN queue
          ON queue.execution_id = record.execution_id
         AND queue.is_mine
         AND queue.fence = record.fence
         AND queue.revision = record.revision
        ORDER BY record.number
    ) AS seen;

    is_family := any_ended AND EXISTS (SELECT FROM workflow_worker.children);
    IF is_family OR cardinality(unwanted_child) > 0 THEN
        SELECT
            coalesce(array_agg(related.execution_id), '{}'),
            coalesce(array_agg(related.relative_id), '{}'),
            coalesce(array_agg(related.is_child), '{}'),
            coalesce(array_agg(related.is_at_end), '{}')
        INTO relative_of, relative_id, relative_is_child, relative_is_at_end
        FROM (
            SELECT record.execution_id, family.parent_id AS relative_id, false AS is_child, true AS is_at_end
            FROM unnest(record_execution, record_disposition) AS record (execution_id, disposition)
            JOIN workflow_worker.children AS family ON family.child_id = record.execution_id
            WHERE record.disposition = 'finish' AND family.is_awaited AND family.child_id = ANY (record_execution)
            UNION ALL
            SELECT record.execution_id, family.child_id, true, true
            FROM unnest(record_execution, record_disposition) AS record (execution_id, disposition)
            JOIN workflow_worker.children AS family ON family.parent_id = record.execution_id
            WHERE record.disposition = 'finish' AND family.is_awaited AND family.parent_id = ANY (record_execution)
            UNION ALL
            SELECT unwanted.execution_id, family.child_id, true, false
            FROM unnest(unwanted_parent, unwanted_child) AS unwanted (execution_id, child_id)
            JOIN workflow_worker.children AS family
              ON family.child_id = unwanted.child_id AND family.parent_id = unwanted.execution_id
            WHERE family.child_id = ANY (unwanted_child)
        ) AS related
        -- OFFSET 0: one look-up each.
        WHERE EXISTS (
            SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = related.relative_id OFFSET 0);

        SELECT
            coalesce(array_agg(queued.execution_id), '{}'),
            coalesce(array_agg(queued.is_free), '{}'),
            coalesce(array_agg(queued.is_planned), '{}')
        INTO locked, locked_is_free, locked_is_planned
        FROM (
            SELECT
                its.execution_id,
                its.worker_id IS NULL AS is_free,
                its.revision = 0 AND its.timed_from > now() AS is_planned
            FROM workflow_worker.run_queue AS its
            WHERE its.execution_id = ANY (relative_id)
            FOR UPDATE SKIP LOCKED
        ) AS queued;
        obstructed := obstructed || ARRAY(
            SELECT relative.execution_id
            FROM unnest(relative_of, relative_id) AS relative (execution_id, its_id)
            WHERE relative.its_id <> ALL (locked));
    END IF;
    IF cardinality(handled_signal) > 0 THEN
        obstructed := obstructed || ARRAY(
            WITH signal AS MATERIALIZED (
                SELECT there.id
                FROM public.workflowsignal AS there
                WHERE there.id = ANY (handled_signal)
                FOR NO KEY UPDATE SKIP LOCKED
            )
            SELECT handled.execution_id
            FROM unnest(handled_execution, handled_signal) AS handled (execution_id, signal_id)
            JOIN public.workflowsignal AS there ON there.id = handled.signal_id
            WHERE there.id = ANY (handled_signal)
              AND handled.signal_id NOT IN (SELECT signal.id FROM signal));
    END IF;
    IF cardinality(start_workflow) > 0 THEN
        obstructed := obstructed || ARRAY(
            SELECT starting.execution_id
            FROM unnest(start_parent, start_workflow) AS starting (execution_id, workflow_id)
            WHERE workflow_worker.is_being_deleted(starting.workflow_id));
    END IF;
    IF cardinality(obstructed) > 0 THEN
        record_is_held := ARRAY(
            SELECT record.is_held AND record.execution_id <> ALL (obstructed)
            FROM unnest(record_execution, record_is_held) WITH ORDINALITY AS record (execution_id, is_held, number)
            ORDER BY record.number);
    END IF;
    IF cardinality(locked) > 0 THEN
        SELECT
            coalesce(array_agg(news.execution_id), '{}'),
            coalesce(array_agg(news.is_cancelled), '{}'),
            coalesce(array_agg(news.reason), '{}'),
            coalesce(array_agg(queued.is_free), '{}'),
            -- A parent that is paused stays so; a child that is cancelled is to be ended, paused or not. (One that is
            -- to start later does so at its time.)
            coalesce(array_agg(
                news.is_cancelled
                OR (workflow_worker.status_now(news.execution_id) IS DISTINCT FROM 'paused' AND NOT queued.is_planned)),
                '{}')
        INTO told, told_is_cancelled, told_reason, told_is_free, told_may_be_woken
        FROM (
            SELECT
                relative.its_id AS execution_id,
                bool_or(relative.is_child) AS is_cancelled,
                min(CASE
                    WHEN relative.is_child AND relative.is_at_end THEN 'Parent execution ' || record.name || ' ended'
                    WHEN relative.is_child THEN 'No longer needed by execution ' || record.name
                END) AS reason
            FROM unnest(relative_of, relative_id, relative_is_child, relative_is_at_end)
                AS relative (execution_id, its_id, is_child, is_at_end)
            JOIN unnest(record_execution, record_name, record_is_held, record_is_current)
                AS record (execution_id, name, is_held, is_current)
              ON record.execution_id = relative.execution_id
            WHERE record.is_held AND (record.is_current OR NOT relative.is_at_end)
            GROUP BY relative.its_id
        ) AS news
        JOIN unnest(locked, locked_is_free, locked_is_planned) AS queued (execution_id, is_free, is_planned)
          ON queued.execution_id = news.execution_id;
    END IF;

    IF cardinality(new_graph_hash) > 0 THEN
        INSERT INTO workflow_worker.graphs (hash, source)
        SELECT new_graph.hash, new_graph.source
        FROM unnest(new_graph_hash, new_graph_source) AS new_graph (hash, source)
        -- In one order, or two workers that bring the same new graphs wait for each other.
        ORDER BY new_graph.hash
        ON CONFLICT (hash) DO NOTHING;
        -- The retention had it marked as unused.
        UPDATE workflow_worker.graphs AS stored
        SET unused_since = NULL
        WHERE stored.hash IN (
            SELECT marked.hash
            FROM workflow_worker.graphs AS marked
            WHERE marked.hash = ANY (new_graph_hash) AND marked.unused_since IS NOT NULL
            FOR UPDATE SKIP LOCKED);
    END IF;
    IF cardinality(step_execution) > 0 THEN
        INSERT INTO workflow_worker.steps
            (execution_id, seq, node_id, node_type, visit, attempt, status, output, error, started_at, finished_at,
             worker_id, fence, scope, is_end)
        SELECT
            new_step.execution_id, new_step.seq, new_step.node_id, new_step.node_type, new_step.visit, new_step.attempt,
            new_step.status, new_step.output::json, new_step.error, new_step.started_at, new_step.finished_at,
            worker, record.fence, new_step.scope, new_step.is_end
        FROM unnest(step_execution, step_seq, step_node, step_type, step_visit, step_attempt, step_status, step_output,
                    step_error, step_started_at, step_finished_at, step_scope, step_is_end)
            AS new_step (execution_id, seq, node_id, node_type, visit, attempt, status, output, error, started_at,
                         finished_at, scope, is_end)
        JOIN unnest(record_execution, record_fence, record_is_held) AS record (execution_id, fence, is_held)
          ON record.execution_id = new_step.execution_id
        WHERE record.is_held;
    END IF;
    IF cardinality(log_execution) > 0 THEN
        INSERT INTO public.executionlog (id, execution_id, node_id, level, message, "timestamp")
        SELECT entry.id, entry.execution_id, entry.node_id, entry.level, entry.message, entry.logged_at
        FROM unnest(log_execution, log_id, log_node, log_level, log_message, log_logged_at, log_is_closing)
            AS entry (execution_id, id, node_id, level, message, logged_at, is_closing)
        JOIN unnest(record_execution, record_is_held, record_is_current) AS record (execution_id, is_held, is_current)
          ON record.execution_id = entry.execution_id
        WHERE record.is_held AND (record.is_current OR NOT entry.is_closing);
    END IF;
    IF cardinality(request_signal) > 0 THEN
        INSERT INTO public.workflowsignal (id, execution_id, signal_type, signal_data, received_at, processed)
        SELECT
            new_request.signal_id, new_request.execution_id, new_request.signal_type, new_request.signal_data::json,
            clock_timestamp() AT TIME ZONE 'utc', false
        FROM unnest(request_execution, request_signal, request_type, request_data)
            AS new_request (execution_id, signal_id, signal_type, signal_data)
        JOIN unnest(record_execution, record_is_held) AS record (execution_id, is_held)
          ON record.execution_id = new_request.execution_id
        WHERE record.is_held
        ON CONFLICT (id) DO NOTHING;
    END IF;
    IF cardinality(handled_signal) > 0 THEN
        UPDATE public.workflowsignal AS there
        SET processed = true
        FROM unnest(handled_execution, handled_signal) AS handled (execution_id, signal_id)
        JOIN unnest(record_execution, record_is_held) AS record (execution_id, is_held)
          ON record.execution_id = handled.execution_id
        WHERE record.is_held
          AND there.id = handled.signal_id
          AND there.id = ANY (handled_signal)
          AND there.execution_id = handled.execution_id;
    END IF;
    -- Before the parent leaves the run queue: the child has its priority.
    IF cardinality(start_child) > 0 THEN
        SELECT count(*) FILTER (WHERE workflow_worker.start_child(
            new_child.parent_id, new_child.child_id, new_child.name, new_child.workflow_id, new_child.input::json,
            new_child.node_id, new_child.visit, new_child.depth, new_child.is_awaited))
        INTO its_children
        FROM unnest(start_parent, start_child, start_name, start_workflow, start_input, start_node, start_visit,
                    start_depth, start_is_awaited)
            AS new_child (parent_id, child_id, name, workflow_id, input, node_id, visit, depth, is_awaited)
        JOIN unnest(record_execution, record_is_held) AS record (execution_id, is_held)
          ON record.execution_id = new_child.parent_id
        WHERE record.is_held;
    END IF;

    -- What stays in the run queue. One row may have both a record and something to be told.
    IF any_kept OR cardinality(told) > 0 THEN
        WITH change AS MATERIALIZED (
            SELECT
                coalesce(record.execution_id, news.execution_id) AS execution_id,
                record.execution_id IS NOT NULL AS is_recorded,
                record.checkpoint,
                record.graph_hash,
                record.run_at,
                -- A record that only announces a node proves nothing: that node may be what kills the worker.
                record.disposition <> 'hold' OR record.execution_id = ANY (step_execution) AS is_progress,
                CASE WHEN record.is_current THEN record.disposition ELSE 'hold' END AS disposition,
                coalesce(record.is_current AND record.disposition = 'park' AND record.status = 'paused', false)
                    AS is_paused,
                news.execution_id IS NOT NULL AS is_told,
                coalesce(
                    news.may_be_woken AND (news.is_free OR (record.is_current AND record.disposition <> 'hold')),
                    false) AS is_woken
            FROM (
                SELECT *
                FROM unnest(record_execution, record_is_held, record_is_current, record_checkpoint, record_graph_hash,
                            record_disposition, record_run_at, record_status)
                    AS its (execution_id, is_held, is_current, checkpoint, graph_hash, disposition, run_at, status)
                WHERE its.is_held
            ) AS record
            FULL JOIN unnest(told, told_is_free, told_may_be_woken) AS news (execution_id, is_free, may_be_woken)
              ON news.execution_id = record.execution_id
            WHERE NOT coalesce(record.is_current AND record.disposition = 'finish', false)
        ),
        kept AS (
            UPDATE workflow_worker.run_queue AS queued
            SET revision = queued.revision + CASE WHEN change.is_recorded THEN 1 ELSE 0 END,
                host_version = queued.host_version + CASE WHEN change.is_told THEN 1 ELSE 0 END,
                rescues = CASE WHEN change.is_progress THEN 0 ELSE queued.rescues END,
                checkpoint = coalesce(change.checkpoint::json, queued.checkpoint),
                graph_hash = coalesce(change.graph_hash, queued.graph_hash),
                worker_id = CASE WHEN change.disposition <> 'hold' THEN NULL ELSE queued.worker_id END,
                ready = CASE
                    WHEN change.is_woken OR change.disposition = 'release' THEN true
                    WHEN change.disposition = 'park' THEN false
                    ELSE queued.ready
                END,
                run_at = CASE
                    -- What is due already keeps its place.
                    WHEN change.is_woken AND queued.ready AND queued.worker_id IS NULL THEN queued.run_at
                    WHEN change.is_woken OR change.disposition = 'release' THEN now()
                    WHEN change.disposition = 'park' THEN coalesce(change.run_at, 'infinity')
                    ELSE queued.run_at
                END,
                -- Paused by the runner itself (a debug step is done): the clock of its time-out stands still meanwhile.
                paused_at = CASE
                    WHEN change.is_paused THEN coalesce(queued.paused_at, now())
                    ELSE queued.paused_at
                END
            FROM change
            WHERE queued.execution_id = change.execution_id
              AND queued.execution_id = ANY (record_execution || told)
            RETURNING
                change.is_woken OR change.disposition = 'release' AS is_due,
                queued.worker_id IS NOT NULL AND change.is_told AS is_interrupted
        )
        SELECT coalesce(bool_or(kept.is_due), false), coalesce(bool_or(kept.is_interrupted), false)
        INTO is_any_due, is_any_interrupted
        FROM kept;
    END IF;
    IF any_ended THEN
        WITH removed AS (
            DELETE FROM workflow_worker.run_queue AS queued
            USING unnest(record_execution, record_is_held, record_is_current, record_fence, record_revision,
                         record_checkpoint, record_graph_hash, record_disposition, record_status, record_host_status)
                AS record (execution_id, is_held, is_current, fence, revision, checkpoint, graph_hash, disposition,
                           status, host_status)
            WHERE queued.execution_id = record.execution_id
              AND queued.execution_id = ANY (record_execution)
              AND record.is_held
              AND record.is_current
              AND record.disposition = 'finish'
            RETURNING
                queued.execution_id, queued.priority, queued.limit_key, queued.replay_of, record.fence, record.revision,
                coalesce(record.status, record.host_status) AS outcome,
                coalesce(record.graph_hash, queued.graph_hash) AS graph_hash,
                coalesce(record.checkpoint::json, queued.checkpoint) AS checkpoint
        )
        INSERT INTO workflow_worker.finished
            (execution_id, outcome, fence, revision, graph_hash, checkpoint, priority, limit_key, replay_of)
        SELECT
            removed.execution_id,
            removed.outcome,
            removed.fence,
            removed.revision + 1,
            removed.graph_hash,
            removed.checkpoint,
            removed.priority,
            removed.limit_key,
            removed.replay_of
        FROM removed
        ON CONFLICT (execution_id) DO UPDATE
        SET outcome = excluded.outcome,
            fence = excluded.fence,
            revision = excluded.revision,
            graph_hash = excluded.graph_hash,
            checkpoint = excluded.checkpoint,
            priority = excluded.priority,
            limit_key = excluded.limit_key,
            -- Known from its first way through the run queue only.
            replay_of = coalesce(excluded.replay_of, finished.replay_of),
            finished_at = now(),
            -- It has a history again.
            pruned_at = NULL;
    END IF;
    IF any_published THEN
        UPDATE public.workflowexecution AS host_row
        SET status = record.status,
            current_node_id = record.current_node_id,
            execution_state = CASE
                WHEN record.execution_state IS NOT NULL THEN record.execution_state::json
                WHEN record.disposition = 'finish' THEN
                    workflow_worker.with_status(
                        host_row.execution_state::text, record.status, record.error_message)::json
                ELSE host_row.execution_state::json
            END,
            error_message = record.error_message,
            retry_count = record.retry_count,
            next_retry_at = record.next_retry_at,
            completed_at = CASE
                -- Resuming a row that had ended leaves it set.
                WHEN record.status = 'running' OR record.next_retry_at IS NOT NULL THEN NULL
                -- Whoever terminated it has set the time of that.
                WHEN record.disposition <> 'finish' OR record.status = record.host_status
                    THEN coalesce(
                        host_row.completed_at,
                        CASE WHEN record.disposition = 'finish' THEN clock_timestamp() AT TIME ZONE 'utc' END)
                ELSE clock_timestamp() AT TIME ZONE 'utc'
            END
        FROM unnest(record_execution, record_is_held, record_is_current, record_disposition, record_host_status,
                    record_status, record_node, record_state, record_error, record_retry_count, record_next_retry_at)
            AS record (execution_id, is_held, is_current, disposition, host_status, status, current_node_id,
                       execution_state, error_message, retry_count, next_retry_at)
        WHERE host_row.id = record.execution_id
          AND host_row.id = ANY (record_execution)
          AND record.is_held
          AND record.is_current
          AND record.status IS NOT NULL;
    END IF;
    IF is_family OR cardinality(told) > 0 THEN
        UPDATE workflow_worker.children AS child
        SET cancel_reason = verdict.reason
        FROM (
            SELECT news.execution_id, news.reason
            FROM unnest(told, told_is_cancelled, told_reason) AS news (execution_id, is_cancelled, reason)
            WHERE news.is_cancelled
              -- One that ends in this record is not to be told.
              AND news.execution_id NOT IN (
                  SELECT record.execution_id
                  FROM unnest(record_execution, record_is_held, record_is_current, record_disposition)
                      AS record (execution_id, is_held, is_current, disposition)
                  WHERE record.is_held AND record.is_current AND record.disposition = 'finish')
            UNION ALL
            -- It has been carried out.
            SELECT record.execution_id, NULL
            FROM unnest(record_execution, record_is_held, record_is_current, record_disposition)
                AS record (execution_id, is_held, is_current, disposition)
            WHERE record.is_held AND record.is_current AND record.disposition = 'finish'
        ) AS verdict (child_id, reason)
        WHERE child.child_id = verdict.child_id
          AND child.child_id = ANY (record_execution || told)
          -- The first reason is the one that counts.
          AND (child.cancel_reason IS NULL) <> (verdict.reason IS NULL);
    END IF;
    -- What is handed back starts on another worker at once.
    IF is_any_due THEN
        PERFORM pg_notify('workflow_worker', '');
    END IF;
    IF is_any_interrupted THEN
        PERFORM pg_notify('workflow_worker', 'interrupt');
    END IF;

    RETURN QUERY
    SELECT
        record.execution_id,
        record.is_held,
        record.is_held AND record.is_current,
        -- Its host row is locked or gone; or the lease is current, and something else that the record needs is locked.
        CASE
            WHEN record.is_held THEN false
            WHEN record.name IS NULL THEN true
            ELSE EXISTS (
                SELECT
                FROM workflow_worker.run_queue AS queued
                WHERE queued.execution_id = record.execution_id
                  AND queued.worker_id = worker
                  AND queued.fence = record.fence
                  AND queued.revision = record.revision)
        END,
        is_any_due::integer::bigint + is_any_interrupted::integer,
        its_children
    FROM unnest(record_execution, record_is_held, record_is_current, record_name, record_fence, record_revision)
        AS record (execution_id, is_held, is_current, name, fence, revision);
END
$$;

COMMENT ON FUNCTION workflow_worker.record(worker uuid, record_execution uuid[], record_fence bigint[], record_revision integer[], record_host_version integer[], record_host_status text[], record_checkpoint text[], record_graph_hash bytea[], record_disposition text[], record_run_at timestamp with time zone[], record_status text[], record_node text[], record_state text[], record_error text[], record_retry_count integer[], record_next_retry_at timestamp without time zone[], step_execution uuid[], step_seq integer[], step_node text[], step_type text[], step_visit integer[], step_attempt integer[], step_status text[], step_output text[], step_error text[], step_started_at timestamp with time zone[], step_finished_at timestamp with time zone[], step_scope text[], step_is_end boolean[], log_execution uuid[], log_id uuid[], log_node text[], log_level text[], log_message text[], log_logged_at timestamp without time zone[], log_is_closing boolean[], new_graph_hash bytea[], new_graph_source text[], request_execution uuid[], request_signal uuid[], request_type text[], request_data text[], handled_execution uuid[], handled_signal uuid[], start_parent uuid[], start_child uuid[], start_name text[], start_workflow uuid[], start_input text[], start_node text[], start_visit integer[], start_depth integer[], start_is_awaited boolean[], unwanted_parent uuid[], unwanted_child uuid[]) IS 'Makes the work of many executions durable in one commit';

CREATE FUNCTION workflow_worker.refuse(name text, kind text, asked text, hint text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.refuse(name text, kind text, asked text, hint text) IS 'Raises WW410 if the execution has ended, else WW409';

CREATE FUNCTION workflow_worker.refuse_status() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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

CREATE FUNCTION workflow_worker.reject(execution text, node text DEFAULT NULL::text, by text DEFAULT NULL::text, comment text DEFAULT NULL::text, data jsonb DEFAULT NULL::jsonb) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT workflow_worker.reject(workflow_worker.execution_id(execution), node, by, comment, data) $$;

COMMENT ON FUNCTION workflow_worker.reject(execution text, node text, by text, comment text, data jsonb) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.reject(execution uuid, node text DEFAULT NULL::text, by text DEFAULT NULL::text, comment text DEFAULT NULL::text, data jsonb DEFAULT NULL::jsonb) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
    AS $$
BEGIN
    RETURN workflow_worker.answer(execution, NULL, false, node, workflow_worker.note_of(by, comment, data));
END
$$;

COMMENT ON FUNCTION workflow_worker.reject(execution uuid, node text, by text, comment text, data jsonb) IS 'Answers a request for an approval with no: the option reject, rejected, no, deny or false, else the second. Errors as decide';

CREATE FUNCTION workflow_worker.remove_limit(kind text, subject text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
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

COMMENT ON FUNCTION workflow_worker.remove_limit(kind text, subject text) IS 'Takes a limit away, and returns whether there was one. WW400: bad argument';

CREATE FUNCTION workflow_worker.replay(execution text, from_node text DEFAULT NULL::text, priority text DEFAULT NULL::text, idempotency_key text DEFAULT NULL::text, OUT id uuid, OUT name text, OUT is_new boolean) RETURNS record
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT * FROM workflow_worker.replay(workflow_worker.execution_id(execution), from_node, priority, idempotency_key)
$$;

COMMENT ON FUNCTION workflow_worker.replay(execution text, from_node text, priority text, idempotency_key text, OUT id uuid, OUT name text, OUT is_new boolean) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.replay(execution uuid, from_node text DEFAULT NULL::text, priority text DEFAULT NULL::text, idempotency_key text DEFAULT NULL::text, OUT id uuid, OUT name text, OUT is_new boolean) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
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

COMMENT ON FUNCTION workflow_worker.replay(execution uuid, from_node text, priority text, idempotency_key text, OUT id uuid, OUT name text, OUT is_new boolean) IS 'Starts an execution anew, from its beginning or from a node. WW400: a bad argument. WW403: the workflow is not active. WW404: there is no such execution';

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

CREATE FUNCTION workflow_worker.request_in(signal_data text, OUT node_id text, OUT message text, OUT options text[], OUT timeout_seconds numeric) RETURNS record
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    data jsonb;
BEGIN
    -- Spares most rows the parsing.
    IF signal_data IS NULL OR strpos(signal_data, '"options"') = 0 THEN
        RETURN;
    END IF;
    data := signal_data::jsonb;
    IF jsonb_typeof(data) <> 'object' OR data ?| ARRAY['decision', 'response', 'option', 'approved'] THEN
        RETURN;
    END IF;
    node_id := data ->> 'node_id';
    message := data ->> 'message';
    options := CASE jsonb_typeof(data -> 'options')
        WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(data -> 'options'))
        ELSE ARRAY(SELECT btrim(word) FROM unnest(string_to_array(data ->> 'options', ',')) AS word)
    END;
    timeout_seconds := CASE WHEN jsonb_typeof(data -> 'timeout_seconds') = 'number'
        THEN (data ->> 'timeout_seconds')::numeric END;
EXCEPTION WHEN OTHERS THEN
    node_id := NULL;
    message := NULL;
    options := NULL;
    timeout_seconds := NULL;
END
$$;

COMMENT ON FUNCTION workflow_worker.request_in(signal_data text, OUT node_id text, OUT message text, OUT options text[], OUT timeout_seconds numeric) IS 'What the data of a workflowsignal ask, or NULLs';

CREATE FUNCTION workflow_worker.resume(execution text) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT workflow_worker.resume(workflow_worker.execution_id(execution)) $$;

COMMENT ON FUNCTION workflow_worker.resume(execution text) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.resume(execution uuid) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
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

COMMENT ON FUNCTION workflow_worker.resume(execution uuid) IS 'Lets a paused execution go on. WW400: NULL. WW404: there is none. WW409: it is not paused. WW410: it has ended';

CREATE FUNCTION workflow_worker.retry(execution text) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT workflow_worker.retry(workflow_worker.execution_id(execution)) $$;

COMMENT ON FUNCTION workflow_worker.retry(execution text) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.retry(execution uuid) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
    SET "workflow_worker.restart" TO 'on'
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

COMMENT ON FUNCTION workflow_worker.retry(execution uuid) IS 'Tries a failed execution again where it failed, at once. WW400: NULL. WW404: there is none. WW409: it has not failed. WW410: it has completed';

CREATE FUNCTION workflow_worker.retry_time(next_retry_at timestamp without time zone) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT least(greatest(next_retry_at, '0001-01-01'), '9999-12-31') AT TIME ZONE 'utc'
$$;

COMMENT ON FUNCTION workflow_worker.retry_time(next_retry_at timestamp without time zone) IS 'A retry time within what any clock can hold';

CREATE FUNCTION workflow_worker.revoke_access(role_name text, access text) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    object record;
    revoked integer := 0;
BEGIN
    PERFORM workflow_worker.check_access(role_name, access);
    FOR object IN SELECT * FROM workflow_worker.shared_objects(access) LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %I', object.kind, object.name, role_name);
        revoked := revoked + 1;
    END LOOP;
    -- The schema as well, if nothing in it is left to the role.
    IF NOT EXISTS (
        SELECT
        FROM pg_class AS kept
        CROSS JOIN LATERAL aclexplode(kept.relacl) AS given
        WHERE kept.relnamespace = to_regnamespace('workflow_worker')
          AND given.grantee = (SELECT pg_roles.oid FROM pg_roles WHERE pg_roles.rolname = role_name)
        UNION ALL
        SELECT
        FROM pg_proc AS kept
        CROSS JOIN LATERAL aclexplode(kept.proacl) AS given
        WHERE kept.pronamespace = to_regnamespace('workflow_worker')
          AND given.grantee = (SELECT pg_roles.oid FROM pg_roles WHERE pg_roles.rolname = role_name)
    ) THEN
        EXECUTE format('REVOKE ALL ON SCHEMA workflow_worker FROM %I', role_name);
    END IF;
    RETURN revoked;
END
$$;

COMMENT ON FUNCTION workflow_worker.revoke_access(role_name text, access text) IS 'Takes back what grant_access has given. WW400: a bad argument. WW404: there is no such role';

CREATE FUNCTION workflow_worker.room_under(wanted_key text, OUT to_run integer, OUT to_start integer) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'auto'
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

COMMENT ON FUNCTION workflow_worker.room_under(wanted_key text, OUT to_run integer, OUT to_start integer) IS 'How many more may run and start under a limit; only under the lock on its key';

CREATE FUNCTION workflow_worker.schedule(workflow_id uuid, cron_expression text, time_zone text DEFAULT 'UTC'::text, overlap text DEFAULT 'allow'::text, missed text DEFAULT 'default'::text, input jsonb DEFAULT '{}'::jsonb, max_catch_up integer DEFAULT 0, max_queued integer DEFAULT 100, is_active boolean DEFAULT true, schedule_id uuid DEFAULT NULL::uuid) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.schedule(workflow_id uuid, cron_expression text, time_zone text, overlap text, missed text, input jsonb, max_catch_up integer, max_queued integer, is_active boolean, schedule_id uuid) IS 'Makes a schedule, or replaces the one with this id; returns the id. WW404: no such workflow. WW400: an argument that cannot be';

CREATE FUNCTION workflow_worker.schedule_written() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
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

CREATE FUNCTION workflow_worker.set_events(mode text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '3s'
    SET client_min_messages TO 'warning'
    AS $$
BEGIN
    IF mode IS NULL OR mode NOT IN ('off', 'ends', 'all') THEN
        RAISE EXCEPTION 'mode is %; it must be off, ends or all', coalesce('"' || left(mode, 100) || '"', 'NULL')
            USING ERRCODE = 'WW400';
    END IF;
    -- Workers that start at the same time.
    PERFORM pg_advisory_xact_lock(hashtextextended('workflow_worker.events', 0));
    IF workflow_worker.events() = mode THEN
        RETURN false;
    END IF;
    DROP TRIGGER IF EXISTS tell_workflow_worker_events ON public.workflowexecution;
    DROP TRIGGER IF EXISTS tell_workflow_worker_new ON public.workflowexecution;
    DELETE FROM workflow_worker.host_changes AS change
    WHERE change.kind = 'trigger'
      AND change.object_name IN ('tell_workflow_worker_events', 'tell_workflow_worker_new');
    IF mode = 'off' THEN
        RETURN true;
    END IF;
    EXECUTE format(
        'CREATE TRIGGER tell_workflow_worker_events
            AFTER UPDATE OF status, completed_at, next_retry_at ON public.workflowexecution
            FOR EACH ROW
            WHEN (OLD.status IS DISTINCT FROM NEW.status
                  OR (OLD.completed_at IS NULL) <> (NEW.completed_at IS NULL)
                  OR (OLD.next_retry_at IS NULL) <> (NEW.next_retry_at IS NULL))
            EXECUTE FUNCTION workflow_worker.tell_event(%L)', mode);
    EXECUTE format(
        'CREATE TRIGGER tell_workflow_worker_new
            AFTER INSERT ON public.workflowexecution
            FOR EACH ROW
            WHEN (%s)
            EXECUTE FUNCTION workflow_worker.tell_event(%L)',
        CASE mode WHEN 'all' THEN 'true' ELSE 'NEW.status IN (''completed'', ''failed'')' END, mode);
    INSERT INTO workflow_worker.host_changes (kind, table_name, object_name)
    VALUES
        ('trigger', 'workflowexecution', 'tell_workflow_worker_events'),
        ('trigger', 'workflowexecution', 'tell_workflow_worker_new');
    RETURN true;
END
$$;

COMMENT ON FUNCTION workflow_worker.set_events(mode text) IS 'Sets which events are told on the channel workflow_worker_events: off, ends or all; returns whether that is a change. WW400: another mode';

CREATE FUNCTION workflow_worker.set_limit(kind text, subject text, max_running integer DEFAULT NULL::integer, max_starts integer DEFAULT NULL::integer, per interval DEFAULT NULL::interval) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
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

COMMENT ON FUNCTION workflow_worker.set_limit(kind text, subject text, max_running integer, max_starts integer, per interval) IS 'Limits how many executions of a workflow, of an owner or with a concurrency key run (max_running) or start (max_starts per period) at once; subject * means each one separately. WW400: bad argument. WW404: no such workflow or owner';

CREATE FUNCTION workflow_worker.set_priority(execution text, priority text) RETURNS integer
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT workflow_worker.set_priority(workflow_worker.execution_id(execution), priority) $$;

COMMENT ON FUNCTION workflow_worker.set_priority(execution text, priority text) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.set_priority(execution uuid, priority text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
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

COMMENT ON FUNCTION workflow_worker.set_priority(execution uuid, priority text) IS 'Changes the priority of an execution that waits or runs, and returns its number. WW400: no such priority. WW404: no such execution. WW410: it has ended';

CREATE FUNCTION workflow_worker.shared_objects(access text, OUT kind text, OUT name text) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT 'FUNCTION', found.oid::regprocedure::text
    FROM pg_proc AS found
    WHERE found.pronamespace = to_regnamespace('workflow_worker')
      AND found.proname = ANY (CASE access
          WHEN 'producer' THEN ARRAY[
              'start', 'replay', 'execution_id',
              'pause', 'resume', 'terminate', 'terminate_all', 'retry', 'debug', 'step', 'set_priority',
              'signal', 'approve', 'reject', 'decide',
              'schedule', 'configure_schedule', 'unschedule']
          -- Names to ids; the rest the views call, they read nothing but their arguments.
          WHEN 'reader' THEN ARRAY['execution_id', 'request_in', 'answers', 'held_reason', 'limit_with']
      END)
    UNION ALL
    SELECT 'TABLE', found.oid::regclass::text
    FROM pg_class AS found
    WHERE found.relnamespace = to_regnamespace('workflow_worker')
      AND found.relname = ANY (CASE access
          WHEN 'producer' THEN ARRAY[]::text[]
          WHEN 'reader' THEN ARRAY['executions', 'approvals', 'health', 'steps', 'workers', 'schedules', 'limits', 'limit_usage',
                               'retention']
      END)
$$;

COMMENT ON FUNCTION workflow_worker.shared_objects(access text, OUT kind text, OUT name text) IS 'The functions and relations that a producer or reader may use';

CREATE FUNCTION workflow_worker.signal(execution text, type text, data jsonb DEFAULT NULL::jsonb) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT workflow_worker.signal(workflow_worker.execution_id(execution), type, data) $$;

COMMENT ON FUNCTION workflow_worker.signal(execution text, type text, data jsonb) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.signal(execution uuid, type text, data jsonb DEFAULT NULL::jsonb) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
    AS $$
DECLARE
    held record;
BEGIN
    IF coalesce(btrim(type), '') = '' OR length(type) > 100 THEN
        RAISE EXCEPTION 'type has % characters; it must have 1 to 100, and not only blanks', coalesce(length(type), 0)
            USING ERRCODE = 'WW400';
    END IF;
    SELECT * INTO held FROM workflow_worker.lock_host_row(execution);
    IF held.kind NOT IN ('running', 'waiting_for_signal', 'paused', 'retrying') THEN
        PERFORM workflow_worker.refuse(held.name, held.kind, 'signalled', NULL);
    END IF;
    RETURN workflow_worker.insert_signal(execution, type, data::json);
END
$$;

COMMENT ON FUNCTION workflow_worker.signal(execution uuid, type text, data jsonb) IS 'Sends a signal to an execution, now or later waited for; returns the id of its row. WW400: a bad argument. WW404: there is none. WW409: not in this state. WW410: it has ended';

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

CREATE FUNCTION workflow_worker.start(workflow_id uuid, input jsonb DEFAULT '{}'::jsonb, priority text DEFAULT NULL::text, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, idempotency_key text DEFAULT NULL::text, parent uuid DEFAULT NULL::uuid, concurrency_key text DEFAULT NULL::text, timeout_seconds numeric DEFAULT NULL::numeric, OUT id uuid, OUT name text, OUT is_new boolean) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
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

COMMENT ON FUNCTION workflow_worker.start(workflow_id uuid, input jsonb, priority text, run_at timestamp with time zone, idempotency_key text, parent uuid, concurrency_key text, timeout_seconds numeric, OUT id uuid, OUT name text, OUT is_new boolean) IS 'Starts an execution of a workflow; with an idempotency key at most once. WW400: a bad argument. WW403: the workflow is not active. WW404: there is no such workflow or parent. WW410: the parent has ended';

CREATE FUNCTION workflow_worker.start_child(parent uuid, child uuid, child_name text, child_workflow uuid, input json, by_node text, by_visit integer, at_depth integer, is_waited_for boolean) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.start_child(parent uuid, child uuid, child_name text, child_workflow uuid, input json, by_node text, by_visit integer, at_depth integer, is_waited_for boolean) IS 'Starts an execution of a workflow for a node of another';

CREATE FUNCTION workflow_worker.start_scheduled(executions uuid[], names text[], workflows uuid[], inputs text[], awaiting uuid[]) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.start_scheduled(executions uuid[], names text[], workflows uuid[], inputs text[], awaiting uuid[]) IS 'Starts executions for schedules';

CREATE FUNCTION workflow_worker.status_in(state text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN state::json ->> 'status';
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION workflow_worker.status_in(state text) IS 'The status inside an execution_state, or NULL';

CREATE FUNCTION workflow_worker.status_now(execution uuid) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN (SELECT host.status FROM public.workflowexecution AS host WHERE host.id = execution);
END
$$;

COMMENT ON FUNCTION workflow_worker.status_now(execution uuid) IS 'The status of a host row at this moment';

CREATE FUNCTION workflow_worker.step(execution text) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT workflow_worker.step(workflow_worker.execution_id(execution)) $$;

COMMENT ON FUNCTION workflow_worker.step(execution text) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.step(execution uuid) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
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

COMMENT ON FUNCTION workflow_worker.step(execution uuid) IS 'Runs one node of an execution that is paused in debug mode. WW400: NULL. WW404: there is none. WW409: it is not paused, or not in debug mode. WW410: it has ended';

CREATE FUNCTION workflow_worker.take_places(executions uuid[], fences bigint[]) RETURNS TABLE(execution_id uuid, is_taken boolean, is_held boolean, limit_keys text[])
    LANGUAGE plpgsql ROWS 10
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'auto'
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

COMMENT ON FUNCTION workflow_worker.take_places(executions uuid[], fences bigint[]) IS 'Takes places under limits for what a claim is about to lease';

CREATE FUNCTION workflow_worker.tell_event() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    was text;
    kind CONSTANT text := workflow_worker.kind_of(NEW.status, NEW.completed_at, NEW.next_retry_at);
BEGIN
    IF TG_OP = 'UPDATE' THEN
        was := workflow_worker.kind_of(OLD.status, OLD.completed_at, OLD.next_retry_at);
    END IF;
    IF was IS NOT DISTINCT FROM kind
       OR (TG_ARGV[0] = 'ends' AND kind NOT IN ('completed', 'failed'))
       OR pg_notification_queue_usage() > 0.5
    THEN
        RETURN NULL;
    END IF;
    PERFORM pg_notify('workflow_worker_events', json_build_object(
        'id', NEW.id,
        'name', NEW.execution_id,
        'workflow_id', NEW.workflow_id,
        'from', was,
        'to', kind,
        'at', to_char(clock_timestamp() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text);
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'workflow_worker: a change of execution % was told to nobody: %', NEW.id, SQLERRM;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION workflow_worker.tell_event() IS 'AFTER INSERT or UPDATE on workflowexecution: NOTIFY workflow_worker_events';

CREATE FUNCTION workflow_worker.tell_of_late_write(execution uuid, old_status text, new_status text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.tell_of_late_write(execution uuid, old_status text, new_status text) IS 'Says that a write of a finished execution was not taken';

CREATE FUNCTION workflow_worker.terminate(execution text, reason text DEFAULT NULL::text) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$ SELECT workflow_worker.terminate(workflow_worker.execution_id(execution), reason) $$;

COMMENT ON FUNCTION workflow_worker.terminate(execution text, reason text) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.terminate(execution uuid, reason text DEFAULT NULL::text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "workflow_worker.writer" TO 'off'
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

COMMENT ON FUNCTION workflow_worker.terminate(execution uuid, reason text) IS 'Ends an execution, and what it has started and awaits: it is failed, with the reason. WW400: NULL. WW404: there is none. WW409: not in this state. WW410: it has ended';

CREATE FUNCTION workflow_worker.terminate_all(workflow_id uuid, reason text DEFAULT NULL::text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.terminate_all(workflow_id uuid, reason text) IS 'Ends all executions of a workflow that have not ended; returns how many. WW400: workflow_id is NULL. WW404: there is no such workflow';

CREATE FUNCTION workflow_worker.unschedule(schedule_id uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.unschedule(schedule_id uuid) IS 'Deletes a schedule; what it has started goes on. WW400: schedule_id is NULL. WW404: no such schedule';

CREATE FUNCTION workflow_worker.wake() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    -- The first look spares SKIPPERS to those who notify anyway, so that a worker which goes to sleep waits for nobody who
    -- has begun after it said so. The second one is the one that counts.
    --
    -- Each look is one expression, in which no cancel can come between the lock and its release: a producer must not keep
    -- it. Two producers that look in the same microsecond: one of them notifies for nothing.
    IF (CASE
            WHEN pg_catalog.pg_try_advisory_lock(2002873189, 1) THEN pg_catalog.pg_advisory_unlock(2002873189, 1)
            ELSE false
        END)
       AND pg_catalog.pg_try_advisory_xact_lock_shared(2002873189, 2) THEN
        IF (CASE
            WHEN pg_catalog.pg_try_advisory_lock(2002873189, 1) THEN pg_catalog.pg_advisory_unlock(2002873189, 1)
            ELSE false
        END) THEN
            RETURN;
        END IF;
    END IF;
    PERFORM pg_catalog.pg_notify('workflow_worker', '');
END
$$;

COMMENT ON FUNCTION workflow_worker.wake() IS 'Wakes the workers that sleep; nothing is notified when none does';

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

COMMENT ON FUNCTION workflow_worker.wake_signalled(executions uuid[]) IS 'Wakes whoever waits for signals among these executions';

CREATE FUNCTION workflow_worker.with_debug_mode(data json, is_on boolean) RETURNS json
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.with_debug_mode(data json, is_on boolean) IS 'execution_data with or without debug_mode';

CREATE FUNCTION workflow_worker.with_kept_timeout(old_state text, new_state text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
$_$;

COMMENT ON FUNCTION workflow_worker.with_kept_timeout(old_state text, new_state text) IS 'A new execution_state with the old one''s timeout_seconds';

CREATE FUNCTION workflow_worker.with_keys(object json, changes json) RETURNS json
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION workflow_worker.with_keys(object json, changes json) IS 'An object with some keys changed or added, the rest as it was';

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

CREATE VIEW workflow_worker.approvals AS
 SELECT asked.id,
    asked.execution_id,
    host.execution_id AS execution,
    host.workflow_id,
    workflow.name AS workflow,
    said.node_id AS node,
    said.message,
    said.options,
    (asked.received_at AT TIME ZONE 'utc'::text) AS asked_at,
    ((asked.received_at AT TIME ZONE 'utc'::text) + make_interval(secs => (said.timeout_seconds)::double precision)) AS expires_at
   FROM (((public.workflowsignal asked
     CROSS JOIN LATERAL workflow_worker.request_in((asked.signal_data)::text) said(node_id, message, options, timeout_seconds))
     JOIN public.workflowexecution host ON ((host.id = asked.execution_id)))
     LEFT JOIN public.workflow ON ((workflow.id = host.workflow_id)))
  WHERE ((NOT asked.processed) AND ((asked.signal_type)::text = ANY ((ARRAY['human_approval'::character varying, 'human_input'::character varying, 'approval_response'::character varying])::text[])) AND (said.options IS NOT NULL) AND ((host.status)::text = ANY ((ARRAY['waiting_for_signal'::character varying, 'running'::character varying, 'paused'::character varying])::text[])) AND (NOT (EXISTS ( SELECT
           FROM public.workflowsignal answer
          WHERE ((answer.execution_id = asked.execution_id) AND (answer.id <> asked.id) AND workflow_worker.answers((answer.signal_data)::text, asked.id))))));

COMMENT ON VIEW workflow_worker.approvals IS 'Requests for an approval that nobody has answered: what approve, reject and decide answer';

COMMENT ON COLUMN workflow_worker.approvals.id IS 'The row of workflowsignal that asks';

COMMENT ON COLUMN workflow_worker.approvals.execution_id IS 'workflowexecution.id of the execution that asks';

COMMENT ON COLUMN workflow_worker.approvals.execution IS 'Its name, exec-…';

COMMENT ON COLUMN workflow_worker.approvals.workflow_id IS 'Its workflow';

COMMENT ON COLUMN workflow_worker.approvals.workflow IS 'The workflow''s name';

COMMENT ON COLUMN workflow_worker.approvals.node IS 'The node that asks';

COMMENT ON COLUMN workflow_worker.approvals.message IS 'What is asked';

COMMENT ON COLUMN workflow_worker.approvals.options IS 'What may be answered';

COMMENT ON COLUMN workflow_worker.approvals.asked_at IS 'Since when';

COMMENT ON COLUMN workflow_worker.approvals.expires_at IS 'When nobody is waited for any more; NULL if it is not said';

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

CREATE TABLE workflow_worker.idempotency_keys (
    workflow_id uuid NOT NULL,
    key text NOT NULL,
    execution_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE workflow_worker.idempotency_keys IS 'Which execution of a workflow was started under which key';

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
    limit_key text,
    held_by text,
    schedule_id uuid,
    CONSTRAINT a_lease_has_a_fence CHECK (((worker_id IS NULL) OR (fence IS NOT NULL)))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE workflow_worker.run_queue IS 'One row per execution that is not finished: due, timed, parked or leased';

COMMENT ON COLUMN workflow_worker.run_queue.limit_key IS 'The concurrency key of the execution, or NULL';

COMMENT ON COLUMN workflow_worker.run_queue.held_by IS 'The limit that the execution waits for, while it is ready and nobody holds it; held_reason() says it in words';

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

COMMENT ON COLUMN workflow_worker.steps.execution_id IS 'workflowexecution.id';

COMMENT ON COLUMN workflow_worker.steps.seq IS '0 is the input; 1, 2, 3 … in the order in which they were recorded';

COMMENT ON COLUMN workflow_worker.steps.node_id IS 'The node';

COMMENT ON COLUMN workflow_worker.steps.node_type IS 'Its type';

COMMENT ON COLUMN workflow_worker.steps.visit IS 'The how manieth time the node was entered';

COMMENT ON COLUMN workflow_worker.steps.attempt IS 'The how manieth try of that visit';

COMMENT ON COLUMN workflow_worker.steps.status IS 'input, success, failed, continued (failed, and gone on after it), skipped, joined, opened (a loop or branches begin)';

COMMENT ON COLUMN workflow_worker.steps.output IS 'What came out, also of a failure';

COMMENT ON COLUMN workflow_worker.steps.error IS 'What went wrong';

COMMENT ON COLUMN workflow_worker.steps.started_at IS 'When the attempt began';

COMMENT ON COLUMN workflow_worker.steps.finished_at IS 'When it ended';

COMMENT ON COLUMN workflow_worker.steps.worker_id IS 'The worker that recorded it';

COMMENT ON COLUMN workflow_worker.steps.fence IS 'The fencing token under which it did';

COMMENT ON COLUMN workflow_worker.steps.scope IS 'The rounds, branches and parts that it ran in, such as orders[3]/attempt[body]';

COMMENT ON COLUMN workflow_worker.steps.is_end IS 'Whether a path of that round, branch or part ended here';

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

COMMENT ON COLUMN workflow_worker.workers.id IS 'Fresh at each start of a process';

COMMENT ON COLUMN workflow_worker.workers.name IS 'What operators call it';

COMMENT ON COLUMN workflow_worker.workers.hostname IS 'Where it runs';

COMMENT ON COLUMN workflow_worker.workers.pid IS 'Its process there';

COMMENT ON COLUMN workflow_worker.workers.version IS 'Of the program';

COMMENT ON COLUMN workflow_worker.workers.started_at IS 'Since when';

COMMENT ON COLUMN workflow_worker.workers.heartbeat_at IS 'Its last sign of life';

COMMENT ON COLUMN workflow_worker.workers.lease IS 'Without a heartbeat for this long, it is dead';

COMMENT ON COLUMN workflow_worker.workers.silence IS 'Without a heartbeat for this long, it is dead if its connection is gone, too';

COMMENT ON COLUMN workflow_worker.workers.presence_key IS 'The advisory lock that its listener holds; NULL without a listener';

COMMENT ON COLUMN workflow_worker.workers.state IS 'running, or draining: it takes nothing new';

COMMENT ON COLUMN workflow_worker.workers.concurrency IS 'Its slots';

COMMENT ON COLUMN workflow_worker.workers.running IS 'How many of them were in use at the last heartbeat';

COMMENT ON COLUMN workflow_worker.workers.listening IS 'Whether notifications reach it';

CREATE VIEW workflow_worker.executions AS
 SELECT host.id,
    host.execution_id AS name,
    host.workflow_id,
    workflow.name AS workflow,
        CASE
            WHEN (((host.status)::text = 'failed'::text) AND (host.next_retry_at IS NOT NULL) AND (host.completed_at IS NULL)) THEN 'retrying'::text
            WHEN ((host.status)::text = 'waiting_for_signal'::text) THEN 'waiting'::text
            WHEN ((host.status)::text <> 'running'::text) THEN (host.status)::text
            WHEN (queued.execution_id IS NULL) THEN 'unqueued'::text
            WHEN (queued.worker_id IS NOT NULL) THEN 'running'::text
            WHEN (queued.ready OR (queued.run_at <= now())) THEN 'queued'::text
            WHEN ((queued.run_at = 'infinity'::timestamp with time zone) OR asked.of_children) THEN 'waiting'::text
            WHEN ((queued.graph_hash IS NULL) AND (queued.revision = 0)) THEN 'scheduled'::text
            ELSE 'sleeping'::text
        END AS state,
    (host.status)::text AS status,
    queued.priority,
        CASE
            WHEN ((host.status)::text = 'paused'::text) THEN 'resume'::text
            WHEN ((queued.worker_id IS NULL) AND queued.ready AND ((host.status)::text = ANY ((ARRAY['running'::character varying, 'waiting_for_signal'::character varying, 'failed'::character varying])::text[]))) THEN
            CASE
                WHEN (queued.held_by IS NOT NULL) THEN 'limit'::text
                ELSE 'slot'::text
            END
            WHEN (((host.status)::text = 'failed'::text) AND (host.next_retry_at IS NOT NULL) AND (host.completed_at IS NULL)) THEN 'retry'::text
            WHEN ((host.status)::text = 'waiting_for_signal'::text) THEN
            CASE
                WHEN (EXISTS ( SELECT
                   FROM workflow_worker.approvals request
                  WHERE (request.execution_id = host.id))) THEN 'approval'::text
                ELSE 'signal'::text
            END
            WHEN (((host.status)::text <> 'running'::text) OR (queued.worker_id IS NOT NULL)) THEN NULL::text
            WHEN (queued.execution_id IS NULL) THEN 'adoption'::text
            WHEN (queued.run_at <= now()) THEN 'slot'::text
            WHEN ((queued.run_at = 'infinity'::timestamp with time zone) OR asked.of_children) THEN 'sub_workflow'::text
            ELSE 'time'::text
        END AS waits_for,
        CASE
            WHEN (((host.status)::text <> 'paused'::text) AND (queued.worker_id IS NULL) AND queued.ready) THEN workflow_worker.held_reason(queued.held_by)
            ELSE NULL::text
        END AS held_by,
        CASE
            WHEN ((queued.worker_id IS NULL) AND (queued.run_at < 'infinity'::timestamp with time zone) AND ((host.status)::text = ANY ((ARRAY['running'::character varying, 'waiting_for_signal'::character varying])::text[]))) THEN queued.run_at
            WHEN (((host.status)::text = 'failed'::text) AND (host.completed_at IS NULL)) THEN (host.next_retry_at AT TIME ZONE 'utc'::text)
            ELSE NULL::timestamp with time zone
        END AS run_at,
    worker.name AS worker,
    host.current_node_id AS current_node,
    ( SELECT count(DISTINCT ROW(step.node_id, step.visit, step.scope)) AS count
           FROM workflow_worker.steps step
          WHERE ((step.execution_id = host.id) AND (step.seq > 0) AND (step.status = ANY (ARRAY['success'::text, 'continued'::text])))) AS nodes_done,
    host.retry_count,
    (host.started_at AT TIME ZONE 'utc'::text) AS started_at,
    (host.completed_at AT TIME ZONE 'utc'::text) AS completed_at,
        CASE
            WHEN ((queued.revision > 0) OR (queued.timed_from <= now()) OR (queued.execution_id IS NULL)) THEN (COALESCE(host.completed_at, (now() AT TIME ZONE 'utc'::text)) - host.started_at)
            ELSE NULL::interval
        END AS duration,
    host.error_message AS error,
    child.parent_id,
    known.key AS idempotency_key
   FROM ((((((public.workflowexecution host
     LEFT JOIN public.workflow ON ((workflow.id = host.workflow_id)))
     LEFT JOIN workflow_worker.run_queue queued ON ((queued.execution_id = host.id)))
     LEFT JOIN workflow_worker.workers worker ON ((worker.id = queued.worker_id)))
     LEFT JOIN workflow_worker.children child ON ((child.child_id = host.id)))
     LEFT JOIN workflow_worker.idempotency_keys known ON ((known.execution_id = host.id)))
     LEFT JOIN LATERAL ( SELECT (EXISTS ( SELECT
                   FROM (workflow_worker.children started
                     JOIN workflow_worker.run_queue running ON ((running.execution_id = started.child_id)))
                  WHERE ((started.parent_id = host.id) AND started.is_awaited AND (started.node_id <> ''::text)))) AS of_children) asked ON ((((host.status)::text = 'running'::text) AND (queued.worker_id IS NULL) AND (NOT queued.ready))));

COMMENT ON VIEW workflow_worker.executions IS 'Every execution, as people mean it: what it does, or what it waits for';

COMMENT ON COLUMN workflow_worker.executions.id IS 'workflowexecution.id';

COMMENT ON COLUMN workflow_worker.executions.name IS 'workflowexecution.execution_id: exec-…';

COMMENT ON COLUMN workflow_worker.executions.workflow_id IS 'Its workflow';

COMMENT ON COLUMN workflow_worker.executions.workflow IS 'The workflow''s name';

COMMENT ON COLUMN workflow_worker.executions.state IS 'scheduled (starts later), queued, running, sleeping, waiting, retrying, paused, completed, failed; unqueued: no worker has taken it on (workflow-worker adopt)';

COMMENT ON COLUMN workflow_worker.executions.status IS 'The platform''s status: running (also queued), waiting_for_signal, paused, completed, failed (also retrying)';

COMMENT ON COLUMN workflow_worker.executions.priority IS 'Higher is more urgent; NULL when it has ended';

COMMENT ON COLUMN workflow_worker.executions.waits_for IS 'slot (of a worker), limit, time, signal, approval, sub_workflow, retry, resume, adoption; NULL if it runs or has ended';

COMMENT ON COLUMN workflow_worker.executions.held_by IS 'The limit that it waits for, and how full that is';

COMMENT ON COLUMN workflow_worker.executions.run_at IS 'Since when it is due, or when it goes on by itself';

COMMENT ON COLUMN workflow_worker.executions.worker IS 'Who runs it';

COMMENT ON COLUMN workflow_worker.executions.current_node IS 'The node, or one of the nodes, where it is';

COMMENT ON COLUMN workflow_worker.executions.nodes_done IS 'How many visits of nodes are done';

COMMENT ON COLUMN workflow_worker.executions.retry_count IS 'How many retries there were';

COMMENT ON COLUMN workflow_worker.executions.started_at IS 'When it was inserted';

COMMENT ON COLUMN workflow_worker.executions.completed_at IS 'When it ended';

COMMENT ON COLUMN workflow_worker.executions.duration IS 'From then to its end, or until now';

COMMENT ON COLUMN workflow_worker.executions.error IS 'Why it failed, or why it is tried again';

COMMENT ON COLUMN workflow_worker.executions.parent_id IS 'The execution that has started it, or for which it was started';

COMMENT ON COLUMN workflow_worker.executions.idempotency_key IS 'The key under which it was started';

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
    priority integer,
    limit_key text,
    replay_of uuid,
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

CREATE TABLE workflow_worker.migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum bytea NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE VIEW workflow_worker.health AS
 WITH worker AS (
         SELECT count(*) FILTER (WHERE (workers.heartbeat_at > (now() - workers.lease))) AS alive,
            count(*) FILTER (WHERE (workers.heartbeat_at <= (now() - workers.lease))) AS dead,
            count(*) FILTER (WHERE ((workers.heartbeat_at > (now() - workers.lease)) AND workers.listening)) AS listening,
            COALESCE(sum(workers.concurrency) FILTER (WHERE ((workers.heartbeat_at > (now() - workers.lease)) AND (workers.state = 'running'::text))), (0)::bigint) AS slots,
            max(workers.heartbeat_at) AS last_heartbeat_at
           FROM workflow_worker.workers
        ), queue AS (
         SELECT count(*) FILTER (WHERE (run_queue.worker_id IS NOT NULL)) AS running,
            count(*) FILTER (WHERE ((run_queue.worker_id IS NULL) AND (run_queue.ready OR (run_queue.run_at <= now())) AND (run_queue.held_by IS NULL))) AS due,
            count(*) FILTER (WHERE ((run_queue.worker_id IS NULL) AND run_queue.ready AND (run_queue.held_by IS NOT NULL))) AS held,
            count(*) FILTER (WHERE ((run_queue.worker_id IS NULL) AND (NOT run_queue.ready) AND (run_queue.run_at > now()) AND (run_queue.run_at < 'infinity'::timestamp with time zone))) AS timed,
            count(*) FILTER (WHERE ((run_queue.worker_id IS NULL) AND (NOT run_queue.ready) AND (run_queue.run_at = 'infinity'::timestamp with time zone))) AS parked,
            min(run_queue.run_at) FILTER (WHERE ((run_queue.worker_id IS NULL) AND (run_queue.ready OR (run_queue.run_at <= now())) AND (run_queue.held_by IS NULL))) AS oldest_due_at
           FROM workflow_worker.run_queue
        ), trouble AS (
         SELECT ARRAY( SELECT wanted.object_name
                   FROM (workflow_worker.host_changes wanted
                     LEFT JOIN pg_trigger found ON (((found.tgrelid = (to_regclass(('public.'::text || quote_ident(wanted.table_name))))::oid) AND (found.tgname = wanted.object_name))))
                  WHERE ((wanted.kind = 'trigger'::text) AND ((found.oid IS NULL) OR (found.tgenabled = 'D'::"char")))
                  ORDER BY wanted.object_name) AS triggers_off,
            ( SELECT count(*) AS count
                   FROM public.workflowexecution host
                  WHERE ((((host.status)::text = 'running'::text) OR (((host.status)::text = 'failed'::text) AND (host.next_retry_at IS NOT NULL) AND (host.completed_at IS NULL))) AND (NOT (EXISTS ( SELECT
                           FROM workflow_worker.run_queue queued
                          WHERE (queued.execution_id = host.id)))))) AS unqueued
        )
 SELECT ((worker.alive > 0) AND (cardinality(trouble.triggers_off) = 0)) AS is_well,
    worker.alive AS workers,
    worker.dead AS dead_workers,
    worker.listening AS listening_workers,
    worker.slots,
    worker.last_heartbeat_at,
    queue.running,
    queue.due,
    (EXTRACT(epoch FROM (now() - queue.oldest_due_at)))::double precision AS oldest_due_seconds,
    queue.held,
    queue.timed,
    queue.parked,
    trouble.unqueued,
    trouble.triggers_off,
    ( SELECT max(migrations.version) AS max
           FROM workflow_worker.migrations) AS schema_version
   FROM ((worker
     CROSS JOIN queue)
     CROSS JOIN trouble);

COMMENT ON VIEW workflow_worker.health IS 'One row: whether executions are being run, and what stands in their way';

COMMENT ON COLUMN workflow_worker.health.is_well IS 'A worker is alive, and no trigger is missing or disabled';

COMMENT ON COLUMN workflow_worker.health.workers IS 'Workers with a fresh heartbeat';

COMMENT ON COLUMN workflow_worker.health.dead_workers IS 'Workers without one, whose executions the others are about to take';

COMMENT ON COLUMN workflow_worker.health.listening_workers IS 'Workers that notifications reach; the others poll';

COMMENT ON COLUMN workflow_worker.health.slots IS 'How many executions can run at the same time';

COMMENT ON COLUMN workflow_worker.health.last_heartbeat_at IS 'The newest sign of life of any worker';

COMMENT ON COLUMN workflow_worker.health.running IS 'Executions that a worker holds';

COMMENT ON COLUMN workflow_worker.health.due IS 'Executions that wait for a slot';

COMMENT ON COLUMN workflow_worker.health.oldest_due_seconds IS 'For how long the oldest of them has waited; NULL if there is none';

COMMENT ON COLUMN workflow_worker.health.held IS 'Executions that wait for a limit (set_limit)';

COMMENT ON COLUMN workflow_worker.health.timed IS 'Executions that go on at a time: a delay, a retry, a later start, a time-out';

COMMENT ON COLUMN workflow_worker.health.parked IS 'Executions that wait for somebody';

COMMENT ON COLUMN workflow_worker.health.unqueued IS 'Executions to be run that have no place in the run queue: older than the installation, or missed by a trigger for a moment';

COMMENT ON COLUMN workflow_worker.health.triggers_off IS 'Triggers that are missing or disabled; the poll does their work, later';

COMMENT ON COLUMN workflow_worker.health.schema_version IS 'The newest migration of the schema';

ALTER TABLE workflow_worker.host_changes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME workflow_worker.host_changes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE workflow_worker.limit_openings (
    limit_key text NOT NULL,
    opens_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE workflow_worker.limit_openings IS 'When the next start will be possible under a rate for which something waits';

CREATE TABLE workflow_worker.limit_starts (
    limit_key text NOT NULL,
    seq bigint NOT NULL,
    taken_at timestamp with time zone NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='1000');

COMMENT ON TABLE workflow_worker.limit_starts IS 'The first starts under each limited rate that count still';

CREATE TABLE workflow_worker.limit_uses (
    limit_key text NOT NULL,
    execution_id uuid NOT NULL,
    fence bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='1000');

COMMENT ON TABLE workflow_worker.limit_uses IS 'Who has a place under which limit, as long as the lease with that fence is in force';

CREATE TABLE workflow_worker.limits (
    kind text NOT NULL,
    subject text NOT NULL,
    max_running integer,
    max_starts integer,
    per interval,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT a_rate_has_a_period CHECK (((max_starts IS NULL) = (per IS NULL))),
    CONSTRAINT kind_is_known CHECK ((kind = ANY (ARRAY['workflow'::text, 'owner'::text, 'key'::text]))),
    CONSTRAINT something_is_limited CHECK (((max_running IS NOT NULL) OR (max_starts IS NOT NULL)))
);

COMMENT ON TABLE workflow_worker.limits IS 'How many executions may run or start at once; written by set_limit and remove_limit';

COMMENT ON COLUMN workflow_worker.limits.kind IS 'workflow, owner or key';

COMMENT ON COLUMN workflow_worker.limits.subject IS 'The id or key, or * for each one separately';

COMMENT ON COLUMN workflow_worker.limits.max_running IS 'How many may run at the same time; NULL: any number';

COMMENT ON COLUMN workflow_worker.limits.max_starts IS 'How many may start within any period of the length `per`; NULL: any number';

CREATE VIEW workflow_worker.limit_usage AS
 WITH present AS (
         SELECT used.limit_key
           FROM workflow_worker.limit_uses used
        UNION
         SELECT start.limit_key
           FROM workflow_worker.limit_starts start
        UNION
         SELECT queued.held_by
           FROM workflow_worker.run_queue queued
          WHERE ((queued.held_by IS NOT NULL) AND queued.ready AND (queued.worker_id IS NULL))
        )
 SELECT present.limit_key,
    split_part(present.limit_key, ':'::text, 1) AS kind,
    substr(present.limit_key, (strpos(present.limit_key, ':'::text) + 1)) AS subject,
    bounds.max_running,
    ( SELECT count(*) AS count
           FROM (workflow_worker.limit_uses used
             JOIN workflow_worker.run_queue queued ON (((queued.execution_id = used.execution_id) AND (queued.fence = used.fence) AND (queued.worker_id IS NOT NULL))))
          WHERE (used.limit_key = present.limit_key)) AS running,
    bounds.max_starts,
    bounds.per,
    ( SELECT count(*) AS count
           FROM workflow_worker.limit_starts start
          WHERE ((start.limit_key = present.limit_key) AND (start.taken_at > (clock_timestamp() - bounds.per)))) AS starts,
    ( SELECT count(*) AS count
           FROM workflow_worker.run_queue queued
          WHERE ((queued.held_by = present.limit_key) AND queued.ready AND (queued.worker_id IS NULL))) AS waiting,
    ( SELECT opening.opens_at
           FROM workflow_worker.limit_openings opening
          WHERE (opening.limit_key = present.limit_key)) AS next_start_at
   FROM (present
     JOIN LATERAL ( SELECT limits.max_running,
            limits.max_starts,
            limits.per
           FROM workflow_worker.limits
          WHERE ((limits.kind = split_part(present.limit_key, ':'::text, 1)) AND (limits.subject = ANY (ARRAY[substr(present.limit_key, (strpos(present.limit_key, ':'::text) + 1)), '*'::text])))
          ORDER BY (limits.subject = '*'::text)
         LIMIT 1) bounds ON (true));

COMMENT ON VIEW workflow_worker.limit_usage IS 'What runs, has started and waits under each limit';

COMMENT ON COLUMN workflow_worker.limit_usage.limit_key IS 'As in run_queue.held_by: kind and subject';

COMMENT ON COLUMN workflow_worker.limit_usage.running IS 'How many run now';

COMMENT ON COLUMN workflow_worker.limit_usage.starts IS 'How many have started within the last period of the length per';

COMMENT ON COLUMN workflow_worker.limit_usage.waiting IS 'How many wait for this limit';

COMMENT ON COLUMN workflow_worker.limit_usage.next_start_at IS 'When the next start will be possible, where the rate is used up and something waits';

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

CREATE TABLE workflow_worker.schedule_states (
    schedule_id uuid NOT NULL,
    due_at timestamp with time zone NOT NULL,
    version bigint DEFAULT 0 NOT NULL,
    cron_expression text NOT NULL,
    is_active boolean NOT NULL,
    next_run_at timestamp without time zone,
    is_to_plan boolean NOT NULL,
    time_zone text,
    overlap text DEFAULT 'allow'::text NOT NULL,
    missed text,
    max_catch_up integer,
    max_queued integer DEFAULT 100 NOT NULL,
    input jsonb,
    waiting timestamp with time zone[] DEFAULT '{}'::timestamp with time zone[] NOT NULL,
    error text,
    last_execution_id uuid,
    fired bigint DEFAULT 0 NOT NULL,
    skipped bigint DEFAULT 0 NOT NULL,
    last_skipped_at timestamp with time zone,
    skip_reason text,
    CONSTRAINT catch_up_is_bounded CHECK (((max_catch_up >= 1) AND (max_catch_up <= 1000))),
    CONSTRAINT input_is_a_small_object CHECK (((jsonb_typeof(input) = 'object'::text) AND (octet_length((input)::text) <= 65536))),
    CONSTRAINT missed_is_known CHECK ((missed = ANY (ARRAY['coalesce'::text, 'catch_up'::text, 'skip'::text]))),
    CONSTRAINT overlap_is_known CHECK ((overlap = ANY (ARRAY['allow'::text, 'skip'::text, 'queue'::text]))),
    CONSTRAINT queue_is_bounded CHECK (((max_queued >= 1) AND (max_queued <= 1000)))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='500');

COMMENT ON TABLE workflow_worker.schedule_states IS 'What the worker keeps for each row of workflowschedule; read it through the view schedules';

CREATE VIEW workflow_worker.schedules AS
 SELECT host.id AS schedule_id,
    host.workflow_id,
    workflow.name AS workflow_name,
    workflow.is_active AS workflow_is_active,
    host.is_active,
    host.cron_expression,
    COALESCE(state.time_zone, 'UTC'::text) AS time_zone,
    (host.next_run_at AT TIME ZONE 'utc'::text) AS next_run_at,
    (host.last_run_at AT TIME ZONE 'utc'::text) AS last_run_at,
    state.error,
    COALESCE(state.overlap, 'allow'::text) AS overlap,
    COALESCE(state.missed, 'default'::text) AS missed,
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
   FROM (((public.workflowschedule host
     JOIN public.workflow ON ((workflow.id = host.workflow_id)))
     LEFT JOIN workflow_worker.schedule_states state ON ((state.schedule_id = host.id)))
     LEFT JOIN public.workflowexecution execution ON ((execution.id = state.last_execution_id)));

COMMENT ON VIEW workflow_worker.schedules IS 'Each schedule with its policies, its next and last fire, and what is wrong with it';

COMMENT ON COLUMN workflow_worker.schedules.schedule_id IS 'workflowschedule.id';

COMMENT ON COLUMN workflow_worker.schedules.workflow_id IS 'The workflow that it starts';

COMMENT ON COLUMN workflow_worker.schedules.workflow_name IS 'Its name';

COMMENT ON COLUMN workflow_worker.schedules.workflow_is_active IS 'Without it nothing fires';

COMMENT ON COLUMN workflow_worker.schedules.is_active IS 'Whether it fires';

COMMENT ON COLUMN workflow_worker.schedules.cron_expression IS 'When, in the dialect of croniter';

COMMENT ON COLUMN workflow_worker.schedules.time_zone IS 'Where the expression is read';

COMMENT ON COLUMN workflow_worker.schedules.next_run_at IS 'Its next fire; NULL if there is none, or none is computed yet';

COMMENT ON COLUMN workflow_worker.schedules.last_run_at IS 'Its last fire';

COMMENT ON COLUMN workflow_worker.schedules.error IS 'What is wrong with it; without a next_run_at it does not fire until it is changed';

COMMENT ON COLUMN workflow_worker.schedules.overlap IS 'While its last execution has not ended: allow, skip, queue';

COMMENT ON COLUMN workflow_worker.schedules.missed IS 'After an outage: coalesce, catch_up, skip, or default (as the worker is set)';

COMMENT ON COLUMN workflow_worker.schedules.max_catch_up IS 'NULL: as the worker is set';

COMMENT ON COLUMN workflow_worker.schedules.max_queued IS 'How many fires may wait (overlap queue)';

COMMENT ON COLUMN workflow_worker.schedules.input IS 'What each execution gets beside trigger_type, schedule_id and cron_expression';

COMMENT ON COLUMN workflow_worker.schedules.queued IS 'Fires that wait for the end of the last execution (overlap queue)';

COMMENT ON COLUMN workflow_worker.schedules.fired IS 'Executions that it has started';

COMMENT ON COLUMN workflow_worker.schedules.skipped IS 'Fires that were dropped by one of its policies';

COMMENT ON COLUMN workflow_worker.schedules.last_skipped_at IS 'When a fire was last dropped';

COMMENT ON COLUMN workflow_worker.schedules.skip_reason IS 'Why the last fire was dropped; NULL if it was not';

COMMENT ON COLUMN workflow_worker.schedules.last_execution_id IS 'workflowexecution.id of the last that it has started';

COMMENT ON COLUMN workflow_worker.schedules.last_execution_name IS 'Its name, exec-…';

COMMENT ON COLUMN workflow_worker.schedules.last_execution_status IS 'Its workflowexecution.status';

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

ALTER TABLE ONLY workflow_worker.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (workflow_id, key);

ALTER TABLE ONLY workflow_worker.limit_openings
    ADD CONSTRAINT limit_openings_pkey PRIMARY KEY (limit_key);

ALTER TABLE ONLY workflow_worker.limit_starts
    ADD CONSTRAINT limit_starts_pkey PRIMARY KEY (limit_key, seq);

ALTER TABLE ONLY workflow_worker.limit_uses
    ADD CONSTRAINT limit_uses_pkey PRIMARY KEY (limit_key, execution_id, fence);

ALTER TABLE ONLY workflow_worker.limits
    ADD CONSTRAINT limits_pkey PRIMARY KEY (kind, subject);

ALTER TABLE ONLY workflow_worker.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY workflow_worker.retention
    ADD CONSTRAINT retention_pkey PRIMARY KEY (is_only_row);

ALTER TABLE ONLY workflow_worker.run_queue
    ADD CONSTRAINT run_queue_pkey PRIMARY KEY (execution_id);

ALTER TABLE ONLY workflow_worker.schedule_states
    ADD CONSTRAINT schedule_states_pkey PRIMARY KEY (schedule_id);

ALTER TABLE workflow_worker.steps
    ADD CONSTRAINT status_is_known CHECK ((status = ANY (ARRAY['input'::text, 'success'::text, 'failed'::text, 'opened'::text, 'continued'::text, 'skipped'::text, 'joined'::text]))) NOT VALID;

ALTER TABLE ONLY workflow_worker.steps
    ADD CONSTRAINT steps_pkey PRIMARY KEY (execution_id, seq);

ALTER TABLE ONLY workflow_worker.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);

CREATE INDEX children_parent ON workflow_worker.children USING btree (parent_id);

CREATE INDEX finished_graph ON workflow_worker.finished USING btree (graph_hash);

CREATE INDEX finished_unpruned ON workflow_worker.finished USING btree (finished_at) WHERE (pruned_at IS NULL);

CREATE INDEX idempotency_keys_execution ON workflow_worker.idempotency_keys USING btree (execution_id);

CREATE INDEX limit_openings_next ON workflow_worker.limit_openings USING btree (opens_at);

CREATE INDEX run_queue_due ON workflow_worker.run_queue USING btree ((((run_at AT TIME ZONE 'UTC'::text) - ((priority)::double precision * '00:01:00'::interval))), execution_id) INCLUDE (run_at, priority) WHERE (ready AND (worker_id IS NULL) AND (held_by IS NULL));

CREATE INDEX run_queue_held ON workflow_worker.run_queue USING btree (held_by, ((((fence IS NULL) AND (revision = 0)))::integer), (((run_at AT TIME ZONE 'UTC'::text) - ((priority)::double precision * '00:01:00'::interval))), execution_id) WHERE ((held_by IS NOT NULL) AND ready AND (worker_id IS NULL));

CREATE INDEX run_queue_leased ON workflow_worker.run_queue USING btree (worker_id) WHERE (worker_id IS NOT NULL);

CREATE INDEX run_queue_replays ON workflow_worker.run_queue USING btree (replay_of) WHERE (replay_of IS NOT NULL);

CREATE INDEX run_queue_timed ON workflow_worker.run_queue USING btree (run_at) WHERE ((NOT ready) AND (worker_id IS NULL) AND (run_at < 'infinity'::timestamp with time zone));

CREATE INDEX schedule_states_due ON workflow_worker.schedule_states USING btree (due_at) WHERE (due_at < 'infinity'::timestamp with time zone);

CREATE INDEX schedule_states_waiting ON workflow_worker.schedule_states USING btree (last_execution_id, schedule_id) WHERE (cardinality(waiting) > 0);

CREATE TRIGGER awaited_by_schedule AFTER DELETE ON workflow_worker.run_queue FOR EACH ROW WHEN ((old.schedule_id IS NOT NULL)) EXECUTE FUNCTION workflow_worker.awaited_by_schedule();

CREATE TRIGGER cancelled AFTER UPDATE OF cancel_reason ON workflow_worker.children FOR EACH ROW WHEN ((new.cancel_reason IS NOT NULL)) EXECUTE FUNCTION workflow_worker.let_cancelled_go();

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
CREATE TRIGGER forget_workflow_worker_keys AFTER DELETE ON public.workflowexecution REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION workflow_worker.forget_keys();
CREATE TRIGGER workflow_guard_insert BEFORE INSERT ON public.workflowexecution FOR EACH ROW WHEN (((new.status)::text <> ALL ((ARRAY['running'::character varying, 'completed'::character varying, 'failed'::character varying, 'paused'::character varying, 'waiting_for_signal'::character varying])::text[]))) EXECUTE FUNCTION workflow_worker.refuse_status();
CREATE TRIGGER workflow_guard_update BEFORE UPDATE OF status, execution_state, next_retry_at, completed_at ON public.workflowexecution FOR EACH ROW WHEN (((current_setting('workflow_worker.writer'::text, true) IS DISTINCT FROM 'on'::text) AND (current_setting('workflow_worker.restart'::text, true) IS DISTINCT FROM 'on'::text))) EXECUTE FUNCTION workflow_worker.guard_update();
CREATE TRIGGER workflow_worker_deleted AFTER DELETE ON public.workflowexecution REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION workflow_worker.forget_deleted();
CREATE TRIGGER workflow_worker_fill BEFORE INSERT ON public.workflowexecution FOR EACH ROW WHEN (((new.workflow_version IS NULL) OR (new.id IS NULL) OR (new.execution_id IS NULL) OR (new.status IS NULL) OR (new.started_at IS NULL) OR (new.retry_count IS NULL) OR (new.execution_state IS NULL) OR (strpos((new.execution_state)::text, '"execution_id"'::text) = 0) OR (strpos((new.execution_state)::text, '"started_at"'::text) = 0))) EXECUTE FUNCTION workflow_worker.fill_execution();
CREATE TRIGGER workflow_worker_inserted AFTER INSERT ON public.workflowexecution REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION workflow_worker.enqueue_inserted();
CREATE TRIGGER workflow_worker_truncated AFTER TRUNCATE ON public.workflowexecution FOR EACH STATEMENT EXECUTE FUNCTION workflow_worker.forget_deleted();
CREATE TRIGGER workflow_worker_updated AFTER UPDATE OF status, execution_state, next_retry_at, completed_at ON public.workflowexecution FOR EACH ROW WHEN ((current_setting('workflow_worker.writer'::text, true) IS DISTINCT FROM 'on'::text)) EXECUTE FUNCTION workflow_worker.host_row_written();
CREATE TRIGGER workflow_worker_scheduled AFTER INSERT OR DELETE OR UPDATE ON public.workflowschedule FOR EACH ROW WHEN ((current_setting('workflow_worker.writer'::text, true) IS DISTINCT FROM 'on'::text)) EXECUTE FUNCTION workflow_worker.schedule_written();
CREATE TRIGGER workflow_worker_schedules_truncated AFTER TRUNCATE ON public.workflowschedule FOR EACH STATEMENT EXECUTE FUNCTION workflow_worker.schedule_written();
CREATE TRIGGER workflow_worker_signal_updated AFTER UPDATE OF signal_data, processed, signal_type ON public.workflowsignal FOR EACH ROW WHEN (((NOT new.processed) AND (current_setting('workflow_worker.writer'::text, true) IS DISTINCT FROM 'on'::text))) EXECUTE FUNCTION workflow_worker.signals_written();
CREATE TRIGGER workflow_worker_signalled AFTER INSERT ON public.workflowsignal REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT WHEN ((current_setting('workflow_worker.writer'::text, true) IS DISTINCT FROM 'on'::text)) EXECUTE FUNCTION workflow_worker.signals_written();
