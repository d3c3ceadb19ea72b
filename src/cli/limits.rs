//! `workflow-worker limit`.

use clap::Args;
use postgres_types::Type;

use super::calls::{Calls, print_rows};
use super::output;
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// What is counted: workflow, owner or key
    #[arg(requires = "subject")]
    kind: Option<String>,
    /// The workflow's id or name, the owner's id, the concurrency key, or '*' for each one separately
    subject: Option<String>,
    /// At most so many run at the same time
    #[arg(long, value_name = "N", requires = "kind")]
    max_running: Option<i32>,
    /// At most so many start …
    #[arg(long, value_name = "N", requires = "per")]
    max_starts: Option<i32>,
    /// … in this time, such as '1 minute'
    #[arg(long, value_name = "INTERVAL", requires = "max_starts")]
    per: Option<String>,
    /// Remove the limit
    #[arg(long, requires = "kind", conflicts_with_all = ["max_running", "max_starts"])]
    remove: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: &Config, options: &Options) -> anyhow::Result<()> {
    let calls = Calls::new(config)?;
    if options.kind.is_none() {
        let rows = calls
            .rows(
                "SELECT bounds.kind, bounds.subject, bounds.max_running, bounds.max_starts, bounds.per,
                        coalesce(sum(used.running), 0)::bigint AS running, coalesce(sum(used.waiting), 0)::bigint AS waiting
                 FROM workflow_worker.limits AS bounds
                 LEFT JOIN workflow_worker.limit_usage AS used
                        ON used.kind = bounds.kind
                       AND (used.subject = bounds.subject
                            OR (bounds.subject = '*' AND NOT EXISTS (
                                SELECT FROM workflow_worker.limits AS own
                                WHERE own.kind = used.kind AND own.subject = used.subject)))
                 GROUP BY bounds.kind, bounds.subject, bounds.max_running, bounds.max_starts, bounds.per
                 ORDER BY bounds.kind, bounds.subject",
                &[],
            )
            .await?;
        let columns = [
            "kind",
            "subject",
            "max_running",
            "max_starts",
            "per",
            "running",
            "waiting",
        ];
        return print_rows(&rows, &columns, options.json);
    }
    // A workflow goes by its name as well.
    let subject = match (options.kind.as_deref(), options.subject.as_deref()) {
        (Some("workflow"), Some(name)) if name != "*" => {
            Some(calls.workflow(name).await?.to_string())
        }
        (_, subject) => subject.map(str::to_owned),
    };
    let of_it = [
        (&options.kind as _, Type::TEXT),
        (&subject as _, Type::TEXT),
    ];
    if options.remove {
        let row = calls
            .row(
                "SELECT workflow_worker.remove_limit($1, $2) AS is_removed",
                &of_it,
            )
            .await?;
        let is_removed = row.get("is_removed").and_then(serde_json::Value::as_bool);
        output::line(match is_removed {
            Some(true) => "removed",
            _ => "there was no such limit",
        });
        return Ok(());
    }
    let mut arguments = of_it.to_vec();
    arguments.extend([
        (&options.max_running as _, Type::INT4),
        (&options.max_starts as _, Type::INT4),
        (&options.per as _, Type::TEXT),
    ]);
    calls
        .row(
            "SELECT workflow_worker.set_limit($1, $2, $3, $4, $5::interval)::text",
            &arguments,
        )
        .await?;
    output::line("set");
    Ok(())
}
