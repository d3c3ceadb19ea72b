//! `workflow-worker health`: for the health check of a container, which has no port to ask.

use anyhow::bail;
use postgres_types::Type;

use super::output;
use crate::config::{Config, process_variable};
use crate::store::Store;

pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let store = Store::new(&config.database)?;
    let hostname = process_variable("HOSTNAME")
        .unwrap_or_default()
        .trim()
        .to_owned();
    let rows = store
        .query_text(
            "SELECT name, state, extract(epoch FROM now() - heartbeat_at)::double precision AS age
             FROM workflow_worker.workers
             WHERE hostname = $1 AND heartbeat_at > now() - lease
             ORDER BY heartbeat_at DESC
             LIMIT 1",
            &[(&hostname, Type::TEXT)],
        )
        .await?;
    let Some(row) = rows.first() else {
        bail!("no worker on host {hostname:?} has a fresh heartbeat");
    };
    let (name, state, age): (String, String, f64) = (
        row.try_get("name")?,
        row.try_get("state")?,
        row.try_get("age")?,
    );
    output::line(&format!(
        "worker {name} is {state}, heartbeat {age:.1} s ago"
    ));
    Ok(())
}
