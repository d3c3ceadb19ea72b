-- Returns the signals of an execution that may still matter: all that are not processed, and all that may be requests, by
-- whose times an answer is told from a late one.
-- $1 execution id uuid.
-- Index: workflow_worker_signals on workflowsignal.
-- Race-free: reads only. Whatever is written after this snapshot raises host_version, so the record that follows from
-- what was read here is refused, and the runner looks again.
SELECT
    signal.id,
    signal.signal_type,
    signal.signal_data::text AS signal_data,
    -- Within what any clock can hold: the column takes infinity, and years that no date type knows.
    least(greatest(signal.received_at, '0001-01-01'), '9999-12-31') AT TIME ZONE 'utc' AS received_at,
    signal.processed
FROM public.workflowsignal AS signal
WHERE signal.execution_id = $1
  -- As text: operators on JSON fail on values that the column accepts. It lets a few too many through.
  AND (NOT signal.processed OR signal.signal_data::text ~ '"(message|options)"')
ORDER BY signal.received_at, signal.id;
