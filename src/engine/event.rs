//! What the shell tells the engine.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::TokenId;
use crate::ids::Timestamp;

/// Something that happened. Each is applied by [`Machine::apply`](crate::engine::Machine::apply).
#[derive(Clone, Debug)]
pub enum Event {
    /// The execution is taken up, for the first time or again: new executions get a token on the entry node; nodes
    /// that were in flight when the last worker ended are run again, and so are those at which the execution failed.
    Start,
    /// A command [`RunNode`](crate::engine::Command::RunNode) came to its end.
    NodeFinished {
        /// The token that the command named.
        token: TokenId,
        /// How it ended.
        result: NodeResult,
        /// When it was started, for the record.
        started_at: Timestamp,
    },
    /// The time of [`next_deadline`](crate::engine::Machine::next_deadline) has come: sleepers whose time is up
    /// finish, retries and re-checks run, as after any other event; and who has waited for an answer long enough waits no
    /// more. Whoever sends it has looked for such answers.
    DeadlinePassed,
    /// Somebody has written new data: nodes that wait for a condition are looked at again at once.
    DataChanged,
    /// What a node awaits has come (or never will): it ends with this result, a success or a failure.
    Answered {
        /// The token that awaits it.
        token: TokenId,
        /// How it ended.
        result: NodeResult,
    },
}

/// How one attempt of a node ended.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeResult {
    /// It did its work.
    Success {
        /// Always an object: the screens refuse anything else.
        output: Map<String, Value>,
        /// The branch it chose, if it is a node that decides.
        branch: Option<String>,
    },
    /// It could not.
    Failure {
        /// Whether another attempt may help.
        kind: FailureKind,
        /// For the user: what, where, which value, what would be right. Without `Node <id> failed: `.
        message: String,
        /// What there is to show all the same, such as the answer to an HTTP request.
        output: Map<String, Value>,
        /// What a `catch` node's `error_type` names.
        error_type: Arc<str>,
        /// The least wait before another attempt, if the other side has named one.
        retry_after: Option<std::time::Duration>,
    },
    /// It holds nothing until `at`, and then is finished with this output.
    SleepUntil {
        /// When it finishes.
        at: Timestamp,
        /// Its output then.
        output: Map<String, Value>,
    },
    /// It holds nothing until `at`, and then is run again, as the same attempt of the same visit.
    RecheckAt {
        /// When it is looked at again.
        at: Timestamp,
    },
    /// A loop node: what its body runs for.
    Iterate(Rounds),
    /// It holds nothing until [`Event::Answered`] comes. At `until` the branch `timeout` is taken if an edge has it;
    /// else it fails.
    Await {
        /// For what.
        wait: Awaited,
        /// When it gives up.
        until: Option<Timestamp>,
    },
}

impl NodeResult {
    /// A failure with nothing to show.
    pub fn failure(kind: FailureKind, error_type: &str, message: impl Into<String>) -> Self {
        Self::Failure {
            kind,
            message: message.into(),
            output: Map::new(),
            error_type: error_type.into(),
            retry_after: None,
        }
    }
}

/// What a node waits for, until somebody outside has done it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaited {
    /// A signal.
    Signal {
        /// Which.
        wait: SignalWait,
        /// Names the request, and this wait among others.
        request_id: uuid::Uuid,
    },
    /// The end of a child execution.
    Child {
        /// `workflowexecution.id`.
        id: uuid::Uuid,
        /// `workflowexecution.execution_id`, `exec-…`.
        name: String,
        /// What its output begins with.
        output: Map<String, Value>,
    },
}

/// What a loop's body runs for.
#[derive(Clone, Debug, PartialEq)]
pub enum Rounds {
    /// Once for each of these.
    Items(Vec<Value>),
    /// So many times.
    Times(u32),
    /// Once more, or not: the loop node is asked again before each round.
    Next(bool),
}

/// A signal that a node waits for.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SignalWait {
    /// `workflowsignal.signal_type`: `human_approval`, or any other.
    pub signal_type: String,
    /// What is asked, for whoever is to answer: written as a `workflowsignal` row in the commit that records the wait.
    /// `None`: nobody is asked, a signal of that type is simply waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Map<String, Value>>,
    /// The decisions that are taken; each is a branch. Empty: any signal of the type ends the wait, without a branch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// If set, only a signal whose data has this `correlation_id` is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// An execution to be started for a node.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ChildStart {
    /// `workflowexecution.id`: made from the node's idempotency key, so that a repeated attempt starts no second one.
    pub id: uuid::Uuid,
    /// `workflowexecution.execution_id`, `exec-…`.
    pub name: String,
    /// The workflow to run.
    pub workflow_id: uuid::Uuid,
    /// Its `execution_data`.
    pub input: Map<String, Value>,
}

/// Whether another attempt may help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// The outside world was in the way: try again as the retry policy says.
    Retryable,
    /// It took longer than it may. Tried again like any other; the message reads `timed out after <s> seconds`, and
    /// the row's `error_message` becomes `Node <id> timed out after <s> seconds`.
    TimedOut,
    /// The node itself is wrong (no URL, a bad expression): another attempt would end the same way.
    Permanent,
    /// Nobody answered in time. Worded as a time-out, and not tried again unless the node says how often.
    Expired,
}
