-- Says whether anything is due, when the next timed execution will be, when the scheduler has to look next, whether the
-- worker holds anything, and whether a new host row has missed the run queue (its trigger was off). The whole cost of an
-- idle poll.
-- $1 worker uuid; $2 how far back new host rows are looked at, in seconds double precision, or NULL: not at all;
-- $3 the place in the queue to begin with, timestamp, or NULL: the first.
-- Index: see the function, in migration 0011; it is one for the same reasons as that of the claim.
-- Race-free: reads only; the claim decides.
SELECT
    is_due, next_run_at, next_schedule_at, is_holding, is_limit_waited_for, next_opening_at, is_missing, triggers_are_off,
    -- As in heartbeat.sql.
    statement_timestamp() + (database_time - statement_timestamp()) / 2 AS database_time
FROM workflow_worker.next_due($1, $2, $3);
