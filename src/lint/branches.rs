//! The labels on edges against the branches that a node can choose.

use serde_json::Value;

use super::texts::is_templated;
use super::{Finding, View, as_activity_node, listed, nearest, rule};
use crate::activities::native::approval;
use crate::activities::native::config;
use crate::engine::{Edge, GraphNode};

/// The branch of a wait that nobody has ended.
const TIMEOUT: &str = "timeout";
/// The labels that a loop reads (`engine::region`).
const OF_LOOP: [&str; 6] = ["body", "loop", "each", "done", "after", "exit"];
/// Those that a `try` reads.
const OF_TRY: [&str; 8] = [
    "body", "try", "catch", "error", "finally", "done", "after", "exit",
];

/// What the labels of a node's edges can do.
enum Labels {
    /// It takes the edges of the branch that it chooses; these are the branches, if they are known.
    Chosen(Option<Vec<String>>),
    /// They say what stands inside it.
    Read(&'static [&'static str]),
    /// Nothing: it takes all its edges.
    Ignored,
    /// Whoever runs it may choose.
    Unknown,
}

pub(super) fn check(view: &View<'_>, node: &GraphNode, findings: &mut Vec<Finding>) {
    let edges = view.edges_of(node);
    let mut own = Vec::new();
    match labels(view, node) {
        Labels::Chosen(branches) => {
            unlabelled(node, edges, &mut own);
            if let Some(branches) = branches {
                unknown(edges, &branches, &mut own);
                without_edge(node, edges, &branches, &mut own);
            }
        }
        Labels::Read(words) => {
            for (edge, label) in labelled(edges) {
                let is_read = words
                    .iter()
                    .any(|word| word.eq_ignore_ascii_case(label.trim()));
                if !is_read {
                    own.push(no_effect(node, edge, label, &listed(words)));
                }
            }
        }
        Labels::Ignored => {
            for (edge, label) in labelled(edges) {
                own.push(no_effect(node, edge, label, ""));
            }
        }
        Labels::Unknown => {}
    }
    findings.extend(own.into_iter().map(|finding| finding.at(&node.id)));
}

fn labels(view: &View<'_>, node: &GraphNode) -> Labels {
    if node.is_loop() {
        return Labels::Read(&OF_LOOP);
    }
    if &*node.node_type == "try" {
        return Labels::Read(&OF_TRY);
    }
    if !view.registry.is_own(&node.node_type) {
        return Labels::Unknown;
    }
    let branches = view.spec(node).map_or(&[][..], |spec| spec.branches);
    let decides = branches.iter().any(|branch| *branch != TIMEOUT);
    match &*node.node_type {
        "switch" => Labels::Chosen(of_switch(node)),
        "human_approval" => Labels::Chosen(of_approval(node)),
        _ if decides => Labels::Chosen(Some(
            branches.iter().map(|branch| (*branch).to_owned()).collect(),
        )),
        // Such a node names no branch but that one, and only if its time is over.
        _ if branches.contains(&TIMEOUT) => Labels::Read(&[TIMEOUT]),
        _ => Labels::Ignored,
    }
}

fn of_switch(node: &GraphNode) -> Option<Vec<String>> {
    let mut branches = vec!["default".to_owned()];
    match config::value(&node.config, "cases") {
        None => {}
        Some(Value::Object(cases)) => {
            branches.extend(cases.keys().filter(|name| *name != "default").cloned());
        }
        Some(_) => return None,
    }
    Some(branches)
}

fn of_approval(node: &GraphNode) -> Option<Vec<String>> {
    let given = config::first_of(&node.config, &["approval_options", "options"]);
    if given.is_some_and(|(_, value)| is_templated(value)) {
        return None;
    }
    let mut branches = approval::answers(&as_activity_node(node)).ok()?;
    branches.push(TIMEOUT.to_owned());
    Some(branches)
}

fn labelled<'e>(edges: &'e [&Edge]) -> impl Iterator<Item = (&'e Edge, &'e str)> {
    edges
        .iter()
        .filter_map(|edge| Some((*edge, edge.branch.as_deref()?)))
}

/// One edge without a label may be meant: what follows a decision in any case. Of an approval it never is.
fn unlabelled(node: &GraphNode, edges: &[&Edge], own: &mut Vec<Finding>) {
    let targets: Vec<&str> = edges
        .iter()
        .filter(|edge| edge.branch.is_none())
        .map(|edge| edge.to.as_str())
        .collect();
    let message = match (&*node.node_type, targets.as_slice()) {
        (_, []) => return,
        ("human_approval", [to]) => format!(
            "the edge to \"{to}\" has no label: it is taken whatever the answer, also after a refusal; label it with the \
             answer that it is for"
        ),
        (_, [to]) if edges.len() == 1 => format!(
            "the edge to \"{to}\" has no label: it is taken whatever is decided; label it with the branch that it is for"
        ),
        (_, [to]) => format!(
            "the edge to \"{to}\" has no label: it is taken beside the edge of the branch that is chosen"
        ),
        (_, targets) => format!(
            "the edges to {} have no label: all of them are taken, whatever is decided; label each with the branch that it \
             is for",
            listed(targets)
        ),
    };
    own.push(Finding::new(&rule::UNLABELLED_BRANCHES, message));
}

fn unknown(edges: &[&Edge], branches: &[String], own: &mut Vec<Finding>) {
    for (edge, label) in labelled(edges) {
        if branches.iter().any(|branch| branch == label) {
            continue;
        }
        let hint = match nearest(label, branches.iter().map(String::as_str)) {
            Some(meant) => format!("is \"{meant}\" meant?"),
            None => format!("it can be {}", listed(branches)),
        };
        own.push(Finding::new(
            &rule::UNKNOWN_BRANCH,
            format!(
                "the edge to \"{}\" has the label \"{label}\", which is never chosen; {hint}",
                edge.to
            ),
        ));
    }
}

/// A branch that somebody has named, and that leads nowhere. That a condition has one edge only is common and meant.
fn without_edge(node: &GraphNode, edges: &[&Edge], branches: &[String], own: &mut Vec<Finding>) {
    let is_named = |branch: &str| branch != "default" && branch != TIMEOUT;
    let names_them = matches!(&*node.node_type, "switch" | "human_approval");
    if !names_them || edges.is_empty() || edges.iter().any(|edge| edge.branch.is_none()) {
        return;
    }
    let missing: Vec<&str> = branches
        .iter()
        .map(String::as_str)
        .filter(|branch| is_named(branch))
        .filter(|branch| !labelled(edges).any(|(_, label)| label == *branch))
        .collect();
    if !missing.is_empty() {
        own.push(Finding::new(
            &rule::BRANCH_WITHOUT_EDGE,
            format!(
                "no edge has the label {}: where that is chosen, the path ends here",
                missing
                    .iter()
                    .map(|branch| format!("\"{branch}\""))
                    .collect::<Vec<_>>()
                    .join(" or ")
            ),
        ));
    }
}

fn no_effect(node: &GraphNode, edge: &Edge, label: &str, known: &str) -> Finding {
    let kind = &node.node_type;
    let mut message = format!(
        "the label \"{label}\" of the edge to \"{}\" has no effect on a {kind} node",
        edge.to
    );
    if label == TIMEOUT {
        // The engine keeps such edges for waits, whatever node they start at.
        message = format!(
            "the edge to \"{}\" has the label \"{TIMEOUT}\", which only a node that waits for somebody takes; a {kind} node \
             never does",
            edge.to
        );
    } else if known.is_empty() {
        message.push_str(": it takes all its edges");
        if ["error", "failure", "failed", "catch"].contains(&label.trim().to_lowercase().as_str()) {
            message
                .push_str("; to handle an error, put a try node before it and a catch behind it");
        }
    } else {
        message.push_str(&format!("; what it reads: {known}"));
    }
    Finding::new(&rule::LABEL_WITHOUT_EFFECT, message)
}
