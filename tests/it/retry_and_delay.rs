//! Retries and delays: they hold no slot, come back at their time, and survive the worker.

use serde_json::json;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    chain, count, get, insert, insert_with, insert_workflow, log, node, steps, trigger,
    wait_for_completion, wait_for_end, wait_for_status, wait_until_not_held,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::state::assert_api_can_read;

fn step(node: &str, attempt: i32, status: &str) -> (String, i32, String) {
    (node.to_owned(), attempt, status.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_goes_on_at_the_node_that_failed() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a")),
        get("h", &hits.url("/h?fail=2")),
        get("z", &hits.url("/z")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert(&client, workflow).await;
    let waiting = wait_for_status(&client, execution, "failed").await;
    assert!(waiting.has_next_retry && !waiting.is_completed);
    assert_eq!(
        waiting.error_message.as_deref(),
        Some("Node h failed: HTTP 503: Service Unavailable")
    );
    assert_api_can_read(&waiting.state);
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(
        (hits.count("/a"), hits.count("/h?fail=2"), hits.count("/z")),
        (1, 3, 1)
    );
    assert_eq!(row.retry_count, 2);
    assert!(!row.has_next_retry);
    assert_eq!(
        steps(&client, execution).await,
        [
            step("t", 1, "success"),
            step("a", 1, "success"),
            step("h", 1, "failed"),
            step("h", 2, "failed"),
            step("h", 3, "success"),
            step("z", 1, "success"),
        ]
    );
    let keys: Vec<String> = hits
        .all()
        .iter()
        .filter(|hit| hit.key == "/h?fail=2")
        .map(|hit| hit.idempotency_key().unwrap().to_owned())
        .collect();
    assert!(
        keys.len() == 3 && keys.iter().all(|key| key == &keys[0]),
        "one key for all attempts: {keys:?}"
    );
    let lines = log(&client, execution).await;
    let retry = lines
        .iter()
        .find(|(_, level, _)| level == "warning")
        .unwrap();
    assert_eq!(
        retry.2,
        "Workflow execution failed, retry 1/3 scheduled: Node h failed: HTTP 503: Service Unavailable"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_retry_the_failure_is_final() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(
        &client,
        &chain(vec![trigger(), get("h", &hits.url("/status/500"))]),
    )
    .await;
    let worker = InProcess::start(&database.url(), &[NO_POLL, ("WORKFLOW_MAX_RETRIES", "1")]).await;
    let execution = insert(&client, workflow).await;
    let row = wait_for_end(&client, execution).await;
    assert_eq!(row.status, "failed");
    assert_eq!(row.retry_count, 1);
    assert!(!row.has_next_retry, "a final failure has no next retry");
    assert_eq!(
        row.error_message.as_deref(),
        Some("Node h failed: HTTP 500: Internal Server Error")
    );
    assert_eq!(row.state["node_results"]["h"]["status"], "failed");
    assert_eq!(hits.count("/status/500"), 2);
    let lines = log(&client, execution).await;
    let last = lines.last().unwrap();
    assert_eq!(
        last.2,
        "Workflow execution failed permanently: Node h failed: HTTP 500: Internal Server Error"
    );
    assert_eq!(last.1, "error");
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflow_worker.run_queue").await,
        0
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_hold_no_slot() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let slow = chain(vec![
        trigger(),
        node(
            "d",
            "delay",
            json!({ "delay_type": "seconds", "delay_seconds": 600 }),
        ),
    ]);
    let quick = chain(vec![trigger()]);
    let (slow, quick) = (
        insert_workflow(&client, &slow).await,
        insert_workflow(&client, &quick).await,
    );
    let worker = InProcess::start(
        &database.url(),
        &[NO_POLL, ("WORKFLOW_WORKER_CONCURRENCY", "1")],
    )
    .await;
    let mut sleeping = Vec::new();
    for _ in 0..5 {
        sleeping.push(insert(&client, slow).await);
    }
    for execution in &sleeping {
        wait_until_not_held(&client, *execution).await;
    }
    let execution = insert(&client, quick).await;
    wait_for_completion(&client, execution).await;
    for execution in sleeping {
        wait_for_status(&client, execution, "running").await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_survives_the_worker_and_ends_on_another() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        node("d", "delay", json!({ "delay_seconds": "1.5" })),
        node("e", "get_variable", json!({ "variable_name": "x" })),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert(&client, workflow).await;
    wait_until_not_held(&client, execution).await;
    worker.stop().await;
    let other = InProcess::start(&database.url(), &[NO_POLL]).await;
    let row = wait_for_completion(&client, execution).await;
    let duration = row.state["node_results"]["d"]["duration_ms"]
        .as_i64()
        .unwrap();
    assert!(duration >= 1_500, "it slept for {duration} ms");
    assert_eq!(row.output("d")["completed"], true);
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_condition_ends_when_somebody_writes_the_data_it_waits_for() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        node(
            "w",
            "wait",
            json!({ "delay_type": "until_condition", "condition_expression": "input.ready === true", "check_interval_seconds": 3600 }),
        ),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert_with(&client, workflow, &json!({ "ready": false })).await;
    wait_until_not_held(&client, execution).await;
    client
        .execute(
            "UPDATE workflowexecution
             SET execution_state = jsonb_set(execution_state::jsonb, '{execution_data,ready}', 'true')::json
             WHERE id = $1",
            &[&execution],
        )
        .await
        .unwrap();
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(row.state["execution_data"]["ready"], true);
    worker.stop().await;
}
