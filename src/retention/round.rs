//! One round: batch after batch until nothing old is left; and the same as a mere count.
//!
//! A batch that takes too long is tried again at half its size. After each there is a pause at least as long as it took,
//! so that a round never has more than half of one connection, whatever the disk is like.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock;
use crate::ids::Timestamp;
use crate::store::retention::{Batch, BatchSize, History, PageStart, Removed};
use crate::store::{Store, StoreError};

/// The longest that one batch may take before the database is asked to cancel it.
const BATCH_LIMIT: Duration = Duration::from_secs(5);
/// Some 20 ms of a small database.
const FULL_BATCH: BatchSize = BatchSize {
    executions: 200,
    rows: 2_000,
};
/// A batch is not made smaller than this number of executions.
const LEAST_EXECUTIONS: i64 = 3;
/// The shortest pause between two batches.
const PAUSE: Duration = Duration::from_millis(20);
/// Executions that are counted by one statement.
const COUNT_PAGE: i64 = 500;
/// Executions whose host row is looked for by one statement.
const ORPHAN_PAGE: i64 = 2_000;
/// Pages of those that a round in the background looks at, from a place that differs from round to round: such rows are
/// rare, and a look at all of them costs the same whether there are any or not.
const ORPHAN_PAGES_PER_ROUND: usize = 5;
/// How long a command waits for its turn, if a worker is at it.
const COMMAND_WAITS: Duration = Duration::from_secs(30);
/// The wait before the next try then.
const TURN_PAUSE: Duration = Duration::from_millis(50);

/// Who makes the round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// A worker: leaves the rest to whoever else is at it, and looks at a part of what is only suspected.
    OfTheBackground,
    /// Somebody who waits for the result: takes turns, and looks everywhere.
    OfACommand,
}

/// A round.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// The database.
    pub store: &'a Store,
    /// What ended before is old; by the database's clock.
    pub cutoff: Timestamp,
    /// Whether the platform's own rows go as well.
    pub prune_host_tables: bool,
    /// Who makes it.
    pub patience: Patience,
    /// Ends it early; what it has removed by then stays removed.
    pub stop: &'a CancellationToken,
}

/// What a round has done.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What it has removed.
    pub removed: Removed,
    /// Why it did not do all, and what would help.
    pub problem: Option<String>,
}

/// What one batch removes.
#[derive(Clone, Copy)]
enum Work {
    History(History, BatchSize),
    /// From this place on.
    Orphans(Uuid),
    Graphs,
}

/// Why a part of a round ended early.
enum Halt {
    /// It was told to stop, or another is at it: nothing is wrong.
    Quietly,
    /// A batch took too long.
    TooSlow(String),
    /// Something else is wrong.
    Problem(String),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::TimedOut { .. } => Self::TooSlow(text),
            _ => Self::Problem(text),
        }
    }
}

impl Round<'_> {
    /// Removes all that is old.
    pub async fn run(&self) -> Outcome {
        let store = self.store.clone().with_deadline(BATCH_LIMIT);
        let mut removed = Removed::default();
        let problem = match self.all_parts(&store, &mut removed).await {
            Ok(()) | Err(Halt::Quietly) => None,
            Err(Halt::TooSlow(problem) | Halt::Problem(problem)) => Some(problem),
        };
        Outcome { removed, problem }
    }

    async fn all_parts(&self, store: &Store, removed: &mut Removed) -> Result<(), Halt> {
        self.histories(store, History::Own, removed).await?;
        let mut refusal = None;
        if self.prune_host_tables {
            refusal = host_pruning_refusal(store).await?;
            if refusal.is_none() {
                self.histories(store, History::Host, removed).await?;
            }
        }
        self.orphans(store, removed).await?;
        loop {
            let (batch, _) = self.in_turn(store, Work::Graphs).await?;
            removed.add(&batch.removed);
            if batch.looked_at == 0 {
                break;
            }
        }
        refusal.map_or(Ok(()), |refusal| Err(Halt::Problem(refusal)))
    }

    async fn histories(
        &self,
        store: &Store,
        history: History,
        removed: &mut Removed,
    ) -> Result<(), Halt> {
        let mut size = FULL_BATCH;
        loop {
            let batch = match self.in_turn(store, Work::History(history, size)).await {
                Ok((batch, _)) => batch,
                // A slow disk, or a table that the planner knows nothing of yet.
                Err(Halt::TooSlow(_)) if size.executions > LEAST_EXECUTIONS => {
                    size.executions /= 2;
                    size.rows /= 2;
                    continue;
                }
                Err(halt) => return Err(halt),
            };
            removed.add(&batch.removed);
            if batch.looked_at == 0 {
                return Ok(());
            }
            if history == History::Host && batch.removed.0.is_empty() {
                return Err(Halt::Problem(format!(
                    "{} execution(s) that are to be removed from public.workflowexecution stay there: a trigger keeps them",
                    batch.looked_at
                )));
            }
        }
    }

    async fn orphans(&self, store: &Store, removed: &mut Removed) -> Result<(), Halt> {
        let (mut after, pages) = match self.patience {
            Patience::OfTheBackground => (Uuid::new_v4(), ORPHAN_PAGES_PER_ROUND),
            Patience::OfACommand => (Uuid::nil(), usize::MAX),
        };
        for _page in 0..pages {
            let (batch, next) = self.in_turn(store, Work::Orphans(after)).await?;
            removed.add(&batch.removed);
            match next {
                Some(last) => after = last,
                None => break,
            }
        }
        Ok(())
    }

    /// One batch, when it is this round's turn, and the pause after it.
    async fn in_turn(&self, store: &Store, work: Work) -> Result<(Batch, Option<Uuid>), Halt> {
        let since = clock::monotonic();
        loop {
            if self.stop.is_cancelled() {
                return Err(Halt::Quietly);
            }
            let asked_at = clock::monotonic();
            let (batch, next) = match work {
                Work::History(history, size) => {
                    (store.prune(history, self.cutoff, size).await?, None)
                }
                Work::Orphans(after) => store.prune_orphans(after, ORPHAN_PAGE, false).await?,
                Work::Graphs => (store.prune_graphs().await?, None),
            };
            if batch.is_mine {
                if batch.looked_at > 0 {
                    self.pause(PAUSE.max(asked_at.elapsed())).await;
                }
                return Ok((batch, next));
            }
            if self.patience == Patience::OfTheBackground {
                return Err(Halt::Quietly);
            }
            if since.elapsed() > COMMAND_WAITS {
                return Err(Halt::Problem(
                    "another round is at work and has left no turn: try again later".to_owned(),
                ));
            }
            self.pause(TURN_PAUSE).await;
        }
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// Why the platform's tables cannot be pruned, if so, with the statements that would mend it.
///
/// # Errors
/// If the database does not answer.
pub async fn host_pruning_refusal(store: &Store) -> Result<Option<String>, StoreError> {
    let needs = store.host_pruning_needs().await?;
    Ok((!needs.is_empty()).then(|| {
        format!(
            "the platform's tables are not pruned, because each deleted execution would cost a scan of a whole table, or the \
             role lacks a right: run {}",
            needs.join(" ")
        )
    }))
}

/// Counts what a round would remove, without a change to anything.
///
/// # Errors
/// If the database does not answer.
pub async fn count(
    store: &Store,
    cutoff: Timestamp,
    prune_host_tables: bool,
) -> Result<Removed, StoreError> {
    let mut counted = Removed::default();
    let histories: &[History] = if prune_host_tables {
        &[History::Own, History::Host]
    } else {
        &[History::Own]
    };
    for history in histories {
        let mut page = Some(PageStart::default());
        while let Some(start) = page {
            let (on_page, next) = store
                .count_prunable(*history, cutoff, &start, COUNT_PAGE)
                .await?;
            counted.add(&on_page);
            page = next;
        }
    }
    let mut after = Some(Uuid::nil());
    while let Some(start) = after {
        let (batch, next) = store.prune_orphans(start, ORPHAN_PAGE, true).await?;
        counted.add(&batch.removed);
        after = next;
    }
    counted.add(&store.count_prunable_graphs().await?);
    Ok(counted)
}
