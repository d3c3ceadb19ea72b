//! `workflow-worker migrate`.

use super::output;
use crate::config::Config;
use crate::store::migrate;

pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let applied = migrate::migrate(&config.database.url).await?;
    let version = migrate::known_version();
    if applied.is_empty() {
        output::line(&format!(
            "schema workflow_worker is at version {version}: nothing to do"
        ));
    } else {
        output::line(&format!(
            "schema workflow_worker is at version {version}: applied {applied:?}"
        ));
    }
    Ok(())
}
