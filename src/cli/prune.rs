//! `workflow-worker prune`: what the workers do once an hour, now.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::output;
use crate::config::{Config, duration_with_unit, settings, show_duration};
use crate::retention::round::{self, Outcome, Patience, Round};
use crate::store::Store;
use crate::store::retention::Removed;

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Options {
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// What ended longer ago goes, such as 30d or 12h [default: `WORKFLOW_HISTORY_RETENTION_DAYS`]
    #[arg(long, value_name = "AGE", value_parser = duration_with_unit)]
    older_than: Option<Duration>,
    /// Also the platform's own rows, whatever `WORKFLOW_PRUNE_HOST_TABLES` says
    #[arg(long)]
    host_tables: bool,
}

pub(super) async fn run(config: &Config, options: Options) -> anyhow::Result<()> {
    let older_than = options
        .older_than
        .or(config.retention.keep)
        .with_context(|| {
            format!(
                "{} is 0, which keeps history for ever: say --older-than, such as --older-than 90d",
                settings::HISTORY_RETENTION_DAYS.name
            )
        })?;
    let prune_host_tables = options.host_tables || config.retention.prune_host_tables;
    let store = Store::new(&config.database)?;
    let age = show_duration(older_than);
    if options.dry_run {
        let cutoff = store.pruning_cutoff(older_than).await?;
        let refusal = if prune_host_tables {
            round::host_pruning_refusal(&store).await?
        } else {
            None
        };
        let counted = round::count(&store, cutoff, prune_host_tables && refusal.is_none()).await?;
        print(&counted);
        output::line(&format!(
            "would be removed, of executions that ended more than {age} ago; nothing was changed"
        ));
        return match refusal {
            Some(refusal) => anyhow::bail!(refusal),
            None => Ok(()),
        };
    }
    let cutoff = store
        .begin_pruning(Duration::ZERO, older_than, "workflow-worker prune")
        .await?
        .context("the table workflow_worker.retention has no row: it was emptied by hand")?;
    let stop = CancellationToken::new();
    let round = Round {
        store: &store,
        cutoff,
        prune_host_tables,
        patience: Patience::OfACommand,
        stop: &stop,
    };
    let Outcome { removed, problem } = round.run().await;
    store
        .end_pruning(removed.total(), problem.as_deref())
        .await?;
    print(&removed);
    output::line(&format!(
        "removed, of executions that ended more than {age} ago"
    ));
    match problem {
        Some(problem) => anyhow::bail!(problem),
        None => Ok(()),
    }
}

fn print(removed: &Removed) {
    let mut rows: Vec<Vec<String>> = removed
        .0
        .iter()
        .map(|(table, amount)| line(table, amount.rows, amount.bytes))
        .collect();
    let total = removed.total();
    rows.push(line("in all", total.rows, total.bytes));
    output::table(&rows);
}

fn line(what: &str, rows: i64, bytes: i64) -> Vec<String> {
    vec![
        what.to_owned(),
        format!("{rows} row(s)"),
        format!("about {}", show_bytes(bytes)),
    ]
}

fn show_bytes(bytes: i64) -> String {
    match bytes {
        ..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1_024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}
