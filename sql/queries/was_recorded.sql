-- Tells a writer that lost the answer to its commit what became of it. Returns the executions whose record is in, and
-- whether the lease is still held.
-- $1 worker uuid; one element per execution: $2 id uuid, $3 fence bigint, $4 revision integer that the record made.
-- Index: the primary keys.
-- Race-free: reads only. A lease that was taken over meanwhile answers no, and then nothing is left to do either way.
SELECT
    record.execution_id,
    coalesce(queued.worker_id = $1, false) AS is_held
FROM unnest($2::uuid[], $3::bigint[], $4::integer[]) AS record (execution_id, fence, revision)
LEFT JOIN workflow_worker.run_queue AS queued
       ON queued.execution_id = record.execution_id
      AND queued.fence = record.fence
      AND queued.revision = record.revision
LEFT JOIN workflow_worker.finished
       ON finished.execution_id = record.execution_id
      AND finished.fence = record.fence
      AND finished.revision = record.revision
WHERE queued.execution_id IS NOT NULL
   OR finished.execution_id IS NOT NULL;
