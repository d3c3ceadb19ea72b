-- Returns the graph of a workflow as it is now.
-- $1 workflow id uuid.
-- Index: workflow_pkey. (workflownode has none on workflow_id in any variant of the platform, and is empty there.)
-- Race-free: one statement, one snapshot.
SELECT
    workflow.graph_config::text AS graph_config,
    workflow.xmin::text || workflow.ctid::text AS workflow_row_version,
    (
        SELECT json_agg(
            json_build_object('node_id', node.node_id, 'node_type', node.node_type, 'config', node.config)
            ORDER BY node.position_y, node.position_x, node.node_id)
        FROM public.workflownode AS node
        WHERE node.workflow_id = workflow.id
    )::text AS node_rows
FROM public.workflow
WHERE workflow.id = $1;
