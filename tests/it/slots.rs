//! Slots against a real PostgreSQL: an execution that waits for nothing but the commit of its last record holds none. What
//! keeps that record from being committed is a lock that somebody else holds on the host row.

use serde_json::json;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    PATIENCE, chain, count, get, host_row, insert, insert_workflow, node, set, steps, trigger,
    wait_for_calls, wait_for_completion,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::wait::wait_until;

const ONE_SLOT: [(&str, &str); 2] = [NO_POLL, ("WORKFLOW_WORKER_CONCURRENCY", "1")];
/// With one slot, as many executions as a worker may hold in all.
const MOST_HELD: i64 = 65;

/// A workflow whose nodes take no time.
fn quick() -> serde_json::Value {
    chain(vec![trigger(), set("a", "x", json!(1))])
}

async fn insert_many(client: &Client, workflow: Uuid, number: i64) -> Vec<Uuid> {
    let sql = "INSERT INTO workflowexecution (workflow_id) SELECT $1::uuid FROM generate_series(1, $2::bigint)
               RETURNING id";
    let rows = client.query(sql, &[&workflow, &number]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Locks host rows until the transaction ends.
async fn lock<'a>(client: &'a mut Client, executions: &[Uuid]) -> Transaction<'a> {
    let open = client.transaction().await.unwrap();
    let sql = "SELECT id FROM workflowexecution WHERE id = ANY($1) ORDER BY id FOR UPDATE";
    open.query(sql, &[&executions]).await.unwrap();
    open
}

const HELD: &str = "SELECT count(*) FROM workflow_worker.run_queue WHERE worker_id IS NOT NULL";

async fn wait_for(client: &Client, what: &str, sql: &str, wanted: i64) {
    wait_until(what, PATIENCE, async || {
        let found = count(client, sql).await;
        if found == wanted { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_whose_last_record_waits_for_a_lock_keeps_no_slot_from_others() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let mut somebody = database.client().await;
    let workflow = insert_workflow(&client, &quick()).await;
    let first = insert(&client, workflow).await;
    let open = lock(&mut somebody, &[first]).await;
    let worker = InProcess::start(&database.url(), &ONE_SLOT).await;
    wait_for(&client, "it to be held", HELD, 1).await;
    let second = insert(&client, workflow).await;
    wait_for_completion(&client, second).await;
    assert_eq!(count(&client, HELD).await, 1, "the first one is held yet");
    open.commit().await.unwrap();
    wait_for_completion(&client, first).await;
    worker.stop().await;
}

/// The database itself keeps a record waiting: it brings a new graph, and somebody has locked the table of graphs.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_takes_long_holds_up_no_other_execution() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let mut somebody = database.client().await;
    let known = insert_workflow(&client, &quick()).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert(&client, known).await;
    wait_for_completion(&client, execution).await;
    let new = insert_workflow(&client, &chain(vec![trigger(), set("b", "y", json!(2))])).await;
    let open = somebody.transaction().await.unwrap();
    open.batch_execute("LOCK TABLE workflow_worker.graphs IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let stuck = insert(&client, new).await;
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'workflow_worker.graphs'::regclass";
    wait_for(&client, "its record to wait", waiting, 1).await;
    for _ in 0..3 {
        let execution = insert(&client, known).await;
        wait_for_completion(&client, execution).await;
    }
    assert_eq!(count(&client, waiting).await, 1, "it waits yet");
    assert!(!host_row(&client, stuck).await.is_completed);
    open.commit().await.unwrap();
    wait_for_completion(&client, stuck).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_held_than_the_bound_says_however_long_their_records_wait() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let mut somebody = database.client().await;
    let workflow = insert_workflow(&client, &quick()).await;
    let executions = insert_many(&client, workflow, MOST_HELD + 20).await;
    let open = lock(&mut somebody, &executions).await;
    let worker = InProcess::start(&database.url(), &ONE_SLOT).await;
    // Its slot is free, and it takes no more.
    let state = format!("SELECT ({HELD}) + 1000 * (SELECT running FROM workflow_worker.workers)");
    wait_until("as many as may be to be held", PATIENCE, async || {
        let found = count(&client, &state).await;
        assert!(found % 1000 <= MOST_HELD, "{found}");
        if found == MOST_HELD {
            Ok(())
        } else {
            Err(found)
        }
    })
    .await;
    open.commit().await.unwrap();
    wait_until("all to end", PATIENCE, async || {
        let held = count(&client, HELD).await;
        assert!(held <= MOST_HELD, "{held}");
        match count(&client, "SELECT count(*) FROM workflow_worker.run_queue").await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_after_all_starts_no_node_before_a_slot_is_free() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let mut somebody = database.client().await;
    let waits = chain(vec![
        node("w", "wait_for_signal", json!({ "signal_type": "go" })),
        get("after", &hits.url("/after")),
    ]);
    let waits = insert_workflow(&client, &waits).await;
    let runs = chain(vec![trigger(), get("long", &hits.url("/long?ms=60000"))]);
    let runs = insert_workflow(&client, &runs).await;
    let first = insert(&client, waits).await;
    let open = lock(&mut somebody, &[first]).await;
    let worker = InProcess::start(&database.url(), &ONE_SLOT).await;
    // The first one is to park and cannot, and the second one has its slot.
    let second = insert(&client, runs).await;
    wait_for_calls(&hits, "/long?ms=60000", 1).await;
    // The signal comes with the commit that lets the record through: it must not park.
    let signal = "INSERT INTO workflowsignal (id, execution_id, signal_type, signal_data, received_at, processed)
                  VALUES (gen_random_uuid(), $1, 'go', '{}', now(), false)";
    open.execute(signal, &[&first]).await.unwrap();
    open.commit().await.unwrap();
    wait_until("the signal to be taken", PATIENCE, async || {
        match steps(&client, first).await.len() {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(hits.count("/after"), 0, "the other one has the slot");
    let running = "SELECT count(*) FROM workflowexecution WHERE status = 'running'";
    assert_eq!(count(&client, running).await, 2);
    let ends = "UPDATE workflowexecution SET status = 'failed', completed_at = now(), error_message = 'enough'
                WHERE id = $1";
    client.execute(ends, &[&second]).await.unwrap();
    wait_for_completion(&client, first).await;
    assert_eq!(hits.count("/after"), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_loses_nothing_of_what_waits_for_its_commit() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let (mut one, mut other) = (database.client().await, database.client().await);
    let workflow = insert_workflow(&client, &quick()).await;
    let executions = insert_many(&client, workflow, 6).await;
    let (freed, kept) = executions.split_at(3);
    let freed_lock = lock(&mut one, freed).await;
    let kept_lock = lock(&mut other, kept).await;
    let [no_poll, one_slot] = ONE_SLOT;
    let grace = ("WORKFLOW_WORKER_GRACE_PERIOD", "4s");
    let worker = InProcess::start(&database.url(), &[no_poll, one_slot, grace]).await;
    wait_for(&client, "all to be held", HELD, 6).await;
    let stopping = tokio::spawn(worker.stop());
    let draining = "SELECT count(*) FROM workflow_worker.workers WHERE state = 'draining'";
    wait_for(&client, "the worker to drain", draining, 1).await;
    freed_lock.commit().await.unwrap();
    for execution in freed {
        wait_for_completion(&client, *execution).await;
    }
    stopping.await.unwrap();
    let due = "SELECT count(*) FROM workflow_worker.run_queue WHERE worker_id IS NULL AND ready";
    assert_eq!(count(&client, due).await, 3, "handed back");
    kept_lock.commit().await.unwrap();
    let next = InProcess::start(&database.url(), &ONE_SLOT).await;
    for execution in &executions {
        wait_for_completion(&client, *execution).await;
        assert_eq!(steps(&client, *execution).await.len(), 2);
    }
    next.stop().await;
}

/// The statement that says what comes next fails, and the claim beside it does not.
const BREAK_NEXT_DUE: &str =
    "ALTER TABLE workflow_worker.limit_openings RENAME COLUMN opens_at TO moved";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_claimed_runs_although_what_comes_next_cannot_be_said() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &quick()).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let before = insert(&client, workflow).await;
    wait_for_completion(&client, before).await;
    client.batch_execute(BREAK_NEXT_DUE).await.unwrap();
    let execution = insert(&client, workflow).await;
    wait_for_completion(&client, execution).await;
    worker.stop().await;
}
