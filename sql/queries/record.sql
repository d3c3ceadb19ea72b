-- Makes the work of many executions durable in one commit: steps, checkpoint, log rows, the published view, and what
-- becomes of the lease. Returns one row per execution that it looked at.
-- $1 worker uuid. One array element per execution: $2 id uuid, $3 fence bigint, $4 revision integer (the one that this
-- record follows), $5 host_version integer and $6 host status text (the last that the runner has seen), $7 checkpoint
-- text or NULL (unchanged), $8 graph hash bytea or NULL, $9 disposition text: hold | park | release | finish,
-- $10 run_at timestamptz or NULL (park: never by time), $11 status text or NULL (publish nothing), $12 current_node_id,
-- $13 execution_state text or NULL (leave), $14 error_message, $15 retry_count integer, $16 next_retry_at timestamp.
-- One element per step: $17 execution uuid, $18 seq, $19 node, $20 type, $21 visit, $22 attempt, $23 status, $24 output,
-- $25 error, $26 started_at, $27 finished_at. One per log row: $28 execution uuid, $29 node, $30 level, $31 message,
-- $32 timestamp (UTC, without zone), $33 whether it tells of the disposition. One per graph that may be new: $34 hash,
-- $35 source. One per step again: $36 scope. One per request for a signal: $37 execution uuid, $38 signal id uuid,
-- $39 signal_type, $40 signal_data. One per signal that is dealt with: $41 execution uuid, $42 signal id uuid. One per
-- execution to be started: $43 execution uuid (the parent), $44 child uuid, $45 its name, $46 workflow uuid,
-- $47 execution_data, $48 node, $49 visit integer, $50 depth integer, $51 whether it is awaited. One per child that is no
-- longer wanted: $52 execution uuid (the parent), $53 child uuid. One per step again: $54 whether it ends a path.
-- Index: the primary keys, children_parent.
-- Race-free: a record whose worker, fence or revision is no longer current changes nothing (the row is missing in the
-- answer). Where the host row was changed by somebody else since the runner looked (`is_current` false), the steps
-- are recorded, as are requests, children and signals dealt with, but host row and lease stay as they are: the runner
-- looks again and sends another record.
-- Free of deadlocks: a record waits for nobody's row lock. It needs its host row, its row of the run queue, those of
-- relatives that it tells something (the parent of a child that ends, the awaited children of a parent that ends or gives
-- them up), the signals that it deals with, and the workflows that it starts. It takes each with SKIP LOCKED, before
-- it writes anything; if one cannot be had, this record alone is not made (`is_blocked`) and is sent again. To wait for
-- them, in whatever order, would not do: transactions of the platform take host row and queue row of one execution
-- after those of another, or a queue row (by a signal) before its host row. So one open transaction of the platform
-- delays no execution but its own and their relatives. Host rows of relatives are neither locked nor written. (Of the
-- rest only the graphs can make it wait, for another record that brings the same new one; all bring them in one order.)
-- What a relative is told cannot be missed: it is in its row of the run queue when this commit is over, whoever records
-- or claims that execution next has to take the lock on it first, and sees another host_version.
WITH writer AS MATERIALIZED (
    -- Tells the triggers on UPDATE and on signals that this is the worker; for this statement only.
    SELECT set_config('workflow_worker.writer', 'on', true) AS is_on
),
record AS MATERIALIZED (
    SELECT *
    FROM unnest($2::uuid[], $3::bigint[], $4::integer[], $5::integer[], $6::text[], $7::text[], $8::bytea[], $9::text[],
                $10::timestamptz[], $11::text[], $12::text[], $13::text[], $14::text[], $15::integer[], $16::timestamp[])
        AS record (execution_id, fence, revision, host_version, host_status, checkpoint, graph_hash, disposition,
                   run_at, status, current_node_id, execution_state, error_message, retry_count, next_retry_at)
),
host AS MATERIALIZED (
    SELECT host_row.id, host_row.status, host_row.execution_id AS name
    FROM public.workflowexecution AS host_row
    CROSS JOIN writer
    WHERE host_row.id = ANY ($2)
      AND writer.is_on = 'on'
    ORDER BY host_row.id
    FOR NO KEY UPDATE OF host_row SKIP LOCKED
),
-- Executions in the run queue that are to be told something of this record.
relative AS MATERIALIZED (
    SELECT related.*
    FROM (
        SELECT record.execution_id, family.parent_id AS relative_id, false AS is_child, true AS is_at_end
        FROM record
        JOIN workflow_worker.children AS family ON family.child_id = record.execution_id
        WHERE record.disposition = 'finish' AND family.is_awaited
        UNION ALL
        SELECT record.execution_id, family.child_id, true, true
        FROM record
        JOIN workflow_worker.children AS family ON family.parent_id = record.execution_id
        WHERE record.disposition = 'finish' AND family.is_awaited
        UNION ALL
        SELECT unwanted.execution_id, family.child_id, true, false
        FROM unnest($52::uuid[], $53::uuid[]) AS unwanted (execution_id, child_id)
        JOIN workflow_worker.children AS family
          ON family.child_id = unwanted.child_id AND family.parent_id = unwanted.execution_id
    ) AS related
    JOIN host ON host.id = related.execution_id
    WHERE EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = related.relative_id)
),
queue AS MATERIALIZED (
    SELECT
        queued.execution_id, queued.worker_id, queued.fence, queued.revision, queued.host_version,
        queued.revision = 0 AND queued.timed_from > now() AS is_planned
    FROM workflow_worker.run_queue AS queued
    WHERE queued.execution_id = ANY (ARRAY(
        SELECT host.id FROM host UNION ALL SELECT relative.relative_id FROM relative))
    FOR UPDATE SKIP LOCKED
),
signal AS MATERIALIZED (
    SELECT there.id
    FROM public.workflowsignal AS there
    WHERE there.id = ANY ($42)
    FOR NO KEY UPDATE SKIP LOCKED
),
obstructed AS MATERIALIZED (
    SELECT relative.execution_id
    FROM relative
    WHERE relative.relative_id NOT IN (SELECT queue.execution_id FROM queue)
    UNION ALL
    SELECT handled.execution_id
    FROM unnest($41::uuid[], $42::uuid[]) AS handled (execution_id, signal_id)
    JOIN public.workflowsignal AS there ON there.id = handled.signal_id
    WHERE handled.signal_id NOT IN (SELECT signal.id FROM signal)
    UNION ALL
    SELECT starting.execution_id
    FROM unnest($43::uuid[], $46::uuid[]) AS starting (execution_id, workflow_id)
    WHERE workflow_worker.is_being_deleted(starting.workflow_id)
),
held AS MATERIALIZED (
    SELECT
        record.*,
        host.name,
        queue.host_version = record.host_version AND host.status = record.host_status AS is_current
    FROM record
    JOIN host ON host.id = record.execution_id
    JOIN queue ON queue.execution_id = record.execution_id
    WHERE queue.worker_id = $1
      AND queue.fence = record.fence
      AND queue.revision = record.revision
      AND record.execution_id NOT IN (SELECT obstructed.execution_id FROM obstructed)
),
told AS MATERIALIZED (
    SELECT
        relative.relative_id AS execution_id,
        bool_or(relative.is_child) AS is_cancelled,
        min(CASE
            WHEN relative.is_child AND relative.is_at_end THEN 'Parent execution ' || held.name || ' ended'
            WHEN relative.is_child THEN 'No longer needed by execution ' || held.name
        END) AS reason
    FROM relative
    JOIN held ON held.execution_id = relative.execution_id
    WHERE held.is_current OR NOT relative.is_at_end
    GROUP BY relative.relative_id
),
-- What becomes of each row of the run queue that stays. One row may have both a record and something to be told.
change AS MATERIALIZED (
    SELECT
        queue.execution_id,
        held.execution_id IS NOT NULL AS is_recorded,
        held.checkpoint,
        held.graph_hash,
        held.run_at,
        -- A record that only announces a node proves nothing: that node may be what kills the worker.
        held.disposition <> 'hold' OR held.execution_id = ANY ($17) AS is_progress,
        CASE WHEN held.is_current THEN held.disposition ELSE 'hold' END AS disposition,
        coalesce(held.is_current AND held.disposition = 'park' AND held.status = 'paused', false) AS is_paused,
        told.execution_id IS NOT NULL AS is_told,
        -- A parent that is paused stays so; a child that is cancelled is to be ended, paused or not.
        told.execution_id IS NOT NULL
            AND (queue.worker_id IS NULL OR (held.is_current AND held.disposition <> 'hold'))
            -- (One that is to start later does so at its time.)
            AND (told.is_cancelled
                 OR (workflow_worker.status_now(queue.execution_id) IS DISTINCT FROM 'paused' AND NOT queue.is_planned))
            AS is_woken
    FROM queue
    LEFT JOIN held ON held.execution_id = queue.execution_id
    LEFT JOIN told ON told.execution_id = queue.execution_id
    WHERE (held.execution_id IS NOT NULL OR told.execution_id IS NOT NULL)
      AND NOT coalesce(held.is_current AND held.disposition = 'finish', false)
),
graph AS (
    INSERT INTO workflow_worker.graphs (hash, source)
    SELECT new_graph.hash, new_graph.source
    FROM unnest($34::bytea[], $35::text[]) AS new_graph (hash, source)
    -- In one order, or two workers that bring the same new graphs wait for each other.
    ORDER BY new_graph.hash
    ON CONFLICT (hash) DO NOTHING
),
-- The retention had it marked as unused.
graph_in_use AS (
    UPDATE workflow_worker.graphs AS stored
    SET unused_since = NULL
    WHERE stored.hash IN (
        SELECT marked.hash
        FROM workflow_worker.graphs AS marked
        WHERE marked.hash = ANY ($34) AND marked.unused_since IS NOT NULL
        FOR UPDATE SKIP LOCKED)
),
step AS (
    INSERT INTO workflow_worker.steps
        (execution_id, seq, node_id, node_type, visit, attempt, status, output, error, started_at, finished_at,
         worker_id, fence, scope, is_end)
    SELECT
        new_step.execution_id, new_step.seq, new_step.node_id, new_step.node_type, new_step.visit, new_step.attempt,
        new_step.status, new_step.output::json, new_step.error, new_step.started_at, new_step.finished_at,
        $1, held.fence, new_step.scope, new_step.is_end
    FROM unnest($17::uuid[], $18::integer[], $19::text[], $20::text[], $21::integer[], $22::integer[], $23::text[],
                $24::text[], $25::text[], $26::timestamptz[], $27::timestamptz[], $36::text[], $54::boolean[])
        AS new_step (execution_id, seq, node_id, node_type, visit, attempt, status, output, error, started_at,
                     finished_at, scope, is_end)
    JOIN held ON held.execution_id = new_step.execution_id
),
log_row AS (
    INSERT INTO public.executionlog (id, execution_id, node_id, level, message, "timestamp")
    SELECT gen_random_uuid(), entry.execution_id, entry.node_id, entry.level, entry.message, entry.logged_at
    FROM unnest($28::uuid[], $29::text[], $30::text[], $31::text[], $32::timestamp[], $33::boolean[])
        AS entry (execution_id, node_id, level, message, logged_at, is_closing)
    JOIN held ON held.execution_id = entry.execution_id
    WHERE held.is_current OR NOT entry.is_closing
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
        paused_at = CASE WHEN change.is_paused THEN coalesce(queued.paused_at, now()) ELSE queued.paused_at END
    FROM change
    WHERE queued.execution_id = change.execution_id
    RETURNING queued.execution_id, queued.worker_id IS NOT NULL AND change.is_told AS is_interrupted
),
removed AS (
    DELETE FROM workflow_worker.run_queue AS queued
    USING held
    WHERE queued.execution_id = held.execution_id
      AND held.is_current
      AND held.disposition = 'finish'
    RETURNING queued.execution_id, queued.checkpoint, queued.graph_hash, queued.priority, queued.limit_key,
              queued.replay_of
),
archived AS (
    INSERT INTO workflow_worker.finished
        (execution_id, outcome, fence, revision, graph_hash, checkpoint, priority, limit_key, replay_of)
    SELECT
        removed.execution_id,
        coalesce(held.status, held.host_status),
        held.fence,
        held.revision + 1,
        coalesce(held.graph_hash, removed.graph_hash),
        coalesce(held.checkpoint::json, removed.checkpoint),
        removed.priority,
        removed.limit_key,
        removed.replay_of
    FROM removed
    JOIN held ON held.execution_id = removed.execution_id
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
        pruned_at = NULL
),
published AS (
    UPDATE public.workflowexecution AS host_row
    SET status = held.status,
        current_node_id = held.current_node_id,
        execution_state = CASE
            WHEN held.execution_state IS NOT NULL THEN held.execution_state::json
            WHEN held.disposition = 'finish' THEN
                workflow_worker.with_status(host_row.execution_state::text, held.status, held.error_message)::json
            ELSE host_row.execution_state::json
        END,
        error_message = held.error_message,
        retry_count = held.retry_count,
        next_retry_at = held.next_retry_at,
        completed_at = CASE
            -- Resuming a row that had ended leaves it set.
            WHEN held.status = 'running' OR held.next_retry_at IS NOT NULL THEN NULL
            -- Whoever terminated it has set the time of that.
            WHEN held.disposition <> 'finish' OR held.status = held.host_status
                THEN coalesce(host_row.completed_at,
                              CASE WHEN held.disposition = 'finish' THEN clock_timestamp() AT TIME ZONE 'utc' END)
            ELSE clock_timestamp() AT TIME ZONE 'utc'
        END
    FROM held
    WHERE host_row.id = held.execution_id
      AND held.is_current
      AND held.status IS NOT NULL
),
request AS (
    INSERT INTO public.workflowsignal (id, execution_id, signal_type, signal_data, received_at, processed)
    SELECT
        new_request.signal_id, new_request.execution_id, new_request.signal_type, new_request.signal_data::json,
        clock_timestamp() AT TIME ZONE 'utc', false
    FROM unnest($37::uuid[], $38::uuid[], $39::text[], $40::text[])
        AS new_request (execution_id, signal_id, signal_type, signal_data)
    JOIN held ON held.execution_id = new_request.execution_id
    ON CONFLICT (id) DO NOTHING
),
processed AS (
    UPDATE public.workflowsignal AS there
    SET processed = true
    FROM unnest($41::uuid[], $42::uuid[]) AS handled (execution_id, signal_id)
    JOIN held ON held.execution_id = handled.execution_id
    WHERE there.id = handled.signal_id
      AND there.execution_id = handled.execution_id
),
started AS (
    SELECT workflow_worker.start_child(
        held.execution_id, new_child.child_id, new_child.name, new_child.workflow_id, new_child.input::json,
        new_child.node_id, new_child.visit, new_child.depth, new_child.is_awaited) AS is_started
    FROM unnest($43::uuid[], $44::uuid[], $45::text[], $46::uuid[], $47::text[], $48::text[], $49::integer[],
                $50::integer[], $51::boolean[])
        AS new_child (execution_id, child_id, name, workflow_id, input, node_id, visit, depth, is_awaited)
    JOIN held ON held.execution_id = new_child.execution_id
),
cancelled AS (
    UPDATE workflow_worker.children AS child
    SET cancel_reason = verdict.reason
    FROM (
        SELECT told.execution_id, told.reason
        FROM told
        JOIN change ON change.execution_id = told.execution_id
        WHERE told.is_cancelled
        UNION ALL
        -- It has been carried out.
        SELECT removed.execution_id, NULL
        FROM removed
    ) AS verdict (child_id, reason)
    WHERE child.child_id = verdict.child_id
      -- The first reason is the one that counts.
      AND (child.cancel_reason IS NULL) <> (verdict.reason IS NULL)
),
woken AS (
    SELECT pg_notify('workflow_worker', news.payload)
    FROM (
        -- What is handed back starts on another worker at once.
        SELECT '' AS payload
        WHERE EXISTS (SELECT FROM change WHERE change.is_woken OR change.disposition = 'release')
        UNION ALL
        SELECT 'interrupt'
        WHERE EXISTS (SELECT FROM kept WHERE kept.is_interrupted)
    ) AS news
)
SELECT
    record.execution_id,
    held.execution_id IS NOT NULL AS is_recorded,
    coalesce(held.is_current, false) AS is_current,
    -- Its host row is locked or gone; or the lease is current, and something else that the record needs is locked.
    CASE
        WHEN held.execution_id IS NOT NULL THEN false
        WHEN host.id IS NULL THEN true
        ELSE EXISTS (
            SELECT
            FROM workflow_worker.run_queue AS queued
            WHERE queued.execution_id = record.execution_id
              AND queued.worker_id = $1
              AND queued.fence = record.fence
              AND queued.revision = record.revision)
    END AS is_blocked,
    (SELECT count(*) FROM woken) AS notifications,
    (SELECT count(*) FROM started WHERE started.is_started) AS children_started
FROM record
LEFT JOIN host ON host.id = record.execution_id
LEFT JOIN held ON held.execution_id = record.execution_id;
