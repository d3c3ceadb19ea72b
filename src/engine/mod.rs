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
//!   what to do, until `None`. Time is an argument; what is due is done with whatever event comes.

#![warn(clippy::wildcard_enum_match_arm)]

mod attempted;
mod bits;
mod branch;
mod checkpoint;
mod command;
mod container;
mod cycles;
mod event;
mod failure;
mod frame;
mod graph;
mod join;
mod options;
mod region;
mod saved;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod token;
mod unwind;

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

pub use checkpoint::{BadCheckpoint, Checkpoint, History, Origin};
pub use command::Command;
pub use event::{Awaited, ChildStart, Event, FailureKind, NodeResult, Rounds, SignalWait};
pub use failure::LastFailure;
pub use frame::Caught;
pub use graph::{BadGraph, Edge, Graph, GraphNode};
pub use options::{Aggregation, FanOut, NodeOptions};
pub use state::{State, WaitReason, Waiting};
pub use step::{Step, StepStatus};
pub use unwind::Dropped;

use crate::ids::{NodeId, Timestamp, Visit};
use crate::retry::RetryPolicy;
use frame::{Exit, Frames, Raised};
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
        let locals = self.locals(id);
        let token = self.tokens.get(id)?;
        let scope = token
            .frame
            .and_then(|frame| self.frames.get(frame))
            .map(|frame| Arc::clone(&frame.scope))
            .unwrap_or_default();
        Some(Command::RunNode {
            token: id,
            node: token.node.clone(),
            visit: token.visit,
            attempt: token.attempt,
            waiting_since: token.waiting_since,
            round: self.frames.next_round(id),
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
    ) -> Result<(), IllegalEvent> {
        let (waiting_since, place) = match self.tokens.get(id) {
            Some(Token {
                state: TokenState::Running,
                waiting_since,
                place,
                ..
            }) => (*waiting_since, *place),
            Some(_) | None => return Err(IllegalEvent::NotInFlight { token: id }),
        };
        let times = Times {
            started_at: waiting_since.unwrap_or(times.started_at),
            ..times
        };
        match result {
            NodeResult::Success { output, branch } => match &*self.graph.at(place).node_type {
                "try" => self.open_try(id, times),
                "break" | "continue" => self.leave_loop(id, output, times),
                _ => self.succeed(id, output, branch.as_deref(), times),
            },
            NodeResult::Failure {
                kind,
                message,
                output,
                error_type,
                retry_after,
            } => {
                let faulty = Faulty {
                    kind,
                    message,
                    output,
                    error_type,
                    retry_after,
                };
                self.fail(id, faulty, times)
            }
            NodeResult::SleepUntil { at, output } => {
                let (since, output) = (times.started_at, Arc::new(output));
                self.tokens.set(id, |token| {
                    token.state = TokenState::Sleeping { at, since, output }
                });
                Ok(())
            }
            NodeResult::RecheckAt { at } => {
                self.tokens.set(id, |token| {
                    token.waiting_since = Some(times.started_at);
                    token.state = TokenState::Rechecking { at };
                });
                Ok(())
            }
            NodeResult::Iterate(rounds) => self.iterate(id, rounds, times),
            NodeResult::Await { wait, until } => {
                let (wait, since) = (Arc::new(wait), times.started_at);
                self.tokens.set(id, |token| {
                    token.state = TokenState::Awaiting { wait, since, until }
                });
                Ok(())
            }
        }
    }

    /// What a node awaited has come.
    fn answer(
        &mut self,
        id: TokenId,
        result: NodeResult,
        now: Timestamp,
    ) -> Result<(), IllegalEvent> {
        let since = match self.tokens.get(id).map(|token| &token.state) {
            Some(TokenState::Awaiting { since, .. }) => *since,
            Some(
                TokenState::Joining
                | TokenState::Ready
                | TokenState::Running
                | TokenState::Sleeping { .. }
                | TokenState::Retrying { .. }
                | TokenState::Rechecking { .. }
                | TokenState::Failed
                | TokenState::Open,
            )
            | None => return Err(IllegalEvent::NotInFlight { token: id }),
        };
        self.tokens
            .set(id, |token| token.state = TokenState::Running);
        self.finish(
            id,
            result,
            Times {
                started_at: since,
                now,
            },
        )
    }

    fn succeed(
        &mut self,
        id: TokenId,
        output: Map<String, Value>,
        branch: Option<&str>,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let exits = self.ways_on(id, branch);
        let runs_branches = exits.len() > 1
            && self
                .tokens
                .get(id)
                .is_some_and(|token| self.graph.options(token.place).fan_out.is_some());
        self.tokens.set(id, |token| token.failure = None);
        if runs_branches {
            self.record(id, StepStatus::Success, Ended::with(output), times)?;
            let entries = exits.into_iter().map(|exit| exit.to).collect();
            return self.open_group(id, entries, times);
        }
        self.record_end(id, StepStatus::Success, Ended::with(output), &exits, times)?;
        self.pass(id, exits);
        Ok(())
    }

    /// Where a token goes from its node.
    fn ways_on(&self, id: TokenId, branch: Option<&str>) -> Vec<Exit> {
        let Some(token) = self.tokens.get(id) else {
            return Vec::new();
        };
        let mut around = Vec::new();
        let mut at = token.frame;
        while let Some(frame) = at.and_then(|frame| self.frames.get(frame)) {
            let Some(owner) = self.tokens.get(frame.owner) else {
                break;
            };
            around.push(owner.place);
            at = owner.frame;
        }
        branch::taken(&self.graph, token.place, branch, |place| {
            around.contains(&place)
        })
        .into_iter()
        .map(|to| Exit { to, error: None })
        .collect()
    }

    /// A `break` or a `continue`.
    fn leave_loop(
        &mut self,
        id: TokenId,
        output: Map<String, Value>,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let Some(token) = self.tokens.get(id) else {
            return Ok(());
        };
        let frame = token.frame;
        let node_type = Arc::clone(&self.graph.at(token.place).node_type);
        let label = output
            .get("loop_label")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .trim()
            .to_owned();
        let Some(target) = self.loop_named(id, &label) else {
            let message = if label.is_empty() {
                format!("{node_type} stands in no loop")
            } else {
                format!("{node_type} stands in no loop that is labelled \"{label}\"")
            };
            return self.fail(id, Faulty::permanent("LoopError", message), times);
        };
        self.record(id, StepStatus::Success, Ended::with(output), times)?;
        let raised = if &*node_type == "break" {
            Raised::Break(target)
        } else {
            Raised::Continue(target)
        };
        self.raise(frame, raised, times)
    }

    /// Does what is due. A failed execution does nothing more by itself. A wait for an answer ends only if `expires`:
    /// whoever says that its time is over has looked whether the answer is there.
    fn wake_due(&mut self, now: Timestamp, expires: bool) -> Result<(), IllegalEvent> {
        while let Some(id) = self.first_due(now, expires) {
            let mut was = TokenState::Ready;
            self.tokens.set(id, |token| {
                was = mem::replace(&mut token.state, TokenState::Ready);
            });
            match was {
                TokenState::Sleeping { since, output, .. } => {
                    let output = Arc::unwrap_or_clone(output);
                    let times = Times {
                        started_at: since,
                        now,
                    };
                    self.succeed(id, output, None, times)?;
                    self.settle_frames(times)?;
                }
                TokenState::Retrying { .. } => self.tokens.set(id, run_again),
                TokenState::Awaiting { wait, since, .. } => {
                    let times = Times {
                        started_at: since,
                        now,
                    };
                    self.expire(id, &wait, times)?;
                    self.settle_frames(times)?;
                }
                TokenState::Rechecking { .. }
                | TokenState::Joining
                | TokenState::Ready
                | TokenState::Running
                | TokenState::Failed
                | TokenState::Open => {}
            }
        }
        Ok(())
    }

    /// Nobody answered in time.
    fn expire(
        &mut self,
        id: TokenId,
        wait: &Arc<Awaited>,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let Some(token) = self.tokens.get(id) else {
            return Ok(());
        };
        let place = token.place;
        let mut output = match &**wait {
            Awaited::Signal { .. } => Map::new(),
            Awaited::Child { output, .. } => output.clone(),
        };
        output.insert("status".to_owned(), "timeout".into());
        self.dropped.push(Dropped {
            token: id,
            node: token.node.clone(),
            awaited: Some(Arc::clone(wait)),
        });
        if self.graph.has_branch(place, "timeout") {
            return self.succeed(id, output, Some("timeout"), times);
        }
        let waited = (times.now - times.started_at).num_milliseconds();
        #[expect(clippy::cast_precision_loss, reason = "shown to a person")]
        let seconds = (waited as f64 / 1000.0).round();
        let faulty = Faulty {
            kind: FailureKind::Expired,
            message: format!("timed out after {seconds} seconds"),
            output,
            error_type: "TimeoutError".into(),
            retry_after: None,
        };
        self.fail(id, faulty, times)
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
    ) -> Result<i32, IllegalEvent> {
        let token = self
            .tokens
            .get(id)
            .ok_or(IllegalEvent::NotInFlight { token: id })?;
        let scope = token
            .frame
            .and_then(|frame| self.frames.get(frame))
            .map(|frame| Arc::clone(&frame.scope))
            .unwrap_or_default();
        self.seq = self.seq.checked_add(1).ok_or(IllegalEvent::TooManySteps)?;
        self.steps.push(Step {
            seq: self.seq,
            node: token.node.clone(),
            node_type: self.graph.at(token.place).node_type.to_string(),
            visit: token.visit,
            attempt: token.attempt,
            status,
            output: Arc::new(ended.output),
            error: ended.error,
            started_at: times.started_at,
            finished_at: times.now,
            scope,
            is_end: false,
        });
        Ok(self.seq)
    }

    /// Records what ends a visit. If no edge goes on inside its frame, it is (part of) the result of that.
    fn record_end(
        &mut self,
        id: TokenId,
        status: StepStatus,
        ended: Ended,
        exits: &[Exit],
        times: Times,
    ) -> Result<(), IllegalEvent> {
        self.record(id, status, ended, times)?;
        let frame = self.tokens.get(id).and_then(|token| token.frame);
        if let Some(frame) = frame.and_then(|frame| self.frames.live.get_mut(&frame))
            && let Some(step) = self.steps.last_mut()
            && !exits.iter().any(|exit| frame.region.contains(exit.to.0))
        {
            step.is_end = true;
            frame
                .ends
                .push((step.node.clone(), Arc::clone(&step.output)));
        }
        Ok(())
    }

    /// Records that a `catch` had nothing to catch.
    fn record_skipped(
        &mut self,
        owner: TokenId,
        place: Place,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let visit = self.next_visit(place);
        self.record(owner, StepStatus::Skipped, Ended::with(Map::new()), times)?;
        let node = self.graph.at(place);
        if let Some(step) = self.steps.last_mut() {
            step.node = node.id.clone();
            step.node_type = node.node_type.to_string();
            step.visit = visit;
            step.attempt = 1;
            step.started_at = times.now;
        }
        Ok(())
    }

    fn next_visit(&mut self, place: Place) -> Visit {
        let visit = self.visits.entry(place).or_default();
        *visit = visit.saturating_add(1);
        *visit
    }
}

/// A failed node's next attempt.
fn run_again(token: &mut Token) {
    token.attempt = token.attempt.saturating_add(1);
    token.state = TokenState::Ready;
}
