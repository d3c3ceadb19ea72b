//! Rows recorded from the Python worker for workflows that it did not run as their authors meant: ours does.

use serde_json::{Value, json};

use super::{Stage, successes};
use crate::support::flow::{HostRow, insert_with, insert_workflow, log, wait_for_completion};
use crate::support::state::assert_api_can_read;

/// The server that the recorded workflows called.
const RECORDED_SERVER: &str = "http://127.0.0.1:37067";

/// The recorded graph, with the server's address and the configuration of nodes that its author left empty put right.
fn graph_of(text: &str, stage: &Stage, fixes: &[(&str, Value)]) -> Value {
    let case: Value =
        serde_json::from_str(&text.replace(RECORDED_SERVER, &stage.hits.url(""))).unwrap();
    let mut graph = case["graph_config"][0].clone();
    for node in graph["nodes"].as_array_mut().unwrap() {
        if let Some((_, config)) = fixes.iter().find(|(id, _)| node["node_id"] == *id) {
            node["config"] = config.clone();
        }
    }
    graph
}

fn messages(lines: &[(String, String, String)]) -> Vec<&str> {
    lines.iter().map(|(.., message)| message.as_str()).collect()
}

async fn completed(stage: &Stage, graph: &Value, data: &Value) -> (uuid::Uuid, HostRow) {
    let workflow = insert_workflow(&stage.client, graph).await;
    let execution = insert_with(&stage.client, workflow, data).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    (execution, row)
}

fn map() -> Value {
    json!({"input_array": [1, 2], "map_expression": "item * 2"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_three_loops_three_times() {
    let stage = Stage::new().await;
    let graph = graph_of(
        include_str!("../../cases/13_loop_3.json"),
        &stage,
        &[("after", map())],
    );
    let (_, row) = completed(&stage, &graph, &json!({})).await;
    // There is no edge back and no label: all that follows is the body.
    assert_eq!(stage.hits.count("/hit?b=body"), 3);
    assert_eq!(successes(&stage.client, "after").await, 3);
    let output = row.output("l");
    assert_eq!(
        (&output["loop_type"], &output["iterations"]),
        (&json!("repeat"), &json!(3))
    );
    assert_eq!(output["results"].as_array().unwrap().len(), 3);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_body_is_caught() {
    let stage = Stage::new().await;
    let fixes = [
        (
            "risky",
            json!({"method": "GET", "url": stage.hits.url("/status/500/x"), "retry_delay": 0.02}),
        ),
        ("catch1", json!({"error_type": "any"})),
        ("after", map()),
    ];
    let graph = graph_of(
        include_str!("../../cases/15_try_catch_failing_body.json"),
        &stage,
        &fixes,
    );
    let (execution, row) = completed(&stage, &graph, &json!({})).await;
    assert_eq!(stage.hits.count("/status/500/x"), 4, "three retries");
    assert_eq!(row.error_message, None);
    let lines = log(&stage.client, execution).await;
    let messages = messages(&lines);
    for expected in [
        "Workflow execution failed, retry 3/3 scheduled: Node risky failed: HTTP 500: Internal Server Error",
        "Node risky failed: HTTP 500: Internal Server Error",
        "Node catch1 completed successfully",
        "Node fin completed successfully",
        "Node after completed successfully",
        "Workflow execution completed",
    ] {
        assert!(messages.contains(&expected), "{expected}: {messages:?}");
    }
    assert!(!messages.contains(&"Node risky completed successfully"));
    let completed: Vec<&str> = row.state["completed_node_ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node.as_str().unwrap())
        .collect();
    assert_eq!(completed, ["t", "catch1", "fin", "try1", "after"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_waits_for_its_answer() {
    let stage = Stage::new().await;
    let text = include_str!("../../cases/17_human_approval.json");
    let graph = graph_of(text, &stage, &[]);
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_with(&stage.client, workflow, &json!({})).await;
    stage.wait_for_waiting(execution).await;
    assert_eq!(stage.hits.count("/hit?after=approval"), 0);
    // Word for word what the Python worker wrote, but once; and the answer that was recorded.
    let case: Value = serde_json::from_str(text).unwrap();
    let recorded = case["final_workflowsignal"].as_array().unwrap();
    let request = stage.request(execution).await;
    assert_eq!(request.data, recorded[0]["signal_data"]);
    assert_eq!(json!(request.signal_type), recorded[0]["signal_type"]);
    let answer = recorded
        .iter()
        .find(|signal| signal["signal_type"] == "human_input")
        .unwrap();
    stage
        .signal(execution, "human_input", &answer["signal_data"])
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    assert_eq!(stage.hits.count("/hit?after=approval"), 1);
    assert_eq!(
        (row.retry_count, row.output("ap")["decision"].as_str()),
        (0, Some("approve"))
    );
    let all = stage.signals(execution).await;
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|signal| signal.is_processed));
    let lines = log(&stage.client, execution).await;
    assert_eq!(
        messages(&lines),
        [
            "Executing node: t",
            "Node t completed successfully",
            "Executing node: ap",
            "Execution waiting for signal: human_approval",
            "Signal received and processed: human_input",
            "Node ap completed successfully",
            "Executing node: h",
            "Node h completed successfully",
            "Workflow execution completed",
        ]
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_run_side_by_side_and_their_results_are_kept() {
    let stage = Stage::new().await;
    let call = |n: u32| {
        let url = stage.hits.url(&format!("/slow?ms=200&p={n}"));
        json!({"method": "GET", "url": url})
    };
    let fixes = [
        ("p0", call(0)),
        ("p1", call(1)),
        ("p2", call(2)),
        ("end", map()),
    ];
    let graph = graph_of(
        include_str!("../../cases/10_parallel_3.json"),
        &stage,
        &fixes,
    );
    let (_, row) = completed(&stage, &graph, &json!({})).await;
    let results = row.state["node_results"].as_object().unwrap();
    for node in ["p0", "p1", "p2"] {
        assert_eq!(
            results[node]["status"], "success",
            "the old worker lost these"
        );
    }
    assert_eq!(row.output("join")["sources"], 3);
    assert_eq!(row.output("end")["result"], json!([2, 4]));
    assert_eq!(successes(&stage.client, "join").await, 1);
    let starts = "SELECT max(started_at) < min(finished_at) FROM workflow_worker.steps WHERE node_type = 'http_request'";
    let side_by_side: bool = stage.client.query_one(starts, &[]).await.unwrap().get(0);
    assert!(side_by_side);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_workflow_is_started_and_not_waited_for() {
    let stage = Stage::new().await;
    let text = include_str!("../../cases/19_sub_workflow_async.json");
    let case: Value = serde_json::from_str(text).unwrap();
    let child = json!({
        "nodes": [
            {"node_id": "t", "node_type": "trigger", "config": {}},
            {"node_id": "ch", "node_type": "http_request", "config": {"method": "GET", "url": stage.hits.url("/hit?child=1")}},
        ],
        "edges": [{"from": "t", "to": "ch"}],
    });
    let child = insert_workflow(&stage.client, &child).await;
    let fixes = [("s", json!({"workflow_id": child})), ("m", map())];
    let graph = graph_of(text, &stage, &fixes);
    let (_, row) = completed(&stage, &graph, &json!({"p": 1})).await;
    let of_child = super::sub_workflow::child_of(&stage.client, child).await;
    let child_row = wait_for_completion(&stage.client, of_child).await;
    assert_eq!(stage.hits.count("/hit?child=1"), 1);
    let recorded = &case["final_workflowexecution"];
    let output = row.output("s").as_object().unwrap();
    let keys = recorded[0]["execution_state"]["execution_data"]["s_output"]
        .as_object()
        .unwrap();
    for key in keys.keys().filter(|key| *key != "note") {
        assert!(output.contains_key(key), "{key}");
    }
    assert_eq!(output["sub_execution_uuid"], of_child.to_string());
    assert_eq!(child_row.state["execution_data"]["p"], 1);
    assert_eq!(
        json!(child_row.current_node_id),
        recorded[1]["current_node_id"]
    );
    stage.stop().await;
}
