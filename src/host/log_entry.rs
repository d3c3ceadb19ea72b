//! Rows of `executionlog`, in the words that the platform's worker has always used (contract: `db-api.md`, 'Log rows of
//! the worker').
//!
//! An entry always fits its columns: the message is cut at 5,000 characters, the node id at 255, and NUL, which no
//! text column takes, is replaced. A log row must never make a step fail.

use std::time::Duration;

use crate::ids::{NodeId, Timestamp};

/// `executionlog.message` is `varchar(5000)`.
const MESSAGE_CHARS: usize = 5_000;
/// `executionlog.node_id` is `varchar(255)`.
const NODE_ID_CHARS: usize = 255;

/// `executionlog.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What happens when all is well.
    Info,
    /// Something is not as it should be; it goes on.
    Warning,
    /// It does not go on.
    Error,
}

impl Level {
    /// The column's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// A node's id, or `start`, `end`, `system`.
    pub node_id: String,
    /// How grave it is.
    pub level: Level,
    /// For the user.
    pub message: String,
    /// When.
    pub timestamp: Timestamp,
}

impl LogEntry {
    /// Any row; it is cut to what the table takes.
    pub fn new(node_id: &str, level: Level, message: &str, timestamp: Timestamp) -> Self {
        Self {
            node_id: fitting(node_id, NODE_ID_CHARS),
            level,
            message: fitting(message, MESSAGE_CHARS),
            timestamp,
        }
    }

    /// The execution was inserted. `name` is its `exec-…`.
    pub fn execution_started(name: &str, at: Timestamp) -> Self {
        Self::new(
            "start",
            Level::Info,
            &format!("Workflow execution started: {name}"),
            at,
        )
    }

    /// A node is about to run.
    pub fn executing(node: &NodeId, at: Timestamp) -> Self {
        Self::new(
            node.as_str(),
            Level::Info,
            &format!("Executing node: {node}"),
            at,
        )
    }

    /// A node did its work.
    pub fn node_completed(node: &NodeId, at: Timestamp) -> Self {
        Self::new(
            node.as_str(),
            Level::Info,
            &format!("Node {node} completed successfully"),
            at,
        )
    }

    /// A node did not.
    pub fn node_failed(node: &NodeId, error: &str, at: Timestamp) -> Self {
        Self::new(
            node.as_str(),
            Level::Error,
            &format!("Node {node} failed: {error}"),
            at,
        )
    }

    /// The execution has come to its end.
    pub fn execution_completed(at: Timestamp) -> Self {
        Self::new("end", Level::Info, "Workflow execution completed", at)
    }

    /// A retry was scheduled: the `retry`-th of `max`. `error` is the row's `error_message`.
    pub fn retry_scheduled(
        node: Option<&NodeId>,
        retry: u32,
        max: u32,
        error: &str,
        at: Timestamp,
    ) -> Self {
        let message = format!("Workflow execution failed, retry {retry}/{max} scheduled: {error}");
        Self::new(or_system(node), Level::Warning, &message, at)
    }

    /// The execution has failed for good. `error` is the row's `error_message`.
    pub fn failed_permanently(node: Option<&NodeId>, error: &str, at: Timestamp) -> Self {
        Self::new(
            or_system(node),
            Level::Error,
            &format!("Workflow execution failed permanently: {error}"),
            at,
        )
    }

    /// The user stopped it for a while.
    pub fn paused(node: Option<&NodeId>, at: Timestamp) -> Self {
        Self::new(or_system(node), Level::Info, "Execution paused", at)
    }

    /// The user let it go on.
    pub fn resumed(node: Option<&NodeId>, at: Timestamp) -> Self {
        Self::new(or_system(node), Level::Info, "Execution resumed", at)
    }

    /// The user ended it.
    pub fn terminated(node: Option<&NodeId>, reason: &str, at: Timestamp) -> Self {
        Self::new(
            or_system(node),
            Level::Warning,
            &format!("Execution terminated: {reason}"),
            at,
        )
    }

    /// In test mode: the node's result is the one that was given for it.
    pub fn mocked(node: &NodeId, at: Timestamp) -> Self {
        let message =
            format!("Node {node} is mocked: it is not run, and ends as mock_results says");
        Self::new(node.as_str(), Level::Info, &message, at)
    }

    /// It waits for a signal of this type.
    pub fn waiting_for_signal(node: Option<&NodeId>, signal_type: &str, at: Timestamp) -> Self {
        Self::new(
            or_system(node),
            Level::Info,
            &format!("Execution waiting for signal: {signal_type}"),
            at,
        )
    }

    /// The signal came.
    pub fn signal_received(node: Option<&NodeId>, signal_type: &str, at: Timestamp) -> Self {
        Self::new(
            or_system(node),
            Level::Info,
            &format!("Signal received and processed: {signal_type}"),
            at,
        )
    }
}

/// The `error_message` of an execution that took too long.
pub fn execution_timed_out(limit: Duration) -> String {
    format!(
        "Workflow execution timed out after {} seconds",
        limit.as_secs_f64()
    )
}

fn or_system(node: Option<&NodeId>) -> &str {
    node.map_or("system", NodeId::as_str)
}

fn fitting(text: &str, chars: usize) -> String {
    let end = text
        .char_indices()
        .nth(chars)
        .map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or(text).replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn the_rows_read_as_recorded_from_the_platform() {
        let node = NodeId::from("h");
        let error = "Node h failed: HTTP 500: Internal Server Error";
        let row = |entry: LogEntry| {
            format!(
                "{}|{}|{}",
                entry.node_id,
                entry.level.as_str(),
                entry.message
            )
        };
        assert_eq!(
            row(LogEntry::executing(&node, AT)),
            "h|info|Executing node: h"
        );
        assert_eq!(
            row(LogEntry::node_completed(&node, AT)),
            "h|info|Node h completed successfully"
        );
        assert_eq!(
            row(LogEntry::node_failed(&node, "no", AT)),
            "h|error|Node h failed: no"
        );
        assert_eq!(
            row(LogEntry::retry_scheduled(Some(&node), 1, 3, error, AT)),
            format!("h|warning|Workflow execution failed, retry 1/3 scheduled: {error}")
        );
        assert_eq!(
            row(LogEntry::failed_permanently(None, error, AT)),
            format!("system|error|Workflow execution failed permanently: {error}")
        );
        assert_eq!(
            row(LogEntry::execution_completed(AT)),
            "end|info|Workflow execution completed"
        );
    }

    #[test]
    fn a_row_fits_its_columns_whatever_it_says() {
        let entry = LogEntry::new(&"n".repeat(300), Level::Error, &"ä".repeat(6_000), AT);
        assert_eq!(
            (entry.node_id.chars().count(), entry.message.chars().count()),
            (255, 5_000)
        );
        assert_eq!(
            LogEntry::new("n", Level::Info, "a\0b", AT).message,
            "a\u{fffd}b"
        );
    }
}
