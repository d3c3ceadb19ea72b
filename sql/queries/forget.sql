-- Removes what the worker keeps of an execution whose host row is gone, and tells its relatives.
-- $1 execution id uuid; $2 fence bigint.
-- Index: the primary keys, children_parent.
-- Race-free: only under the lease, and only while there is no host row. Relatives are locked after that, in one order;
-- no record waits for what this holds meanwhile.
WITH gone AS MATERIALIZED (
    DELETE FROM workflow_worker.run_queue AS queued
    WHERE queued.execution_id = $1
      AND queued.fence = $2
      AND NOT EXISTS (SELECT FROM public.workflowexecution AS host WHERE host.id = $1)
    RETURNING queued.execution_id
),
step AS (
    DELETE FROM workflow_worker.steps
    USING gone
    WHERE steps.execution_id = gone.execution_id
),
checkpoint AS (
    DELETE FROM workflow_worker.finished
    USING gone
    WHERE finished.execution_id = gone.execution_id
)
SELECT workflow_worker.forget_relatives(ARRAY[gone.execution_id])
FROM gone;
