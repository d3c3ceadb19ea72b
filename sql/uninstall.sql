-- Takes back everything that the migrations made, and nothing else: the platform's tables and data stay as they were.
-- Tables that the migrations made because they were missing hold data by now, so they stay too.
-- Locks: ACCESS EXCLUSIVE on workflowexecution, workflowsignal and workflowschedule, for the moment of a catalogue change.
DO $$
DECLARE
    change record;
BEGIN
    FOR change IN
        SELECT kind, table_name, object_name FROM workflow_worker.host_changes ORDER BY id DESC
    LOOP
        CASE change.kind
            WHEN 'trigger' THEN
                EXECUTE format('DROP TRIGGER IF EXISTS %I ON public.%I', change.object_name, change.table_name);
            WHEN 'view' THEN
                EXECUTE format('DROP VIEW IF EXISTS public.%I', change.table_name);
            WHEN 'index' THEN
                EXECUTE format('DROP INDEX IF EXISTS public.%I', change.object_name);
            WHEN 'default' THEN
                IF to_regclass(format('public.%I', change.table_name)) IS NOT NULL THEN
                    EXECUTE format('ALTER TABLE public.%I ALTER COLUMN %I DROP DEFAULT',
                                   change.table_name, change.object_name);
                END IF;
            ELSE
                NULL; -- 'table': made by us, but its data is its owner's
        END CASE;
    END LOOP;
END
$$;
DROP SCHEMA workflow_worker CASCADE;
