//! The only place that speaks SQL.
//!
//! [`Store`] is a handle to the pool. Each call has a deadline; a connection whose statement ran into it is closed,
//! because an answer that comes later would be taken for another's.

pub mod children;
pub mod claim;
pub mod connect;
mod error;
mod events;
pub mod facts;
pub mod graphs;
pub mod limits;
pub mod mail;
pub mod migrate;
pub mod record;
pub mod repair;
pub mod replay;
pub mod retention;
pub mod schedules;
pub mod signals;
pub mod sql;
mod warm;
pub mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, QueueMode, RecyclingMethod, Runtime,
};
use postgres_types::{ToSql, Type};
use tokio_postgres::Row;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::clock::{self, DatabaseClock};
use crate::config::{DatabaseConfig, PreparedStatements};
pub use error::{OWN_CLASS, StoreError, with_causes};
pub use sql::Statement;

/// A handle to the database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    /// Whether statements are prepared under a name. Off behind a transaction pooler, where the next statement may
    /// reach another server connection. Written by the probe at start and by the first error that says so.
    use_named_statements: Arc<AtomicBool>,
    /// For cancelling a statement, which takes a connection of its own.
    tls: MakeRustlsConnect,
    deadline: Duration,
    /// Set by each answer that has a column `database_time`.
    clock: Arc<DatabaseClock>,
}

/// How long asking the server to cancel a statement may take.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// A parameter of a statement.
pub type Parameter<'a> = &'a (dyn ToSql + Sync);

impl Store {
    /// A pool of at most `pool_size` connections. Nothing is connected yet.
    pub fn new(database: &DatabaseConfig) -> Result<Self, StoreError> {
        let tls = connect::tls(&database.url)?;
        let manager = Manager::from_config(
            database.url.to_tokio_postgres("workflow-worker"),
            tls.clone(),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(database.pool_size)
            // The one that was used last: its plans are made, and its memory is warm.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(database.statement_timeout))
            .create_timeout(Some(Duration::from_secs(15)))
            .recycle_timeout(Some(Duration::from_secs(5)))
            .build()
            .map_err(|error| StoreError::Unavailable(with_causes(&error)))?;
        Ok(Self {
            pool,
            use_named_statements: Arc::new(AtomicBool::new(starts_with_named_statements(database))),
            tls,
            deadline: database.statement_timeout,
            clock: Arc::default(),
        })
    }

    /// How many connections it may have.
    pub fn connections(&self) -> usize {
        self.pool.status().max_size
    }

    /// The database's clock, as the answers have shown it.
    pub fn clock(&self) -> &Arc<DatabaseClock> {
        &self.clock
    }

    /// The same with a clock that others share.
    #[must_use]
    pub fn with_clock(self, clock: Arc<DatabaseClock>) -> Self {
        Self { clock, ..self }
    }

    /// The same connections, with another deadline for each call.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Whether statements are prepared under a name.
    pub fn uses_named_statements(&self) -> bool {
        self.use_named_statements.load(Ordering::Relaxed)
    }

    /// Sets whether statements are prepared under a name.
    pub fn set_named_statements(&self, on: bool) {
        self.use_named_statements.store(on, Ordering::Relaxed);
    }

    /// Runs one statement and returns its rows.
    pub async fn query(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        self.with_client(statement.name, async |client, named| {
            let asked_at = clock::monotonic();
            let rows = run(client, statement, parameters, named).await?;
            self.observe(&rows, asked_at);
            Ok(rows)
        })
        .await
    }

    /// Runs one statement that returns no rows, and says how many it changed.
    pub async fn query_count(
        &self,
        statement: &Statement,
        parameters: &[Parameter<'_>],
    ) -> Result<usize, StoreError> {
        let changed = self
            .with_client(statement.name, async |client, named| {
                if named {
                    let prepared = client
                        .prepare_typed_cached(statement.text, statement.types)
                        .await?;
                    client.execute(&prepared, parameters).await
                } else {
                    client
                        .execute_typed(statement.text, &typed(statement, parameters))
                        .await
                }
            })
            .await?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    /// Runs two statements on one connection without waiting between them: one round trip, in this order. The first one's
    /// rows go to `on_first` as soon as they are there, whatever becomes of the second one; its rows are returned.
    pub async fn query_both(
        &self,
        (first, first_parameters): (&Statement, &[Parameter<'_>]),
        (second, second_parameters): (&Statement, &[Parameter<'_>]),
        on_first: impl FnOnce(&[Row]),
    ) -> Result<Vec<Row>, StoreError> {
        self.with_client(first.name, async |client, named| {
            let taken = async {
                let rows = run(client, first, first_parameters, named).await?;
                on_first(&rows);
                Ok(())
            };
            // Not `try_join!`: if the second one failed before the first one's answer is there, that answer would be lost.
            let (taken, rows) = tokio::join!(taken, run(client, second, second_parameters, named));
            // No reading of the clock: when the second one began is not known.
            taken.and(rows)
        })
        .await
    }

    /// Runs a statement that is not one of the files: for commands of an operator and for checks, never in a loop.
    pub async fn query_text(
        &self,
        text: &str,
        parameters: &[(Parameter<'_>, Type)],
    ) -> Result<Vec<Row>, StoreError> {
        self.with_client("a command's statement", async |client, _| {
            client.query_typed(text, parameters).await
        })
        .await
    }

    async fn with_client<T>(
        &self,
        name: &'static str,
        work: impl AsyncFnOnce(&Object, bool) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        let client = self.pool.get().await.map_err(from_pool)?;
        let named = self.uses_named_statements();
        let result = tokio::time::timeout(self.deadline, work(&client, named)).await;
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let error = StoreError::from(error);
                self.note_error(&error, &client);
                if error.is_ambiguous() {
                    drop(Object::take(client));
                }
                Err(error)
            }
            Err(_elapsed) => {
                // Or a statement whose answer nobody waits for would take effect later. (A server-side time-out would
                // have to be set on the session, and behind a transaction pooler that is also somebody else's.)
                let cancel = client.cancel_token();
                drop(
                    tokio::time::timeout(CANCEL_LIMIT, cancel.cancel_query(self.tls.clone())).await,
                );
                drop(Object::take(client));
                Err(StoreError::TimedOut {
                    statement: name,
                    limit: self.deadline,
                })
            }
        }
    }

    /// Sets the database's clock from an answer that has it as its last column.
    fn observe(&self, rows: &[Row], asked_at: Instant) {
        let Some(row) = rows.first() else {
            return;
        };
        let last = row.columns().len().saturating_sub(1);
        if row
            .columns()
            .get(last)
            .is_some_and(|column| column.name() == "database_time")
            && let Ok(time) = row.try_get(last)
        {
            self.clock.observe(time, asked_at);
        }
    }

    /// Named statements that a pooler has lost, or whose plan DDL has made invalid.
    fn note_error(&self, error: &StoreError, client: &Object) {
        let StoreError::Busy { code, message } = error else {
            return;
        };
        let is_lost = code == "26000" || code == "42P05";
        if is_lost && self.use_named_statements.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                "the database connection goes through a transaction pooler ({message}): from now on statements are sent \
                 without a name"
            );
        }
        if code == "0A000" {
            client.statement_cache.clear();
        }
    }
}

async fn run(
    client: &Object,
    statement: &Statement,
    parameters: &[Parameter<'_>],
    named: bool,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    if named {
        let prepared = client
            .prepare_typed_cached(statement.text, statement.types)
            .await?;
        client.query(&prepared, parameters).await
    } else {
        client
            .query_typed(statement.text, &typed(statement, parameters))
            .await
    }
}

fn typed<'a>(statement: &Statement, parameters: &[Parameter<'a>]) -> Vec<(Parameter<'a>, Type)> {
    parameters
        .iter()
        .copied()
        .zip(statement.types.iter().cloned())
        .collect()
}

/// Port 6543 is Supabase's pooler in transaction mode; anything else is found out by the listener's echo, or by the
/// first error.
fn starts_with_named_statements(database: &DatabaseConfig) -> bool {
    match database.prepared_statements {
        PreparedStatements::On => true,
        PreparedStatements::Off => false,
        PreparedStatements::Auto => !database.url.is_transaction_pooler_port(),
    }
}

fn from_pool(error: PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => StoreError::from(error),
        PoolError::Timeout(_)
        | PoolError::Closed
        | PoolError::NoRuntimeSpecified
        | PoolError::PostCreateHook(_) => StoreError::Unavailable(with_causes(&error)),
    }
}
