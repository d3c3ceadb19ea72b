//! Rows of `workflowsignal` that anybody writes.

use std::time::Duration;

use serde_json::json;

use super::{Queued, Stage, in_an_hour, publish};
use crate::support::database::Variant;
use crate::support::flow::count;
use crate::support::wait::wait_until;
use workflow_worker::store::record::{Disposition, Record, Recorded};

/// Woken once.
fn woken() -> Option<Queued> {
    Some(Queued {
        is_ready: true,
        is_held: false,
        host_version: 1,
        is_due: true,
        revision: 1,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_wakes_whoever_waits_for_it_on_every_variant() {
    for variant in Variant::ALL {
        let mut stage = Stage::new(variant).await;
        let waiting = stage.parked("waiting_for_signal").await;
        // Waits for a child as well, or was resumed by hand.
        let running = stage.parked("running").await;
        let other = stage.parked("waiting_for_signal").await;
        stage.notified().await;

        stage.answer(waiting).await;
        assert_eq!(stage.queued(waiting).await, woken(), "{variant:?}");
        assert_eq!(stage.notified().await, [""], "{variant:?}");
        stage.answer(running).await;
        assert_eq!(stage.queued(running).await, woken(), "{variant:?}");
        assert_eq!(stage.queued(other).await.unwrap().host_version, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_with_a_deadline_is_woken_before_it() {
    let stage = Stage::new(Variant::Alembic).await;
    let record = stage.held().await;
    let execution = record.execution_id.0;
    stage
        .commit(Record {
            publish: Some(publish("waiting_for_signal")),
            disposition: Disposition::Park(Some(in_an_hour())),
            ..record
        })
        .await;
    stage.answer(execution).await;
    assert_eq!(stage.queued(execution).await, woken());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_signals_in_one_statement_are_one_notification() {
    let mut stage = Stage::new(Variant::Alembic).await;
    for _ in 0..20 {
        stage.parked("waiting_for_signal").await;
    }
    stage.notified().await;
    stage
        .client
        .batch_execute(
            "INSERT INTO workflowsignal (execution_id, signal_type)
             SELECT id, 'go' FROM workflowexecution CROSS JOIN generate_series(1, 3)",
        )
        .await
        .unwrap();
    let woken = "SELECT count(*) FROM workflow_worker.run_queue WHERE ready AND host_version = 1";
    assert_eq!(count(&stage.client, woken).await, 20);
    assert_eq!(stage.notified().await, [""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_written_into_the_requests_row_wakes() {
    for variant in Variant::WITH_HOST {
        let stage = Stage::new(variant).await;
        let execution = stage.parked("waiting_for_signal").await;
        let request = json!({ "message": "?", "options": ["a", "b"] });
        let request = stage.signal(execution, "human_approval", &request).await;
        let parked_again = "UPDATE workflow_worker.run_queue SET ready = false, run_at = 'infinity', host_version = 0";
        stage.client.batch_execute(parked_again).await.unwrap();

        let update = |set: &str| format!("UPDATE workflowsignal SET {set} WHERE id = '{request}'");
        // What says nothing new.
        for set in ["received_at = received_at", "processed = true"] {
            stage.client.batch_execute(&update(set)).await.unwrap();
            assert_eq!(
                stage.queued(execution).await.unwrap().host_version,
                0,
                "{set}"
            );
        }
        let set = "processed = false, signal_data = '{\"message\": \"?\", \"decision\": \"a\"}'";
        stage.client.batch_execute(&update(set)).await.unwrap();
        assert_eq!(stage.queued(execution).await, woken(), "{variant:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_holds_the_execution_is_told_and_cannot_park_past_the_signal() {
    let mut stage = Stage::new(Variant::Alembic).await;
    let record = stage.held().await;
    let execution = record.execution_id.0;
    stage.notified().await;
    // It has looked, and seen nothing.
    stage.answer(execution).await;
    assert_eq!(stage.notified().await, ["interrupt"]);
    let park = Record {
        publish: Some(publish("waiting_for_signal")),
        disposition: Disposition::Park(None),
        ..record
    };
    assert_eq!(stage.record(park.clone()).await, Recorded::HostChanged);
    let held = stage.queued(execution).await.unwrap();
    assert!(held.is_held && held.host_version == 1, "{held:?}");
    // It looks again, and sends the same again.
    let again = Record {
        revision: 1,
        host_version: 1,
        ..park
    };
    stage.commit(again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_execution_or_one_that_waits_for_a_retry_keeps_the_signal_and_sleeps_on() {
    let mut stage = Stage::new(Variant::Alembic).await;
    let paused = stage.parked("paused").await;
    let record = stage.held().await;
    let retrying = record.execution_id.0;
    let mut failed = publish("failed");
    failed.next_retry_at = Some(in_an_hour().naive_utc());
    stage
        .commit(Record {
            publish: Some(failed),
            disposition: Disposition::Park(Some(in_an_hour())),
            ..record
        })
        .await;
    stage.notified().await;
    for execution in [paused, retrying] {
        stage.answer(execution).await;
        let queued = stage.queued(execution).await.unwrap();
        assert_eq!(
            (queued.is_ready, queued.is_due, queued.host_version),
            (false, false, 1)
        );
    }
    assert!(stage.notified().await.is_empty());
    // The resume finds it.
    let resume = "UPDATE workflowexecution SET status = 'running' WHERE id = $1";
    stage.client.execute(resume, &[&paused]).await.unwrap();
    assert!(stage.queued(paused).await.unwrap().is_ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_execution_without_a_place_in_the_queue_gets_one() {
    let mut stage = Stage::new(Variant::Alembic).await;
    // As the platform's earlier worker left it.
    let row = stage
        .client
        .query_one(
            "INSERT INTO workflowexecution (workflow_id, status, execution_state)
             VALUES ($1, 'waiting_for_signal', '{\"priority\": \"HIGH\"}') RETURNING id",
            &[&stage.workflow],
        )
        .await
        .unwrap();
    let execution = row.get(0);
    assert_eq!(stage.queued(execution).await, None);
    let finished =
        "INSERT INTO workflow_worker.finished (execution_id, outcome, fence, revision, checkpoint)
                    VALUES ($1, 'failed', 1, 7, '{\"v\": 1}')";
    stage.client.execute(finished, &[&execution]).await.unwrap();
    stage.notified().await;
    stage.answer(execution).await;
    let queued = stage.queued(execution).await.unwrap();
    assert!(
        queued.is_ready && queued.is_due && queued.revision == 7,
        "{queued:?}"
    );
    assert_eq!(stage.notified().await, [""]);
    let kept = "SELECT count(*) FROM workflow_worker.run_queue WHERE priority = 10 AND checkpoint IS NOT NULL";
    assert_eq!(count(&stage.client, kept).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_for_an_execution_that_is_over_changes_nothing() {
    let mut stage = Stage::new(Variant::Alembic).await;
    let record = stage.held().await;
    let execution = record.execution_id.0;
    stage.commit(super::finished(record)).await;
    stage.notified().await;
    stage.answer(execution).await;
    assert_eq!(stage.queued(execution).await, None);
    assert!(stage.notified().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_insert_a_signal_wakes_behind_row_level_security_as_well() {
    let stage = Stage::with_row_level_security().await;
    let execution = stage.parked("waiting_for_signal").await;
    // It sees nothing of the worker's schema.
    stage
        .client
        .batch_execute(&format!(
            "SET ROLE service_role;
             INSERT INTO workflowsignal (execution_id, signal_type) VALUES ('{execution}', 'go');
             RESET ROLE;"
        ))
        .await
        .unwrap();
    assert_eq!(stage.queued(execution).await, woken());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_a_signal_waits_for_the_lock_is_seen() {
    let stage = Stage::new(Variant::Alembic).await;
    let execution = stage.parked("failed").await;
    let mut other = stage.database.client().await;
    // A record that parks it as waiting, not committed yet.
    let record = other.transaction().await.unwrap();
    record
        .batch_execute(&format!(
            "SELECT set_config('workflow_worker.writer', 'on', true);
             UPDATE workflowexecution SET status = 'waiting_for_signal' WHERE id = '{execution}';
             UPDATE workflow_worker.run_queue SET revision = 2 WHERE execution_id = '{execution}';"
        ))
        .await
        .unwrap();
    let signalling = async { stage.answer(execution).await };
    let committing = async {
        let watcher = stage.database.client().await;
        wait_until(
            "the signal to wait",
            Duration::from_secs(10),
            async || match count(&watcher, "SELECT count(*) FROM pg_locks WHERE NOT granted").await
            {
                0 => Err("nobody waits"),
                _ => Ok(()),
            },
        )
        .await;
        record.commit().await.unwrap();
    };
    tokio::join!(signalling, committing);
    assert!(stage.queued(execution).await.unwrap().is_ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_for_long_does_not_fail_the_signal_and_the_repair_finds_it() {
    let stage = Stage::new(Variant::Alembic).await;
    let execution = stage.parked("waiting_for_signal").await;
    let mut other = stage.database.client().await;
    let holder = other.transaction().await.unwrap();
    holder
        .batch_execute("SELECT FROM workflow_worker.run_queue FOR UPDATE")
        .await
        .unwrap();
    stage.answer(execution).await;
    holder.rollback().await.unwrap();
    assert!(!stage.queued(execution).await.unwrap().is_ready);
    assert_eq!(stage.store.repair_parked().await.unwrap(), 1);
    assert!(stage.queued(execution).await.unwrap().is_ready);
}
