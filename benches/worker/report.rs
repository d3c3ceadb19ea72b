//! The results as Markdown for people and as JSON for programs; the JSON has the form of `benches/peers`.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::options::Soak;
use crate::results::{Finding, OURS, Results, Row, Unit};
use crate::targets::Target;

/// With three significant digits, or none after the point.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let digits = if size == 0.0 || size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text
        .split_once('.')
        .map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let dot = if rest.is_empty() { "" } else { "." };
    format!("{}{dot}{rest}", thousands(whole))
}

fn thousands(whole: &str) -> String {
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        let left = whole.len() - place;
        if place > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What it was measured on, in a few lines.
pub(crate) fn head(machine: &Machine) -> String {
    let warning = if machine.quick || machine.is_debug() {
        "\n\n**Small sizes or a debug build: these figures show that the benchmark works, not how fast the worker is.**"
    } else {
        ""
    };
    format!(
        "{}, workflow-worker {}, PostgreSQL {}, {}; a page takes {} ms to the disk. {} round(s): `{}`.{warning}\n",
        machine.date,
        machine.worker,
        machine.postgresql,
        machine.hardware,
        number(machine.fsync_ms),
        machine.rounds,
        machine.command
    )
}

/// Every row.
pub(crate) fn table(results: &Results) -> String {
    let mut lines = vec![
        [
            "",
            "setting",
            "unit",
            "n",
            "median",
            "p95",
            "p99",
            "of the limit",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut last = "";
    let shown = |row: &&Row| row.finding.course.is_empty();
    for row in results.rows.iter().filter(shown) {
        let scenario = row.finding.scenario;
        let title = if scenario.key == last {
            ""
        } else {
            scenario.title
        };
        last = scenario.key;
        let tail = |share| row.tail(share).map(number).unwrap_or_default();
        let ratio = results.ratio_to_limit(row);
        lines.push(vec![
            title.to_owned(),
            if row.finding.peer == OURS {
                row.finding.setting.clone()
            } else {
                "(limit)".to_owned()
            },
            scenario.unit.text().to_owned(),
            row.values().len().to_string(),
            number(row.median()),
            tail(0.95),
            tail(0.99),
            ratio
                .map(|ratio| format!("{}×", number(ratio)))
                .unwrap_or_default(),
        ]);
    }
    markdown(&lines)
}

/// Each target.
pub(crate) fn targets(targets: &[Target]) -> String {
    let mut lines = vec![
        ["target", "wanted", "found", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for target in targets {
        lines.push(vec![
            target.what.clone(),
            target.wanted.clone(),
            target.found.map(number).unwrap_or_default(),
            target.verdict().to_owned(),
        ]);
    }
    markdown(&lines)
}

/// So much more in the last third than in the first is still no growth.
const FLAT: f64 = 1.2;

/// What a figure may be without having grown: autovacuum leaves a table alone below some hundreds of dead rows, and each
/// index has some pages.
fn small(unit: Unit) -> f64 {
    match unit {
        Unit::Count => 1_000.0,
        Unit::Mib => 1.0,
        _ => 0.0,
    }
}

/// Each third has some rounds of autovacuum, which looks at a database once a minute.
const TELLING_MINUTES: f64 = 15.0;

/// The soak: how everything went, and whether it grew. Nothing if there was none.
pub(crate) fn soak(results: &Results, plan: &Soak) -> String {
    let head = [
        "",
        "table",
        "unit",
        "first third",
        "second third",
        "last third",
        "most",
        "last of first",
        "",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    let mut grown = Vec::new();
    let mut last = "";
    for row in &results.rows {
        let Some([first, second, third]) = row.thirds() else {
            continue;
        };
        let Finding {
            scenario, setting, ..
        } = &row.finding;
        let title = if scenario.key == last {
            ""
        } else {
            scenario.title
        };
        last = scenario.key;
        let is_flat = third <= first * FLAT || third <= small(scenario.unit);
        if !is_flat {
            let of = if setting.is_empty() { "" } else { " of " };
            grown.push(format!("{}{of}{setting}", scenario.title));
        }
        let most = row.values().into_iter().fold(0.0, f64::max);
        let ratio = (first > 0.0).then(|| format!("{}×", number(third / first)));
        lines.push(vec![
            title.to_owned(),
            setting.clone(),
            scenario.unit.text().to_owned(),
            number(first),
            number(second),
            number(third),
            number(most),
            ratio.unwrap_or_default(),
            if is_flat { "flat" } else { "GROWS" }.to_owned(),
        ]);
    }
    if lines.len() == 1 {
        return String::new();
    }
    let snapshot = if plan.with_snapshot {
        " An old snapshot was held open during the second third."
    } else {
        ""
    };
    let verdict = if plan.minutes < TELLING_MINUTES {
        "**Too short to tell what grows: autovacuum comes once a minute.**".to_owned()
    } else if grown.is_empty() {
        "Nothing has grown.".to_owned()
    } else {
        format!("**Grown: {}.**", grown.join(", "))
    };
    format!(
        "{} executions per second for {} minutes.{snapshot} {verdict}\n\n{}",
        plan.per_second,
        number(plan.minutes),
        markdown(&lines)
    )
}

/// What failed, if anything did.
pub(crate) fn failures(results: &Results) -> String {
    let mut text = String::new();
    for failure in &results.failures {
        // Writing to a String cannot fail.
        writeln!(
            text,
            "FAILED: {}, round {}: {}",
            failure.cell, failure.round, failure.error
        )
        .ok();
    }
    text
}

/// A table; the first line is its head.
pub(crate) fn markdown(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(text, "| {} |", cells.join(" | ")).ok();
        if number == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
            writeln!(text, "|{}|", rules.join("|")).ok();
        }
    }
    text
}

/// An array: first what it was measured on, then one object per scenario and setting, the targets, and the failures.
pub(crate) fn as_json(machine: &Machine, results: &Results, targets: &[Target]) -> Value {
    let mut all = vec![machine.as_json()];
    all.extend(
        results
            .rows
            .iter()
            .map(|row| row_as_json(machine, results, row)),
    );
    all.extend(targets.iter().map(|target| {
        json!({
            "peer": OURS,
            "scenario": "target",
            "what": target.what,
            "wanted": target.wanted,
            "found": target.found,
            "verdict": target.verdict(),
        })
    }));
    all.extend(results.failures.iter().map(|failure| {
        json!({
            "peer": OURS,
            "scenario": failure.cell,
            "round": failure.round,
            "error": failure.error,
        })
    }));
    Value::Array(all)
}

fn row_as_json(machine: &Machine, results: &Results, row: &Row) -> Value {
    let finding = &row.finding;
    let values = row.values();
    let medians: serde_json::Map<String, Value> = row
        .rounds
        .iter()
        .map(|(round, values)| (round.to_string(), crate::results::median(values).into()))
        .collect();
    json!({
        "peer": finding.peer,
        "version": if finding.peer == OURS { &machine.worker } else { &machine.postgresql },
        "setting": finding.setting,
        "scenario": finding.scenario.key,
        "title": finding.scenario.title,
        "unit": finding.scenario.unit.text(),
        "n": values.len(),
        "median": row.median(),
        "p95": row.tail(0.95),
        "p99": row.tail(0.99),
        "round_medians": medians,
        "values": values,
        "x": finding.x,
        "course": finding.course,
        "limit": finding.scenario.limit,
        "ratio_to_limit": results.ratio_to_limit(row),
    })
}

/// What a cell has found, in one line.
pub(crate) fn summary(found: &[Finding]) -> String {
    let texts = found.iter().take(4).map(|finding| {
        let unit = finding.scenario.unit;
        let space = if unit == Unit::Count { "" } else { " " };
        format!(
            "{}{space}{}",
            number(crate::results::median(&finding.values)),
            unit.text()
        )
    });
    texts.collect::<Vec<_>>().join(", ")
}
