-- Returns a mail template of the platform as JSON: columns that some versions lack are then absent keys.
-- $1 slug text.
-- Index: the unique one on slug.
-- Race-free: reads only. The table may be missing; `load_ended_execution` says so first.
SELECT to_jsonb(template)::text AS template
FROM public.emailtemplate AS template
WHERE template.slug = $1
  AND template.is_active;
