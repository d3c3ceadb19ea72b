//! What the worker must reach, and whether it did.
//!
//! A target that was not measured in this run is said to be so; none is taken for met.

use crate::beside::Beside;
use crate::limits;
use crate::results::{Results, Row, Scenario};
use crate::scenarios::{drain, growth, idle, latency, lookups, producers, recovery};

/// One.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// What.
    pub(crate) what: String,
    /// What was wanted.
    pub(crate) wanted: String,
    /// What was found; `None` if it was not measured.
    pub(crate) found: Option<f64>,
    /// Whether that is good enough.
    pub(crate) is_met: bool,
}

impl Target {
    fn at_most(what: &str, most: f64, unit: &str, found: Option<f64>) -> Self {
        Self {
            what: what.to_owned(),
            wanted: format!("≤ {most}{unit}"),
            found,
            is_met: found.is_some_and(|found| found <= most),
        }
    }

    fn at_least(what: &str, least: f64, unit: &str, found: Option<f64>) -> Self {
        Self {
            what: what.to_owned(),
            wanted: format!("≥ {least}{unit}"),
            found,
            is_met: found.is_some_and(|found| found >= least),
        }
    }

    /// In one word or two.
    pub(crate) fn verdict(&self) -> &'static str {
        match (self.found, self.is_met) {
            (None, _) => "not measured",
            (Some(_), true) => "met",
            (Some(_), false) => "NOT MET",
        }
    }
}

/// All of them.
pub(crate) fn judge(results: &Results, beside: Option<&Beside>) -> Vec<Target> {
    let mut targets = of_speed(results, beside);
    targets.extend(of_growth(results));
    targets.extend(of_robustness(results));
    targets
}

/// The median of a scenario that has one setting.
pub(crate) fn median_of(results: &Results, scenario: &Scenario) -> Option<f64> {
    results.of(scenario.key).next().map(Row::median)
}

fn of_speed(results: &Results, beside: Option<&Beside>) -> Vec<Target> {
    vec![
        Target::at_most(
            "INSERT committed → first node starts, idle, p50, of the raw NOTIFY round trip",
            2.0,
            "×",
            ratio(results, latency::WAKE_FROM_COMMIT.key, limits::NOTIFY.key),
        ),
        Target::at_most(
            "5-node workflow, idle, INSERT → completed, p50",
            10.0,
            " ms",
            median_of(results, &latency::FIVE_COMPLETED),
        ),
        Target::at_least(
            "Durable steps per second, one worker, of the best peer's with durable steps",
            3.0,
            "×",
            beside.and_then(against_peers),
        ),
        Target::at_least(
            "8 producers beside a busy worker, of those without NOTIFY",
            0.9,
            "×",
            between(
                results,
                producers::INSERTS.key,
                &producers::setting(producers::BUSY, 8),
                &producers::setting(producers::BUSY_WITHOUT, 8),
            ),
        ),
    ]
}

fn of_growth(results: &Results) -> Vec<Target> {
    let (late, early) = (growth::setting(1_000), growth::setting(10));
    let mut targets = vec![Target::at_most(
        "Cost of a node that calls a server at node 1,000, of that at node 10",
        1.2,
        "×",
        between(results, growth::ACTING_COST.key, &late, &early),
    )];
    for background in lookups::BACKGROUNDS {
        let [many, few] = [1_000_000, 1_000].map(|count| lookups::setting(background, count));
        targets.push(Target::at_most(
            &format!("Claim beside 1,000,000 {background} executions, of that beside 1,000"),
            1.2,
            "×",
            between(results, lookups::CLAIM.key, &many, &few),
        ));
    }
    targets
}

fn of_robustness(results: &Results) -> Vec<Target> {
    let worst_of = |scenario: &Scenario| results.of(scenario.key).next().map(worst);
    vec![
        Target::at_most(
            "kill -9 of a worker → all its executions run elsewhere",
            3_000.0,
            " ms",
            worst_of(&recovery::RECOVERY),
        ),
        Target::at_most(
            "Executions lost or steps recorded twice by that",
            0.0,
            "",
            worst_of(&recovery::LOST),
        ),
        Target::at_most(
            "Idle worker: resident memory",
            25.0,
            " MiB",
            median_of(results, &idle::MEMORY),
        ),
        Target::at_most(
            "Idle worker: processor",
            1.0,
            " % of a core",
            median_of(results, &idle::CPU),
        ),
    ]
}

fn worst(row: &Row) -> f64 {
    row.values().into_iter().fold(0.0, f64::max)
}

/// One scenario divided by another; each has one setting.
pub(crate) fn ratio(results: &Results, key: &str, other: &str) -> Option<f64> {
    results.ratio(results.of(key).next()?, results.of(other).next()?)
}

/// One setting of a scenario divided by another.
pub(crate) fn between(results: &Results, key: &str, setting: &str, other: &str) -> Option<f64> {
    let at = |setting: &str| results.of(key).find(|row| row.finding.setting == setting);
    results.ratio(at(setting)?, at(other)?)
}

/// Our drain of five steps divided by that of the best peer with durable steps, both of the peers' run. Ours with nodes that
/// act: each is committed before the next starts, as the peers' steps are.
fn against_peers(beside: &Beside) -> Option<f64> {
    let ours = beside.ours(drain::FIVE.key)?;
    let theirs = beside.best_durable_peer(drain::FIVE.key)?;
    Some(ours.times_faster_than(theirs))
}
