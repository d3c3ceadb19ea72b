//! Limits on what runs at the same time, as claims and records see them.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Queue, ids, insert_many, keyed};
use crate::support::claims::claim;
use crate::support::database::Variant;
use crate::support::flow::{chain, count, insert_workflow, trigger};
use crate::support::platform::Platform;

/// A limit of each kind, on the executions that `Queue::insert` makes with `keyed("k")`.
async fn subjects(queue: &Queue) -> [(&'static str, String); 3] {
    let owner = "SELECT owner_id FROM workflow WHERE id = $1";
    let owner = queue.client.query_one(owner, &[&queue.workflow]).await;
    let owner: Uuid = owner.unwrap().get(0);
    [
        ("workflow", queue.workflow.to_string()),
        ("owner", owner.to_string()),
        ("key", "k".to_owned()),
    ]
}

#[tokio::test]
async fn no_more_than_the_limit_is_claimed_and_the_rest_waits_for_a_stated_reason() {
    for variant in Variant::WITH_HOST {
        let queue = Queue::on(variant).await;
        let other = insert_workflow(&queue.client, &chain(vec![trigger()])).await;
        for (kind, subject) in subjects(&queue).await {
            queue.set_limit(kind, &subject, 3).await;
            for _ in 0..5 {
                queue.insert_one(&keyed("k")).await;
            }
            let free = insert_many(&queue.client, other, 1, &json!({})).await;
            // The one that has no limit is behind them all, and goes with them.
            let claimed = queue.claim_all().await;
            assert_eq!(claimed.len(), 4, "{variant:?} {kind}");
            assert!(ids(&claimed).contains(&free[0]), "{variant:?} {kind}");
            let key = format!("{kind}:{subject}");
            assert_eq!(queue.usage(&key, "running").await, 3);
            assert_eq!(queue.usage(&key, "waiting").await, 2);
            let reason = "SELECT DISTINCT workflow_worker.held_reason(held_by) FROM workflow_worker.run_queue
                          WHERE held_by IS NOT NULL";
            let reason: String = queue.client.query_one(reason, &[]).await.unwrap().get(0);
            assert_eq!(reason, format!("{kind} {subject}: 3 of 3 running"));
            let clear = "DELETE FROM workflowexecution";
            queue.client.execute(clear, &[]).await.unwrap();
            let remove = "SELECT workflow_worker.remove_limit($1, $2)";
            let remove = queue.client.execute(remove, &[&kind, &subject]).await;
            remove.unwrap();
        }
    }
}

#[tokio::test]
async fn a_star_limits_each_one_separately_and_gives_way_to_one_that_is_named() {
    let queue = Queue::new().await;
    queue.set_limit("key", "*", 1).await;
    queue.set_limit("key", "big", 3).await;
    for key in ["a", "b", "big"] {
        for _ in 0..4 {
            queue.insert_one(&keyed(key)).await;
        }
    }
    queue.insert(4, &json!({})).await;
    let claimed = queue.claim_all().await;
    assert_eq!(claimed.len(), 1 + 1 + 3 + 4);
    for (key, running) in [("key:a", 1), ("key:b", 1), ("key:big", 3)] {
        assert_eq!(queue.usage(key, "running").await, running, "{key}");
    }
}

#[tokio::test]
async fn all_limits_of_an_execution_must_have_room_and_none_is_used_up_by_one_that_waits() {
    let queue = Queue::new().await;
    queue.set_limit("key", "narrow", 1).await;
    queue
        .set_limit("workflow", &queue.workflow.to_string(), 3)
        .await;
    let mut expected = Vec::new();
    for key in ["narrow", "narrow", "narrow", "wide", "wide", "wide"] {
        expected.push(queue.insert_one(&keyed(key)).await);
    }
    let claimed = ids(&queue.claim_all().await);
    assert_eq!(claimed, [expected[0], expected[3], expected[4]]);
    let held = queue.held_by(expected[1]).await;
    assert_eq!(held.as_deref(), Some("key:narrow"));
    let held = queue.held_by(expected[5]).await.unwrap();
    assert!(held.starts_with("workflow:"), "{held}");
}

#[tokio::test]
async fn what_waits_goes_on_in_the_order_of_the_queue() {
    let queue = Queue::new().await;
    queue.set_limit("key", "k", 1).await;
    let mut waiting = Vec::new();
    for priority in ["NORMAL", "LOW", "CRITICAL", "NORMAL", "HIGH"] {
        let state = json!({ "concurrency_key": "k", "priority": priority });
        waiting.push(queue.insert_one(&state).await);
    }
    let mut ran = Vec::new();
    let mut running = queue.claim_all().await.remove(0);
    // One that comes late, and one that is raised while it waits.
    let state = json!({ "concurrency_key": "k", "priority": 100 });
    waiting.push(queue.insert_one(&state).await);
    assert!(queue.claim_all().await.is_empty());
    queue.set_priority(waiting[3], "50").await;
    loop {
        ran.push(running.execution_id.0);
        queue.finish(&running).await;
        queue.admit(&running).await;
        let mut next = queue.claim_all().await;
        if next.is_empty() {
            break;
        }
        assert_eq!(next.len(), 1);
        running = next.remove(0);
    }
    let expected = [2, 5, 3, 4, 0, 1].map(|number| waiting[number]);
    assert_eq!(ran, expected);
}

#[tokio::test]
async fn one_that_comes_while_a_place_is_free_does_not_pass_those_that_wait() {
    let queue = Queue::new().await;
    queue.set_limit("key", "k", 1).await;
    let first = queue.insert_one(&keyed("k")).await;
    let second = queue.insert_one(&keyed("k")).await;
    let claimed = queue.claim_all().await;
    assert_eq!(ids(&claimed), [first]);
    queue.finish(&claimed[0]).await;
    // Nobody has looked after the place yet.
    let third = queue.insert_one(&keyed("k")).await;
    let claimed = queue.claim_all().await;
    assert_eq!(ids(&claimed), [second]);
    assert_eq!(queue.held_by(third).await.as_deref(), Some("key:k"));
}

#[tokio::test]
async fn what_has_started_goes_on_before_what_has_not() {
    let queue = Queue::new().await;
    queue.set_limit("key", "k", 1).await;
    let started = queue.insert_one(&keyed("k")).await;
    let claimed = queue.claim_all().await.remove(0);
    queue.park(&claimed, "waiting_for_signal").await;
    queue.admit(&claimed).await;
    let running = queue.insert_one(&keyed("k")).await;
    let new = queue.insert_one(&keyed("k")).await;
    let claimed = queue.claim_all().await;
    assert_eq!(ids(&claimed), [running], "one that waits counts no longer");
    let signal = "INSERT INTO workflowsignal (execution_id, signal_type) VALUES ($1, 'go')";
    queue.client.execute(signal, &[&started]).await.unwrap();
    assert!(queue.claim_all().await.is_empty());
    assert_eq!(queue.held_by(started).await.as_deref(), Some("key:k"));
    queue.finish(&claimed[0]).await;
    assert_eq!(queue.admit(&claimed[0]).await, 1);
    assert_eq!(ids(&queue.claim_all().await), [started]);
    assert_eq!(queue.held_by(new).await.as_deref(), Some("key:k"));
}

#[tokio::test]
async fn of_a_bulk_insert_only_what_may_run_is_due() {
    let queue = Queue::new().await;
    queue.set_limit("key", "*", 4).await;
    queue.insert(50, &keyed("a")).await;
    queue.insert(50, &keyed("b")).await;
    let due = "SELECT count(*) FROM workflow_worker.run_queue WHERE ready AND held_by IS NULL";
    assert_eq!(count(&queue.client, due).await, 8);
    assert_eq!(queue.claim_all().await.len(), 8);
}

#[tokio::test]
async fn the_platform_pauses_resumes_and_ends_what_waits() {
    let queue = Queue::new().await;
    let platform = Platform::connect(&queue.database).await;
    queue.set_limit("key", "k", 1).await;
    let executions = [
        queue.insert_one(&keyed("k")).await,
        queue.insert_one(&keyed("k")).await,
        queue.insert_one(&keyed("k")).await,
        queue.insert_one(&keyed("k")).await,
    ];
    let [_, paused, ended, rewritten] = executions;
    assert_eq!(queue.claim_all().await.len(), 1);
    platform.pause(paused).await.unwrap();
    assert_eq!(queue.held_by(paused).await, None);
    assert!(queue.claim_all().await.is_empty(), "it is paused");
    platform.resume(paused).await.unwrap();
    assert!(queue.claim_all().await.is_empty(), "it waits again");
    assert_eq!(queue.held_by(paused).await.as_deref(), Some("key:k"));
    let state = platform.read_state(rewritten).await.unwrap();
    platform.write_state(rewritten, &state).await;
    assert_eq!(queue.held_by(rewritten).await.as_deref(), Some("key:k"));
    // What is over is settled without a place.
    platform.terminate(ended, None).await.unwrap();
    assert_eq!(ids(&queue.claim_all().await), [ended]);
}

#[tokio::test]
async fn a_child_that_is_cancelled_is_ended_without_a_place() {
    let queue = Queue::new().await;
    let parent = queue.insert_one(&json!({})).await;
    let claimed = queue.claim_all().await.remove(0);
    queue.set_limit("key", "k", 1).await;
    queue.insert_one(&keyed("k")).await;
    let child = Uuid::new_v4();
    let start = "SELECT workflow_worker.start_child($1, $2, 'exec-child', $3, $4::text::json, 'sub', 1, 1, true)";
    let input = json!({ "concurrency_key": "k" }).to_string();
    queue
        .client
        .execute(start, &[&parent, &child, &queue.workflow, &input])
        .await
        .unwrap();
    queue.claim_all().await;
    assert_eq!(queue.held_by(child).await.as_deref(), Some("key:k"));
    queue.finish(&claimed).await;
    assert_eq!(ids(&queue.claim_all().await), [child]);
}

#[tokio::test]
async fn the_dead_hold_no_place() {
    let queue = Queue::new().await;
    queue.set_limit("key", "k", 2).await;
    for _ in 0..3 {
        queue.insert_one(&keyed("k")).await;
    }
    let dead = queue.claim_all().await;
    assert_eq!(dead.len(), 2);
    let silent = "UPDATE workflow_worker.workers SET heartbeat_at = now() - interval '1 day'";
    queue.client.execute(silent, &[]).await.unwrap();
    assert_eq!(queue.store.rescue(&[queue.worker.0], 10).await.unwrap(), 2);
    let alive = super::register(&queue.database).await;
    let (claim, _) = claim(&alive.0, alive.1, 10).await;
    assert_eq!(claim.claimed.len(), 2);
    assert_eq!(queue.usage("key:k", "running").await, 2);
    assert_eq!(queue.usage("key:k", "waiting").await, 1);
}

#[tokio::test]
async fn a_limit_counts_what_runs_already_and_a_change_holds_at_once() {
    let queue = Queue::new().await;
    queue.insert(3, &keyed("k")).await;
    let claimed = queue.claim(2).await;
    queue.set_limit("key", "k", 2).await;
    queue.insert(6, &keyed("k")).await;
    assert!(queue.claim_all().await.is_empty());
    queue.set_limit("key", "k", 4).await;
    let admitted = queue.store.admit(&[], Some("")).await.unwrap();
    assert_eq!((admitted.let_go, admitted.next_key), (2, None));
    assert_eq!(queue.claim_all().await.len(), 2);
    // Lowered: what runs goes on, and nothing takes its place.
    queue.set_limit("key", "k", 1).await;
    for claimed in &claimed {
        queue.finish(claimed).await;
        assert_eq!(queue.admit(claimed).await, 0);
    }
    let remove = "SELECT workflow_worker.remove_limit('key', 'k')";
    queue.client.execute(remove, &[]).await.unwrap();
    let admitted = queue.store.admit(&[], Some("")).await.unwrap();
    assert_eq!(admitted.let_go, 5);
    assert_eq!(queue.claim_all().await.len(), 5);
}

#[tokio::test]
async fn a_limit_that_is_set_in_an_open_transaction_stops_nobody() {
    let queue = Queue::new().await;
    let mut operator = queue.database.client().await;
    queue.insert(3, &keyed("k")).await;
    queue.insert(3, &json!({})).await;
    let transaction = operator.transaction().await.unwrap();
    let set = "SELECT workflow_worker.set_limit('key', 'k', 1)";
    transaction.execute(set, &[]).await.unwrap();
    // Those that are to wait are out of reach until it ends, and no others.
    let claimed = queue.claim_all().await;
    assert_eq!(claimed.len(), 4);
    queue.insert_one(&keyed("k")).await;
    assert_eq!(queue.claim_all().await.len(), 1, "there is no limit yet");
    transaction.commit().await.unwrap();
    assert!(queue.claim_all().await.is_empty());
    assert_eq!(queue.usage("key:k", "waiting").await, 2);
}

#[tokio::test]
async fn a_place_that_was_promised_to_one_that_is_paused_goes_to_the_next() {
    let queue = Queue::new().await;
    let platform = Platform::connect(&queue.database).await;
    queue.set_limit("key", "k", 1).await;
    let mut executions = Vec::new();
    for _ in 0..3 {
        executions.push(queue.insert_one(&keyed("k")).await);
    }
    let claimed = queue.claim_all().await;
    queue.finish(&claimed[0]).await;
    assert_eq!(queue.admit(&claimed[0]).await, 1);
    assert_eq!(queue.admit(&claimed[0]).await, 0, "it is promised");
    platform.pause(executions[1]).await.unwrap();
    let admitted = queue.store.admit(&[], Some("")).await.unwrap();
    assert_eq!(admitted.let_go, 1, "the poll finds it");
    assert_eq!(ids(&queue.claim_all().await), [executions[2]]);
}

#[tokio::test]
async fn any_text_is_a_concurrency_key_and_what_is_none_limits_nothing() {
    let queue = Queue::new().await;
    queue.set_limit("key", "*", 1).await;
    let long = |end: &str| format!("{}{end}", "ä".repeat(3_000));
    for key in [
        json!("a:b"),
        json!("*"),
        json!(7),
        json!(true),
        json!(long("1")),
        json!(long("2")),
        json!("it's \"quoted\" \\ %"),
    ] {
        let state = json!({ "execution_data": { "concurrency_key": key } });
        queue.insert(2, &state).await;
    }
    assert_eq!(queue.claim_all().await.len(), 7);
    for key in [json!(""), Value::Null, json!("\u{0}")] {
        let state = json!({ "concurrency_key": key });
        queue.insert(2, &state).await;
    }
    assert_eq!(queue.claim_all().await.len(), 6);
    // The limit of one that is named by its whole text.
    queue.set_limit("key", &long("1"), 2).await;
    let admitted = queue.store.admit(&[], Some("")).await.unwrap();
    assert_eq!(admitted.let_go, 1);
}

#[tokio::test]
async fn what_counts_no_longer_is_forgotten() {
    let queue = Queue::new().await;
    queue.set_limit("key", "*", 1).await;
    queue.set_rate("workflow", "*", 100, "1 millisecond").await;
    for key in ["a", "b", "c"] {
        queue.insert_one(&keyed(key)).await;
    }
    let claimed = queue.claim_all().await;
    assert_eq!(claimed.len(), 3);
    queue.finish(&claimed[0]).await;
    queue.store.forget_uses().await.unwrap();
    let uses = "SELECT count(*) FROM workflow_worker.limit_uses";
    assert_eq!(count(&queue.client, uses).await, 4, "two each");
    let starts = "SELECT count(*) FROM workflow_worker.limit_starts";
    assert_eq!(count(&queue.client, starts).await, 0);
    assert_eq!(queue.usage("key:b", "running").await, 1);
}

#[tokio::test]
async fn what_starts_while_a_limit_is_being_set_is_counted_once_it_is_known() {
    let queue = Queue::new().await;
    let workflow = queue.workflow.to_string();
    let mut other = queue.database.client().await;
    let open = other.transaction().await.unwrap();
    let set = "SELECT workflow_worker.set_limit('workflow', $1, 1)";
    open.execute(set, &[&workflow]).await.unwrap();
    queue.insert(2, &json!({})).await;
    let running = queue.claim(5).await;
    assert_eq!(running.len(), 2);
    open.commit().await.unwrap();
    // What a dispatcher does when it hears of changed limits.
    queue.store.admit(&[], Some("")).await.unwrap();
    queue.insert_one(&json!({})).await;
    assert_eq!(queue.claim(5).await.len(), 0);
    queue.finish(&running[0]).await;
    assert_eq!(queue.admit(&running[0]).await, 0, "one still runs");
    queue.finish(&running[1]).await;
    queue
        .store
        .admit(&[format!("workflow:{workflow}")], None)
        .await
        .unwrap();
    assert_eq!(queue.claim(5).await.len(), 1);
}
