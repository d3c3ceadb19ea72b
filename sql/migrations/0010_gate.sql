-- 0010 The wake gate.
--
-- What:  inserts spare themselves the NOTIFY when no worker sleeps.
-- Why:   NOTIFY takes a database-wide lock at commit, which is held while the commit waits for the disk: with it, 64
--        producers commit no faster than one after another.
-- Locks: none on any table.
-- An older worker meanwhile: does not say that it sleeps, so that inserts do not wake it while all newer ones are busy;
--        its poll finds them. Stop old workers first.
--
-- Two advisory locks, in the two-integer key space (class = the bytes of 'wake'):
--
--   (class, 1)  SLEEPERS   held, shared and for its session, by each worker that may sleep although it has free slots.
--   (class, 2)  SKIPPERS   held, shared and to its end, by each transaction that has skipped the NOTIFY.
--
-- A transaction that finds nobody holding SLEEPERS takes SKIPPERS, and looks again. A worker that wants to sleep takes
-- SLEEPERS first and then looks whether anybody holds SKIPPERS; while somebody does, it goes on looking at the run queue
-- every few milliseconds; when nobody does, it looks once more and sleeps. So of each transaction one of two is true:
-- it has looked after the worker took SLEEPERS, and notifies; or it had SKIPPERS before that, and has committed before
-- the worker's last look. docs/wake-gate.md has the argument, src/wake/gate/model.rs a model in which a checker finds no
-- lost wake-up, and finds one for each step that is left out.
CREATE OR REPLACE FUNCTION workflow_worker.wake() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The first look spares SKIPPERS to those who notify anyway, so that a worker which goes to sleep waits for nobody who
    -- has begun after it said so. The second one is the one that counts.
    --
    -- Each look is one expression, in which no cancel can come between the lock and its release: a producer must not keep
    -- it. Two producers that look in the same microsecond: one of them notifies for nothing.
    IF (CASE
            WHEN pg_catalog.pg_try_advisory_lock(2002873189, 1) THEN pg_catalog.pg_advisory_unlock(2002873189, 1)
            ELSE false
        END)
       AND pg_catalog.pg_try_advisory_xact_lock_shared(2002873189, 2) THEN
        IF (CASE
            WHEN pg_catalog.pg_try_advisory_lock(2002873189, 1) THEN pg_catalog.pg_advisory_unlock(2002873189, 1)
            ELSE false
        END) THEN
            RETURN;
        END IF;
    END IF;
    PERFORM pg_catalog.pg_notify('workflow_worker', '');
END
$$;
COMMENT ON FUNCTION workflow_worker.wake() IS 'Wakes the workers that sleep; nothing is notified when none does';

REVOKE ALL ON FUNCTION workflow_worker.wake() FROM PUBLIC;

------------------------------------------------------------------------------------------------------------------
-- The proposed roles, where they exist, get what has come since 0008.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT proposed.role_name, proposed.access
        FROM (VALUES ('workflow_worker_producer', 'producer'), ('workflow_worker_reader', 'reader'))
            AS proposed (role_name, access)
        JOIN pg_catalog.pg_roles AS known ON known.rolname = proposed.role_name
    LOOP
        PERFORM workflow_worker.grant_access(found.role_name, found.access);
    END LOOP;
END
$$;
