//! ONE execution: restore, drive, record.
//!
//! ```text
//!   restore ─▶ ┌─▶ commands ─▶ activities (side by side) ─▶ event ─▶ engine ─▶ record ─┐ ─▶ Done | Parked | Drained | …
//!              └───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Invariants:
//! * A node that can be seen from outside starts only after everything before it is recorded, so that a kill at any moment
//!   repeats at most those of them that were in flight, and nodes that only compute, which nobody can tell.
//! * What somebody else wrote into the host row is never overwritten unseen: each record names the version that the
//!   runner has seen, and a record that comes too late leaves the row alone.
//! * After the loss of its lease a runner writes nothing.
//! * Nodes are started with a slot only. It is left when there is nothing more to be done than to have the last record
//!   committed; a run that goes on after all waits for one.

mod answers;
mod apply;
mod conclude;
mod drive;
pub mod graphs;
mod in_flight;
pub mod interrupt;
mod limit;
mod look;
mod perform;
mod replay;
mod report;
mod restore;
mod session;
mod settle;
pub mod slots;
mod start;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use crate::activities::registry::Registry;
use crate::clock::DatabaseClock;
use crate::engine::Bounds;
use crate::ids::{Timestamp, WorkerId};
use crate::retry::RetryPolicy;
use crate::store::Store;
use crate::store::claim::Claimed;
use crate::telemetry::{Event, Telemetry};
use crate::writer::WriterHandle;
use graphs::Graphs;
use interrupt::Interrupts;
use slots::Slot;

/// What all runners of a worker share.
#[derive(Debug)]
pub struct Tools {
    /// For reading.
    pub store: Store,
    /// For writing.
    pub writer: WriterHandle,
    /// Node types.
    pub registry: Arc<Registry>,
    /// Graphs in memory.
    pub graphs: Graphs,
    /// The database's clock.
    pub clock: Arc<DatabaseClock>,
    /// When a failed execution is tried again.
    pub retry: RetryPolicy,
    /// Bounds on what a graph may do.
    pub bounds: Bounds,
    /// How long one attempt of a node may take.
    pub node_timeout: Duration,
    /// How long a whole execution may take that says nothing of it.
    pub execution_timeout: Option<Duration>,
    /// Whether `workflowexecution.execution_state` is `jsonb`, which refuses the character NUL.
    pub is_state_jsonb: bool,
    /// Where events go.
    pub telemetry: Telemetry,
}

/// How a runner ended. None of these is an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The execution is finished, one way or the other.
    Done,
    /// It waits without a slot.
    Parked {
        /// Until when; `None`: until somebody writes its row.
        until: Option<Timestamp>,
    },
    /// It was handed back because the worker stops.
    Drained,
    /// The lease is lost, or the row is gone.
    LeaseLost,
}

/// Runs one claimed execution.
#[derive(Debug)]
pub struct Runner {
    tools: Arc<Tools>,
    worker: WorkerId,
    claimed: Claimed,
    interrupts: Interrupts,
    slot: Slot,
}

impl Runner {
    /// A runner for an execution that `worker` has claimed into `slot`.
    pub fn new(
        tools: Arc<Tools>,
        worker: WorkerId,
        claimed: Claimed,
        interrupts: Interrupts,
        slot: Slot,
    ) -> Self {
        Self {
            tools,
            worker,
            claimed,
            interrupts,
            slot,
        }
    }

    /// Runs it until it ends, waits, or is to stop.
    pub async fn run(self) -> Ended {
        let id = self.claimed.execution_id;
        let telemetry = self.tools.telemetry.clone();
        let lost = self.interrupts.lost.clone();
        let ended = tokio::select! {
            // The lease first: after its loss nothing more is to be done, whatever else is ready.
            biased;
            () = lost.cancelled() => Ended::LeaseLost,
            // In a box, because it is large, and most of the time it waits.
            ended = Box::pin(restore::take_up(self)) => ended,
        };
        if ended == Ended::LeaseLost {
            telemetry.emit(Event::LeaseLost { id });
        }
        ended
    }
}
