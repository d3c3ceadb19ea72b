//! Measures the worker, as a user has it, beside the limits of the same PostgreSQL. `scripts/bench` runs it;
//! `docs/benchmarks.md` says what is measured, how, and how to read it.
//!
//! Everything is measured in rounds, in another order in each, the limits first: noise that comes and goes hits all alike,
//! and ratios are taken within a round. Each measurement has a database and workers of its own. One that fails is
//! reported as such, and ends nothing else.

/// What the peers have done.
mod beside;
/// One measurement.
mod cell;
/// The files under docs/.
mod docs;
/// The server.
mod lab;
/// What PostgreSQL can do at all.
mod limits;
/// What it is measured on.
mod machine;
/// The command line.
mod options;
/// The page with plots.
mod plots;
/// The short table.
mod readme;
/// Tables and JSON.
mod report;
/// What was found.
mod results;
/// What is measured.
mod scenarios;
/// What must be reached.
mod targets;
/// The workflows.
mod work;
/// The worker's process.
mod worker;

use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use uuid::Uuid;

use beside::Beside;
use cell::{Cell, Found};
use docs::Outcome;
use lab::Lab;
use machine::Machine;
use options::Options;
use results::{Failure, Finding, Results};

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    ensure!(
        options.worker.is_file(),
        "--worker: {} is no program",
        options.worker.display()
    );
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    // What is wrong with the files is said before an hour has gone.
    docs::check(options)?;
    let beside = options.beside.as_deref().map(Beside::read).transpose()?;
    let lab = Rc::new(Lab::start(options).await?);
    let machine = Machine::look(&lab, options).await?;
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    if !lab.counts_statements {
        say(
            &bars,
            "pg_stat_statements is not installed (apt-get install postgresql-contrib): statements are not counted",
        );
    }
    let results = measure(&lab, options, &bars).await?;
    let targets = targets::judge(&results, beside.as_ref());
    let outcome = Outcome {
        machine: &machine,
        results: &results,
        targets: &targets,
        beside: beside.as_ref(),
    };
    print(options, outcome);
    if let Some(path) = &options.json {
        let json = report::as_json(&machine, &results, &targets);
        docs::put(path, &format!("{}\n", serde_json::to_string_pretty(&json)?))?;
    }
    docs::write(options, outcome)?;
    Ok(if results.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn measure(
    lab: &Rc<Lab>,
    options: &Options,
    bars: &MultiProgress,
) -> anyhow::Result<Results> {
    let mut results = Results::default();
    let cells: Vec<Cell> = scenarios::cells(&lab.sizes)
        .into_iter()
        .filter(|cell| options.wants(cell.group))
        .collect();
    if cells.is_empty() {
        bail!("nothing to measure");
    }
    let in_round = |round: u32| {
        cells
            .iter()
            .filter(move |cell| round == 1 || !cell.only_once)
    };
    let total: usize = (1..=options.rounds())
        .map(|round| in_round(round).count() + 1)
        .sum();
    let style = ProgressStyle::with_template(
        "{bar:30} {pos}/{len} {elapsed_precise}, {eta_precise} left · {msg}",
    )?;
    let whole = bars.add(ProgressBar::new(total.try_into()?).with_style(style));
    whole.enable_steady_tick(Duration::from_millis(500));
    for round in 1..=options.rounds() {
        whole.set_message(format!("round {round}: limits"));
        let limits = in_database(lab, false, bars, async |stage| {
            limits::measure(&stage.url, &stage.sizes()).await
        })
        .await;
        keep(&mut results, bars, round, "limits", limits);
        whole.inc(1);
        for cell in shuffled(in_round(round).collect()) {
            whole.set_message(format!("round {round}: ({}) {}", cell.group, cell.title));
            let found = in_database(lab, true, bars, async |stage| cell.take(stage).await).await;
            keep(
                &mut results,
                bars,
                round,
                &format!("({}) {}", cell.group, cell.title),
                found,
            );
            whole.inc(1);
        }
    }
    whole.finish_and_clear();
    // Rounds are shuffled, tables are not: by the order of the groups, then of what is on the horizontal axis.
    results.sort();
    Ok(results)
}

/// Gives a measurement a database of its own, and removes it whatever comes of it.
async fn in_database(
    lab: &Rc<Lab>,
    migrated: bool,
    bars: &MultiProgress,
    take: impl AsyncFnOnce(lab::Stage) -> Found,
) -> Found {
    let bar = bars.add(ProgressBar::new_spinner());
    let stage = lab.stage(migrated, bar.clone())?;
    let name = stage.name.clone();
    let found = take(stage).await;
    bar.finish_and_clear();
    let discarded = lab.discard(&name);
    let found = found?;
    discarded?;
    Ok(found)
}

fn keep(results: &mut Results, bars: &MultiProgress, round: u32, cell: &str, found: Found) {
    let empty = |findings: &[Finding]| findings.iter().any(|finding| finding.values.is_empty());
    match found {
        Ok(findings) if empty(&findings) => {
            fail(
                results,
                bars,
                round,
                cell,
                "it has found no value".to_owned(),
            );
        }
        Ok(findings) => {
            say(
                bars,
                &format!("round {round}: {cell}: {}", report::summary(&findings)),
            );
            for finding in findings {
                results.add(round, finding);
            }
        }
        Err(error) => fail(results, bars, round, cell, format!("{error:#}")),
    }
}

fn fail(results: &mut Results, bars: &MultiProgress, round: u32, cell: &str, error: String) {
    say(bars, &format!("round {round}: {cell}: FAILED: {error}"));
    results.failures.push(Failure {
        cell: cell.to_owned(),
        round,
        error,
    });
}

/// In another order each time; a fresh UUID per element is random enough.
fn shuffled<T>(elements: Vec<T>) -> Vec<T> {
    let mut keyed: Vec<(Uuid, T)> = elements
        .into_iter()
        .map(|element| (Uuid::new_v4(), element))
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, element)| element).collect()
}

#[expect(
    clippy::print_stderr,
    reason = "progress goes there, also where there is no terminal"
)]
fn say(bars: &MultiProgress, text: &str) {
    bars.suspend(|| eprintln!("{text}"));
}

#[expect(clippy::print_stdout, reason = "the results")]
fn print(options: &Options, outcome: Outcome<'_>) {
    let Outcome {
        machine,
        results,
        targets,
        beside,
    } = outcome;
    println!("{}", report::head(machine));
    if targets.iter().any(|target| target.found.is_some()) {
        println!("{}", report::targets(targets));
    }
    println!("{}", report::table(results));
    println!("{}", report::soak(results, &options.sizes().soak));
    if let Some(beside) = beside {
        println!("{}", beside.section());
    }
    println!("{}", report::failures(results));
}
