//! Makes steps durable: gathers the records of all runners into one statement and one commit.
//!
//! While one batch is being committed the next one gathers, so the batch grows with the load and an idle worker waits
//! for nothing. A second one is begun beside it when enough has gathered to keep the database busy, or when the first takes
//! long: a record that is large, or waits for a lock, does not hold up those of other executions. (Each runner has one
//! record on its way at most, so there is no order to be kept between two commits.)
//!
//! A record is answered only after its commit. A batch that the database refuses is split, so that one execution's bad data
//! costs the others nothing. A commit whose answer was lost is looked up, not repeated blindly.

mod batch;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::ids::{ExecutionId, WorkerId};
pub use crate::store::record::{Disposition, Publish, Record, Recorded};
use crate::store::{Store, StoreError};
use crate::telemetry::{Event, Telemetry};

/// Records that wait for the writer. At the bound runners wait; each has at most one record waiting, so the bound is
/// only met where more executions are held than this.
const QUEUE_BOUND: usize = 1_024;

/// With so many records a second commit is begun while the first is on its way; fewer are cheaper in one.
const OVERLAP_FROM: usize = 32;
/// A commit that takes longer holds up no others. Most take a few milliseconds.
const HELD_UP_AFTER: Duration = Duration::from_millis(25);

/// Why a record was not taken.
#[derive(Clone, Debug, Error)]
pub enum RecordError {
    /// The database refuses these values.
    #[error("{0}")]
    Refused(String),
    /// The worker is gone.
    #[error("the writer has stopped")]
    Stopped,
}

struct Job {
    /// Shared with the runner, which may have to send it again.
    record: Arc<Record>,
    answer: oneshot::Sender<Result<Recorded, RecordError>>,
}

/// Where runners hand in their records. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WriterHandle {
    queue: mpsc::Sender<Job>,
}

impl WriterHandle {
    /// Makes a record durable. Returns after its commit; not before the database answers, however long that takes.
    pub async fn record(&self, record: Arc<Record>) -> Result<Recorded, RecordError> {
        let (answer, answered) = oneshot::channel();
        self.queue
            .send(Job { record, answer })
            .await
            .map_err(|_closed| RecordError::Stopped)?;
        answered.await.unwrap_or(Err(RecordError::Stopped))
    }
}

/// The writer. Ends when all handles are gone and everything is written.
#[derive(Debug)]
pub struct Writer {
    queue: mpsc::Receiver<Job>,
    commits: Commits,
}

/// What commits batches.
#[derive(Debug)]
struct Commits {
    store: Store,
    telemetry: Telemetry,
    /// Whether it was said that the database is lost.
    is_lost: AtomicBool,
}

impl Writer {
    /// A writer and the handle to it.
    pub fn new(store: Store, telemetry: Telemetry) -> (Self, WriterHandle) {
        let (sender, queue) = mpsc::channel(QUEUE_BOUND);
        (
            Self {
                queue,
                commits: Commits {
                    store,
                    telemetry,
                    is_lost: AtomicBool::new(false),
                },
            },
            WriterHandle { queue: sender },
        )
    }

    /// Writes until all handles are gone.
    pub async fn run(mut self) {
        let (queue, commits) = (&mut self.queue, &self.commits);
        // Claims and looks keep a connection whatever two commits wait for.
        let may_overlap = commits.store.connections() > 2;
        let mut gathered: Vec<Job> = Vec::new();
        let mut writing = FuturesUnordered::new();
        let mut on_their_way: Vec<OnItsWay> = Vec::new();
        let mut is_open = true;
        while is_open || !gathered.is_empty() || !writing.is_empty() {
            let ends_children = on_their_way.iter().any(|other| other.ends_children);
            let is_free = |job: &Job| !(ends_children && job.record.ends_child);
            let free = gathered.iter().filter(|job| is_free(job)).count();
            let held_up_at = match on_their_way.as_slice() {
                [other] if may_overlap => Some(other.begun + HELD_UP_AFTER),
                _ => None,
            };
            let is_due = on_their_way.is_empty()
                || free >= OVERLAP_FROM && held_up_at.is_some()
                || held_up_at.is_some_and(|at| at <= clock::monotonic());
            if is_due && free > 0 {
                let (due, others): (Vec<Job>, Vec<Job>) = gathered.into_iter().partition(is_free);
                gathered = others;
                let begun = clock::monotonic();
                on_their_way.push(OnItsWay {
                    begun,
                    ends_children: due.iter().any(|job| job.record.ends_child),
                });
                let batches = batch::split(due, |job| &*job.record);
                writing.push(commits.write_all(batches).map(move |()| begun));
                continue;
            }
            let room = batch::MAX_RECORDS - gathered.len();
            tokio::select! {
                count = queue.recv_many(&mut gathered, room), if is_open && room > 0 => is_open = count > 0,
                Some(begun) = writing.next() => on_their_way.retain(|other| other.begun != begun),
                () = clock::until(held_up_at), if held_up_at.is_some() && free > 0 => {}
            }
        }
    }
}

/// A commit that has begun.
struct OnItsWay {
    begun: Instant,
    /// Whether it holds ends of executions that others have started. Those of one parent all need its row, and a record
    /// that cannot have what it needs must be sent again: they go one after another.
    ends_children: bool,
}

impl Commits {
    async fn write_all(&self, batches: Vec<Vec<Job>>) {
        for batch in batches {
            self.write(batch).await;
        }
    }

    async fn write(&self, batch: Vec<Job>) {
        let trouble = match self.commit(&batch, Outcome::Known).await {
            Ok(answers) => {
                for (job, answer) in batch.into_iter().zip(answers) {
                    job.reply(Ok(answer));
                }
                return;
            }
            Err(trouble) => trouble,
        };
        // One of them is refused, or is more than the database can take in time: find out which. An earlier attempt, whose
        // answer was lost, may have brought all of them in.
        let is_alone = batch.len() == 1;
        for job in batch {
            let alone = [job];
            let result = if is_alone {
                Err(trouble.clone())
            } else {
                self.commit(&alone, Outcome::Unknown).await
            };
            let [job] = alone;
            job.reply(match result {
                Ok(answers) => answers.first().copied().ok_or(RecordError::Stopped),
                Err(trouble) => Err(RecordError::Refused(trouble.to_string())),
            });
        }
    }

    /// Commits a batch, and does not give up while the database is away.
    async fn commit(&self, batch: &[Job], outcome: Outcome) -> Result<Vec<Recorded>, Trouble> {
        let Some(worker) = batch.first().map(|job| job.record.worker) else {
            return Ok(Vec::new());
        };
        let mut pending: Vec<Arc<Record>> =
            batch.iter().map(|job| Arc::clone(&job.record)).collect();
        let mut known = HashMap::new();
        let mut outcome = outcome;
        let mut outage = Outage::new(&self.telemetry, &self.is_lost);
        let (mut slow, most_slow) = match batch.len() {
            1 => (0, SLOW_ALONE),
            _ => (0, SLOW_TOGETHER),
        };
        loop {
            if outcome == Outcome::Unknown
                && let Err(error) = self.look_up(worker, &mut pending, &mut known).await
            {
                outage.wait(&error).await;
                continue;
            }
            if pending.is_empty() {
                break;
            }
            // The database answered the look-up, and the statement not: it is the statement.
            if slow >= most_slow {
                return Err(Trouble::TooSlow);
            }
            let error = match self.store.record(worker, &pending).await {
                Ok(answers) => {
                    for (record, answer) in std::mem::take(&mut pending).into_iter().zip(answers) {
                        if answer == Recorded::Stale && outcome == Outcome::Unknown {
                            pending.push(record);
                        } else {
                            known.insert(record.execution_id, answer);
                        }
                    }
                    // They may be stale because an earlier attempt has been committed since the look-up.
                    while !pending.is_empty()
                        && let Err(error) = self.look_up(worker, &mut pending, &mut known).await
                    {
                        outage.wait(&error).await;
                    }
                    break;
                }
                Err(StoreError::Refused { code, message }) => {
                    return Err(Trouble::Refused(format!("{message} (SQLSTATE {code})")));
                }
                Err(error) => error,
            };
            if error.is_ambiguous() {
                outcome = Outcome::Unknown;
            }
            slow += u32::from(error.is_too_slow());
            outage.wait(&error).await;
        }
        outage.is_over();
        Ok(batch
            .iter()
            .map(|job| {
                known
                    .get(&job.record.execution_id)
                    .copied()
                    .unwrap_or(Recorded::Stale)
            })
            .collect())
    }

    /// Takes out of `pending` what an earlier attempt has recorded after all.
    async fn look_up(
        &self,
        worker: WorkerId,
        pending: &mut Vec<Arc<Record>>,
        known: &mut HashMap<ExecutionId, Recorded>,
    ) -> Result<(), StoreError> {
        for (execution, is_held) in self.store.was_recorded(worker, pending).await? {
            // Still held: whether somebody has written the host row meanwhile is not known, so the runner looks.
            let answer = if is_held {
                Recorded::HostChanged
            } else {
                Recorded::Committed
            };
            known.insert(execution, answer);
        }
        pending.retain(|record| !known.contains_key(&record.execution_id));
        Ok(())
    }
}

/// Whether it is known that a batch has not taken effect yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Known,
    Unknown,
}

/// Why a batch cannot be committed as it is.
#[derive(Clone, Debug, Error)]
enum Trouble {
    #[error("{0}")]
    Refused(String),
    #[error("the database cannot store it in time: outputs or data of the execution are too large")]
    TooSlow,
}

/// Attempts that may run into the deadline before a batch is split, and before a record alone is given up.
const SLOW_TOGETHER: u32 = 1;
const SLOW_ALONE: u32 = 3;

/// Failed attempts in a row without an outage that are worth a line: a database that is busy for a moment is none.
const REPORT_AFTER: u32 = 5;

/// Waits between attempts, and says once that and once more that it is over.
struct Outage<'a> {
    telemetry: &'a Telemetry,
    /// Of all commits: one that is lost for two of them is told once.
    is_reported: &'a AtomicBool,
    backoff: ExponentialBackoff,
    attempts: u32,
}

impl<'a> Outage<'a> {
    fn new(telemetry: &'a Telemetry, is_reported: &'a AtomicBool) -> Self {
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(Duration::from_millis(20))
            .with_max_interval(Duration::from_secs(2))
            .with_max_elapsed_time(None)
            .build();
        Self {
            telemetry,
            is_reported,
            backoff,
            attempts: 0,
        }
    }

    async fn wait(&mut self, error: &StoreError) {
        self.attempts += 1;
        let is_worth_a_line =
            !matches!(error, StoreError::Busy { .. }) || self.attempts >= REPORT_AFTER;
        if is_worth_a_line && !self.is_reported.swap(true, Ordering::Relaxed) {
            let error = error.to_string();
            self.telemetry.emit(Event::DatabaseLost {
                part: "writer",
                error,
            });
        }
        tokio::time::sleep(
            self.backoff
                .next_backoff()
                .unwrap_or(Duration::from_secs(2)),
        )
        .await;
    }

    fn is_over(&self) {
        if self.is_reported.swap(false, Ordering::Relaxed) {
            self.telemetry.emit(Event::DatabaseBack { part: "writer" });
        }
    }
}

impl Job {
    fn reply(self, result: Result<Recorded, RecordError>) {
        // A runner that has stopped meanwhile needs no answer.
        drop(self.answer.send(result));
    }
}
