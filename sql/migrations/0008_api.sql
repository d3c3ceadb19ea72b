-- 0008 The SQL API.
--
-- What:  functions and views for other services.
-- Why:   to be said here.
-- Locks: none.
-- An older worker meanwhile: sees no difference.
SELECT;
