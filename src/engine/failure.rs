//! What a failed attempt leads to.
//!
//! Each attempt is recorded. A failure that another attempt may help waits as the retry policy says, as long as the
//! execution has retries left: **one budget for the whole execution**, which is what the row's `retry_count` means.
//! Other branches go on meanwhile. Any other failure ends the execution: its token stays where it failed, so that a
//! later restart goes on there.

use chrono::TimeDelta;

use crate::engine::token::{FailureNote, TokenState};
use crate::engine::{
    Command, Ended, FailureKind, IllegalEvent, Machine, Step, StepStatus, Times, TokenId,
};
use crate::ids::{NodeId, Timestamp};

/// The last failure of a node that has not succeeded since: for the log and for the row's `error_message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastFailure<'a> {
    /// The node.
    pub node: &'a NodeId,
    /// What went wrong, in the words of `error_message`: `Node <id> failed: …`, `Node <id> timed out after … seconds`.
    pub message: &'a str,
    /// When the node is tried again; `None` if the failure was final. It stays when that time has come.
    pub retry_at: Option<Timestamp>,
    /// The how manieth retry of the execution that is, from 1; with `retry_at: None`, how many there were.
    pub retry: u32,
    /// How many retries there may be.
    pub max_retries: u32,
}

/// The words of `error_message`.
fn error_message(node: &NodeId, kind: FailureKind, message: &str) -> String {
    match kind {
        FailureKind::TimedOut => format!("Node {node} {message}"),
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
            max_retries: self.policy.max_retries,
        })
    }

    /// Records a failed attempt and decides what follows.
    pub(super) fn fail(
        &mut self,
        id: TokenId,
        kind: FailureKind,
        ended: Ended,
        times: Times,
    ) -> Result<Step, IllegalEvent> {
        let error = ended.error.clone().unwrap_or_default();
        let step = self.record(id, StepStatus::Failed, ended, times)?;
        let message = error_message(&step.node, kind, &error);
        let retry = match kind {
            FailureKind::Retryable | FailureKind::TimedOut if self.failed.is_none() => {
                self.next_retry(times.now)
            }
            FailureKind::Retryable | FailureKind::TimedOut | FailureKind::Permanent => None,
        };
        if retry.is_none() && self.failed.is_none() {
            self.failed = Some(id);
            self.ending = Some(Command::Fail {
                node: Some(step.node.clone()),
                message: message.clone(),
            });
        }
        let seq = step.seq;
        self.tokens.set(id, |token| {
            token.failure = Some(FailureNote {
                seq,
                message,
                retry,
            });
            token.state = match retry {
                Some((at, _)) => TokenState::Retrying { at },
                None => TokenState::Failed,
            };
        });
        Ok(step)
    }

    /// When the next retry is, and the how manieth it is; counts it.
    fn next_retry(&mut self, now: Timestamp) -> Option<(Timestamp, u32)> {
        let delay = self.policy.next_delay(self.retry_count)?;
        let at = TimeDelta::from_std(delay)
            .ok()
            .and_then(|delay| now.checked_add_signed(delay))
            .unwrap_or(Timestamp::MAX_UTC);
        self.retry_count = self.retry_count.saturating_add(1);
        Some((at, self.retry_count))
    }
}
