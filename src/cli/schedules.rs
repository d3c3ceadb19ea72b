//! `workflow-worker schedule`, `unschedule`, `schedules`.

use clap::Args;
use postgres_types::Type;
use uuid::Uuid;

use super::calls::{Calls, print_row, print_rows, read_json, refusal, text_of};
use super::output;
use crate::config::Config;
use crate::cron::Schedule;

#[derive(Debug, Args)]
pub(super) struct ScheduleOptions {
    /// The workflow's id or name
    workflow: String,
    /// When, in the dialect of croniter: '*/5 * * * *', '0 9 * * mon-fri', '@daily'
    cron_expression: String,
    /// The time zone in which the expression is read
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    /// While an execution of it has not ended: allow (another), skip, queue
    #[arg(long, default_value = "allow")]
    overlap: String,
    /// After an outage: default (the worker's setting), coalesce, `catch_up`, skip
    #[arg(long, default_value = "default")]
    missed: String,
    /// How many missed times `catch_up` makes up for; 0 is the worker's setting
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_catch_up: i32,
    /// How many fires may wait with `--overlap queue`
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_queued: i32,
    /// Input of each execution, a JSON object: as it is, from a file (@FILE), or from standard input (-)
    #[arg(long, default_value = "{}")]
    input: String,
    /// Replace this schedule, or make it under this id
    #[arg(long, value_name = "SCHEDULE_ID")]
    id: Option<Uuid>,
    /// Make it, but let it not fire yet
    #[arg(long)]
    inactive: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct UnscheduleOptions {
    /// The schedule's id
    schedule: Uuid,
}

#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn schedule(config: &Config, options: &ScheduleOptions) -> anyhow::Result<()> {
    // The database cannot read expressions; a worker would say so later.
    Schedule::parse(&options.cron_expression, Some(&options.time_zone))
        .map_err(|error| refusal("WW400", error.to_string()))?;
    let input = read_json(&options.input)?;
    let calls = Calls::new(config)?;
    let workflow = calls.workflow(&options.workflow).await?;
    let is_active = !options.inactive;
    let row = calls
        .row(
            "SELECT workflow_worker.schedule(
                 workflow_id => $1, cron_expression => $2, time_zone => $3, overlap => $4, missed => $5, input => $6,
                 is_active => $7, schedule_id => $8, max_catch_up => $9, max_queued => $10) AS id",
            &[
                (&workflow, Type::UUID),
                (&options.cron_expression, Type::TEXT),
                (&options.time_zone, Type::TEXT),
                (&options.overlap, Type::TEXT),
                (&options.missed, Type::TEXT),
                (&input, Type::JSONB),
                (&is_active, Type::BOOL),
                (&options.id, Type::UUID),
                (&options.max_catch_up, Type::INT4),
                (&options.max_queued, Type::INT4),
            ],
        )
        .await?;
    if options.json {
        return print_row(&row, true);
    }
    output::line(&format!("schedule {}", text_of(&row, "id")));
    Ok(())
}

pub(super) async fn unschedule(config: &Config, options: &UnscheduleOptions) -> anyhow::Result<()> {
    Calls::new(config)?
        .row(
            "SELECT workflow_worker.unschedule($1)::text",
            &[(&options.schedule, Type::UUID)],
        )
        .await?;
    output::line("removed");
    Ok(())
}

pub(super) async fn list(config: &Config, options: &ListOptions) -> anyhow::Result<()> {
    let rows = Calls::new(config)?
        .rows(
            "SELECT * FROM workflow_worker.schedules ORDER BY next_run_at NULLS LAST, schedule_id",
            &[],
        )
        .await?;
    let columns = [
        "schedule_id",
        "workflow_name",
        "cron_expression",
        "time_zone",
        "is_active",
        "next_run_at",
        "last_run_at",
        "last_execution_status",
        "error",
    ];
    print_rows(&rows, &columns, options.json)
}
