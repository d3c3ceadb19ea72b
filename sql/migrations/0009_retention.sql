-- 0009 Retention.
--
-- What:  what the removal of old history needs: which ended executions still have theirs, which graphs nobody uses, and
--        when it was last done.
-- Why:   old history must be found by index: a scan of a million rows each hour would disturb what runs.
-- Locks: ALTER TABLE takes ACCESS EXCLUSIVE on finished and graphs, CREATE INDEX takes SHARE on run_queue, all held to the
--        commit: records wait for one scan of run_queue and two of finished (a second or two per million rows).
-- An older worker meanwhile: does not set finished.pruned_at back when a pruned execution ends once more: what that run
--        has recorded then stays until its host row goes. It knows nothing of graphs.unused_since, so graphs are removed
--        only after a day without use, and a worker brings a graph again that it has not brought for an hour.

ALTER TABLE workflow_worker.finished
    -- When the steps of this execution were removed. The row itself stays as long as its host row, so that a resume goes
    -- on from the checkpoint instead of running everything again.
    ADD COLUMN pruned_at timestamptz;

-- Ended executions that still have their history, oldest first.
CREATE INDEX finished_unpruned ON workflow_worker.finished (finished_at)
    WHERE pruned_at IS NULL;
-- Whether an ended execution refers to a graph. Few distinct values, so the index is small.
CREATE INDEX finished_graph ON workflow_worker.finished (graph_hash);
-- Whether an execution is queued that replays another: it reads the history of that one.
CREATE INDEX run_queue_replays ON workflow_worker.run_queue (replay_of)
    WHERE replay_of IS NOT NULL;

ALTER TABLE workflow_worker.graphs
    -- Since when no execution refers to it, as the retention has seen it. A record that brings the graph sets it back.
    ADD COLUMN unused_since timestamptz;

-- One row: when old history was last removed, for the interval between two rounds and for `doctor`.
CREATE TABLE workflow_worker.retention (
    is_only_row boolean     NOT NULL DEFAULT true,
    started_at  timestamptz,
    ended_at    timestamptz,
    -- The worker, or the command, that did it.
    started_by  text,
    rows        bigint      NOT NULL DEFAULT 0,
    bytes       bigint      NOT NULL DEFAULT 0,
    -- Why it was not done whole.
    problem     text,
    CONSTRAINT retention_pkey PRIMARY KEY (is_only_row),
    CONSTRAINT there_is_one_row CHECK (is_only_row)
);
COMMENT ON TABLE workflow_worker.retention IS 'When old history was last removed, and how much of it';
INSERT INTO workflow_worker.retention DEFAULT VALUES;
