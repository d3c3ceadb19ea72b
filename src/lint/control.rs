//! Loops, `break`, `try`, parallel branches and sub-workflows, as the engine reads them.

use std::collections::HashSet;

use super::{Finding, View, as_activity_node, listed, rule};
use crate::activities::native::config;
use crate::activities::native::sub_workflow::workflow_id;
use crate::engine::{GraphNode, LoopReading, NodeOptions, Reading};
use crate::expr::template::has_template;
use crate::ids::NodeId;

pub(super) fn check(view: &View<'_>, reading: &Reading, findings: &mut Vec<Finding>) {
    for found in &reading.loops {
        empty_loop(found, findings);
        takes_all(found, findings);
    }
    for node in view.nodes {
        match &*node.node_type {
            "break" | "continue" => leaves_loop(view, node, reading, findings),
            "catch" | "finally" => without_try(node, reading, findings),
            "sub_workflow" | "sub-workflow" => recursion(view, node, reading, findings),
            _ => {}
        }
        too_many_awaited(view, node, findings);
    }
}

fn empty_loop(found: &LoopReading, findings: &mut Vec<Finding>) {
    if found.body.is_empty() {
        findings.push(
            Finding::new(
                &rule::EMPTY_LOOP,
                "the loop repeats nothing; draw an edge with the label \"body\" to what it is to repeat, or an edge from \
                 there back to the loop",
            )
            .at(&found.node),
        );
    }
}

fn takes_all(found: &LoopReading, findings: &mut Vec<Finding>) {
    if !found.is_labelled && !found.has_way_back && found.body.len() > 1 {
        findings.push(
            Finding::new(
                &rule::LOOP_TAKES_ALL,
                format!(
                    "all that follows is repeated ({}), since nothing says where the body ends; draw an edge from its last \
                     node back to the loop, or label the loop's edges \"body\" and \"done\"",
                    listed(&texts(&found.body))
                ),
            )
            .at(&found.node),
        );
    }
}

fn leaves_loop(view: &View<'_>, node: &GraphNode, reading: &Reading, findings: &mut Vec<Finding>) {
    let around: Vec<&NodeId> = reading
        .loops
        .iter()
        .filter(|found| found.body.contains(&node.id))
        .map(|found| &found.node)
        .collect();
    let kind = &node.node_type;
    if around.is_empty() {
        findings.push(
            Finding::new(
                &rule::BREAK_OUTSIDE_LOOP,
                format!("a {kind} must stand in what a loop repeats; it stands in none"),
            )
            .at(&node.id),
        );
        return;
    }
    let label = match config::text(&node.config, "loop_label") {
        Ok(Some(label)) if !has_template(label) => label.trim(),
        _ => return,
    };
    let is_meant = |id: &&NodeId| id.as_str() == label || own_label(view, id) == Some(label);
    if !label.is_empty() && !around.iter().any(is_meant) {
        let names: Vec<&str> = around
            .iter()
            .flat_map(|id| own_label(view, id).into_iter().chain([id.as_str()]))
            .collect();
        findings.push(
            Finding::new(
                &rule::UNKNOWN_LOOP,
                format!(
                    "no loop around it is called \"{label}\"; around it: {}",
                    listed(&names)
                ),
            )
            .at(&node.id)
            .in_key("loop_label"),
        );
    }
}

fn own_label<'v>(view: &'v View<'_>, id: &NodeId) -> Option<&'v str> {
    let node = view.nodes.iter().find(|node| node.id == *id)?;
    node.config.get("loop_label")?.as_str().map(str::trim)
}

/// Whether some `try` has the node as its `catch` or `finally`.
pub(super) fn belongs_to_try(id: &NodeId, reading: &Reading) -> bool {
    reading
        .tries
        .iter()
        .any(|found| found.catches.contains(id) || found.finallies.contains(id))
}

fn without_try(node: &GraphNode, reading: &Reading, findings: &mut Vec<Finding>) {
    if belongs_to_try(&node.id, reading) {
        return;
    }
    let kind = &node.node_type;
    findings.push(
        Finding::new(
            &rule::CATCH_WITHOUT_TRY,
            format!(
                "no try leads to this {kind}, so it belongs to none; put a try node before what is to be tried"
            ),
        )
        .at(&node.id),
    );
}

fn recursion(view: &View<'_>, node: &GraphNode, reading: &Reading, findings: &mut Vec<Finding>) {
    let is_itself =
        view.workflow.is_some() && workflow_id(&as_activity_node(node)).ok() == view.workflow;
    if !is_itself {
        return;
    }
    let finding = if is_inevitable(view, &node.id, reading) {
        Finding::new(
            &rule::ENDLESS_RECURSION,
            "the workflow starts itself, whatever the data: each execution starts another, up to the bound on the depth",
        )
    } else {
        Finding::new(
            &rule::RECURSION,
            "the workflow starts itself; beyond the bound on the depth the node fails",
        )
    };
    findings.push(finding.at(&node.id).in_key("workflow_id"));
}

/// Whether a path leads to a node on which nothing is decided.
fn is_inevitable(view: &View<'_>, id: &NodeId, reading: &Reading) -> bool {
    let decides = |node: &GraphNode| {
        node.is_loop()
            || &*node.node_type == "catch"
            || view.spec(node).is_none_or(|spec| !spec.branches.is_empty())
    };
    let mut seen = HashSet::new();
    let mut open: Vec<&NodeId> = reading.entry.iter().collect();
    while let Some(at) = open.pop() {
        if at == id {
            return true;
        }
        let node = view.nodes.iter().find(|node| node.id == *at);
        let Some(node) = node.filter(|node| !decides(node) && seen.insert(&node.id)) else {
            continue;
        };
        open.extend(view.edges_of(node).iter().map(|edge| &edge.to));
    }
    false
}

fn too_many_awaited(view: &View<'_>, node: &GraphNode, findings: &mut Vec<Finding>) {
    let options = NodeOptions::read(&node.config).unwrap_or_default();
    let Some(need) = options.fan_out.and_then(|fan_out| fan_out.need) else {
        return;
    };
    let targets: HashSet<&NodeId> = view.edges_of(node).iter().map(|edge| &edge.to).collect();
    let branches = u32::try_from(targets.len()).unwrap_or(u32::MAX);
    if need > branches.max(1) {
        findings.push(
            Finding::new(
                &rule::TOO_MANY_AWAITED,
                format!(
                    "it waits for {need} branches and has {branches}: it waits for all of them"
                ),
            )
            .at(&node.id)
            .in_key("parallel_wait_n"),
        );
    }
}

pub(super) fn texts(ids: &[NodeId]) -> Vec<&str> {
    ids.iter().map(NodeId::as_str).collect()
}
