//! What `benches/peers/run --json` has found, for the docs and for the target that peers set.
//!
//! Every figure in it, ours too, is of that one run; nothing here compares two runs. Where a peer is faster the text says so
//! by itself: the figures decide, nobody has to write it.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use crate::report::{self, number};
use crate::results::OURS;

/// The environment of the run.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Head {
    date: String,
    machine: String,
    postgresql: String,
    command: String,
    rounds: u32,
    /// Small sizes: the figures mean nothing.
    quick: bool,
    /// Every peer was measured, at full size.
    pub(crate) whole: bool,
}

/// One peer at one setting in one scenario.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) peer: String,
    version: String,
    /// The setting's name …
    pub(crate) setting: String,
    /// … and what it is.
    pub(crate) setting_text: String,
    scenario: String,
    title: String,
    unit: String,
    n: u64,
    /// In the scenario's unit.
    pub(crate) median: f64,
    p95: Option<f64>,
    p99: Option<f64>,
    /// Whether each step is committed before the next starts. Nothing for the limits.
    durable: Option<bool>,
    stopped_after_steps: Option<u64>,
}

impl Row {
    fn less_is_better(&self) -> bool {
        self.unit == "ms"
    }

    /// How many times faster than the other one it is.
    pub(crate) fn times_faster_than(&self, other: &Self) -> f64 {
        if self.less_is_better() {
            other.median / self.median
        } else {
            self.median / other.median
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    /// On what, and how.
    pub(crate) head: Head,
    /// Best first within each scenario, as the run has sorted them. No limits.
    rows: Vec<Row>,
    failures: usize,
}

impl Beside {
    /// Reads a file of results.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let what = || {
            format!(
                "--beside: {} holds no results of benches/peers",
                path.display()
            )
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--beside: {} cannot be read", path.display()))?;
        let mut all: Vec<Value> = serde_json::from_str(&text).with_context(what)?;
        if all.is_empty() {
            anyhow::bail!(what());
        }
        let head = serde_json::from_value(all.remove(0)).with_context(what)?;
        let failures = all.iter().filter(|row| row.get("error").is_some()).count();
        let rows = all
            .into_iter()
            .filter(|row| row.get("median").is_some())
            .map(serde_json::from_value::<Row>)
            .collect::<Result<Vec<_>, _>>()
            .with_context(what)?;
        let is_peer = |row: &Row| row.durable.is_some();
        Ok(Self {
            head,
            rows: rows.into_iter().filter(is_peer).collect(),
            failures,
        })
    }

    fn of<'a, 'b>(&'a self, scenario: &'b str) -> impl Iterator<Item = &'a Row> + use<'a, 'b> {
        self.rows.iter().filter(move |row| row.scenario == scenario)
    }

    /// Our best setting; where steps are compared, of those with which each is committed before the next starts.
    pub(crate) fn ours(&self, scenario: &str) -> Option<&Row> {
        let ours = || self.of(scenario).filter(|row| row.peer == OURS);
        ours()
            .find(|row| row.durable == Some(true))
            .or_else(|| ours().next())
    }

    /// The best of the others.
    pub(crate) fn best_peer(&self, scenario: &str) -> Option<&Row> {
        self.of(scenario).find(|row| row.peer != OURS)
    }

    /// The best of the others that commit each step before the next starts.
    pub(crate) fn best_durable_peer(&self, scenario: &str) -> Option<&Row> {
        self.of(scenario)
            .find(|row| row.peer != OURS && row.durable == Some(true))
    }

    /// In the order of the tables.
    fn scenarios(&self) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !found.contains(&row.scenario.as_str()) {
                found.push(&row.scenario);
            }
        }
        found
    }

    /// What the docs have of it.
    pub(crate) fn section(&self) -> String {
        let head = &self.head;
        let warning = if head.quick {
            "\n\n**Small sizes: these figures show that the benchmark works, and nothing else.**"
        } else {
            ""
        };
        let failures = if self.failures == 0 {
            String::new()
        } else {
            format!(" {} measurement(s) failed.", self.failures)
        };
        format!(
            "{}, PostgreSQL {}, {}. {} round(s): `{}`.{failures}{warning}\n\n{}\n{}",
            head.date,
            head.postgresql,
            head.machine,
            head.rounds,
            head.command,
            self.faster(),
            self.table()
        )
    }

    /// Where a peer is faster, in words.
    fn faster(&self) -> String {
        let mut text = String::from(
            "Where a peer is faster than this worker at its best (`acting`, where steps are compared):\n\n",
        );
        let mut slower = Vec::new();
        for scenario in self.scenarios() {
            let Some(ours) = self.ours(scenario) else {
                continue;
            };
            let faster: Vec<String> = self
                .of(scenario)
                .filter(|row| row.peer != OURS && row.times_faster_than(ours) > 1.0)
                .map(|row| {
                    format!(
                        "{} ({}: {}) has {} {}, {}× as fast",
                        row.peer,
                        row.setting,
                        row.setting_text,
                        number(row.median),
                        row.unit,
                        number(row.times_faster_than(ours))
                    )
                })
                .collect();
            if faster.is_empty() {
                slower.push(ours.title.as_str());
                continue;
            }
            // Writing to a String cannot fail.
            writeln!(
                text,
                "- {}: {}. This worker ({}) has {} {}.",
                ours.title,
                faster.join("; "),
                ours.setting,
                number(ours.median),
                ours.unit
            )
            .ok();
        }
        if !slower.is_empty() {
            writeln!(text, "- Nobody in: {}.", slower.join("; ")).ok();
        }
        text
    }

    fn table(&self) -> String {
        let head = [
            "", "peer", "setting", "unit", "n", "median", "p95", "p99", "ours",
        ];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        let mut last = "";
        for row in &self.rows {
            let title = if row.scenario == last { "" } else { &row.title };
            last = &row.scenario;
            let tail = |value: Option<f64>| value.map(number).unwrap_or_default();
            let note = if row.stopped_after_steps.is_some() {
                " (stopped)"
            } else if row.peer == OURS
                && row.durable != self.ours(&row.scenario).and_then(|ours| ours.durable)
            {
                " (commits shared)"
            } else {
                ""
            };
            let ours = self.ours(&row.scenario).filter(|_| row.peer != OURS);
            let ours = ours.map(|ours| format!("{}×", number(ours.times_faster_than(row))));
            lines.push(vec![
                title.to_owned(),
                format!("{} {}", row.peer, row.version),
                format!("{}{note}", row.setting),
                row.unit.clone(),
                row.n.to_string(),
                number(row.median),
                tail(row.p95),
                tail(row.p99),
                ours.unwrap_or_default(),
            ]);
        }
        report::markdown(&lines)
    }
}
