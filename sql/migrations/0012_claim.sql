-- 0012 A claim with fewer statements.
--
-- What:  the function claim of 0011, once more: the same arguments, the same answer.
-- Why:   most of what a claim of one execution costs is what PostgreSQL does before and after each statement: opening tables
--        and indexes, setting up each node of a plan. Three statements have become two, and their joins look-ups.
-- Locks: none on any table.
-- An older worker meanwhile: gets the same answers.

------------------------------------------------------------------------------------------------------------------
-- Takes up to `slots` due executions under a lease, and returns them with all that a first run needs. A row with is_claimed
-- false is one that was put to wait for a limit instead. `slots` 0: nothing is taken, and the plans are made. `from_place`:
-- rows before that place in the order of the queue are not looked at (NULL: all are). While somebody holds an old snapshot (a
-- dump, say), each row that has left the queue since then stays in the index, before those that are due, and each claim has to
-- pass it: with 100,000 of them a claim takes 180 ms, and 1.3 ms from the place of the last one. What comes before that place
-- meanwhile (a higher priority) is found by the next claim without it: whoever names a place has to make such a one every
-- second, and before it sleeps.
--
-- Index: run_queue_due, read up to `slots` rows deep; run_queue_timed, one row, and if that is due up to `slots` and 100 rows;
-- limits_pkey, one row; and one look-up each in run_queue_pkey, the key of public.workflowexecution, that of public.workflow and
-- children_pkey for each row that is taken. The settings see to it: a plan that was made while the tables were small, and is
-- kept, would read all of them later. So do the conditions with ANY and the OFFSET 0, here and in 0011_record: they leave no
-- other plan than to look the rows up (where a table seems to be empty, to read its whole index seems to be as good).
-- Race-free: SKIP LOCKED leaves rows that another claim is taking; a worker that was declared dead (its row in workers
-- is gone) gets nothing. Locks rows of run_queue only; and the keys of limits, without waiting for them (take_places).
-- What is locked is not written by anybody else until the commit, so that the later statements see it as it was chosen, and
-- the host row no older than host_version says.
-- Does not wait for the disk (synchronous_commit off, for this transaction): if a crash of the server loses the claim, the
-- row is due again and this worker's records find another lease there, or none. The fence could be drawn a second time
-- then; that is why records name the worker and the revision as well.
CREATE OR REPLACE FUNCTION workflow_worker.claim(worker uuid, slots bigint, from_place timestamp)
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
SET jit = off
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
