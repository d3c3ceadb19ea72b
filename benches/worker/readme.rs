//! The short table in the README: figures that say something on another machine, too, each with what it is compared to.

use crate::beside::{Beside, Row};
use crate::docs::Outcome;
use crate::limits;
use crate::report::{self, number};
use crate::results::Results;
use crate::scenarios::{drain, growth, idle, latency, lookups, producers, recovery};
use crate::targets::{between, median_of, ratio};

type Line = [Option<String>; 3];

/// With the machine below. Rows that were not measured are left out.
pub(crate) fn table(outcome: Outcome<'_>) -> String {
    let machine = outcome.machine;
    let mut lines = vec![["", "here", "beside"].map(str::to_owned).to_vec()];
    let mut all = of_speed(outcome.results);
    let beside = outcome.beside.filter(|beside| beside.head.whole);
    all.extend(beside.map(of_peers).unwrap_or_default());
    all.extend(of_growth(outcome.results));
    for line in all {
        let has_figures = line.iter().skip(1).any(Option::is_some);
        if has_figures {
            lines.push(line.map(Option::unwrap_or_default).to_vec());
        }
    }
    let faster = if beside.is_some() {
        " Where a peer is faster is said [there](docs/benchmarks.md#beside-its-peers)."
    } else {
        ""
    };
    format!(
        "{}\n{}, PostgreSQL {}, {}: `{}`.{faster}\n",
        report::markdown(&lines),
        machine.date,
        machine.postgresql,
        machine.hardware,
        machine.command
    )
}

fn line(what: &str, here: Option<String>, beside: Option<String>) -> Line {
    [Some(what.to_owned()), here, beside]
}

fn with_unit(value: f64, unit: &str) -> String {
    format!("{} {unit}", number(value))
}

fn times(ratio: Option<f64>, of: &str) -> Option<String> {
    ratio.map(|ratio| format!("{}× {of}", number(ratio)))
}

fn of_speed(results: &Results) -> Vec<Line> {
    let ms = |median: Option<f64>| median.map(|ms| with_unit(ms, "ms"));
    let drains = [
        ("One-node executions, one worker at its best", &drain::ONE),
        (
            "Steps of five-node executions, one worker at its best",
            &drain::FIVE,
        ),
    ];
    let best = |key| {
        let rows = results.of(key);
        rows.filter(|row| row.finding.setting.starts_with("1 worker,"))
            .max_by(|one, other| one.median().total_cmp(&other.median()))
    };
    let mut lines = vec![
        line(
            "INSERT committed → first node starts, idle, p50",
            ms(median_of(results, &latency::WAKE_FROM_COMMIT)),
            times(
                ratio(results, latency::WAKE_FROM_COMMIT.key, limits::NOTIFY.key),
                "the round trip of a bare NOTIFY",
            ),
        ),
        line(
            "Five nodes, INSERT → completed, idle, p50",
            ms(median_of(results, &latency::FIVE_COMPLETED)),
            times(
                ratio(
                    results,
                    latency::FIVE_COMPLETED.key,
                    limits::INSERT_AND_NOTIFY.key,
                ),
                "a bare INSERT with NOTIFY → received",
            ),
        ),
    ];
    lines.extend(drains.map(|(what, scenario)| {
        let row = best(scenario.key);
        line(
            what,
            row.map(|row| with_unit(row.median(), "per s")),
            times(
                row.and_then(|row| results.ratio_to_limit(row)),
                "the single-row commits of 16 clients",
            ),
        )
    }));
    lines.push(line(
        "INSERTs of 8 clients beside a busy worker",
        None,
        times(
            between(
                results,
                producers::INSERTS.key,
                &producers::setting(producers::BUSY, 8),
                &producers::setting(producers::BUSY_WITHOUT, 8),
            ),
            "those without any NOTIFY",
        ),
    ));
    lines
}

fn of_peers(beside: &Beside) -> Vec<Line> {
    let found = [
        (
            "Wake-up, against the fastest peer",
            latency::WAKE_FROM_COMMIT.key,
            false,
        ),
        (
            "One-step throughput, against the fastest peer",
            drain::ONE.key,
            false,
        ),
        (
            "Five durable steps, idle, against the fastest peer that has them",
            "five_from_commit",
            true,
        ),
        (
            "Durable steps per second, against the fastest peer that has them",
            drain::FIVE.key,
            true,
        ),
    ];
    let text = |row: &Row| format!("{} ({})", row.peer, row.setting);
    found
        .map(|(what, key, is_durable)| {
            let peer = if is_durable {
                beside.best_durable_peer(key)
            } else {
                beside.best_peer(key)
            };
            let pair = beside.ours(key).zip(peer);
            line(
                what,
                None,
                pair.map(|(ours, peer)| {
                    format!(
                        "{}× as fast as {}",
                        number(ours.times_faster_than(peer)),
                        text(peer)
                    )
                }),
            )
        })
        .into()
}

fn of_growth(results: &Results) -> Vec<Line> {
    let beside_a_million = |background: &str| {
        let [many, few] = [1_000_000, 1_000].map(|count| lookups::setting(background, count));
        between(results, lookups::CLAIM.key, &many, &few)
    };
    let mut lines = vec![line(
        "Node 1,000 of a workflow",
        None,
        times(
            between(
                results,
                growth::ACTING_COST.key,
                &growth::setting(1_000),
                &growth::setting(10),
            ),
            "the cost of node 10",
        ),
    )];
    lines.extend(lookups::BACKGROUNDS.map(|background| {
        line(
            &format!("Claim beside 1,000,000 {background} executions"),
            None,
            times(beside_a_million(background), "the time beside 1,000"),
        )
    }));
    let worst = results.of(recovery::RECOVERY.key).next();
    let worst = worst.map(|row| row.values().into_iter().fold(0.0, f64::max));
    lines.push(line(
        "kill -9 of a worker → all its executions run elsewhere",
        worst.map(|ms| with_unit(ms / 1e3, "s")),
        None,
    ));
    lines.push(line(
        "An idle worker",
        median_of(results, &idle::MEMORY)
            .zip(median_of(results, &idle::CPU))
            .map(|(mib, cpu)| format!("{} MiB, {} % of a core", number(mib), number(cpu))),
        None,
    ));
    lines
}
