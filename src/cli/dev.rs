//! `workflow-worker dev`: a throw-away PostgreSQL with the schema in it, for anyone's own use.

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::output;
use crate::config::DatabaseUrl;
use crate::dev::{Cluster, Options as ClusterOptions};
use crate::store::migrate;

/// The database that is made in it.
pub(super) const DATABASE: &str = "workflows";

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Options {
    /// The port; a free one if none is given
    #[arg(long)]
    port: Option<u16>,
}

pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let (cluster, url) = start(options.port).await?;
    output::line(
        "A throw-away PostgreSQL is running; it and its data are gone when this command ends (Ctrl-C).",
    );
    output::line("");
    print_how_to_connect(&url);
    wait_for_signal().await?;
    drop(cluster);
    Ok(())
}

/// Starts a cluster with a migrated database. Returns it with the URL.
pub(super) async fn start(port: Option<u16>) -> anyhow::Result<(Cluster, String)> {
    let cluster = tokio::task::spawn_blocking(move || -> anyhow::Result<Cluster> {
        let cluster = Cluster::start(&ClusterOptions {
            fsync: true,
            port,
            ..ClusterOptions::default()
        })?;
        cluster.create_database(DATABASE)?;
        Ok(cluster)
    })
    .await
    .context("starting PostgreSQL broke")??;
    let url = cluster.url(DATABASE);
    migrate::migrate(&url.parse::<DatabaseUrl>()?).await?;
    Ok((cluster, url))
}

/// What to type to use the database.
pub(super) fn print_how_to_connect(url: &str) {
    output::line(&format!("  psql '{url}'"));
    output::line(&format!("  DATABASE_URL='{url}' workflow-worker run"));
    output::line("");
    output::line("  INSERT INTO workflow (name, graph_config) VALUES ('hello',");
    output::line(
        "    '{\"nodes\": [{\"node_id\": \"t\", \"node_type\": \"trigger\", \"config\": {}}], \"edges\": []}');",
    );
    output::line(
        "  INSERT INTO workflow_executions (workflow_id) SELECT id FROM workflow WHERE name = 'hello';",
    );
    output::line(
        "  SELECT execution_id, status, completed_at - started_at AS took FROM workflow_executions;",
    );
}

/// Waits for SIGINT or SIGTERM.
pub(super) async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
