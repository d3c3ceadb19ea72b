//! Claims: as many due executions as there are free slots, each with a runner that starts as soon as it is claimed.
//!
//! What comes next is asked in the same round trip, and its answer is not waited for before runners start; if it cannot be
//! had, what was claimed runs all the same.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::place::Place;
use super::{Agenda, Dispatcher, FRUITLESS_WAIT, MAX_FRUITLESS_WAIT, MISSED_AFTER_MS};
use crate::clock;
use crate::runner::interrupt::Running;
use crate::runner::slots::Slot;
use crate::runner::{Ended, Runner};
use crate::store::StoreError;
use crate::store::claim::{NextDue, Taken};
use crate::store::workers::{Hearing, Identity};
use crate::telemetry::Event;
use crate::wake::Cause;

/// Where runners start, and what reaches them.
pub(super) struct Floor<'a> {
    pub(super) running: &'a Arc<Running>,
    pub(super) tasks: &'a mut JoinSet<Ended>,
    /// No new nodes; and no nodes at all.
    pub(super) tokens: (&'a CancellationToken, &'a CancellationToken),
}

/// What a claim has brought, in numbers.
#[derive(Clone, Copy, Default)]
struct Brought {
    /// How many slots it was for.
    slots: usize,
    claimed: usize,
    held: usize,
}

impl Brought {
    /// Whether there may be more.
    fn is_full(self) -> bool {
        self.claimed >= self.slots
    }
}

impl Dispatcher {
    /// Claims into the free slots, and starts a runner for each.
    pub(super) async fn claim(
        &self,
        agenda: &mut Agenda,
        mut floor: Floor<'_>,
        only_by_poll: bool,
    ) -> Result<(), StoreError> {
        self.slots.set_awaited(true);
        let slots = self.slots.take_free();
        let identity = self.identity.borrow().clone();
        agenda.has_backlog = slots.is_empty();
        if slots.is_empty() || identity.void.is_cancelled() {
            return Ok(());
        }
        let mut brought = Brought {
            slots: slots.len(),
            ..Brought::default()
        };
        let from = agenda.shortcut.from();
        let claim = self.store.claim(identity.id, slots.len(), from, |taken| {
            brought.claimed = taken.claimed.len();
            brought.held = taken.held;
            self.take_note(agenda, &taken, brought, only_by_poll);
            self.start(taken, slots, &mut floor, &identity);
        });
        // In a box, because it is large, and most of the time there is none.
        let next = Box::pin(claim).await?;
        self.tell_scheduler(&next);
        self.plan_after_claim(agenda, brought, &next);
        Ok(())
    }

    /// What is known of a claim before it is known what comes next.
    fn take_note(&self, agenda: &mut Agenda, taken: &Taken, brought: Brought, only_by_poll: bool) {
        agenda.claimed = brought.claimed;
        // Unless what comes next says otherwise.
        agenda.has_backlog = brought.is_full();
        if agenda.shortcut.note(taken.front, agenda.has_backlog) {
            self.waker.raise(Cause::Notified);
        }
        agenda.has_met_limits |= brought.held > 0
            || taken
                .claimed
                .iter()
                .any(|claimed| !claimed.limit_keys.is_empty());
        let missed = taken
            .claimed
            .iter()
            .filter(|claimed| claimed.late_by_ms > MISSED_AFTER_MS)
            .count();
        if only_by_poll
            && missed > 0
            && matches!(&*self.hearing.borrow(), Hearing::Listening { .. })
        {
            self.telemetry
                .emit(Event::MissedWakeup { executions: missed });
        }
    }

    fn start(&self, taken: Taken, slots: Vec<Slot>, floor: &mut Floor<'_>, identity: &Identity) {
        // The claim returns at most as many as there are slots.
        for (claimed, slot) in taken.claimed.into_iter().zip(slots) {
            let interrupts = floor.running.enter(
                claimed.execution_id,
                claimed.fence,
                &identity.void,
                floor.tokens,
            );
            let place = Place {
                lease: (claimed.execution_id, claimed.fence),
                running: Arc::clone(floor.running),
                waker: Arc::clone(&self.waker),
                until: None,
                limit_keys: claimed.limit_keys.clone(),
            };
            let tools = Arc::clone(&self.tools);
            let runner = Runner::new(tools, identity.id, claimed, interrupts, slot);
            floor.tasks.spawn(Self::run_one(runner, place));
        }
    }

    fn plan_after_claim(&self, agenda: &mut Agenda, brought: Brought, next: &NextDue) {
        let is_full = brought.is_full();
        let is_more_due = next.is_due || next.next_run_at.is_some_and(|at| at <= self.clock.now());
        agenda.has_backlog = is_full && is_more_due;
        self.plan_opening(agenda, next);
        if is_full || !is_more_due {
            agenda.fruitless = 0;
            self.plan(agenda, next);
            return;
        }
        if brought.held > 0 {
            // What was in the way is out of it.
            agenda.fruitless = 0;
            self.waker.raise(Cause::Notified);
            return;
        }
        // There are free slots, and what is due could not be had: others hold locks on those rows at this moment.
        let wait = (FRUITLESS_WAIT * 2_u32.pow(agenda.fruitless.min(10))).min(MAX_FRUITLESS_WAIT);
        agenda.fruitless += 1;
        agenda.look_by(clock::monotonic() + wait);
    }

    async fn run_one(runner: Runner, mut place: Place) -> Ended {
        let ended = runner.run().await;
        if let Ended::Parked { until } = ended {
            place.until = until;
        }
        ended
    }
}
