//! `workflow-worker start` and `replay`.

use chrono::{DateTime, Utc};
use clap::Args;
use postgres_types::Type;
use serde_json::Value;
use uuid::Uuid;

use super::calls::{Calls, Row, print_row, read_json, text_of};
use super::output;
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct StartOptions {
    /// The workflow's id or name
    workflow: String,
    /// The input, a JSON object: as it is, from a file (@FILE), or from standard input (-)
    #[arg(long, default_value = "{}", allow_hyphen_values = true)]
    input: String,
    /// LOW, NORMAL, HIGH, CRITICAL or a whole number
    #[arg(long, allow_hyphen_values = true)]
    priority: Option<String>,
    /// Not before this time, such as 2026-01-31T09:00:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<DateTime<Utc>>,
    /// The same key gives the same execution
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// The execution on whose behalf it runs: it is ended with it
    #[arg(long, value_name = "EXECUTION")]
    parent: Option<String>,
    /// What limits of kind `key` count
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// How long it may take
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReplayOptions {
    /// The execution's id or name
    execution: String,
    /// The node to begin with; the beginning if none is given
    #[arg(long, value_name = "NODE")]
    from_node: Option<String>,
    /// LOW, NORMAL, HIGH, CRITICAL or a whole number
    #[arg(long, allow_hyphen_values = true)]
    priority: Option<String>,
    /// The same key gives the same execution
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn start(config: &Config, options: &StartOptions) -> anyhow::Result<()> {
    let input = read_json(&options.input)?;
    let calls = Calls::new(config)?;
    let workflow: Uuid = calls.workflow(&options.workflow).await?;
    let row = calls
        .row(
            "SELECT * FROM workflow_worker.start(
                 $1, $2, priority => $3, run_at => $4, idempotency_key => $5,
                 parent => CASE WHEN $6 IS NOT NULL THEN workflow_worker.execution_id($6) END,
                 concurrency_key => $7, timeout_seconds => $8::numeric)",
            &[
                (&workflow, Type::UUID),
                (&input, Type::JSONB),
                (&options.priority, Type::TEXT),
                (&options.run_at, Type::TIMESTAMPTZ),
                (&options.idempotency_key, Type::TEXT),
                (&options.parent, Type::TEXT),
                (&options.concurrency_key, Type::TEXT),
                (&options.timeout, Type::FLOAT8),
            ],
        )
        .await?;
    print(&row, options.json)
}

pub(super) async fn replay(config: &Config, options: &ReplayOptions) -> anyhow::Result<()> {
    let row = Calls::new(config)?
        .row(
            "SELECT * FROM workflow_worker.replay($1, $2, $3, $4)",
            &[
                (&options.execution, Type::TEXT),
                (&options.from_node, Type::TEXT),
                (&options.priority, Type::TEXT),
                (&options.idempotency_key, Type::TEXT),
            ],
        )
        .await?;
    print(&row, options.json)
}

fn print(row: &Row, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        return print_row(row, true);
    }
    let (name, id) = (text_of(row, "name"), text_of(row, "id"));
    let what = if row.get("is_new") == Some(&Value::Bool(true)) {
        "started"
    } else {
        "was started before"
    };
    output::line(&format!("{name} ({id}) {what}"));
    Ok(())
}
