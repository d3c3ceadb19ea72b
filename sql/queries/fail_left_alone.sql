-- Fails up to $3 runnable host rows that have no place in the run queue and are older than the limit: an operator has
-- said that they are dead. Returns their ids.
-- $1 the limit in seconds double precision, $2 error_message text, $3 limit bigint.
-- Index: workflow_worker_runnable on workflowexecution, run_queue_pkey.
-- Race-free: SKIP LOCKED; a row that changes at this moment is left for the next call.
WITH writer AS MATERIALIZED (
    SELECT set_config('workflow_worker.writer', 'on', true) AS is_on
),
dead AS MATERIALIZED (
    SELECT host.id
    FROM public.workflowexecution AS host
    CROSS JOIN writer
    WHERE writer.is_on = 'on'
      AND (host.status = 'running'
           OR (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL))
      AND host.started_at <= (now() AT TIME ZONE 'utc') - make_interval(secs => $1)
      AND NOT EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = host.id)
    ORDER BY host.started_at
    LIMIT $3
    FOR NO KEY UPDATE OF host SKIP LOCKED
),
logged AS (
    INSERT INTO public.executionlog (id, execution_id, node_id, level, message, "timestamp")
    SELECT gen_random_uuid(), dead.id, 'system', 'error', 'Workflow execution failed permanently: ' || $2,
           clock_timestamp() AT TIME ZONE 'utc'
    FROM dead
)
UPDATE public.workflowexecution AS host
SET status = 'failed',
    completed_at = clock_timestamp() AT TIME ZONE 'utc',
    next_retry_at = NULL,
    error_message = $2,
    execution_state = workflow_worker.with_status(host.execution_state::text, 'failed', $2)::json
FROM dead
WHERE host.id = dead.id
RETURNING host.id;
