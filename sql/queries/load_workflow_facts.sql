-- Returns what must be known of a workflow before it is started; no row if there is no such workflow.
-- $1 workflow id uuid.
-- Index: workflow_pkey.
-- Race-free: reads only. One that is deleted after this makes no execution; the record that starts it looks again.
SELECT
    workflow.is_active,
    workflow.version,
    workflow.name
FROM public.workflow
WHERE workflow.id = $1;
