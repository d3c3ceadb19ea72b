//! Waits for signals and for child executions, as the database sees them: what wakes whom, in which commit, and that
//! nobody waits for a lock in a circle. No worker runs here; the tests call the store as a runner does.

mod children;
mod deadlocks;
mod records;
mod repair;
mod signals;

use serde_json::json;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use uuid::Uuid;
use workflow_worker::ids::{ExecutionId, Fence, Timestamp, WorkerId};
use workflow_worker::store::Store;
use workflow_worker::store::record::{Disposition, Publish, Record, Recorded};
use workflow_worker::store::workers::WorkerRow;

use crate::support::database::{Database, Recipe, Variant};
use crate::support::flow::{chain, insert, insert_workflow, trigger};
use crate::support::in_process::config;
use crate::support::migrated::MIGRATED;
use crate::support::notifications::listen;

/// A database, a worker's store, and somebody who listens.
struct Stage {
    client: Client,
    store: Store,
    worker: WorkerId,
    workflow: Uuid,
    heard: mpsc::UnboundedReceiver<String>,
    database: Database,
}

/// A row of the run queue.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Queued {
    is_ready: bool,
    is_held: bool,
    host_version: i32,
    /// Due by time: now or in the past.
    is_due: bool,
    revision: i32,
}

impl Stage {
    async fn new(variant: Variant) -> Self {
        Self::on(Database::migrated(variant).await).await
    }

    async fn with_row_level_security() -> Self {
        let recipe = Recipe::new(Variant::Alembic)
            .row_level_security()
            .prepared(MIGRATED);
        Self::on(Database::make(recipe).await).await
    }

    async fn on(database: Database) -> Self {
        let client = database.client().await;
        let (store, worker) = worker(&database).await;
        let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
        let heard = listen(&database.url()).await;
        // Somebody sleeps, so that inserts notify.
        client
            .batch_execute("SELECT pg_advisory_lock_shared(2002873189, 1)")
            .await
            .unwrap();
        Self {
            client,
            store,
            worker,
            workflow,
            heard,
            database,
        }
    }

    /// A new execution, held by the worker.
    async fn held(&self) -> Record {
        let execution = insert(&self.client, self.workflow).await;
        self.lease(execution).await
    }

    /// Gives the worker the lease of an execution, and returns an empty record under it.
    async fn lease(&self, execution: Uuid) -> Record {
        lease(&self.client, self.worker, execution).await
    }

    /// A new execution, parked without a time, with this status.
    async fn parked(&self, status: &str) -> Uuid {
        let record = self.held().await;
        let execution = record.execution_id.0;
        self.commit(Record {
            publish: Some(publish(status)),
            disposition: Disposition::Park(None),
            ..record
        })
        .await;
        execution
    }

    async fn record(&self, record: Record) -> Recorded {
        self.record_all(&[record]).await.remove(0)
    }

    async fn record_all(&self, records: &[Record]) -> Vec<Recorded> {
        self.store.record(self.worker, records).await.unwrap()
    }

    async fn commit(&self, record: Record) {
        assert_eq!(self.record(record).await, Recorded::Committed);
    }

    async fn queued(&self, execution: Uuid) -> Option<Queued> {
        queued(&self.client, execution).await
    }

    /// What was notified since the last call, in order.
    async fn notified(&mut self) -> Vec<String> {
        self.client
            .batch_execute("NOTIFY workflow_worker, 'that is all'")
            .await
            .unwrap();
        let mut payloads = Vec::new();
        loop {
            let payload = self.heard.recv().await.unwrap();
            if payload == "that is all" {
                return payloads;
            }
            payloads.push(payload);
        }
    }

    /// Inserts a signal by the shortest statement there is.
    async fn signal(&self, execution: Uuid, signal_type: &str, data: &serde_json::Value) -> Uuid {
        let row = self
            .client
            .query_one(
                "INSERT INTO workflowsignal (execution_id, signal_type, signal_data)
                 VALUES ($1, $2, $3::text::json) RETURNING id",
                &[&execution, &signal_type, &data.to_string()],
            )
            .await
            .unwrap();
        row.get(0)
    }

    async fn answer(&self, execution: Uuid) -> Uuid {
        self.signal(
            execution,
            "human_approval",
            &json!({ "decision": "approve" }),
        )
        .await
    }
}

/// A store as a worker's, and the worker's row.
async fn worker(database: &Database) -> (Store, WorkerId) {
    let config = config(&database.url(), &[]);
    let store = Store::new(&config.database).unwrap();
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

async fn lease(client: &Client, worker: WorkerId, execution: Uuid) -> Record {
    let row = client
        .query_one(
            "UPDATE workflow_worker.run_queue AS queued
             SET worker_id = $1, fence = nextval('workflow_worker.fence'), claimed_at = now()
             FROM workflowexecution AS host
             WHERE queued.execution_id = $2 AND host.id = $2
             RETURNING queued.fence, queued.revision, queued.host_version, host.status",
            &[&worker.0, &execution],
        )
        .await
        .unwrap();
    Record {
        revision: row.get("revision"),
        host_version: row.get("host_version"),
        host_status: row.get("status"),
        ..Record::new(worker, ExecutionId(execution), Fence(row.get("fence")))
    }
}

async fn queued(client: &Client, execution: Uuid) -> Option<Queued> {
    let rows = client
        .query(
            "SELECT ready, worker_id IS NOT NULL AS is_held, host_version, run_at <= now() AS is_due, revision
             FROM workflow_worker.run_queue WHERE execution_id = $1",
            &[&execution],
        )
        .await
        .unwrap();
    rows.first().map(|row| Queued {
        is_ready: row.get("ready"),
        is_held: row.get("is_held"),
        host_version: row.get("host_version"),
        is_due: row.get("is_due"),
        revision: row.get("revision"),
    })
}

fn publish(status: &str) -> Publish {
    Publish {
        status: status.to_owned(),
        current_node_id: None,
        execution_state: None,
        error_message: None,
        retry_count: 0,
        next_retry_at: None,
    }
}

/// A record that ends the execution.
fn finished(record: Record) -> Record {
    Record {
        publish: Some(publish("completed")),
        disposition: Disposition::Finish,
        ..record
    }
}

fn in_an_hour() -> Timestamp {
    workflow_worker::clock::now() + chrono::TimeDelta::hours(1)
}
