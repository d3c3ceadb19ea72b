//! `human_approval`: its time, and what happens to the execution while it waits.

use serde_json::json;
use uuid::Uuid;

use super::Stage;
use super::approval::{asking, taken};
use crate::support::database::Variant;
use crate::support::flow::{
    chain, count, host_row, log, node, trigger, wait_for_completion, wait_for_end,
    wait_until_not_held,
};
use crate::support::in_process::NO_POLL;
use crate::support::state::assert_api_can_read;
use crate::support::wait::{SOON, wait_until};
use crate::support::worker::WorkerProcess;

#[tokio::test(flavor = "multi_thread")]
async fn when_its_time_is_over_it_takes_the_branch_timeout() {
    let stage = Stage::new().await;
    let execution = stage.run(&asking(json!({"timeout_seconds": 0.3}))).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(taken(&row), ["late"]);
    assert_eq!(row.output("ap")["status"], "timeout");
    assert!(
        stage.request(execution).await.is_processed,
        "nobody is asked any more"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_such_a_branch_it_fails_in_the_words_of_the_platform() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        node("ap", "human_approval", json!({"timeout_seconds": 1})),
    ]);
    let execution = stage.run(&graph).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.status, "failed");
    assert_eq!(
        row.error_message.as_deref(),
        Some("Node ap timed out after 1 seconds")
    );
    assert_eq!(
        row.state["error_message"],
        "Node ap timed out after 1 seconds"
    );
    assert_eq!(row.retry_count, 0, "nobody is asked twice");
    assert!(stage.request(execution).await.is_processed);
    assert_api_can_read(&row.state);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_time_ends_and_its_answer_counts_though_the_worker_that_asked_is_dead() {
    let mut stage = Stage::without_worker(Variant::Alembic).await;
    let mut first = WorkerProcess::spawn(&stage.database.url(), &[NO_POLL]);
    let timed = stage.run(&asking(json!({"timeout_seconds": 2}))).await;
    let asked = stage.run(&asking(json!({}))).await;
    stage.wait_for_waiting(asked).await;
    wait_until("the request", SOON, async || {
        match stage.signals(timed).await.len() {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    first.kill9();
    // Nobody is there to hear it.
    stage
        .signal(asked, "human_input", &json!({"decision": "approve"}))
        .await;
    stage.start(&[]).await;
    let row = wait_for_completion(&stage.client, asked).await;
    assert_eq!(taken(&row), ["yes"]);
    let row = wait_for_completion(&stage.client, timed).await;
    assert_eq!(taken(&row), ["late"]);
    assert_eq!(stage.signals(timed).await.len(), 1, "it was asked once");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_while_it_is_paused_counts_after_the_resume() {
    let stage = Stage::new().await;
    let execution = stage.run(&asking(json!({}))).await;
    stage.wait_for_waiting(execution).await;
    stage.platform.pause(execution).await.unwrap();
    wait_until_not_held(&stage.client, execution).await;
    stage
        .signal(execution, "human_input", &json!({"decision": "approve"}))
        .await;
    let other = stage.run(&chain(vec![trigger()])).await;
    wait_for_completion(&stage.client, other).await;
    let row = host_row(&stage.client, execution).await;
    assert_eq!((row.status.as_str(), taken(&row).len()), ("paused", 0));
    stage.platform.resume(execution).await.unwrap();
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(taken(&row), ["yes"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_is_no_answer() {
    let stage = Stage::new().await;
    let execution = stage.run(&asking(json!({}))).await;
    stage.wait_for_waiting(execution).await;
    stage.platform.resume(execution).await.unwrap();
    // It looks, and waits again; the row says so again.
    stage.wait_for_waiting(execution).await;
    assert_eq!(stage.signals(execution).await.len(), 1);
    stage.platform.pause(execution).await.unwrap();
    stage.platform.resume(execution).await.unwrap();
    stage.wait_for_waiting(execution).await;
    stage
        .signal(execution, "human_input", &json!({"decision": "reject"}))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(taken(&row), ["no"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_while_it_waits_it_is_over_and_nobody_is_asked() {
    let stage = Stage::new().await;
    let execution = stage.run(&asking(json!({}))).await;
    stage.wait_for_waiting(execution).await;
    stage.platform.terminate(execution, None).await.unwrap();
    wait_until("the request to be withdrawn", SOON, async || {
        if stage.request(execution).await.is_processed {
            Ok(())
        } else {
            Err("it is open")
        }
    })
    .await;
    wait_gone(&stage, execution).await;
    stage
        .signal(execution, "human_input", &json!({"decision": "approve"}))
        .await;
    let other = stage.run(&chain(vec![trigger()])).await;
    wait_for_completion(&stage.client, other).await;
    let row = host_row(&stage.client, execution).await;
    assert_eq!(row.status, "failed");
    assert_eq!(
        row.error_message.as_deref(),
        Some("Execution terminated by user")
    );
    assert_eq!(taken(&row).len(), 0);
    assert_eq!(
        count(
            &stage.client,
            "SELECT count(*) FROM workflow_worker.run_queue"
        )
        .await,
        0
    );
    stage.stop().await;
}

async fn wait_gone(stage: &Stage, execution: Uuid) {
    wait_until("it to leave the run queue", SOON, async || {
        let query = format!(
            "SELECT count(*) FROM workflow_worker.run_queue WHERE execution_id = '{execution}'"
        );
        match count(&stage.client, &query).await {
            0 => Ok(()),
            _ => Err("it is there"),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_triggers_the_poll_finds_the_answer() {
    let mut stage = Stage::without_worker(Variant::Alembic).await;
    stage
        .start(&[("WORKFLOW_WORKER_POLL_INTERVAL", "0.2")])
        .await;
    let execution = stage.run(&asking(json!({}))).await;
    stage.wait_for_waiting(execution).await;
    stage
        .client
        .batch_execute("ALTER TABLE workflowsignal DISABLE TRIGGER USER")
        .await
        .unwrap();
    stage
        .signal(execution, "human_input", &json!({"decision": "approve"}))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(taken(&row), ["yes"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_options_fail_it_at_once_and_nobody_is_asked() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        node(
            "ap",
            "human_approval",
            json!({"approval_options": ["a", "A"]}),
        ),
    ]);
    let execution = stage.run(&graph).await;
    let row = wait_for_end(&stage.client, execution).await;
    let message = row.error_message.unwrap();
    assert!(
        message.starts_with("Node ap failed: approval_options is"),
        "{message}"
    );
    assert_eq!(stage.signals(execution).await.len(), 0);
    let said = log(&stage.client, execution).await;
    assert!(
        !said
            .iter()
            .any(|(.., text)| text.contains("waiting for signal"))
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_time_counts_though_it_is_looked_at_later() {
    let stage = Stage::new().await;
    let execution = stage.run(&asking(json!({"timeout_seconds": 1}))).await;
    stage.wait_for_waiting(execution).await;
    stage.platform.pause(execution).await.unwrap();
    wait_until_not_held(&stage.client, execution).await;
    stage
        .signal(execution, "human_input", &json!({"decision": "reject"}))
        .await;
    // One of the same length that starts later shows that the time has passed.
    let other = stage.run(&asking(json!({"timeout_seconds": 1}))).await;
    wait_for_completion(&stage.client, other).await;
    stage.platform.resume(execution).await.unwrap();
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(taken(&row), ["no"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_retries_of_its_own_it_asks_again_and_it_may_go_on_without_an_answer() {
    let stage = Stage::new().await;
    let config = json!({"timeout_seconds": 0.3, "retries": 1, "retry_delay": 0.05, "continue_on_error": true});
    let graph = chain(vec![
        trigger(),
        node("ap", "human_approval", config),
        node(
            "after",
            "set_variable",
            json!({"variable_name": "x", "variable_value": "{{ ap.output.status }}"}),
        ),
    ]);
    let execution = stage.run(&graph).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("after")["value"], "timeout");
    let asked = stage.signals(execution).await;
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.iter().all(|signal| signal.is_processed));
    stage.stop().await;
}
