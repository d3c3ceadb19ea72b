//! The tokens of one execution, and what each waits for.
//!
//! ```text
//! Joining ──nobody else can come──► Ready ──command taken──► Running
//! Running ──success──► gone; its successors are Ready or Joining
//! Running ──sleeps──► Sleeping ──time──► gone, as after a success
//! Running ──fails──► Retrying ──time──► Ready (next attempt)
//! Running ──not finished──► Rechecking ──time──► Ready (same attempt)
//! Running ──fails for good──► Failed ──restart──► Ready (next attempt)
//! Running ──restart──► Ready (same attempt)
//! Running ──opens (loop, try, branches)──► Open ──all inside has ended──► gone, as after a success
//! Running ──asks──► Awaiting ──answer──► gone, as after a success ─or─ fails; ──time──► fails
//! ```
//!
//! A token's id names one visit: along an edge goes a new token, so that a late answer can never be taken for
//! the next node's. The indices (ready, running, deadlines) are kept by [`Tokens::set`] alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::engine::TokenId;
use crate::engine::event::Awaited;
use crate::engine::frame::{Caught, FrameId};
use crate::engine::graph::Place;
use crate::ids::{Attempt, NodeId, Timestamp, Visit};

/// A point of control in the graph.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) place: Place,
    pub(super) node: NodeId,
    pub(super) visit: Visit,
    pub(super) attempt: Attempt,
    /// When a node that asked for a re-check first ran; it stays through later attempts.
    pub(super) waiting_since: Option<Timestamp>,
    /// The last failure of this visit, until the node succeeds.
    pub(super) failure: Option<FailureNote>,
    /// The round, branch or part that it runs in.
    pub(super) frame: Option<FrameId>,
    /// The error that was caught on its way.
    pub(super) error: Option<Arc<Caught>>,
    /// Retries of the execution's budget that this visit has used.
    pub(super) used: u32,
    /// Attempts from before the execution had failed and was started again: its own number of retries begins anew.
    pub(super) forgiven: u32,
    pub(super) state: TokenState,
}

/// What a token does. `Ready` and `Running` are one in a checkpoint: the node is to be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenState {
    /// At a join, until no other token can come.
    Joining,
    /// To be run.
    #[serde(rename = "run")]
    Ready,
    /// Its command has been taken.
    #[serde(skip)]
    Running,
    /// Finished at `at`, with this output.
    Sleeping {
        at: Timestamp,
        since: Timestamp,
        output: Arc<Map<String, Value>>,
    },
    /// Failed; run again at `at`.
    Retrying { at: Timestamp },
    /// Not finished; run again at `at`.
    Rechecking { at: Timestamp },
    /// Failed for good.
    Failed,
    /// What is inside it runs.
    Open,
    /// Waits for an answer from outside.
    Awaiting {
        wait: Arc<Awaited>,
        since: Timestamp,
        until: Option<Timestamp>,
    },
}

impl TokenState {
    /// What it awaits, and since when.
    pub(super) fn awaited(&self) -> Option<(&Arc<Awaited>, Timestamp)> {
        match self {
            Self::Awaiting { wait, since, .. } => Some((wait, *since)),
            Self::Joining
            | Self::Ready
            | Self::Running
            | Self::Sleeping { .. }
            | Self::Retrying { .. }
            | Self::Rechecking { .. }
            | Self::Failed
            | Self::Open => None,
        }
    }

    /// When something is to happen by itself.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Sleeping { at, .. } | Self::Retrying { at } | Self::Rechecking { at } => {
                Some(*at)
            }
            Self::Awaiting { until, .. } => *until,
            Self::Joining | Self::Ready | Self::Running | Self::Failed | Self::Open => None,
        }
    }
}

/// What is kept of a failure while it matters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FailureNote {
    /// The step that recorded it; tells which of several is the last.
    pub(super) seq: i32,
    /// In the words of `error_message`.
    pub(super) message: String,
    /// When the node is tried again, and the how manieth retry that is; `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry: Option<(Timestamp, u32)>,
    /// How many retries the node may have if it says so itself; 0: as many as the execution has left.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) max: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// All live tokens, with the indices that keep a step from looking at each of them.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    live: BTreeMap<TokenId, Token>,
    ready: BTreeSet<TokenId>,
    running: BTreeSet<TokenId>,
    deadlines: BTreeSet<(Timestamp, TokenId)>,
    next: u32,
}

impl Tokens {
    /// An empty set whose next token gets this id.
    pub(super) fn starting_at(next: u32) -> Self {
        Self {
            next,
            ..Self::default()
        }
    }

    pub(super) fn next_id(&self) -> u32 {
        self.next
    }

    /// Adds a token under an id that no live token has.
    pub(super) fn add(&mut self, token: Token) -> TokenId {
        let mut id = TokenId(self.next);
        while self.live.contains_key(&id) {
            id = TokenId(id.0.wrapping_add(1));
        }
        self.next = id.0.wrapping_add(1);
        self.put(id, token);
        id
    }

    /// Puts a token back under the id it had.
    pub(super) fn put(&mut self, id: TokenId, token: Token) {
        self.remove(id);
        self.index(id, &token.state);
        self.live.insert(id, token);
    }

    pub(super) fn remove(&mut self, id: TokenId) -> Option<Token> {
        let token = self.live.remove(&id)?;
        self.unindex(id, &token.state);
        Some(token)
    }

    pub(super) fn get(&self, id: TokenId) -> Option<&Token> {
        self.live.get(&id)
    }

    /// Changes a token, its state included.
    pub(super) fn set(&mut self, id: TokenId, change: impl FnOnce(&mut Token)) {
        if let Some(mut token) = self.remove(id) {
            change(&mut token);
            self.put(id, token);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TokenId, &Token)> {
        self.live.iter().map(|(id, token)| (*id, token))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn ready(&self) -> &BTreeSet<TokenId> {
        &self.ready
    }

    pub(super) fn running(&self) -> &BTreeSet<TokenId> {
        &self.running
    }

    /// The next thing that happens by itself.
    pub(super) fn first_deadline(&self) -> Option<(Timestamp, TokenId)> {
        self.deadlines.first().copied()
    }

    /// What happens by itself until then, earliest first.
    pub(super) fn due(&self, now: Timestamp) -> impl Iterator<Item = TokenId> {
        self.deadlines
            .iter()
            .take_while(move |(at, _)| *at <= now)
            .map(|(_, id)| *id)
    }

    fn index(&mut self, id: TokenId, state: &TokenState) {
        match state {
            TokenState::Ready => {
                self.ready.insert(id);
            }
            TokenState::Running => {
                self.running.insert(id);
            }
            TokenState::Joining
            | TokenState::Failed
            | TokenState::Open
            | TokenState::Awaiting { .. }
            | TokenState::Sleeping { .. }
            | TokenState::Retrying { .. }
            | TokenState::Rechecking { .. } => {}
        }
        self.deadlines.extend(state.deadline().map(|at| (at, id)));
    }

    fn unindex(&mut self, id: TokenId, state: &TokenState) {
        self.ready.remove(&id);
        self.running.remove(&id);
        if let Some(at) = state.deadline() {
            self.deadlines.remove(&(at, id));
        }
    }
}
