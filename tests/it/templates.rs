//! Templates in configurations, and nodes that compute with the data: from a row to the request that goes out.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    HostRow, chain, edge, get, graph, insert_with, insert_workflow, node, trigger,
    wait_for_completion, wait_for_end,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};

async fn run(client: &Client, graph: &Value, data: &Value) -> HostRow {
    let workflow = insert_workflow(client, graph).await;
    let execution = insert_with(client, workflow, data).await;
    wait_for_end(client, execution).await
}

fn post(url: &str, mut config: Value) -> Value {
    config["method"] = "POST".into();
    config["url"] = url.into();
    node("http_request-17", "http_request", config)
}

#[tokio::test(flavor = "multi_thread")]
async fn url_headers_and_body_are_filled_before_the_call() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let call = post(
        &hits.url("/users/{{ user.id }}?q={{ encodeURIComponent(user.name) }}"),
        json!({
            "headers": { "X-Name": "${user.name}", "Authorization": "Bearer {{ token ?? 'none' }}" },
            "body": {
                "id": "{{ user.id }}", "tags": "{{ user.tags }}", "text": "{{ user.id }}: {{ user.name }}",
                "double": "{{ user.id * 2 }}", "missing": "{{ gone ?? null }}", "braces": "\\{{ user.id }}"
            }
        }),
    );
    let after = node(
        "after",
        "set_variable",
        json!({ "variable_name": "id", "variable_value": "{{ http_request-17.output.json.body }}" }),
    );
    let graph = chain(vec![trigger(), call, after]);
    let data =
        json!({ "user": { "id": 7, "name": "Ann \"B\" & Ö", "tags": ["x", { "y": null }] } });
    let row = run(&client, &graph, &data).await;
    assert_eq!(row.status, "completed", "{:?}", row.error_message);

    let hit = hits.all().pop().unwrap();
    assert_eq!(hit.key, "/users/7?q=Ann%20%22B%22%20%26%20%C3%96");
    assert_eq!(hit.headers["authorization"], "Bearer none");
    assert_eq!(hit.headers["x-name"], "Ann \"B\" & Ö");
    let body = json!({
        "id": 7, "tags": ["x", { "y": null }], "text": "7: Ann \"B\" & Ö", "double": 14, "missing": null,
        "braces": "{{ user.id }}"
    });
    assert_eq!(hit.body, body);
    assert_eq!(
        row.output("after")["value"],
        body,
        "the answer is read by the node's own id, with its types"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_cannot_break_out_of_the_place_that_it_fills() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let evil = "\", \"admin\": true, \"x\": \"{{ secret }} ${secret}";
    let data = json!({ "evil": evil, "secret": "s3cret", "split": "a\r\nX-Admin: 1" });
    let call = post(
        &hits.url("/evil?q={{ encodeURIComponent(evil) }}"),
        json!({ "body": { "name": "{{ evil }}", "both": "<{{ evil }}>" } }),
    );
    let row = run(&client, &chain(vec![trigger(), call]), &data).await;
    assert_eq!(row.status, "completed", "{:?}", row.error_message);
    let hit = hits.all().pop().unwrap();
    assert_eq!(
        hit.body,
        json!({ "name": evil, "both": format!("<{evil}>") })
    );
    assert!(!hit.key.contains("s3cret"), "{}", hit.key);

    let before = hits.all().len();
    let call = post(
        &hits.url("/split"),
        json!({ "headers": { "X-Name": "{{ split }}" } }),
    );
    let row = run(&client, &chain(vec![trigger(), call]), &data).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some(
            "Node http_request-17 failed: headers.X-Name has a character that a header cannot hold, such as a line break"
        )
    );
    assert_eq!(hits.all().len(), before, "nothing was sent");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_value_fails_the_node_at_once_and_is_named() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let call = post(
        &hits.url("/"),
        json!({ "body": { "to": ["{{ input.user.email }}"] } }),
    );
    let graph = chain(vec![trigger(), call]);
    let row = run(&client, &graph, &json!({ "user": { "name": "Ann" } })).await;
    assert_eq!(row.status, "failed");
    assert_eq!(row.retry_count, 0);
    assert_eq!(
        row.error_message.as_deref(),
        Some(
            "Node http_request-17 failed: body.to[0]: {{ input.user.email }} names no value: input.user has no \
             \"email\"; there is \"name\""
        )
    );
    assert!(hits.all().is_empty());
    worker.stop().await;
}

/// Three calls at once, whose answers are merged, mapped, filtered and reduced.
fn fan_out(hits: &Hits) -> Value {
    let paths = ["/p0", "/p1", "/p2"];
    let mut nodes = vec![trigger()];
    nodes.extend(paths.map(|path| get(path.trim_start_matches('/'), &hits.url(path))));
    nodes.extend([
        node(
            "join",
            "merge",
            json!({ "merge_strategy": "array", "input_sources": ["p0", "p1", "p2"] }),
        ),
        node(
            "map",
            "map",
            json!({ "input_array": "join.result", "map_expression": "item => item.json.path" }),
        ),
        node(
            "keep",
            "filter",
            json!({
                "input_array": "map.output.result", "filter_condition": "item != '/p1' and len(items) == 3",
                "condition_type": "python"
            }),
        ),
        node(
            "sum",
            "reduce",
            json!({
                "input_array": "{{ keep.output.result }}", "reduce_function": "lambda acc, item: acc + item",
                "initial_value": "\"\"", "condition_type": "python"
            }),
        ),
    ]);
    let edges = ["p0", "p1", "p2"]
        .iter()
        .flat_map(|id| [edge("t", id), edge(id, "join")])
        .chain([
            edge("join", "map"),
            edge("map", "keep"),
            edge("keep", "sum"),
        ])
        .collect();
    graph(nodes, edges)
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_of_a_fan_out_are_merged_and_computed_with_in_each_language() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let workflow = insert_workflow(&client, &fan_out(&hits)).await;
    let execution = insert_with(&client, workflow, &json!({})).await;
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(row.output("join")["sources"], 3);
    assert_eq!(row.output("map")["result"], json!(["/p0", "/p1", "/p2"]));
    assert_eq!(
        row.output("keep"),
        &json!({ "result": ["/p0", "/p2"], "count": 2, "total": 3 })
    );
    assert_eq!(
        row.output("sum"),
        &json!({ "result": "/p0/p2", "count": 2 })
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_evaluates_python_says_which_item_it_could_not() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let bad = node(
        "bad",
        "map",
        json!({
            "input_array": [{ "a": 1 }, {}], "map_expression": "item.a + 1", "condition_type": "python"
        }),
    );
    let row = run(&client, &chain(vec![trigger(), bad]), &json!({})).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some(
            "Node bad failed: map_expression \"item.a + 1\": at item 1, {}: AttributeError: 'dict' object has no \
             attribute 'a' (at column 1)"
        )
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_transforms_give_what_they_say() {
    let documentation = include_str!("../../docs/nodes.md");
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    for (title, node, result) in [
        ("`map`, `filter`, `reduce`", "sum", json!(506)),
        ("`map`, `filter`, `reduce`", "large", json!([500])),
        (
            "`merge`",
            "both",
            json!({ "size": "large", "by": { "air": 1, "sea": 2 } }),
        ),
        ("`split`", "parts", json!([[1, 2], [3, 4], [5]])),
    ] {
        let (_, section) = documentation
            .split_once(&format!("## {title}\n"))
            .expect(title);
        let (_, example) = section.split_once("```json").expect(title);
        let (example, _) = example.split_once("```").expect(title);
        let graph: Value = serde_json::from_str(example).expect(title);
        let row = run(&client, &graph, &json!({ "amount": 250, "country": "FR" })).await;
        assert_eq!(row.status, "completed", "{title}: {:?}", row.error_message);
        assert_eq!(row.output(node)["result"], result, "{title}");
    }
    worker.stop().await;
}
