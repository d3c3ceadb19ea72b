//! Whether this worker may sleep: what the dispatcher makes of the wake gate (`wake::gate`).
//!
//! A worker that has free slots and nothing to do sleeps, and inserts wake it by NOTIFY. Under load it says that it does
//! not sleep, and looks by itself: when a slot gets free if all are taken (or as many executions are held as may be),
//! else every few milliseconds. So producers pay for NOTIFY only while somebody sleeps.

use std::time::{Duration, Instant};

use super::{Agenda, Dispatcher};
use crate::clock;
use crate::store::StoreError;
use crate::wake::{Cause, Causes};

/// A worker that is awake and has free slots looks this often.
const GLANCE: Duration = Duration::from_millis(2);
/// So many looks in a row that bring nothing, and it goes to sleep.
const EMPTY_GLANCES: u32 = 5;
/// So many notifications in a row, each within [`GLANCE`] of the one before, and it stays awake.
const BUSY_STREAK: u32 = 8;
/// While a transaction that has skipped its NOTIFY is still open, how often the run queue is looked at: at first, and
/// at most.
const SETTLE_WAIT: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// How this worker learns of new executions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Vigil {
    /// By the poll: the listener has no session that hears.
    Deaf,
    /// It has said that it may sleep; somebody who has not seen that may still be about to commit.
    Settling {
        /// Until the next try.
        wait: Duration,
    },
    /// By NOTIFY.
    Sleeps,
    /// By looking when a slot gets free.
    Full,
    /// By looking every [`GLANCE`].
    Awake {
        /// Looks in a row that brought nothing.
        empty: u32,
    },
}

/// Notifications in quick succession.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streak {
    last: Instant,
    length: u32,
}

impl Streak {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last: now,
            length: 0,
        }
    }

    fn count(&mut self, now: Instant) -> u32 {
        self.length = if now < self.last + GLANCE {
            self.length.saturating_add(1)
        } else {
            0
        };
        self.last = now;
        self.length
    }
}

impl Vigil {
    /// Whether nobody but this worker itself makes it look when a slot gets free.
    pub(super) fn looks_by_itself(self) -> bool {
        matches!(
            self,
            Self::Full | Self::Awake { .. } | Self::Settling { .. }
        )
    }
}

impl Dispatcher {
    /// After each look: says whether this worker may sleep from here on.
    pub(super) async fn keep_vigil(&self, causes: Causes, agenda: &mut Agenda) {
        if let Err(error) = self.try_keep_vigil(causes, agenda).await {
            // The listener notices that too, and comes back with another session.
            tracing::debug!("the wake gate: {error}");
            agenda.vigil = Vigil::Deaf;
            // Whether inserts still believe that it sleeps is not known.
            agenda.look_by(clock::monotonic() + SETTLE_WAIT.1);
        }
    }

    async fn try_keep_vigil(&self, causes: Causes, agenda: &mut Agenda) -> Result<(), StoreError> {
        if !self.gate.can_hear() {
            agenda.vigil = Vigil::Deaf;
            return Ok(());
        }
        let now = clock::monotonic();
        if agenda.vigil == Vigil::Deaf || causes.contains(Cause::Reconnected) {
            agenda.vigil = Vigil::Settling {
                wait: SETTLE_WAIT.0,
            };
        }
        if agenda.has_backlog {
            agenda.vigil = Vigil::Full;
            return self.gate.withdraw().await;
        }
        match agenda.vigil {
            Vigil::Sleeps | Vigil::Settling { .. }
                if causes.contains(Cause::Notified)
                    && agenda.claimed > 0
                    && agenda.streak.count(now) >= BUSY_STREAK =>
            {
                agenda.vigil = Vigil::Awake { empty: 0 };
                agenda.look_by(now + GLANCE);
                self.gate.withdraw().await
            }
            Vigil::Full | Vigil::Awake { .. } => {
                let empty = match agenda.vigil {
                    Vigil::Awake { empty } if agenda.claimed == 0 => empty + 1,
                    _ => 0,
                };
                if empty < EMPTY_GLANCES {
                    agenda.vigil = Vigil::Awake { empty };
                    agenda.look_by(now + GLANCE);
                    return Ok(());
                }
                self.settle(SETTLE_WAIT.0, agenda).await
            }
            Vigil::Settling { wait } => self.settle(wait, agenda).await,
            Vigil::Sleeps | Vigil::Deaf => Ok(()),
        }
    }

    /// Goes to sleep, once nobody who has skipped a NOTIFY is still to commit.
    async fn settle(&self, wait: Duration, agenda: &mut Agenda) -> Result<(), StoreError> {
        if self.gate.announce().await? && self.gate.is_settled().await? {
            agenda.vigil = Vigil::Sleeps;
            // The last look.
            self.waker.raise(Cause::Notified);
            return Ok(());
        }
        agenda.vigil = Vigil::Settling {
            wait: (wait * 2).min(SETTLE_WAIT.1),
        };
        agenda.look_by(clock::monotonic() + wait);
        Ok(())
    }
}
