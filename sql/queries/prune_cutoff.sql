-- Returns the time before which history is old, for a mere count.
-- $1 age in seconds double precision.
-- Index: none; reads no table.
-- Race-free: reads only.
SELECT now() - make_interval(secs => $1) AS cutoff;
