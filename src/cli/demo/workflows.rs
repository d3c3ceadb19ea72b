//! The demo's workflows.

#![expect(
    clippy::needless_pass_by_value,
    reason = "builders whose arguments are written in place"
)]

use serde_json::{Value, json};

use crate::dev::loopback::Loopback;

/// A workflow and what it shows.
pub(super) struct Example {
    pub(super) name: &'static str,
    pub(super) shows: &'static str,
    pub(super) graph: Value,
    pub(super) input: Value,
}

fn node(id: &str, node_type: &str, config: Value) -> Value {
    json!({ "node_id": id, "node_type": node_type, "position_x": 0, "position_y": 0, "config": config })
}

fn edge(from: &str, to: &str) -> Value {
    json!({ "from": from, "to": to })
}

fn branch(from: &str, to: &str, branch: &str) -> Value {
    json!({ "from": from, "to": to, "branch": branch })
}

fn graph(nodes: &[Value], edges: &[Value]) -> Value {
    json!({ "nodes": nodes, "edges": edges })
}

fn get(id: &str, url: &str) -> Value {
    node(id, "http_request", json!({ "method": "GET", "url": url }))
}

/// A chain of five nodes, the one that the burst runs too.
pub(super) fn chain(server: &Loopback) -> Example {
    Example {
        name: "chain",
        shows: "trigger → variable → HTTP → variable → HTTP",
        graph: graph(
            &[
                node("trigger", "trigger", json!({ "trigger_type": "manual" })),
                node(
                    "remember",
                    "set_variable",
                    json!({ "variable_name": "customer", "variable_value": { "id": 7 } }),
                ),
                get("fetch", &server.url("/echo")),
                node(
                    "recall",
                    "get_variable",
                    json!({ "variable_name": "customer" }),
                ),
                node(
                    "store",
                    "http_request",
                    json!({ "method": "POST", "url": server.url("/echo"), "body": { "done": true } }),
                ),
            ],
            &[
                edge("trigger", "remember"),
                edge("remember", "fetch"),
                edge("fetch", "recall"),
                edge("recall", "store"),
            ],
        ),
        input: json!({ "trigger_type": "manual" }),
    }
}

/// All examples, in the order in which they run.
pub(super) fn all(server: &Loopback) -> Vec<Example> {
    let mut all = vec![chain(server)];
    all.extend(decisions(server));
    all.extend(in_time(server));
    all.push(failing());
    all
}

fn decisions(server: &Loopback) -> [Example; 2] {
    [
        Example {
            name: "decision",
            shows: "input.amount > 100 takes one branch of two",
            graph: graph(
                &[
                    node("trigger", "trigger", json!({})),
                    node(
                        "is_large",
                        "condition",
                        json!({ "expression": "input.amount > 100" }),
                    ),
                    get("review", &server.url("/echo")),
                    get("accept", &server.url("/echo")),
                ],
                &[
                    edge("trigger", "is_large"),
                    branch("is_large", "review", "true"),
                    branch("is_large", "accept", "false"),
                ],
            ),
            input: json!({ "amount": 250 }),
        },
        Example {
            name: "routing",
            shows: "switch on input.country, in Python style",
            graph: graph(
                &[
                    node("trigger", "trigger", json!({})),
                    node(
                        "route",
                        "switch",
                        json!({ "switch_expression": "country.lower()", "condition_type": "python",
                                "cases": { "domestic": "de", "abroad": "fr" } }),
                    ),
                    get("train", &server.url("/echo")),
                    get("plane", &server.url("/echo")),
                ],
                &[
                    edge("trigger", "route"),
                    branch("route", "train", "domestic"),
                    branch("route", "plane", "abroad"),
                ],
            ),
            input: json!({ "country": "FR" }),
        },
    ]
}

fn in_time(server: &Loopback) -> [Example; 3] {
    [
        Example {
            name: "fan-out",
            shows: "three calls of 150 ms side by side, then a join",
            graph: graph(
                &[
                    node("trigger", "trigger", json!({})),
                    get("a", &server.url("/slow?ms=150")),
                    get("b", &server.url("/slow?ms=150")),
                    get("c", &server.url("/slow?ms=150")),
                    node(
                        "join",
                        "set_variable",
                        json!({ "variable_name": "joined", "variable_value": true }),
                    ),
                ],
                &[
                    edge("trigger", "a"),
                    edge("trigger", "b"),
                    edge("trigger", "c"),
                    edge("a", "join"),
                    edge("b", "join"),
                    edge("c", "join"),
                ],
            ),
            input: json!({}),
        },
        Example {
            name: "delay",
            shows: "a delay of 1.5 s that holds no slot",
            graph: graph(
                &[
                    node("trigger", "trigger", json!({})),
                    node(
                        "wait",
                        "delay",
                        json!({ "delay_type": "seconds", "delay_seconds": 1.5 }),
                    ),
                    get("after", &server.url("/echo")),
                ],
                &[edge("trigger", "wait"), edge("wait", "after")],
            ),
            input: json!({}),
        },
        Example {
            name: "retry",
            shows: "a server that answers 503 first: tried again after 1 s, at the node that failed",
            graph: graph(
                &[
                    node("trigger", "trigger", json!({})),
                    get("flaky", &server.url("/flaky")),
                ],
                &[edge("trigger", "flaky")],
            ),
            input: json!({}),
        },
    ]
}

fn failing() -> Example {
    Example {
        name: "broken",
        shows: "a condition with a typing error fails with a message for its owner",
        graph: graph(
            &[
                node("trigger", "trigger", json!({})),
                node(
                    "oops",
                    "condition",
                    json!({ "expression": "input.amount >" }),
                ),
            ],
            &[edge("trigger", "oops")],
        ),
        input: json!({ "amount": 1 }),
    }
}
