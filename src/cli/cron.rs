//! `workflow-worker cron explain`: what a cron expression means, and when it fires. Needs no database and no setting.
//!
//! Exit codes: 0; 65 (`EX_DATAERR`) the expression or the zone is refused; 64 the arguments are wrong.

use std::process::ExitCode;

use chrono::{NaiveDateTime, SecondsFormat};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{EXIT_DATA, output};
use crate::clock;
use crate::cron::Schedule;
use crate::ids::Timestamp;

/// Arguments of `cron`.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What an expression means, when it fires next, and what others would read differently
    Explain(Explain),
}

/// Arguments of `cron explain`.
#[derive(Debug, Args)]
struct Explain {
    /// The expression in quotes: minute, hour, day of month, month, day of week; then second; then year
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    expression: String,
    /// The zone on whose wall clock it is read, such as Europe/Berlin
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// How many times
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// The instant after which they are looked for, such as 2026-03-01T12:00:00Z; UTC if it says no offset [default: now]
    #[arg(long, value_parser = instant)]
    from: Option<Timestamp>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|local| local.and_utc())
        .ok_or_else(|| "an instant such as 2026-03-01T12:00:00Z is right".to_owned())
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let Command::Explain(options) = &options.command;
    let schedule = match Schedule::parse(&options.expression, Some(&options.zone)) {
        Ok(schedule) => schedule,
        Err(error) => {
            output::error(&error.to_string());
            return Ok(ExitCode::from(EXIT_DATA));
        }
    };
    let start = options.from.unwrap_or_else(clock::now);
    let fires: Vec<Timestamp> = std::iter::successors(schedule.next_after(start), |last| {
        schedule.next_after(*last)
    })
    .take(usize::from(options.count))
    .collect();
    let explanation = schedule.explain();
    let utc = |fire: &Timestamp| fire.to_rfc3339_opts(SecondsFormat::Secs, true);
    let local = |fire: &Timestamp| {
        let local = fire.with_timezone(&schedule.zone());
        local.format("%a %Y-%m-%d %H:%M:%S %:z").to_string()
    };
    if options.json {
        let fires: Vec<_> = fires
            .iter()
            .map(|fire| json!({"utc": utc(fire), "local": local(fire)}))
            .collect();
        let all = json!({
            "expression": options.expression,
            "zone": schedule.zone().name(),
            "meaning": explanation.meaning,
            "fires": fires,
            "notes": explanation.notes,
        });
        output::line(&serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&explanation.meaning);
    let rows: Vec<Vec<String>> = fires
        .iter()
        .map(|fire| vec![format!("  {}", utc(fire)), local(fire)])
        .collect();
    output::table(&rows);
    if rows.len() < usize::from(options.count) {
        output::line("  and no more within 50 years, or before 2101");
    }
    for note in &explanation.notes {
        output::line(&format!("note: {note}"));
    }
    Ok(ExitCode::SUCCESS)
}
