//! What the pure engine allocates per node and per round, counted exactly. A test binary of its own, because the counter
//! replaces the allocator of its process.
//!
//! Counts of one thread do not depend on time or load. They do depend on the standard library's containers, so there is
//! slack. A figure that gets worse by more fails; one that gets better by more asks for a lower budget.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set itself up has failed"
)]

use std::sync::Arc;

use serde_json::{Map, json};
use workflow_worker::engine::{
    Bounds, Command, Edge, Event, Graph, GraphNode, History, Machine, NodeResult, Origin, Rounds,
};
use workflow_worker::ids::Timestamp;
use workflow_worker::retry::RetryPolicy;

/// Allocations per node in a chain, as measured; among them those of the output, which the test makes.
const PER_NODE: f64 = 9.0;
/// The same per round of a loop with one node in its body.
const PER_ROUND: f64 = 31.1;
/// By so much a figure may differ from its budget.
const SLACK: f64 = 0.15;
const LENGTH: u32 = 1_000;

fn node(id: &str, node_type: &str) -> GraphNode {
    GraphNode {
        id: id.into(),
        node_type: node_type.into(),
        config: Arc::default(),
    }
}

fn edge(from: &str, to: &str, branch: Option<&str>) -> Edge {
    Edge {
        from: from.into(),
        to: to.into(),
        branch: branch.map(Into::into),
    }
}

fn machine(graph: &Arc<Graph>) -> Machine {
    let rules = (RetryPolicy::default(), Bounds::default());
    let (origin, history) = (Origin::default(), History::default());
    Machine::restore(Arc::clone(graph), None, &origin, &history, rules).unwrap()
}

/// Runs to the end; each node succeeds at once. Returns the number of steps.
fn run(machine: &mut Machine) -> usize {
    let now = Timestamp::UNIX_EPOCH;
    let mut steps = machine.apply(Event::Start, now).unwrap().len();
    loop {
        match machine.next_command().unwrap() {
            Command::RunNode { token, node, .. } => {
                let result = if node.as_str() == "loop" {
                    NodeResult::Iterate(Rounds::Times(LENGTH))
                } else {
                    NodeResult::Success {
                        output: Map::from_iter([("value".to_owned(), json!(1))]),
                        branch: None,
                    }
                };
                let event = Event::NodeFinished {
                    token,
                    result,
                    started_at: now,
                };
                steps += machine.apply(event, now).unwrap().len();
            }
            Command::Complete => return steps,
            Command::Fail { message, .. } => panic!("{message}"),
        }
    }
}

/// Allocations of a run, per node or round, after one that has filled what the graph fills on demand.
fn allocations(graph: Graph, wanted_steps: usize) -> f64 {
    let graph = Arc::new(graph);
    assert_eq!(run(&mut machine(&graph)), wanted_steps);
    let mut counted = machine(&graph);
    let found = allocation_counter::measure(|| {
        run(&mut counted);
    });
    f64::from(u32::try_from(found.count_total).unwrap()) / f64::from(LENGTH)
}

fn check(what: &str, found: f64, budget: f64) {
    assert!(
        found <= budget * (1.0 + SLACK),
        "{what}: {found:.2} allocations; the budget is {budget:.2}, and {:.0} % more may be",
        SLACK * 100.0
    );
    assert!(
        found >= budget * (1.0 - SLACK),
        "{what}: {found:.2} allocations, far below the budget of {budget:.2}: lower the budget in {}",
        file!()
    );
}

#[test]
fn a_node_in_a_chain_allocates_no_more_than_its_budget() {
    let names: Vec<String> = (1..=LENGTH).map(|number| format!("n{number}")).collect();
    let edges = names
        .iter()
        .zip(names.iter().skip(1))
        .map(|(from, to)| edge(from, to, None))
        .collect();
    let nodes = names.iter().map(|name| node(name, "map")).collect();
    let graph = Graph::new(nodes, edges, None).unwrap();
    check(
        "a node in a chain",
        allocations(graph, usize::try_from(LENGTH).unwrap()),
        PER_NODE,
    );
}

#[test]
fn a_round_of_a_loop_allocates_no_more_than_its_budget() {
    let nodes = vec![node("loop", "loop"), node("body", "map")];
    let graph = Graph::new(nodes, vec![edge("loop", "body", Some("body"))], None).unwrap();
    // The bodies, and the loop when it ends; its beginning is a step only where there are items to keep.
    let steps = usize::try_from(LENGTH).unwrap() + 1;
    check("a round of a loop", allocations(graph, steps), PER_ROUND);
}
