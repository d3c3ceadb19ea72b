//! Test mode: results that are given instead of running nodes.

use serde_json::{Value, json};
use uuid::Uuid;

use super::messages;
use crate::control::Stage;
use crate::support::database::Variant;
use crate::support::flow::{
    HostRow, branch, chain, edge, get, graph, insert_with, insert_workflow, log, node, set,
    trigger, wait_for_calls, wait_for_completion, wait_for_end,
};
use crate::support::state::assert_api_can_read;

async fn run(stage: &Stage, graph: &Value, data: Value) -> (Uuid, HostRow) {
    let workflow = insert_workflow(&stage.client, graph).await;
    let execution = insert_with(&stage.client, workflow, &data).await;
    (execution, wait_for_end(&stage.client, execution).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mocked_node_is_not_run_and_the_others_are() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        stage.start(&[]).await;
        let graph = graph(
            vec![
                trigger(),
                get("a", &stage.hits.url("/a")),
                node(
                    "c",
                    "condition",
                    json!({"expression": "input.a_output.body.n > 5"}),
                ),
                get("yes", &stage.hits.url("/yes?n={{ input.a_output.body.n }}")),
                get("no", &stage.hits.url("/no")),
            ],
            vec![
                edge("t", "a"),
                edge("a", "c"),
                branch("c", "yes", "true"),
                branch("c", "no", "false"),
            ],
        );
        let data = json!({"test_mode": true, "mock_results": {"a": {"body": {"n": 7}}}});
        let (execution, row) = run(&stage, &graph, data).await;
        assert_eq!(row.status, "completed", "{:?}", row.error_message);
        assert_eq!(
            (stage.hits.count("/a"), stage.hits.count("/yes?n=7")),
            (0, 1),
            "{variant:?}"
        );
        assert_eq!(
            row.state["execution_data"]["a_output"],
            json!({"body": {"n": 7}})
        );
        assert_api_can_read(&row.state);
        let lines = log(&stage.client, execution).await;
        let lines = messages(&lines);
        assert!(lines.contains(&"Node a is mocked: it is not run, and ends as mock_results says"));
        assert!(!lines.contains(&"Executing node: a") && lines.contains(&"Executing node: c"));
        // Without the flag the results mean nothing.
        let (_, row) = run(
            &stage,
            &graph,
            json!({"mock_results": {"a": {"body": {"n": 7}}}}),
        )
        .await;
        assert_eq!(
            (row.status.as_str(), stage.hits.count("/a")),
            ("completed", 1)
        );
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mock_may_decide_and_may_fail() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            node("c", "condition", json!({"expression": "true"})),
            node("try", "try", json!({})),
            get("h", &stage.hits.url("/h")),
            node("caught", "catch", json!({"error_type": "Outage"})),
            get("no", &stage.hits.url("/no")),
        ],
        vec![
            edge("t", "c"),
            branch("c", "no", "false"),
            branch("c", "try", "true"),
            edge("try", "h"),
            edge("h", "caught"),
        ],
    );
    let mocks = json!({"h": {"error": {"message": "down", "type": "Outage"}}});
    let (_, row) = run(
        &stage,
        &graph,
        json!({"test_mode": true, "mock_results": mocks}),
    )
    .await;
    assert_eq!(row.status, "completed", "{:?}", row.error_message);
    assert_eq!(row.output("try")["error"]["message"], "down");
    let mocks = json!({"c": {"branch": "false"}});
    let (_, row) = run(
        &stage,
        &graph,
        json!({"test_mode": true, "mock_results": mocks}),
    )
    .await;
    assert_eq!(row.status, "completed");
    assert_eq!((stage.hits.count("/h"), stage.hits.count("/no")), (0, 1));
    let failing = json!({"h": {"error": "no more"}, "c": {"branch": "true"}});
    let plain = chain(vec![trigger(), get("h", &stage.hits.url("/h"))]);
    let (_, row) = run(
        &stage,
        &plain,
        json!({"test_mode": true, "mock_results": failing}),
    )
    .await;
    assert_eq!(row.error_message.as_deref(), Some("Node h failed: no more"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_loop_each_visit_is_mocked_by_one_result_or_by_a_list() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            node("l", "for", json!({"array_expression": "[1, 2, 3]"})),
            get("in", &stage.hits.url("/in")),
        ],
        vec![edge("t", "l"), branch("l", "in", "body")],
    );
    for (mock, expected) in [
        (json!({"v": 1}), json!([{"v": 1}, {"v": 1}, {"v": 1}])),
        (
            json!([{"v": 1}, {"v": 2}]),
            json!([{"v": 1}, {"v": 2}, {"v": 2}]),
        ),
    ] {
        let data = json!({"test_mode": "true", "mock_results": {"in": mock}});
        let (_, row) = run(&stage, &graph, data).await;
        assert_eq!(row.output("l")["results"], expected);
    }
    assert_eq!(stage.hits.count("/in"), 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mock_only_nothing_reaches_the_world_without_a_mock() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        set("s", "x", json!(1)),
        get("a", &stage.hits.url("/a")),
        get("b", &stage.hits.url("/b")),
    ]);
    let data = json!({"test_mode": "mock_only", "mock_results": {"a": {}}});
    let (_, row) = run(&stage, &graph, data).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some(
            "Node b failed: test_mode is \"mock_only\", and mock_results has nothing for this node"
        )
    );
    assert_eq!(row.state["node_results"]["s"]["status"], "success");
    assert_eq!(stage.hits.all().len(), 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_what_starts_others_can_be_mocked_and_a_sub_workflow_is_tested_with_its_parent()
 {
    let stage = Stage::new().await;
    let inner = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), get("i", &stage.hits.url("/i"))]),
    )
    .await;
    let sub = json!({"workflow_id": inner, "wait_for_completion": true, "input_data": {"own": 1}});
    let graph = chain(vec![
        trigger(),
        node("ap", "human_approval", json!({})),
        node("d", "delay", json!({"delay_seconds": 3600})),
        node("sub", "sub_workflow", sub),
    ]);
    let mocks = json!({"ap": {"decision": "approve"}, "d": {}, "i": {"from": "the mock"}});
    let (_, row) = run(
        &stage,
        &graph,
        json!({"test_mode": true, "mock_results": mocks}),
    )
    .await;
    assert_eq!(row.status, "completed", "{:?}", row.error_message);
    assert_eq!(
        row.output("sub")["result"]["i_output"],
        json!({"from": "the mock"})
    );
    assert_eq!(stage.hits.count("/i"), 0);
    let asked = "SELECT count(*) FROM workflowsignal";
    assert_eq!(crate::support::flow::count(&stage.client, asked).await, 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_mocks_is_said_and_nothing_runs_for_real() {
    let stage = Stage::new().await;
    let graph = chain(vec![trigger(), get("a", &stage.hits.url("/a"))]);
    for (data, expected) in [
        (
            json!({"test_mode": "yes"}),
            "Node t failed: test_mode is \"yes\"; it must be true, false or",
        ),
        (
            json!({"test_mode": true, "mock_results": []}),
            "Node t failed: mock_results is []; it must be an object",
        ),
        (
            json!({"test_mode": true, "mock_results": {"a": {"error": 7}}}),
            "Node a failed: mock_results.a has the error 7; it must be",
        ),
        (
            json!({"test_mode": true, "mock_results": {"a": []}}),
            "Node a failed: mock_results.a is an empty list",
        ),
    ] {
        let (_, row) = run(&stage, &graph, data).await;
        let error = row.error_message.unwrap();
        assert!(error.starts_with(expected), "{error}");
    }
    assert_eq!(stage.hits.count("/a"), 0);
    let mocks = json!({"a": {}, "gohst": {}});
    let (execution, row) = run(
        &stage,
        &graph,
        json!({"test_mode": true, "mock_results": mocks}),
    )
    .await;
    assert_eq!(row.status, "completed");
    let lines = log(&stage.client, execution).await;
    let warned = "mock_results has results for nodes that the workflow does not have: gohst";
    assert!(messages(&lines).contains(&warned), "{lines:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_comes_in_a_second_commit_counts_from_then_on() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        get("a", &stage.hits.url("/a?ms=700")),
        get("b", &stage.hits.url("/b")),
    ]);
    let execution = stage.run(&graph).await;
    wait_for_calls(&stage.hits, "/a?ms=700", 1).await;
    let mut state = stage.platform.read_state(execution).await.unwrap();
    let flags = json!({"test_mode": true, "mock_results": {"b": {"mocked": "b"}}});
    state
        .execution_data
        .extend(flags.as_object().unwrap().clone());
    stage.platform.write_state(execution, &state).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("b")["mocked"], "b");
    assert_eq!(stage.hits.count("/b"), 0);
    stage.stop().await;
}
