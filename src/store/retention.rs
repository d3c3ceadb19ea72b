//! The removal of old history, batch by batch, and the counting of what it would remove.
//!
//! Each statement is short and bounded; who calls them, how often and for how long is up to `retention`.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::Row;
use uuid::Uuid;

use super::{Parameter, Statement, Store, StoreError, sql};
use crate::ids::Timestamp;

/// The advisory lock under which batches are removed, one at a time: the bytes of `retained`.
const BATCH_LOCK: i64 = i64::from_be_bytes(*b"retained");

/// Graphs that one batch removes. They are few.
const GRAPHS_PER_BATCH: i64 = 100;

/// Rows of one table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Amount {
    /// How many.
    pub rows: i64,
    /// About how many bytes, as they are stored (compressed, without indexes).
    pub bytes: i64,
}

/// What was removed, or would be, by table. A table without such rows is not in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Removed(pub BTreeMap<String, Amount>);

impl Removed {
    /// Adds what another batch has removed.
    pub fn add(&mut self, other: &Self) {
        for (table, amount) in &other.0 {
            let sum = self.0.entry(table.clone()).or_default();
            sum.rows += amount.rows;
            sum.bytes += amount.bytes;
        }
    }

    /// Of all tables together.
    pub fn total(&self) -> Amount {
        self.0
            .values()
            .fold(Amount::default(), |sum, of_table| Amount {
                rows: sum.rows + of_table.rows,
                bytes: sum.bytes + of_table.bytes,
            })
    }

    fn read(rows: &[Row]) -> Result<Self, StoreError> {
        let mut removed = Self::default();
        for row in rows {
            let amount = Amount {
                rows: row.try_get("rows")?,
                bytes: row.try_get("bytes")?,
            };
            if amount.rows > 0 {
                removed.0.insert(row.try_get("table_name")?, amount);
            }
        }
        Ok(removed)
    }
}

/// How much one batch may take.
#[derive(Clone, Copy, Debug)]
pub struct BatchSize {
    /// Executions.
    pub executions: i64,
    /// Steps or log rows of them.
    pub rows: i64,
}

/// One batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Whether nobody else was removing one at that moment. If not, nothing was done.
    pub is_mine: bool,
    /// How many executions (or graphs) were there to be removed, wholly or in part. 0: there is nothing left.
    pub looked_at: i64,
    /// What was removed.
    pub removed: Removed,
}

/// Where a page begins, in the order of the statement that reads it.
#[derive(Clone, Debug)]
pub struct PageStart {
    at: String,
    id: Uuid,
}

impl Default for PageStart {
    fn default() -> Self {
        Self {
            at: "-infinity".to_owned(),
            id: Uuid::nil(),
        }
    }
}

/// Which history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum History {
    /// What the worker keeps for itself.
    Own,
    /// Executions of the platform, their log rows and signals.
    Host,
}

impl Store {
    /// Begins a round, if the last one began at least `interval` ago, and returns the time before which history is old.
    pub async fn begin_pruning(
        &self,
        interval: Duration,
        older_than: Duration,
        who: &str,
    ) -> Result<Option<Timestamp>, StoreError> {
        let parameters: [Parameter<'_>; 3] =
            [&interval.as_secs_f64(), &older_than.as_secs_f64(), &who];
        let rows = self.query(&sql::PRUNE_BEGIN, &parameters).await?;
        rows.first()
            .map(|row| Ok(row.try_get("cutoff")?))
            .transpose()
    }

    /// The time before which history is old, by the database's clock.
    pub async fn pruning_cutoff(&self, older_than: Duration) -> Result<Timestamp, StoreError> {
        let rows = self
            .query(&sql::PRUNE_CUTOFF, &[&older_than.as_secs_f64()])
            .await?;
        let row = rows.first().ok_or_else(no_answer)?;
        Ok(row.try_get("cutoff")?)
    }

    /// Notes what a round has done, and why it was not done whole.
    pub async fn end_pruning(
        &self,
        total: Amount,
        problem: Option<&str>,
    ) -> Result<(), StoreError> {
        self.query_count(&sql::PRUNE_END, &[&total.rows, &total.bytes, &problem])
            .await
            .map(drop)
    }

    /// Removes one batch of history that ended before `cutoff`.
    pub async fn prune(
        &self,
        history: History,
        cutoff: Timestamp,
        size: BatchSize,
    ) -> Result<Batch, StoreError> {
        let statement = match history {
            History::Own => &sql::PRUNE_HISTORY,
            History::Host => &sql::PRUNE_HOST,
        };
        let parameters: [Parameter<'_>; 4] = [&cutoff, &size.executions, &size.rows, &BATCH_LOCK];
        self.batch(statement, &parameters).await
    }

    /// Counts what [`Store::prune`] would remove, one page; with where the next page begins, `None` after the last.
    pub async fn count_prunable(
        &self,
        history: History,
        cutoff: Timestamp,
        page: &PageStart,
        executions: i64,
    ) -> Result<(Removed, Option<PageStart>), StoreError> {
        let statement = match history {
            History::Own => &sql::COUNT_HISTORY,
            History::Host => &sql::COUNT_HOST,
        };
        let rows = self
            .query(statement, &[&cutoff, &page.at, &page.id, &executions])
            .await?;
        let next = match rows.first() {
            Some(row) => match (row.try_get("last_at")?, row.try_get("last_id")?) {
                (Some(at), Some(id)) => Some(PageStart { at, id }),
                _ => None,
            },
            None => None,
        };
        Ok((Removed::read(&rows)?, next))
    }

    /// Removes, or counts, one page of what is kept of pruned executions whose host row has gone without a word; with
    /// where the next page begins, `None` after the last.
    pub async fn prune_orphans(
        &self,
        after: Uuid,
        executions: i64,
        is_dry_run: bool,
    ) -> Result<(Batch, Option<Uuid>), StoreError> {
        let parameters: [Parameter<'_>; 4] = [&after, &executions, &BATCH_LOCK, &is_dry_run];
        let rows = self.query(&sql::PRUNE_ORPHANS, &parameters).await?;
        let next = match rows.first() {
            Some(row) => row.try_get("last_id")?,
            None => None,
        };
        Ok((read_batch(&rows)?, next))
    }

    /// Removes one batch of graphs that nobody has used for a day, and marks those that nobody uses now.
    pub async fn prune_graphs(&self) -> Result<Batch, StoreError> {
        self.batch(&sql::PRUNE_GRAPHS, &[&GRAPHS_PER_BATCH, &BATCH_LOCK])
            .await
    }

    /// Counts what [`Store::prune_graphs`] would remove.
    pub async fn count_prunable_graphs(&self) -> Result<Removed, StoreError> {
        Removed::read(&self.query(&sql::COUNT_GRAPHS, &[]).await?)
    }

    /// What keeps the platform's tables from being pruned: the statements that would mend it.
    pub async fn host_pruning_needs(&self) -> Result<Vec<String>, StoreError> {
        let rows = self.query(&sql::PRUNE_FACTS, &[]).await?;
        rows.iter().map(|row| Ok(row.try_get("remedy")?)).collect()
    }

    async fn batch(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
    ) -> Result<Batch, StoreError> {
        read_batch(&self.query(statement, parameters).await?)
    }
}

fn read_batch(rows: &[Row]) -> Result<Batch, StoreError> {
    let first = rows.first().ok_or_else(no_answer)?;
    Ok(Batch {
        is_mine: first.try_get("is_mine")?,
        looked_at: first.try_get("looked_at")?,
        removed: Removed::read(rows)?,
    })
}

fn no_answer() -> StoreError {
    StoreError::Unavailable("no answer from a statement of the retention".to_owned())
}
