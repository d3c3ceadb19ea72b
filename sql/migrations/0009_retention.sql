-- 0009 Retention.
--
-- What:  indexes for the removal of old history.
-- Why:   to be said here.
-- Locks: none.
-- An older worker meanwhile: sees no difference.
SELECT;
