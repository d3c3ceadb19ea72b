//! Fan-outs: how many branches are waited for, what becomes of the others, and of the results.

use serde_json::{Value, json};

use super::{Stage, successes};
use crate::support::flow::{
    edge, get, graph, node, set, trigger, wait_for_completion, wait_for_end,
};
use crate::support::state::assert_api_can_read;
use crate::support::wait::{SOON, wait_until};

/// Three calls behind a trigger with this configuration, and a node that joins them.
fn fan_out(config: Value, urls: [&str; 3]) -> Value {
    let call = |id: &str, url: &str| {
        node(
            id,
            "http_request",
            json!({"method": "GET", "url": url, "retries": 0}),
        )
    };
    graph(
        vec![
            node("t", "trigger", config),
            call("a", urls[0]),
            call("b", urls[1]),
            call("c", urls[2]),
            set("end", "end", json!(1)),
        ],
        vec![
            edge("t", "a"),
            edge("t", "b"),
            edge("t", "c"),
            edge("a", "end"),
            edge("b", "end"),
            edge("c", "end"),
        ],
    )
}

async fn wait_for_cut(stage: &Stage, key: &str) {
    wait_until(&format!("{key} to be cut"), SOON, async || {
        match stage.hits.cut(key) {
            1 => Ok(()),
            cut => Err(cut),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_takes_the_first_and_cancels_the_others() {
    let stage = Stage::new().await;
    let graph = fan_out(
        json!({"parallel_wait_mode": "any", "parallel_aggregation": "first"}),
        [
            &stage.hits.url("/slow?ms=60000&n=1"),
            &stage.hits.url("/quick?ms=100"),
            &stage.hits.url("/slow?ms=60000&n=2"),
        ],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    wait_for_cut(&stage, "/slow?ms=60000&n=1").await;
    wait_for_cut(&stage, "/slow?ms=60000&n=2").await;
    let count = |node: &'static str| successes(&stage.client, node);
    assert_eq!(
        (count("a").await, count("b").await, count("c").await),
        (0, 1, 0)
    );
    assert_eq!(count("end").await, 1);
    assert_eq!(row.state["completed_node_ids"], json!(["t", "b", "end"]));
    assert_eq!(
        row.state["execution_data"]["t_parallel_result"]["json"]["path"],
        "/quick"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n_of_m_waits_for_so_many_and_can_spare_a_failure() {
    let stage = Stage::new().await;
    let graph = fan_out(
        json!({"parallel_wait_mode": "n_of_m", "parallel_wait_n": 1, "parallel_aggregation": "array"}),
        [
            &stage.hits.url("/status/500/x"),
            &stage.hits.url("/quick?ms=300"),
            &stage.hits.url("/slow?ms=60000"),
        ],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    wait_for_cut(&stage, "/slow?ms=60000").await;
    let result = row.state["execution_data"]["t_parallel_result"]
        .as_array()
        .unwrap();
    assert_eq!(result.len(), 1);
    assert_eq!(result[0]["json"]["path"], "/quick");

    // Two of three cannot be had any more when two have failed.
    let graph = fan_out(
        json!({"parallel_wait_mode": "n_of_m", "parallel_wait_n": 2}),
        [
            &stage.hits.url("/status/500/y"),
            &stage.hits.url("/status/500/z?ms=50"),
            &stage.hits.url("/late?ms=60000"),
        ],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.status, "failed");
    assert_eq!(
        row.error_message.as_deref(),
        Some("Node b failed: HTTP 500: Internal Server Error")
    );
    wait_for_cut(&stage, "/late?ms=60000").await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_come_together_as_the_node_says() {
    let stage = Stage::new().await;
    // The later the letter, the earlier it ends.
    let urls = [
        stage.hits.url("/a?ms=300"),
        stage.hits.url("/b?ms=150"),
        stage.hits.url("/c"),
    ];
    let urls = [urls[0].as_str(), &urls[1], &urls[2]];
    for (aggregation, expected) in [
        ("array", vec!["/a", "/b", "/c"]),
        ("first", vec!["/c"]),
        ("last", vec!["/a"]),
        ("merge", vec!["/c"]),
    ] {
        let execution = stage
            .run(&fan_out(json!({"parallel_aggregation": aggregation}), urls))
            .await;
        let row = wait_for_completion(&stage.client, execution).await;
        let result = &row.state["execution_data"]["t_parallel_result"];
        let paths: Vec<&str> = match result {
            Value::Array(results) => results
                .iter()
                .map(|one| one["json"]["path"].as_str().unwrap())
                .collect(),
            one => vec![one["json"]["path"].as_str().unwrap()],
        };
        assert_eq!(paths, expected, "{aggregation}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_by_one_they_run_in_the_order_of_their_edges() {
    let stage = Stage::new().await;
    let urls = [
        stage.hits.url("/a?ms=100"),
        stage.hits.url("/b?ms=50"),
        stage.hits.url("/c"),
    ];
    let urls = [urls[0].as_str(), &urls[1], &urls[2]];
    let execution = stage.run(&fan_out(json!({"sequential": true}), urls)).await;
    wait_for_completion(&stage.client, execution).await;
    let keys: Vec<String> = stage.hits.all().into_iter().map(|hit| hit.key).collect();
    assert_eq!(keys, ["/a?ms=100", "/b?ms=50", "/c"]);
    let overlapping = "SELECT count(*) FROM workflow_worker.steps AS one JOIN workflow_worker.steps AS other
                       USING (execution_id) WHERE one.node_type = 'http_request' AND other.node_type = 'http_request'
                       AND one.seq < other.seq AND other.started_at < one.finished_at";
    assert_eq!(
        crate::support::flow::count(&stage.client, overlapping).await,
        0
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_loses_is_withdrawn() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            node("t", "trigger", json!({"parallel_wait_mode": "any"})),
            node("ap", "human_approval", json!({})),
            get("h", &stage.hits.url("/h?ms=300")),
            set("end", "end", json!(1)),
        ],
        vec![
            edge("t", "ap"),
            edge("t", "h"),
            edge("ap", "end"),
            edge("h", "end"),
        ],
    );
    let execution = stage.run(&graph).await;
    wait_for_completion(&stage.client, execution).await;
    assert!(
        stage.request(execution).await.is_processed,
        "it is asked no more"
    );
    assert_eq!(successes(&stage.client, "ap").await, 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_loses_is_ended() {
    let stage = Stage::new().await;
    let child = crate::support::flow::insert_workflow(
        &stage.client,
        &crate::support::flow::chain(vec![
            trigger(),
            get("long", &stage.hits.url("/long?ms=60000")),
        ]),
    )
    .await;
    let graph = graph(
        vec![
            node("t", "trigger", json!({"parallel_wait_mode": "any"})),
            super::sub_workflow::start("s", child, json!({})),
            get("h", &stage.hits.url("/h?ms=700")),
            set("end", "end", json!(1)),
        ],
        vec![
            edge("t", "s"),
            edge("t", "h"),
            edge("s", "end"),
            edge("h", "end"),
        ],
    );
    let execution = stage.run(&graph).await;
    wait_for_completion(&stage.client, execution).await;
    let child = super::sub_workflow::child_of(&stage.client, child).await;
    let row = wait_for_end(&stage.client, child).await;
    assert_eq!(row.status, "failed");
    let message = row.error_message.unwrap();
    assert!(
        message.starts_with("Execution terminated: No longer needed by execution exec-"),
        "{message}"
    );
    wait_for_cut(&stage, "/long?ms=60000").await;
    stage.stop().await;
}
