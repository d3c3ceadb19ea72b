//! Old history: once an hour one of the workers removes what ended longer ago than it is to be kept.
//!
//! Small batches with pauses between them, each a short statement that waits for nobody's row lock and not for the disk,
//! so that what runs does not feel it ([`round`]). Whoever comes first takes the round; the others find that it was
//! taken. What a round leaves (a row that somebody has locked, the worker's stop, an outage) the next one takes.

pub mod round;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{DatabaseConfig, RetentionConfig};
use crate::store::{Store, StoreError};
use crate::telemetry::{Event, Telemetry};
use round::{Outcome, Patience, Round};

/// How often old history is removed.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// The earliest first look of a worker after its start, so that a restart does not add to its own load.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// First looks spread over this time, so that a fleet that starts at once does not look at once.
const FIRST_LOOK_SPREAD: Duration = Duration::from_secs(300);
/// After an error of the database, how long until the next look.
const AFTER_ERROR: Duration = Duration::from_secs(300);

/// When a worker looks whether a round is due.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// The wait before the first look.
    pub first: Duration,
    /// The wait between two looks, and the least time between two rounds of the whole fleet.
    pub interval: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            first: FIRST_LOOK + FIRST_LOOK_SPREAD.mul_f64(any_fraction()),
            interval: INTERVAL,
        }
    }
}

/// The retention's parts.
#[derive(Debug)]
pub struct Retention {
    /// The worker's connections, to see whether a round is due.
    pub store: Store,
    /// The database, for the one connection that a round has of its own: what runs never waits for one that a batch uses.
    pub database: DatabaseConfig,
    /// For how long history is kept, and whose.
    pub config: RetentionConfig,
    /// Who this is, for people.
    pub worker_name: String,
    /// When it looks.
    pub rhythm: Rhythm,
    /// Where events go.
    pub telemetry: Telemetry,
}

impl Retention {
    /// Removes old history from time to time, until told to stop. Returns at once if history is kept for ever.
    pub async fn run(self, stop: CancellationToken) {
        let Some(keep) = self.config.keep else {
            return;
        };
        let mut wait = self.rhythm.first;
        let mut last_problem = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            // Up to a tenth more, so that the same worker is not always the first.
            wait = self.rhythm.interval.mul_f64(1.0 + any_fraction() / 10.0);
            if !self.look(keep, &mut last_problem, &stop).await {
                wait = wait.min(AFTER_ERROR);
            }
        }
    }

    fn store_of_a_round(&self) -> Result<Store, StoreError> {
        let store = Store::new(&DatabaseConfig {
            pool_size: 1,
            ..self.database.clone()
        })?;
        store.set_named_statements(self.store.uses_named_statements());
        Ok(store)
    }

    /// Makes a round, if one is due. Returns whether the database has answered.
    async fn look(
        &self,
        keep: Duration,
        last_problem: &mut Option<String>,
        stop: &CancellationToken,
    ) -> bool {
        let begun = self
            .store
            .begin_pruning(self.rhythm.interval, keep, &self.worker_name)
            .await;
        let cutoff = match begun {
            Ok(Some(cutoff)) => cutoff,
            Ok(None) => return true,
            Err(error) => {
                // Heartbeat and dispatcher tell of an outage.
                tracing::debug!("retention: {error}");
                return false;
            }
        };
        let store = match self.store_of_a_round() {
            Ok(store) => store,
            Err(error) => {
                tracing::debug!("retention: {error}");
                return false;
            }
        };
        let round = Round {
            store: &store,
            cutoff,
            prune_host_tables: self.config.prune_host_tables,
            patience: Patience::OfTheBackground,
            stop,
        };
        let Outcome { removed, problem } = round.run().await;
        let total = removed.total();
        if total.rows > 0 {
            self.telemetry.emit(Event::Pruned {
                rows: total.rows,
                bytes: total.bytes,
            });
        }
        if problem != *last_problem {
            last_problem.clone_from(&problem);
            if let Some(problem) = problem.clone() {
                self.telemetry.emit(Event::PruningFailed { problem });
            }
        }
        match self.store.end_pruning(total, problem.as_deref()).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!("retention: {error}");
                false
            }
        }
    }
}

/// Between 0 and 1, another one each time.
fn any_fraction() -> f64 {
    let [first, second, ..] = *Uuid::new_v4().as_bytes();
    f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX)
}
