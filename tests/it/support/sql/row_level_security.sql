-- What Supabase adds: its roles, their rights on everything in public, and row-level security with a policy for the
-- service role only. Roles belong to the whole server: another database may have made them, even just now.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['anon', 'authenticated', 'service_role'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
GRANT ALL ON ALL TABLES IN SCHEMA public TO anon, authenticated, service_role;

ALTER TABLE public.executionlog ENABLE ROW LEVEL SECURITY;
CREATE POLICY service_role_all ON public.executionlog TO service_role USING (true) WITH CHECK (true);
ALTER TABLE public."user" ENABLE ROW LEVEL SECURITY;
CREATE POLICY service_role_all ON public."user" TO service_role USING (true) WITH CHECK (true);
ALTER TABLE public.workflow ENABLE ROW LEVEL SECURITY;
CREATE POLICY service_role_all ON public.workflow TO service_role USING (true) WITH CHECK (true);
ALTER TABLE public.workflowexecution ENABLE ROW LEVEL SECURITY;
CREATE POLICY service_role_all ON public.workflowexecution TO service_role USING (true) WITH CHECK (true);
ALTER TABLE public.workflownode ENABLE ROW LEVEL SECURITY;
CREATE POLICY service_role_all ON public.workflownode TO service_role USING (true) WITH CHECK (true);
ALTER TABLE public.workflowschedule ENABLE ROW LEVEL SECURITY;
CREATE POLICY service_role_all ON public.workflowschedule TO service_role USING (true) WITH CHECK (true);
ALTER TABLE public.workflowsignal ENABLE ROW LEVEL SECURITY;
CREATE POLICY service_role_all ON public.workflowsignal TO service_role USING (true) WITH CHECK (true);
ALTER TABLE public.workflowwebhooksubscription ENABLE ROW LEVEL SECURITY;
CREATE POLICY service_role_all ON public.workflowwebhooksubscription TO service_role USING (true) WITH CHECK (true);
