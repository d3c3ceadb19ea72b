//! WHAT follows (pure): given the graph, the checkpoint and one event, what is to be done next.
//!
//! No database, no clock, no async: the shell (`runner`) asks and answers.
//!
//! - An execution is a set of **tokens** on the graph. A node that succeeds gives each edge that its result takes
//!   (`branch`) a token; a node with several incoming edges fires once when no other token can still reach it
//!   (`join`). When no token is left, the execution is complete.
//! - A node whose attempt fails is run again as the retry policy says, or ends the execution (`failure`).
//! - Each attempt that ends is a [`Step`], numbered 1, 2, 3 …. The shell records it together with the checkpoint;
//!   what is recorded as a success never runs again, what was in flight runs again after a restart as the same
//!   attempt of the same visit.
//! - The machine does nothing by itself: [`Machine::apply`] tells it what happened, [`Machine::next_command`] says
//!   what to do, until `None`. Time is an argument; what is due is done with whatever event comes.

#![warn(clippy::wildcard_enum_match_arm)]

mod branch;
mod checkpoint;
mod command;
mod cycles;
mod event;
mod failure;
mod graph;
mod join;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod token;

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

pub use checkpoint::{BadCheckpoint, Checkpoint, History, Origin};
pub use command::Command;
pub use event::{ChildStart, Event, FailureKind, NodeResult, Rounds, SignalWait};
pub use failure::LastFailure;
pub use graph::{BadGraph, Edge, Graph, GraphNode};
pub use state::{State, WaitReason};
pub use step::{Step, StepStatus};

use crate::ids::{NodeId, Timestamp, Visit};
use crate::retry::RetryPolicy;
use graph::Place;
use join::Joins;
use token::{Token, TokenState, Tokens};

/// Names a token within its execution.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct TokenId(pub u32);

/// One execution. A value: it holds no resource and may be dropped at any time.
#[derive(Debug)]
pub struct Machine {
    graph: Arc<Graph>,
    policy: RetryPolicy,
    tokens: Tokens,
    joins: Joins,
    /// How often each node has been entered.
    visits: HashMap<Place, Visit>,
    /// The last recorded step.
    seq: i32,
    retry_count: u32,
    is_started: bool,
    /// The token at which the execution failed.
    failed: Option<TokenId>,
    /// The end, not told yet.
    ending: Option<Command>,
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
        policy: RetryPolicy,
    ) -> Result<Self, BadCheckpoint> {
        let mut machine = Self {
            visits: history
                .visits
                .iter()
                .filter_map(|(node, visit)| Some((graph.place(node)?, *visit)))
                .collect(),
            graph,
            policy,
            tokens: Tokens::starting_at(1),
            joins: Joins::default(),
            seq: history.last_seq,
            retry_count: origin.retry_count,
            is_started: false,
            failed: None,
            ending: None,
        };
        match checkpoint {
            Some(checkpoint) => machine.put_back(checkpoint)?,
            None => machine.place_first_token(origin.start_at.as_ref())?,
        }
        Ok(machine)
    }

    /// Takes in what happened; what is to be recorded comes back.
    ///
    /// # Errors
    /// [`IllegalEvent`] if it cannot have happened. The machine has not changed then, except after `TooManySteps`.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Result<Vec<Step>, IllegalEvent> {
        let mut steps = Vec::new();
        match (event, self.is_started) {
            (Event::Start, true) => return Err(IllegalEvent::AlreadyStarted),
            (Event::Start, false) => self.start(),
            (Event::NodeFinished { .. } | Event::DeadlinePassed | Event::DataChanged, false) => {
                return Err(IllegalEvent::NotStarted);
            }
            (
                Event::NodeFinished {
                    token,
                    result,
                    started_at,
                },
                true,
            ) => {
                steps.extend(self.finish(token, result, Times { started_at, now })?);
            }
            (Event::DeadlinePassed, true) => {}
            (Event::DataChanged, true) => self.recheck_all(),
        }
        self.wake_due(now, &mut steps)?;
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
        self.tokens.get(id).map(|token| Command::RunNode {
            token: id,
            node: token.node.clone(),
            visit: token.visit,
            attempt: token.attempt,
            waiting_since: token.waiting_since,
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
            self.enter(place, TokenState::Ready);
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
        for id in failed {
            self.tokens.set(id, run_again);
        }
        self.settle_all();
        if self.tokens.is_empty() {
            self.ending = Some(Command::Complete);
        }
    }

    fn finish(
        &mut self,
        id: TokenId,
        result: NodeResult,
        times: Times,
    ) -> Result<Option<Step>, IllegalEvent> {
        let waiting_since = match self.tokens.get(id) {
            Some(Token {
                state: TokenState::Running,
                waiting_since,
                ..
            }) => *waiting_since,
            Some(_) | None => return Err(IllegalEvent::NotInFlight { token: id }),
        };
        let times = Times {
            started_at: waiting_since.unwrap_or(times.started_at),
            ..times
        };
        match result {
            NodeResult::Success { output, branch } => {
                self.succeed(id, output, branch.as_deref(), times).map(Some)
            }
            NodeResult::Failure {
                kind,
                message,
                output,
            } => self
                .fail(
                    id,
                    kind,
                    Ended {
                        output,
                        error: Some(message),
                    },
                    times,
                )
                .map(Some),
            NodeResult::SleepUntil { at, output } => {
                let (since, output) = (times.started_at, Arc::new(output));
                self.tokens.set(id, |token| {
                    token.state = TokenState::Sleeping { at, since, output }
                });
                Ok(None)
            }
            NodeResult::RecheckAt { at } => {
                self.tokens.set(id, |token| {
                    token.waiting_since = Some(times.started_at);
                    token.state = TokenState::Rechecking { at };
                });
                Ok(None)
            }
        }
    }

    fn succeed(
        &mut self,
        id: TokenId,
        output: Map<String, Value>,
        branch: Option<&str>,
        times: Times,
    ) -> Result<Step, IllegalEvent> {
        let step = self.record(
            id,
            StepStatus::Success,
            Ended {
                output,
                error: None,
            },
            times,
        )?;
        if let Some(token) = self.tokens.remove(id) {
            self.advance(id, branch::taken(&self.graph, token.place, branch));
        }
        Ok(step)
    }

    /// Does what is due. A failed execution does nothing more by itself.
    fn wake_due(&mut self, now: Timestamp, steps: &mut Vec<Step>) -> Result<(), IllegalEvent> {
        while let Some((_, id)) = self
            .tokens
            .first_deadline()
            .filter(|(at, _)| *at <= now && self.failed.is_none())
        {
            let mut was = TokenState::Ready;
            self.tokens.set(id, |token| {
                was = mem::replace(&mut token.state, TokenState::Ready);
            });
            match was {
                TokenState::Sleeping { since, output, .. } => {
                    let output = Arc::unwrap_or_clone(output);
                    steps.push(self.succeed(
                        id,
                        output,
                        None,
                        Times {
                            started_at: since,
                            now,
                        },
                    )?);
                }
                TokenState::Retrying { .. } => self.tokens.set(id, run_again),
                TokenState::Rechecking { .. }
                | TokenState::Joining
                | TokenState::Ready
                | TokenState::Running
                | TokenState::Failed => {}
            }
        }
        Ok(())
    }

    /// Makes every node that waits for a re-check ready for it.
    fn recheck_all(&mut self) {
        let waiting: Vec<TokenId> = self
            .tokens
            .iter()
            .filter(|(_, token)| matches!(token.state, TokenState::Rechecking { .. }))
            .map(|(id, _)| id)
            .collect();
        for id in waiting {
            self.tokens.set(id, |token| token.state = TokenState::Ready);
        }
    }

    fn record(
        &mut self,
        id: TokenId,
        status: StepStatus,
        ended: Ended,
        times: Times,
    ) -> Result<Step, IllegalEvent> {
        let token = self
            .tokens
            .get(id)
            .ok_or(IllegalEvent::NotInFlight { token: id })?;
        self.seq = self.seq.checked_add(1).ok_or(IllegalEvent::TooManySteps)?;
        Ok(Step {
            seq: self.seq,
            node: token.node.clone(),
            node_type: self.graph.at(token.place).node_type.to_string(),
            visit: token.visit,
            attempt: token.attempt,
            status,
            output: ended.output,
            error: ended.error,
            started_at: times.started_at,
            finished_at: times.now,
        })
    }
}

/// A failed node's next attempt.
fn run_again(token: &mut Token) {
    token.attempt = token.attempt.saturating_add(1);
    token.state = TokenState::Ready;
}
