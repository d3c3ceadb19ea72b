//! Many that wait, and many that claim, change and end them at once.

use std::time::Duration;

use chrono::NaiveDateTime;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use uuid::Uuid;
use workflow_worker::clock;
use workflow_worker::ids::WorkerId;
use workflow_worker::store::claim::Taken;
use workflow_worker::store::record::{Disposition, Record, Recorded};
use workflow_worker::store::{Store, sql};

use super::{Queue, ids, insert_many, keyed, record, register};
use crate::support::claims::claim;
use crate::support::database::Variant;
use crate::support::flow::{chain, count, insert_workflow, trigger};
use crate::support::wait::{pause, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
const KEYS: [&str; 3] = ["a", "b", "c"];
const MAX_RUNNING: i64 = 2;

/// How many pages a claim with one free slot touches. The least of three: one whose index entry goes to a full page may have
/// to look for dead entries there first, which has nothing to do with what waits.
async fn pages_of_a_claim(client: &mut Client, worker: WorkerId) -> i64 {
    pages_of_a_claim_from(client, worker, None).await
}

/// The same, from a place in the queue.
async fn pages_of_a_claim_from(
    client: &mut Client,
    worker: WorkerId,
    from: Option<NaiveDateTime>,
) -> i64 {
    let mut least = i64::MAX;
    for _ in 0..3 {
        least = least.min(pages_of_one_claim(client, worker, from).await);
    }
    least
}

/// The same of one, in a transaction that is taken back.
async fn pages_of_one_claim(
    client: &mut Client,
    worker: WorkerId,
    from: Option<NaiveDateTime>,
) -> i64 {
    let transaction = client.transaction().await.unwrap();
    let prepare = format!(
        "PREPARE the_claim (uuid, bigint, timestamp) AS {}",
        sql::CLAIM.text
    );
    transaction.batch_execute(&prepare).await.unwrap();
    let from = from.map_or("NULL".to_owned(), |place| format!("'{place}'"));
    let explain = format!(
        "EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) EXECUTE the_claim ('{}', 1, {from})",
        worker.0
    );
    let plan = transaction.query_one(&explain, &[]).await.unwrap();
    let plan: serde_json::Value = plan.get(0);
    transaction.rollback().await.unwrap();
    client.batch_execute("DEALLOCATE the_claim").await.unwrap();
    let buffers = &plan[0]["Plan"];
    buffers["Shared Hit Blocks"].as_i64().unwrap() + buffers["Shared Read Blocks"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_limit_costs_the_claims_of_others_nothing() {
    let mut queue = Queue::on(Variant::Alembic).await;
    let other = insert_workflow(&queue.client, &chain(vec![trigger()])).await;
    queue.set_limit("key", "crowd", 2).await;
    let few = queue.insert(3, &keyed("crowd")).await.len();
    queue.claim_all().await;
    insert_many(&queue.client, other, 1, &json!({})).await;
    let before = pages_of_a_claim(&mut queue.client, queue.worker).await;
    let many = queue.insert(20_000, &keyed("crowd")).await.len();
    // Of the bulk two are due; they meet the claim that puts them to wait.
    let claimed = queue.claim_all().await;
    assert_eq!(claimed.len(), 1);
    insert_many(&queue.client, other, 1, &json!({})).await;
    let waiting = queue.usage("key:crowd", "waiting").await;
    assert_eq!(waiting, i64::try_from(few + many).unwrap() - 2);
    let after = pages_of_a_claim(&mut queue.client, queue.worker).await;
    // A level more in an index or two, and pages with dead entries.
    assert!(after <= before + 30, "{before} pages, and then {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_from_the_place_of_the_last_passes_nothing_that_an_old_snapshot_keeps() {
    let mut queue = Queue::on(Variant::Alembic).await;
    queue.insert(5_000, &json!({})).await;
    let holder = queue.database.client().await;
    holder
        .batch_execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM workflow_worker.run_queue",
        )
        .await
        .unwrap();
    queue
        .client
        .batch_execute("DELETE FROM workflow_worker.run_queue")
        .await
        .unwrap();
    queue.insert(10, &json!({})).await;
    let (taken, _) = claim(&queue.store, queue.worker, 1).await;
    let front = taken.front.unwrap();
    let all = pages_of_a_claim(&mut queue.client, queue.worker).await;
    let few = pages_of_a_claim_from(&mut queue.client, queue.worker, Some(front.place)).await;
    assert!(all > 5_000, "{all} pages: nothing was in the way");
    assert!(few < 200, "{few} pages");
    // What came with a higher priority has a place before that: a claim from the beginning finds it.
    let urgent = queue.insert_one(&json!({ "priority": "CRITICAL" })).await;
    let mut late = Taken::default();
    let later = queue
        .store
        .claim(queue.worker, 1, Some(front.place), |taken| late = taken);
    later.await.unwrap();
    assert_ne!(ids(&late.claimed), [urgent]);
    assert_eq!(ids(&queue.claim(1).await), [urgent]);
    holder.batch_execute("ROLLBACK").await.unwrap();
}

/// Fails if more executions with one key are held than the limit allows.
async fn check_limit(client: &Client) {
    let too_many = "SELECT count(*) FROM (
            SELECT FROM workflow_worker.run_queue WHERE worker_id IS NOT NULL AND limit_key IS NOT NULL
            GROUP BY limit_key HAVING count(*) > $1) AS crowded";
    let row = client.query_one(too_many, &[&MAX_RUNNING]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0, "more than the limit run");
}

/// Sends a record until it is in, or the lease or the execution is gone, as a runner does.
async fn send(store: &Store, worker: WorkerId, mut record: Record) {
    loop {
        let sent = store.record(worker, &[record.clone()]).await.unwrap();
        if matches!(sent[0], Recorded::Committed | Recorded::Stale) {
            return;
        }
        let (execution, fence) = (record.execution_id, record.fence);
        let Some(seen) = store.load_host_row(execution, fence).await.unwrap() else {
            return store.forget(execution, fence).await.unwrap();
        };
        if sent[0] == Recorded::HostChanged {
            record.revision += 1;
            record.host_version = seen.host_version;
            record.host_status = seen.status;
        }
        pause(Duration::from_millis(1)).await;
    }
}

/// Claims, ends and parks what it gets, and lets go what waits, until nothing is left. Returns how many it had.
async fn work(store: Store, worker: WorkerId, slots: usize, client: Client) -> usize {
    let mut had = 0;
    let give_up = clock::monotonic() + PATIENCE;
    loop {
        assert!(clock::monotonic() < give_up, "it does not come to an end");
        let (claim, _) = claim(&store, worker, slots).await;
        check_limit(&client).await;
        if claim.claimed.is_empty() && claim.held == 0 {
            let left = "SELECT count(*) FROM workflow_worker.run_queue";
            if count(&client, left).await == 0 {
                return had;
            }
            store.admit(&[], Some("")).await.unwrap();
            pause(Duration::from_millis(3)).await;
        }
        for claimed in claim.claimed {
            // Some sleep in between.
            let dice = claimed.revision + i32::from(claimed.execution_id.0.as_bytes()[0]);
            let next = if dice % 3 == 0 {
                let park = Disposition::Park(Some(clock::now()));
                record(worker, &claimed, "running", park)
            } else {
                record(worker, &claimed, "completed", Disposition::Finish)
            };
            send(&store, worker, next).await;
            had += 1;
            store.admit(&claimed.limit_keys, None).await.unwrap();
        }
    }
}

/// The platform's and the operator's side: everything that touches rows that wait, in any order.
async fn meddle(client: &mut Client, executions: &[Uuid]) {
    for (round, pair) in executions.chunks(2).enumerate() {
        let transaction = client.transaction().await.unwrap();
        for execution in pair.iter().rev() {
            let write =
                "UPDATE workflowexecution SET status = status WHERE id = $1 AND status = 'running'";
            transaction.execute(write, &[execution]).await.unwrap();
        }
        pause(Duration::from_millis(2)).await;
        for execution in pair {
            // One of them may be over.
            let raise = "SELECT workflow_worker.set_priority(execution_id, '7') FROM workflow_worker.run_queue
                         WHERE execution_id = $1";
            transaction.query(raise, &[execution]).await.unwrap();
        }
        transaction.commit().await.unwrap();
        if round % 5 == 0 {
            let set = "SELECT workflow_worker.set_limit('key', $1, 2)";
            client.execute(set, &[&KEYS[round % 3]]).await.unwrap();
        }
        if round % 7 == 0 {
            let gone = "DELETE FROM workflowexecution WHERE id = ANY ($1)";
            client.execute(gone, &[&pair]).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_claim_at_once_keep_every_limit_end_everything_and_meet_no_deadlock() {
    let queue = Queue::on(Variant::Alembic).await;
    let name = queue.database.name();
    // A circle is found at once, where one is.
    let quick = format!("ALTER DATABASE {name} SET deadlock_timeout = '5ms'");
    queue.client.batch_execute(&quick).await.unwrap();
    queue.set_limit("key", "*", 2).await;
    queue.set_limit("owner", "*", 5).await;
    queue
        .set_rate("workflow", "*", 50, "200 milliseconds")
        .await;
    let mut executions = Vec::new();
    for round in 0..40 {
        executions.extend(queue.insert(3, &keyed(KEYS[round % 3])).await);
    }
    let mut workers = JoinSet::new();
    for slots in [1, 2, 5, 10] {
        let (store, worker) = register(&queue.database).await;
        let client = queue.database.client().await;
        workers.spawn(work(store, worker, slots, client));
    }
    let mut platform = queue.database.client().await;
    meddle(&mut platform, &executions).await;
    let had: usize = workers.join_all().await.into_iter().sum();
    assert!(had > 80, "{had}");
    // The statistics of a session come with its end, at the latest.
    drop((platform, queue.store));
    let others = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    wait_until(
        "the other sessions to end",
        PATIENCE,
        async || match count(&queue.client, others).await {
            0 => Ok(()),
            left => Err(left),
        },
    )
    .await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(count(&queue.client, deadlocks).await, 0);
}
