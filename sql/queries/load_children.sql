-- Returns what has become of executions that others have started; those that are gone are missing in the answer.
-- $1 execution ids uuid[].
-- Index: workflowexecution_pkey.
-- Race-free: reads only. The end of an awaited child raises its parent's host_version in the commit that ends it, so the
-- record that follows from what was read here is refused if one has ended since, and the runner looks again.
SELECT
    host.id,
    host.execution_id AS name,
    host.status,
    verdict.is_final,
    host.error_message,
    CASE WHEN verdict.is_final THEN host.execution_state::text END AS execution_state
FROM public.workflowexecution AS host
CROSS JOIN LATERAL (
    -- As host::status has it: neither runnable, nor waiting for a retry, somebody or a signal.
    SELECT host.status NOT IN ('running', 'paused', 'waiting_for_signal')
           AND NOT (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL) AS is_final
) AS verdict
WHERE host.id = ANY ($1);
