//! A fresh database per test, copied from a template and dropped at the end, whoever is still connected.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread;

use tokio_postgres::{Client, NoTls};

use super::cluster::TestCluster;

const HOST_TABLES: &str = include_str!("sql/host_tables.sql");
const HOST_INDEXES: &str = include_str!("sql/host_indexes.sql");
const HOST_JSONB: &str = include_str!("sql/host_jsonb.sql");
const ROW_LEVEL_SECURITY: &str = include_str!("sql/row_level_security.sql");

/// The platform's mail templates, a table that variants B and C lack.
pub(crate) const MAIL_TEMPLATES: &str = include_str!("sql/mail_templates.sql");

/// What a fresh database has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Nothing: the worker stands alone.
    Empty,
    /// The platform's tables as `create_all` makes them: keys, no other indexes (A).
    CreateAll,
    /// As Alembic makes them, with indexes (B).
    Alembic,
    /// As the hand-run scripts make them: jsonb for json (C).
    Jsonb,
}

impl Variant {
    /// Each variant with the platform's tables.
    pub(crate) const WITH_HOST: [Self; 3] = [Self::CreateAll, Self::Alembic, Self::Jsonb];

    fn sql(self) -> &'static [&'static str] {
        match self {
            Self::Empty => &[],
            Self::CreateAll => &[HOST_TABLES],
            Self::Alembic => &[HOST_TABLES, HOST_INDEXES],
            Self::Jsonb => &[HOST_TABLES, HOST_INDEXES, HOST_JSONB],
        }
    }
}

/// What is done once to a template, after the platform's tables and before it is first copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Preparation {
    /// Tells it from other preparations.
    pub(crate) name: &'static str,
    /// Gets the URL of the template. Blocks; runs on a thread without a runtime.
    pub(crate) run: fn(url: &str) -> Result<(), String>,
}

/// How a database is made.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    cluster: Arc<TestCluster>,
    variant: Variant,
    row_level_security: bool,
    preparation: Option<Preparation>,
}

impl Recipe {
    /// On the cluster of the process.
    pub(crate) fn new(variant: Variant) -> Self {
        Self::on(TestCluster::shared(), variant)
    }

    /// On a cluster of the caller's.
    pub(crate) fn on(cluster: Arc<TestCluster>, variant: Variant) -> Self {
        Self {
            cluster,
            variant,
            row_level_security: false,
            preparation: None,
        }
    }

    /// With Supabase's roles and row-level security.
    pub(crate) fn row_level_security(self) -> Self {
        Self {
            row_level_security: true,
            ..self
        }
    }

    /// With a preparation, such as the worker's own migrations.
    pub(crate) fn prepared(self, preparation: Preparation) -> Self {
        Self {
            preparation: Some(preparation),
            ..self
        }
    }

    /// Makes the database; 50 ms, and the making of the template the first time.
    pub(crate) fn make(&self) -> Database {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("it_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let copy = format!("CREATE DATABASE {name} TEMPLATE {}", self.template());
        self.execute("postgres", &copy);
        Database {
            cluster: self.cluster.clone(),
            name,
        }
    }

    fn template(&self) -> String {
        let preparation = self
            .preparation
            .map_or("raw", |preparation| preparation.name);
        let key = format!(
            "{:?} {} {preparation}",
            self.variant, self.row_level_security
        );
        // A panic while a template is made leaves no entry.
        let mut templates = self
            .cluster
            .templates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = templates.get(&key) {
            return name.clone();
        }
        let name = format!("template_of_it_{}", templates.len());
        self.execute("postgres", &format!("DROP DATABASE IF EXISTS {name}"));
        self.execute("postgres", &format!("CREATE DATABASE {name}"));
        for statements in self.variant.sql() {
            self.execute(&name, statements);
        }
        if self.row_level_security {
            self.execute(&name, ROW_LEVEL_SECURITY);
        }
        if let Some(preparation) = self.preparation {
            let url = self.cluster.url(&name);
            let done = thread::spawn(move || (preparation.run)(&url))
                .join()
                .expect("a preparation panicked");
            done.unwrap_or_else(|error| panic!("{}: {error}", preparation.name));
        }
        templates.insert(key, name.clone());
        name
    }

    fn execute(&self, dbname: &str, statements: &str) {
        self.cluster
            .execute(dbname, statements)
            .unwrap_or_else(|error| panic!("{error}: {error:?}"));
    }
}

/// A database of one test.
#[derive(Debug)]
pub(crate) struct Database {
    cluster: Arc<TestCluster>,
    name: String,
}

impl Database {
    /// A copy of the raw variant, on the cluster of the process.
    pub(crate) fn new(variant: Variant) -> Self {
        Recipe::new(variant).make()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its URL, through TCP.
    pub(crate) fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    /// The cluster that it is in.
    pub(crate) fn cluster(&self) -> &TestCluster {
        &self.cluster
    }

    /// A session, as the superuser.
    pub(crate) async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls)
            .await
            .expect("a session");
        // Ends with the client; its error is also that of the statement.
        tokio::spawn(async { drop(connection.await) });
        client
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let dropped = self.cluster.execute(
            "postgres",
            &format!("DROP DATABASE {} WITH (FORCE)", self.name),
        );
        // A test that fails may have stopped its cluster; its own failure is the one to show.
        if !thread::panicking() {
            dropped.unwrap_or_else(|error| panic!("{error}: {error:?}"));
        }
    }
}
