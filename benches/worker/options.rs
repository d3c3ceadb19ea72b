//! The command line of the benchmark, and the sizes that follow from it.

use std::path::PathBuf;

use clap::Parser;

/// Every group of scenarios, with what it measures.
pub(crate) const GROUPS: &[(char, &str)] = &[
    ('a', "wake-up: INSERT → first node, idle"),
    ('b', "five nodes: INSERT → completed, idle"),
    ('c', "drain with one worker, by concurrency"),
    ('d', "drain with two and four workers"),
    ('e', "producers, with and without a busy worker"),
    ('f', "long workflows, long loops, large states"),
    ('g', "claim and poll beside parked and finished executions"),
    ('h', "an idle worker"),
    ('i', "how late delays end"),
    ('j', "statements, commits and WAL per step"),
    ('k', "after kill -9 of one of two workers"),
    (SOAK, "an hour of load: whether anything grows"),
];

/// The group that only runs when it is asked for.
pub(crate) const SOAK: char = 'l';

/// Measures the worker beside the limits of the same PostgreSQL. `docs/benchmarks.md` says what and how.
#[derive(Clone, Debug, Parser)]
#[command(name = "scripts/bench")]
pub(crate) struct Options {
    /// Small sizes and one round, under two minutes: whether it works, not how fast it is
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these groups, for example a,c (a wake-up, b five nodes, c drain, d several workers, e producers, f long
    /// workflows, g claim and poll, h idle, i timers, j cost per step, k recovery; only if named: l soak)
    #[arg(long, value_delimiter = ',', value_parser = group)]
    pub(crate) only: Vec<char>,
    /// Only the soak (group l), for so many minutes after its warm-up; with --only, beside those groups [default: 60]
    #[arg(long, value_name = "MINUTES", value_parser = minutes)]
    soak: Option<f64>,
    /// Executions per second of the soak
    #[arg(long, value_name = "RATE", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    soak_rate: u32,
    /// Hold an old snapshot open during the second third of the soak, which keeps VACUUM from removing anything newer
    #[arg(long)]
    soak_snapshot: bool,
    /// How often everything is measured, in another order each time [default: 2, with --quick or the soak alone 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Write the results there, as JSON (a relative path counts from the root of the repository)
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the page with plots there, the results into benchmarks.md beside it, and, after a whole run at full size, the
    /// short table into README.md above it
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) docs: Option<PathBuf>,
    /// Save the plans of group g there
    #[arg(long, value_name = "DIRECTORY", default_value = "target/bench/plans")]
    pub(crate) plans: PathBuf,
    /// Results of benches/peers in JSON: they stand beside the results, and the target that peers set is judged by them
    #[arg(long, value_name = "FILE")]
    pub(crate) beside: Option<PathBuf>,
    /// The binary to measure [default: the one that is built with the benchmark]
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_workflow-worker"))]
    pub(crate) worker: PathBuf,
    /// Cargo passes it to each benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn group(text: &str) -> Result<char, String> {
    let known = || GROUPS.iter().map(|(group, _)| group.to_string());
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) if GROUPS.iter().any(|(group, _)| *group == letter) => Ok(letter),
        _ => Err(format!(
            "{text:?} is no group; there are {}",
            known().collect::<Vec<_>>().join(", ")
        )),
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.1..=10_000.0).contains(&minutes) => Ok(minutes),
        _ => Err(format!("{text:?} is no number from 0.1 to 10000")),
    }
}

impl Options {
    /// How often everything is measured.
    pub(crate) fn rounds(&self) -> u32 {
        // One measurement that takes an hour, and is taken once, needs no second round.
        let is_soak_only = GROUPS
            .iter()
            .all(|(group, _)| *group == SOAK || !self.wants(*group));
        let default = if self.quick || is_soak_only { 1 } else { 2 };
        self.rounds.unwrap_or(default)
    }

    /// Whether a group is asked for.
    pub(crate) fn wants(&self, group: char) -> bool {
        match (group, self.soak) {
            (SOAK, Some(_)) => true,
            (SOAK, None) => self.only.contains(&SOAK),
            (_, Some(_)) => self.only.contains(&group),
            (_, None) => self.only.is_empty() || self.only.contains(&group),
        }
    }

    /// Whether every group of the default run is asked for, at full size.
    pub(crate) fn is_whole(&self) -> bool {
        let of_default = |(group, _): &&(char, &str)| *group != SOAK;
        !self.quick
            && GROUPS
                .iter()
                .filter(of_default)
                .all(|(group, _)| self.wants(*group))
    }

    /// How much is measured, per round.
    pub(crate) fn sizes(&self) -> Sizes {
        let sizes = if self.quick { QUICK } else { FULL };
        let soak = Soak {
            minutes: self.soak.unwrap_or(sizes.soak.minutes),
            per_second: self.soak_rate,
            with_snapshot: self.soak_snapshot,
        };
        Sizes { soak, ..sizes }
    }
}

/// How long and how hard the soak is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Soak {
    /// After the warm-up.
    pub(crate) minutes: f64,
    /// Executions.
    pub(crate) per_second: u32,
    /// Whether an old snapshot is held open during the second third.
    pub(crate) with_snapshot: bool,
}

/// How much is measured, per round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// NOTIFYs, wake-ups and five-node executions, one at a time.
    pub(crate) latencies: u32,
    /// How long each limit and each number of producers is measured, in milliseconds.
    pub(crate) window_ms: u64,
    /// Executions of one node in a drain.
    pub(crate) drain_one: i64,
    /// Executions of five nodes in a drain.
    pub(crate) drain_five: i64,
    /// Concurrencies of a drain.
    pub(crate) concurrencies: &'static [u32],
    /// Clients that insert.
    pub(crate) producers: &'static [u32],
    /// Lengths of the workflows, and how often each runs.
    pub(crate) lengths: &'static [(u32, u32)],
    /// Length of the workflow whose nodes act.
    pub(crate) acting_length: u32,
    /// Rounds of the long loop.
    pub(crate) rounds_of_loop: u32,
    /// Sizes of the input, in bytes.
    pub(crate) states: &'static [usize],
    /// Parked or finished executions beside a claim.
    pub(crate) backgrounds: &'static [i64],
    /// Claims and polls per background.
    pub(crate) lookups: u32,
    /// How long an idle worker is watched, in milliseconds.
    pub(crate) idle_ms: u64,
    /// Delays that run at the same time, and over how many seconds they end.
    pub(crate) delays: (i64, f64),
    /// Executions whose cost is counted.
    pub(crate) counted: i64,
    /// Executions that run when a worker is killed.
    pub(crate) killed: i64,
    /// What the soak is, unless the command line says otherwise.
    pub(crate) soak: Soak,
}

const FULL: Sizes = Sizes {
    latencies: 200,
    window_ms: 2_000,
    drain_one: 20_000,
    drain_five: 4_000,
    concurrencies: &[10, 50, 200, 500],
    producers: &[1, 8, 16, 64],
    lengths: &[(10, 20), (100, 5), (1_000, 2), (10_000, 1)],
    acting_length: 1_000,
    rounds_of_loop: 10_000,
    states: &[1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 5 << 20],
    backgrounds: &[1_000, 100_000, 1_000_000],
    lookups: 50,
    idle_ms: 60_000,
    delays: (1_000, 10.0),
    counted: 2_000,
    killed: 200,
    soak: Soak {
        minutes: 60.0,
        per_second: 100,
        with_snapshot: false,
    },
};

const QUICK: Sizes = Sizes {
    latencies: 15,
    window_ms: 250,
    drain_one: 300,
    drain_five: 100,
    concurrencies: &[10, 200],
    producers: &[1, 8],
    lengths: &[(10, 3), (100, 1), (300, 1)],
    acting_length: 100,
    rounds_of_loop: 100,
    states: &[1 << 10, 64 << 10, 1 << 20],
    backgrounds: &[1_000, 20_000],
    lookups: 10,
    idle_ms: 5_000,
    delays: (50, 2.0),
    counted: 100,
    killed: 20,
    soak: Soak {
        minutes: 0.5,
        per_second: 100,
        with_snapshot: false,
    },
};
