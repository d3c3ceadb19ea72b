-- 0007 Schedules.
--
-- What:  cron schedules.
-- Why:   to be said here.
-- Locks: none.
-- An older worker meanwhile: sees no difference.
SELECT;
