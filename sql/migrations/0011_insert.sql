-- Part of 0011: what a new row costs.

------------------------------------------------------------------------------------------------------------------
-- As in 0005. What only some rows need is called for those alone: each of these functions begins a subtransaction.
CREATE OR REPLACE FUNCTION workflow_worker.enqueue_inserted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
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

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA workflow_worker FROM PUBLIC;
