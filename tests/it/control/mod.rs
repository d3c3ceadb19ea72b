//! Control flow against a real database: what waits, loops, branches, is tried, and starts other workflows.

#![expect(
    clippy::needless_pass_by_value,
    reason = "builders whose arguments are written in place"
)]

mod approval;
mod approval_limits;
mod attempts;
mod branches;
mod chaos;
mod loop_kills;
mod loops;
mod programs;
mod recorded;
mod side_by_side;
mod signals;
mod sub_workflow;
mod sub_workflow_limits;
mod variants;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::database::{Database, Variant};
use crate::support::flow::{PATIENCE, host_row, insert_with, insert_workflow, wait_until_not_held};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::platform::Platform;
use crate::support::state::assert_api_can_read;
use crate::support::wait::wait_until;

/// A database, a server that counts, and a worker that hears everything and polls nothing.
pub(super) struct Stage {
    pub(super) database: Database,
    pub(super) client: Client,
    pub(super) hits: Hits,
    pub(super) platform: Platform,
    pub(super) worker: Option<InProcess>,
}

impl Stage {
    pub(super) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With settings of the worker.
    pub(super) async fn with(settings: &[(&str, &str)]) -> Self {
        let mut stage = Self::without_worker(Variant::Alembic).await;
        stage.start(settings).await;
        stage
    }

    pub(super) async fn without_worker(variant: Variant) -> Self {
        let database = Database::migrated(variant).await;
        Self {
            client: database.client().await,
            hits: Hits::start(),
            platform: Platform::connect(&database).await,
            worker: None,
            database,
        }
    }

    pub(super) async fn start(&mut self, settings: &[(&str, &str)]) {
        let mut all = vec![NO_POLL];
        all.extend(settings);
        self.worker = Some(InProcess::start(&self.database.url(), &all).await);
    }

    pub(super) async fn stop(self) {
        if let Some(worker) = self.worker {
            worker.stop().await;
        }
    }

    /// Runs a graph with no data.
    pub(super) async fn run(&self, graph: &Value) -> Uuid {
        self.run_with(graph, &json!({})).await
    }

    pub(super) async fn run_with(&self, graph: &Value, data: &Value) -> Uuid {
        let workflow = insert_workflow(&self.client, graph).await;
        insert_with(&self.client, workflow, data).await
    }

    /// Waits until it waits for a signal, in the column and inside, and nobody holds it.
    pub(super) async fn wait_for_waiting(&self, execution: Uuid) {
        wait_until("it to wait for a signal", PATIENCE, async || {
            let row = host_row(&self.client, execution).await;
            match row.status.as_str() {
                "waiting_for_signal" => Ok(()),
                _ => Err(format!("{} ({:?})", row.status, row.error_message)),
            }
        })
        .await;
        wait_until_not_held(&self.client, execution).await;
        let row = host_row(&self.client, execution).await;
        assert_eq!(row.status, "waiting_for_signal");
        assert_eq!(row.state["status"], "waiting_for_signal");
        assert!(!row.is_completed);
        assert_api_can_read(&row.state);
    }

    /// A signal by the shortest statement that there is.
    pub(super) async fn signal(&self, execution: Uuid, signal_type: &str, data: &Value) -> Uuid {
        signal(&self.client, execution, signal_type, data).await
    }

    pub(super) async fn signals(&self, execution: Uuid) -> Vec<Signal> {
        signals(&self.client, execution).await
    }

    /// The one request of an execution.
    pub(super) async fn request(&self, execution: Uuid) -> Signal {
        let mut all = self.signals(execution).await;
        all.retain(|signal| signal.data.get("options").is_some());
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

/// A row of `workflowsignal`.
#[derive(Clone, Debug)]
pub(super) struct Signal {
    pub(super) id: Uuid,
    pub(super) signal_type: String,
    pub(super) data: Value,
    pub(super) is_processed: bool,
}

pub(super) async fn signal(
    client: &Client,
    execution: Uuid,
    signal_type: &str,
    data: &Value,
) -> Uuid {
    client
        .query_one(
            "INSERT INTO workflowsignal (execution_id, signal_type, signal_data)
             VALUES ($1, $2, $3::text::json) RETURNING id",
            &[&execution, &signal_type, &data.to_string()],
        )
        .await
        .unwrap()
        .get(0)
}

/// In the order in which they came.
pub(super) async fn signals(client: &Client, execution: Uuid) -> Vec<Signal> {
    client
        .query(
            "SELECT id, signal_type, signal_data::text, processed FROM workflowsignal
             WHERE execution_id = $1 ORDER BY received_at",
            &[&execution],
        )
        .await
        .unwrap()
        .iter()
        .map(|row| Signal {
            id: row.get(0),
            signal_type: row.get(1),
            data: serde_json::from_str(row.get(2)).unwrap(),
            is_processed: row.get(3),
        })
        .collect()
}

/// How often each step of a node was recorded with that status, over all executions.
pub(super) async fn successes(client: &Client, node: &str) -> i64 {
    client
        .query_one(
            "SELECT count(*) FROM workflow_worker.steps WHERE node_id = $1 AND status = 'success'",
            &[&node],
        )
        .await
        .unwrap()
        .get(0)
}
