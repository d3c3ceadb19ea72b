-- Sets which events are told on the channel workflow_worker_events. Returns whether that was a change.
-- $1 off, ends or all, text.
-- Index: none; at the start of a worker.
-- Race-free: one at a time by an advisory lock; takes SHARE ROW EXCLUSIVE on workflowexecution if there is something to
-- change, and waits three seconds for it at most.
SELECT workflow_worker.set_events($1) AS is_changed;
