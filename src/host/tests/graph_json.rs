//! The forms in which workflows are stored, and what is said of those that are wrong.

use serde_json::{Value, json};

use crate::engine::Graph;
use crate::host::graph_json::{NodeRow, parse};

/// Nodes as `id:type`, edges as `from>to` or `from>to:branch`, the entry in front.
fn outline(graph: &Graph) -> String {
    let entry = graph.entry().map_or("-", |node| node.id.as_str());
    let nodes = graph
        .nodes()
        .iter()
        .map(|node| format!("{}:{}", node.id, node.node_type));
    let edges = graph.nodes().iter().flat_map(|node| {
        graph.edges_from(&node.id).map(|(to, branch)| match branch {
            Some(branch) => format!("{}>{to}:{branch}", node.id),
            None => format!("{}>{to}", node.id),
        })
    });
    [format!("[{entry}]")]
        .into_iter()
        .chain(nodes)
        .chain(edges)
        .collect::<Vec<_>>()
        .join(" ")
}

fn read(config: &Value) -> String {
    outline(&parse(&config.to_string(), &[]).unwrap())
}

fn complaint(config: &Value) -> String {
    parse(&config.to_string(), &[]).unwrap_err().to_string()
}

fn config_of(config: &Value, id: &str) -> Value {
    Value::Object(
        (*parse(&config.to_string(), &[])
            .unwrap()
            .node(&id.into())
            .unwrap()
            .config)
            .clone(),
    )
}

#[test]
fn what_the_builder_saves_is_read() {
    let config = json!({
        "nodes": [
            {"node_id": "trigger-1", "node_type": "trigger", "position_x": 640.5, "position_y": 360,
             "config": {"trigger_type": "schedule", "cron_expression": "0 0 * * *"}},
            {"node_id": "http_request-2", "node_type": "http_request", "position_x": 640.5, "position_y": 480,
             "config": {"url": "https://example.com", "method": "POST"}}],
        "edges": [{"from": "trigger-1", "to": "http_request-2"}],
        "entry_node_id": "trigger-1"});
    assert_eq!(
        read(&config),
        "[trigger-1] trigger-1:trigger http_request-2:http_request trigger-1>http_request-2"
    );
    assert_eq!(
        config_of(&config, "http_request-2"),
        json!({"url": "https://example.com", "method": "POST"})
    );
}

#[test]
fn what_the_documents_show_is_read() {
    let config = json!({
        "nodes": [
            {"id": "a", "type": "trigger", "data": {"label": "Start"}},
            {"id": "b", "type": "custom", "data": {"node_type": "condition", "config": {"expression": "x > 1"}}},
            {"id": "c", "type": "http_request", "data": {"label": "Call", "url": "https://example.com"}},
            {"id": "d", "type": "map", "config": {"k": 1}}],
        "edges": [
            {"source": "a", "target": "b"},
            {"source": "b", "target": "c", "sourceHandle": "true", "label": "yes"},
            {"source": "b", "target": "d", "label": "false"}]});
    assert_eq!(
        read(&config),
        "[a] a:trigger b:condition c:http_request d:map a>b b>c:true b>d:false"
    );
    assert_eq!(config_of(&config, "b"), json!({"expression": "x > 1"}));
    assert_eq!(
        config_of(&config, "c"),
        json!({"url": "https://example.com"})
    );
    assert_eq!(config_of(&config, "d"), json!({"k": 1}));
}

#[test]
fn a_map_of_nodes_is_read_with_its_next() {
    let config = json!({
        "nodes": {
            "a": {"node_type": "trigger", "next": "b"},
            "b": {"node_type": "http_request", "url": "https://example.com", "next": ["c", "d"]},
            "c": {"node_type": "map", "config": {"k": 1}, "parallel": true, "next": null},
            "d": {"type": "delay", "delay_seconds": 2, "next": []}},
        "edges": [{"from": "c", "to": "d", "branch": "x"}]});
    assert_eq!(
        read(&config),
        "[a] a:trigger b:http_request c:map d:delay a>b b>c b>d c>d:x"
    );
    assert_eq!(
        config_of(&config, "b"),
        json!({"url": "https://example.com"})
    );
    assert_eq!(config_of(&config, "c"), json!({"k": 1}));
    assert_eq!(config_of(&config, "d"), json!({"delay_seconds": 2}));
}

#[test]
fn rows_stand_in_where_the_config_has_no_nodes() {
    let row = |id: &str, config: Option<&str>| NodeRow {
        node_id: id.to_owned(),
        node_type: "map".to_owned(),
        config: config.map(str::to_owned),
    };
    let rows = [
        row("a", Some(r#"{"k":1}"#)),
        row("b", Some("null")),
        row("c", None),
    ];
    let graph = parse(r#"{"edges":[{"from":"a","to":"b"}]}"#, &rows).unwrap();
    assert_eq!(outline(&graph), "[a] a:map b:map c:map a>b");
    assert_eq!(
        *graph.nodes()[0].config,
        json!({"k": 1}).as_object().cloned().unwrap()
    );
    assert_eq!(
        outline(&parse("null", &rows).unwrap()),
        "[a] a:map b:map c:map"
    );
    assert_eq!(
        outline(&parse(r#"{"nodes":[{"node_id":"x","node_type":"map"}]}"#, &rows).unwrap()),
        "[x] x:map"
    );
    let error = parse("{}", &[row("a", Some("[1]"))])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        r#"workflownode row "a": "config" must be an object, found an array"#
    );
}

#[test]
fn nothing_is_a_workflow_without_nodes() {
    for text in [
        "null",
        "{}",
        r#"{"nodes":[]}"#,
        r#"{"nodes":null,"edges":null}"#,
        r#"{"nodes":{}}"#,
    ] {
        assert_eq!(outline(&parse(text, &[]).unwrap()), "[-]");
    }
}

#[test]
fn ids_may_be_numbers_and_labels_plain_values() {
    let config = json!({
        "nodes": [{"node_id": 1, "node_type": "map"}, {"node_id": "2", "node_type": "map", "config": null}],
        "edges": [
            {"from": 1, "to": "2", "condition": true},
            {"from": "1", "to": 2, "branch": 7},
            {"from": 1, "to": 2, "condition": null, "branch": ""}],
        "entry_node_id": 2});
    assert_eq!(read(&config), "[2] 1:map 2:map 1>2:true 1>2:7 1>2");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let nodes = |wrong: Value| json!({"nodes": [{"node_id": "a", "node_type": "map"}, wrong]});
    for (config, expected) in [
        (json!([1]), "graph_config must be an object, found an array"),
        (json!("x"), "graph_config must be an object, found text"),
        (
            json!({"nodes": 3}),
            "\"nodes\" must be a list or an object, found a number",
        ),
        (
            json!({"edges": {}}),
            "\"edges\" must be a list, found an object",
        ),
        (
            nodes(json!("x")),
            "node 2 must be an object, found text \"x\"",
        ),
        (nodes(json!({"node_type": "map"})), "node 2 has no node_id"),
        (
            nodes(json!({"node_id": true})),
            "node 2: \"node_id\" must be text, found true",
        ),
        (
            nodes(json!({"node_id": ""})),
            "node 2: \"node_id\" is empty",
        ),
        (
            nodes(json!({"node_id": "b\0"})),
            "node 2: \"node_id\" contains the character NUL (\\u0000)",
        ),
        (
            nodes(json!({"node_id": "b"})),
            "node 2 (\"b\") has no node_type",
        ),
        (
            nodes(json!({"node_id": "b", "node_type": 5})),
            "node 2 (\"b\"): \"node_type\" must be text, found number 5",
        ),
        (
            nodes(json!({"node_id": "b", "node_type": "map", "config": []})),
            "node 2 (\"b\"): \"config\" must be an object, found an array",
        ),
        (
            nodes(json!({"node_id": "a", "node_type": "map"})),
            "nodes 1 and 2 both have the id \"a\"; each node needs an id of its own",
        ),
        (
            json!({"nodes": {"a": {"next": "b"}}}),
            "node \"a\" has no node_type",
        ),
        (
            json!({"nodes": {"a": {"node_type": "map", "next": [null]}}}),
            "node \"a\": \"next\" must be text, found null",
        ),
    ] {
        assert_eq!(complaint(&config), expected);
    }
}

#[test]
fn a_wrong_edge_is_said_with_its_place() {
    let edges = |wrong: Value| json!({"nodes": [{"node_id": "a", "node_type": "map"}], "edges": [{"from": "a", "to": "a"}, wrong]});
    for (config, expected) in [
        (edges(json!({"to": "a"})), "edge 2 has no \"from\""),
        (
            edges(json!({"from": "a", "to": [5]})),
            "edge 2: \"to\" must be text, found an array",
        ),
        (
            edges(json!({"from": "a", "to": "a", "branch": {}})),
            "edge 2: \"branch\" must be text, found an object",
        ),
        (
            edges(json!({"from": "a", "to": "ghost"})),
            "edge 2 from node \"a\" points to node \"ghost\", which does not exist",
        ),
    ] {
        assert_eq!(complaint(&config), expected);
    }
}

#[test]
fn json_that_nothing_can_hold_is_an_error() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for text in ["", "{", r#"{"a":1e999}"#, r#"{"a":"\ud800"}"#, &deep] {
        let error = parse(text, &[]).unwrap_err().to_string();
        assert!(
            error.starts_with("graph_config cannot be read: "),
            "{error}"
        );
    }
}
