//! WHO may go on that waits for a limit: asked when a place was left here, when a rate opens, when limits were changed,
//! and, as the safety net, with each poll while anything waits.
//!
//! The database decides and lets go; what was let go is due, and whoever claims first runs it. So several workers may ask
//! at once, and one that dies before it asks delays others until the next poll of any worker, and no longer.

use super::{Agenda, Dispatcher};
use crate::clock;
use crate::runner::interrupt::Running;
use crate::store::StoreError;
use crate::store::claim::NextDue;
use crate::wake::{Cause, Causes};

/// How many rounds one sweep over all limits takes before other work has its turn; each round is 50 limits.
const SWEEP_ROUNDS: usize = 20;

impl Dispatcher {
    /// Lets go what waits for limits and may go on. Returns whether anything was let go: then there is something to claim.
    pub(super) async fn look_at_limits(
        &self,
        causes: Causes,
        agenda: &mut Agenda,
        running: &Running,
        next: Option<&NextDue>,
    ) -> Result<bool, StoreError> {
        let is_open = agenda
            .next_opening
            .is_some_and(|at| clock::monotonic() >= at);
        if is_open {
            agenda.next_opening = None;
        }
        let freed = self.admit_freed(running, is_open).await?;
        if causes.contains(Cause::Limits) || causes.contains(Cause::Reconnected) {
            agenda.sweep_after = String::new();
            return Ok(self.sweep(agenda, SWEEP_ROUNDS).await? || freed);
        }
        if next.is_some_and(|next| next.is_limit_waited_for) {
            return Ok(self.sweep(agenda, 1).await? || freed);
        }
        Ok(freed)
    }

    /// Lets go what waits for places that were left in this process, and for rates that have opened.
    pub(super) async fn admit_freed(
        &self,
        running: &Running,
        is_open: bool,
    ) -> Result<bool, StoreError> {
        let freed = running.take_freed();
        if freed.is_empty() && !is_open {
            return Ok(false);
        }
        match self.store.admit(&freed, None).await {
            Ok(admitted) => Ok(admitted.let_go > 0),
            Err(error) => {
                running.free(freed);
                Err(error)
            }
        }
    }

    /// Goes over limits for which something waits, from where the last sweep stopped.
    async fn sweep(&self, agenda: &mut Agenda, rounds: usize) -> Result<bool, StoreError> {
        let mut is_let_go = false;
        for _ in 0..rounds {
            let admitted = self.store.admit(&[], Some(&agenda.sweep_after)).await?;
            is_let_go |= admitted.let_go > 0;
            if admitted.is_more {
                // A removed limit with a long queue: the rest after what was let go has had its turn.
                self.waker.raise(Cause::Limits);
            }
            agenda.sweep_after = admitted.next_key.unwrap_or_default();
            if agenda.sweep_after.is_empty() {
                break;
            }
        }
        Ok(is_let_go)
    }

    /// Removes what counts under no limit any more, if limits have been met since the last time.
    pub(super) async fn forget_uses(&self, agenda: &mut Agenda) -> Result<(), StoreError> {
        if std::mem::take(&mut agenda.has_met_limits) {
            self.store.forget_uses().await?;
        }
        Ok(())
    }
}
