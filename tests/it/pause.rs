//! Pause, resume and terminate as the API does them: status and the *whole* state, rebuilt from the keys it knows.
//! Nothing runs on, nothing is lost, nothing runs twice.

use std::time::Duration;

use serde_json::json;
use workflow_worker::telemetry::Event;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    chain, count, get, host_row, insert_with, insert_workflow, node, steps, trigger,
    wait_for_calls, wait_for_completion, wait_for_end, wait_for_status, wait_until_not_held,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::platform::Platform;
use crate::support::state::assert_api_can_read;
use crate::support::wait::wait_until;

fn ids(steps: &[(String, i32, String)]) -> Vec<&str> {
    steps.iter().map(|(node, _, _)| node.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_while_a_node_runs_lets_it_end_and_starts_nothing_more() {
    for variant in Variant::WITH_HOST {
        let hits = Hits::start();
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let graph = chain(vec![
            trigger(),
            get("a", &hits.url("/a?ms=500")),
            get("b", &hits.url("/b")),
        ]);
        let workflow = insert_workflow(&client, &graph).await;
        let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
        let execution = insert_with(&client, workflow, &json!({ "n": 1 })).await;
        wait_for_calls(&hits, "/a?ms=500", 1).await;
        Platform::connect(&database)
            .await
            .pause(execution)
            .await
            .unwrap();
        wait_until_not_held(&client, execution).await;
        let paused = host_row(&client, execution).await;
        assert_eq!(paused.status, "paused");
        assert_eq!(
            paused.state["status"], "paused",
            "lists look at the column, resume looks inside"
        );
        assert_eq!(
            ids(&steps(&client, execution).await),
            ["t", "a"],
            "what ran is recorded"
        );
        assert_eq!(paused.state["completed_node_ids"], json!(["t", "a"]));
        assert_eq!(hits.count("/b"), 0);

        Platform::connect(&database)
            .await
            .resume(execution)
            .await
            .unwrap();
        let row = wait_for_completion(&client, execution).await;
        assert_eq!(
            (hits.count("/a?ms=500"), hits.count("/b")),
            (1, 1),
            "{variant:?}"
        );
        assert_eq!(row.state["execution_data"]["n"], 1);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_before_the_node_has_ended_goes_on_as_if_nothing_had_been() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a?ms=700")),
        get("b", &hits.url("/b")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert_with(&client, workflow, &json!({})).await;
    wait_for_calls(&hits, "/a?ms=700", 1).await;
    Platform::connect(&database)
        .await
        .pause(execution)
        .await
        .unwrap();
    Platform::connect(&database)
        .await
        .resume(execution)
        .await
        .unwrap();
    wait_for_completion(&client, execution).await;
    assert_eq!((hits.count("/a?ms=700"), hits.count("/b")), (1, 1));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminate_while_a_node_runs_cancels_it_and_is_final() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a")),
        get("long", &hits.url("/long?ms=60000")),
        get("b", &hits.url("/b")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let mut worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert_with(&client, workflow, &json!({})).await;
    wait_for_calls(&hits, "/long?ms=60000", 1).await;
    Platform::connect(&database)
        .await
        .terminate(execution, None)
        .await
        .unwrap();
    worker
        .wait_for("the stop", |event| {
            matches!(event, Event::ExecutionStopped { .. })
        })
        .await;
    let row = wait_for_end(&client, execution).await;
    assert_eq!(
        (row.status.as_str(), row.state["status"].as_str()),
        ("failed", Some("failed"))
    );
    assert_eq!(
        row.error_message.as_deref(),
        Some("Execution terminated by user")
    );
    assert_eq!(
        row.state["completed_node_ids"],
        json!(["t", "a"]),
        "what ran is shown"
    );
    assert_eq!(hits.count("/b"), 0);
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflow_worker.run_queue").await,
        0
    );
    assert_api_can_read(&row.state);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_the_api_wrote_back_too_late_is_put_right() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a?ms=300")),
        get("b", &hits.url("/b?ms=300")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert_with(&client, workflow, &json!({})).await;
    wait_for_calls(&hits, "/a?ms=300", 1).await;
    // The API has read the state before `a` was recorded, and writes it back after.
    let stale = host_row(&client, execution).await.state.to_string();
    wait_for_calls(&hits, "/b?ms=300", 1).await;
    client
        .execute(
            "UPDATE workflowexecution SET execution_state = $1::text::json WHERE id = $2",
            &[&stale, &execution],
        )
        .await
        .unwrap();
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(row.state["completed_node_ids"], json!(["t", "a", "b"]));
    assert_eq!((hits.count("/a?ms=300"), hits.count("/b?ms=300")), (1, 1));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_delay_does_not_end_and_a_resumed_one_goes_on() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        node("d", "delay", json!({ "delay_seconds": 0.3 })),
        node("g", "get_variable", json!({ "variable_name": "x" })),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker =
        InProcess::start(&database.url(), &[("WORKFLOW_WORKER_POLL_INTERVAL", "0.1")]).await;
    let execution = insert_with(&client, workflow, &json!({})).await;
    wait_until_not_held(&client, execution).await;
    Platform::connect(&database)
        .await
        .pause(execution)
        .await
        .unwrap();
    // A second execution of the same shape shows that the time has passed.
    let other = insert_with(&client, workflow, &json!({})).await;
    wait_for_completion(&client, other).await;
    assert_eq!(host_row(&client, execution).await.status, "paused");
    Platform::connect(&database)
        .await
        .resume(execution)
        .await
        .unwrap();
    wait_for_completion(&client, execution).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_execution_that_was_paused_and_resumed_runs_nothing_again() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow =
        insert_workflow(&client, &chain(vec![trigger(), get("a", &hits.url("/a"))])).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert_with(&client, workflow, &json!({})).await;
    wait_for_completion(&client, execution).await;
    Platform::connect(&database)
        .await
        .pause(execution)
        .await
        .unwrap();
    wait_for_status(&client, execution, "paused").await;
    Platform::connect(&database)
        .await
        .resume(execution)
        .await
        .unwrap();
    wait_for_status(&client, execution, "completed").await;
    assert_eq!(hits.count("/a"), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_triggers_a_pause_is_seen_by_the_poll_and_never_overwritten() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a?ms=1000")),
        get("b", &hits.url("/b")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker =
        InProcess::start(&database.url(), &[("WORKFLOW_WORKER_POLL_INTERVAL", "0.2")]).await;
    let execution = insert_with(&client, workflow, &json!({})).await;
    wait_for_calls(&hits, "/a?ms=1000", 1).await;
    client
        .batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER USER")
        .await
        .unwrap();
    Platform::connect(&database)
        .await
        .pause(execution)
        .await
        .unwrap();
    wait_until_not_held(&client, execution).await;
    assert_eq!(host_row(&client, execution).await.status, "paused");
    assert_eq!(ids(&steps(&client, execution).await), ["t", "a"]);
    assert_eq!(hits.count("/b"), 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_is_deleted_while_it_runs_is_forgotten() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("long", &hits.url("/long?ms=60000")),
        get("b", &hits.url("/b")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let mut worker =
        InProcess::start(&database.url(), &[("WORKFLOW_WORKER_POLL_INTERVAL", "0.2")]).await;
    let execution = insert_with(&client, workflow, &json!({})).await;
    wait_for_calls(&hits, "/long?ms=60000", 1).await;
    client
        .execute("DELETE FROM workflow WHERE id = $1", &[&workflow])
        .await
        .unwrap();
    worker
        .wait_for("the loss", |event| matches!(event, Event::LeaseLost { .. }))
        .await;
    for table in ["run_queue", "steps", "finished"] {
        assert_eq!(
            count(
                &client,
                &format!("SELECT count(*) FROM workflow_worker.{table}")
            )
            .await,
            0,
            "{table}"
        );
    }
    assert_eq!(
        count(
            &client,
            &format!("SELECT count(*) FROM workflowexecution WHERE id = '{execution}'")
        )
        .await,
        0
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_whose_transaction_was_open_while_the_node_ended_is_not_overwritten() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let mut client = database.client().await;
    let other = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a?ms=300")),
        get("b", &hits.url("/b")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert_with(&client, workflow, &json!({})).await;
    wait_for_calls(&hits, "/a?ms=300", 1).await;
    let transaction = client.transaction().await.unwrap();
    transaction
        .execute(
            "UPDATE workflowexecution SET status = 'paused' WHERE id = $1",
            &[&execution],
        )
        .await
        .unwrap();
    // The node has ended, and its record waits for the row.
    wait_until("the row to be waited for", Duration::from_secs(30), async || {
        let looks = count(
            &other,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
             AND application_name = 'workflow-worker' AND query LIKE '%load_host_row%' OR query LIKE '%queued.execution_id = $1%'",
        )
        .await;
        if looks > 0 { Ok(()) } else { Err("not yet") }
    })
    .await;
    transaction.commit().await.unwrap();
    wait_until_not_held(&other, execution).await;
    assert_eq!(host_row(&other, execution).await.status, "paused");
    assert_eq!(ids(&steps(&other, execution).await), ["t", "a"]);
    assert_eq!(hits.count("/b"), 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_triggers_a_resume_is_found_by_the_poll() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let worker =
        InProcess::start(&database.url(), &[("WORKFLOW_WORKER_POLL_INTERVAL", "0.2")]).await;
    let execution = insert_with(&client, workflow, &json!({})).await;
    wait_for_completion(&client, execution).await;
    client
        .batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER USER")
        .await
        .unwrap();
    let platform = Platform::connect(&database).await;
    platform.pause(execution).await.unwrap();
    platform.resume(execution).await.unwrap();
    wait_for_status(&client, execution, "completed").await;
    worker.stop().await;
}
