//! `workflow-worker events` and `grant`.

use clap::{Args, ValueEnum};
use postgres_types::Type;
use serde_json::Value;

use super::calls::{Calls, text_of};
use super::output;
use crate::config::{Config, Events};

#[derive(Debug, Args)]
pub(super) struct EventsOptions {
    /// off, ends (of executions), all (changes of their status); without it, say which are told
    mode: Option<Mode>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Off,
    Ends,
    All,
}

#[derive(Debug, Args)]
pub(super) struct GrantOptions {
    /// The role
    role: String,
    /// It may start and steer executions and schedules
    #[arg(long, required_unless_present = "reader")]
    producer: bool,
    /// It may read the views: all executions, with their outputs
    #[arg(long, required_unless_present = "producer")]
    reader: bool,
    /// Take these rights back
    #[arg(long)]
    revoke: bool,
}

pub(super) async fn events(config: &Config, options: &EventsOptions) -> anyhow::Result<()> {
    let calls = Calls::new(config)?;
    if let Some(mode) = options.mode {
        let mode = match mode {
            Mode::Off => Events::Off,
            Mode::Ends => Events::Ends,
            Mode::All => Events::All,
        };
        calls
            .row(
                "SELECT workflow_worker.set_events($1)",
                &[(&mode.as_str(), Type::TEXT)],
            )
            .await?;
    }
    let row = calls
        .row("SELECT workflow_worker.events() AS mode", &[])
        .await?;
    output::line(text_of(&row, "mode"));
    Ok(())
}

pub(super) async fn grant(config: &Config, options: &GrantOptions) -> anyhow::Result<()> {
    let calls = Calls::new(config)?;
    let (query, verb) = if options.revoke {
        (
            "SELECT workflow_worker.revoke_access($1, $2) AS objects",
            "may no longer use",
        )
    } else {
        (
            "SELECT workflow_worker.grant_access($1, $2) AS objects",
            "may use",
        )
    };
    let wanted = [(options.producer, "producer"), (options.reader, "reader")];
    for (_, access) in wanted.iter().filter(|(is_wanted, _)| *is_wanted) {
        let row = calls
            .row(query, &[(&options.role, Type::TEXT), (access, Type::TEXT)])
            .await?;
        let objects = row.get("objects").and_then(Value::as_i64).unwrap_or(0);
        output::line(&format!(
            "{} {verb} {objects} functions and relations, as {access}",
            options.role
        ));
    }
    Ok(())
}
