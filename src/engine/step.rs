//! What is recorded of an attempt of a visit.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::ids::{Attempt, NodeId, Timestamp, Visit};

/// The recorded outcome of one attempt of one visit of a node. Append-only: a step is written once and never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// 1, 2, 3 … within the execution, in the order in which they were recorded. (0 is the execution's input.)
    pub seq: i32,
    /// The node.
    pub node: NodeId,
    /// Its type.
    pub node_type: String,
    /// The n-th time that a token was in the node.
    pub visit: Visit,
    /// The n-th try of that visit.
    pub attempt: Attempt,
    /// How it ended.
    pub status: StepStatus,
    /// Always an object.
    pub output: Arc<Map<String, Value>>,
    /// The failure's message, without `Node <id> failed: `.
    pub error: Option<String>,
    /// When the attempt started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The rounds, branches and parts it belongs to, such as `orders[3]/fan[#0]/try1[catch]`; empty outside of all. A
    /// round of a loop whose rounds run side by side has a `*` before its number, a branch has a `#`.
    pub scope: Arc<str>,
    /// Whether a path of that round, branch or part ended here: its output is (part of) the result.
    pub is_end: bool,
}

/// What the scopes inside of a visit of a node begin with, where `scope` is the node's own; a round's number, a branch's
/// or a part's name and `]` follow.
pub fn scope_inside(scope: &str, node: &NodeId, visit: Visit) -> String {
    let slash = if scope.is_empty() { "" } else { "/" };
    if visit > 1 {
        format!("{scope}{slash}{node}@{visit}[")
    } else {
        format!("{scope}{slash}{node}[")
    }
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepStatus {
    /// The node did its work; it never runs again for this visit.
    Success,
    /// This attempt failed.
    Failed,
    /// It failed for good, and the execution goes on because the node says `continue_on_error`.
    Continued,
    /// A loop has begun; the output holds its `items`.
    Opened,
    /// The branches behind the node have ended; the output holds their `result`.
    Joined,
    /// A `catch` node that had nothing to catch.
    Skipped,
}

impl StepStatus {
    /// The word in `node_results[*].status` and in `workflow_worker.steps.status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Continued => "continued",
            Self::Opened => "opened",
            Self::Joined => "joined",
            Self::Skipped => "skipped",
        }
    }

    /// Reads the column.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Success,
            Self::Failed,
            Self::Continued,
            Self::Opened,
            Self::Joined,
            Self::Skipped,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
    }
}
