-- Returns what a replay needs of the host row of the execution that it replays.
-- $1 execution id uuid.
-- Index: workflowexecution's primary key.
-- Race-free: reads only; what the original does meanwhile is its own.
SELECT
    host.workflow_id,
    host.execution_id AS execution_name,
    host.execution_state::text AS execution_state
FROM public.workflowexecution AS host
WHERE host.id = $1;
