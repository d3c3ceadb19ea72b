-- 0008 The SQL API, last part: events for others, and who may use what. See 0008_api.sql.

------------------------------------------------------------------------------------------------------------------
-- Events: NOTIFY workflow_worker_events for each change of an execution's status, or for the ends only.
--
-- Off, there is no trigger, and nothing is paid for. On, it costs what NOTIFY costs: transactions that notify commit one
-- after the other. The triggers see every writer, the worker as well as the API. The payload has names and states, none
-- of the users' data.
--
-- Never makes a statement fail; when listeners have let the server's queue run half full, events are dropped.
CREATE FUNCTION workflow_worker.tell_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    was text;
    kind CONSTANT text := workflow_worker.kind_of(NEW.status, NEW.completed_at, NEW.next_retry_at);
BEGIN
    IF TG_OP = 'UPDATE' THEN
        was := workflow_worker.kind_of(OLD.status, OLD.completed_at, OLD.next_retry_at);
    END IF;
    IF was IS NOT DISTINCT FROM kind
       OR (TG_ARGV[0] = 'ends' AND kind NOT IN ('completed', 'failed'))
       OR pg_notification_queue_usage() > 0.5
    THEN
        RETURN NULL;
    END IF;
    PERFORM pg_notify('workflow_worker_events', json_build_object(
        'id', NEW.id,
        'name', NEW.execution_id,
        'workflow_id', NEW.workflow_id,
        'from', was,
        'to', kind,
        'at', to_char(clock_timestamp() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text);
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'workflow_worker: a change of execution % was told to nobody: %', NEW.id, SQLERRM;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.tell_event() IS 'AFTER INSERT or UPDATE on workflowexecution: NOTIFY workflow_worker_events';

-- off, ends or all: which events are told.
CREATE FUNCTION workflow_worker.events() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((
        -- The argument of a trigger, with a NUL at its end.
        SELECT replace(encode(found.tgargs, 'escape'), '\000', '')
        FROM pg_trigger AS found
        WHERE found.tgrelid = to_regclass('public.workflowexecution')
          AND found.tgname = 'tell_workflow_worker_events'
          AND found.tgenabled <> 'D'
    ), 'off')
$$;
COMMENT ON FUNCTION workflow_worker.events() IS 'Which events are told on the channel workflow_worker_events: off, ends or all';

-- Not SECURITY DEFINER: whoever does not own the table may not change its triggers. Waits three seconds for the table at
-- most, because the platform's statements wait behind it; does nothing if it is so already.
CREATE FUNCTION workflow_worker.set_events(mode text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '3s'
-- DROP … IF EXISTS is talkative.
SET client_min_messages = 'warning'
AS $$
BEGIN
    IF mode IS NULL OR mode NOT IN ('off', 'ends', 'all') THEN
        RAISE EXCEPTION 'mode is %; it must be off, ends or all', coalesce('"' || left(mode, 100) || '"', 'NULL')
            USING ERRCODE = 'WW400';
    END IF;
    -- Workers that start at the same time.
    PERFORM pg_advisory_xact_lock(hashtextextended('workflow_worker.events', 0));
    IF workflow_worker.events() = mode THEN
        RETURN false;
    END IF;
    DROP TRIGGER IF EXISTS tell_workflow_worker_events ON public.workflowexecution;
    DROP TRIGGER IF EXISTS tell_workflow_worker_new ON public.workflowexecution;
    DELETE FROM workflow_worker.host_changes AS change
    WHERE change.kind = 'trigger'
      AND change.object_name IN ('tell_workflow_worker_events', 'tell_workflow_worker_new');
    IF mode = 'off' THEN
        RETURN true;
    END IF;
    EXECUTE format(
        'CREATE TRIGGER tell_workflow_worker_events
            AFTER UPDATE OF status, completed_at, next_retry_at ON public.workflowexecution
            FOR EACH ROW
            WHEN (OLD.status IS DISTINCT FROM NEW.status
                  OR (OLD.completed_at IS NULL) <> (NEW.completed_at IS NULL)
                  OR (OLD.next_retry_at IS NULL) <> (NEW.next_retry_at IS NULL))
            EXECUTE FUNCTION workflow_worker.tell_event(%L)', mode);
    EXECUTE format(
        'CREATE TRIGGER tell_workflow_worker_new
            AFTER INSERT ON public.workflowexecution
            FOR EACH ROW
            WHEN (%s)
            EXECUTE FUNCTION workflow_worker.tell_event(%L)',
        CASE mode WHEN 'all' THEN 'true' ELSE 'NEW.status IN (''completed'', ''failed'')' END, mode);
    INSERT INTO workflow_worker.host_changes (kind, table_name, object_name)
    VALUES
        ('trigger', 'workflowexecution', 'tell_workflow_worker_events'),
        ('trigger', 'workflowexecution', 'tell_workflow_worker_new');
    RETURN true;
END
$$;
COMMENT ON FUNCTION workflow_worker.set_events(text) IS
    'Sets which events are told on the channel workflow_worker_events: off, ends or all; returns whether that is a change. WW400: another mode';

------------------------------------------------------------------------------------------------------------------
-- Who may use what. Proposed names: workflow_worker_producer and workflow_worker_reader; making roles takes CREATEROLE,
-- so they are not made here, but get their rights if they are there.
--
--   producer   may start and steer executions and schedules: all executions, of all workflows
--   reader     may read the views, and steps and workers: of all executions, with outputs
--
-- What the functions above are made of is for nobody: a right on start is none on insert_execution.
CREATE FUNCTION workflow_worker.shared_objects(access text, OUT kind text, OUT name text) RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'FUNCTION', found.oid::regprocedure::text
    FROM pg_proc AS found
    WHERE found.pronamespace = to_regnamespace('workflow_worker')
      AND found.proname = ANY (CASE access
          WHEN 'producer' THEN ARRAY[
              'start', 'replay', 'execution_id',
              'pause', 'resume', 'terminate', 'terminate_all', 'retry', 'debug', 'step', 'set_priority',
              'signal', 'approve', 'reject', 'decide',
              'schedule', 'configure_schedule', 'unschedule']
          -- Names to ids; the rest the views call, they read nothing but their arguments.
          WHEN 'reader' THEN ARRAY['execution_id', 'request_in', 'answers', 'held_reason', 'limit_with']
      END)
    UNION ALL
    SELECT 'TABLE', found.oid::regclass::text
    FROM pg_class AS found
    WHERE found.relnamespace = to_regnamespace('workflow_worker')
      AND found.relname = ANY (CASE access
          WHEN 'producer' THEN ARRAY[]::text[]
          WHEN 'reader' THEN ARRAY['executions', 'approvals', 'health', 'steps', 'workers', 'schedules', 'limits', 'limit_usage',
                               'retention']
      END)
$$;
COMMENT ON FUNCTION workflow_worker.shared_objects(text) IS 'The functions and relations that a producer or reader may use';

-- Neither is SECURITY DEFINER: only who owns these objects can give rights on them.
CREATE FUNCTION workflow_worker.check_access(role_name text, access text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF access IS NULL OR access NOT IN ('producer', 'reader') THEN
        RAISE EXCEPTION 'access is %; it must be producer or reader', coalesce('"' || left(access, 100) || '"', 'NULL')
            USING ERRCODE = 'WW400';
    END IF;
    IF role_name IN ('public', 'anon', 'authenticated') THEN
        RAISE EXCEPTION 'role_name is "%"; everybody on the web would have these rights, on all executions', role_name
            USING ERRCODE = 'WW400';
    END IF;
    IF role_name IS NULL OR NOT EXISTS (SELECT FROM pg_roles WHERE pg_roles.rolname = role_name) THEN
        RAISE EXCEPTION 'there is no role %', coalesce('"' || left(role_name, 100) || '"', 'without a name') USING ERRCODE = 'WW404';
    END IF;
END
$$;
COMMENT ON FUNCTION workflow_worker.check_access(text, text) IS 'Raises WW400 or WW404 if such rights cannot be given';

CREATE FUNCTION workflow_worker.grant_access(role_name text, access text) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    object record;
    granted integer := 0;
BEGIN
    PERFORM workflow_worker.check_access(role_name, access);
    EXECUTE format('GRANT USAGE ON SCHEMA workflow_worker TO %I', role_name);
    FOR object IN SELECT * FROM workflow_worker.shared_objects(access) LOOP
        EXECUTE format('GRANT %s ON %s %s TO %I',
            CASE object.kind WHEN 'TABLE' THEN 'SELECT' ELSE 'EXECUTE' END, object.kind, object.name, role_name);
        granted := granted + 1;
    END LOOP;
    RETURN granted;
END
$$;
COMMENT ON FUNCTION workflow_worker.grant_access(text, text) IS
    'Lets a role use the SQL API, as producer or reader; again after an upgrade. WW400: a bad argument. WW404: there is no such role';

CREATE FUNCTION workflow_worker.revoke_access(role_name text, access text) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    object record;
    revoked integer := 0;
BEGIN
    PERFORM workflow_worker.check_access(role_name, access);
    FOR object IN SELECT * FROM workflow_worker.shared_objects(access) LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %I', object.kind, object.name, role_name);
        revoked := revoked + 1;
    END LOOP;
    -- The schema as well, if nothing in it is left to the role.
    IF NOT EXISTS (
        SELECT
        FROM pg_class AS kept
        CROSS JOIN LATERAL aclexplode(kept.relacl) AS given
        WHERE kept.relnamespace = to_regnamespace('workflow_worker')
          AND given.grantee = (SELECT pg_roles.oid FROM pg_roles WHERE pg_roles.rolname = role_name)
        UNION ALL
        SELECT
        FROM pg_proc AS kept
        CROSS JOIN LATERAL aclexplode(kept.proacl) AS given
        WHERE kept.pronamespace = to_regnamespace('workflow_worker')
          AND given.grantee = (SELECT pg_roles.oid FROM pg_roles WHERE pg_roles.rolname = role_name)
    ) THEN
        EXECUTE format('REVOKE ALL ON SCHEMA workflow_worker FROM %I', role_name);
    END IF;
    RETURN revoked;
END
$$;
COMMENT ON FUNCTION workflow_worker.revoke_access(text, text) IS
    'Takes back what grant_access has given. WW400: a bad argument. WW404: there is no such role';

-- Functions are executable by PUBLIC unless this is said. (Views and tables are for their owner only.)
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA workflow_worker FROM PUBLIC;
