-- Removes graphs that no execution has referred to for a day, and marks those to which none refers now: one batch.
-- Returns what was removed.
-- $1 graphs at most bigint, $2 key of the advisory lock bigint.
-- Index: finished_graph; graphs_pkey. graphs has one row per edit of a workflow; run_queue is read once if there is a graph
-- to which no ended execution refers.
-- Race-free: one batch at a time. A worker remembers for an hour that a graph is stored, and brings it again after that;
-- the record that brings it takes the mark away. So one that has been marked for a day and is still marked is remembered by
-- nobody, and a record that brings it at this very moment waits for this commit and stores it anew.
WITH lock AS MATERIALIZED (
    SELECT
        pg_try_advisory_xact_lock($2) AS is_mine,
        set_config('synchronous_commit', 'off', true) AS synchronous_commit,
        set_config('lock_timeout', '200ms', true) AS lock_timeout
),
unreferenced AS MATERIALIZED (
    SELECT stored.hash, stored.unused_since
    FROM workflow_worker.graphs AS stored
    WHERE (SELECT lock.is_mine FROM lock)
      AND NOT EXISTS (SELECT FROM workflow_worker.finished AS ended WHERE ended.graph_hash = stored.hash)
),
unused AS MATERIALIZED (
    SELECT unreferenced.hash, unreferenced.unused_since
    FROM unreferenced
    WHERE NOT EXISTS (
        SELECT FROM workflow_worker.run_queue AS queued WHERE queued.graph_hash = unreferenced.hash)
),
doomed AS MATERIALIZED (
    SELECT stored.hash
    FROM workflow_worker.graphs AS stored
    WHERE stored.hash IN (SELECT unused.hash FROM unused)
      AND stored.unused_since < now() - interval '1 day'
    ORDER BY stored.hash
    LIMIT $1
    FOR UPDATE SKIP LOCKED
),
marking AS MATERIALIZED (
    SELECT stored.hash, stored.hash IN (SELECT unused.hash FROM unused) AS is_unused
    FROM workflow_worker.graphs AS stored
    WHERE (SELECT lock.is_mine FROM lock)
      AND (stored.unused_since IS NULL) = (stored.hash IN (SELECT unused.hash FROM unused))
    ORDER BY stored.hash
    FOR UPDATE SKIP LOCKED
),
marked AS (
    UPDATE workflow_worker.graphs AS stored
    SET unused_since = CASE WHEN marking.is_unused THEN now() END
    FROM marking
    WHERE stored.hash = marking.hash
),
gone AS (
    DELETE FROM workflow_worker.graphs AS stored
    USING doomed
    WHERE stored.hash = doomed.hash
    RETURNING pg_column_size(stored.source) + 80 AS bytes
)
SELECT
    'workflow_worker.graphs' AS table_name,
    (SELECT count(*) FROM gone) AS rows,
    (SELECT coalesce(sum(gone.bytes), 0)::bigint FROM gone) AS bytes,
    lock.is_mine,
    (SELECT count(*) FROM doomed) AS looked_at
FROM lock;
