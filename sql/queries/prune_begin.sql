-- Begins a round of retention, if the last one began long enough ago, and returns the time before which history is old.
-- $1 least seconds since the last round began double precision, $2 age in seconds double precision, $3 who text.
-- Index: retention_pkey; the table has one row.
-- Race-free: one row; of two that come at once the second waits for the first's commit and finds that it has begun.
UPDATE workflow_worker.retention
SET started_at = now(),
    ended_at = NULL,
    started_by = $3
WHERE started_at IS NULL
   OR started_at <= now() - make_interval(secs => $1)
RETURNING now() - make_interval(secs => $2) AS cutoff;
