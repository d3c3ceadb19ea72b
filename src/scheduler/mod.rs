//! Cron rows → executions: each time of a schedule fires once, whatever the number of workers.
//!
//! Every worker has a scheduler, and none leads: each wakes when a schedule is due, reads what is due, decides
//! (`plan.rs`), and sends one statement that moves the schedules on and makes their executions. That statement names the
//! version that was read, so of several workers one wins and the others change nothing. Killed at any point, either the
//! statement was committed or nothing has happened.
//!
//! It sleeps until the next time that it knows of. It hears of a nearer one by NOTIFY (a schedule was changed, an
//! execution has ended that a schedule waits for), or from the dispatcher's poll, which asks for it in the statement
//! that it sends anyway: an idle scheduler sends nothing. It never ends because of the database.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::{self, DatabaseClock};
use crate::config::ScheduleConfig;
use crate::ids::Timestamp;
use crate::store::schedules::{DueSchedule, ScheduleMove};
use crate::store::{Store, StoreError};
use crate::telemetry::{Event, Telemetry};

/// Schedules that are read at a time; the rest follows at once.
const BATCH: i64 = 100;
/// Executions that one statement makes, unless a single schedule makes more: it holds locks meanwhile.
const MAX_EXECUTIONS: usize = 500;
/// After a look in which nothing that is due could be moved (another worker is at it, or somebody holds a lock on the
/// rows), the first wait before the next; doubled each time, up to a second.
const FRUITLESS_WAIT: Duration = Duration::from_millis(1);
/// The first wait after a database error; doubled up to [`MAX_ERROR_WAIT`].
const FIRST_ERROR_WAIT: Duration = Duration::from_millis(50);
/// The longest wait after a database error.
const MAX_ERROR_WAIT: Duration = Duration::from_secs(10);
/// With no schedule in sight.
const IDLE: Duration = Duration::from_secs(86_400);

/// The scheduler's parts.
#[derive(Debug)]
pub struct Scheduler {
    /// The database.
    pub store: Store,
    /// The database's clock.
    pub clock: Arc<DatabaseClock>,
    /// Told by the listener that a schedule was changed, or that it may have missed that.
    pub changed: Arc<Notify>,
    /// When to look next, as the dispatcher has seen it.
    pub polled: watch::Receiver<Option<Timestamp>>,
    /// The policies of schedules without their own.
    pub defaults: ScheduleConfig,
    /// Where events go.
    pub telemetry: Telemetry,
}

/// What the scheduler knows between two looks.
struct Agenda {
    /// When to look next, whatever is heard.
    until: Instant,
    /// Looks in a row in which nothing could be moved.
    fruitless: u32,
    error_wait: Duration,
    is_outage_reported: bool,
}

impl Scheduler {
    /// Fires schedules until `stop`. The statement that is under way then is not waited for: it is made whole or not at
    /// all.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut agenda = Agenda {
            until: clock::monotonic(),
            fruitless: 0,
            error_wait: FIRST_ERROR_WAIT,
            is_outage_reported: false,
        };
        loop {
            let is_to_look = tokio::select! {
                () = self.changed.notified() => true,
                () = tokio::time::sleep_until(agenda.until.into()) => true,
                changed = self.polled.changed() => match changed {
                    Ok(()) => self.take_polled(&mut agenda),
                    // The dispatcher is gone: the worker is stopping.
                    Err(_gone) => return,
                },
                () = stop.cancelled() => return,
            };
            if !is_to_look {
                continue;
            }
            tokio::select! {
                looked = self.look(&mut agenda.fruitless) => self.note(looked, &mut agenda),
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes over what the poll has seen. Whether something is due now. What could not be moved just now, or not be asked
    /// for, has a wait of its own, or each claim of a busy worker would lead to a look.
    fn take_polled(&mut self, agenda: &mut Agenda) -> bool {
        let Some(at) = *self.polled.borrow_and_update() else {
            return false;
        };
        if agenda.fruitless > 0 || agenda.is_outage_reported {
            return false;
        }
        agenda.until = agenda.until.min(self.instant_of(at));
        agenda.until <= clock::monotonic()
    }

    fn instant_of(&self, at: Timestamp) -> Instant {
        // A moment later than the estimate of the database's clock says, so that it is due when we ask.
        self.clock.instant_of(at) + Duration::from_micros(500)
    }

    /// Moves on all that is due. Returns when to look next.
    async fn look(&self, fruitless: &mut u32) -> Result<Instant, StoreError> {
        loop {
            let look = self.store.load_due_schedules(BATCH).await?;
            let next = look
                .next_due_at
                .map_or_else(|| clock::monotonic() + IDLE, |at| self.instant_of(at));
            if look.due.is_empty() {
                *fruitless = 0;
                return Ok(next);
            }
            let mut decided: Vec<(DueSchedule, ScheduleMove)> = Vec::new();
            for due in look.due {
                let moved = plan::decide(&due, look.looked_at, &self.defaults);
                decided.push((due, moved));
            }
            if self.fire(&decided).await? == 0 {
                let wait =
                    (FRUITLESS_WAIT * 2_u32.pow((*fruitless).min(10))).min(Duration::from_secs(1));
                *fruitless += 1;
                return Ok(next.min(clock::monotonic() + wait));
            }
            // And again: there may be more than one batch, and a fire that was just put behind an execution may find
            // that this one has ended meanwhile.
            *fruitless = 0;
        }
    }

    /// Sends what was decided. Returns how many schedules were moved.
    async fn fire(&self, decided: &[(DueSchedule, ScheduleMove)]) -> Result<usize, StoreError> {
        let mut count = 0;
        let mut first_error = None;
        for batch in batches(decided) {
            match self.send(batch).await {
                Ok(moved) => count += moved,
                Err(error) if error.is_ambiguous() => return Err(error),
                // One of them may be the reason: the others do not wait for that.
                Err(_of_the_batch) => {
                    for one in batch {
                        match self.send_one(one).await {
                            Ok(moved) => count += moved,
                            Err(error) if error.is_ambiguous() => return Err(error),
                            Err(error) => first_error = first_error.or(Some(error)),
                        }
                    }
                }
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => Ok(count),
        }
    }

    /// One schedule alone. If the database refuses its executions, it is moved on without them, with the reason.
    async fn send_one(&self, one: &(DueSchedule, ScheduleMove)) -> Result<usize, StoreError> {
        let (due, moved) = one;
        match self.send(std::slice::from_ref(one)).await {
            Err(error) if !error.is_retryable() && !moved.executions.is_empty() => {
                let without = ScheduleMove {
                    executions: Vec::new(),
                    waiting: Vec::new(),
                    error: Some(format!(
                        "its execution could not be made, it goes on at its next time: {error}"
                    )),
                    ..moved.clone()
                };
                self.send(&[(due.clone(), without)]).await
            }
            sent => sent,
        }
    }

    async fn send(&self, batch: &[(DueSchedule, ScheduleMove)]) -> Result<usize, StoreError> {
        let moves: Vec<ScheduleMove> = batch.iter().map(|(_, moved)| moved.clone()).collect();
        let done = self.store.fire_schedules(&moves).await?;
        let mut executions = 0;
        for (due, moved) in batch.iter().filter(|(due, _)| done.contains(&due.id)) {
            executions += moved.executions.len();
            self.tell(due, moved);
        }
        if executions > 0 {
            self.telemetry
                .emit(Event::SchedulesTriggered { executions });
        }
        Ok(done.len())
    }

    fn tell(&self, due: &DueSchedule, moved: &ScheduleMove) {
        let (id, workflow) = (due.id, due.workflow_name.clone());
        if let Some(error) = &moved.error {
            self.telemetry.emit(Event::ScheduleFailed {
                id,
                workflow,
                error: error.clone(),
            });
        } else if let Some(reason) = &moved.skip_reason
            && due.skip_reason.is_none()
        {
            // Once, not with each time that is skipped after that.
            self.telemetry.emit(Event::ScheduleSkipped {
                id,
                workflow,
                reason: reason.clone(),
            });
        }
    }

    /// Reports an outage once, and plans the next look.
    fn note(&self, looked: Result<Instant, StoreError>, agenda: &mut Agenda) {
        match looked {
            Ok(until) => {
                agenda.until = until;
                agenda.error_wait = FIRST_ERROR_WAIT;
                if agenda.is_outage_reported {
                    agenda.is_outage_reported = false;
                    self.telemetry
                        .emit(Event::DatabaseBack { part: "scheduler" });
                }
            }
            Err(error) => {
                if !agenda.is_outage_reported {
                    agenda.is_outage_reported = true;
                    self.telemetry.emit(Event::DatabaseLost {
                        part: "scheduler",
                        error: error.to_string(),
                    });
                }
                agenda.until = clock::monotonic() + agenda.error_wait;
                agenda.error_wait = (agenda.error_wait * 2).min(MAX_ERROR_WAIT);
            }
        }
    }
}

/// Cuts where a statement would make too many executions.
fn batches(
    decided: &[(DueSchedule, ScheduleMove)],
) -> impl Iterator<Item = &[(DueSchedule, ScheduleMove)]> {
    let mut executions = 0;
    decided.chunk_by(move |(_, before), (_, after)| {
        executions += before.executions.len();
        let fits = executions + after.executions.len() <= MAX_EXECUTIONS;
        if !fits {
            executions = 0;
        }
        fits
    })
}

impl std::fmt::Debug for Agenda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agenda").finish_non_exhaustive()
    }
}
