-- Returns what somebody else wrote into the row of an execution that the worker holds.
-- $1 execution id uuid; $2 fence bigint.
-- Index: the primary keys.
-- Race-free: version and row are of one snapshot; a record with this version is refused if they have changed again.
SELECT
    queued.host_version,
    queued.timed_from,
    host.status,
    host.execution_state::text AS execution_state,
    host.error_message,
    host.completed_at IS NOT NULL AS is_completed,
    host.next_retry_at IS NOT NULL AS has_next_retry,
    child.cancel_reason
FROM workflow_worker.run_queue AS queued
JOIN public.workflowexecution AS host ON host.id = queued.execution_id
LEFT JOIN workflow_worker.children AS child ON child.child_id = queued.execution_id
WHERE queued.execution_id = $1
  AND queued.fence = $2;
