-- 0001 Own tables.
--
-- What:  the schema workflow_worker with everything that the worker keeps for itself.
-- Why:   the platform's rows are what people see; these are what the worker relies on. They live in a schema of
--        their own so that no other tool (the platform's Alembic among them) trips over them.
-- Locks: none on any table of the platform.
-- An older worker meanwhile: there is none; this is the first migration.
--
-- Read in this order: run_queue (what is to be done, and who does it), workers, steps (what has been done), graphs,
-- finished.

CREATE SCHEMA IF NOT EXISTS workflow_worker;
COMMENT ON SCHEMA workflow_worker IS 'Owned by workflow-worker. Remove with: workflow-worker uninstall';

-- Nobody but the owner: PostgREST roles (anon, authenticated) and PUBLIC get nothing here.
REVOKE ALL ON SCHEMA workflow_worker FROM PUBLIC;

-- Each claim draws a fence (fencing token) from here. From a sequence and not from a column of the row, so that it is
-- never reused, not even when a row is deleted and made again.
CREATE SEQUENCE workflow_worker.fence AS bigint;

------------------------------------------------------------------------------------------------------------------
-- run_queue: one narrow row per execution that is not finished.
--
-- A row is in one of these states:
--
--   due      ready, worker_id NULL                the next claim takes it, highest priority first, oldest first
--   timed    NOT ready, worker_id NULL, run_at    becomes due at run_at (a delay, a retry); no row is touched for that
--   parked   as timed, with run_at = 'infinity'   waits for somebody (paused, waiting for a signal)
--   leased   worker_id and fence set              a worker runs it; ready and run_at mean nothing meanwhile
--
-- The claim reads and writes only this table, so that its cost does not grow with finished or parked executions.
CREATE TABLE workflow_worker.run_queue (
    -- workflowexecution.id. No foreign key: each step would then lock the host row; a trigger on DELETE does its work.
    execution_id uuid        NOT NULL,
    run_at       timestamptz NOT NULL DEFAULT now(),
    -- Bigger is more urgent. LOW 1, NORMAL 5, HIGH 10, CRITICAL 20, or any number.
    priority     integer     NOT NULL DEFAULT 5,
    ready        boolean     NOT NULL DEFAULT true,
    -- The lease: who, and the fence that each of its writes must name. After a release worker_id is NULL and the fence
    -- stays, so that a writer which lost the answer to its last commit can see that it was the one.
    worker_id    uuid,
    fence        bigint,
    claimed_at   timestamptz,
    -- Goes up by one with each record that the worker commits: a repeated record is recognised by it.
    revision     integer     NOT NULL DEFAULT 0,
    -- Goes up by one whenever somebody who is not the worker writes status, state or retry time of the host row. A
    -- worker that has not seen the newest version may record steps, but not overwrite the host row.
    host_version integer     NOT NULL DEFAULT 0,
    -- How often in a row its worker died while holding it; a record sets it back. One that kills each of its workers is
    -- failed in the end instead of taking them all down for ever.
    rescues      integer     NOT NULL DEFAULT 0,
    -- The graph on which the execution runs to its end. NULL until the first record.
    graph_hash   bytea,
    -- The engine's state: tokens, retry count. NULL until the first record.
    checkpoint   json,
    enqueued_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT run_queue_pkey PRIMARY KEY (execution_id),
    CONSTRAINT a_lease_has_a_fence CHECK (worker_id IS NULL OR fence IS NOT NULL)
) WITH (
    -- Each row is updated several times in its short life: leave room beside it, and clean up early.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE workflow_worker.run_queue IS 'One row per execution that is not finished: due, timed, parked or leased';

-- The claim's order, over rows that are due and nothing else.
CREATE INDEX run_queue_due ON workflow_worker.run_queue (priority DESC, run_at, execution_id)
    WHERE ready AND worker_id IS NULL;
-- What comes due next, and what has come due since.
CREATE INDEX run_queue_timed ON workflow_worker.run_queue (run_at)
    WHERE NOT ready AND worker_id IS NULL AND run_at < 'infinity';
-- What a worker holds: for its own look at interrupts, and for rescue after its death.
CREATE INDEX run_queue_leased ON workflow_worker.run_queue (worker_id)
    WHERE worker_id IS NOT NULL;

------------------------------------------------------------------------------------------------------------------
-- workers: one row per running process, so that liveness costs one UPDATE per worker and not one per execution.
CREATE TABLE workflow_worker.workers (
    -- Fresh at each start of a process.
    id             uuid        NOT NULL,
    name           text        NOT NULL,
    hostname       text        NOT NULL,
    pid            integer     NOT NULL,
    version        text        NOT NULL,
    started_at     timestamptz NOT NULL DEFAULT now(),
    heartbeat_at   timestamptz NOT NULL DEFAULT now(),
    -- Without a heartbeat for this long, the worker is dead whatever else is known.
    lease          interval    NOT NULL,
    -- Without a heartbeat for this long, it is dead if its presence lock is free as well.
    silence        interval    NOT NULL,
    -- The session-level advisory lock that its listener connection holds; it vanishes with the process. NULL when the
    -- connection goes through a pooler that has no sessions, or is cut.
    presence_key   bigint,
    state          text        NOT NULL DEFAULT 'running',
    concurrency    integer     NOT NULL,
    running        integer     NOT NULL DEFAULT 0,
    listening      boolean     NOT NULL DEFAULT false,
    CONSTRAINT workers_pkey PRIMARY KEY (id),
    CONSTRAINT state_is_known CHECK (state IN ('running', 'draining'))
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 200
);
COMMENT ON TABLE workflow_worker.workers IS 'One row per running worker process, with its heartbeat';

------------------------------------------------------------------------------------------------------------------
-- steps: what an execution has done. Append-only, so that node 1,000 costs the same as node 1.
--
-- seq 0 is the execution's input (status 'input', output = the trigger data); 1, 2, 3 … are the attempts of nodes in
-- the order in which they were recorded.
CREATE TABLE workflow_worker.steps (
    execution_id uuid        NOT NULL,
    seq          integer     NOT NULL,
    node_id      text        NOT NULL,
    node_type    text        NOT NULL,
    visit        integer     NOT NULL,
    attempt      integer     NOT NULL,
    status       text        NOT NULL,
    -- json and not jsonb: it keeps the order of the keys and the characters that jsonb refuses.
    output       json        NOT NULL,
    error        text,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz NOT NULL,
    worker_id    uuid        NOT NULL,
    fence        bigint      NOT NULL,
    CONSTRAINT steps_pkey PRIMARY KEY (execution_id, seq),
    CONSTRAINT status_is_known CHECK (status IN ('input', 'success', 'failed'))
) WITH (
    -- Never updated; only vacuumed for deletes (retention) and for the visibility map.
    autovacuum_vacuum_scale_factor = 0.05
);
COMMENT ON TABLE workflow_worker.steps IS 'What each execution has done, one row per attempt of a node; seq 0 is its input';

------------------------------------------------------------------------------------------------------------------
-- graphs: each graph content once. An execution runs to its end on the one it started with, whatever is edited.
CREATE TABLE workflow_worker.graphs (
    -- SHA-256 of the text in `source`.
    hash       bytea       NOT NULL,
    -- {"graph_config": …, "nodes": [rows of workflownode]}
    source     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT graphs_pkey PRIMARY KEY (hash)
);
COMMENT ON TABLE workflow_worker.graphs IS 'Each graph content once, by SHA-256';

------------------------------------------------------------------------------------------------------------------
-- finished: the last checkpoint of executions that have left the run queue. With it a resumed or retried execution
-- goes on where it ended instead of running everything again.
CREATE TABLE workflow_worker.finished (
    execution_id uuid        NOT NULL,
    outcome      text        NOT NULL,
    fence        bigint      NOT NULL,
    revision     integer     NOT NULL,
    graph_hash   bytea,
    checkpoint   json,
    finished_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT finished_pkey PRIMARY KEY (execution_id)
);
COMMENT ON TABLE workflow_worker.finished IS 'The last checkpoint of each execution that has left the run queue';

------------------------------------------------------------------------------------------------------------------
-- host_changes: what the migrations changed outside this schema, so that `uninstall` can take back that and no more.
CREATE TABLE workflow_worker.host_changes (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- 'table' (made by us; its data is its owner's, so it stays), 'default', 'index', 'view', 'trigger', 'row'
    kind        text NOT NULL,
    table_name  text NOT NULL,
    -- The column of a default, or the name of an index or trigger.
    object_name text NOT NULL DEFAULT '',
    UNIQUE (kind, table_name, object_name)
);
COMMENT ON TABLE workflow_worker.host_changes IS 'What was changed outside the schema workflow_worker; uninstall takes it back';
