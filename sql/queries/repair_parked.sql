-- Makes executions due that the platform has resumed while triggers were off, and those whose worker has no row any
-- more. Returns how many. Takes over changes of schedules that no trigger has told of; the next poll sees them.
-- $1 limit bigint.
-- Index: workflow_worker_runnable on workflowexecution, run_queue_leased; all schedules are looked at.
-- Race-free: SKIP LOCKED; what is being claimed or recorded at this moment is left for the next time.
WITH schedules AS (
    -- A statement that writes, so that it is run although nothing is read from it; here and not in a statement of its own,
    -- so that an idle worker sends no more of them.
    DELETE FROM workflow_worker.schedule_states AS state
    WHERE (SELECT workflow_worker.mirror_schedules(NULL)) IS NOT NULL
      AND state.schedule_id IN (
          SELECT orphan.schedule_id
          FROM workflow_worker.schedule_states AS orphan
          WHERE NOT EXISTS (SELECT FROM public.workflowschedule AS host WHERE host.id = orphan.schedule_id)
          FOR UPDATE SKIP LOCKED)
),
lost AS MATERIALIZED (
    SELECT queued.execution_id
    FROM workflow_worker.run_queue AS queued
    WHERE (queued.worker_id IS NULL
           AND NOT queued.ready
           AND queued.run_at = 'infinity'
           AND EXISTS (
               SELECT FROM public.workflowexecution AS host
               WHERE host.id = queued.execution_id AND host.status = 'running'))
       OR (queued.worker_id IS NOT NULL
           AND queued.claimed_at < now() - interval '5 seconds'
           AND NOT EXISTS (SELECT FROM workflow_worker.workers WHERE workers.id = queued.worker_id))
    LIMIT $1
    FOR UPDATE OF queued SKIP LOCKED
)
UPDATE workflow_worker.run_queue AS queued
SET worker_id = NULL,
    ready = true,
    run_at = now()
FROM lost
WHERE queued.execution_id = lost.execution_id;
