//! The workers' own rows: registration, heartbeat, rescue of what the dead held.

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Store, StoreError, sql};
use crate::ids::WorkerId;

/// Who this process is to the others. A new one is taken when they have declared it dead.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its id.
    pub id: WorkerId,
    /// Cancelled when the leases of this identity may be held by others: what runs under them is to stop.
    pub void: CancellationToken,
}

impl Identity {
    /// A fresh one.
    pub fn fresh() -> Self {
        Self {
            id: WorkerId(Uuid::new_v4()),
            void: CancellationToken::new(),
        }
    }
}

/// What the listener can do at the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hearing {
    /// Not yet known, or reconnecting.
    Connecting,
    /// An echo has come; notifications arrive. Holds the key of the presence lock, if it was given.
    Listening {
        /// The advisory lock that vanishes with this process.
        presence_key: Option<i64>,
    },
    /// No echo comes: polling only.
    PollingOnly,
}

/// What a worker says of itself when it registers.
#[derive(Clone, Debug)]
pub struct WorkerRow {
    /// Fresh for each process, and for each time that the others have declared it dead.
    pub id: WorkerId,
    /// For people.
    pub name: String,
    /// The machine or container.
    pub hostname: String,
    /// The process there.
    pub pid: i32,
    /// Without a heartbeat for so many seconds it is dead.
    pub lease_seconds: f64,
    /// Without a heartbeat for so many seconds it is dead if its presence lock is free as well.
    pub silence_seconds: f64,
    /// Slots.
    pub concurrency: i32,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// Whether the others still count on this worker. If not, they run what it held.
    pub is_registered: bool,
    /// Workers that seem dead.
    pub dead: Vec<Uuid>,
}

/// What a worker says with each heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Vitals {
    /// Executions that it runs.
    pub running: i32,
    /// Whether its listener hears.
    pub is_listening: bool,
    /// The advisory lock that its listener holds.
    pub presence_key: Option<i64>,
    /// Whether it has stopped claiming.
    pub is_draining: bool,
}

impl Store {
    /// Adds this process to the workers.
    pub async fn register(
        &self,
        worker: &WorkerRow,
        presence_key: Option<i64>,
    ) -> Result<(), StoreError> {
        self.query(
            &sql::REGISTER_WORKER,
            &[
                &worker.id.0,
                &worker.name,
                &worker.hostname,
                &worker.pid,
                &env!("CARGO_PKG_VERSION"),
                &worker.lease_seconds,
                &worker.silence_seconds,
                &worker.concurrency,
                &presence_key,
            ],
        )
        .await
        .map(drop)
    }

    /// Proves that the worker lives.
    pub async fn heartbeat(
        &self,
        worker: WorkerId,
        vitals: Vitals,
    ) -> Result<Heartbeat, StoreError> {
        let state = if vitals.is_draining {
            "draining"
        } else {
            "running"
        };
        let rows = self
            .query(
                &sql::HEARTBEAT,
                &[
                    &worker.0,
                    &vitals.running,
                    &vitals.is_listening,
                    &vitals.presence_key,
                    &state,
                ],
            )
            .await?;
        let row = rows
            .first()
            .ok_or_else(|| StoreError::Unavailable("no answer to a heartbeat".to_owned()))?;
        Ok(Heartbeat {
            is_registered: row.try_get("is_registered")?,
            dead: row.try_get("dead")?,
        })
    }

    /// Makes up to `limit` executions of dead workers due again. Returns how many.
    pub async fn rescue(&self, dead: &[Uuid], limit: i64) -> Result<i64, StoreError> {
        let rows = self.query(&sql::RESCUE, &[&dead, &limit]).await?;
        rows.first()
            .map_or(Ok(0), |row| Ok(row.try_get("rescued")?))
    }

    /// Removes dead workers that hold nothing any more. Returns their names.
    pub async fn bury(&self, dead: &[Uuid]) -> Result<Vec<String>, StoreError> {
        let rows = self.query(&sql::BURY_WORKERS, &[&dead]).await?;
        rows.iter().map(|row| Ok(row.try_get("name")?)).collect()
    }

    /// Takes this process off the workers. Returns how many executions it still held; they are due again.
    pub async fn deregister(&self, worker: WorkerId) -> Result<i64, StoreError> {
        let rows = self.query(&sql::DEREGISTER_WORKER, &[&worker.0]).await?;
        rows.first()
            .map_or(Ok(0), |row| Ok(row.try_get("released")?))
    }
}
