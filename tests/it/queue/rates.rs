//! Limits on how many executions start within a period.

use std::time::Duration;

use serde_json::json;

use super::{Queue, ids, keyed};
use crate::support::claims::claim;
use crate::support::flow::{count, wait_for_completion};
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::wait::{pause, wait_until};

#[tokio::test]
async fn no_more_than_the_rate_start_and_the_next_is_known_to_the_microsecond() {
    let queue = Queue::new().await;
    queue.set_rate("key", "k", 3, "1 hour").await;
    for _ in 0..5 {
        queue.insert_one(&keyed("k")).await;
    }
    let claimed = queue.claim_all().await;
    assert_eq!(claimed.len(), 3);
    // Their ends free nothing.
    for claimed in &claimed {
        queue.finish(claimed).await;
        assert_eq!(queue.admit(claimed).await, 0);
    }
    let is_exact = "SELECT (next_start_at = (SELECT min(taken_at) FROM workflow_worker.limit_starts) + interval '1 hour')
                           ::integer::bigint
                    FROM workflow_worker.limit_usage";
    assert_eq!(count(&queue.client, is_exact).await, 1);
    assert_eq!(queue.usage("key:k", "starts").await, 3);
    let (_, next) = claim(&queue.store, queue.worker, 1).await;
    assert!(next.unwrap().next_opening_at.is_some(), "for the timer");
    let reason =
        "SELECT DISTINCT workflow_worker.held_reason(held_by) FROM workflow_worker.run_queue";
    let reason: String = queue.client.query_one(reason, &[]).await.unwrap().get(0);
    let expected = "key k: 3 starts per 01:00:00 are used up, the next is possible at ";
    assert!(reason.starts_with(expected), "{reason}");
    // As if the hour of one were over.
    let pass = "UPDATE workflow_worker.limit_starts SET taken_at = taken_at - interval '1 hour' WHERE seq = 1";
    queue.client.execute(pass, &[]).await.unwrap();
    assert_eq!(queue.admit(&claimed[0]).await, 1);
    assert_eq!(queue.claim_all().await.len(), 1);
}

#[tokio::test]
async fn only_a_first_start_counts() {
    let queue = Queue::new().await;
    queue.set_rate("key", "k", 1, "1 hour").await;
    let execution = queue.insert_one(&keyed("k")).await;
    for _ in 0..3 {
        let claimed = queue.claim_all().await;
        assert_eq!(ids(&claimed), [execution]);
        queue.park(&claimed[0], "waiting_for_signal").await;
        let signal = "INSERT INTO workflowsignal (execution_id, signal_type) VALUES ($1, 'go')";
        queue.client.execute(signal, &[&execution]).await.unwrap();
    }
    assert_eq!(queue.usage("key:k", "starts").await, 1);
}

#[tokio::test]
async fn both_bounds_of_one_limit_hold() {
    let queue = Queue::new().await;
    let set = "SELECT workflow_worker.set_limit('key', 'k', 2, 3, '1 hour')";
    queue.client.execute(set, &[]).await.unwrap();
    queue.insert(6, &keyed("k")).await;
    let first = queue.claim_all().await;
    assert_eq!(first.len(), 2);
    let mut started = first.len();
    for claimed in &first {
        queue.finish(claimed).await;
        queue.admit(claimed).await;
        started += queue.claim_all().await.len();
    }
    assert_eq!(started, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept_in_every_period_and_its_next_start_is_on_time_without_a_poll() {
    const PERIOD: Duration = Duration::from_millis(1_500);
    let queue = Queue::new().await;
    queue
        .set_rate("workflow", &queue.workflow.to_string(), 3, "1.5 seconds")
        .await;
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(InProcess::start(&queue.database.url(), &[NO_POLL]).await);
    }
    let mut executions = queue.insert(5, &json!({})).await;
    for _ in 0..4 {
        executions.push(queue.insert_one(&json!({})).await);
    }
    for execution in executions {
        wait_for_completion(&queue.client, execution).await;
    }
    let starts = "SELECT extract(epoch FROM started_at)::float8 FROM workflow_worker.steps
                  WHERE seq > 0 ORDER BY started_at";
    let starts = queue.client.query(starts, &[]).await.unwrap();
    let starts: Vec<f64> = starts.iter().map(|row| row.get(0)).collect();
    assert_eq!(starts.len(), 9);
    for window in starts.windows(4) {
        // Nodes start a moment after the claim that counts; and that moment varies.
        let apart = window[3] - window[0];
        assert!(apart > PERIOD.as_secs_f64() - 0.25, "{starts:?}");
    }
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_goes_on_with_another_worker_when_the_one_that_knew_the_time_is_gone() {
    let queue = Queue::new().await;
    queue.set_rate("key", "k", 1, "2 seconds").await;
    let first = InProcess::start(&queue.database.url(), &[NO_POLL]).await;
    let executions = queue.insert(2, &keyed("k")).await;
    wait_until(
        "one to wait",
        crate::support::flow::PATIENCE,
        async || match queue.usage("key:k", "waiting").await {
            1 => Ok(()),
            waiting => Err(waiting),
        },
    )
    .await;
    first.stop().await;
    pause(Duration::from_millis(10)).await;
    let second = InProcess::start(&queue.database.url(), &[NO_POLL]).await;
    for execution in executions {
        wait_for_completion(&queue.client, execution).await;
    }
    second.stop().await;
}
