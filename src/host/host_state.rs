//! `execution_state` as others left it: the API, an earlier worker, a person with `psql`.
//!
//! Only what cannot be derived from our own steps is read. The data must be right, since nodes work on it; a result
//! that the API's parser would stumble over is left out, so that it stops being in the way.

use std::sync::Arc;

use chrono::NaiveDateTime;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::engine::Graph;
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

    /// What a replay that starts at `node` takes over: all data, and the results of the nodes that had ended before
    /// it. The order is that of `completed_node_ids`, since `jsonb` forgets that of `node_results`.
    pub fn before(&self, node: &NodeId) -> Self {
        let earlier: Vec<NodeId> = self
            .completed_node_ids
            .iter()
            .take_while(|id| *id != node)
            .cloned()
            .collect();
        let results = self
            .node_results
            .iter()
            .filter(|result| earlier.contains(&result.node));
        Self {
            execution_data: self.execution_data.clone(),
            node_results: results.cloned().collect(),
            completed_node_ids: earlier,
        }
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
