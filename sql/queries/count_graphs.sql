-- Counts what `prune_graphs` would remove.
-- No parameters.
-- Index: finished_graph. Reads graphs and run_queue whole; for a command, not for a loop.
-- Race-free: reads only.
SELECT
    'workflow_worker.graphs' AS table_name,
    count(*) AS rows,
    coalesce(sum(pg_column_size(stored.source) + 80), 0)::bigint AS bytes
FROM workflow_worker.graphs AS stored
WHERE stored.unused_since < now() - interval '1 day'
  AND NOT EXISTS (SELECT FROM workflow_worker.finished AS ended WHERE ended.graph_hash = stored.hash)
  AND NOT EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.graph_hash = stored.hash);
