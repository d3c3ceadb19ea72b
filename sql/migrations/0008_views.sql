-- 0008 The SQL API, fourth part: the views executions, approvals and health, and what the columns of steps and workers
-- mean. See 0008_api.sql.
--
-- A view reads with the rights of its owner, so row-level security of the platform's tables does not bind those that may
-- read it: they see all executions. So a right on a view is given by name (0008_access.sql), and never to anon or
-- authenticated.
--
-- Times are timestamptz here, whatever the platform's columns are.

CREATE VIEW workflow_worker.approvals AS
SELECT
    asked.id,
    asked.execution_id,
    host.execution_id AS execution,
    host.workflow_id,
    workflow.name AS workflow,
    said.node_id AS node,
    said.message,
    said.options,
    asked.received_at AT TIME ZONE 'utc' AS asked_at,
    (asked.received_at AT TIME ZONE 'utc') + make_interval(secs => said.timeout_seconds::double precision) AS expires_at
FROM public.workflowsignal AS asked
CROSS JOIN LATERAL workflow_worker.request_in(asked.signal_data::text) AS said
JOIN public.workflowexecution AS host ON host.id = asked.execution_id
LEFT JOIN public.workflow ON workflow.id = host.workflow_id
WHERE NOT asked.processed
  AND asked.signal_type IN ('human_approval', 'human_input', 'approval_response')
  AND said.options IS NOT NULL
  AND host.status IN ('waiting_for_signal', 'running', 'paused')
  AND NOT EXISTS (
      SELECT
      FROM public.workflowsignal AS answer
      WHERE answer.execution_id = asked.execution_id
        AND answer.id <> asked.id
        AND workflow_worker.answers(answer.signal_data::text, asked.id));
COMMENT ON VIEW workflow_worker.approvals IS 'Requests for an approval that nobody has answered: what approve, reject and decide answer';
COMMENT ON COLUMN workflow_worker.approvals.id IS 'The row of workflowsignal that asks';
COMMENT ON COLUMN workflow_worker.approvals.execution_id IS 'workflowexecution.id of the execution that asks';
COMMENT ON COLUMN workflow_worker.approvals.execution IS 'Its name, exec-…';
COMMENT ON COLUMN workflow_worker.approvals.workflow_id IS 'Its workflow';
COMMENT ON COLUMN workflow_worker.approvals.workflow IS 'The workflow''s name';
COMMENT ON COLUMN workflow_worker.approvals.node IS 'The node that asks';
COMMENT ON COLUMN workflow_worker.approvals.message IS 'What is asked';
COMMENT ON COLUMN workflow_worker.approvals.options IS 'What may be answered';
COMMENT ON COLUMN workflow_worker.approvals.asked_at IS 'Since when';
COMMENT ON COLUMN workflow_worker.approvals.expires_at IS 'When nobody is waited for any more; NULL if it is not said';

------------------------------------------------------------------------------------------------------------------
CREATE VIEW workflow_worker.executions AS
SELECT
    host.id,
    host.execution_id AS name,
    host.workflow_id,
    workflow.name AS workflow,
    CASE
        WHEN host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL THEN 'retrying'
        WHEN host.status = 'waiting_for_signal' THEN 'waiting'
        WHEN host.status <> 'running' THEN host.status::text
        WHEN queued.execution_id IS NULL THEN 'unqueued'
        WHEN queued.worker_id IS NOT NULL THEN 'running'
        WHEN queued.ready OR queued.run_at <= now() THEN 'queued'
        WHEN queued.run_at = 'infinity' OR asked.of_children THEN 'waiting'
        WHEN queued.graph_hash IS NULL AND queued.revision = 0 THEN 'scheduled'
        ELSE 'sleeping'
    END AS state,
    host.status::text AS status,
    queued.priority,
    CASE
        WHEN host.status = 'paused' THEN 'resume'
        -- Its time, its answer or its turn has come.
        WHEN queued.worker_id IS NULL AND queued.ready AND host.status IN ('running', 'waiting_for_signal', 'failed') THEN
            CASE WHEN queued.held_by IS NOT NULL THEN 'limit' ELSE 'slot' END
        WHEN host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL THEN 'retry'
        WHEN host.status = 'waiting_for_signal' THEN
            CASE WHEN EXISTS (SELECT FROM workflow_worker.approvals AS request WHERE request.execution_id = host.id)
                THEN 'approval' ELSE 'signal' END
        WHEN host.status <> 'running' OR queued.worker_id IS NOT NULL THEN NULL
        WHEN queued.execution_id IS NULL THEN 'adoption'
        WHEN queued.run_at <= now() THEN 'slot'
        WHEN queued.run_at = 'infinity' OR asked.of_children THEN 'sub_workflow'
        ELSE 'time'
    END AS waits_for,
    CASE WHEN host.status <> 'paused' AND queued.worker_id IS NULL AND queued.ready
        THEN workflow_worker.held_reason(queued.held_by)
    END AS held_by,
    CASE
        WHEN queued.worker_id IS NULL AND queued.run_at < 'infinity' AND host.status IN ('running', 'waiting_for_signal')
            THEN queued.run_at
        WHEN host.status = 'failed' AND host.completed_at IS NULL THEN host.next_retry_at AT TIME ZONE 'utc'
    END AS run_at,
    worker.name AS worker,
    host.current_node_id AS current_node,
    (
        SELECT count(DISTINCT (step.node_id, step.visit, step.scope))
        FROM workflow_worker.steps AS step
        WHERE step.execution_id = host.id AND step.seq > 0 AND step.status IN ('success', 'continued')
    ) AS nodes_done,
    host.retry_count,
    host.started_at AT TIME ZONE 'utc' AS started_at,
    host.completed_at AT TIME ZONE 'utc' AS completed_at,
    CASE WHEN queued.revision > 0 OR queued.timed_from <= now() OR queued.execution_id IS NULL
        THEN coalesce(host.completed_at, now() AT TIME ZONE 'utc') - host.started_at
    END AS duration,
    host.error_message AS error,
    child.parent_id,
    known.key AS idempotency_key
FROM public.workflowexecution AS host
LEFT JOIN public.workflow ON workflow.id = host.workflow_id
LEFT JOIN workflow_worker.run_queue AS queued ON queued.execution_id = host.id
LEFT JOIN workflow_worker.workers AS worker ON worker.id = queued.worker_id
LEFT JOIN workflow_worker.children AS child ON child.child_id = host.id
LEFT JOIN workflow_worker.idempotency_keys AS known ON known.execution_id = host.id
-- A wait for a sub-workflow may have a time-out, so the run queue alone does not tell it from a delay.
LEFT JOIN LATERAL (
    SELECT EXISTS (
        SELECT
        FROM workflow_worker.children AS started
        JOIN workflow_worker.run_queue AS running ON running.execution_id = started.child_id
        WHERE started.parent_id = host.id AND started.is_awaited AND started.node_id <> ''
    ) AS of_children
) AS asked ON host.status = 'running' AND queued.worker_id IS NULL AND NOT queued.ready;
COMMENT ON VIEW workflow_worker.executions IS 'Every execution, as people mean it: what it does, or what it waits for';
COMMENT ON COLUMN workflow_worker.executions.id IS 'workflowexecution.id';
COMMENT ON COLUMN workflow_worker.executions.name IS 'workflowexecution.execution_id: exec-…';
COMMENT ON COLUMN workflow_worker.executions.workflow_id IS 'Its workflow';
COMMENT ON COLUMN workflow_worker.executions.workflow IS 'The workflow''s name';
COMMENT ON COLUMN workflow_worker.executions.state IS
    'scheduled (starts later), queued, running, sleeping, waiting, retrying, paused, completed, failed; unqueued: no worker has taken it on (workflow-worker adopt)';
COMMENT ON COLUMN workflow_worker.executions.status IS 'The platform''s status: running (also queued), waiting_for_signal, paused, completed, failed (also retrying)';
COMMENT ON COLUMN workflow_worker.executions.priority IS 'Higher is more urgent; NULL when it has ended';
COMMENT ON COLUMN workflow_worker.executions.waits_for IS
    'slot (of a worker), limit, time, signal, approval, sub_workflow, retry, resume, adoption; NULL if it runs or has ended';
COMMENT ON COLUMN workflow_worker.executions.held_by IS 'The limit that it waits for, and how full that is';
COMMENT ON COLUMN workflow_worker.executions.run_at IS 'Since when it is due, or when it goes on by itself';
COMMENT ON COLUMN workflow_worker.executions.worker IS 'Who runs it';
COMMENT ON COLUMN workflow_worker.executions.current_node IS 'The node, or one of the nodes, where it is';
COMMENT ON COLUMN workflow_worker.executions.nodes_done IS 'How many visits of nodes are done';
COMMENT ON COLUMN workflow_worker.executions.retry_count IS 'How many retries there were';
COMMENT ON COLUMN workflow_worker.executions.started_at IS 'When it was inserted';
COMMENT ON COLUMN workflow_worker.executions.completed_at IS 'When it ended';
COMMENT ON COLUMN workflow_worker.executions.duration IS 'From then to its end, or until now';
COMMENT ON COLUMN workflow_worker.executions.error IS 'Why it failed, or why it is tried again';
COMMENT ON COLUMN workflow_worker.executions.parent_id IS 'The execution that has started it, or for which it was started';
COMMENT ON COLUMN workflow_worker.executions.idempotency_key IS 'The key under which it was started';

------------------------------------------------------------------------------------------------------------------
CREATE VIEW workflow_worker.health AS
WITH worker AS (
    SELECT
        count(*) FILTER (WHERE heartbeat_at > now() - lease) AS alive,
        count(*) FILTER (WHERE heartbeat_at <= now() - lease) AS dead,
        count(*) FILTER (WHERE heartbeat_at > now() - lease AND listening) AS listening,
        coalesce(sum(concurrency) FILTER (WHERE heartbeat_at > now() - lease AND state = 'running'), 0) AS slots,
        max(heartbeat_at) AS last_heartbeat_at
    FROM workflow_worker.workers
),
queue AS (
    SELECT
        count(*) FILTER (WHERE worker_id IS NOT NULL) AS running,
        count(*) FILTER (WHERE worker_id IS NULL AND (ready OR run_at <= now()) AND held_by IS NULL) AS due,
        count(*) FILTER (WHERE worker_id IS NULL AND ready AND held_by IS NOT NULL) AS held,
        count(*) FILTER (WHERE worker_id IS NULL AND NOT ready AND run_at > now() AND run_at < 'infinity') AS timed,
        count(*) FILTER (WHERE worker_id IS NULL AND NOT ready AND run_at = 'infinity') AS parked,
        min(run_at) FILTER (WHERE worker_id IS NULL AND (ready OR run_at <= now()) AND held_by IS NULL) AS oldest_due_at
    FROM workflow_worker.run_queue
),
trouble AS (
    SELECT
        ARRAY(
            SELECT wanted.object_name
            FROM workflow_worker.host_changes AS wanted
            LEFT JOIN pg_catalog.pg_trigger AS found
                   ON found.tgrelid = to_regclass('public.' || quote_ident(wanted.table_name))
                  AND found.tgname = wanted.object_name
            WHERE wanted.kind = 'trigger' AND (found.oid IS NULL OR found.tgenabled = 'D')
            ORDER BY wanted.object_name) AS triggers_off,
        (
            SELECT count(*)
            FROM public.workflowexecution AS host
            WHERE (host.status = 'running'
                   OR (host.status = 'failed' AND host.next_retry_at IS NOT NULL AND host.completed_at IS NULL))
              AND NOT EXISTS (SELECT FROM workflow_worker.run_queue AS queued WHERE queued.execution_id = host.id)
        ) AS unqueued
)
SELECT
    worker.alive > 0 AND cardinality(trouble.triggers_off) = 0 AS is_well,
    worker.alive AS workers,
    worker.dead AS dead_workers,
    worker.listening AS listening_workers,
    worker.slots,
    worker.last_heartbeat_at,
    queue.running,
    queue.due,
    extract(epoch FROM now() - queue.oldest_due_at)::double precision AS oldest_due_seconds,
    queue.held,
    queue.timed,
    queue.parked,
    trouble.unqueued,
    trouble.triggers_off,
    (SELECT max(version) FROM workflow_worker.migrations) AS schema_version
FROM worker
CROSS JOIN queue
CROSS JOIN trouble;
COMMENT ON VIEW workflow_worker.health IS 'One row: whether executions are being run, and what stands in their way';
COMMENT ON COLUMN workflow_worker.health.is_well IS 'A worker is alive, and no trigger is missing or disabled';
COMMENT ON COLUMN workflow_worker.health.workers IS 'Workers with a fresh heartbeat';
COMMENT ON COLUMN workflow_worker.health.dead_workers IS 'Workers without one, whose executions the others are about to take';
COMMENT ON COLUMN workflow_worker.health.listening_workers IS 'Workers that notifications reach; the others poll';
COMMENT ON COLUMN workflow_worker.health.slots IS 'How many executions can run at the same time';
COMMENT ON COLUMN workflow_worker.health.last_heartbeat_at IS 'The newest sign of life of any worker';
COMMENT ON COLUMN workflow_worker.health.running IS 'Executions that a worker holds';
COMMENT ON COLUMN workflow_worker.health.due IS 'Executions that wait for a slot';
COMMENT ON COLUMN workflow_worker.health.oldest_due_seconds IS 'For how long the oldest of them has waited; NULL if there is none';
COMMENT ON COLUMN workflow_worker.health.held IS 'Executions that wait for a limit (set_limit)';
COMMENT ON COLUMN workflow_worker.health.timed IS 'Executions that go on at a time: a delay, a retry, a later start, a time-out';
COMMENT ON COLUMN workflow_worker.health.parked IS 'Executions that wait for somebody';
COMMENT ON COLUMN workflow_worker.health.unqueued IS 'Executions to be run that have no place in the run queue: older than the installation, or missed by a trigger for a moment';
COMMENT ON COLUMN workflow_worker.health.triggers_off IS 'Triggers that are missing or disabled; the poll does their work, later';
COMMENT ON COLUMN workflow_worker.health.schema_version IS 'The newest migration of the schema';

------------------------------------------------------------------------------------------------------------------
-- steps and workers are tables; others may rely on the columns that are described here.
COMMENT ON COLUMN workflow_worker.steps.execution_id IS 'workflowexecution.id';
COMMENT ON COLUMN workflow_worker.steps.seq IS '0 is the input; 1, 2, 3 … in the order in which they were recorded';
COMMENT ON COLUMN workflow_worker.steps.node_id IS 'The node';
COMMENT ON COLUMN workflow_worker.steps.node_type IS 'Its type';
COMMENT ON COLUMN workflow_worker.steps.visit IS 'The how manieth time the node was entered';
COMMENT ON COLUMN workflow_worker.steps.attempt IS 'The how manieth try of that visit';
COMMENT ON COLUMN workflow_worker.steps.status IS
    'input, success, failed, continued (failed, and gone on after it), skipped, joined, opened (a loop or branches begin)';
COMMENT ON COLUMN workflow_worker.steps.output IS 'What came out, also of a failure';
COMMENT ON COLUMN workflow_worker.steps.error IS 'What went wrong';
COMMENT ON COLUMN workflow_worker.steps.started_at IS 'When the attempt began';
COMMENT ON COLUMN workflow_worker.steps.finished_at IS 'When it ended';
COMMENT ON COLUMN workflow_worker.steps.worker_id IS 'The worker that recorded it';
COMMENT ON COLUMN workflow_worker.steps.fence IS 'The fencing token under which it did';
COMMENT ON COLUMN workflow_worker.steps.scope IS 'The rounds, branches and parts that it ran in, such as orders[3]/attempt[body]';
COMMENT ON COLUMN workflow_worker.steps.is_end IS 'Whether a path of that round, branch or part ended here';

COMMENT ON COLUMN workflow_worker.workers.id IS 'Fresh at each start of a process';
COMMENT ON COLUMN workflow_worker.workers.name IS 'What operators call it';
COMMENT ON COLUMN workflow_worker.workers.hostname IS 'Where it runs';
COMMENT ON COLUMN workflow_worker.workers.pid IS 'Its process there';
COMMENT ON COLUMN workflow_worker.workers.version IS 'Of the program';
COMMENT ON COLUMN workflow_worker.workers.started_at IS 'Since when';
COMMENT ON COLUMN workflow_worker.workers.heartbeat_at IS 'Its last sign of life';
COMMENT ON COLUMN workflow_worker.workers.lease IS 'Without a heartbeat for this long, it is dead';
COMMENT ON COLUMN workflow_worker.workers.silence IS 'Without a heartbeat for this long, it is dead if its connection is gone, too';
COMMENT ON COLUMN workflow_worker.workers.presence_key IS 'The advisory lock that its listener holds; NULL without a listener';
COMMENT ON COLUMN workflow_worker.workers.state IS 'running, or draining: it takes nothing new';
COMMENT ON COLUMN workflow_worker.workers.concurrency IS 'Its slots';
COMMENT ON COLUMN workflow_worker.workers.running IS 'How many of them were in use at the last heartbeat';
COMMENT ON COLUMN workflow_worker.workers.listening IS 'Whether notifications reach it';
