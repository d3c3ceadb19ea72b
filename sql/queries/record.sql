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
-- $35 source.
-- Index: the primary keys.
-- Race-free: a record whose worker, fence or revision is no longer current changes nothing (the row is missing in the
-- answer). Host rows are locked first and then rows of the run queue, as the triggers do, and a host row that somebody
-- else has locked is skipped (`host_row_is_locked`), so that one open transaction of the platform delays no other
-- execution. Where the host row was changed by somebody else since the runner looked (`is_current` false), the steps
-- are recorded but host row and lease stay as they are: the runner looks again and sends another record.
WITH writer AS MATERIALIZED (
    -- Tells the trigger on UPDATE that this is the worker; for this statement only.
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
    SELECT host_row.id, host_row.status
    FROM public.workflowexecution AS host_row
    CROSS JOIN writer
    WHERE host_row.id = ANY ($2)
      AND writer.is_on = 'on'
    ORDER BY host_row.id
    FOR NO KEY UPDATE OF host_row SKIP LOCKED
),
held AS MATERIALIZED (
    SELECT
        record.*,
        queued.host_version = record.host_version AND host.status = record.host_status AS is_current
    FROM record
    JOIN host ON host.id = record.execution_id
    JOIN workflow_worker.run_queue AS queued ON queued.execution_id = record.execution_id
    WHERE queued.worker_id = $1
      AND queued.fence = record.fence
      AND queued.revision = record.revision
    ORDER BY queued.execution_id
    FOR UPDATE OF queued
),
graph AS (
    INSERT INTO workflow_worker.graphs (hash, source)
    SELECT new_graph.hash, new_graph.source
    FROM unnest($34::bytea[], $35::text[]) AS new_graph (hash, source)
    -- In one order, or two workers that bring the same new graphs wait for each other.
    ORDER BY new_graph.hash
    ON CONFLICT (hash) DO NOTHING
),
step AS (
    INSERT INTO workflow_worker.steps
        (execution_id, seq, node_id, node_type, visit, attempt, status, output, error, started_at, finished_at,
         worker_id, fence)
    SELECT
        new_step.execution_id, new_step.seq, new_step.node_id, new_step.node_type, new_step.visit, new_step.attempt,
        new_step.status, new_step.output::json, new_step.error, new_step.started_at, new_step.finished_at,
        $1, held.fence
    FROM unnest($17::uuid[], $18::integer[], $19::text[], $20::text[], $21::integer[], $22::integer[], $23::text[],
                $24::text[], $25::text[], $26::timestamptz[], $27::timestamptz[])
        AS new_step (execution_id, seq, node_id, node_type, visit, attempt, status, output, error, started_at,
                     finished_at)
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
    SET revision = queued.revision + 1,
        -- A record that only announces a node proves nothing: that node may be what kills the worker.
        rescues = CASE
            WHEN held.disposition <> 'hold' OR queued.execution_id = ANY ($17) THEN 0
            ELSE queued.rescues
        END,
        checkpoint = coalesce(held.checkpoint::json, queued.checkpoint),
        graph_hash = coalesce(held.graph_hash, queued.graph_hash),
        worker_id = CASE WHEN held.is_current AND held.disposition <> 'hold' THEN NULL ELSE queued.worker_id END,
        ready = CASE
            WHEN held.is_current AND held.disposition = 'park' THEN false
            WHEN held.is_current AND held.disposition = 'release' THEN true
            ELSE queued.ready
        END,
        run_at = CASE
            WHEN held.is_current AND held.disposition = 'park' THEN coalesce(held.run_at, 'infinity')
            WHEN held.is_current AND held.disposition = 'release' THEN now()
            ELSE queued.run_at
        END
    FROM held
    WHERE queued.execution_id = held.execution_id
      AND NOT (held.is_current AND held.disposition = 'finish')
    RETURNING queued.execution_id
),
removed AS (
    DELETE FROM workflow_worker.run_queue AS queued
    USING held
    WHERE queued.execution_id = held.execution_id
      AND held.is_current
      AND held.disposition = 'finish'
    RETURNING queued.execution_id, queued.checkpoint, queued.graph_hash
),
archived AS (
    INSERT INTO workflow_worker.finished (execution_id, outcome, fence, revision, graph_hash, checkpoint)
    SELECT
        removed.execution_id,
        coalesce(held.status, held.host_status),
        held.fence,
        held.revision + 1,
        coalesce(held.graph_hash, removed.graph_hash),
        coalesce(held.checkpoint::json, removed.checkpoint)
    FROM removed
    JOIN held ON held.execution_id = removed.execution_id
    ON CONFLICT (execution_id) DO UPDATE
    SET outcome = excluded.outcome,
        fence = excluded.fence,
        revision = excluded.revision,
        graph_hash = excluded.graph_hash,
        checkpoint = excluded.checkpoint,
        finished_at = now()
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
woken AS (
    -- What is handed back starts on another worker at once.
    SELECT pg_notify('workflow_worker', '')
    FROM (SELECT FROM held WHERE held.is_current AND held.disposition = 'release' LIMIT 1) AS any_released
)
SELECT
    record.execution_id,
    host.id IS NULL AS host_row_is_locked_or_gone,
    held.execution_id IS NOT NULL AS is_recorded,
    coalesce(held.is_current, false) AS is_current,
    (SELECT count(*) FROM woken) AS notifications
FROM record
LEFT JOIN host ON host.id = record.execution_id
LEFT JOIN held ON held.execution_id = record.execution_id;
