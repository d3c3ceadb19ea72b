//! Whether nodes and edges fit, and where an execution starts.

use std::collections::HashSet;

use super::control::belongs_to_try;
use super::{Finding, View, listed, rule};
use crate::engine::{BadGraph, Edge, Graph, Reading};
use crate::host::graph_json::Parts;
use crate::ids::NodeId;

/// The edges that join two nodes that exist; the others are findings.
pub(super) fn sound_edges(parts: &Parts, findings: &mut Vec<Finding>) -> Vec<Edge> {
    let known: HashSet<&str> = parts.nodes.iter().map(|node| node.id.as_str()).collect();
    let mut sound = Vec::with_capacity(parts.edges.len());
    for (number, edge) in (1..).zip(&parts.edges) {
        let missing = [&edge.from, &edge.to]
            .into_iter()
            .find(|end| !known.contains(end.as_str()));
        match missing {
            None => sound.push(edge.clone()),
            Some(missing) => findings.push(Finding::new(
                &rule::UNKNOWN_EDGE_END,
                format!(
                    "edge {number} leads from \"{}\" to \"{}\", and there is no node \"{missing}\"",
                    edge.from, edge.to
                ),
            )),
        }
    }
    sound
}

/// The graph of the sound edges, if there is one.
pub(super) fn graph(
    parts: &Parts,
    edges: &[Edge],
    findings: &mut Vec<Finding>,
) -> Option<(Graph, Reading)> {
    match Graph::new(parts.nodes.clone(), edges.to_vec(), parts.entry.as_ref()) {
        Ok(graph) => {
            let reading = graph.explain();
            Some((graph, reading))
        }
        Err(error) => {
            let finding = match &error {
                BadGraph::DuplicateNode { id, .. } => {
                    Finding::new(&rule::DUPLICATE_NODE, error.to_string()).at(id)
                }
                BadGraph::Cycle { .. } => Finding::new(
                    &rule::CYCLE,
                    format!("{error}; put a loop node on it, or remove the edge that leads back"),
                ),
                BadGraph::TooManyContainers { .. } => {
                    Finding::new(&rule::TOO_MANY_CONTAINERS, error.to_string())
                }
                BadGraph::TangledTry { id } => {
                    Finding::new(&rule::TANGLED_TRY, error.to_string()).at(id)
                }
                BadGraph::UnknownSource { .. } | BadGraph::UnknownTarget { .. } => {
                    Finding::new(&rule::UNKNOWN_EDGE_END, error.to_string())
                }
            };
            findings.push(finding);
            None
        }
    }
}

pub(super) fn check(view: &View<'_>, findings: &mut Vec<Finding>) {
    if view.nodes.is_empty() {
        findings.push(Finding::new(
            &rule::NO_NODES,
            "the workflow has no nodes: an execution of it does nothing",
        ));
        return;
    }
    unknown_entry(view, findings);
    several_triggers(view, findings);
    repeated_edges(view, findings);
    unreachable(view, findings);
}

fn unknown_entry(view: &View<'_>, findings: &mut Vec<Finding>) {
    if let Some(hint) = view.entry_hint
        && !view.has(hint.as_str())
    {
        findings.push(Finding::new(
            &rule::UNKNOWN_ENTRY,
            format!("entry_node_id is \"{hint}\", and there is no such node"),
        ));
    }
}

fn several_triggers(view: &View<'_>, findings: &mut Vec<Finding>) {
    let triggers: Vec<&str> = view
        .nodes
        .iter()
        .filter(|node| &*node.node_type == "trigger")
        .map(|node| node.id.as_str())
        .collect();
    let is_said = view.entry_hint.is_some_and(|hint| view.has(hint.as_str()));
    if let [first, _, ..] = triggers.as_slice()
        && !is_said
    {
        findings.push(Finding::new(
            &rule::SEVERAL_TRIGGERS,
            format!(
                "there are {} triggers ({}); executions start at \"{first}\", the first, unless entry_node_id names another",
                triggers.len(),
                listed(&triggers)
            ),
        ));
    }
}

fn repeated_edges(view: &View<'_>, findings: &mut Vec<Finding>) {
    let mut known = HashSet::new();
    for edge in view.edges {
        if !known.insert((&edge.from, &edge.to, &edge.branch)) {
            findings.push(
                Finding::new(
                    &rule::REPEATED_EDGE,
                    format!("the edge to \"{}\" is drawn twice; it counts once", edge.to),
                )
                .at(&edge.from),
            );
        }
    }
}

fn unreachable(view: &View<'_>, findings: &mut Vec<Finding>) {
    let Some((_, reading)) = &view.graph else {
        return;
    };
    let Some(entry) = &reading.entry else {
        return;
    };
    // A catch or finally of no try is a finding of its own.
    let is_stray = |id: &NodeId| {
        view.nodes
            .iter()
            .any(|node| node.id == *id && matches!(&*node.node_type, "catch" | "finally"))
            && !belongs_to_try(id, reading)
    };
    for id in reading.unreachable.iter().filter(|id| !is_stray(id)) {
        findings.push(
            Finding::new(
                &rule::UNREACHABLE_NODE,
                format!(
                    "no path leads here from \"{entry}\", where executions start: it never runs"
                ),
            )
            .at(id),
        );
    }
}
