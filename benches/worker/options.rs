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
];

/// Measures the worker beside the limits of the same PostgreSQL. `docs/benchmarks.md` says what and how.
#[derive(Clone, Debug, Parser)]
#[command(name = "scripts/bench")]
pub(crate) struct Options {
    /// Small sizes and one round, under two minutes: whether it works, not how fast it is
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these groups, for example a,c (a wake-up, b five nodes, c drain, d several workers, e producers, f long
    /// workflows, g claim and poll, h idle, i timers, j cost per step, k recovery)
    #[arg(long, value_delimiter = ',', value_parser = group)]
    pub(crate) only: Vec<char>,
    /// How often everything is measured, in another order each time [default: 3, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Write the results there, as JSON (a relative path counts from the root of the repository)
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the page with plots there, and the results into benchmarks.md beside it
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) docs: Option<PathBuf>,
    /// Save the plans of group g there
    #[arg(long, value_name = "DIRECTORY", default_value = "target/bench/plans")]
    pub(crate) plans: PathBuf,
    /// Results of benches/peers in JSON: the target that is set by the peers is judged by them
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

impl Options {
    /// How often everything is measured.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// Whether a group is asked for.
    pub(crate) fn wants(&self, group: char) -> bool {
        self.only.is_empty() || self.only.contains(&group)
    }

    /// How much is measured, per round.
    pub(crate) fn sizes(&self) -> Sizes {
        if self.quick { QUICK } else { FULL }
    }
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
}

const FULL: Sizes = Sizes {
    latencies: 200,
    window_ms: 2_000,
    drain_one: 20_000,
    drain_five: 4_000,
    concurrencies: &[10, 50, 200, 500],
    producers: &[1, 8, 16, 64],
    lengths: &[(10, 20), (100, 5), (1_000, 2), (10_000, 1)],
    rounds_of_loop: 10_000,
    states: &[1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 5 << 20],
    backgrounds: &[1_000, 100_000, 1_000_000],
    lookups: 50,
    idle_ms: 60_000,
    delays: (1_000, 10.0),
    counted: 2_000,
    killed: 200,
};

const QUICK: Sizes = Sizes {
    latencies: 15,
    window_ms: 250,
    drain_one: 300,
    drain_five: 100,
    concurrencies: &[10, 200],
    producers: &[1, 8],
    lengths: &[(10, 3), (100, 1), (300, 1)],
    rounds_of_loop: 100,
    states: &[1 << 10, 64 << 10, 1 << 20],
    backgrounds: &[1_000, 20_000],
    lookups: 10,
    idle_ms: 5_000,
    delays: (50, 2.0),
    counted: 100,
    killed: 20,
};
