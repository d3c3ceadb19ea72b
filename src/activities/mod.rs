//! HOW a node is run.
//!
//! An activity runs one node. It gets the node and a [`Context`]: what it may touch, and nothing else (no database).
//! It reports an [`Outcome`] or a [`Failure`]. To add a node type is to add one file in `native/` and one line in
//! `registry.rs`.

pub mod code_host;
pub mod native;
pub mod outgoing;
pub mod python;
pub mod registry;
pub mod remote;
pub mod spec;

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

pub use crate::engine::{ChildStart, FailureKind, Rounds, SignalWait};
use crate::ids::{Attempt, ExecutionId, NodeId, Timestamp, Visit};
pub use spec::Spec;

/// A JSON object.
pub type Object = Map<String, Value>;

/// What an activity returns: boxed, because the registry holds `Arc<dyn Activity>`.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send + 'a>>;

/// The code that runs the nodes of one or more types.
pub trait Activity: Send + Sync + std::fmt::Debug {
    /// Its configuration keys and how its time is bounded.
    fn spec(&self) -> &'static Spec;

    /// Whether a run of it can be seen outside the worker ([`Spec::acts`]).
    fn acts(&self) -> bool {
        self.spec().acts
    }

    /// What is wrong with a node's configuration whatever the data, beyond what the [`Spec`] says: `run` would fail
    /// with it. Values that hold a template have not been filled yet.
    ///
    /// # Errors
    /// The failure; its message names the key.
    fn check(&self, _node: &Node) -> Result<(), Failure> {
        Ok(())
    }

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
    /// What the node's place adds to the names that expressions and templates see: a loop's item and index, a caught
    /// `error`. The last of two equal names wins.
    pub locals: Arc<Vec<(String, Value)>>,
    /// For a loop node: the round that it is asked about, from 0. It is asked once, or before each round if it answers
    /// with [`Rounds::Next`].
    pub round: u32,
    /// How many executions stand above this one, as parents of sub-workflows.
    pub depth: u32,
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
    /// It is a loop node, and says what its body runs for.
    Iterate(Rounds),
    /// It waits for a signal, without a slot.
    AwaitSignal {
        /// For which, and what is said meanwhile.
        wait: SignalWait,
        /// When it gives up: the branch `timeout` is taken if an edge has it, else the node fails.
        until: Option<Timestamp>,
    },
    /// It starts an execution of another workflow, in the commit that records this.
    StartChild {
        /// Which, and with what.
        child: ChildStart,
        /// Its output if it does not wait for the child, else what its output begins with.
        output: Object,
        /// Whether the node waits, without a slot, until the child has ended.
        waits: bool,
        /// When it gives up waiting: the child is terminated and the node fails.
        until: Option<Timestamp>,
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
    /// What a `catch` node's `error_type` names, such as `HTTPError`.
    pub error_type: Cow<'static, str>,
    /// How long to wait before the next attempt at least, where the other side has said so.
    pub retry_after: Option<std::time::Duration>,
}

impl Failure {
    /// The node itself is wrong: no further attempt would help.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Permanent,
            message: message.into(),
            output: Object::new(),
            error_type: Cow::Borrowed("ConfigurationError"),
            retry_after: None,
        }
    }

    /// The outside world was in the way.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Retryable,
            message: message.into(),
            output: Object::new(),
            error_type: Cow::Borrowed("Error"),
            retry_after: None,
        }
    }

    /// The same, of another type.
    #[must_use]
    pub fn of_type(self, error_type: impl Into<Cow<'static, str>>) -> Self {
        Self {
            error_type: error_type.into(),
            ..self
        }
    }

    /// The same, with something to show.
    #[must_use]
    pub fn with_output(self, output: Object) -> Self {
        Self { output, ..self }
    }
}
