//! What is a graph, where it starts, and that a big one is no trouble.

use std::sync::Arc;

use super::script::{Script, Wanted, edge, graph, node, run};
use crate::engine::{BadGraph, Edge, Graph, GraphNode, Origin};

fn built(nodes: &[(&str, &str)], edges: &[&str], hint: Option<&str>) -> Result<Graph, BadGraph> {
    let nodes = nodes
        .iter()
        .map(|(id, node_type)| node(id, node_type))
        .collect();
    Graph::new(
        nodes,
        edges.iter().map(|text| edge(text)).collect(),
        hint.map(Into::into).as_ref(),
    )
}

fn entry(nodes: &[(&str, &str)], edges: &[&str], hint: Option<&str>) -> String {
    built(nodes, edges, hint)
        .unwrap()
        .entry()
        .unwrap()
        .id
        .to_string()
}

fn complaint(nodes: &[(&str, &str)], edges: &[&str]) -> String {
    built(nodes, edges, None).unwrap_err().to_string()
}

#[test]
fn the_entry_is_the_hint_else_a_trigger_else_a_source_else_the_first() {
    let nodes = [("a", "map"), ("b", "map"), ("t", "trigger")];
    assert_eq!(entry(&nodes, &["b>a"], Some("a")), "a");
    assert_eq!(entry(&nodes, &["b>a"], Some("gone")), "t");
    assert_eq!(entry(&nodes[..2], &["b>a"], None), "b");
    assert_eq!(
        entry(&[("a", "loop"), ("b", "map")], &["a>b", "b>a"], None),
        "a"
    );
}

#[test]
fn an_edge_to_or_from_nowhere_is_refused_by_name() {
    let nodes = [("t", "trigger"), ("a", "map")];
    assert_eq!(
        complaint(&nodes, &["t>a", "t>ghost"]),
        r#"edge 2 from node "t" points to node "ghost", which does not exist"#
    );
    assert_eq!(
        complaint(&nodes, &["ghost>t"]),
        r#"edge 1 to node "t" starts at node "ghost", which does not exist"#
    );
}

#[test]
fn two_nodes_with_one_id_are_refused() {
    assert_eq!(
        complaint(&[("a", "map"), ("b", "map"), ("a", "map")], &[]),
        r#"nodes 1 and 3 both have the id "a"; each node needs an id of its own"#
    );
}

#[test]
fn a_cycle_without_a_loop_node_is_refused_by_name() {
    let nodes = [("t", "trigger"), ("a", "map"), ("b", "map")];
    assert_eq!(
        complaint(&nodes, &["t>a", "a>b", "b>a"]),
        "cycle without a loop node: a → b → a"
    );
    assert_eq!(
        complaint(&nodes, &["t>a", "b>b"]),
        "cycle without a loop node: b → b"
    );
    // The loop node is beside the cycle, not on it.
    let nodes = [("l", "while"), ("a", "map"), ("b", "map")];
    assert_eq!(
        complaint(&nodes, &["l>a", "a>l", "a>b", "b>a"]),
        "cycle without a loop node: a → b → a"
    );
    assert!(built(&nodes, &["l>a", "a>b", "b>l"], None).is_ok());
}

#[test]
fn a_long_cycle_is_shown_by_its_ends() {
    let nodes: Vec<GraphNode> = (0..100).map(|n| node(&n.to_string(), "map")).collect();
    let edges = (0..100)
        .map(|n| edge(&format!("{n}>{}", (n + 1) % 100)))
        .collect();
    let message = Graph::new(nodes, edges, None).unwrap_err().to_string();
    assert!(
        message.ends_with("5 → 6 → 7 → … → 92 → 93 → 94 → 95 → 96 → 97 → 98 → 99 → 0"),
        "{message}"
    );
}

#[test]
fn the_same_edge_twice_is_one_edge() {
    let graph = graph("a>b a>b a>b:x");
    let edges: Vec<_> = graph
        .edges_from(&"a".into())
        .map(|(to, branch)| (to.as_str(), branch))
        .collect();
    assert_eq!(edges, [("b", None), ("b", Some("x"))]);
}

/// Runs all there is, always answering the token that was asked for last.
fn run_all(graph: Graph) -> usize {
    let mut script = Script::on(Arc::new(graph), None, &Origin::default()).start();
    let mut open = Vec::new();
    loop {
        while let Some(command) = script.machine.next_command() {
            match command {
                crate::engine::Command::RunNode { token, .. } => open.push(token),
                crate::engine::Command::Complete => return script.steps.len(),
                crate::engine::Command::Fail { message, .. } => panic!("{message}"),
            }
        }
        let token = open.pop().unwrap();
        let result = crate::engine::NodeResult::Success {
            output: serde_json::Map::new(),
            branch: None,
        };
        let started_at = script.now;
        script = script.happens(crate::engine::Event::NodeFinished {
            token,
            result,
            started_at,
        });
    }
}

fn big(edges: impl IntoIterator<Item = (usize, usize)>) -> Graph {
    const NODES: usize = 10_002;
    let id = |n: usize| n.to_string().as_str().into();
    let edges = edges
        .into_iter()
        .map(|(from, to)| Edge {
            from: id(from),
            to: id(to),
            branch: None,
        })
        .collect();
    Graph::new(
        (0..NODES).map(|n| node(&n.to_string(), "map")).collect(),
        edges,
        None,
    )
    .unwrap()
}

#[test]
fn a_chain_of_ten_thousand_nodes_runs_to_its_end() {
    assert_eq!(run_all(big((0..10_001).map(|n| (n, n + 1)))), 10_002);
}

#[test]
fn ten_thousand_branches_join() {
    assert_eq!(
        run_all(big((1..10_001).flat_map(|n| [(0, n), (n, 10_001)]))),
        10_002
    );
}

#[test]
fn five_thousand_joins_wait_side_by_side() {
    // 0 → 1..=5000 → 5001..=10000, each second node a join of two neighbours.
    let edges = (1..=5_000).flat_map(|n| [(0, n), (n, n + 5_000), (n, n % 5_000 + 5_001)]);
    assert_eq!(run_all(big(edges.chain([(0, 10_001)]))), 10_002);
}

#[test]
fn a_start_node_with_incoming_edges_runs_at_once() {
    let graph = built(
        &[("a", "map"), ("b", "map"), ("c", "map")],
        &["a>c", "b>c"],
        Some("c"),
    )
    .unwrap();
    Script::on(Arc::new(graph), None, &Origin::default())
        .start()
        .expects([run("c")])
        .finishes("c")
        .expects([Wanted::Complete]);
}

#[test]
fn what_runs_again_from_a_node_is_what_may_follow_it() {
    let graph = graph("t>a t>b a>j b>j j>loop loop>in:body in>loop loop>z:done");
    let again = |from: &str| {
        let mut ids: Vec<String> = graph
            .from_on(&from.into())
            .into_iter()
            .map(|id| id.to_string())
            .collect();
        ids.sort_unstable();
        ids.join(" ")
    };
    assert_eq!(again("a"), "a in j loop z");
    assert_eq!(again("loop"), "in loop z");
    assert_eq!(again("z"), "z");
    assert_eq!(again("ghost"), "");
}

#[test]
fn nothing_begins_inside_a_loop_or_a_try() {
    let graph = graph(
        "t>loop loop>in:body in>loop loop>try:done try>x x>catch catch>y y>finally finally>z",
    );
    for (node, expected) in [
        ("t", None),
        ("loop", None),
        ("in", Some("loop")),
        ("try", None),
        ("x", Some("try")),
        ("catch", Some("try")),
        ("y", Some("try")),
        ("finally", Some("try")),
        ("ghost", None),
    ] {
        let holder = graph.holder_of(&node.into());
        let holder = holder.map(|holder| holder.id.as_str());
        assert_eq!(holder, expected, "{node}");
    }
}
