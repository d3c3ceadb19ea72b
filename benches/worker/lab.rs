//! The PostgreSQL that everything is measured on, and a database of its own for each measurement.
//!
//! Durable as users have it: fsync, full-page writes and synchronous commits are on. Larger buffers and a longer way to a
//! checkpoint keep chance out of short runs; `benches/peers` has the same.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use tokio_postgres::{Client, NoTls};
use workflow_worker::clock;
use workflow_worker::config::DatabaseUrl;
use workflow_worker::dev::{Cluster, Options as ClusterOptions};
use workflow_worker::store::migrate;

use crate::options::{Options, Sizes};
use crate::worker::Worker;

/// What differs from PostgreSQL's own defaults, or is named so that the report says it.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("synchronous_commit", "on"),
    ("max_connections", "300"),
    ("shared_buffers", "512MB"),
    ("max_wal_size", "4GB"),
];
const STATEMENTS: (&str, &str) = ("shared_preload_libraries", "pg_stat_statements");
const TEMPLATE: &str = "bench_template";
/// How often it is looked whether something has come true, where that costs the worker nothing that matters.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A session, driven by a task that ends with it.
pub(crate) async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        // Its error is that of the statement, too.
        drop(connection.await);
    });
    Ok(client)
}

/// The server.
#[derive(Debug)]
pub(crate) struct Lab {
    cluster: Cluster,
    /// The binary that is measured.
    pub(crate) binary: PathBuf,
    /// Where group g saves its plans.
    pub(crate) plans: PathBuf,
    /// How much is measured.
    pub(crate) sizes: Sizes,
    /// Whether statements are counted (the module `pg_stat_statements` is installed).
    pub(crate) counts_statements: bool,
    next: Cell<u32>,
}

impl Lab {
    /// Starts a server with a migrated template database.
    pub(crate) async fn start(options: &Options) -> anyhow::Result<Self> {
        let (cluster, counts_statements) = tokio::task::spawn_blocking(start_cluster)
            .await
            .context("starting PostgreSQL broke")??;
        cluster.create_database(TEMPLATE)?;
        let url = cluster.url(TEMPLATE);
        migrate::migrate(&url.parse::<DatabaseUrl>()?).await?;
        if counts_statements {
            cluster.execute(TEMPLATE, "CREATE EXTENSION pg_stat_statements")?;
        }
        Ok(Self {
            cluster,
            binary: options.worker.clone(),
            plans: options.plans.clone(),
            sizes: options.sizes(),
            counts_statements,
            next: Cell::new(0),
        })
    }

    /// The address of the database `postgres`, from which the others are watched.
    pub(crate) fn admin_url(&self) -> String {
        self.cluster.url("postgres")
    }

    /// The directory of the data files.
    pub(crate) fn data_directory(&self) -> PathBuf {
        self.cluster.root().join("data")
    }

    /// A fresh database: of the worker's, or an empty one.
    pub(crate) fn stage(
        self: &Rc<Self>,
        migrated: bool,
        progress: ProgressBar,
    ) -> anyhow::Result<Stage> {
        self.copy(if migrated { TEMPLATE } else { "template1" }, progress)
    }

    /// A database like another one, to which nobody is connected.
    fn copy(self: &Rc<Self>, template: &str, progress: ProgressBar) -> anyhow::Result<Stage> {
        let number = self.next.get();
        self.next.set(number + 1);
        let name = format!("bench_{number}");
        self.cluster.execute(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        )?;
        Ok(Stage {
            lab: Rc::clone(self),
            url: self.cluster.url(&name),
            name,
            progress,
        })
    }

    /// Removes a database, whoever is still connected.
    pub(crate) fn discard(&self, name: &str) -> anyhow::Result<()> {
        Ok(self
            .cluster
            .execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"))?)
    }
}

/// With `pg_stat_statements` if it is there.
fn start_cluster() -> anyhow::Result<(Cluster, bool)> {
    let options = |more: &[(&str, &str)]| ClusterOptions {
        fsync: true,
        extra_config: SETTINGS
            .iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..ClusterOptions::default()
    };
    match Cluster::start(&options(&[STATEMENTS])) {
        Ok(cluster) => Ok((cluster, true)),
        // Without the module the server does not start with it; if that was not the reason, the next start says so.
        Err(_) => Ok((Cluster::start(&options(&[]))?, false)),
    }
}

/// One measurement's database.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// The server.
    pub(crate) lab: Rc<Lab>,
    /// The database's name …
    pub(crate) name: String,
    /// … and address.
    pub(crate) url: String,
    /// The bar of this measurement.
    pub(crate) progress: ProgressBar,
}

impl Stage {
    /// How much is measured.
    pub(crate) fn sizes(&self) -> Sizes {
        self.lab.sizes
    }

    /// Another database that is like this one now, from which all sessions have to go. Whoever has it discards it.
    pub(crate) async fn copy(&self) -> anyhow::Result<Self> {
        let nobody = format!(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = '{}')",
            self.name
        );
        let elsewhere = Self {
            url: self.lab.admin_url(),
            ..self.clone()
        };
        elsewhere
            .until("no session on a database", &nobody, Duration::from_secs(30))
            .await?;
        self.lab.copy(&self.name, self.progress.clone())
    }

    /// A session.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Ok(connect(&self.url).await?)
    }

    /// Starts a worker on this database, and waits until it listens.
    pub(crate) async fn worker(&self, settings: &[(&str, &str)]) -> anyhow::Result<Worker> {
        Worker::start(self, settings).await
    }

    /// The state in which a queue would be found that was filled a while ago.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        let client = self.client().await?;
        client.batch_execute("VACUUM ANALYZE").await?;
        client.batch_execute("CHECKPOINT").await?;
        Ok(())
    }

    /// Looks until a query answers `true`.
    pub(crate) async fn until(
        &self,
        what: &str,
        query: &str,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let client = self.client().await?;
        let begin = clock::monotonic();
        loop {
            if client.query_one(query, &[]).await?.get(0) {
                return Ok(());
            }
            if begin.elapsed() > patience {
                bail!("{what}: not within {} s", patience.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// One number.
    pub(crate) async fn number(&self, query: &str) -> anyhow::Result<f64> {
        Ok(self.client().await?.query_one(query, &[]).await?.get(0))
    }

    /// Refuses figures of executions that did not all complete.
    pub(crate) async fn all_completed(&self) -> anyhow::Result<()> {
        let rows = self
            .client()
            .await?
            .query(
                "SELECT status, error_message FROM workflowexecution WHERE status <> 'completed' LIMIT 1",
                &[],
            )
            .await?;
        match rows.first() {
            None => Ok(()),
            Some(row) => bail!(
                "an execution is {}: {:?}",
                row.get::<_, String>(0),
                row.get::<_, Option<String>>(1)
            ),
        }
    }
}
