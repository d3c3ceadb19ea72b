-- Lets go what waits for limits that have room: for these keys, for rates that have opened, and for the next keys of a
-- sweep. Returns how many were let go, where the sweep goes on, and whether the same call finds more.
-- $1 limit keys text[] (those of executions that have ended); $2 text: the sweep goes on after this key ('' from the
-- first), or NULL: no sweep.
-- Index: run_queue_held, limit_openings_next, limit_uses_pkey, limit_starts_pkey.
-- Race-free: one key at a time is dealt with by one transaction, under an advisory lock; see 0005.
SELECT admitted.let_go, admitted.last_key, admitted.is_more
FROM workflow_worker.admit($1, $2) AS admitted;
