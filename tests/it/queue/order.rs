//! Who comes first, and what changes it.

use serde_json::json;
use uuid::Uuid;
use workflow_worker::store::StoreError;

use super::{Queue, ids, keyed};
use crate::support::claims::claim;
use crate::support::database::Variant;
use crate::support::platform::Platform;

#[tokio::test]
async fn each_point_of_priority_is_worth_a_minute_of_waiting() {
    let queue = Queue::new().await;
    let normal = queue.insert_one(&json!({})).await;
    let critical = queue.insert_one(&json!({ "priority": "CRITICAL" })).await;
    let low = queue.insert_one(&json!({ "priority": "LOW" })).await;
    let high = queue.insert_one(&json!({ "priority": "high" })).await;
    assert_eq!(ids(&queue.claim(1).await), [critical]);
    assert_eq!(ids(&queue.claim(1).await), [high]);
    // LOW is four points behind NORMAL.
    queue.waits_since(low, 3).await;
    queue.waits_since(normal, 0).await;
    assert_eq!(ids(&queue.claim(1).await), [normal]);
    let newer = queue.insert_one(&json!({})).await;
    queue.waits_since(low, 5).await;
    assert_eq!(ids(&queue.claim(10).await), [low, newer]);
}

#[tokio::test]
async fn whoever_waits_long_enough_is_overtaken_by_nobody() {
    let queue = Queue::new().await;
    let starving = queue.insert_one(&json!({ "priority": -1_000 })).await;
    queue.waits_since(starving, 1_021).await;
    queue.insert(50, &json!({ "priority": "CRITICAL" })).await;
    assert_eq!(ids(&queue.claim(1).await), [starving]);
}

#[tokio::test]
async fn every_number_is_a_priority_at_every_time() {
    let queue = Queue::new().await;
    let mut expected = Vec::new();
    for (priority, run_at) in [
        ("2147483647", "0001-01-01"),
        ("2147483647", "now"),
        ("-2147483648", "0001-01-01"),
        ("5", "now"),
        ("-2147483648", "now"),
        ("2147483647", "9999-12-31"),
        ("-2147483648", "infinity"),
    ] {
        let execution = queue.insert_one(&json!({})).await;
        queue.set_priority(execution, priority).await;
        let set = "UPDATE workflow_worker.run_queue SET run_at = $2::text::timestamptz WHERE execution_id = $1";
        let set = queue.client.execute(set, &[&execution, &run_at]).await;
        set.unwrap();
        expected.push(execution);
    }
    // 2147483647 minutes are 4,083 years.
    let order = "SELECT array_agg(execution_id ORDER BY
                     extract(epoch FROM least(run_at, '99999-01-01')) - priority::numeric * 60, run_at)
                 FROM workflow_worker.run_queue";
    let order: Vec<Uuid> = queue.client.query_one(order, &[]).await.unwrap().get(0);
    assert_eq!(ids(&queue.claim(10).await), order);
    assert_eq!(order.len(), expected.len());
}

#[tokio::test]
async fn what_comes_due_by_time_takes_its_place_by_priority_among_all_that_is_due() {
    let queue = Queue::new().await;
    let delayed = queue.insert(60, &json!({})).await;
    let urgent = queue.insert_one(&json!({ "priority": "CRITICAL" })).await;
    let park =
        "UPDATE workflow_worker.run_queue SET ready = false, run_at = now() - interval '1 minute'";
    queue.client.execute(park, &[]).await.unwrap();
    let last = "UPDATE workflow_worker.run_queue SET run_at = now() - interval '1 second' WHERE execution_id = $1";
    queue.client.execute(last, &[&urgent]).await.unwrap();
    assert_eq!(ids(&queue.claim(1).await), [urgent]);
    let mut rest = ids(&queue.claim(100).await);
    rest.sort();
    assert_eq!(rest, delayed);
}

#[tokio::test]
async fn a_priority_is_changed_while_it_waits_and_stays_through_the_platforms_rewrites() {
    for variant in Variant::WITH_HOST {
        let queue = Queue::on(variant).await;
        let platform = Platform::connect(&queue.database).await;
        let state = json!({ "execution_data": { "priority": "LOW" } });
        let execution = queue.insert_one(&state).await;
        let other = queue.insert_one(&json!({})).await;
        assert_eq!(queue.priority(execution).await, 1);
        assert_eq!(queue.set_priority(execution, " high ").await, 10);
        platform.pause(execution).await.unwrap();
        platform.resume(execution).await.unwrap();
        assert_eq!(queue.priority(execution).await, 10, "{variant:?}");
        assert_eq!(ids(&queue.claim(1).await), [execution]);
        // One that is new in the state counts.
        let mut state = platform.read_state(other).await.unwrap();
        state
            .execution_data
            .insert("priority".into(), json!("CRITICAL"));
        platform.write_state(other, &state).await;
        assert_eq!(queue.priority(other).await, 20, "{variant:?}");
    }
}

#[tokio::test]
async fn a_rewrite_of_what_is_due_costs_it_no_place() {
    let queue = Queue::new().await;
    let platform = Platform::connect(&queue.database).await;
    let first = queue.insert_one(&json!({})).await;
    let second = queue.insert_one(&json!({})).await;
    let state = platform.read_state(first).await.unwrap();
    platform.write_state(first, &state).await;
    assert_eq!(ids(&queue.claim(2).await), [first, second]);
}

#[tokio::test]
async fn a_child_has_the_priority_of_its_parent() {
    for variant in Variant::ALL {
        let queue = Queue::on(variant).await;
        let parent = queue.insert_one(&json!({ "priority": "HIGH" })).await;
        let child = Uuid::new_v4();
        // An input that jsonb refuses, where the column does not.
        let input = if variant == Variant::Jsonb {
            "{}"
        } else {
            "{\"text\": \"\\u0000\"}"
        };
        let start = "SELECT workflow_worker.start_child($1, $2, 'exec-child', $3, $4::text::json, 'sub', 1, 1, true)";
        queue
            .client
            .execute(start, &[&parent, &child, &queue.workflow, &input])
            .await
            .unwrap();
        assert_eq!(queue.priority(child).await, 10, "{variant:?}");
    }
}

#[tokio::test]
async fn what_comes_back_after_its_end_has_the_priority_and_the_key_that_it_had() {
    let queue = Queue::new().await;
    let execution = queue
        .insert_one(&json!({ "concurrency_key": "tenant" }))
        .await;
    queue.set_priority(execution, "17").await;
    let claimed = queue.claim(1).await.remove(0);
    queue.finish(&claimed).await;
    // As the platform does it: pause is allowed from any status.
    for status in ["paused", "running"] {
        let write =
            "UPDATE workflowexecution SET status = $2, execution_state = '{}' WHERE id = $1";
        let write = queue.client.execute(write, &[&execution, &status]).await;
        write.unwrap();
    }
    assert_eq!(queue.priority(execution).await, 17);
    queue.set_limit("key", "tenant", 1).await;
    let other = queue.insert_one(&keyed("tenant")).await;
    assert_eq!(ids(&queue.claim_all().await), [execution]);
    assert_eq!(queue.held_by(other).await.as_deref(), Some("key:tenant"));
}

#[tokio::test]
async fn what_was_claimed_is_handed_out_although_what_comes_next_cannot_be_said() {
    let queue = Queue::new().await;
    let execution = queue.insert_one(&json!({})).await;
    let spoil = "ALTER TABLE workflow_worker.limit_openings RENAME COLUMN opens_at TO moved";
    queue.client.batch_execute(spoil).await.unwrap();
    // The store has not prepared it yet: that is what fails, before the claim is even sent.
    let (taken, next) = claim(&queue.store, queue.worker, 10).await;
    assert_eq!(ids(&taken.claimed), [execution]);
    assert!(matches!(next, Err(StoreError::Schema { .. })), "{next:?}");
}
