-- Part of 0011: the statement that records.

------------------------------------------------------------------------------------------------------------------
-- Makes the work of many executions durable in one commit: steps, checkpoint, log rows, the published view, and what
-- becomes of the lease. Returns one row per execution that it looked at.
--
-- Several statements and not one, so that nobody pays for what he does not use: most records have neither relatives nor
-- signals nor children. All that is written was locked by the first ones, so that the later ones see it as those did.
--
-- Index: the primary keys, children_parent. The settings see to it, with the conditions with ANY; nothing is compared each
-- with each.
-- Race-free: a record whose worker, fence or revision is no longer current changes nothing (the row is missing in the
-- answer). Where the host row was changed by somebody else since the runner looked (`is_current` false), the steps
-- are recorded, as are requests, children and signals dealt with, but host row and lease stay as they are: the runner
-- looks again and sends another record.
-- Free of deadlocks: a record waits for nobody's row lock. It needs its host row, its row of the run queue, those of
-- relatives that it tells something (the parent of a child that ends, the awaited children of a parent that ends or
-- gives them up), the signals that it deals with, and the workflows that it starts. It takes each with SKIP LOCKED, before
-- it writes anything; if one cannot be had, this record alone is not made (`is_blocked`) and is sent again. To wait for
-- them, in whatever order, would not do: transactions of the platform take host row and queue row of one execution
-- after those of another, or a queue row (by a signal) before its host row. So one open transaction of the platform
-- delays no execution but its own and their relatives. Host rows of relatives are neither locked nor written. (Of the
-- rest only the graphs can make it wait, for another record that brings the same new one; all bring them in one order.)
-- What a relative is told cannot be missed: it is in its row of the run queue when this commit is over, whoever records
-- or claims that execution next has to take the lock on it first, and sees another host_version.
CREATE FUNCTION workflow_worker.record(
    -- The worker.
    worker uuid,
    -- One element per execution: its id, its fence, the revision that this record follows; host version and host status
    -- that the runner has seen last; checkpoint (NULL: unchanged); graph; hold, park, release or finish; when it goes on
    -- (of park; NULL: never by time); what is published (status NULL: nothing; state NULL: left as it is).
    record_execution uuid[], record_fence bigint[], record_revision integer[], record_host_version integer[],
    record_host_status text[], record_checkpoint text[], record_graph_hash bytea[], record_disposition text[],
    record_run_at timestamptz[], record_status text[], record_node text[], record_state text[], record_error text[],
    record_retry_count integer[], record_next_retry_at timestamp[],
    -- One per step.
    step_execution uuid[], step_seq integer[], step_node text[], step_type text[], step_visit integer[],
    step_attempt integer[], step_status text[], step_output text[], step_error text[], step_started_at timestamptz[],
    step_finished_at timestamptz[], step_scope text[], step_is_end boolean[],
    -- One per log row. UTC, without zone; whether it tells of the disposition.
    log_execution uuid[], log_id uuid[], log_node text[], log_level text[], log_message text[],
    log_logged_at timestamp[], log_is_closing boolean[],
    -- One per graph that may be new.
    new_graph_hash bytea[], new_graph_source text[],
    -- One per request for a signal.
    request_execution uuid[], request_signal uuid[], request_type text[], request_data text[],
    -- One per signal that is dealt with.
    handled_execution uuid[], handled_signal uuid[],
    -- One per execution to be started: who starts it, and where; whether that waits for it.
    start_parent uuid[], start_child uuid[], start_name text[], start_workflow uuid[], start_input text[],
    start_node text[], start_visit integer[], start_depth integer[], start_is_awaited boolean[],
    -- One per child that is no longer wanted.
    unwanted_parent uuid[], unwanted_child uuid[])
RETURNS TABLE (
    execution_id uuid, is_recorded boolean, is_current boolean, is_blocked boolean, notifications bigint,
    children_started bigint)
ROWS 10
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_mergejoin = off
SET enable_nestloop = off
SET jit = off
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
COMMENT ON FUNCTION workflow_worker.record IS 'Makes the work of many executions durable in one commit';
