//! The run queue: its order, and the limits on what runs and starts. Most tests claim and record as a worker does, without
//! one; `running` and `rates` let workers run.

mod crowd;
mod limits;
mod order;
mod rates;
mod refusals;
mod running;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;
use workflow_worker::ids::WorkerId;
use workflow_worker::store::Store;
use workflow_worker::store::claim::Claimed;
use workflow_worker::store::record::{Disposition, Publish, Record, Recorded};
use workflow_worker::store::workers::WorkerRow;

use crate::support::claims::claim;
use crate::support::database::{Database, Variant};
use crate::support::flow::{chain, insert_workflow, trigger};
use crate::support::in_process::config;

/// A database, and a worker's store.
struct Queue {
    client: Client,
    store: Store,
    worker: WorkerId,
    workflow: Uuid,
    database: Database,
}

impl Queue {
    async fn new() -> Self {
        Self::on(Variant::Alembic).await
    }

    async fn on(variant: Variant) -> Self {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let (store, worker) = register(&database).await;
        let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
        Self {
            client,
            store,
            worker,
            workflow,
            database,
        }
    }

    /// Inserts executions by one statement, with these keys in their state; in the order of the queue.
    async fn insert(&self, number: i32, state: &Value) -> Vec<Uuid> {
        insert_many(&self.client, self.workflow, number, state).await
    }

    /// Inserts one execution.
    async fn insert_one(&self, state: &Value) -> Uuid {
        self.insert(1, state).await.remove(0)
    }

    /// Claims up to so many; those that were put to wait are not among them.
    async fn claim(&self, slots: usize) -> Vec<Claimed> {
        claim(&self.store, self.worker, slots).await.0.claimed
    }

    /// Claims with ten free slots until there is nothing more to be had, as the dispatcher does.
    async fn claim_all(&self) -> Vec<Claimed> {
        let mut all = Vec::new();
        loop {
            let (claim, _) = claim(&self.store, self.worker, 10).await;
            let is_last = claim.claimed.is_empty() && claim.held == 0;
            all.extend(claim.claimed);
            if is_last {
                return all;
            }
        }
    }

    /// The record that ends it.
    async fn finish(&self, claimed: &Claimed) {
        let record = record(self.worker, claimed, "completed", Disposition::Finish);
        self.send(record).await;
    }

    /// Parks it without a time, in the platform's status.
    async fn park(&self, claimed: &Claimed, status: &str) {
        let record = record(self.worker, claimed, status, Disposition::Park(None));
        self.send(record).await;
    }

    async fn send(&self, record: Record) {
        let sent = self.store.record(self.worker, &[record]).await.unwrap();
        assert_eq!(sent, [Recorded::Committed]);
    }

    /// What the dispatcher does after the end of an execution: lets go what waits for its places.
    async fn admit(&self, claimed: &Claimed) -> i32 {
        let admitted = self.store.admit(&claimed.limit_keys, None).await.unwrap();
        admitted.let_go
    }

    async fn set_limit(&self, kind: &str, subject: &str, max_running: i32) {
        let set = "SELECT workflow_worker.set_limit($1, $2, $3)";
        self.client
            .execute(set, &[&kind, &subject, &max_running])
            .await
            .unwrap();
    }

    async fn set_rate(&self, kind: &str, subject: &str, max_starts: i32, per: &str) {
        let set = "SELECT workflow_worker.set_limit($1, $2, NULL, $3, $4::text::interval)";
        self.client
            .execute(set, &[&kind, &subject, &max_starts, &per])
            .await
            .unwrap();
    }

    /// What an execution waits for.
    async fn held_by(&self, execution: Uuid) -> Option<String> {
        let held = "SELECT held_by FROM workflow_worker.run_queue
                    WHERE execution_id = $1 AND ready AND worker_id IS NULL";
        let rows = self.client.query(held, &[&execution]).await.unwrap();
        rows.first().and_then(|row| row.get(0))
    }

    async fn priority(&self, execution: Uuid) -> i32 {
        let priority = "SELECT priority FROM workflow_worker.run_queue WHERE execution_id = $1";
        let row = self.client.query_one(priority, &[&execution]).await;
        row.unwrap().get(0)
    }

    async fn set_priority(&self, execution: Uuid, priority: &str) -> i32 {
        let set = "SELECT workflow_worker.set_priority($1::uuid, $2)";
        let row = self.client.query_one(set, &[&execution, &priority]).await;
        row.unwrap().get(0)
    }

    /// One figure of `limit_usage`.
    async fn usage(&self, limit_key: &str, column: &str) -> i64 {
        let usage = format!(
            "SELECT coalesce((SELECT {column} FROM workflow_worker.limit_usage WHERE limit_key = $1), 0)"
        );
        let row = self.client.query_one(&usage, &[&limit_key]).await;
        row.unwrap().get(0)
    }

    /// Moves the moment since when an execution is due.
    async fn waits_since(&self, execution: Uuid, minutes: i32) {
        let wait = "UPDATE workflow_worker.run_queue SET run_at = now() - $2 * interval '1 minute'
                    WHERE execution_id = $1";
        self.client
            .execute(wait, &[&execution, &f64::from(minutes)])
            .await
            .unwrap();
    }
}

/// A worker's row and store.
async fn register(database: &Database) -> (Store, WorkerId) {
    let store = Store::new(&config(&database.url(), &[]).database).unwrap();
    let id = WorkerId(Uuid::new_v4());
    let row = WorkerRow {
        id,
        name: "test".to_owned(),
        hostname: "here".to_owned(),
        pid: 1,
        lease_seconds: 600.0,
        silence_seconds: 600.0,
        concurrency: 10,
    };
    store.register(&row, None).await.unwrap();
    (store, id)
}

async fn insert_many(client: &Client, workflow: Uuid, number: i32, state: &Value) -> Vec<Uuid> {
    // DEFAULTs fill the rest; the text of NULL would not.
    let rows = client
        .query(
            "WITH added AS (
                 INSERT INTO workflowexecution (workflow_id, execution_state)
                 SELECT $1, $3::text::json FROM generate_series(1, $2) RETURNING id
             )
             SELECT id FROM added ORDER BY id",
            &[&workflow, &number, &state.to_string()],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn ids(claimed: &[Claimed]) -> Vec<Uuid> {
    claimed
        .iter()
        .map(|claimed| claimed.execution_id.0)
        .collect()
}

fn record(worker: WorkerId, claimed: &Claimed, status: &str, disposition: Disposition) -> Record {
    Record {
        revision: claimed.revision,
        host_version: claimed.host_version,
        host_status: claimed.host.as_ref().unwrap().status.clone(),
        publish: Some(Publish {
            status: status.to_owned(),
            current_node_id: None,
            execution_state: None,
            error_message: None,
            retry_count: 0,
            next_retry_at: None,
        }),
        disposition,
        ..Record::new(worker, claimed.execution_id, claimed.fence)
    }
}

/// A state with a concurrency key.
fn keyed(key: &str) -> Value {
    json!({ "execution_data": { "concurrency_key": key } })
}
