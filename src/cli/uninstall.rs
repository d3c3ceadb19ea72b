//! `workflow-worker uninstall`.

use clap::Args;

use super::output;
use crate::config::Config;
use crate::store::migrate;

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Options {
    /// Also while workers have fresh heartbeats (they will stop working)
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(config: &Config, options: Options) -> anyhow::Result<()> {
    if migrate::uninstall(&config.database.url, options.force).await? {
        output::line("removed: schema workflow_worker, its triggers, index, defaults and view");
        output::line("left as they are: the platform's tables and all their rows");
    } else {
        output::line("schema workflow_worker is not installed: nothing to do");
    }
    Ok(())
}
