-- 0006 Guards.
--
-- What:  what somebody else may not write into workflowexecution.
-- Why:   to be said here.
-- Locks: none.
-- An older worker meanwhile: sees no difference.
SELECT;
