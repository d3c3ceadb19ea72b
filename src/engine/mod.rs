//! WHAT follows (pure): given the graph, the checkpoint and one event, what is to be done next.
//!
//! No database, no clock, no async: the shell (`runner`) asks and answers.
//!
//! - An execution is a set of **tokens** on the graph. A node that succeeds gives each edge that its result takes
//!   (`branch`) a token; a node with several incoming edges fires once when no other token can still reach it
//!   (`join`). When no token is left, the execution is complete.
//! - Rounds of a loop, branches with a rule of their own and the parts of a `try` run in frames inside their node
//!   (`frame`); which nodes stand inside is a matter of the graph alone (`region`).
//! - A node whose attempt fails is run again as the retry policy says; then its error is caught (`attempted`), or ends the
//!   execution (`failure`).
//! - Each attempt that ends is a [`Step`], numbered 1, 2, 3 …. The shell records it together with the checkpoint;
//!   what is recorded as a success never runs again, what was in flight runs again after a restart as the same
//!   attempt of the same visit.
//! - The machine does nothing by itself: [`Machine::apply`] tells it what happened, [`Machine::next_command`] says
//!   what to do, until `None`. Time is an argument; what is
//!   due is done with whatever event comes.

#![warn(clippy::wildcard_enum_match_arm)]

mod attempted;
mod bad_graph;
mod bits;
mod brackets;
mod branch;
mod checkpoint;
mod command;
mod container;
mod cycles;
mod event;
mod explain;
mod failure;
mod finish;
mod frame;
mod graph;
mod group;
mod join;
mod options;
mod reach;
mod record;
mod region;
mod rounds;
mod saved;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod token;
mod unwind;
mod ways;

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

pub use bad_graph::BadGraph;
pub use checkpoint::{BadCheckpoint, Checkpoint, History, Origin};
pub use command::Command;
pub use event::{Awaited, ChildStart, Event, FailureKind, NodeResult, Rounds, SignalWait};
pub use explain::{LoopReading, Reading, TryReading};
pub use failure::LastFailure;
pub use frame::Caught;
pub use graph::{Edge, Graph, GraphNode};
pub use options::{Aggregation, FanOut, NodeOptions, time_limit};
pub use state::{State, WaitReason, Waiting};
pub use step::{Step, StepStatus, scope_inside};
pub use unwind::Dropped;

use crate::ids::{NodeId, Timestamp, Visit};
use crate::retry::RetryPolicy;
use frame::Frames;
use graph::Place;
use join::Joins;
use token::{Token, TokenState, Tokens};

/// Names a token within its execution.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct TokenId(pub u32);

/// Bounds on what a graph may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The most rounds of one loop (`WORKFLOW_MAX_LOOP_ITERATIONS`).
    pub max_iterations: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_iterations: 10_000,
        }
    }
}

/// One execution. A value: it holds no resource and may be dropped at any time.
#[derive(Debug)]
pub struct Machine {
    graph: Arc<Graph>,
    policy: RetryPolicy,
    limits: Bounds,
    tokens: Tokens,
    joins: Joins,
    frames: Frames,
    /// How often each node has been entered.
    visits: HashMap<Place, Visit>,
    /// The last recorded step.
    seq: i32,
    /// Retries scheduled so far, by all nodes together.
    retry_count: u32,
    /// Those of them that count against the execution's budget.
    budget_used: u32,
    is_started: bool,
    /// The token at which the execution failed.
    failed: Option<TokenId>,
    /// The end, not told yet.
    ending: Option<Command>,
    /// What the event at hand records.
    steps: Vec<Step>,
    /// Tokens that were cancelled, not told yet.
    dropped: Vec<Dropped>,
}

/// An event that cannot have happened: the shell's mistake.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IllegalEvent {
    /// Something came before `Start`.
    #[error("the execution has not been started")]
    NotStarted,
    /// `Start` came twice.
    #[error("the execution has been started already")]
    AlreadyStarted,
    /// An answer to a command that was not given, or a second answer.
    #[error("token {} is not in flight", token.0)]
    NotInFlight {
        /// The token it named.
        token: TokenId,
    },
    /// The record is full.
    #[error("an execution can have {} steps at most", i32::MAX)]
    TooManySteps,
}

/// What is recorded of an attempt, apart from where.
struct Ended {
    output: Map<String, Value>,
    error: Option<String>,
}

impl Ended {
    fn with(output: Map<String, Value>) -> Self {
        Self {
            output,
            error: None,
        }
    }
}

/// A failed attempt.
struct Faulty {
    kind: FailureKind,
    message: String,
    output: Map<String, Value>,
    error_type: Arc<str>,
    retry_after: Option<std::time::Duration>,
}

/// When an attempt was.
#[derive(Clone, Copy)]
struct Times {
    started_at: Timestamp,
    now: Timestamp,
}

impl Machine {
    /// Takes an execution up, new (`checkpoint: None`) or where it stood. Nothing is done before [`Event::Start`].
    ///
    /// A failed execution goes on at the nodes that failed, as their next attempt. Its retries stay counted: when
    /// none was left, this attempt is the only one.
    ///
    /// # Errors
    /// [`BadCheckpoint`] if the checkpoint is a newer worker's or belongs to another graph, or if `origin` names a
    /// node that does not exist.
    pub fn restore(
        graph: Arc<Graph>,
        checkpoint: Option<Checkpoint>,
        origin: &Origin,
        history: &History,
        (policy, limits): (RetryPolicy, Bounds),
    ) -> Result<Self, BadCheckpoint> {
        let mut machine = Self {
            visits: history
                .visits
                .iter()
                .filter_map(|(node, visit)| Some((graph.place(node)?, *visit)))
                .collect(),
            graph,
            policy,
            limits,
            tokens: Tokens::starting_at(1),
            joins: Joins::default(),
            frames: Frames::default(),
            seq: history.last_seq,
            retry_count: origin.retry_count,
            budget_used: origin.retry_count,
            is_started: false,
            failed: None,
            ending: None,
            steps: Vec::new(),
            dropped: Vec::new(),
        };
        match checkpoint {
            Some(checkpoint) => machine.put_back(checkpoint, history)?,
            None => machine.place_first_token(origin.start_at.as_ref())?,
        }
        Ok(machine)
    }

    /// Takes in what happened; what is to be recorded comes back.
    ///
    /// # Errors
    /// [`IllegalEvent`] if it cannot have happened. The machine has not changed then, except after `TooManySteps`.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Result<Vec<Step>, IllegalEvent> {
        let times = Times {
            started_at: now,
            now,
        };
        let expires = matches!(event, Event::DeadlinePassed);
        match (event, self.is_started) {
            (Event::Start, true) => return Err(IllegalEvent::AlreadyStarted),
            (Event::Start, false) => self.start(),
            (
                Event::NodeFinished { .. }
                | Event::Answered { .. }
                | Event::DeadlinePassed
                | Event::DataChanged,
                false,
            ) => {
                return Err(IllegalEvent::NotStarted);
            }
            (
                Event::NodeFinished {
                    token,
                    result,
                    started_at,
                },
                true,
            ) => self.finish(token, result, Times { started_at, now })?,
            (Event::Answered { token, result }, true) => self.answer(token, result, now)?,
            (Event::DeadlinePassed, true) => {}
            (Event::DataChanged, true) => self.recheck_all(),
        }
        self.settle_frames(times)?;
        self.wake_due(now, expires)?;
        let steps = mem::take(&mut self.steps);
        if self.tokens.is_empty() && !steps.is_empty() {
            self.ending = Some(Command::Complete);
        }
        Ok(steps)
    }

    /// What is to be done next; `None` when there is nothing (more) to do until an event comes. The end is told once.
    pub fn next_command(&mut self) -> Option<Command> {
        if self.ending.is_some() {
            return self.ending.take();
        }
        if !self.is_started || self.failed.is_some() {
            return None;
        }
        let id = *self.tokens.ready().first()?;
        self.tokens
            .set(id, |token| token.state = TokenState::Running);
        let round = self.frames.next_round(id);
        let locals = self.locals(id);
        let token = self.tokens.get(id)?;
        let scope = if self.frames.containers.contains_key(&id) {
            // It is asked about another round: it sees what its rounds have left.
            self.scope_inside(id, &round.to_string())
        } else {
            token
                .frame
                .and_then(|frame| self.frames.get(frame))
                .map(|frame| Arc::clone(&frame.scope))
                .unwrap_or_default()
        };
        Some(Command::RunNode {
            token: id,
            node: token.node.clone(),
            visit: token.visit,
            attempt: token.attempt,
            waiting_since: token.waiting_since,
            round,
            locals,
            scope,
        })
    }

    fn place_first_token(&mut self, start_at: Option<&NodeId>) -> Result<(), BadCheckpoint> {
        let place = match start_at {
            Some(node) => {
                let unknown = || BadCheckpoint::UnknownStart { node: node.clone() };
                Some(self.graph.place(node).ok_or_else(unknown)?)
            }
            None => self.graph.entry_place(),
        };
        if let Some(place) = place {
            self.enter((None, place), TokenState::Ready, None);
        }
        Ok(())
    }

    fn start(&mut self) {
        self.is_started = true;
        self.failed = None;
        let failed: Vec<TokenId> = self
            .tokens
            .iter()
            .filter(|(_, token)| token.state == TokenState::Failed)
            .map(|(id, _)| id)
            .collect();
        if !failed.is_empty() {
            self.ask_again();
            self.renew_retries();
        }
        for id in failed {
            self.tokens.set(id, |token| {
                token.forgiven = token.attempt;
                run_again(token);
            });
        }
        self.settle_all();
        if self.tokens.is_empty() {
            self.ending = Some(Command::Complete);
        }
    }
}

/// A failed node's next attempt.
fn run_again(token: &mut Token) {
    token.attempt = token.attempt.saturating_add(1);
    token.state = TokenState::Ready;
}
