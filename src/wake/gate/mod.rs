//! The wake gate: who may sleep says so, so that inserts need no NOTIFY when nobody does.
//!
//! NOTIFY takes a database-wide lock at commit. The trigger on inserts therefore skips it when no worker holds the
//! advisory lock SLEEPERS, and then holds SKIPPERS to the end of its transaction (`sql/migrations/0010_gate.sql`).
//!
//! Invariants, which together say that no wake-up is lost:
//! * A worker sleeps with free slots only while it holds SLEEPERS, and only after a look at the run queue that came
//!   after a moment, after it had taken SLEEPERS, at which nobody held SKIPPERS.
//! * A worker that does not hold SLEEPERS either has no free slot, and looks when it gets one, or looks again within
//!   milliseconds.
//!
//! The locks belong to the listener's session: what cannot hear does not say that it sleeps, and what dies falls silent.
//! `docs/wake-gate.md` has the argument in full; `model` checks it over all interleavings.

#[cfg(test)]
mod model;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_postgres::Client;

use crate::store::StoreError;

/// The bytes of `wake`: the class of both locks in the two-integer key space.
const CLASS: i32 = i32::from_be_bytes(*b"wake");
/// Held, shared, by who may sleep.
const SLEEPERS: i32 = 1;
/// Held, shared and to its end, by each transaction that has skipped the NOTIFY.
const SKIPPERS: i32 = 2;

/// How long one statement on the listener's session may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The gate of one worker. Shared by the listener, which lends its session, and the dispatcher, which decides.
#[derive(Default)]
pub struct Gate {
    session: Mutex<Option<Arc<Client>>>,
    /// Whether this session holds SLEEPERS. Written by the dispatcher, and set back with each new session.
    is_announced: AtomicBool,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("is_announced", &self.is_announced)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// Lends a session on which LISTEN has been proven, or takes it back. A fresh session holds no lock.
    pub fn lend(&self, session: Option<Arc<Client>>) {
        let mut lent = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_announced.store(false, Ordering::Release);
        *lent = session;
    }

    /// Whether inserts know that this worker may sleep.
    pub fn is_announced(&self) -> bool {
        self.is_announced.load(Ordering::Acquire)
    }

    /// Whether there is a session that hears.
    pub fn can_hear(&self) -> bool {
        self.session().is_some()
    }

    /// Says that this worker may sleep. `false`: it cannot be said now (a producer looks at this very moment, or there
    /// is no session); nothing has changed then.
    ///
    /// # Errors
    /// The session does not answer.
    pub async fn announce(&self) -> Result<bool, StoreError> {
        if self.is_announced() {
            return Ok(true);
        }
        let Some(session) = self.session() else {
            return Ok(false);
        };
        let statement = format!("SELECT pg_try_advisory_lock_shared({CLASS}, {SLEEPERS})");
        let is_taken = ask(&session, &statement).await?;
        // Not if another session has been lent meanwhile: that one holds nothing.
        let lent = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let is_still_lent = lent
            .as_ref()
            .is_some_and(|lent| Arc::ptr_eq(lent, &session));
        if is_taken && is_still_lent {
            self.is_announced.store(true, Ordering::Release);
        }
        Ok(is_taken && is_still_lent)
    }

    /// Whether, at a moment of this call, no open transaction had skipped its NOTIFY.
    ///
    /// # Errors
    /// The session does not answer.
    pub async fn is_settled(&self) -> Result<bool, StoreError> {
        // One expression: nothing comes between the lock and its release.
        self.ask(&format!(
            "SELECT CASE WHEN pg_try_advisory_lock({CLASS}, {SKIPPERS}) \
             THEN pg_advisory_unlock({CLASS}, {SKIPPERS}) ELSE false END"
        ))
        .await
    }

    /// Says that this worker does not sleep.
    ///
    /// # Errors
    /// The session does not answer. The lock goes with it.
    pub async fn withdraw(&self) -> Result<(), StoreError> {
        if !self.is_announced() {
            return Ok(());
        }
        // Before the statement: if its answer is lost, inserts notify for nothing; the other way round they would not.
        self.is_announced.store(false, Ordering::Release);
        self.ask(&format!(
            "SELECT pg_advisory_unlock_shared({CLASS}, {SLEEPERS})"
        ))
        .await
        .map(drop)
    }

    async fn ask(&self, statement: &str) -> Result<bool, StoreError> {
        match self.session() {
            Some(session) => ask(&session, statement).await,
            None => Ok(false),
        }
    }

    fn session(&self) -> Option<Arc<Client>> {
        self.session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn ask(session: &Client, statement: &str) -> Result<bool, StoreError> {
    let asked = tokio::time::timeout(LIMIT, session.query_typed(statement, &[])).await;
    let rows = asked.map_err(|_elapsed| {
        StoreError::Unavailable("the listener's connection is silent".to_owned())
    })??;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}
