-- Returns a graph that an execution has started on.
-- $1 hash bytea.
-- Index: graphs_pkey.
-- Race-free: a row is never changed.
SELECT source
FROM workflow_worker.graphs
WHERE hash = $1;
