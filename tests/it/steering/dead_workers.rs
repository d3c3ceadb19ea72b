//! Every time-out is somebody's to see: `kill -9` the only worker, start a fresh one that never polls again.

use serde_json::json;

use super::{approval, insert_limited};
use crate::control::Stage;
use crate::support::database::Variant;
use crate::support::flow::{
    chain, get, insert_with, insert_workflow, node, trigger, wait_for_calls, wait_for_end,
};
use crate::support::worker::WorkerProcess;

#[tokio::test(flavor = "multi_thread")]
async fn they_all_fire_on_a_fresh_worker_when_the_one_that_ran_it_is_dead() {
    let mut stage = Stage::without_worker(Variant::Alembic).await;
    let inner = insert_workflow(&stage.client, &chain(vec![trigger(), approval("in")])).await;
    let long = |key: &str| stage.hits.url(&format!("/{key}?ms=600000"));
    let running = chain(vec![trigger(), get("r", &long("running"))]);
    let slow = json!({"url": long("slow"), "timeout_seconds": 2, "retries": 0});
    let of_node = chain(vec![trigger(), node("slow", "http_request", slow)]);
    let parked = chain(vec![trigger(), approval("ap")]);
    let asking = node("ap", "human_approval", json!({"timeout_seconds": 6}));
    let of_approval = chain(vec![trigger(), asking]);
    let starting = json!({"workflow_id": inner, "wait_for_completion": true, "timeout_seconds": 6});
    let of_child = chain(vec![trigger(), node("sub", "sub_workflow", starting)]);

    let settings = [
        ("WORKFLOW_WORKER_HEARTBEAT_INTERVAL", "0.2"),
        ("WORKFLOW_WORKER_LEASE_SECONDS", "2"),
        ("WORKFLOW_WORKER_POLL_INTERVAL", "3600"),
    ];
    let mut first = WorkerProcess::spawn(&stage.database.url(), &settings);
    let mut executions = Vec::new();
    for (graph, limit, message) in [
        (
            running,
            Some(6.0),
            "Workflow execution timed out after 6 seconds",
        ),
        (
            parked,
            Some(6.0),
            "Workflow execution timed out after 6 seconds",
        ),
        (of_node, None, "Node slow timed out after 2 seconds"),
        (of_approval, None, "Node ap timed out after 6 seconds"),
        (of_child, None, "Node sub timed out after 6 seconds"),
    ] {
        let workflow = insert_workflow(&stage.client, &graph).await;
        let execution = match limit {
            Some(seconds) => insert_limited(&stage.client, workflow, seconds).await,
            None => insert_with(&stage.client, workflow, &json!({})).await,
        };
        executions.push((execution, message));
    }
    wait_for_calls(&stage.hits, "/running?ms=600000", 1).await;
    stage.wait_for_waiting(executions[1].0).await;
    stage.wait_for_waiting(executions[3].0).await;
    wait_for_calls(&stage.hits, "/slow?ms=600000", 1).await;
    first.kill9();
    stage.start(&settings).await;
    for (execution, message) in executions {
        let row = wait_for_end(&stage.client, execution).await;
        assert_eq!(row.error_message.as_deref(), Some(message));
        assert!(row.is_completed && !row.has_next_retry, "{message}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_whose_time_is_over_when_it_is_found_is_ended_and_runs_nothing() {
    let mut stage = Stage::without_worker(Variant::Alembic).await;
    let graph = chain(vec![trigger(), get("a", &stage.hits.url("/a"))]);
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_limited(&stage.client, workflow, 5.0).await;
    let age = "UPDATE workflow_worker.run_queue SET timed_from = timed_from - interval '1 hour'";
    stage.client.execute(age, &[]).await.unwrap();
    stage.start(&[]).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some("Workflow execution timed out after 5 seconds")
    );
    assert_eq!(stage.hits.count("/a"), 0);
    stage.stop().await;
}
