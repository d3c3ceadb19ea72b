-- Makes parked executions due for which something has come that no trigger and no record has told them of: a signal
-- (triggers were off), or the end of a child (it was deleted meanwhile, its parent was resumed at that very moment, an
-- older worker ended it). Returns how many.
-- $1 limit bigint.
-- Index: workflow_worker_signals on workflowsignal, children_parent, the primary keys; read once a minute.
-- Race-free: SKIP LOCKED; what is being claimed or recorded at this moment is left for the next time.
-- A runner that has looked decides; so what came more than a minute before the last claim is left as it is, or signals
-- for which nobody waits would wake their execution for ever. (Times of signals are by other clocks, hence the minute.)
WITH waiting AS MATERIALIZED (
    SELECT
        queued.execution_id,
        host.status,
        coalesce(queued.claimed_at, '-infinity') - interval '1 minute' AS looked_at
    FROM workflow_worker.run_queue AS queued
    JOIN public.workflowexecution AS host ON host.id = queued.execution_id
    WHERE queued.worker_id IS NULL
      AND NOT queued.ready
      AND host.status IN ('waiting_for_signal', 'running')
),
signalled AS (
    SELECT waiting.execution_id
    FROM waiting
    JOIN public.workflowsignal AS signal ON signal.execution_id = waiting.execution_id
    WHERE waiting.status = 'waiting_for_signal'
      AND NOT signal.processed
      AND signal.received_at AT TIME ZONE 'utc' > waiting.looked_at
      -- Not a request. As text: operators on JSON fail on values that the column accepts.
      AND NOT (
          signal.signal_type IN ('human_approval', 'human_input', 'approval_response')
          AND coalesce(signal.signal_data::text, '') ~ '"(message|options)"\s*:'
          AND coalesce(signal.signal_data::text, '') !~ '"(decision|response|option|approved)"\s*:')
),
orphaned AS (
    SELECT waiting.execution_id
    FROM waiting
    JOIN workflow_worker.children AS child ON child.parent_id = waiting.execution_id AND child.is_awaited
    LEFT JOIN public.workflowexecution AS host ON host.id = child.child_id
    WHERE coalesce(host.completed_at AT TIME ZONE 'utc', now()) > waiting.looked_at
      -- Gone; or ended, and no longer in the run queue, from which it would tell its parent itself.
      AND (host.id IS NULL
           OR (host.status NOT IN ('running', 'paused', 'waiting_for_signal')
               AND NOT (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL)))
      AND NOT EXISTS (
          SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = child.child_id)
      -- The parent has not taken it in: then the visit that started it would have been recorded.
      AND NOT EXISTS (
          SELECT
          FROM workflow_worker.steps AS step
          WHERE step.execution_id = child.parent_id
            AND step.node_id = child.node_id
            AND step.visit = child.visit)
),
lost AS MATERIALIZED (
    SELECT queued.execution_id
    FROM workflow_worker.run_queue AS queued
    WHERE queued.execution_id IN (
              SELECT signalled.execution_id FROM signalled
              UNION
              SELECT orphaned.execution_id FROM orphaned)
      AND queued.worker_id IS NULL
      AND NOT queued.ready
    LIMIT $1
    FOR UPDATE OF queued SKIP LOCKED
)
UPDATE workflow_worker.run_queue AS queued
SET ready = true,
    run_at = now(),
    host_version = queued.host_version + 1
FROM lost
WHERE queued.execution_id = lost.execution_id;
