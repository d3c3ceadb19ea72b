//! Workflow JSON → [`Graph`]: all that the builder may leave out or spell twice ends here.
//!
//! Nodes come as a list (`{node_id, node_type, config}`, or the `{id, type, data}` of the documents), as a map
//! (`{id: {node_type, config, next}}`), or, where `graph_config` has none, as rows of `workflownode`. Edges are
//! `{from, to}` or `{source, target}`, with a branch under `branch`, `condition`, `sourceHandle` or `label`: the
//! first of these that is set counts. Ids may be numbers; they are their text.
//!
//! Rows and list nodes are joined by `edges` alone: where there are none, only the entry node runs, as the rows say.
//! SQL NULL, JSON null and `{}` are a workflow without nodes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::engine::{BadGraph, Edge, Graph, GraphNode, time_limit};
use crate::host::shape::{found, kind, quoted};
use crate::ids::NodeId;

/// A row of `workflownode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// The id that edges name.
    pub node_id: String,
    /// The type.
    pub node_type: String,
    /// JSON text.
    pub config: Option<String>,
}

/// Why a workflow is not a graph; the text is for its owner.
#[derive(Debug, Error)]
pub enum BadGraphConfig {
    /// Not JSON, or JSON that nothing can hold (a number out of range, a lone surrogate, 128 levels or more).
    #[error("{place} cannot be read: {source}")]
    Unreadable {
        /// Which document.
        place: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Something is missing or of the wrong kind.
    #[error("{0}")]
    Shape(String),
    /// The parts do not fit.
    #[error(transparent)]
    Graph(#[from] BadGraph),
}

type Object = Map<String, Value>;

/// Nodes and edges, not yet checked for whether they fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// The nodes, in their order.
    pub nodes: Vec<GraphNode>,
    /// The edges, in their order.
    pub edges: Vec<Edge>,
    /// `entry_node_id`, which may name no node.
    pub entry: Option<NodeId>,
    /// `timeout_seconds`: how long an execution may take.
    pub time_limit: Option<Duration>,
}

/// Reads a workflow. `graph_config` is the column's text (`null` for SQL NULL); `fallback_rows` are the workflow's
/// `workflownode` rows, used only if `graph_config` has no nodes.
///
/// # Errors
/// [`BadGraphConfig`] says what is wrong and where; nodes and edges are counted from 1.
pub fn parse(graph_config: &str, fallback_rows: &[NodeRow]) -> Result<Graph, BadGraphConfig> {
    let parts = read(graph_config, fallback_rows)?;
    Ok(Graph::new(parts.nodes, parts.edges, parts.entry.as_ref())?)
}

/// The same, up to where the parts are put together.
///
/// # Errors
/// As [`parse`], but for [`BadGraphConfig::Graph`].
pub fn read(graph_config: &str, fallback_rows: &[NodeRow]) -> Result<Parts, BadGraphConfig> {
    let config = match parsed(graph_config, || "graph_config".to_owned())? {
        Value::Null => Object::new(),
        Value::Object(config) => config,
        other => {
            return shape(format!(
                "graph_config must be an object, found {}",
                kind(&other)
            ));
        }
    };
    let (mut nodes, mut edges) = (Vec::new(), Vec::new());
    match config.get("nodes") {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) => {
            for (number, item) in (1..).zip(list) {
                nodes.push(list_node(number, item)?);
            }
        }
        Some(Value::Object(map)) => {
            for (id, item) in map {
                nodes.push(map_node(id, item, &mut edges)?);
            }
        }
        Some(other) => {
            return shape(format!(
                "\"nodes\" must be a list or an object, found {}",
                kind(other)
            ));
        }
    }
    if nodes.is_empty() {
        nodes = fallback_rows
            .iter()
            .map(row_node)
            .collect::<Result<_, _>>()?;
    }
    match config.get("edges") {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) => {
            for (number, item) in (1..).zip(list) {
                edges.push(list_edge(number, item)?);
            }
        }
        Some(other) => return shape(format!("\"edges\" must be a list, found {}", kind(other))),
    }
    let entry = config
        .get("entry_node_id")
        .and_then(id_text)
        .map(|id| NodeId::from(id.as_str()));
    let time_limit = time_limit(&config)
        .map_err(|problem| BadGraphConfig::Shape(format!("graph_config: {problem}")))?;
    Ok(Parts {
        nodes,
        edges,
        entry,
        time_limit,
    })
}

fn shape<T>(problem: String) -> Result<T, BadGraphConfig> {
    Err(BadGraphConfig::Shape(problem))
}

fn parsed(text: &str, place: impl FnOnce() -> String) -> Result<Value, BadGraphConfig> {
    serde_json::from_str(text).map_err(|source| BadGraphConfig::Unreadable {
        place: place(),
        source,
    })
}

/// The first key that is there and not null.
fn first_set<'a>(object: &'a Object, keys: &[&'static str]) -> Option<(&'static str, &'a Value)> {
    keys.iter().find_map(|key| {
        object
            .get(*key)
            .filter(|value| !value.is_null())
            .map(|value| (*key, value))
    })
}

fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An id that a node may have. NUL, which no column takes, would make every later write of the execution fail.
fn checked_id(place: &str, key: &str, value: &Value) -> Result<NodeId, BadGraphConfig> {
    let Some(id) = id_text(value) else {
        return shape(format!(
            "{place}: \"{key}\" must be text, found {}",
            found(value)
        ));
    };
    if id.is_empty() {
        return shape(format!("{place}: \"{key}\" is empty"));
    }
    if id.contains('\0') {
        return shape(format!(
            "{place}: \"{key}\" contains the character NUL (\\u0000)"
        ));
    }
    Ok(NodeId::from(id.as_str()))
}

fn list_node(number: usize, item: &Value) -> Result<GraphNode, BadGraphConfig> {
    let Value::Object(node) = item else {
        return shape(format!(
            "node {number} must be an object, found {}",
            found(item)
        ));
    };
    let Some((key, id)) = first_set(node, &["node_id", "id"]) else {
        return shape(format!("node {number} has no node_id"));
    };
    let id = checked_id(&format!("node {number}"), key, id)?;
    let place = format!("node {number} ({})", quoted(id.as_str()));
    let data = node.get("data").and_then(Value::as_object);
    // On a canvas, `type` may name the drawing; a `node_type` beside or in `data` then says what is meant.
    let node_type = first_set(node, &["node_type"])
        .or_else(|| data.and_then(|data| first_set(data, &["node_type", "nodeType"])))
        .or_else(|| first_set(node, &["type"]))
        .or_else(|| data.and_then(|data| first_set(data, &["type"])));
    let config = match (first_set(node, &["config"]), data) {
        (Some((_, config)), _) => config_object(&place, config)?,
        (None, Some(data)) => match first_set(data, &["config"]) {
            Some((_, config)) => config_object(&place, config)?,
            None => others(data, &["config", "label", "node_type", "nodeType", "type"]),
        },
        (None, None) => Object::new(),
    };
    Ok(GraphNode {
        id,
        node_type: type_text(&place, node_type)?,
        config: Arc::new(config),
    })
}

fn map_node(key: &str, item: &Value, edges: &mut Vec<Edge>) -> Result<GraphNode, BadGraphConfig> {
    let place = format!("node {}", quoted(key));
    let id = checked_id(&place, "id", &Value::from(key))?;
    let Value::Object(node) = item else {
        return shape(format!("{place} must be an object, found {}", found(item)));
    };
    let node_type = type_text(&place, first_set(node, &["node_type", "type"]))?;
    let config = match first_set(node, &["config"]) {
        Some((_, config)) => config_object(&place, config)?,
        None => others(
            node,
            &[
                "config",
                "node_type",
                "type",
                "next",
                "node_id",
                "id",
                "label",
                "position_x",
                "position_y",
                "position",
            ],
        ),
    };
    let single;
    let next = match node.get("next") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(list)) => list,
        Some(one) => {
            single = [one.clone()];
            &single
        }
    };
    for target in next {
        edges.push(Edge {
            from: id.clone(),
            to: checked_id(&place, "next", target)?,
            branch: None,
        });
    }
    Ok(GraphNode {
        id,
        node_type,
        config: Arc::new(config),
    })
}

fn row_node(row: &NodeRow) -> Result<GraphNode, BadGraphConfig> {
    let place = format!("workflownode row {}", quoted(&row.node_id));
    let config = match &row.config {
        Some(text) => config_object(&place, &parsed(text, || format!("the config of {place}"))?)?,
        None => Object::new(),
    };
    Ok(GraphNode {
        id: checked_id(&place, "node_id", &Value::from(row.node_id.as_str()))?,
        node_type: type_text(
            &place,
            Some(("node_type", &Value::from(row.node_type.as_str()))),
        )?,
        config: Arc::new(config),
    })
}

fn type_text(place: &str, node_type: Option<(&str, &Value)>) -> Result<Arc<str>, BadGraphConfig> {
    match node_type {
        None => shape(format!("{place} has no node_type")),
        Some((key, Value::String(text))) if text.trim().is_empty() => {
            shape(format!("{place}: \"{key}\" is empty"))
        }
        Some((_, Value::String(text))) => Ok(Arc::from(text.as_str())),
        Some((key, other)) => shape(format!(
            "{place}: \"{key}\" must be text, found {}",
            found(other)
        )),
    }
}

fn config_object(place: &str, config: &Value) -> Result<Object, BadGraphConfig> {
    match config {
        Value::Null => Ok(Object::new()),
        Value::Object(config) => Ok(config.clone()),
        other => shape(format!(
            "{place}: \"config\" must be an object, found {}",
            found(other)
        )),
    }
}

fn others(object: &Object, known: &[&str]) -> Object {
    object
        .iter()
        .filter(|(key, _)| !known.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn list_edge(number: usize, item: &Value) -> Result<Edge, BadGraphConfig> {
    let place = format!("edge {number}");
    let Value::Object(edge) = item else {
        return shape(format!("{place} must be an object, found {}", found(item)));
    };
    let end = |keys: &[&'static str; 2]| match first_set(edge, keys) {
        Some((key, id)) => checked_id(&place, key, id),
        None => shape(format!("{place} has no \"{}\"", keys[0])),
    };
    Ok(Edge {
        from: end(&["from", "source"])?,
        to: end(&["to", "target"])?,
        branch: edge_branch(&place, edge)?,
    })
}

fn edge_branch(place: &str, edge: &Object) -> Result<Option<Arc<str>>, BadGraphConfig> {
    let label = match first_set(edge, &["branch", "condition", "sourceHandle", "label"]) {
        None => return Ok(None),
        Some((_, Value::String(text))) => text.clone(),
        Some((_, Value::Bool(value))) => value.to_string(),
        Some((_, Value::Number(number))) => number.to_string(),
        Some((key, other)) => {
            return shape(format!(
                "{place}: \"{key}\" must be text, found {}",
                kind(other)
            ));
        }
    };
    Ok((!label.is_empty()).then(|| Arc::from(label)))
}
