//! Says what is wrong or ambiguous in a workflow before it runs, and how it will be read.
//!
//! Pure: no database, nothing is run. Each check is a function that looks at the `View` and adds findings; each kind of
//! finding is a [`Rule`]. What a node type needs it says itself, by its `Spec` and its `Activity::check`; how the graph
//! is read, the engine says (`engine::Reading`). Values that hold a template are checked as far as that is possible
//! without data.

mod branches;
mod configuration;
mod control;
mod parts;
mod reading;
mod references;
mod rule;
mod syntax;
#[cfg(test)]
mod tests;
mod texts;

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::activities::registry::Registry;
use crate::activities::{Node, Spec};
use crate::engine::{Edge, Graph, GraphNode, Reading};
use crate::host::graph_json::{NodeRow, Parts};
use crate::ids::NodeId;

pub use rule::{RULES, Rule, Severity};

/// The largest distance at which one word is taken for a slip of another.
const SLIP: usize = 2;

/// What is checked.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// JSON text; `null` for SQL NULL.
    pub graph_config: &'a str,
    /// The workflow's rows of `workflownode`.
    pub rows: &'a [NodeRow],
    /// Its id, if known.
    pub workflow: Option<Uuid>,
}

/// Something that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What kind of thing.
    pub rule: &'static Rule,
    /// The node that it is about.
    pub node: Option<NodeId>,
    /// The key of its configuration.
    pub key: Option<String>,
    /// For the person who drew the workflow.
    pub message: String,
}

impl Finding {
    fn new(rule: &'static Rule, message: impl Into<String>) -> Self {
        Self {
            rule,
            node: None,
            key: None,
            message: message.into(),
        }
    }

    fn at(self, node: &NodeId) -> Self {
        Self {
            node: Some(node.clone()),
            ..self
        }
    }

    fn in_key(self, key: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            ..self
        }
    }

    /// As JSON: `severity`, `code`, `node`, `key`, `message`.
    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.rule.severity.as_str(),
            "code": self.rule.code,
            "node": self.node.as_ref().map(NodeId::as_str),
            "key": self.key,
            "message": self.message,
        })
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.rule.severity.as_str(), self.rule.code)?;
        match (&self.node, &self.key) {
            (Some(node), Some(key)) => write!(f, " node \"{node}\", {key}")?,
            (Some(node), None) => write!(f, " node \"{node}\"")?,
            (None, _) => {}
        }
        write!(f, ": {}", self.message)
    }
}

/// What the checks look at.
struct View<'a> {
    registry: &'a Registry,
    workflow: Option<Uuid>,
    nodes: &'a [GraphNode],
    /// Those that join two nodes that exist.
    edges: &'a [Edge],
    by_source: HashMap<&'a str, Vec<&'a Edge>>,
    entry_hint: Option<&'a NodeId>,
    /// The graph; `None` if the parts do not make one.
    graph: Option<(Graph, Reading)>,
}

impl View<'_> {
    /// The edges that start at a node, in their order.
    fn edges_of(&self, node: &GraphNode) -> &[&Edge] {
        self.by_source
            .get(node.id.as_str())
            .map_or(&[], Vec::as_slice)
    }

    fn spec(&self, node: &GraphNode) -> Option<&'static Spec> {
        self.registry.spec(&node.node_type)
    }

    fn has(&self, id: &str) -> bool {
        self.nodes.iter().any(|node| node.id.as_str() == id)
    }
}

/// All that can be said of a workflow, the worst first, in the order of its nodes.
pub fn check(subject: &Subject<'_>, registry: &Registry) -> Vec<Finding> {
    let mut findings = Vec::new();
    match crate::host::graph_json::read(subject.graph_config, subject.rows) {
        Ok(parts) => check_parts(&parts, subject, registry, &mut findings),
        Err(error) => findings.push(Finding::new(&rule::UNREADABLE, error.to_string())),
    }
    findings
}

fn check_parts(
    parts: &Parts,
    subject: &Subject<'_>,
    registry: &Registry,
    findings: &mut Vec<Finding>,
) {
    let edges = parts::sound_edges(parts, findings);
    let mut by_source: HashMap<&str, Vec<&Edge>> = HashMap::new();
    for edge in &edges {
        by_source.entry(edge.from.as_str()).or_default().push(edge);
    }
    let view = View {
        registry,
        workflow: subject.workflow,
        nodes: &parts.nodes,
        edges: &edges,
        by_source,
        entry_hint: parts.entry.as_ref(),
        graph: parts::graph(parts, &edges, findings),
    };
    parts::check(&view, findings);
    for node in view.nodes {
        configuration::check(&view, node, findings);
        syntax::check(&view, node, findings);
        branches::check(&view, node, findings);
    }
    if let Some((_, reading)) = &view.graph {
        control::check(&view, reading, findings);
        references::check(&view, reading, findings);
        reading::tell(&view, reading, findings);
    }
    let places: HashMap<&str, usize> = (1..)
        .zip(view.nodes)
        .map(|(place, node)| (node.id.as_str(), place))
        .collect();
    findings.sort_by_key(|finding| {
        let node = finding.node.as_ref().map(NodeId::as_str);
        let place = node.and_then(|id| places.get(id)).copied();
        (finding.rule.severity, place.unwrap_or_default())
    });
}

/// The node as activities see it.
fn as_activity_node(node: &GraphNode) -> Node {
    Node {
        id: node.id.clone(),
        node_type: node.node_type.clone(),
        config: node.config.clone(),
    }
}

/// The word of several that this one is probably a slip of.
fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let lower = word.trim().to_lowercase();
    known
        .into_iter()
        .map(|other| (strsim::osa_distance(&lower, &other.to_lowercase()), other))
        // In a short word two other letters make another word.
        .filter(|(distance, other)| *distance <= SLIP.min(other.chars().count() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// `"a", "b" and 3 more`.
fn listed<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 20;
    let mut shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| name.as_ref().to_owned())
        .collect();
    if names.len() > SHOWN {
        shown.push(format!("and {} more", names.len() - SHOWN));
    }
    shown.join(", ")
}
