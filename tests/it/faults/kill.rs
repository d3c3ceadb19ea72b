//! Law: whatever workers are killed whenever, each execution completes, each node is recorded once, and after a node was
//! called, no node before it is called again (so only nodes in flight are repeated).
//!
//! Instants: kill -9 comes at random, so it hits before the claim, after it, between a call and its record, between the
//! record and its acknowledgement, and while parked.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::database::{Database, Variant};
use crate::support::flow::{chain, count, get, insert_workflow, node, trigger, wait_for_calls};
use crate::support::hits::Hits;
use crate::support::wait::wait_until;
use crate::support::worker::WorkerProcess;

const NODES: usize = 5;

fn five_calls(hits: &Hits) -> Value {
    let mut nodes = vec![trigger()];
    nodes.extend((1..=NODES).map(|n| get(&format!("h{n}"), &hits.url(&format!("/h{n}")))));
    chain(nodes)
}

async fn insert_many(client: &Client, workflow: Uuid, number: i32) {
    client
        .execute(
            "INSERT INTO workflowexecution (workflow_id) SELECT $1 FROM generate_series(1, $2)",
            &[&workflow, &number],
        )
        .await
        .unwrap();
}

/// Checks the law on what the server was asked and what the database holds. Returns how many calls were repeated.
async fn check(client: &Client, hits: &Hits, executions: i64, nodes_each: i64) -> usize {
    assert_eq!(
        count(
            client,
            "SELECT count(*) FROM workflowexecution WHERE status = 'completed'"
        )
        .await,
        executions
    );
    assert_eq!(
        count(client, "SELECT count(*) FROM workflow_worker.run_queue").await,
        0
    );
    let recorded = "SELECT count(*) FROM workflow_worker.steps WHERE status = 'success'";
    assert_eq!(count(client, recorded).await, executions * nodes_each);
    let twice = "SELECT count(*) FROM (SELECT FROM workflow_worker.steps WHERE seq > 0
                 GROUP BY execution_id, node_id, visit HAVING count(*) > 1) AS twice";
    assert_eq!(count(client, twice).await, 0, "recorded twice");
    // In the order of arrival: by execution, the last node that was called.
    let mut last: HashMap<String, usize> = HashMap::new();
    let mut calls: HashMap<String, usize> = HashMap::new();
    for hit in hits.all() {
        let key = hit.idempotency_key().expect("a key").to_owned();
        let mut parts = key.split(':');
        let execution = parts.next().unwrap().to_owned();
        let node: usize = parts
            .next()
            .unwrap()
            .trim_start_matches('h')
            .parse()
            .unwrap();
        let last = last.entry(execution).or_insert(node);
        assert!(
            node >= *last,
            "{key} was called after h{last}: it had been recorded"
        );
        *last = node;
        *calls.entry(key).or_insert(0) += 1;
    }
    assert_eq!(
        calls.len(),
        usize::try_from(executions).unwrap() * NODES,
        "a node was never called"
    );
    calls.values().map(|calls| calls - 1).sum()
}

async fn wait_until_all_completed(client: &Client, limit: Duration) {
    wait_until("all executions to complete", limit, async || {
        let open = count(
            client,
            "SELECT count(*) FROM workflowexecution WHERE status <> 'completed'",
        )
        .await;
        if open == 0 {
            Ok(())
        } else {
            Err(format!("{open} have not"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_workers_call_each_node_of_two_thousand_executions_exactly_once() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &five_calls(&hits)).await;
    let url = database.url();
    let settings = [
        ("WORKFLOW_WORKER_LOG", "warn"),
        ("WORKFLOW_WORKER_POOL_SIZE", "4"),
    ];
    let workers: Vec<WorkerProcess> = (0..4)
        .map(|_| WorkerProcess::spawn(&url, &settings))
        .collect();
    insert_many(&client, workflow, 2_000).await;
    wait_until_all_completed(&client, Duration::from_secs(180)).await;
    assert_eq!(
        check(&client, &hits, 2_000, 6).await,
        0,
        "a node was called twice"
    );
    let busy = count(
        &client,
        "SELECT count(DISTINCT worker_id) FROM workflow_worker.steps",
    )
    .await;
    assert_eq!(busy, 4, "all four took part");
    drop(workers);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_at_random_lose_nothing_and_record_nothing_twice() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let mut nodes = vec![trigger()];
    for n in 1..=NODES {
        nodes.push(get(&format!("h{n}"), &hits.url(&format!("/h{n}?ms=20"))));
    }
    // Parked for a moment in the middle.
    nodes.insert(3, node("d", "delay", json!({ "delay_seconds": 0.2 })));
    let workflow = insert_workflow(&client, &chain(nodes)).await;
    let url = database.url();
    let settings = [
        ("WORKFLOW_WORKER_LOG", "warn"),
        ("WORKFLOW_WORKER_POOL_SIZE", "4"),
        ("WORKFLOW_WORKER_CONCURRENCY", "5"),
        ("WORKFLOW_WORKER_HEARTBEAT_INTERVAL", "0.2"),
        ("WORKFLOW_WORKER_LEASE_SECONDS", "3"),
    ];
    let mut workers: Vec<WorkerProcess> = (0..4)
        .map(|_| WorkerProcess::spawn(&url, &settings))
        .collect();
    let seed = u64::from_le_bytes(Uuid::new_v4().as_bytes()[..8].try_into().unwrap());
    let mut random = Random(seed);
    let mut kills = 0;
    let executions = 600;
    insert_many(&client, workflow, executions).await;
    loop {
        let open = count(
            &client,
            "SELECT count(*) FROM workflowexecution WHERE status <> 'completed'",
        )
        .await;
        if open == 0 || kills == 40 {
            break;
        }
        crate::support::wait::pause(Duration::from_millis(50 + random.below(250))).await;
        let victim = usize::try_from(random.below(4)).unwrap();
        workers[victim].kill9();
        workers[victim] = WorkerProcess::spawn(&url, &settings);
        kills += 1;
    }
    wait_until_all_completed(&client, Duration::from_secs(120)).await;
    let repeated = check(&client, &hits, i64::from(executions), 7).await;
    assert!(
        kills >= 5,
        "only {kills} kills: the test has shown nothing (seed {seed})"
    );
    assert!(
        repeated <= kills * 5,
        "{repeated} repeated calls after {kills} kills of 5 slots each (seed {seed})"
    );
    drop(workers);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_executions_of_a_killed_worker_run_elsewhere_without_waiting_for_a_lease() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(
        &client,
        &chain(vec![trigger(), get("h", &hits.url("/h?ms=3000"))]),
    )
    .await;
    let url = database.url();
    // A lease that no test could wait for: only the presence lock can explain the rescue.
    let settings = [
        ("WORKFLOW_WORKER_LEASE_SECONDS", "600"),
        ("WORKFLOW_WORKER_POLL_INTERVAL", "3600"),
    ];
    let mut first = WorkerProcess::spawn(&url, &settings);
    insert_many(&client, workflow, 1).await;
    wait_for_calls(&hits, "/h?ms=3000", 1).await;
    wait_until(
        "the presence lock",
        Duration::from_secs(30),
        async || match count(
            &client,
            "SELECT count(*) FROM workflow_worker.workers WHERE presence_key IS NOT NULL",
        )
        .await
        {
            1 => Ok(()),
            _ => Err("not taken"),
        },
    )
    .await;
    first.kill9();
    let second = WorkerProcess::spawn(&url, &settings);
    wait_until_all_completed(&client, Duration::from_secs(60)).await;
    assert_eq!(hits.count("/h?ms=3000"), 2);
    drop(second);
}

/// A small generator whose seed is in the failure's message.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
