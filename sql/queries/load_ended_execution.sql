-- Returns what a mail at the end of an execution tells, and whether the platform has a table of mail templates.
-- $1 execution id uuid.
-- Index: the primary keys.
-- Race-free: reads only. If the row has been changed again since its end, the mail tells what it says now.
SELECT
    owner.email AS owner_email,
    owner.full_name AS owner_name,
    workflow.name AS workflow_name,
    extract(EPOCH FROM host.completed_at - host.started_at)::float8 AS seconds,
    host.completed_at::text AS completed_at,
    to_regclass('public.emailtemplate') IS NOT NULL AS has_templates
FROM public.workflowexecution AS host
JOIN public.workflow AS workflow ON workflow.id = host.workflow_id
JOIN public."user" AS owner ON owner.id = workflow.owner_id
WHERE host.id = $1;
