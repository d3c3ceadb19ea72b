//! `workflow-worker signal`, `approvals`, `approve`, `reject`, `decide`.

use clap::Args;
use postgres_types::Type;

use super::calls::{Calls, Row, print_row, print_rows, read_json, text_of};
use super::output;
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct SignalOptions {
    /// The execution's id or name
    execution: String,
    /// The signal's type
    #[arg(value_name = "TYPE")]
    signal_type: String,
    /// Its data, JSON: as it is, from a file (@FILE), or from standard input (-)
    #[arg(allow_hyphen_values = true)]
    data: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct AnswerOptions {
    /// The execution's id or name
    execution: String,
    /// Which request, if several are open: the node that asks
    #[arg(long)]
    node: Option<String>,
    /// Who answers
    #[arg(long)]
    by: Option<String>,
    /// Why
    #[arg(long)]
    comment: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DecideOptions {
    #[command(flatten)]
    answer: AnswerOptions,
    /// One of the options of the request
    decision: String,
}

pub(super) async fn signal(config: &Config, options: &SignalOptions) -> anyhow::Result<()> {
    let data = options.data.as_deref().map(read_json).transpose()?;
    let row = Calls::new(config)?
        .row(
            "SELECT workflow_worker.signal($1, $2, $3) AS id",
            &[
                (&options.execution, Type::TEXT),
                (&options.signal_type, Type::TEXT),
                (&data, Type::JSONB),
            ],
        )
        .await?;
    print_sent(&row, options.json)
}

pub(super) async fn list(config: &Config, options: &ListOptions) -> anyhow::Result<()> {
    let rows = Calls::new(config)?
        .rows(
            "SELECT * FROM workflow_worker.approvals ORDER BY asked_at, id",
            &[],
        )
        .await?;
    let columns = [
        "execution",
        "workflow",
        "node",
        "message",
        "options",
        "asked_at",
        "expires_at",
    ];
    print_rows(&rows, &columns, options.json)
}

pub(super) async fn approve(config: &Config, options: &AnswerOptions) -> anyhow::Result<()> {
    answer(
        config,
        options,
        "SELECT workflow_worker.approve($1, $2, $3, $4) AS id",
    )
    .await
}

pub(super) async fn reject(config: &Config, options: &AnswerOptions) -> anyhow::Result<()> {
    answer(
        config,
        options,
        "SELECT workflow_worker.reject($1, $2, $3, $4) AS id",
    )
    .await
}

async fn answer(config: &Config, options: &AnswerOptions, query: &str) -> anyhow::Result<()> {
    let row = Calls::new(config)?
        .row(
            query,
            &[
                (&options.execution, Type::TEXT),
                (&options.node, Type::TEXT),
                (&options.by, Type::TEXT),
                (&options.comment, Type::TEXT),
            ],
        )
        .await?;
    print_sent(&row, options.json)
}

pub(super) async fn decide(config: &Config, options: &DecideOptions) -> anyhow::Result<()> {
    let answer = &options.answer;
    let row = Calls::new(config)?
        .row(
            "SELECT workflow_worker.decide($1, $2, $3, $4, $5) AS id",
            &[
                (&answer.execution, Type::TEXT),
                (&options.decision, Type::TEXT),
                (&answer.node, Type::TEXT),
                (&answer.by, Type::TEXT),
                (&answer.comment, Type::TEXT),
            ],
        )
        .await?;
    print_sent(&row, answer.json)
}

fn print_sent(row: &Row, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        return print_row(row, true);
    }
    output::line(&format!("sent as signal {}", text_of(row, "id")));
    Ok(())
}
