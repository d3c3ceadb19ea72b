-- Proves that the worker lives, and returns the workers that seem dead.
-- $1 worker uuid, $2 executions running integer, $3 whether the listener hears, $4 presence key bigint or NULL, $5 state.
-- Index: workers_pkey; workers is as small as the fleet. pg_locks is read only if somebody has been silent.
-- Race-free: one row, its own. No row in `beat` means that others have declared this worker dead.
--
-- Dead is who has been silent for the length of the lease; or for `silence`, if its presence lock is free as well. The
-- latter does not count in the first seconds of a PostgreSQL server: after a restart nobody has reconnected yet.
WITH beat AS (
    UPDATE workflow_worker.workers
    SET heartbeat_at = now(),
        running = $2,
        listening = $3,
        presence_key = $4,
        state = $5
    WHERE id = $1
      -- Losing a heartbeat in a crash loses nothing: no need to wait for the disk.
      AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
    RETURNING id
)
SELECT
    EXISTS (SELECT FROM beat) AS is_registered,
    ARRAY (
        SELECT other.id
        FROM workflow_worker.workers AS other
        WHERE other.id <> $1
          AND other.heartbeat_at < now() - other.silence
          AND (
              other.heartbeat_at < now() - other.lease
              OR (other.presence_key IS NOT NULL
                  AND pg_postmaster_start_time() < now() - interval '10 seconds'
                  AND NOT EXISTS (
                      SELECT FROM pg_locks
                      WHERE locktype = 'advisory'
                        AND objsubid = 1
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                        AND classid = ((other.presence_key >> 32) & 4294967295)::oid
                        AND objid = (other.presence_key & 4294967295)::oid)))
    ) AS dead,
    -- In the middle of the work: the ways there and back are as long as each other, then.
    statement_timestamp() + (clock_timestamp() - statement_timestamp()) / 2 AS database_time;
