-- Adds this process to the workers.
-- $1 id uuid, $2 name, $3 hostname, $4 pid integer, $5 version, $6 lease and $7 silence in seconds double precision,
-- $8 concurrency integer, $9 presence key bigint or NULL.
-- Index: workers_pkey.
-- Race-free: the id is fresh.
INSERT INTO workflow_worker.workers (id, name, hostname, pid, version, lease, silence, concurrency, presence_key)
VALUES ($1, $2, $3, $4, $5, make_interval(secs => $6), make_interval(secs => $7), $8, $9)
RETURNING
    -- As in heartbeat.sql.
    statement_timestamp() + (clock_timestamp() - statement_timestamp()) / 2 AS database_time;
