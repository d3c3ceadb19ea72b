-- Returns what keeps the host tables from being pruned: missing indexes, each as the statement that makes it, and missing
-- rights. No rows: nothing does.
-- No parameters.
-- Index: catalogue only.
-- Race-free: reads only.
--
-- Without an index on the column of a foreign key each deleted execution costs a scan of the table that refers to it.
WITH wanted (table_id, column_number) AS (
    SELECT attribute.attrelid, attribute.attnum
    FROM pg_attribute AS attribute
    WHERE attribute.attrelid = to_regclass('public.workflowexecution')
      AND attribute.attname = 'started_at'
    UNION
    SELECT referring.conrelid, referring.conkey[1]
    FROM pg_constraint AS referring
    WHERE referring.confrelid = to_regclass('public.workflowexecution')
      AND referring.contype = 'f'
)
SELECT format('CREATE INDEX CONCURRENTLY %I ON %s (%I);', format('ix_%s_%s', owner.relname, attribute.attname),
              wanted.table_id::regclass, attribute.attname) AS remedy
FROM wanted
JOIN pg_class AS owner ON owner.oid = wanted.table_id
JOIN pg_attribute AS attribute ON attribute.attrelid = wanted.table_id AND attribute.attnum = wanted.column_number
WHERE NOT EXISTS (
    SELECT
    FROM pg_index AS found
    WHERE found.indrelid = wanted.table_id
      AND found.indkey[0] = wanted.column_number
      AND found.indisvalid
      AND found.indpred IS NULL)
UNION ALL
SELECT format('GRANT DELETE ON %s TO %I;', needed.name, current_user)
FROM (VALUES ('public.workflowexecution'), ('public.executionlog')) AS needed (name)
WHERE NOT has_table_privilege(needed.name, 'DELETE')
ORDER BY remedy;
