//! Tells how the graph is read.

use super::control::texts;
use super::{Finding, View, listed, rule};
use crate::engine::{LoopReading, Reading, TryReading};
use crate::ids::NodeId;

pub(super) fn tell(view: &View<'_>, reading: &Reading, findings: &mut Vec<Finding>) {
    if let Some(entry) = &reading.entry {
        let finding = Finding::new(&rule::ENTRY, format!("executions start at \"{entry}\""));
        findings.push(finding.at(entry));
    }
    for node in view.nodes {
        if let Some(found) = reading.loops.iter().find(|found| found.node == node.id) {
            findings.push(Finding::new(&rule::LOOP, of_loop(found)).at(&node.id));
        }
        if let Some(found) = reading.tries.iter().find(|found| found.node == node.id) {
            findings.push(Finding::new(&rule::TRY, of_try(found)).at(&node.id));
        }
        if let Some((_, from)) = reading.joins.iter().find(|(id, _)| *id == node.id) {
            let message = format!("waits for all that can still come: {}", names(from));
            findings.push(Finding::new(&rule::JOIN, message).at(&node.id));
        }
    }
}

fn of_loop(found: &LoopReading) -> String {
    format!(
        "repeats: {}; then: {}",
        names(&found.body),
        names(&found.then)
    )
}

fn of_try(found: &TryReading) -> String {
    let mut text = format!("tries: {}", names(&found.body));
    if !found.catch_path.is_empty() {
        text.push_str(&format!("; on error: {}", names(&found.catch_path)));
    }
    if !found.finallies.is_empty() {
        text.push_str(&format!("; in any case: {}", names(&found.finallies)));
    }
    text.push_str(&format!("; then: {}", names(&found.then)));
    text
}

fn names(ids: &[NodeId]) -> String {
    match ids {
        [] => "nothing".to_owned(),
        ids => listed(&texts(ids)),
    }
}
