//! What a failed attempt leads to.
//!
//! Each attempt is recorded. A failure that another attempt may help waits as the retry policy says, as long as the
//! execution has retries left: **one budget for the whole execution**, which is what the row's `retry_count` means; or,
//! if the node says `retries`, as often as that, whatever the budget. Other branches go on meanwhile.
//!
//! When no attempt is left: a node that says `continue_on_error` goes on with the error in its output; else the error
//! goes outwards to the `try` that catches it (`attempted`), and what the visit has used of the budget is given back;
//! else it ends the execution: its token stays where it failed, so that a later restart goes on there, with all its
//! retries.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::Value;

use crate::engine::container::with_edges;
use crate::engine::frame::{Caught, Raised};
use crate::engine::token::{FailureNote, TokenState};
use crate::engine::{
    Command, Ended, FailureKind, Faulty, IllegalEvent, Machine, StepStatus, Times, TokenId,
    run_again,
};
use crate::ids::{NodeId, Timestamp};
use crate::retry::RetryPolicy;

/// The last failure of a node that has not succeeded since: for the log and for the row's `error_message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastFailure<'a> {
    /// The node.
    pub node: &'a NodeId,
    /// What went wrong, in the words of `error_message`: `Node <id> failed: …`, `Node <id> timed out after … seconds`.
    pub message: &'a str,
    /// When the node is tried again; `None` if the failure was final. It stays when that time has come.
    pub retry_at: Option<Timestamp>,
    /// The how manieth retry that is, of the execution or of the node if it has its own number of retries; from 1. With
    /// `retry_at: None`, how many there were.
    pub retry: u32,
    /// How many retries there may be.
    pub max_retries: u32,
}

/// When a failed node is tried again.
struct Retry {
    at: Timestamp,
    nth: u32,
    max: u32,
    /// Whether it is taken from the execution's budget.
    is_shared: bool,
}

/// The words of `error_message`.
fn error_message(node: &NodeId, kind: FailureKind, message: &str) -> String {
    match kind {
        FailureKind::TimedOut | FailureKind::Expired => format!("Node {node} {message}"),
        FailureKind::Retryable | FailureKind::Permanent => format!("Node {node} failed: {message}"),
    }
}

impl Machine {
    /// The last failure of a node that has not succeeded since.
    pub fn last_failure(&self) -> Option<LastFailure<'_>> {
        let (token, note) = self
            .tokens
            .iter()
            .filter_map(|(_, token)| token.failure.as_ref().map(|note| (token, note)))
            .max_by_key(|(_, note)| note.seq)?;
        Some(LastFailure {
            node: &token.node,
            message: &note.message,
            retry_at: note.retry.map(|(at, _)| at),
            retry: note.retry.map_or(self.retry_count, |(_, retry)| retry),
            max_retries: if note.max == 0 {
                self.policy.max_retries
            } else {
                note.max
            },
        })
    }

    /// Runs nodes that wait for their retry at once: all of them, or only the one that would come first.
    pub fn retry_now(&mut self, only_first: bool) {
        let mut waiting: Vec<(Timestamp, TokenId)> = self
            .tokens
            .iter()
            .filter_map(|(id, token)| match token.state {
                TokenState::Retrying { at } => Some((at, id)),
                TokenState::Joining
                | TokenState::Ready
                | TokenState::Running
                | TokenState::Sleeping { .. }
                | TokenState::Rechecking { .. }
                | TokenState::Failed
                | TokenState::Open
                | TokenState::Awaiting { .. } => None,
            })
            .collect();
        waiting.sort_unstable();
        let wanted = if only_first { 1 } else { waiting.len() };
        for (_, id) in waiting.into_iter().take(wanted) {
            self.tokens.set(id, run_again);
        }
    }

    /// Records a failed attempt and decides what follows.
    pub(super) fn fail(
        &mut self,
        id: TokenId,
        faulty: Faulty,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let Some(token) = self.tokens.get(id) else {
            return Err(IllegalEvent::NotInFlight { token: id });
        };
        let (node, place, frame) = (token.node.clone(), token.place, token.frame);
        let retry = match faulty.kind {
            FailureKind::Retryable | FailureKind::TimedOut if self.failed.is_none() => {
                self.next_retry(id, &faulty, times.now)
            }
            // Nobody is asked twice, unless the node says so.
            FailureKind::Expired
                if self.failed.is_none() && self.graph.options(place).retries.is_some() =>
            {
                self.next_retry(id, &faulty, times.now)
            }
            FailureKind::Retryable
            | FailureKind::TimedOut
            | FailureKind::Permanent
            | FailureKind::Expired => None,
        };
        let error = Arc::new(Caught {
            words: error_message(&node, faulty.kind, &faulty.message),
            message: faulty.message,
            error_type: faulty.error_type,
            node_id: node,
            node_type: Arc::clone(&self.graph.at(place).node_type),
            output: faulty.output,
        });
        if retry.is_none() && self.failed.is_none() && self.graph.options(place).continue_on_error {
            return self.continue_after(id, &error, times);
        }
        let ended = Ended {
            output: error.output.clone(),
            error: Some(error.message.clone()),
        };
        let seq = self.record(id, StepStatus::Failed, ended, times)?;
        if let Some(retry) = retry {
            self.schedule(id, &error, seq, &retry);
            return Ok(());
        }
        if self.failed.is_none() && self.is_handled(frame, &error) {
            self.give_back_retries(id);
            return self.raise(frame, Raised::Error(error), times);
        }
        if self.failed.is_none() {
            self.failed = Some(id);
            self.ending = Some(Command::Fail {
                node: Some(error.node_id.clone()),
                message: error.words.clone(),
            });
        }
        self.tokens.set(id, |token| {
            token.state = TokenState::Failed;
            token.failure = Some(FailureNote {
                seq,
                message: error.words.clone(),
                retry: None,
                max: 0,
            });
        });
        Ok(())
    }

    /// The execution goes on as if the node had succeeded.
    fn continue_after(
        &mut self,
        id: TokenId,
        error: &Caught,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        self.give_back_retries(id);
        let mut output = error.output.clone();
        output.insert("error".to_owned(), error.to_value());
        output.insert("continued_on_error".to_owned(), Value::Bool(true));
        let place = self.tokens.get(id).map(|token| token.place);
        let region = place
            .filter(|place| self.graph.at(*place).is_loop())
            .and_then(|place| self.graph.region(place));
        let exits = match region {
            // A loop that cannot go on is done.
            Some(region) => {
                let exits = self.frames.containers.remove(&id);
                let exits = exits.map(|container| container.exits).unwrap_or_default();
                with_edges(exits, region.after.clone())
            }
            // It has not decided: only what needs no decision goes on, or is for errors.
            None if place.is_some_and(|place| self.graph.at(place).decides()) => {
                self.ways_on(id, Some("error"))
            }
            None => self.ways_on(id, None),
        };
        let ended = Ended {
            output,
            error: Some(error.message.clone()),
        };
        self.end_visit(id, (StepStatus::Continued, ended), exits, times)
    }

    fn schedule(&mut self, id: TokenId, error: &Caught, seq: i32, retry: &Retry) {
        self.retry_count = self.retry_count.saturating_add(1);
        if retry.is_shared {
            self.budget_used = self.budget_used.saturating_add(1);
        }
        self.tokens.set(id, |token| {
            token.used += u32::from(retry.is_shared);
            token.failure = Some(FailureNote {
                seq,
                message: error.words.clone(),
                retry: Some((retry.at, retry.nth)),
                max: retry.max,
            });
            token.state = TokenState::Retrying { at: retry.at };
        });
    }

    fn give_back_retries(&mut self, id: TokenId) {
        if let Some(token) = self.tokens.get(id) {
            self.budget_used = self.budget_used.saturating_sub(token.used);
        }
    }

    fn next_retry(&self, id: TokenId, faulty: &Faulty, now: Timestamp) -> Option<Retry> {
        let token = self.tokens.get(id)?;
        let options = self.graph.options(token.place);
        let policy = RetryPolicy {
            max_retries: options.retries.unwrap_or(self.policy.max_retries),
            base: options.retry_delay.unwrap_or(self.policy.base),
            ..self.policy
        };
        let is_shared = options.retries.is_none();
        let so_far = if is_shared {
            self.budget_used
        } else {
            token
                .attempt
                .saturating_sub(1)
                .saturating_sub(token.forgiven)
        };
        let delay = policy.next_delay(so_far)?;
        let delay = faulty
            .retry_after
            .map_or(delay, |least| delay.max(least.min(policy.cap)));
        let at = TimeDelta::from_std(delay)
            .ok()
            .and_then(|delay| now.checked_add_signed(delay))
            .unwrap_or(Timestamp::MAX_UTC);
        let nth = if is_shared {
            self.retry_count.saturating_add(1)
        } else {
            so_far.saturating_add(1)
        };
        Some(Retry {
            at,
            nth,
            max: if is_shared { 0 } else { policy.max_retries },
            is_shared,
        })
    }
}
