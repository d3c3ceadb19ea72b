//! `execution_state` as others left it: the API, an earlier worker, a person with `psql`.
//!
//! Only what cannot be derived from our own steps is read. The data must be right, since nodes work on it; a result
//! that the API's parser would stumble over is left out, so that it stops being in the way.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDateTime;
use serde_json::{Map, Value};
use thiserror::Error;
use uuid::Uuid;

use crate::engine::{Graph, time_limit};
use crate::host::shape::kind;
use crate::ids::NodeId;

type Object = Map<String, Value>;

/// What is taken from an `execution_state`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostState {
    /// Trigger data and outputs.
    pub execution_data: Object,
    /// Nodes that have ended, in order.
    pub completed_node_ids: Vec<NodeId>,
    /// Results that are whole, in order.
    pub(super) node_results: Vec<HostResult>,
    /// The key `timeout_seconds` as it is, if it is there.
    timeout_seconds: Option<Value>,
}

/// A member of `node_results`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HostResult {
    pub(super) node: NodeId,
    pub(super) status: String,
    /// The value as JSON.
    pub(super) text: Arc<str>,
}

/// Why a state cannot be taken over.
#[derive(Debug, Error)]
pub enum BadState {
    /// Not JSON, or JSON that nothing can hold (a number out of range, a lone surrogate, 128 levels or more).
    #[error("execution_state cannot be read: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// Not an object.
    #[error("execution_state must be an object, found {found}")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// The data is not an object.
    #[error("execution_state.execution_data must be an object, found {found}")]
    DataNotAnObject {
        /// What it is.
        found: &'static str,
    },
}

/// Reads the column. SQL NULL, JSON null and `{}` are an empty state.
///
/// # Errors
/// [`BadState`] if it is not an object, or its `execution_data` is neither an object nor null. Other keys that are of
/// the wrong kind are left out.
pub fn read(host_state: Option<&str>) -> Result<HostState, BadState> {
    let mut state =
        match serde_json::from_str(host_state.unwrap_or("null")).map_err(BadState::Unreadable)? {
            Value::Null => return Ok(HostState::default()),
            Value::Object(state) => state,
            other => {
                return Err(BadState::NotAnObject {
                    found: kind(&other),
                });
            }
        };
    let execution_data = match state.remove("execution_data") {
        None | Some(Value::Null) => Object::new(),
        Some(Value::Object(data)) => data,
        Some(other) => {
            return Err(BadState::DataNotAnObject {
                found: kind(&other),
            });
        }
    };
    let completed = state.get("completed_node_ids").and_then(Value::as_array);
    let results = state.get("node_results").and_then(Value::as_object);
    Ok(HostState {
        execution_data,
        completed_node_ids: completed
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(NodeId::from)
            .collect(),
        node_results: results
            .into_iter()
            .flatten()
            .filter_map(|(node, value)| whole_result(node, value))
            .collect(),
        timeout_seconds: state.get("timeout_seconds").cloned(),
    })
}

impl HostState {
    /// What the execution was started with: the data without what nodes of `graph` left in it.
    pub fn trigger_data(&self, graph: &Graph) -> Object {
        let is_left_by_a_node = |key: &str| {
            ["_output", "_parallel_result"]
                .iter()
                .filter_map(|ending| key.strip_suffix(ending))
                .any(|node| graph.node(&node.into()).is_some())
                || key == "_fan_in_queue"
        };
        let own = self
            .execution_data
            .iter()
            .filter(|(key, _)| !is_left_by_a_node(key));
        own.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// What a replay takes over in which the nodes `again` run again: the data but for what those left there, and the
    /// results of the others. What belongs to the original alone is left out: that it is debugged, and what it replays
    /// itself.
    pub fn without(&self, again: &HashSet<NodeId>) -> Self {
        let marker = replay_marker(&self.execution_data);
        let mut data = self.execution_data.clone();
        data.retain(|key, _| {
            let left_by = ["_output", "_parallel_result"]
                .iter()
                .find_map(|ending| key.strip_suffix(ending));
            key != DEBUG_MODE
                && !marker.contains(&key.as_str())
                && !left_by.is_some_and(|node| again.contains(&node.into()))
        });
        let others = |node: &NodeId| !again.contains(node);
        Self {
            execution_data: data,
            completed_node_ids: self
                .completed_node_ids
                .iter()
                .filter(|node| others(node))
                .cloned()
                .collect(),
            node_results: self
                .node_results
                .iter()
                .filter(|result| others(&result.node))
                .cloned()
                .collect(),
            timeout_seconds: None,
        }
    }

    /// How long the execution may take, if the state says so; `Some(None)`: without end.
    ///
    /// # Errors
    /// A text for its author.
    pub fn time_limit(&self) -> Result<Option<Option<Duration>>, String> {
        let Some(value) = &self.timeout_seconds else {
            return Ok(None);
        };
        let own = Object::from_iter([("timeout_seconds".to_owned(), value.clone())]);
        time_limit(&own)
            .map(Some)
            .map_err(|problem| format!("execution_state: {problem}"))
    }

    /// Whether each `running` is to run one node only.
    pub fn is_debugged(&self) -> bool {
        match self.execution_data.get(DEBUG_MODE) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => text.trim().eq_ignore_ascii_case("true"),
            Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => {
                false
            }
        }
    }

    /// The execution that this one is to replay, as the platform's API says it at the insert, and the node to begin with.
    ///
    /// # Errors
    /// A text for its author, if it says so and cannot be understood.
    pub fn replay(&self) -> Result<Option<(Uuid, Option<NodeId>)>, String> {
        let data = &self.execution_data;
        let original = data
            .get("original_execution_id")
            .filter(|value| !value.is_null());
        let (Some("replay"), Some(original)) =
            (data.get("trigger_type").and_then(Value::as_str), original)
        else {
            return Ok(None);
        };
        let id = original.as_str().and_then(|text| text.trim().parse().ok());
        let id = id.ok_or_else(|| {
            format!(
                "original_execution_id is {original}; it must be the id (a UUID) of an execution"
            )
        })?;
        match data.get("replay_from_node") {
            None | Some(Value::Null) => Ok(Some((id, None))),
            Some(Value::String(node)) => Ok(Some((id, Some(node.as_str().into())))),
            Some(other) => Err(format!(
                "replay_from_node is {other}; it must be the id of a node, or null"
            )),
        }
    }
}

/// The key of `execution_data` that has an execution run one node at a time.
pub const DEBUG_MODE: &str = "debug_mode";

/// The keys of `execution_data` that say that the execution is a replay, if they do: nodes do not see them, so that they
/// see what those of the original saw.
pub fn replay_marker(data: &Object) -> &'static [&'static str] {
    if data.get("trigger_type").and_then(Value::as_str) == Some("replay")
        && data.contains_key("original_execution_id")
    {
        &["trigger_type", "original_execution_id", "replay_from_node"]
    } else {
        &[]
    }
}

/// A result as the API's parser demands it.
fn whole_result(node: &str, value: &Value) -> Option<HostResult> {
    let result = value.as_object()?;
    let status = result.get("status")?.as_str()?;
    let is_null_or = |key: &str, is_right: fn(&Value) -> bool| {
        result
            .get(key)
            .is_none_or(|value| value.is_null() || is_right(value))
    };
    let is_whole = result.get("node_id")?.is_string()
        && result.get("output")?.is_object()
        && is_python_time(result.get("started_at")?)
        && is_null_or("completed_at", is_python_time)
        && is_null_or("error", Value::is_string)
        && result.get("duration_ms").is_none_or(Value::is_i64);
    is_whole.then(|| HostResult {
        node: node.into(),
        status: status.to_owned(),
        text: value.to_string().into(),
    })
}

/// Whether Python 3.10's `fromisoformat` reads it: no zone, and 0, 3 or 6 fractional digits.
fn is_python_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        matches!(text.len(), 19 | 23 | 26)
            && NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").is_ok()
    })
}
