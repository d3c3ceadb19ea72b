//! What the views say.

use serde_json::json;
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{execution_in, one, state};
use crate::support::database::{Database, Variant};
use crate::support::flow::{
    chain, get, insert_workflow, node, trigger, wait_for_calls, wait_for_end, wait_until_not_held,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::wait::{SOON, wait_until};

/// State, what it waits for, node, nodes done, and whether a worker has it.
type Shown<'a> = (&'a str, Option<&'a str>, Option<&'a str>, i64, bool);

async fn wait_until_shown(client: &Client, execution: Uuid, wanted: Shown<'_>) {
    wait_until(wanted.0, SOON, async || {
        let row = client
            .query_one(
                "SELECT state, waits_for, current_node, nodes_done, worker IS NOT NULL
                 FROM workflow_worker.executions WHERE id = $1",
                &[&execution],
            )
            .await
            .unwrap();
        let seen: Shown<'_> = (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
        if seen == wanted {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_shown_as_people_mean_it() {
    let hits = Hits::start();
    for variant in Variant::WITH_HOST {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let child = insert_workflow(
            &client,
            &chain(vec![
                trigger(),
                node("w", "wait_for_signal", json!({ "signal_type": "x" })),
            ]),
        )
        .await;
        let cases = [
            (get("n", &hits.url("/long?ms=60000")), "running", None),
            (
                node("n", "delay", json!({ "delay_seconds": 600 })),
                "sleeping",
                Some("time"),
            ),
            (
                node("n", "wait_for_signal", json!({ "signal_type": "x" })),
                "waiting",
                Some("signal"),
            ),
            (
                node("n", "human_approval", json!({})),
                "waiting",
                Some("approval"),
            ),
            (
                node(
                    "n",
                    "sub_workflow",
                    json!({ "workflow_id": child, "wait_for_completion": true }),
                ),
                "waiting",
                Some("sub_workflow"),
            ),
        ];
        let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
        for (last, expected, waits_for) in cases {
            let workflow = insert_workflow(&client, &chain(vec![trigger(), last])).await;
            let start = "SELECT id FROM workflow_worker.start($1)";
            let execution: Uuid = one(&client, start, &[(&workflow, Type::UUID)]).await;
            let wanted = (expected, waits_for, Some("n"), 1, expected == "running");
            wait_until_shown(&client, execution, wanted).await;
        }
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_limit_holds_back_says_so_and_by_which() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let slow = chain(vec![trigger(), get("n", &hits.url("/long?ms=60000"))]);
    let workflow = insert_workflow(&client, &slow).await;
    client
        .query(
            "SELECT workflow_worker.set_limit('key', 'tenant 7', max_running => 1)",
            &[],
        )
        .await
        .unwrap();
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let start = "SELECT id FROM workflow_worker.start($1, concurrency_key => 'tenant 7')";
    let first: Uuid = one(&client, start, &[(&workflow, Type::UUID)]).await;
    wait_for_calls(&hits, "/long?ms=60000", 1).await;
    let second: Uuid = one(&client, start, &[(&workflow, Type::UUID)]).await;
    wait_until("it to be held back", SOON, async || {
        let row = client
            .query_one(
                "SELECT state, waits_for, held_by FROM workflow_worker.executions WHERE id = $1",
                &[&second],
            )
            .await
            .unwrap();
        let seen: (String, Option<String>, Option<String>) = (row.get(0), row.get(1), row.get(2));
        let wanted = (
            "queued",
            Some("limit"),
            Some("key tenant 7: 1 of 1 running"),
        );
        if (seen.0.as_str(), seen.1.as_deref(), seen.2.as_deref()) == wanted {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
    for execution in [second, first] {
        client
            .query("SELECT workflow_worker.terminate($1::uuid)", &[&execution])
            .await
            .unwrap();
        wait_for_end(&client, execution).await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn without_a_worker_each_state_has_its_word() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    for (made, shown) in [
        ("running", "queued"),
        ("paused", "paused"),
        ("retrying", "retrying"),
        ("waiting_for_signal", "waiting"),
        ("failed", "failed"),
        ("completed", "completed"),
    ] {
        let execution = execution_in(&client, made).await;
        assert_eq!(state(&client, execution).await, shown);
    }
    let execution = execution_in(&client, "running").await;
    client
        .execute(
            "DELETE FROM workflow_worker.run_queue WHERE execution_id = $1",
            &[&execution],
        )
        .await
        .unwrap();
    assert_eq!(state(&client, execution).await, "unqueued");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_executions_are_run_and_what_is_in_the_way() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let health = async || {
        client
            .query_one(
                "SELECT is_well, workers, running, due, timed, parked, unqueued, triggers_off, schema_version,
                        oldest_due_seconds >= 0
                 FROM workflow_worker.health",
                &[],
            )
            .await
            .unwrap()
    };
    let row = health().await;
    assert!(!row.get::<_, bool>(0), "no worker");
    let workflow = insert_workflow(
        &client,
        &chain(vec![trigger(), get("n", &hits.url("/long?ms=60000"))]),
    )
    .await;
    let start = "SELECT id FROM workflow_worker.start($1, run_at => $2)";
    let now: Option<chrono::DateTime<chrono::Utc>> = None;
    let running: Uuid = one(
        &client,
        start,
        &[(&workflow, Type::UUID), (&now, Type::TIMESTAMPTZ)],
    )
    .await;
    assert_eq!(health().await.get::<_, Option<bool>>(9), Some(true));
    let worker = InProcess::start(
        &database.url(),
        &[NO_POLL, ("WORKFLOW_WORKER_CONCURRENCY", "1")],
    )
    .await;
    wait_for_calls(&hits, "/long?ms=60000", 1).await;
    client
        .query(
            "SELECT workflow_worker.start($1, run_at => now() + interval '1 hour')",
            &[&workflow],
        )
        .await
        .unwrap();
    client
        .query("SELECT workflow_worker.start($1)", &[&workflow])
        .await
        .unwrap();
    let row = health().await;
    assert!(row.get::<_, bool>(0));
    let numbers: Vec<i64> = (1..7).map(|place| row.get(place)).collect();
    assert_eq!(numbers, [1, 1, 1, 1, 0, 0]);
    assert_eq!(
        row.get::<_, i32>(8),
        workflow_worker::store::migrate::known_version()
    );
    client
        .batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER workflow_worker_inserted")
        .await
        .unwrap();
    let row = health().await;
    assert!(!row.get::<_, bool>(0));
    assert_eq!(row.get::<_, Vec<String>>(7), ["workflow_worker_inserted"]);
    client
        .query("SELECT workflow_worker.terminate($1::uuid)", &[&running])
        .await
        .unwrap();
    wait_for_end(&client, running).await;
    wait_until_not_held(&client, running).await;
    worker.stop().await;
}
