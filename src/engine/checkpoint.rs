//! The versioned state that survives: what a [`Machine`] needs beside the graph and the
//! recorded steps.
//!
//! Its size follows the live tokens, never the graph or the past: how often each node was visited is counted from
//! the steps ([`History`]). A token is saved with its node's id, so that a person can read it.
//! A reader refuses a version that is newer than its own; fields may be added within a version.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::engine::frame::{Caught, Ends, FrameId};
use crate::engine::saved::{SavedContainer, SavedFrame};
use crate::engine::token::{FailureNote, Token, TokenState, Tokens};
use crate::engine::{Machine, Step, StepStatus, TokenId};
use crate::ids::{Attempt, NodeId, Timestamp, Visit};

/// The newest version.
const VERSION: u32 = 2;
/// What is written as long as nothing in it needs a newer reader: no frames, nothing awaited.
const PLAIN_VERSION: u32 = 1;

/// What is kept of an execution between two of its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub(super) v: u32,
    /// The last recorded step.
    pub(super) seq: i32,
    /// The next token's id.
    pub(super) next: u32,
    /// Retries scheduled.
    #[serde(default)]
    pub(super) retries: u32,
    /// Those of them that do not count against the execution's budget.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) free_retries: u32,
    pub(super) tokens: Vec<SavedToken>,
    /// Open nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) open: Vec<SavedContainer>,
    /// What runs inside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) frames: Vec<SavedFrame>,
    /// The next frame's id.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) next_frame: u32,
    /// The shell's: how long the execution may take by its own account, in milliseconds. The engine has no use for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) time_limit_ms: Option<u64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A token, as saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedToken {
    pub(super) id: TokenId,
    pub(super) node: NodeId,
    pub(super) visit: Visit,
    pub(super) attempt: Attempt,
    pub(super) state: TokenState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) waiting_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<FailureNote>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) frame: Option<FrameId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Arc<Caught>>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) used: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) forgiven: u32,
}

impl Checkpoint {
    /// Reads a checkpoint from JSON.
    ///
    /// # Errors
    /// [`BadCheckpoint`] if it is of a newer version or not a checkpoint.
    pub fn from_json(text: &str) -> Result<Self, BadCheckpoint> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        // First the version alone: a newer one may have any shape.
        let Version { v } = serde_json::from_str(text).map_err(BadCheckpoint::Unreadable)?;
        check_version(v)?;
        serde_json::from_str(text).map_err(BadCheckpoint::Unreadable)
    }

    /// Whether nodes are open (a loop, a `try`, a fan-out with a rule of its own): to go on, these need what the steps
    /// say of the rounds and branches that have ended.
    pub fn has_open_nodes(&self) -> bool {
        !self.open.is_empty()
    }

    /// The checkpoint as JSON.
    ///
    /// # Errors
    /// [`BadCheckpoint::Unwritable`] if a time in it is beyond what JSON can carry.
    pub fn to_json(&self) -> Result<String, BadCheckpoint> {
        serde_json::to_string(self).map_err(BadCheckpoint::Unwritable)
    }
}

impl Checkpoint {
    /// How long the execution may take by its own account.
    pub fn time_limit(&self) -> Option<Duration> {
        self.time_limit_ms.map(Duration::from_millis)
    }

    /// The same with a time limit of the execution's own; parts of a millisecond count as a whole one.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Option<Duration>) -> Self {
        self.time_limit_ms = limit.map(|limit| {
            let millis = limit.as_nanos().div_ceil(1_000_000);
            u64::try_from(millis).unwrap_or(u64::MAX)
        });
        self
    }

    /// The checkpoint of an execution that is ended from outside: what it awaits is withdrawn with that, so that it asks
    /// afresh if it goes on after all.
    #[must_use]
    pub fn asking_afresh(mut self) -> Self {
        for token in &mut self.tokens {
            if token.state.awaited().is_some() {
                token.attempt = token.attempt.saturating_add(1);
                token.state = TokenState::Ready;
            }
        }
        self
    }
}

fn check_version(found: u32) -> Result<(), BadCheckpoint> {
    if found > VERSION {
        return Err(BadCheckpoint::NewerVersion {
            found,
            known: VERSION,
        });
    }
    Ok(())
}

/// Why an execution cannot be taken up.
#[derive(Debug, Error)]
pub enum BadCheckpoint {
    /// Written by a newer worker.
    #[error(
        "the checkpoint has version {found}, this worker knows versions up to {known}: it needs a newer worker"
    )]
    NewerVersion {
        /// Its version.
        found: u32,
        /// The newest known one.
        known: u32,
    },
    /// Not a checkpoint.
    #[error("the checkpoint cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// Cannot be put into JSON.
    #[error("the checkpoint cannot be written")]
    Unwritable(#[source] serde_json::Error),
    /// Belongs to another graph.
    #[error("the checkpoint has a token at node \"{node}\", which is not in the graph")]
    UnknownNode {
        /// The missing node.
        node: NodeId,
    },
    /// The steps do not have what it refers to.
    #[error("the items of a loop, recorded as step {seq}, are missing")]
    LostItems {
        /// The step.
        seq: i32,
    },
    /// An adopted or replayed execution that goes on nowhere.
    #[error("the execution is to start at node \"{node}\", which is not in the graph")]
    UnknownStart {
        /// The missing node.
        node: NodeId,
    },
}

/// How an execution without a checkpoint begins. With a checkpoint it has no effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Where it starts, if not at the graph's entry: where an earlier worker left it, or where a replay begins.
    pub start_at: Option<NodeId>,
    /// The retries that an earlier worker used.
    pub retry_count: u32,
}

/// What the recorded steps say that the checkpoint does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// By node: the visits that were recorded.
    pub visits: HashMap<NodeId, Visit>,
    /// The last step's number, 0 if there is none.
    pub last_seq: i32,
    /// By scope: the outputs at which its paths ended.
    pub(super) ends: HashMap<Arc<str>, Ends>,
    /// By number: the steps that recorded a loop's items.
    pub(super) opened: HashMap<i32, Arc<Map<String, Value>>>,
}

impl History {
    /// Takes in what was recorded, in the order of the steps.
    pub fn from_steps<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Self {
        let mut history = Self::default();
        for step in steps {
            history.note(&step.node, step.visit, step.seq);
            if step.is_end {
                let ends = history.ends.entry(Arc::clone(&step.scope)).or_default();
                ends.push((step.node.clone(), Arc::clone(&step.output)));
            }
            if step.status == StepStatus::Opened {
                history.opened.insert(step.seq, Arc::clone(&step.output));
            }
        }
        history
    }

    /// Counts one step in.
    pub fn note(&mut self, node: &NodeId, visit: Visit, seq: i32) {
        self.last_seq = self.last_seq.max(seq);
        match self.visits.get_mut(node) {
            Some(visits) => *visits = visit.max(*visits),
            None => {
                self.visits.insert(node.clone(), visit);
            }
        }
    }
}

impl Machine {
    /// What must be recorded, together with the steps, so that [`Machine::restore`] goes on from here.
    pub fn checkpoint(&self) -> Checkpoint {
        let tokens = self.tokens.iter().map(|(id, token)| SavedToken {
            id,
            node: token.node.clone(),
            visit: token.visit,
            attempt: token.attempt,
            state: match &token.state {
                TokenState::Running => TokenState::Ready,
                state @ (TokenState::Joining
                | TokenState::Ready
                | TokenState::Sleeping { .. }
                | TokenState::Retrying { .. }
                | TokenState::Rechecking { .. }
                | TokenState::Failed
                | TokenState::Open
                | TokenState::Awaiting { .. }) => state.clone(),
            },
            waiting_since: token.waiting_since,
            failure: token.failure.clone(),
            frame: token.frame,
            error: token.error.clone(),
            used: token.used,
            forgiven: token.forgiven,
        });
        let tokens: Vec<SavedToken> = tokens.collect();
        let (open, frames) = self.saved_frames();
        let is_plain = open.is_empty()
            && !tokens
                .iter()
                .any(|token| matches!(token.state, TokenState::Awaiting { .. }));
        Checkpoint {
            v: if is_plain { PLAIN_VERSION } else { VERSION },
            seq: self.seq,
            next: self.tokens.next_id(),
            retries: self.retry_count,
            free_retries: self.retry_count.saturating_sub(self.budget_used),
            tokens,
            open,
            frames,
            next_frame: self.frames.next,
            time_limit_ms: None,
        }
    }

    /// Puts the tokens of a checkpoint into a machine that has none.
    pub(super) fn put_back(
        &mut self,
        checkpoint: Checkpoint,
        history: &History,
    ) -> Result<(), BadCheckpoint> {
        check_version(checkpoint.v)?;
        self.seq = self.seq.max(checkpoint.seq);
        self.retry_count = checkpoint.retries;
        self.budget_used = checkpoint.retries.saturating_sub(checkpoint.free_retries);
        self.tokens = Tokens::starting_at(checkpoint.next);
        for SavedToken {
            id,
            node,
            visit,
            attempt,
            state,
            waiting_since,
            failure,
            frame,
            error,
            used,
            forgiven,
        } in checkpoint.tokens
        {
            let Some(place) = self.graph.place(&node) else {
                return Err(BadCheckpoint::UnknownNode { node });
            };
            match state {
                TokenState::Joining => self.joins.restore((frame, place), id),
                TokenState::Failed => self.failed = self.failed.or(Some(id)),
                TokenState::Ready
                | TokenState::Running
                | TokenState::Sleeping { .. }
                | TokenState::Retrying { .. }
                | TokenState::Rechecking { .. }
                | TokenState::Open
                | TokenState::Awaiting { .. } => {}
            }
            let visits = self.visits.entry(place).or_default();
            *visits = visit.max(*visits);
            self.tokens.put(
                id,
                Token {
                    place,
                    node,
                    visit,
                    attempt,
                    waiting_since,
                    failure,
                    frame,
                    error,
                    used,
                    forgiven,
                    state,
                },
            );
        }
        self.frames.next = checkpoint.next_frame;
        self.put_frames_back(checkpoint.open, checkpoint.frames, history)
    }
}
