//! Requests, signals that are dealt with, and what is read of both.

use serde_json::json;
use uuid::Uuid;
use workflow_worker::host::signals::SignalRow;
use workflow_worker::ids::{ExecutionId, WorkflowId, derived_uuid};
use workflow_worker::store::migrate;
use workflow_worker::store::record::{Record, Recorded, SignalRequest};

use super::{Stage, publish};
use crate::support::database::{Database, Recipe, Variant};
use crate::support::flow::count;

fn request(key: &str) -> SignalRequest {
    SignalRequest {
        id: derived_uuid(key),
        signal_type: "human_approval".to_owned(),
        signal_data: json!({ "node_id": "a", "message": "?", "options": ["x"] }).to_string(),
    }
}

async fn rows(stage: &Stage, execution: ExecutionId) -> Vec<SignalRow> {
    stage.store.load_signals(execution).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_made_once_and_wakes_nobody() {
    for variant in Variant::ALL {
        let mut stage = Stage::new(variant).await;
        let record = stage.held().await;
        let execution = record.execution_id;
        stage.notified().await;
        let asking = Record {
            requests: vec![request("a"), request("b")],
            ..record
        };
        stage.commit(asking.clone()).await;
        let again = Record {
            revision: 1,
            ..asking
        };
        stage.commit(again).await;
        let found = rows(&stage, execution).await;
        assert_eq!(found.len(), 2, "{variant:?}");
        assert!(
            found
                .iter()
                .all(|row| !row.is_processed && row.data["node_id"] == "a")
        );
        assert_eq!(stage.queued(execution.0).await.unwrap().host_version, 0);
        assert!(stage.notified().await.is_empty(), "{variant:?}");
        let age = "SELECT count(*) FROM workflowsignal
                   WHERE received_at > (now() AT TIME ZONE 'utc') - interval '1 minute'
                     AND received_at <= now() AT TIME ZONE 'utc'";
        assert_eq!(count(&stage.client, age).await, 2, "times are in UTC");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_of_the_execution_are_dealt_with_and_no_others() {
    let mut stage = Stage::new(Variant::Jsonb).await;
    let record = stage.held().await;
    let execution = record.execution_id;
    let other = stage.parked("waiting_for_signal").await;
    let mine = stage.answer(execution.0).await;
    let kept = stage.answer(execution.0).await;
    let foreign = stage.answer(other).await;
    let version = stage.queued(execution.0).await.unwrap().host_version;
    stage.notified().await;
    stage
        .commit(Record {
            host_version: version,
            requests: vec![request("a")],
            consumed: vec![mine, foreign, Uuid::new_v4()],
            ..record
        })
        .await;
    let unprocessed = "SELECT count(*) FROM workflowsignal WHERE NOT processed AND id = $1";
    for (signal, is_left) in [(mine, 0_i64), (kept, 1), (foreign, 1)] {
        let row = stage
            .client
            .query_one(unprocessed, &[&signal])
            .await
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), is_left);
    }
    assert!(stage.notified().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_has_missed_a_write_asks_all_the_same_and_a_stale_one_does_not() {
    let stage = Stage::new(Variant::Alembic).await;
    let record = stage.held().await;
    let execution = record.execution_id;
    stage.answer(execution.0).await;
    let unaware = Record {
        requests: vec![request("a")],
        publish: Some(publish("waiting_for_signal")),
        ..record
    };
    assert_eq!(stage.record(unaware.clone()).await, Recorded::HostChanged);
    assert_eq!(rows(&stage, execution).await.len(), 2);
    let stale = Record {
        requests: vec![request("b")],
        consumed: vec![derived_uuid("a")],
        // Already taken.
        revision: 0,
        ..unaware
    };
    assert_eq!(stage.record(stale).await, Recorded::Stale);
    let found = rows(&stage, execution).await;
    assert!(found.len() == 2 && found.iter().all(|row| !row.is_processed));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_matter_is_read_in_order_and_whatever_is_in_it() {
    let stage = Stage::new(Variant::Alembic).await;
    let execution = stage.parked("waiting_for_signal").await;
    stage
        .client
        .batch_execute(&format!(
            "INSERT INTO workflowsignal (execution_id, signal_type, signal_data, received_at, processed) VALUES
                ('{execution}', 'late', '{{\"nul\": \"\\u0000\"}}', 'infinity', false),
                ('{execution}', 'none', NULL, '2026-01-05 00:00:03', false),
                ('{execution}', 'null', 'null', '2026-01-05 00:00:02.5', false),
                ('{execution}', 'asked', '{{\"message\": \"\\u0000\"}}', '2026-01-05 00:00:01', true),
                ('{execution}', 'dealt', '{{\"decision\": \"a\"}}', '2026-01-05 00:00:01', true);"
        ))
        .await
        .unwrap();
    let found = rows(&stage, ExecutionId(execution)).await;
    let kinds: Vec<_> = found.iter().map(|row| row.signal_type.as_str()).collect();
    assert_eq!(kinds, ["asked", "null", "none", "late"]);
    assert_eq!(
        found[0].received_at.to_rfc3339(),
        "2026-01-05T00:00:01+00:00"
    );
    assert!(found[0].is_processed && found[1].data.is_null() && found[2].data.is_null());
    assert_eq!(found[3].data, json!({ "nul": "\0" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_facts_of_a_workflow_are_read() {
    let stage = Stage::new(Variant::Alembic).await;
    let facts = stage
        .store
        .load_workflow_facts(WorkflowId(stage.workflow))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (facts.is_active, facts.version, facts.name.as_str()),
        (true, 1, "test")
    );
    let none = stage
        .store
        .load_workflow_facts(WorkflowId(Uuid::new_v4()))
        .await;
    assert_eq!(none.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_an_earlier_version_has_written_are_kept_by_the_migration() {
    let database = Database::make(Recipe::new(Variant::Alembic)).await;
    let client = database.client().await;
    let (before, after) = migrate::MIGRATIONS.split_at(3);
    client
        .batch_execute(
            "CREATE SCHEMA workflow_worker;
             CREATE TABLE workflow_worker.migrations (
                 version integer NOT NULL PRIMARY KEY, name text NOT NULL, checksum bytea NOT NULL,
                 applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .await
        .unwrap();
    for migration in before {
        client.batch_execute(migration.text).await.unwrap();
        let applied =
            "INSERT INTO workflow_worker.migrations (version, name, checksum) VALUES ($1, $2, '')";
        client
            .execute(applied, &[&migration.version, &migration.name])
            .await
            .unwrap();
    }
    client
        .batch_execute(
            "INSERT INTO workflow_worker.steps
             SELECT gen_random_uuid(), n, 'a', 't', 1, 1, (ARRAY['input', 'success', 'failed'])[n], '{}', NULL, now(), now(),
                    gen_random_uuid(), 1
             FROM generate_series(1, 3) AS n",
        )
        .await
        .unwrap();
    let applied = migrate::migrate(&database.url().parse().unwrap())
        .await
        .unwrap();
    let expected: Vec<i32> = after.iter().map(|migration| migration.version).collect();
    assert_eq!(applied, expected);
    let kept = "SELECT count(*) FROM workflow_worker.steps WHERE scope = ''";
    assert_eq!(count(&client, kept).await, 3);
    for status in ["opened", "continued", "skipped", "joined"] {
        let set = format!(
            "UPDATE workflow_worker.steps SET status = '{status}', scope = 'orders[3]/lines[0]'"
        );
        client.batch_execute(&set).await.unwrap();
    }
    let unknown = client
        .batch_execute("UPDATE workflow_worker.steps SET status = 'unknown'")
        .await;
    assert!(unknown.is_err());
}
