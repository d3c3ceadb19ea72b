//! Workers under limits: never more, always as many as there may be, and no place is lost with a worker.

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::{Queue, insert_many, keyed};
use crate::support::database::Variant;
use crate::support::flow::{
    PATIENCE, chain, count, get, insert, insert_workflow, node, set, trigger, wait_for_calls,
    wait_for_completion,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::wait::wait_until;
use crate::support::worker::WorkerProcess;

/// The most executions of which nodes `get` ran at the same time, by their recorded times; by a text of each execution.
async fn most_at_once(client: &Client, by: &str) -> i64 {
    let most = format!(
        "WITH span AS (
             SELECT step.started_at, step.finished_at, {by} AS grouped
             FROM workflow_worker.steps AS step
             JOIN workflowexecution AS host ON host.id = step.execution_id
             JOIN workflow ON workflow.id = host.workflow_id
             WHERE step.node_id = 'get' AND step.status = 'success'
         )
         SELECT max(at_once) FROM (
             SELECT count(*) AS at_once
             FROM span AS one JOIN span AS other
               ON other.grouped = one.grouped
              AND other.started_at <= one.started_at AND other.finished_at > one.started_at
             GROUP BY one.started_at, one.grouped) AS counted"
    );
    count(client, &most).await
}

fn slow(hits: &Hits, ms: u32) -> Value {
    chain(vec![
        trigger(),
        get("get", &hits.url(&format!("/slow?ms={ms}"))),
    ])
}

async fn start(queue: &Queue, number: usize) -> Vec<InProcess> {
    let mut workers = Vec::new();
    for _ in 0..number {
        workers.push(InProcess::start(&queue.database.url(), &[NO_POLL]).await);
    }
    workers
}

async fn finish_all(queue: &Queue, workers: Vec<InProcess>) {
    wait_until("everything to end", PATIENCE, async || {
        match count(
            &queue.client,
            "SELECT count(*) FROM workflow_worker.run_queue",
        )
        .await
        {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    for worker in workers {
        worker.stop().await;
    }
    let completed = "SELECT count(*) FROM workflowexecution WHERE status <> 'completed'";
    assert_eq!(count(&queue.client, completed).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn six_workers_run_never_more_than_the_limit_and_as_many_as_it_allows() {
    let queue = Queue::new().await;
    let hits = Hits::start();
    let workflow = insert_workflow(&queue.client, &slow(&hits, 200)).await;
    queue.set_limit("workflow", &workflow.to_string(), 3).await;
    let workers = start(&queue, 6).await;
    insert_many(&queue.client, workflow, 12, &json!({})).await;
    for _ in 0..6 {
        insert(&queue.client, workflow).await;
    }
    finish_all(&queue, workers).await;
    assert_eq!(most_at_once(&queue.client, "host.workflow_id").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_owner_and_each_key_has_its_own_places() {
    let queue = Queue::on(Variant::Jsonb).await;
    let hits = Hits::start();
    queue.set_limit("owner", "*", 2).await;
    queue.set_limit("key", "*", 1).await;
    let workers = start(&queue, 4).await;
    for _ in 0..2 {
        // Each has an owner of its own.
        let workflow = insert_workflow(&queue.client, &slow(&hits, 150)).await;
        for key in ["a", "b", "c"] {
            insert_many(&queue.client, workflow, 3, &keyed(key)).await;
        }
    }
    finish_all(&queue, workers).await;
    assert_eq!(most_at_once(&queue.client, "workflow.owner_id").await, 2);
    let key = "host.execution_state -> 'execution_data' ->> 'concurrency_key'";
    assert_eq!(most_at_once(&queue.client, key).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_waits_for_its_children_leaves_its_place_to_them() {
    let queue = Queue::new().await;
    queue.set_limit("owner", "*", 1).await;
    let child = insert_workflow(&queue.client, &chain(vec![set("a", "x", json!(1))])).await;
    let sub = json!({ "workflow_id": child, "wait_for_completion": true });
    let nodes = vec![
        node("one", "sub_workflow", sub.clone()),
        node("two", "sub_workflow", sub),
    ];
    let parent = insert_workflow(&queue.client, &chain(nodes)).await;
    let same_owner = "UPDATE workflow SET owner_id = (SELECT owner_id FROM workflow WHERE id = $1) WHERE id = $2";
    let same_owner = queue.client.execute(same_owner, &[&parent, &child]).await;
    same_owner.unwrap();
    let workers = start(&queue, 2).await;
    let mut parents = Vec::new();
    for _ in 0..3 {
        parents.push(insert(&queue.client, parent).await);
    }
    for parent in parents {
        wait_for_completion(&queue.client, parent).await;
    }
    finish_all(&queue, workers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_raised_lets_go_at_once_what_waits_for_it() {
    let queue = Queue::new().await;
    let hits = Hits::start();
    let workflow = insert_workflow(&queue.client, &slow(&hits, 3_000)).await;
    let id = workflow.to_string();
    queue.set_limit("workflow", &id, 1).await;
    let workers = start(&queue, 2).await;
    insert_many(&queue.client, workflow, 4, &json!({})).await;
    wait_for_calls(&hits, "/slow?ms=3000", 1).await;
    queue.set_limit("workflow", &id, 3).await;
    wait_for_calls(&hits, "/slow?ms=3000", 3).await;
    finish_all(&queue, workers).await;
    // They ran beside the first one: it was not its end that let them go.
    assert_eq!(most_at_once(&queue.client, "host.workflow_id").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_removed_lets_go_all_that_waits() {
    let queue = Queue::new().await;
    queue.set_limit("key", "k", 1).await;
    let held = queue.insert(2_500, &keyed("k")).await;
    let workers = start(&queue, 2).await;
    let remove = "SELECT workflow_worker.remove_limit('key', 'k')";
    queue.client.execute(remove, &[]).await.unwrap();
    let waiting = "SELECT count(*) FROM workflow_worker.run_queue WHERE held_by IS NOT NULL AND worker_id IS NULL";
    wait_until("nothing to wait", PATIENCE, async || {
        match count(&queue.client, waiting).await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    assert_eq!(held.len(), 2_500);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_leak_no_place_and_let_nobody_wait() {
    let queue = Queue::new().await;
    let hits = Hits::start();
    let workflow = insert_workflow(&queue.client, &slow(&hits, 300)).await;
    queue.set_limit("workflow", &workflow.to_string(), 2).await;
    let url = queue.database.url();
    let settings = [
        ("WORKFLOW_WORKER_HEARTBEAT_INTERVAL", "0.2"),
        ("WORKFLOW_WORKER_CONCURRENCY", "2"),
    ];
    let executions = insert_many(&queue.client, workflow, 12, &json!({})).await;
    let mut workers: Vec<WorkerProcess> = (0..3)
        .map(|_| WorkerProcess::spawn(&url, &settings))
        .collect();
    for calls in [2, 5, 8] {
        wait_for_calls(&hits, "/slow?ms=300", calls).await;
        workers.remove(0).kill9();
        workers.push(WorkerProcess::spawn(&url, &settings));
    }
    for execution in executions {
        wait_for_completion(&queue.client, execution).await;
    }
    assert!(most_at_once(&queue.client, "host.workflow_id").await <= 2);
    let key = format!("workflow:{workflow}");
    assert_eq!(queue.usage(&key, "running").await, 0);
    // Both places can be had.
    let more: Vec<Uuid> = insert_many(&queue.client, workflow, 6, &json!({})).await;
    for execution in more {
        wait_for_completion(&queue.client, execution).await;
    }
    assert_eq!(most_at_once(&queue.client, "host.workflow_id").await, 2);
}
