//! `workflow-worker list` and `show`.

use clap::Args;
use postgres_types::Type;
use serde_json::{Map, Value};

use super::calls::{Calls, print_row, print_rows, text_of};
use super::output;
use crate::config::Config;

/// As they are shown to people: to the second, and no longer than a line.
const LISTED: &str = "id, name, workflow, state, waits_for, held_by, priority, date_trunc('second', run_at) AS run_at, worker,
    current_node, nodes_done, date_trunc('second', started_at) AS started_at, date_trunc('second', duration) AS duration,
    left(error, 100) AS error";

const STEPS: &str = "SELECT * FROM (
        SELECT seq, node_id, node_type, scope, visit, attempt, status, output, error, started_at, finished_at,
               round(extract(epoch FROM finished_at - started_at)::numeric * 1000) AS ms
        FROM workflow_worker.steps
        WHERE execution_id = $1::text::uuid AND seq > 0
        ORDER BY seq DESC
        LIMIT $2) AS newest
    ORDER BY seq";

const LOG: &str = "SELECT * FROM (
        SELECT \"timestamp\" AS at, level, node_id, message
        FROM public.executionlog
        WHERE execution_id = $1::text::uuid
        ORDER BY \"timestamp\" DESC
        LIMIT $2) AS newest
    ORDER BY at";

const APPROVALS: &str = "SELECT node, message, options, asked_at, expires_at
    FROM workflow_worker.approvals
    WHERE execution_id = $1::text::uuid
    ORDER BY asked_at";

/// The column `state` of the view `executions`.
const STATES: [&str; 10] = [
    "scheduled",
    "queued",
    "running",
    "sleeping",
    "waiting",
    "retrying",
    "paused",
    "completed",
    "failed",
    "unqueued",
];

#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// Only in this state; may be given several times
    #[arg(long, value_parser = STATES)]
    state: Vec<String>,
    /// Only of this workflow
    #[arg(long)]
    workflow: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowOptions {
    /// The execution's id or name
    execution: String,
    /// At most so many of the last steps and log rows
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(config: &Config, options: &ListOptions) -> anyhow::Result<()> {
    let calls = Calls::new(config)?;
    let workflow = match &options.workflow {
        Some(reference) => Some(calls.workflow(reference).await?),
        None => None,
    };
    let limit = i64::from(options.limit);
    let rows = calls
        .rows(
            &format!(
                "SELECT {LISTED} FROM workflow_worker.executions AS execution
                 WHERE ($1::uuid IS NULL OR workflow_id = $1)
                   AND (cardinality($2::text[]) = 0 OR state = ANY ($2))
                 ORDER BY execution.started_at DESC, id
                 LIMIT $3"
            ),
            &[
                (&workflow, Type::UUID),
                (&options.state, Type::TEXT_ARRAY),
                (&limit, Type::INT8),
            ],
        )
        .await?;
    let columns = [
        "name",
        "workflow",
        "state",
        "waits_for",
        "run_at",
        "priority",
        "worker",
        "current_node",
        "started_at",
        "duration",
        "error",
    ];
    print_rows(&rows, &columns, options.json)
}

pub(super) async fn show(config: &Config, options: &ShowOptions) -> anyhow::Result<()> {
    let calls = Calls::new(config)?;
    let limit = i64::from(options.limit);
    let execution = calls
        .row(
            "SELECT * FROM workflow_worker.executions WHERE id = workflow_worker.execution_id($1)",
            &[(&options.execution, Type::TEXT)],
        )
        .await?;
    let id = text_of(&execution, "id").to_owned();
    let of_it = [(&id as _, Type::TEXT), (&limit as _, Type::INT8)];
    let steps = calls.rows(STEPS, &of_it).await?;
    let log = calls.rows(LOG, &of_it).await?;
    let approvals = calls.rows(APPROVALS, &[(&id, Type::TEXT)]).await?;
    if options.json {
        let all = Map::from_iter([
            ("execution".to_owned(), Value::Object(execution)),
            ("steps".to_owned(), steps.into_iter().collect()),
            ("approvals".to_owned(), approvals.into_iter().collect()),
            ("log".to_owned(), log.into_iter().collect()),
        ]);
        return print_row(&all, true);
    }
    print_row(&execution, false)?;
    if !approvals.is_empty() {
        output::line("");
        print_rows(
            &approvals,
            &["node", "message", "options", "asked_at"],
            false,
        )?;
    }
    output::line("");
    print_rows(
        &steps,
        &[
            "seq",
            "node_id",
            "node_type",
            "scope",
            "attempt",
            "status",
            "ms",
            "error",
        ],
        false,
    )?;
    output::line("");
    print_rows(&log, &["at", "level", "node_id", "message"], false)
}
