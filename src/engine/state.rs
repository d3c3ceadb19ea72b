//! Where an execution stands: what the shell looks at between two events.

use std::sync::Arc;

use crate::engine::token::TokenState;
use crate::engine::{Awaited, Graph, Machine, TokenId};
use crate::ids::{NodeId, Timestamp, Visit};

/// Where an execution stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Something is being done or to be done.
    Running {
        /// Nodes whose command was taken.
        in_flight: usize,
        /// Nodes whose command is still to be taken.
        runnable: usize,
    },
    /// Nothing can be done before that time, or before an answer comes: it needs no worker until then.
    Waiting {
        /// [`Machine::next_deadline`]; `None` if it waits for an answer without end.
        until: Option<Timestamp>,
        /// What it waits for.
        reason: WaitReason,
    },
    /// It has come to its end.
    Completed,
    /// It has failed for good.
    Failed {
        /// Where.
        node: NodeId,
        /// The words of `error_message`.
        message: String,
    },
}

/// What an execution waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// A node sleeps.
    Sleep,
    /// A failed node is tried again.
    Retry,
    /// A node that is not finished is looked at again.
    Recheck,
    /// A signal, perhaps beside others of these.
    Signal,
    /// The end of a child execution, perhaps beside others of these but a signal.
    Child,
}

/// A node that awaits an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Names the answer.
    pub token: TokenId,
    /// The node.
    pub node: NodeId,
    /// Its visit.
    pub visit: Visit,
    /// For what.
    pub wait: Arc<Awaited>,
    /// Since when.
    pub since: Timestamp,
}

impl Machine {
    /// When [`Event::DeadlinePassed`](crate::engine::Event::DeadlinePassed) is to be sent: the next sleep, retry or
    /// re-check that ends. A failed execution waits for nothing.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.failed.is_some() {
            return None;
        }
        self.tokens.first_deadline().map(|(at, _)| at)
    }

    /// Whether a node has waited for its answer as long as it may.
    pub fn has_waited_long_enough(&self, now: Timestamp) -> bool {
        self.failed.is_none() && self.tokens.due(now).any(|id| self.is_awaiting(id))
    }

    /// What happens next by itself; a wait for an answer only if `expires`.
    pub(super) fn first_due(&self, now: Timestamp, expires: bool) -> Option<TokenId> {
        if self.failed.is_some() {
            return None;
        }
        self.tokens
            .due(now)
            .find(|id| expires || !self.is_awaiting(*id))
    }

    fn is_awaiting(&self, id: TokenId) -> bool {
        let token = self.tokens.get(id);
        token.is_some_and(|token| token.state.awaited().is_some())
    }

    /// Where the execution stands.
    pub fn state(&self) -> State {
        if let Some(token) = self.failed.and_then(|id| self.tokens.get(id)) {
            let message = token.failure.as_ref().map_or("", |note| &note.message);
            return State::Failed {
                node: token.node.clone(),
                message: message.to_owned(),
            };
        }
        if self.tokens.is_empty() {
            return State::Completed;
        }
        let (in_flight, runnable) = (self.tokens.running().len(), self.tokens.ready().len());
        match (in_flight + runnable, self.first_wait()) {
            (0, Some(reason)) => State::Waiting {
                until: self.next_deadline(),
                reason,
            },
            _ => State::Running {
                in_flight,
                runnable,
            },
        }
    }

    /// Retries used so far, by all nodes together.
    pub fn retry_count(&self) -> u32 {
        self.retry_count
    }

    /// The nodes whose command was taken and that have not answered.
    pub fn in_flight(&self) -> impl Iterator<Item = (TokenId, &NodeId)> {
        self.tokens
            .running()
            .iter()
            .filter_map(|id| Some((*id, &self.tokens.get(*id)?.node)))
    }

    /// A node to show as the current one: one in flight, else one that is to be run, waits or has failed.
    pub fn current_node(&self) -> Option<&NodeId> {
        let busy = self
            .tokens
            .running()
            .first()
            .or_else(|| self.tokens.ready().first())
            .copied();
        let shown = self
            .failed
            .or(busy)
            .or_else(|| self.tokens.first_deadline().map(|(_, id)| id))
            .or_else(|| self.awaiting().next().map(|waiting| waiting.token));
        shown
            .and_then(|id| self.tokens.get(id))
            .map(|token| &token.node)
    }

    /// How many tokens there are.
    pub fn live_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// The graph it runs on.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// The visit that a token is.
    pub fn visit_of(&self, token: TokenId) -> Option<Visit> {
        self.tokens.get(token).map(|token| token.visit)
    }

    /// The nodes that await an answer.
    pub fn awaiting(&self) -> impl Iterator<Item = Waiting> {
        self.tokens.iter().filter_map(|(id, token)| {
            let (wait, since) = token.state.awaited()?;
            Some(Waiting {
                token: id,
                node: token.node.clone(),
                visit: token.visit,
                wait: Arc::clone(wait),
                since,
            })
        })
    }

    /// The graver reason first: a signal is somebody's to give, a time comes by itself.
    fn first_wait(&self) -> Option<WaitReason> {
        let reasons = self.tokens.iter().filter_map(|(id, token)| {
            let reason = match &token.state {
                TokenState::Awaiting { wait, .. } => match **wait {
                    Awaited::Signal { .. } => WaitReason::Signal,
                    Awaited::Child { .. } => WaitReason::Child,
                },
                TokenState::Retrying { .. } => WaitReason::Retry,
                TokenState::Rechecking { .. } => WaitReason::Recheck,
                TokenState::Sleeping { .. } => WaitReason::Sleep,
                TokenState::Joining
                | TokenState::Ready
                | TokenState::Running
                | TokenState::Failed
                | TokenState::Open => return None,
            };
            Some((reason, id, token.state.deadline()))
        });
        let reasons: Vec<_> = reasons.collect();
        let has = |wanted| reasons.iter().any(|(reason, ..)| *reason == wanted);
        if has(WaitReason::Signal) {
            return Some(WaitReason::Signal);
        }
        if has(WaitReason::Child) {
            return Some(WaitReason::Child);
        }
        reasons
            .into_iter()
            .min_by_key(|(_, id, at)| (*at, *id))
            .map(|(reason, ..)| reason)
    }
}
