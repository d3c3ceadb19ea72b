//! Whatever records, triggers and transactions of the platform do at once, none waits for another in a circle.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::Client;
use uuid::Uuid;
use workflow_worker::clock;
use workflow_worker::ids::{ExecutionId, NodeId, WorkerId, WorkflowId};
use workflow_worker::store::Store;
use workflow_worker::store::record::{NewChild, Record, Recorded};

use super::{Stage, finished, lease, worker};
use crate::support::database::Variant;
use crate::support::flow::{count, insert};
use crate::support::wait::wait_until;

const FAMILIES: usize = 6;
const CHILDREN: usize = 3;
const ROUNDS: usize = 12;
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends records until each is in, stale, or has met a change, as their runners would; returns how often one was blocked.
async fn drive(store: Store, worker: WorkerId, mut records: Vec<Record>) -> usize {
    let mut blocked = 0;
    let give_up = clock::monotonic() + PATIENCE;
    while !records.is_empty() {
        assert!(
            clock::monotonic() < give_up,
            "blocked for ever: {records:?}"
        );
        let answers = store.record(worker, &records).await.unwrap();
        let mut again = Vec::new();
        for (record, answer) in records.into_iter().zip(answers) {
            match answer {
                Recorded::Committed | Recorded::Stale => {}
                Recorded::Blocked => {
                    blocked += 1;
                    again.push(record);
                }
                Recorded::HostChanged => {
                    let seen = store.load_host_row(record.execution_id, record.fence).await;
                    let Some(seen) = seen.unwrap() else { continue };
                    again.push(Record {
                        revision: record.revision + 1,
                        host_version: seen.host_version,
                        host_status: seen.status,
                        ..record
                    });
                }
            }
        }
        records = again;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    blocked
}

/// The platform's side: single executions and many, signals before and after writes, in every order.
async fn meddle(client: &mut Client, executions: &[Uuid], round: usize) {
    let mut order = executions.to_vec();
    order.rotate_left(round % executions.len());
    if round % 2 == 1 {
        order.reverse();
    }
    for pair in order.chunks(2) {
        let transaction = client.transaction().await.unwrap();
        for execution in pair {
            let signal = "INSERT INTO workflowsignal (execution_id, signal_type)
                          SELECT id, 'go' FROM workflowexecution WHERE id = $1";
            transaction.execute(signal, &[execution]).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
        for execution in pair.iter().rev() {
            let write = "UPDATE workflowexecution SET status = status WHERE id = $1";
            transaction.execute(write, &[execution]).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }
    let all = "UPDATE workflowexecution SET next_retry_at = NULL WHERE id = ANY ($1)";
    client.execute(all, &[&order]).await.unwrap();
    if round.is_multiple_of(3) {
        let gone = "DELETE FROM workflowexecution WHERE id = ANY ($1)";
        client.execute(gone, &[&order[..2].to_vec()]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn families_that_end_at_once_on_two_workers_meet_no_deadlock() {
    let stage = Stage::new(Variant::Alembic).await;
    // A circle is found at once, where one is.
    let name = stage.database.name();
    stage
        .client
        .batch_execute(&format!(
            "ALTER DATABASE {name} SET deadlock_timeout = '5ms'"
        ))
        .await
        .unwrap();
    let (first, second) = (worker(&stage.database).await, worker(&stage.database).await);
    let mut platform = stage.database.client().await;
    let mut blocked = 0;
    for round in 0..ROUNDS {
        let mut executions = Vec::new();
        let mut of_worker: HashMap<Uuid, Vec<Record>> = HashMap::new();
        for family in 0..FAMILIES {
            let parent = insert(&stage.client, stage.workflow).await;
            let record = stage.lease(parent).await;
            let children: Vec<NewChild> =
                (0..CHILDREN).map(|_| new_child(stage.workflow)).collect();
            let ids: Vec<Uuid> = children.iter().map(|child| child.id.0).collect();
            stage.commit(Record { children, ..record }).await;
            for (index, execution) in ids.iter().chain([&parent]).enumerate() {
                let owner = if (index + family) % 2 == 0 {
                    first.1
                } else {
                    second.1
                };
                let record = lease(&stage.client, owner, *execution).await;
                let record = match (execution == &parent, round % 3) {
                    // A parent goes on, ends, or gives its children up.
                    (true, 0) => record,
                    (true, 1) => finished(record),
                    (true, _) => Record {
                        cancelled_children: ids.iter().copied().map(ExecutionId).collect(),
                        ..record
                    },
                    (false, _) => finished(record),
                };
                of_worker.entry(owner.0).or_default().push(record);
                executions.push(*execution);
            }
        }
        let mut drivers = JoinSet::new();
        for (store, id) in [first.clone(), second.clone()] {
            let records = of_worker.remove(&id.0).unwrap();
            for batch in records.chunks(5) {
                drivers.spawn(drive(store.clone(), id, batch.to_vec()));
            }
        }
        meddle(&mut platform, &executions, round).await;
        blocked += drivers.join_all().await.into_iter().sum::<usize>();
    }
    assert!(blocked > 0, "nothing ever met: the test proves nothing");
    // The statistics of a session come with its end, at the latest.
    drop((first, second, platform, stage.store));
    let others = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND query !~ 'LISTEN' AND pid <> pg_backend_pid()";
    wait_until(
        "the other sessions to end",
        PATIENCE,
        async || match count(&stage.client, others).await {
            0 => Ok(()),
            left => Err(left),
        },
    )
    .await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(count(&stage.client, deadlocks).await, 0);
}

fn new_child(workflow: Uuid) -> NewChild {
    let id = Uuid::new_v4();
    NewChild {
        id: ExecutionId(id),
        name: format!("exec-{id}"),
        workflow_id: WorkflowId(workflow),
        input: "{}".to_owned(),
        node: NodeId::from("sub"),
        visit: 1,
        depth: 1,
        is_awaited: true,
    }
}
