//! What the shell tells the engine.

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
    /// finish, retries and re-checks run.
    DeadlinePassed,
    /// Somebody has written new data: nodes that wait for a condition are looked at again at once.
    DataChanged,
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
}
