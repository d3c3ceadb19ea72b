//! What the engine asks of the shell.

use std::sync::Arc;

use serde_json::Value;

use crate::engine::TokenId;
use crate::ids::{Attempt, NodeId, Timestamp, Visit};

/// Something to be done. Taken one by one with [`Machine::next_command`](crate::engine::Machine::next_command).
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run a node; answer with [`Event::NodeFinished`](crate::engine::Event::NodeFinished).
    RunNode {
        /// Names the answer.
        token: TokenId,
        /// The node.
        node: NodeId,
        /// The n-th time that a token is in this node, from 1.
        visit: Visit,
        /// The n-th try of this visit, from 1.
        attempt: Attempt,
        /// When a node that asked for a re-check first ran; `None` on its first run.
        waiting_since: Option<Timestamp>,
        /// For a loop node: the round that it is asked about, from 0.
        round: u32,
        /// The names that its place adds: a loop's item and index, a caught error. The last of two equal names wins.
        locals: Vec<(String, Value)>,
        /// Where its step will belong; see [`Step::scope`](crate::engine::Step::scope).
        scope: Arc<str>,
    },
    /// The execution has come to its end. Nothing is in flight.
    Complete,
    /// The execution has failed for good. What is still in flight is to be cancelled.
    Fail {
        /// The node it failed at, if it was at one.
        node: Option<NodeId>,
        /// `error_message` as the contract words it, such as 'Node x failed: …'.
        message: String,
    },
}
