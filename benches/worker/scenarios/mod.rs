//! What is measured, one file per question.

mod costs;
pub(crate) mod drain;
pub(crate) mod growth;
pub(crate) mod idle;
pub(crate) mod latency;
pub(crate) mod lookups;
pub(crate) mod producers;
pub(crate) mod recovery;
pub(crate) mod soak;
mod timers;

use crate::cell::Cell;
use crate::limits;
use crate::options::Sizes;
use crate::results::Scenario;

/// Every scenario, limits first, in the order of the tables. What is missing here stands at the top of them.
pub(crate) const ORDER: &[&Scenario] = &[
    &limits::NOTIFY,
    &limits::INSERT_AND_NOTIFY,
    &limits::COMMITS_1,
    &limits::COMMITS_8,
    &limits::COMMITS_16,
    &limits::BATCHED,
    &latency::WAKE_FROM_COMMIT,
    &latency::WAKE_FROM_CALL,
    &latency::FIVE_COMPLETED,
    &latency::FIVE_FROM_CALL,
    &drain::ONE,
    &drain::FIVE,
    &producers::INSERTS,
    &growth::NODE_COST,
    &growth::ACTING_COST,
    &growth::ROUND_COST,
    &growth::STATE,
    &lookups::CLAIM,
    &lookups::CLAIM_PAGES,
    &lookups::POLL,
    &lookups::POLL_PAGES,
    &idle::CPU,
    &idle::MEMORY,
    &idle::STATEMENTS,
    &timers::LATENESS,
    &costs::STATEMENTS,
    &costs::RECORDS,
    &costs::WAL,
    &recovery::RECOVERY,
    &recovery::LOST,
    &soak::RATE,
    &soak::LATENCY,
    &soak::CLAIM,
    &soak::RECORD,
    &soak::DEAD,
    &soak::LIVE,
    &soak::TABLES,
    &soak::INDEXES,
    &soak::MEMORY,
    &soak::CPU,
];

/// Every measurement of a round.
pub(crate) fn cells(sizes: &Sizes) -> Vec<Cell> {
    [
        latency::cells(),
        drain::cells(sizes),
        producers::cells(),
        growth::cells(sizes),
        lookups::cells(),
        idle::cells(),
        timers::cells(),
        costs::cells(),
        recovery::cells(),
        soak::cells(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
