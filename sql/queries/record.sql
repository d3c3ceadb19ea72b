-- Makes the work of many executions durable in one commit: steps, checkpoint, log rows, the published view, and what
-- becomes of the lease. Returns one row per execution that it looked at.
-- $1 worker uuid, and arrays: the arguments of the function, in migration 0011, which says what each of them is.
-- Index: see the function; it is one for the same reasons as that of the claim.
-- Race-free: as the function says; and free of deadlocks.
SELECT execution_id, is_recorded, is_current, is_blocked, notifications, children_started
FROM workflow_worker.record(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46,
    $47, $48, $49, $50, $51, $52, $53, $54, $55);
