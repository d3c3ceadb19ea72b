//! `workflow-worker pause`, `resume`, `terminate`, `retry`, `debug`, `step`, `priority`.

use clap::Args;
use postgres_types::Type;
use serde_json::Value;

use super::calls::{Argument, Calls, print_row};
use super::output;
use crate::config::Config;

/// One execution.
#[derive(Debug, Args)]
pub(super) struct One {
    /// The execution's id or name
    execution: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TerminateOptions {
    /// The execution's id or name
    #[arg(required_unless_present = "all_of")]
    execution: Option<String>,
    /// All executions of this workflow that have not ended
    #[arg(long, value_name = "WORKFLOW", conflicts_with = "execution")]
    all_of: Option<String>,
    /// Why: it becomes the error message
    #[arg(long)]
    reason: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DebugOptions {
    #[command(flatten)]
    one: One,
    /// Turn it off, and let the execution go on
    #[arg(long)]
    off: bool,
}

#[derive(Debug, Args)]
pub(super) struct PriorityOptions {
    #[command(flatten)]
    one: One,
    /// LOW, NORMAL, HIGH, CRITICAL or a whole number
    #[arg(allow_hyphen_values = true)]
    priority: String,
}

pub(super) async fn pause(config: &Config, one: &One) -> anyhow::Result<()> {
    call(config, one, "SELECT workflow_worker.pause($1)", &[]).await
}

pub(super) async fn resume(config: &Config, one: &One) -> anyhow::Result<()> {
    call(config, one, "SELECT workflow_worker.resume($1)", &[]).await
}

pub(super) async fn retry(config: &Config, one: &One) -> anyhow::Result<()> {
    call(config, one, "SELECT workflow_worker.retry($1)", &[]).await
}

pub(super) async fn step(config: &Config, one: &One) -> anyhow::Result<()> {
    call(config, one, "SELECT workflow_worker.step($1)", &[]).await
}

pub(super) async fn debug(config: &Config, options: &DebugOptions) -> anyhow::Result<()> {
    let is_on = !options.off;
    let query = "SELECT workflow_worker.debug($1, $2)";
    call(config, &options.one, query, &[(&is_on, Type::BOOL)]).await
}

pub(super) async fn priority(config: &Config, options: &PriorityOptions) -> anyhow::Result<()> {
    let query = "SELECT workflow_worker.set_priority($1, $2)";
    let priority: Argument<'_> = (&options.priority, Type::TEXT);
    call(config, &options.one, query, &[priority]).await
}

pub(super) async fn terminate(config: &Config, options: &TerminateOptions) -> anyhow::Result<()> {
    if let Some(execution) = &options.execution {
        let one = One {
            execution: execution.clone(),
            json: options.json,
        };
        let query = "SELECT workflow_worker.terminate($1, $2)";
        return call(config, &one, query, &[(&options.reason, Type::TEXT)]).await;
    }
    let calls = Calls::new(config)?;
    let workflow = calls
        .workflow(options.all_of.as_deref().unwrap_or_default())
        .await?;
    let row = calls
        .row(
            "SELECT workflow_worker.terminate_all($1, $2) AS terminated",
            &[(&workflow, Type::UUID), (&options.reason, Type::TEXT)],
        )
        .await?;
    if options.json {
        return print_row(&row, true);
    }
    let count = row.get("terminated").and_then(Value::as_i64).unwrap_or(0);
    output::line(&format!("{count} execution(s) terminated"));
    Ok(())
}

/// Calls a function with the execution as `$1`, and says what became of it.
async fn call(
    config: &Config,
    one: &One,
    query: &str,
    more: &[Argument<'_>],
) -> anyhow::Result<()> {
    let calls = Calls::new(config)?;
    let mut arguments: Vec<Argument<'_>> = vec![(&one.execution, Type::TEXT)];
    arguments.extend(more.iter().cloned());
    calls.row(query, &arguments).await?;
    let row = calls
        .row(
            "SELECT id, name, state, waits_for, priority FROM workflow_worker.executions
             WHERE id = workflow_worker.execution_id($1)",
            &[(&one.execution, Type::TEXT)],
        )
        .await?;
    print_row(&row, one.json)
}
