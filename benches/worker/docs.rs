//! The files under docs/, and the short table in the README.
//!
//! What was not measured in a run is left as it is: the results, the peers and the soak have sections of their own, each
//! with date, machine and command. The README has figures of whole runs at full size only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::beside::Beside;
use crate::machine::Machine;
use crate::options::Options;
use crate::results::{OURS, Results};
use crate::targets::Target;
use crate::{plots, readme, report};

/// Between these something is written by this program.
type Marks = [&'static str; 2];
const RESULTS: Marks = ["<!-- results: generated -->", "<!-- end of results -->"];
const PEERS: Marks = ["<!-- peers: generated -->", "<!-- end of peers -->"];
const SOAK: Marks = ["<!-- soak: generated -->", "<!-- end of soak -->"];
const BENCHMARK: Marks = ["<!-- benchmark: generated -->", "<!-- end of benchmark -->"];

fn pages(directory: &Path) -> [(PathBuf, &'static [Marks]); 2] {
    [
        (directory.join("benchmarks.md"), &[RESULTS, PEERS, SOAK]),
        (directory.join("../README.md"), &[BENCHMARK]),
    ]
}

/// Refuses a directory that cannot be written into, before anything is measured.
pub(crate) fn check(options: &Options) -> anyhow::Result<()> {
    let Some(directory) = &options.docs else {
        return Ok(());
    };
    for (path, sections) in pages(directory) {
        let text = read(&path)?;
        for marks in sections {
            split(&path, &text, *marks)?;
        }
    }
    Ok(())
}

/// Everything that the run has found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome<'a> {
    /// On what.
    pub(crate) machine: &'a Machine,
    /// What.
    pub(crate) results: &'a Results,
    /// Whether that is enough.
    pub(crate) targets: &'a [Target],
    /// What the peers have done.
    pub(crate) beside: Option<&'a Beside>,
}

/// Writes what there is.
pub(crate) fn write(options: &Options, outcome: Outcome<'_>) -> anyhow::Result<()> {
    let Some(directory) = &options.docs else {
        return Ok(());
    };
    let Outcome {
        machine,
        results,
        targets,
        beside,
    } = outcome;
    let [(benchmarks, _), (front, _)] = pages(directory);
    let of_soak = |row: &&crate::results::Row| !row.finding.course.is_empty();
    if results
        .rows
        .iter()
        .any(|row| row.finding.peer == OURS && !of_soak(&row))
    {
        let found = [
            report::head(machine),
            report::targets(targets),
            report::table(results),
        ];
        replace(&benchmarks, RESULTS, &found.join("\n"))?;
        let page = plots::page(machine, results, targets)?;
        put(&directory.join("benchmarks.html"), &page)?;
    }
    if results.rows.iter().any(|row| of_soak(&row)) {
        let found = [
            report::head(machine),
            report::soak(results, &options.sizes().soak),
        ];
        replace(&benchmarks, SOAK, &found.join("\n"))?;
        let page = plots::soak_page(machine, results, &options.sizes().soak)?;
        put(&directory.join("soak.html"), &page)?;
    }
    if let Some(beside) = beside {
        replace(&benchmarks, PEERS, &beside.section())?;
    }
    if options.is_whole() && !machine.is_debug() {
        replace(&front, BENCHMARK, &readme::table(outcome))?;
    }
    Ok(())
}

fn replace(path: &Path, marks: Marks, text: &str) -> anyhow::Result<()> {
    let whole = read(path)?;
    let (before, after) = split(path, &whole, marks)?;
    let [begin, end] = marks;
    put(path, &format!("{before}{begin}\n{text}{end}{after}"))
}

/// What stands before and behind a section.
fn split<'a>(
    path: &Path,
    text: &'a str,
    [begin, end]: Marks,
) -> anyhow::Result<(&'a str, &'a str)> {
    let before = text.split_once(begin).map(|(before, _)| before);
    let after = text.split_once(end).map(|(_, after)| after);
    match (before, after) {
        (Some(before), Some(after)) => Ok((before, after)),
        _ => bail!("{} lacks the marks {begin} and {end}", path.display()),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Writes a file.
pub(crate) fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
