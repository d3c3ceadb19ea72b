//! Databases with the worker's own schema in them.

use tokio_postgres::Client;
use workflow_worker::config::DatabaseUrl;
use workflow_worker::store::migrate;

use super::database::{Database, Preparation, Recipe, Variant};

/// The worker's migrations, done once to a template.
pub(crate) const MIGRATED: Preparation = Preparation {
    name: "migrated",
    run: migrate_template,
};

fn migrate_template(url: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let url: DatabaseUrl = url.parse().map_err(|error| format!("{error:?}"))?;
    runtime
        .block_on(migrate::migrate(&url))
        .map(drop)
        .map_err(|error| error.to_string())
}

impl Variant {
    /// Every variant, and none.
    pub(crate) const ALL: [Self; 4] = [Self::Empty, Self::CreateAll, Self::Alembic, Self::Jsonb];
}

impl Database {
    /// A database with the variant's tables and the worker's schema.
    pub(crate) async fn migrated(variant: Variant) -> Self {
        Self::make(Recipe::new(variant).prepared(MIGRATED)).await
    }

    /// The same without blocking the caller's runtime.
    pub(crate) async fn make(recipe: Recipe) -> Self {
        tokio::task::spawn_blocking(move || recipe.make())
            .await
            .expect("a database")
    }

    /// A session.
    pub(crate) async fn client(&self) -> Client {
        self.connect().await
    }
}
