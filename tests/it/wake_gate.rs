//! The wake gate against a real PostgreSQL: inserts notify only while somebody sleeps, and none waits for the poll, which
//! is an hour away in all of these.

use std::time::Duration;

use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    chain, count, get, insert, insert_workflow, trigger, wait_for_calls, wait_for_completion,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::notifications::listen;
use crate::support::wait::{SOON, pause, wait_until};

/// One slot, so that one slow execution makes the worker full.
const ONE_SLOT: [(&str, &str); 2] = [NO_POLL, ("WORKFLOW_WORKER_CONCURRENCY", "1")];

async fn sleepers(client: &Client) -> i64 {
    count(
        client,
        "SELECT count(*) FROM pg_locks
         WHERE locktype = 'advisory' AND objsubid = 2 AND classid = 2002873189 AND objid = 1 AND granted
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .await
}

async fn wait_for_sleepers(client: &Client, wanted: i64) {
    wait_until(&format!("{wanted} workers to sleep"), SOON, async || {
        let found = sleepers(client).await;
        if found == wanted { Ok(()) } else { Err(found) }
    })
    .await;
}

/// What is heard by the time that a notification of our own has come.
async fn heard_so_far(client: &Client, heard: &mut UnboundedReceiver<String>) -> Vec<String> {
    let mark = Uuid::new_v4().to_string();
    client
        .execute("SELECT pg_notify('workflow_worker', $1)", &[&mark])
        .await
        .unwrap();
    let mut payloads = Vec::new();
    while let Some(payload) = heard.recv().await {
        if payload == mark {
            break;
        }
        payloads.push(payload);
    }
    payloads
}

/// A worker with one slot that runs a call which takes `ms`, and has one more execution to do: it is full, and knows it.
async fn full_worker(
    database: &Database,
    client: &Client,
    hits: &Hits,
    ms: u32,
) -> (InProcess, Uuid, Uuid) {
    let slow = insert_workflow(
        client,
        &chain(vec![
            trigger(),
            get("slow", &hits.url(&format!("/slow?ms={ms}"))),
        ]),
    )
    .await;
    let quick = insert_workflow(client, &chain(vec![trigger()])).await;
    let worker = InProcess::start(&database.url(), &ONE_SLOT).await;
    wait_for_sleepers(client, 1).await;
    insert(client, slow).await;
    wait_for_calls(hits, &format!("/slow?ms={ms}"), 1).await;
    // This one is notified; the worker learns from it that it has more to do than slots.
    let next = insert(client, quick).await;
    wait_for_sleepers(client, 0).await;
    (worker, quick, next)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_sleeps_is_notified_once_per_statement() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let mut heard = listen(&database.url()).await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    wait_for_sleepers(&client, 1).await;
    heard_so_far(&client, &mut heard).await;
    let many =
        "INSERT INTO workflowexecution (workflow_id) SELECT $1::uuid FROM generate_series(1, 20)";
    client.execute(many, &[&workflow]).await.unwrap();
    assert_eq!(heard_so_far(&client, &mut heard).await, [""]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_every_worker_is_full_inserts_notify_nobody_and_run_when_a_slot_is_free() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let hits = Hits::start();
    let (worker, quick, next) = full_worker(&database, &client, &hits, 1_500).await;
    let mut heard = listen(&database.url()).await;
    let mut executions = vec![next];
    for _ in 0..20 {
        executions.push(insert(&client, quick).await);
    }
    let notified = heard_so_far(&client, &mut heard).await;
    assert_eq!(notified, Vec::<String>::new(), "nobody slept");
    for execution in executions {
        wait_for_completion(&client, execution).await;
    }
    // The load is over, and it says again that it sleeps.
    wait_for_sleepers(&client, 1).await;
    let after = insert(&client, quick).await;
    wait_for_completion(&client, after).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_sleeps_is_woken_although_another_one_is_full() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let hits = Hits::start();
    // Its slow call outlives the test.
    let (full, quick, next) = full_worker(&database, &client, &hits, 20_000).await;
    let free = InProcess::start(&database.url(), &ONE_SLOT).await;
    wait_for_completion(&client, next).await;
    wait_for_sleepers(&client, 1).await;
    for _ in 0..5 {
        let execution = insert(&client, quick).await;
        wait_for_completion(&client, execution).await;
    }
    free.stop().await;
    drop(full);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_notified_nobody_and_commits_late_is_seen_at_once() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let mut late = database.client().await;
    let hits = Hits::start();
    let (worker, quick, next) = full_worker(&database, &client, &hits, 500).await;
    let open = late.transaction().await.unwrap();
    let sql = "INSERT INTO workflowexecution (workflow_id) VALUES ($1) RETURNING id";
    let inserted: Uuid = open.query_one(sql, &[&quick]).await.unwrap().get(0);
    wait_for_completion(&client, next).await;
    // It has said that it may sleep, and cannot be sure yet; so it goes on looking.
    wait_for_sleepers(&client, 1).await;
    pause(Duration::from_millis(300)).await;
    open.commit().await.unwrap();
    wait_for_completion(&client, inserted).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_does_not_seem_to_sleep() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    wait_for_sleepers(&client, 1).await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE application_name = 'workflow-worker listener' AND datname = current_database()";
    assert_eq!(count(&client, cut).await, 1);
    // It comes back by itself.
    wait_for_sleepers(&client, 1).await;
    worker.stop().await;
    wait_for_sleepers(&client, 0).await;
}

/// Producers with lulls, bursts, long transactions and rollbacks; workers of different sizes that get full and idle
/// again. Whatever was committed runs, although nothing polls.
#[tokio::test(flavor = "multi_thread")]
async fn no_insert_waits_for_the_poll_whatever_the_producers_do() {
    const PRODUCERS: u64 = 8;
    const ROUNDS: usize = 60;
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let mut heard = listen(&database.url()).await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let small = InProcess::start(&database.url(), &ONE_SLOT).await;
    let large_size = [NO_POLL, ("WORKFLOW_WORKER_CONCURRENCY", "6")];
    let large = InProcess::start(&database.url(), &large_size).await;
    let mut producers = tokio::task::JoinSet::new();
    for seed in 0..PRODUCERS {
        let mut client = database.client().await;
        producers.spawn(async move {
            let mut rng = TestRng::from_seed(RngAlgorithm::XorShift, &seed.to_le_bytes().repeat(2));
            let mut committed = 0_i64;
            for _ in 0..ROUNDS {
                let rows = rng.random_range(1..4_i64);
                let open = client.transaction().await.unwrap();
                let sql = "INSERT INTO workflowexecution (workflow_id)
                           SELECT $1::uuid FROM generate_series(1, $2::bigint)";
                open.execute(sql, &[&workflow, &rows]).await.unwrap();
                if rng.random_range(0..4) == 0 {
                    pause(Duration::from_millis(rng.random_range(1..40))).await;
                }
                if rng.random_range(0..8) == 0 {
                    open.rollback().await.unwrap();
                } else {
                    open.commit().await.unwrap();
                    committed += rows;
                }
                if rng.random_range(0..3) == 0 {
                    pause(Duration::from_millis(rng.random_range(1..60))).await;
                }
            }
            committed
        });
    }
    let committed: i64 = producers.join_all().await.iter().sum();
    wait_until("all to complete", Duration::from_secs(60), async || {
        let sql = "SELECT count(*) FROM workflowexecution WHERE status = 'completed'";
        let done = count(&client, sql).await;
        if done == committed {
            Ok(())
        } else {
            Err(format!("{done} of {committed}"))
        }
    })
    .await;
    let notified = heard_so_far(&client, &mut heard).await.len();
    assert!(
        notified < usize::try_from(PRODUCERS).unwrap() * ROUNDS,
        "the gate was never closed"
    );
    small.stop().await;
    large.stop().await;
}
