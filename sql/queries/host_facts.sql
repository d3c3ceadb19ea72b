-- Returns what must be known of the platform's tables and of the role that the worker has.
-- No parameters.
-- Index: catalogue only.
-- Race-free: reads only.
SELECT
    (
        SELECT format_type(attribute.atttypid, NULL)
        FROM pg_attribute AS attribute
        WHERE attribute.attrelid = 'public.workflowexecution'::regclass
          AND attribute.attname = 'execution_state'
    ) AS state_type,
    current_user::text AS role_name,
    -- Row-level security is in force for this role, and no policy is meant for it: every table looks empty.
    row_security_active('public.workflowexecution')
        AND NOT EXISTS (
            SELECT FROM pg_policies AS policy
            WHERE policy.schemaname = 'public'
              AND policy.tablename = 'workflowexecution'
              AND EXISTS (
                  SELECT FROM unnest(policy.roles) AS meant (role_name)
                  WHERE meant.role_name = 'public'
                     OR (EXISTS (SELECT FROM pg_roles WHERE rolname = meant.role_name)
                         AND pg_has_role(current_user, meant.role_name, 'USAGE')))) AS sees_nothing,
    has_table_privilege('public.workflowexecution', 'SELECT')
        AND has_table_privilege('public.workflowexecution', 'INSERT')
        AND has_table_privilege('public.workflowexecution', 'UPDATE')
        AND has_table_privilege('public.executionlog', 'INSERT')
        AND has_table_privilege('public.workflowsignal', 'SELECT')
        AND has_table_privilege('public.workflowsignal', 'INSERT')
        AND has_table_privilege('public.workflowsignal', 'UPDATE')
        AND has_table_privilege('public.workflowschedule', 'SELECT')
        AND has_table_privilege('public.workflowschedule', 'UPDATE')
        AND has_table_privilege('public.workflow', 'SELECT') AS has_rights,
    current_setting('server_version') AS server_version,
    pg_is_in_recovery() AS is_replica;
