//! WHO runs it: wait for a wake-up, claim as many due executions as there are free slots, give each a runner.
//!
//! It claims never more than it has free slots: an execution that waits in a worker cannot be taken by an idle one. What
//! waits for the commit of its last record has left its slot and is held all the same (`runner::slots` has the bounds): it
//! is told of interrupts, counts under limits and is handed back at the end like what runs. The dispatcher is the only
//! part that claims, and it stops the worker's work by not claiming. Each wake-up has its reason; what only the poll has
//! found counts as a missed wake-up.

mod admission;
mod agenda;
mod claim;
mod place;
mod shortcut;
mod stop;
mod upkeep;
mod vigil;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, DatabaseClock};
use crate::ids::Timestamp;
use crate::lease::Pulse;
use crate::runner::interrupt::Running;
pub use crate::runner::slots::Slots;
use crate::runner::{Ended, Tools};
use crate::store::claim::NextDue;
use crate::store::workers::{Hearing, Identity};
use crate::store::{Store, StoreError};
use crate::telemetry::{Event, Telemetry};
use crate::wake::gate::Gate;
use crate::wake::{Cause, Causes, Waker};
use agenda::{Agenda, FIRST_ERROR_WAIT};
use claim::Floor;
use stop::unless_stopped;

/// How often all runnable host rows are compared with the run queue. The newest are looked at with each poll.
const FULL_REPAIR_INTERVAL: Duration = Duration::from_secs(60);
/// A due execution that was not announced counts as missed only if it has waited this long: its notification may be on
/// the way.
const MISSED_AFTER_MS: f64 = 250.0;
/// After a claim that found less than was due (others hold locks on those rows), the first wait before the next look;
/// doubled each time, up to [`MAX_FRUITLESS_WAIT`].
const FRUITLESS_WAIT: Duration = Duration::from_millis(1);
/// See [`FRUITLESS_WAIT`].
const MAX_FRUITLESS_WAIT: Duration = Duration::from_secs(1);

/// The dispatcher's settings.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The safety net.
    pub poll_interval: Duration,
    /// Rows that started longer ago and are not known are left alone.
    pub adopt_max_age: Duration,
    /// How long running nodes may take when the worker stops.
    pub grace_period: Duration,
}

/// The dispatcher's parts.
#[derive(Debug)]
pub struct Dispatcher {
    /// The database.
    pub store: Store,
    /// Wake-ups.
    pub waker: Arc<Waker>,
    /// Where this worker says whether it may sleep.
    pub gate: Arc<Gate>,
    /// The identity in force.
    pub identity: watch::Receiver<Identity>,
    /// What the listener can do.
    pub hearing: watch::Receiver<Hearing>,
    /// How many executions may run.
    pub slots: Slots,
    /// What runners work with.
    pub tools: Arc<Tools>,
    /// What the heartbeat tells of us.
    pub pulse: Arc<Pulse>,
    /// The database's clock.
    pub clock: Arc<DatabaseClock>,
    /// When the scheduler has to look, as the polls and claims have seen it.
    pub next_schedule: watch::Sender<Option<Timestamp>>,
    /// Settings.
    pub settings: Settings,
    /// Where events go.
    pub telemetry: Telemetry,
}

impl Dispatcher {
    /// Dispatches until `stop`; then lets running nodes end within the grace period, and hands the rest back.
    pub async fn run(self, stop: CancellationToken) {
        let drain = CancellationToken::new();
        let hurry = CancellationToken::new();
        let running = Arc::new(Running::default());
        let mut tasks: JoinSet<Ended> = JoinSet::new();
        let mut agenda = Agenda::new(clock::monotonic());
        while !stop.is_cancelled() {
            let until = [agenda.next_due, agenda.next_opening]
                .into_iter()
                .flatten()
                .fold(agenda.next_poll, Instant::min);
            let causes = tokio::select! {
                causes = self.waker.wait(until) => causes,
                () = stop.cancelled() => break,
            };
            self.reap(&mut tasks);
            if let Some(until) = running.take_nearest() {
                self.plan_at(&mut agenda, until);
            }
            let floor = Floor {
                running: &running,
                tasks: &mut tasks,
                tokens: (&drain, &hurry),
            };
            let look = self.look(causes, &mut agenda, floor);
            // A claim that is under way when the stop comes is let end: what it has taken is handed back at once.
            let Some(looked) = unless_stopped(look, &stop).await else {
                break;
            };
            self.tell_pulse(&running);
            self.note(looked, &mut agenda);
            self.keep_vigil(causes, &mut agenda).await;
            self.slots
                .set_awaited(agenda.has_backlog || agenda.vigil.looks_by_itself());
        }
        self.stop(tasks, &mut agenda, &running, (&drain, &hurry))
            .await;
    }

    /// One turn: what the wake-up asks for, and what the time has come for.
    async fn look(
        &self,
        causes: Causes,
        agenda: &mut Agenda,
        floor: Floor<'_>,
    ) -> Result<(), StoreError> {
        let now = clock::monotonic();
        let running = floor.running;
        agenda.claimed = 0;
        let is_poll = now >= agenda.next_poll;
        if is_poll {
            agenda.next_poll = now + self.settings.poll_interval;
            agenda.shortcut.forget();
        }
        let next = if is_poll {
            Some(self.next_due().await?)
        } else {
            None
        };
        let may_hold = next.is_some_and(|next| next.is_holding || !running.is_empty());
        if causes.contains(Cause::Interrupt) || may_hold {
            self.look_at_interrupts(agenda, running).await?;
        }
        let is_missing = next.is_some_and(|next| next.is_missing);
        let triggers_are_off = next.is_some_and(|next| next.triggers_are_off);
        if causes.contains(Cause::Reconnected) || triggers_are_off || now >= agenda.next_repair {
            self.repair(None).await?;
            self.forget_uses(agenda).await?;
            agenda.next_repair = now + FULL_REPAIR_INTERVAL;
        } else if is_missing {
            self.repair(Some(self.repair_window())).await?;
        }
        let is_due_by_time = agenda.next_due.is_some_and(|due| now >= due);
        if is_due_by_time {
            agenda.next_due = None;
        }
        let is_let_go = self
            .look_at_limits(causes, agenda, running, next.as_ref())
            .await?;
        let is_announced =
            is_let_go || causes.contains(Cause::Notified) || causes.contains(Cause::Reconnected);
        let has_room = causes.contains(Cause::Capacity)
            && (agenda.has_backlog || agenda.vigil.looks_by_itself());
        if is_announced || is_due_by_time || has_room {
            return self.claim(agenda, floor, false).await;
        }
        if is_missing || next.is_some_and(|next| next.is_due) {
            return self.claim(agenda, floor, true).await;
        }
        if let Some(next) = next {
            self.plan(agenda, &next);
            self.plan_opening(agenda, &next);
        }
        Ok(())
    }

    /// What the heartbeat tells of us.
    fn tell_pulse(&self, running: &Running) {
        self.pulse
            .running
            .store(self.slots.in_use(), Ordering::Relaxed);
        self.pulse.held.store(running.len(), Ordering::Relaxed);
    }

    /// Takes note of runners that have ended.
    fn reap(&self, tasks: &mut JoinSet<Ended>) {
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                let error = format!("a runner broke, and what it held is handed back: {error}");
                self.telemetry.emit(Event::WorkerError { error });
            }
        }
    }

    /// Hands on to the scheduler when it has to look. Wakes it only by another time than before.
    fn tell_scheduler(&self, next: &NextDue) {
        self.next_schedule.send_if_modified(|known| {
            let is_other = *known != next.next_schedule_at;
            *known = next.next_schedule_at;
            is_other
        });
    }

    fn plan_opening(&self, agenda: &mut Agenda, next: &NextDue) {
        agenda.next_opening = next
            .next_opening_at
            .map(|at| self.clock.instant_of(at) + Duration::from_micros(500));
    }

    fn plan(&self, agenda: &mut Agenda, next: &NextDue) {
        if let Some(at) = next.next_run_at {
            self.plan_at(agenda, at);
        }
    }

    fn plan_at(&self, agenda: &mut Agenda, at: Timestamp) {
        // A moment later than the estimate of the database's clock says, so that the row is due when we ask.
        agenda.look_by(self.clock.instant_of(at) + Duration::from_micros(500));
    }

    async fn next_due(&self) -> Result<NextDue, StoreError> {
        let worker = self.identity.borrow().id;
        let next = self
            .store
            .next_due(worker, self.repair_window().as_secs_f64())
            .await?;
        self.tell_scheduler(&next);
        Ok(next)
    }

    /// Reports an outage once, and plans the next attempt.
    fn note(&self, looked: Result<(), StoreError>, agenda: &mut Agenda) {
        match looked {
            Ok(()) => {
                if agenda.is_outage_reported {
                    agenda.is_outage_reported = false;
                    self.telemetry
                        .emit(Event::DatabaseBack { part: "dispatcher" });
                }
                agenda.error_wait = FIRST_ERROR_WAIT;
            }
            Err(error) => {
                if !agenda.is_outage_reported && !matches!(error, StoreError::Busy { .. }) {
                    agenda.is_outage_reported = true;
                    self.telemetry.emit(Event::DatabaseLost {
                        part: "dispatcher",
                        error: error.to_string(),
                    });
                }
                let least = if error.is_retryable() {
                    FIRST_ERROR_WAIT
                } else {
                    Duration::from_secs(5)
                };
                let wait = agenda.error_wait.max(least);
                agenda.error_wait = (wait * 2).min(Duration::from_secs(10));
                // What this turn was for is not done: look at everything next time.
                let now = clock::monotonic();
                agenda.next_poll = agenda.next_poll.min(now + wait);
                agenda.next_due = None;
            }
        }
    }
}
