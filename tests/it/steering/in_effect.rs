//! A terminate reaches a running node also when no notification does.

use serde_json::json;
use workflow_worker::telemetry::Event;

use crate::control::Stage;
use crate::support::database::Variant;
use crate::support::flow::{
    PATIENCE, chain, get, insert_with, insert_workflow, node, trigger, wait_for_calls,
    wait_for_end, wait_until_not_held,
};
use crate::support::wait::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn a_terminate_without_triggers_cancels_the_running_node_at_the_next_poll() {
    let mut stage = Stage::without_worker(Variant::Alembic).await;
    stage
        .start(&[("WORKFLOW_WORKER_POLL_INTERVAL", "0.2")])
        .await;
    let graph = chain(vec![
        trigger(),
        get("long", &stage.hits.url("/long?ms=60000")),
    ]);
    let execution = stage.run(&graph).await;
    wait_for_calls(&stage.hits, "/long?ms=60000", 1).await;
    stage
        .client
        .batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER USER")
        .await
        .unwrap();
    stage.platform.terminate(execution, None).await.unwrap();
    let mut worker = stage.worker.take().unwrap();
    worker
        .wait_for("the stop", |event| {
            matches!(event, Event::ExecutionStopped { .. })
        })
        .await;
    wait_until("the call to be cut", PATIENCE, async || {
        match stage.hits.cut("/long?ms=60000") {
            0 => Err("it goes on"),
            _ => Ok(()),
        }
    })
    .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_that_is_lost_is_made_up_for_by_the_poll() {
    let mut stage = Stage::without_worker(Variant::Alembic).await;
    stage
        .start(&[("WORKFLOW_WORKER_POLL_INTERVAL", "0.2")])
        .await;
    let graph = chain(vec![
        trigger(),
        get("long", &stage.hits.url("/long?ms=60000")),
    ]);
    let execution = stage.run(&graph).await;
    wait_for_calls(&stage.hits, "/long?ms=60000", 1).await;
    // All that the trigger does, but for the notification.
    stage
        .client
        .batch_execute(&format!(
            "BEGIN;
             SELECT set_config('workflow_worker.writer', 'on', true);
             UPDATE workflowexecution SET status = 'failed', completed_at = now(), error_message = 'enough' WHERE id = '{execution}';
             UPDATE workflow_worker.run_queue SET host_version = host_version + 1 WHERE execution_id = '{execution}';
             COMMIT;"
        ))
        .await
        .unwrap();
    let mut worker = stage.worker.take().unwrap();
    worker
        .wait_for("the stop", |event| {
            matches!(event, Event::ExecutionStopped { .. })
        })
        .await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.error_message.as_deref(), Some("enough"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_execution_is_terminated_at_once_and_can_be_asked_again() {
    let stage = Stage::new().await;
    let graph = chain(vec![trigger(), node("ap", "human_approval", json!({}))]);
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_with(&stage.client, workflow, &json!({})).await;
    stage.wait_for_waiting(execution).await;
    stage
        .platform
        .terminate(execution, Some("no"))
        .await
        .unwrap();
    wait_until_not_held(&stage.client, execution).await;
    wait_until("the request to be withdrawn", PATIENCE, async || {
        let signals = stage.signals(execution).await;
        if signals.iter().all(|signal| signal.is_processed) {
            Ok(())
        } else {
            Err("it is open")
        }
    })
    .await;
    crate::support::flow::restart(&stage.client, execution).await;
    stage.wait_for_waiting(execution).await;
    let open = stage.signals(execution).await;
    assert_eq!(open.iter().filter(|signal| !signal.is_processed).count(), 1);
    stage.stop().await;
}
