//! What the dispatcher looks after beside claims: rows that the triggers have missed, and what was done to rows that run.

use std::collections::HashSet;
use std::time::Duration;

use super::{Agenda, Dispatcher};
use crate::runner::interrupt::Running;
use crate::store::StoreError;
use crate::telemetry::Event;
use crate::wake::Cause;

impl Dispatcher {
    /// How far back each poll looks for host rows that have missed the run queue.
    pub(super) fn repair_window(&self) -> Duration {
        (self.settings.poll_interval * 3)
            .max(Duration::from_secs(10))
            .min(self.settings.adopt_max_age)
    }

    pub(super) async fn repair(&self, window: Option<Duration>) -> Result<(), StoreError> {
        let mut executions = self
            .store
            .repair(self.settings.adopt_max_age, window)
            .await?;
        if window.is_none() {
            executions += self.store.repair_parked().await?;
        }
        if executions > 0 {
            self.telemetry.emit(Event::Repaired { executions });
            self.waker.raise(Cause::Notified);
        }
        Ok(())
    }

    /// Tells runners what was done to their rows, and hands back what is held under our name but not run here.
    pub(super) async fn look_at_interrupts(
        &self,
        agenda: &mut Agenda,
        running: &Running,
    ) -> Result<(), StoreError> {
        let identity = self.identity.borrow().id;
        let held = self.store.interrupts(identity).await?;
        let unaccounted: HashSet<_> = running.compare(held).into_iter().collect();
        // Seen twice: a runner that has just ended may have been in the first answer.
        let lost: Vec<_> = unaccounted
            .intersection(&agenda.unaccounted)
            .copied()
            .collect();
        if !lost.is_empty() {
            self.store.release(identity, &lost).await?;
        }
        agenda.unaccounted = unaccounted;
        Ok(())
    }
}
