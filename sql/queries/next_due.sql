-- Says whether anything is due, when the next timed execution will be, whether the worker holds anything, and whether a
-- new host row has missed the run queue (its trigger was off). The whole cost of an idle poll.
-- $1 worker uuid; $2 how far back new host rows are looked at, in seconds double precision, or NULL: not at all.
-- Index: one row each of run_queue_due, run_queue_timed, run_queue_leased, run_queue_held and limit_openings_next; at
-- most 1,000 of the newest entries of workflow_worker_runnable, so that a burst costs no more than that (what is older
-- is found by the full repair); pg_trigger_tgrelid_tgname_index.
-- Race-free: reads only; the claim decides.
WITH newest AS MATERIALIZED (
    SELECT host.id
    FROM public.workflowexecution AS host
    WHERE (host.status = 'running'
           OR (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL))
      AND host.started_at > (now() AT TIME ZONE 'utc') - make_interval(secs => $2)
    ORDER BY host.started_at DESC
    LIMIT 1000
)
SELECT
    -- ORDER BY as in the index: with it the planner cannot take a whole scan for cheaper.
    (
        SELECT true
        FROM workflow_worker.run_queue
        WHERE ready AND worker_id IS NULL AND held_by IS NULL
        ORDER BY (run_at AT TIME ZONE 'UTC') - priority * interval '1 minute', execution_id
        LIMIT 1
    ) IS NOT NULL AS is_due,
    (
        SELECT run_at
        FROM workflow_worker.run_queue
        WHERE NOT ready AND worker_id IS NULL AND run_at < 'infinity'
        ORDER BY run_at
        LIMIT 1
    ) AS next_run_at,
    EXISTS (SELECT FROM workflow_worker.run_queue WHERE worker_id = $1) AS is_holding,
    -- Something waits for a limit.
    (
        SELECT true
        FROM workflow_worker.run_queue
        WHERE held_by IS NOT NULL AND ready AND worker_id IS NULL
        ORDER BY held_by
        LIMIT 1
    ) IS NOT NULL AS is_limit_waited_for,
    -- When the next start under a limited rate will be possible.
    (
        SELECT opens_at
        FROM workflow_worker.limit_openings
        ORDER BY opens_at
        LIMIT 1
    ) AS next_opening_at,
    CASE WHEN $2 IS NULL THEN false ELSE EXISTS (
        SELECT FROM newest
        WHERE NOT EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = newest.id)
    ) END AS is_missing,
    -- Then nothing tells of inserts, pauses, resumes and signals, and the poll has to find them all.
    CASE WHEN $2 IS NULL THEN false ELSE (
        SELECT count(*) < 7
        FROM pg_trigger
        WHERE tgrelid IN (to_regclass('public.workflowexecution'), to_regclass('public.workflowsignal'))
          AND tgname LIKE 'workflow\_worker\_%'
          AND tgenabled <> 'D'
    ) END AS triggers_are_off,
    clock_timestamp() AS database_time;
