-- Notes what a round of retention has done.
-- $1 rows bigint, $2 bytes bigint, $3 why it was not done whole text or NULL.
-- Index: retention_pkey; the table has one row.
-- Race-free: one row; it says what the last round to end has done.
UPDATE workflow_worker.retention
SET ended_at = now(),
    rows = $1,
    bytes = $2,
    problem = $3;
