-- 0002 Host tables.
--
-- What:  makes the platform's tables where they are missing, with the same shapes; gives their columns the DEFAULTs
--        that so far only Python knows; adds one partial index and the view workflow_executions.
-- Why:   INSERT INTO workflowexecution (workflow_id) VALUES (…) must be enough to run a workflow, from any language.
-- Locks: ALTER TABLE … SET DEFAULT takes ACCESS EXCLUSIVE on each host table, for the moment of a catalogue change;
--        CREATE INDEX takes SHARE on workflowexecution for one scan of it (writers wait, readers do not).
-- An older worker meanwhile: sees no difference.
--
-- Nothing that exists is dropped, renamed or retyped, and no column is added.

------------------------------------------------------------------------------------------------------------------
-- Tables, where missing. Timestamps hold UTC without a zone, as the platform writes them.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('user', $ddl$CREATE TABLE public."user" (
                email character varying(255) NOT NULL UNIQUE,
                is_active boolean NOT NULL DEFAULT true,
                is_superuser boolean NOT NULL DEFAULT false,
                full_name character varying(255),
                id uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
                hashed_password character varying NOT NULL DEFAULT '')$ddl$),
            ('workflow', $ddl$CREATE TABLE public.workflow (
                name character varying(255) NOT NULL,
                description character varying(1000),
                is_active boolean NOT NULL,
                version integer NOT NULL,
                trigger_config json,
                graph_config json,
                id uuid NOT NULL PRIMARY KEY,
                owner_id uuid NOT NULL REFERENCES public."user" (id) ON DELETE CASCADE,
                created_at timestamp without time zone NOT NULL,
                updated_at timestamp without time zone NOT NULL)$ddl$),
            ('workflownode', $ddl$CREATE TABLE public.workflownode (
                id uuid NOT NULL PRIMARY KEY,
                workflow_id uuid NOT NULL REFERENCES public.workflow (id) ON DELETE CASCADE,
                node_type character varying(100) NOT NULL,
                node_id character varying(255) NOT NULL,
                position_x double precision NOT NULL,
                position_y double precision NOT NULL,
                config json)$ddl$),
            ('workflowexecution', $ddl$CREATE TABLE public.workflowexecution (
                id uuid NOT NULL PRIMARY KEY,
                workflow_id uuid NOT NULL REFERENCES public.workflow (id) ON DELETE CASCADE,
                workflow_version integer NOT NULL,
                execution_id character varying(255) NOT NULL UNIQUE,
                status character varying(50) NOT NULL,
                started_at timestamp without time zone NOT NULL,
                completed_at timestamp without time zone,
                error_message character varying,
                current_node_id character varying(255),
                execution_state json,
                retry_count integer NOT NULL,
                next_retry_at timestamp without time zone)$ddl$),
            ('executionlog', $ddl$CREATE TABLE public.executionlog (
                id uuid NOT NULL PRIMARY KEY,
                execution_id uuid NOT NULL REFERENCES public.workflowexecution (id) ON DELETE CASCADE,
                node_id character varying(255) NOT NULL,
                level character varying(20) NOT NULL,
                message character varying(5000) NOT NULL,
                "timestamp" timestamp without time zone NOT NULL)$ddl$),
            ('workflowschedule', $ddl$CREATE TABLE public.workflowschedule (
                id uuid NOT NULL PRIMARY KEY,
                workflow_id uuid NOT NULL REFERENCES public.workflow (id) ON DELETE CASCADE,
                cron_expression character varying(100) NOT NULL,
                is_active boolean NOT NULL,
                next_run_at timestamp without time zone,
                last_run_at timestamp without time zone)$ddl$),
            ('workflowsignal', $ddl$CREATE TABLE public.workflowsignal (
                id uuid NOT NULL PRIMARY KEY,
                execution_id uuid NOT NULL REFERENCES public.workflowexecution (id) ON DELETE CASCADE,
                signal_type character varying(100) NOT NULL,
                signal_data json,
                received_at timestamp without time zone NOT NULL,
                processed boolean NOT NULL)$ddl$)
        ) AS host_table (name, ddl)
    LOOP
        IF to_regclass(format('public.%I', wanted.name)) IS NULL THEN
            EXECUTE wanted.ddl;
            INSERT INTO workflow_worker.host_changes (kind, table_name) VALUES ('table', wanted.name);
        END IF;
    END LOOP;

    -- The indexes that the platform's own migrations make; only on tables that we made.
    IF EXISTS (SELECT FROM workflow_worker.host_changes WHERE kind = 'table' AND table_name = 'workflowexecution') THEN
        CREATE INDEX ix_workflowexecution_workflow_id ON public.workflowexecution (workflow_id);
        CREATE INDEX ix_workflowexecution_status ON public.workflowexecution (status);
        CREATE INDEX ix_workflowexecution_started_at ON public.workflowexecution (started_at);
    END IF;
    IF EXISTS (SELECT FROM workflow_worker.host_changes WHERE kind = 'table' AND table_name = 'executionlog') THEN
        CREATE INDEX ix_executionlog_execution_id ON public.executionlog (execution_id);
        CREATE INDEX ix_executionlog_timestamp ON public.executionlog ("timestamp");
    END IF;
    -- Without the platform there is nobody to own a workflow: one user, and it is the default owner.
    IF EXISTS (SELECT FROM workflow_worker.host_changes WHERE kind = 'table' AND table_name = 'user') THEN
        INSERT INTO public."user" (id, email, full_name)
        VALUES ('00000000-0000-0000-0000-000000000001', 'owner@workflow-worker.local', 'Default owner');
        IF EXISTS (SELECT FROM workflow_worker.host_changes WHERE kind = 'table' AND table_name = 'workflow') THEN
            ALTER TABLE public.workflow ALTER COLUMN owner_id SET DEFAULT '00000000-0000-0000-0000-000000000001';
            INSERT INTO workflow_worker.host_changes (kind, table_name, object_name)
            VALUES ('default', 'workflow', 'owner_id');
        END IF;
    END IF;
END
$$;

------------------------------------------------------------------------------------------------------------------
-- DEFAULTs, for columns that have none. workflowexecution.workflow_version and execution_state depend on other
-- columns, so a trigger fills them (0003).
DO $$
DECLARE
    wanted record;
    utc_now CONSTANT text := '(now() AT TIME ZONE ''utc'')';
BEGIN
    FOR wanted IN
        SELECT host_default.table_name, host_default.column_name, host_default.expression
        FROM (VALUES
            ('workflow',          'id',           'gen_random_uuid()'),
            ('workflow',          'is_active',    'true'),
            ('workflow',          'version',      '1'),
            ('workflow',          'created_at',   utc_now),
            ('workflow',          'updated_at',   utc_now),
            ('workflownode',      'id',           'gen_random_uuid()'),
            ('workflownode',      'position_x',   '0'),
            ('workflownode',      'position_y',   '0'),
            ('workflowexecution', 'id',           'gen_random_uuid()'),
            ('workflowexecution', 'execution_id', '(''exec-'' || left(replace(gen_random_uuid()::text, ''-'', ''''), 12))'),
            ('workflowexecution', 'status',       '''running'''),
            ('workflowexecution', 'started_at',   utc_now),
            ('workflowexecution', 'retry_count',  '0'),
            ('executionlog',      'id',           'gen_random_uuid()'),
            ('executionlog',      'level',        '''info'''),
            ('executionlog',      'timestamp',    '(clock_timestamp() AT TIME ZONE ''utc'')'),
            ('workflowschedule',  'id',           'gen_random_uuid()'),
            ('workflowschedule',  'is_active',    'true'),
            ('workflowsignal',    'id',           'gen_random_uuid()'),
            ('workflowsignal',    'received_at',  utc_now),
            ('workflowsignal',    'processed',    'false')
        ) AS host_default (table_name, column_name, expression)
        JOIN pg_attribute a
          ON a.attrelid = format('public.%I', host_default.table_name)::regclass
         AND a.attname = host_default.column_name
         AND NOT a.attisdropped
         AND NOT a.atthasdef
    LOOP
        EXECUTE format('ALTER TABLE public.%I ALTER COLUMN %I SET DEFAULT %s',
                       wanted.table_name, wanted.column_name, wanted.expression);
        INSERT INTO workflow_worker.host_changes (kind, table_name, object_name)
        VALUES ('default', wanted.table_name, wanted.column_name);
    END LOOP;
END
$$;

------------------------------------------------------------------------------------------------------------------
-- Rows that may have to run, and nothing else: the repair looks here for rows without a place in the run queue. Small
-- whatever the history, and left alone by a worker's record of a step.
CREATE INDEX IF NOT EXISTS workflow_worker_runnable ON public.workflowexecution (started_at)
    WHERE status = 'running' OR (status = 'failed' AND next_retry_at IS NOT NULL AND completed_at IS NULL);
INSERT INTO workflow_worker.host_changes (kind, table_name, object_name)
VALUES ('index', 'workflowexecution', 'workflow_worker_runnable');

------------------------------------------------------------------------------------------------------------------
-- The platform's documents call the table workflow_executions; so may whoever inserts by SQL.
--
-- security_invoker: without it a view reads with its owner's rights, past the row-level security of the table. Where
-- PostgreSQL is too old for it (before 15) and the table has row-level security, the view is not made.
DO $$
DECLARE
    has_rls boolean := (SELECT relrowsecurity FROM pg_class WHERE oid = 'public.workflowexecution'::regclass);
    options text := '';
    exposed text;
BEGIN
    IF to_regclass('public.workflow_executions') IS NOT NULL THEN
        RAISE NOTICE 'public.workflow_executions exists already and is left as it is';
        RETURN;
    END IF;
    IF current_setting('server_version_num')::integer >= 150000 THEN
        options := 'WITH (security_invoker = true)';
    ELSIF has_rls THEN
        RAISE NOTICE 'public.workflow_executions is not made: PostgreSQL before 15 cannot keep row-level security behind it';
        RETURN;
    END IF;
    EXECUTE format('CREATE VIEW public.workflow_executions %s AS SELECT * FROM public.workflowexecution', options);
    COMMENT ON VIEW public.workflow_executions IS 'workflowexecution by the name that the documents use; INSERT and UPDATE work';
    -- Supabase grants everything on new objects in public to these two.
    FOR exposed IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
        EXECUTE format('REVOKE ALL ON public.workflow_executions FROM %I', exposed);
    END LOOP;
    REVOKE ALL ON public.workflow_executions FROM PUBLIC;
    INSERT INTO workflow_worker.host_changes (kind, table_name) VALUES ('view', 'workflow_executions');
END
$$;
