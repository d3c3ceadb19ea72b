//! Applies `sql/migrations/` and takes them back.
//!
//! All pending migrations are one transaction under one advisory lock, so ten workers that start at once are safe, a
//! half-applied schema cannot exist, and a transaction pooler does no harm. Forward only; a newer schema is refused.

use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio_postgres::{Client, Transaction};

use super::{StoreError, connect};
use crate::config::DatabaseUrl;

/// One file of `sql/migrations/`.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// 1, 2, 3 …
    pub version: i32,
    /// The file's name without number and ending.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// All migrations, in order. Never edited once released.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "own_tables",
        text: include_str!("../../sql/migrations/0001_own_tables.sql"),
    },
    Migration {
        version: 2,
        name: "host_tables",
        text: include_str!("../../sql/migrations/0002_host_tables.sql"),
    },
    Migration {
        version: 3,
        name: "triggers",
        text: include_str!("../../sql/migrations/0003_triggers.sql"),
    },
    Migration {
        version: 4,
        name: "waits",
        text: include_str!("../../sql/migrations/0004_waits.sql"),
    },
    Migration {
        version: 5,
        name: "queue",
        text: include_str!("../../sql/migrations/0005_queue.sql"),
    },
    Migration {
        version: 6,
        name: "guards",
        text: include_str!("../../sql/migrations/0006_guards.sql"),
    },
    Migration {
        version: 7,
        name: "schedules",
        text: include_str!("../../sql/migrations/0007_schedules.sql"),
    },
    Migration {
        version: 8,
        name: "api",
        // One migration in several files, each with a subject of its own.
        text: concat!(
            include_str!("../../sql/migrations/0008_api.sql"),
            include_str!("../../sql/migrations/0008_control.sql"),
            include_str!("../../sql/migrations/0008_signals.sql"),
            include_str!("../../sql/migrations/0008_views.sql"),
            include_str!("../../sql/migrations/0008_access.sql"),
        ),
    },
    Migration {
        version: 9,
        name: "retention",
        text: include_str!("../../sql/migrations/0009_retention.sql"),
    },
    Migration {
        version: 10,
        name: "gate",
        text: include_str!("../../sql/migrations/0010_gate.sql"),
    },
    Migration {
        version: 11,
        name: "plans",
        text: concat!(
            include_str!("../../sql/migrations/0011_claims.sql"),
            include_str!("../../sql/migrations/0011_record.sql"),
            include_str!("../../sql/migrations/0011_insert.sql"),
        ),
    },
    Migration {
        version: 12,
        name: "claim",
        text: include_str!("../../sql/migrations/0012_claim.sql"),
    },
];

/// Takes the migrations back.
const UNINSTALL: &str = include_str!("../../sql/uninstall.sql");

/// The advisory lock that migrations hold: the bytes of `workflow`.
const MIGRATION_LOCK: i64 = i64::from_be_bytes(*b"workflow");

/// How long a migration waits for a lock on one of the platform's tables. While it waits, the platform's own statements
/// queue up behind it, so it is short, and the whole is tried again.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '3s'";

const BOOKKEEPING: &str = "
    CREATE SCHEMA IF NOT EXISTS workflow_worker;
    CREATE TABLE IF NOT EXISTS workflow_worker.migrations (
        version    integer     NOT NULL PRIMARY KEY,
        name       text        NOT NULL,
        -- SHA-256 of the text that was applied.
        checksum   bytea       NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    );";

/// A migration that could not be done.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// The schema was made by a newer binary.
    #[error(
        "the schema workflow_worker is at version {found}, and this binary ({binary}) knows versions up to {known}: use the \
         newer binary, or take the newer schema back with it"
    )]
    Newer {
        /// The schema's version.
        found: i32,
        /// The newest that this binary knows.
        known: i32,
        /// This binary's version.
        binary: &'static str,
    },
    /// The schema is older than this binary needs, and is not to be migrated now.
    #[error(
        "the schema workflow_worker is at version {found} and this binary needs {known}: run `workflow-worker migrate`, or \
         set WORKFLOW_WORKER_AUTO_MIGRATE=true"
    )]
    Older {
        /// The schema's version; 0 if there is none.
        found: i32,
        /// What this binary needs.
        known: i32,
    },
    /// A migration failed, and nothing was changed.
    #[error("migration {version} ({name}) failed and nothing was changed: {cause}")]
    Failed {
        /// Its number.
        version: i32,
        /// Its name.
        name: &'static str,
        /// Why.
        cause: StoreError,
    },
    /// Uninstalling while workers run would take the ground from under them.
    #[error("{count} worker(s) are running ({names}): stop them first")]
    WorkersAreRunning {
        /// How many.
        count: usize,
        /// Which.
        names: String,
    },
    /// The database did not do what was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The newest version that this binary knows.
pub fn known_version() -> i32 {
    MIGRATIONS.last().map_or(0, |last| last.version)
}

/// The version of the schema, 0 if there is none.
pub async fn installed_version(client: &Client) -> Result<i32, StoreError> {
    let exists = client
        .query_typed(
            "SELECT to_regclass('workflow_worker.migrations') IS NOT NULL",
            &[],
        )
        .await?;
    if !exists.first().is_some_and(|row| row.get::<_, bool>(0)) {
        return Ok(0);
    }
    let newest = client
        .query_typed(
            "SELECT coalesce(max(version), 0) FROM workflow_worker.migrations",
            &[],
        )
        .await?;
    Ok(newest.first().map_or(0, |row| row.get(0)))
}

/// Refuses a schema that this binary cannot work with.
pub async fn check(url: &DatabaseUrl) -> Result<(), MigrateError> {
    let client = connect::connect_and_drive(url, "workflow-worker migrate").await?;
    let known = known_version();
    match installed_version(&client).await? {
        found if found > known => Err(newer(found)),
        found if found < known => Err(MigrateError::Older { found, known }),
        _ => Ok(()),
    }
}

/// Brings the schema to the newest version. Returns the versions that were applied.
pub async fn migrate(url: &DatabaseUrl) -> Result<Vec<i32>, MigrateError> {
    let mut client = connect::connect_and_drive(url, "workflow-worker migrate").await?;
    // Without a lock and in most starts the only statement.
    let found = installed_version(&client).await?;
    if found > known_version() {
        return Err(newer(found));
    }
    if found == known_version() {
        return Ok(Vec::new());
    }
    let mut tries_left = 20;
    loop {
        match apply_pending(&mut client).await {
            Err(MigrateError::Failed {
                version,
                name,
                cause: StoreError::Busy { code, message },
            }) if code == "55P03" && tries_left > 0 => {
                tries_left -= 1;
                tracing::warn!(
                    "migration {version} ({name}) waits for a table that another transaction has locked ({message}); \
                     trying again"
                );
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            other => return other,
        }
    }
}

async fn apply_pending(client: &mut Client) -> Result<Vec<i32>, MigrateError> {
    let transaction = client.transaction().await?;
    lock(&transaction).await?;
    transaction.batch_execute(BOOKKEEPING).await?;
    let found: i32 = transaction
        .query_typed(
            "SELECT coalesce(max(version), 0) FROM workflow_worker.migrations",
            &[],
        )
        .await?
        .first()
        .map_or(0, |row| row.get(0));
    if found > known_version() {
        return Err(newer(found));
    }
    transaction.batch_execute(LOCK_TIMEOUT).await?;
    let mut applied = Vec::new();
    for migration in MIGRATIONS
        .iter()
        .filter(|migration| migration.version > found)
    {
        apply(&transaction, migration)
            .await
            .map_err(|error| MigrateError::Failed {
                version: migration.version,
                name: migration.name,
                cause: error.into(),
            })?;
        applied.push(migration.version);
    }
    transaction.commit().await?;
    Ok(applied)
}

async fn apply(
    transaction: &Transaction<'_>,
    migration: &Migration,
) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(migration.text).await?;
    let checksum = Sha256::digest(migration.text.as_bytes()).to_vec();
    transaction
        .execute_typed(
            "INSERT INTO workflow_worker.migrations (version, name, checksum) VALUES ($1, $2, $3)",
            &[
                (&migration.version, postgres_types::Type::INT4),
                (&migration.name, postgres_types::Type::TEXT),
                (&checksum, postgres_types::Type::BYTEA),
            ],
        )
        .await?;
    Ok(())
}

/// Removes all that the migrations added; tables and data of the platform stay. Returns whether there was anything.
pub async fn uninstall(url: &DatabaseUrl, even_if_workers_run: bool) -> Result<bool, MigrateError> {
    let mut client = connect::connect_and_drive(url, "workflow-worker uninstall").await?;
    let found = installed_version(&client).await?;
    if found == 0 {
        return Ok(false);
    }
    if found > known_version() {
        return Err(newer(found));
    }
    let transaction = client.transaction().await?;
    lock(&transaction).await?;
    if !even_if_workers_run {
        let running = transaction
            .query_typed(
                "SELECT name FROM workflow_worker.workers WHERE heartbeat_at > now() - lease ORDER BY name",
                &[],
            )
            .await?;
        if !running.is_empty() {
            let names: Vec<String> = running.iter().map(|row| row.get(0)).collect();
            return Err(MigrateError::WorkersAreRunning {
                count: names.len(),
                names: names.join(", "),
            });
        }
    }
    transaction.batch_execute(LOCK_TIMEOUT).await?;
    transaction.batch_execute(UNINSTALL).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn lock(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    transaction
        .query_typed(
            "SELECT pg_advisory_xact_lock($1)",
            &[(&MIGRATION_LOCK, postgres_types::Type::INT8)],
        )
        .await
        .map(drop)
}

fn newer(found: i32) -> MigrateError {
    MigrateError::Newer {
        found,
        known: known_version(),
        binary: env!("CARGO_PKG_VERSION"),
    }
}
