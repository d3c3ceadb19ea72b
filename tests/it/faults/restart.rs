//! Law: PostgreSQL may go and come back, sessions may be cut, workers may be told to stop: nothing is lost, and nothing
//! waits for a lease that need not.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use workflow_worker::dev::StopMode;
use workflow_worker::telemetry::Event;

use crate::support::cluster::TestCluster;
use crate::support::database::{Database, Recipe, Variant};
use crate::support::flow::{
    chain, count, get, insert, insert_workflow, set, trigger, wait_for_calls, wait_for_completion,
    wait_for_end,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::migrated::MIGRATED;
use crate::support::wait::{pause, wait_until};
use crate::support::worker::WorkerProcess;

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgresql_while_a_node_runs_costs_nothing() {
    let hits = Hits::start();
    let cluster = tokio::task::spawn_blocking(TestCluster::private)
        .await
        .unwrap();
    let on = Arc::clone(&cluster);
    let database = tokio::task::spawn_blocking(move || {
        Recipe::on(on, Variant::Alembic).prepared(MIGRATED).make()
    })
    .await
    .unwrap();
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a?ms=1500")),
        get("b", &hits.url("/b")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let mut worker = InProcess::start(&database.url(), &[]).await;
    let execution = insert(&client, workflow).await;
    wait_for_calls(&hits, "/a?ms=1500", 1).await;
    let restarting = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || restarting.restart(StopMode::Immediate))
        .await
        .unwrap()
        .unwrap();
    worker
        .wait_for("the listener's return", |event| {
            matches!(event, Event::Listening)
        })
        .await;
    let client = database.client().await;
    wait_for_completion(&client, execution).await;
    assert_eq!((hits.count("/a?ms=1500"), hits.count("/b")), (1, 1));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_cut_again_and_again_lose_nothing() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let nodes = vec![
        trigger(),
        get("a", &hits.url("/a?ms=10")),
        set("s", "x", json!(1)),
        get("b", &hits.url("/b")),
    ];
    let workflow = insert_workflow(&client, &chain(nodes)).await;
    let worker = InProcess::start(&database.url(), &[]).await;
    let mut cut = 0;
    for _ in 0..20 {
        client
            .execute(
                "INSERT INTO workflowexecution (workflow_id) SELECT $1 FROM generate_series(1, 20)",
                &[&workflow],
            )
            .await
            .unwrap();
        // While they run: in claims, in records, between commit and answer.
        pause(Duration::from_millis(60)).await;
        cut += count(
            &client,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'workflow-worker%'",
        )
        .await;
    }
    assert!(
        cut >= 20,
        "only {cut} sessions were cut: the test has shown nothing"
    );
    wait_until(
        "all executions to complete",
        Duration::from_secs(120),
        async || match count(
            &client,
            "SELECT count(*) FROM workflowexecution WHERE status <> 'completed'",
        )
        .await
        {
            0 => Ok(()),
            open => Err(format!("{open} have not")),
        },
    )
    .await;
    assert_eq!(
        count(
            &client,
            "SELECT count(*) FROM workflow_worker.steps WHERE seq > 0"
        )
        .await,
        400 * 4
    );
    let twice = "SELECT count(*) FROM (SELECT FROM executionlog WHERE message = 'Workflow execution completed'
                 GROUP BY execution_id HAVING count(*) > 1) AS twice";
    assert_eq!(
        count(&client, twice).await,
        0,
        "a commit whose answer was lost was repeated"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_node_end_hands_the_rest_back_and_exits_with_0() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a?ms=1000")),
        get("b", &hits.url("/b")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    // A lease that no test could wait for.
    let settings = [
        ("WORKFLOW_WORKER_LEASE_SECONDS", "600"),
        ("WORKFLOW_WORKER_POLL_INTERVAL", "3600"),
    ];
    let mut first = WorkerProcess::spawn(&database.url(), &settings);
    let execution = insert(&client, workflow).await;
    wait_for_calls(&hits, "/a?ms=1000", 1).await;
    first.sigterm();
    assert_eq!(first.wait_exit(Duration::from_secs(30)).code(), Some(0));
    assert_eq!(
        (hits.count("/a?ms=1000"), hits.count("/b")),
        (1, 0),
        "it lets `a` end and starts nothing more"
    );
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflow_worker.workers").await,
        0
    );
    let second = InProcess::start(&database.url(), &[NO_POLL]).await;
    wait_for_completion(&client, execution).await;
    assert_eq!(
        (hits.count("/a?ms=1000"), hits.count("/b")),
        (1, 1),
        "`a` was recorded"
    );
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_grace_period_a_running_node_is_cancelled_and_handed_back() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(
        &client,
        &chain(vec![trigger(), get("a", &hits.url("/a?ms=5000"))]),
    )
    .await;
    let worker = InProcess::start(
        &database.url(),
        &[NO_POLL, ("WORKFLOW_WORKER_GRACE_PERIOD", "0.2")],
    )
    .await;
    let execution = insert(&client, workflow).await;
    wait_for_calls(&hits, "/a?ms=5000", 1).await;
    worker.stop().await;
    let free = "SELECT count(*) FROM workflow_worker.run_queue WHERE ready AND worker_id IS NULL";
    assert_eq!(
        count(&client, free).await,
        1,
        "it is due for the next worker"
    );
    let second = InProcess::start(&database.url(), &[NO_POLL]).await;
    wait_for_completion(&client, execution).await;
    assert_eq!(hits.count("/a?ms=5000"), 2);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_declared_dead_records_nothing_and_goes_on_under_a_new_identity() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a?ms=2000")),
        get("b", &hits.url("/b")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let settings = [NO_POLL, ("WORKFLOW_WORKER_HEARTBEAT_INTERVAL", "0.3")];
    let mut worker = InProcess::start(&database.url(), &settings).await;
    let execution = insert(&client, workflow).await;
    wait_for_calls(&hits, "/a?ms=2000", 1).await;
    // As a rescue does it, though the worker lives: due again, and its row is gone.
    client
        .batch_execute(
            "BEGIN;
             UPDATE workflow_worker.run_queue SET worker_id = NULL, ready = true, run_at = now();
             DELETE FROM workflow_worker.workers;
             COMMIT;",
        )
        .await
        .unwrap();
    let row = wait_for_completion(&client, execution).await;
    // Which of the two is noticed first depends on the moment.
    let events = worker.events_so_far();
    assert!(
        events
            .iter()
            .any(|event| matches!(**event, Event::DeclaredDead))
    );
    assert!(
        events
            .iter()
            .any(|event| matches!(**event, Event::LeaseLost { .. }))
    );
    assert_eq!(row.state["completed_node_ids"], json!(["t", "a", "b"]));
    assert_eq!(
        hits.count("/a?ms=2000"),
        2,
        "the first call was cancelled, not recorded"
    );
    let twice = "SELECT count(*) FROM workflow_worker.steps WHERE node_id = 'a'";
    assert_eq!(count(&client, twice).await, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_database_cannot_take_in_time_holds_up_nobody_for_good() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    client
        .batch_execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF NEW.node_id = 'slow' THEN PERFORM pg_sleep(5); END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER dawdle BEFORE INSERT ON workflow_worker.steps FOR EACH ROW EXECUTE FUNCTION dawdle();",
        )
        .await
        .unwrap();
    let good = insert_workflow(&client, &chain(vec![trigger(), set("s", "x", json!(1))])).await;
    let slow = insert_workflow(&client, &chain(vec![trigger(), set("slow", "x", json!(1))])).await;
    let worker = InProcess::start(
        &database.url(),
        &[("WORKFLOW_WORKER_STATEMENT_TIMEOUT", "1")],
    )
    .await;
    let slow = insert(&client, slow).await;
    let good = insert(&client, good).await;
    wait_for_completion(&client, good).await;
    let row = wait_for_end(&client, slow).await;
    assert_eq!(row.status, "failed");
    assert!(row.error_message.unwrap().contains("too large"));
    worker.stop().await;
}
