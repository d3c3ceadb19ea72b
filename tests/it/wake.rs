//! Wake-ups: by notification alone; and without any, by the poll.

use std::time::Duration;

use serde_json::json;
use workflow_worker::telemetry::Event;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    self, chain, count, insert, insert_workflow, trigger, wait_for_completion,
};
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::pgbouncer::PgBouncer;
use crate::support::wait::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn an_inserted_row_runs_by_notification_alone() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    for _ in 0..5 {
        let execution = insert(&client, workflow).await;
        wait_for_completion(&client, execution).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_inserted_before_the_worker_came_run_at_its_start() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let execution = insert(&client, workflow).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    wait_for_completion(&client, execution).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_triggers_disabled_the_poll_finds_new_rows() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let mut worker =
        InProcess::start(&database.url(), &[("WORKFLOW_WORKER_POLL_INTERVAL", "0.2")]).await;
    client
        .batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER USER")
        .await
        .unwrap();
    let row = client
        .query_one(
            "INSERT INTO workflowexecution (workflow_id, workflow_version) VALUES ($1, 1) RETURNING id",
            &[&workflow],
        )
        .await
        .unwrap();
    wait_for_completion(&client, row.get(0)).await;
    worker
        .wait_for("a repair", |event| {
            matches!(event, Event::Repaired { executions: 1 })
        })
        .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_that_never_came_is_counted_as_missed() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let mut worker =
        InProcess::start(&database.url(), &[("WORKFLOW_WORKER_POLL_INTERVAL", "1")]).await;
    client
        .batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER workflow_worker_inserted")
        .await
        .unwrap();
    // A row that comes into the run queue in silence. The first ones may be found by the check that follows the start.
    let mut is_counted = false;
    for _ in 0..10 {
        let row = client
            .query_one(
                "WITH host AS (INSERT INTO workflowexecution (workflow_id) VALUES ($1) RETURNING id)
                 INSERT INTO workflow_worker.run_queue (execution_id, run_at)
                 SELECT id, now() - interval '1 second' FROM host
                 RETURNING execution_id",
                &[&workflow],
            )
            .await
            .unwrap();
        wait_for_completion(&client, row.get(0)).await;
        is_counted = worker
            .events_so_far()
            .iter()
            .any(|event| matches!(**event, Event::MissedWakeup { .. }));
        if is_counted {
            break;
        }
    }
    assert!(is_counted);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_whose_connection_is_cut_comes_back_and_hears() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let mut worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let cut = count(
        &client,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE application_name = 'workflow-worker listener' AND datname = current_database()",
    )
    .await;
    assert_eq!(cut, 1);
    // In the gap: nobody hears this one. The check after the reconnect finds it.
    let in_the_gap = insert(&client, workflow).await;
    worker
        .wait_for("the loss", |event| {
            matches!(event, Event::ListenerLost { .. })
        })
        .await;
    worker
        .wait_for("the return", |event| matches!(event, Event::Listening))
        .await;
    wait_for_completion(&client, in_the_gap).await;
    let after = insert(&client, workflow).await;
    wait_for_completion(&client, after).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_transaction_pooler_it_says_so_and_polls() {
    let database = Database::migrated(Variant::Alembic).await;
    let pooler = PgBouncer::start(database.cluster());
    let client = database.client().await;
    let workflow = insert_workflow(
        &client,
        &chain(vec![trigger(), flow::set("s", "x", json!(1))]),
    )
    .await;
    let mut worker = InProcess::start_only(
        &pooler.url(database.name()),
        &[
            ("WORKFLOW_WORKER_POLL_INTERVAL", "0.2"),
            ("WORKFLOW_WORKER_AUTO_MIGRATE", "false"),
        ],
    );
    worker
        .wait_for("the verdict", |event| matches!(event, Event::PollingOnly))
        .await;
    for _ in 0..10 {
        let execution = insert(&client, workflow).await;
        wait_for_completion(&client, execution).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_direct_url_for_the_listener_a_pooler_does_no_harm() {
    let database = Database::migrated(Variant::Alembic).await;
    let pooler = PgBouncer::start(database.cluster());
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let direct = database.url();
    let worker = InProcess::start(
        &pooler.url(database.name()),
        &[NO_POLL, ("WORKFLOW_WORKER_LISTEN_URL", &direct)],
    )
    .await;
    for _ in 0..5 {
        let execution = insert(&client, workflow).await;
        wait_for_completion(&client, execution).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_holds_no_transaction_open() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    wait_until("the listener to be idle without a snapshot", Duration::from_secs(10), async || {
        let row = client
            .query_one(
                "SELECT state, backend_xmin IS NULL AND xact_start IS NULL FROM pg_stat_activity
                 WHERE application_name = 'workflow-worker listener' AND datname = current_database()",
                &[],
            )
            .await
            .unwrap();
        let state: String = row.get(0);
        if state == "idle" && row.get::<_, bool>(1) { Ok(()) } else { Err(state) }
    })
    .await;
    worker.stop().await;
}
