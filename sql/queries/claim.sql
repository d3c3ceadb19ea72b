-- Takes up to $2 due executions under a lease and returns them with all that a first run needs. A row with is_claimed
-- false is one that was put to wait for a limit instead.
-- $1 worker uuid; $2 free slots bigint; $3 the place in the queue to begin with, timestamp, or NULL: the first.
-- Index: see the function, in migration 0012. It is one so that its plan is kept, and so that the settings which make
-- it the right plan for tables of any size hold for it alone.
-- Race-free: as the function says.
SELECT
    execution_id, is_claimed, limit_keys, fence, revision, host_version, rescues, graph_hash, checkpoint, host_row_exists,
    workflow_id, workflow_version, execution_name, status, started_at, is_completed, current_node_id, execution_state,
    retry_count, has_next_retry, is_retry_due, workflow_row_version, depth, cancel_reason, timed_from, replay_of,
    replay_from, late_by_ms, place, took_ms
FROM workflow_worker.claim($1, $2, $3);
