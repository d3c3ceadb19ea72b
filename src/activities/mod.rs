//! HOW a node is run.
//!
//! An activity runs one node. It gets the node and a [`Context`]: what it may touch, and nothing else (no database).
//! It reports an [`Outcome`] or a [`Failure`]. To add a node type is to add one file in `native/` and one line in
//! `registry.rs`.

pub mod native;
pub mod python;
pub mod registry;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

pub use crate::engine::FailureKind;
use crate::ids::{Attempt, ExecutionId, NodeId, Timestamp, Visit};

/// A JSON object.
pub type Object = Map<String, Value>;

/// What an activity returns: boxed, because the registry holds `Arc<dyn Activity>`.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send + 'a>>;

/// The code that runs the nodes of one or more types.
pub trait Activity: Send + Sync + std::fmt::Debug {
    /// Runs a node once. Dropping the future cancels the work.
    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a>;
}

/// The node to run.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id in the graph.
    pub id: NodeId,
    /// Its type, as its author wrote it.
    pub node_type: Arc<str>,
    /// Its configuration.
    pub config: Arc<Object>,
}

/// What an activity may touch.
#[derive(Clone, Debug)]
pub struct Context {
    /// The execution it runs for.
    pub execution_id: ExecutionId,
    /// The n-th time that a token is in this node.
    pub visit: Visit,
    /// The n-th try of this visit.
    pub attempt: Attempt,
    /// The same for each attempt of this visit; outgoing calls carry it.
    pub idempotency_key: String,
    /// `execution_data`: the trigger data at its top level and `<node>_output` of what has run.
    pub data: Arc<Object>,
    /// What the execution was started with: `execution_data` without the outputs.
    pub trigger_data: Arc<Object>,
    /// Variables by scope (`workflow`, `node`, `loop`), then by name.
    pub variables: Arc<Object>,
    /// When this attempt started.
    pub now: Timestamp,
    /// When a node that asked for a re-check first ran; `None` on its first run.
    pub waiting_since: Option<Timestamp>,
    /// Cancelled when the work is no longer wanted.
    pub cancelled: CancellationToken,
}

/// How a node ended well.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is finished.
    Done {
        /// Its output; goes to `execution_data["<node>_output"]`.
        output: Object,
        /// The branch it chose, if it is a node that decides.
        branch: Option<String>,
    },
    /// It sleeps, without a slot, and is then finished with this output.
    SleepUntil {
        /// When it finishes.
        at: Timestamp,
        /// Its output then.
        output: Object,
    },
    /// It is to be run again at that time, and holds no slot until then.
    RecheckAt {
        /// When.
        at: Timestamp,
    },
}

/// How a node ended badly.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Whether another attempt may help.
    pub kind: FailureKind,
    /// For the user: what is wrong, with the value, and what would be right.
    pub message: String,
    /// What there is to show all the same.
    pub output: Object,
}

impl Failure {
    /// The node itself is wrong: no further attempt would help.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Permanent,
            message: message.into(),
            output: Object::new(),
        }
    }

    /// The outside world was in the way.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Retryable,
            message: message.into(),
            output: Object::new(),
        }
    }
}
