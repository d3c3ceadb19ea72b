//! What was found, and what follows from it: medians, quantiles, and ratios to the limits.
//!
//! A figure is compared with a limit round by round, because noise of one round has hit both; the ratio that is shown is
//! the median of those.

use std::collections::BTreeMap;

/// Whose figures are limits.
pub(crate) const POSTGRESQL: &str = "PostgreSQL";
/// Whose figures are ours.
pub(crate) const OURS: &str = "workflow-worker";

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Milliseconds.
    Ms,
    /// Things per second.
    PerSecond,
    /// Steps per second.
    StepsPerSecond,
    /// Kibibytes.
    Kib,
    /// Mebibytes.
    Mib,
    /// Hundredths of one core.
    PercentOfCore,
    /// Per minute.
    PerMinute,
    /// A count.
    Count,
}

impl Unit {
    /// As it stands in tables and in JSON; the names that `benches/peers` uses, where it has the unit.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::PerSecond => "per s",
            Self::StepsPerSecond => "steps/s",
            Self::Kib => "KiB",
            Self::Mib => "MiB",
            Self::PercentOfCore => "% of a core",
            Self::PerMinute => "per min",
            Self::Count => "",
        }
    }

    /// Whether single values spread, so that the upper quantiles tell something.
    fn has_tail(self) -> bool {
        self == Self::Ms
    }
}

/// A scenario: one kind of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// Its key in JSON.
    pub(crate) key: &'static str,
    /// What it is.
    pub(crate) title: &'static str,
    /// What it is counted in.
    pub(crate) unit: Unit,
    /// The key of the limit that it is divided by.
    pub(crate) limit: Option<&'static str>,
}

/// What one cell has found of one scenario in one round.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Whose it is.
    pub(crate) peer: &'static str,
    /// What was measured.
    pub(crate) scenario: &'static Scenario,
    /// At which setting.
    pub(crate) setting: String,
    /// Where it stands on the horizontal axis of a plot: clients, nodes, bytes.
    pub(crate) x: Option<f64>,
    /// One or more values.
    pub(crate) values: Vec<f64>,
    /// Of a soak: the values over the time, in minutes.
    pub(crate) course: Vec<(f64, f64)>,
}

impl Finding {
    /// A figure of the worker.
    pub(crate) fn ours(
        scenario: &'static Scenario,
        setting: impl Into<String>,
        values: Vec<f64>,
    ) -> Self {
        Self {
            peer: OURS,
            scenario,
            setting: setting.into(),
            x: None,
            values,
            course: Vec::new(),
        }
    }

    /// How a figure of the worker has gone.
    pub(crate) fn course(
        scenario: &'static Scenario,
        setting: impl Into<String>,
        course: Vec<(f64, f64)>,
    ) -> Self {
        let values = course.iter().map(|(_, value)| *value).collect();
        Self {
            course,
            ..Self::ours(scenario, setting, values)
        }
    }

    /// A limit.
    pub(crate) fn limit(scenario: &'static Scenario, values: Vec<f64>) -> Self {
        Self {
            peer: POSTGRESQL,
            ..Self::ours(scenario, "default", values)
        }
    }

    /// The same with its place on the axis.
    #[must_use]
    pub(crate) fn at(self, x: impl Into<f64>) -> Self {
        Self {
            x: Some(x.into()),
            ..self
        }
    }
}

/// All rounds of one scenario at one setting.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The first round's, without its values.
    pub(crate) finding: Finding,
    /// The values by round.
    pub(crate) rounds: BTreeMap<u32, Vec<f64>>,
}

impl Row {
    /// All values.
    pub(crate) fn values(&self) -> Vec<f64> {
        self.rounds.values().flatten().copied().collect()
    }

    /// Their median.
    pub(crate) fn median(&self) -> f64 {
        median(&self.values())
    }

    /// The means of the three thirds of a course. Nothing where it is too short to have three.
    pub(crate) fn thirds(&self) -> Option<[f64; 3]> {
        let course = &self.finding.course;
        let (begin, end) = (course.first()?.0, course.last()?.0);
        let third = (end - begin) / 3.0;
        let mean = |number: f64| {
            let (from, to) = (begin + third * number, begin + third * (number + 1.0));
            let values: Vec<f64> = course
                .iter()
                .filter(|(at, _)| *at >= from && (*at < to || (number > 1.5 && *at <= end)))
                .map(|(_, value)| *value)
                .collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        Some([mean(0.0)?, mean(1.0)?, mean(2.0)?])
    }

    /// A quantile, where the unit has a tail.
    pub(crate) fn tail(&self, share: f64) -> Option<f64> {
        self.finding
            .scenario
            .unit
            .has_tail()
            .then(|| quantile(&self.values(), share))
    }
}

/// A measurement that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Which.
    pub(crate) cell: String,
    /// In which round.
    pub(crate) round: u32,
    /// Why.
    pub(crate) error: String,
}

/// Everything.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// In the order in which they were first found.
    pub(crate) rows: Vec<Row>,
    /// What failed.
    pub(crate) failures: Vec<Failure>,
}

impl Results {
    /// Takes in what a round has found.
    pub(crate) fn add(&mut self, round: u32, finding: Finding) {
        let values = finding.values.clone();
        let known = self.rows.iter_mut().find(|row| {
            row.finding.scenario.key == finding.scenario.key
                && row.finding.setting == finding.setting
        });
        match known {
            Some(row) => row.rounds.entry(round).or_default().extend(values),
            None => self.rows.push(Row {
                finding,
                rounds: BTreeMap::from([(round, values)]),
            }),
        }
    }

    /// Puts the rows in the order of the scenarios, those of one scenario by the first part of their settings, and those by
    /// their places on the axis.
    pub(crate) fn sort(&mut self) {
        let place = |row: &Row| {
            crate::scenarios::ORDER
                .iter()
                .position(|scenario| scenario.key == row.finding.scenario.key)
        };
        let kind = |row: &Row| {
            let parts = row.finding.setting.split_once(", ");
            parts.map(|(kind, _)| kind.to_owned()).unwrap_or_default()
        };
        let x = |row: &Row| row.finding.x.unwrap_or_default();
        self.rows.sort_by(|one, other| {
            (place(one), kind(one))
                .cmp(&(place(other), kind(other)))
                .then_with(|| x(one).total_cmp(&x(other)))
        });
    }

    /// The rows of a scenario.
    pub(crate) fn of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows
            .iter()
            .filter(move |row| row.finding.scenario.key == key)
    }

    /// One row divided by another, round by round; the median of that. Nothing where they have no round in common.
    pub(crate) fn ratio(&self, row: &Row, other: &Row) -> Option<f64> {
        let ratios: Vec<f64> = row
            .rounds
            .iter()
            .filter_map(|(round, values)| {
                let below = median(other.rounds.get(round)?);
                (below > 0.0).then(|| median(values) / below)
            })
            .collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }

    /// A row divided by its limit.
    pub(crate) fn ratio_to_limit(&self, row: &Row) -> Option<f64> {
        let key = row.finding.scenario.limit?;
        self.ratio(row, self.of(key).next()?)
    }
}

/// The median; 0 of nothing, which no cell reports.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    if sorted.len() % 2 == 1 {
        return upper;
    }
    let lower = sorted
        .get((sorted.len() / 2).saturating_sub(1))
        .copied()
        .unwrap_or_default();
    f64::midpoint(lower, upper)
}

/// The smallest value that at least this share of the values does not exceed.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let wanted = share * sorted.len() as f64;
    sorted
        .iter()
        .zip(1_u32..)
        .find(|(_, rank)| f64::from(*rank) >= wanted)
        .map_or(0.0, |(value, _)| *value)
}
