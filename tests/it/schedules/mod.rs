//! Cron schedules: each time fires once, on time, whatever happens to the workers.
//!
//! The expression is of once a year, and the tests set `next_run_at` by hand: so a fire comes when a test wants it, and the
//! clock on the wall adds none.

/// Changes by SQL.
mod changes;
/// Many workers, and workers that are killed.
mod exactly_once;
/// What a fire leaves behind, on each variant of the tables.
mod fires;
/// The functions in SQL, and what they refuse.
mod functions;
/// Missed times and overlaps.
mod policies;

use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::database::{Database, Variant};
use crate::support::flow::{PATIENCE, chain, count, insert_workflow, node, trigger};
use crate::support::wait::wait_until;

/// Once a year, on New Year.
pub(crate) const YEARLY: &str = "0 0 1 1 *";

/// A database with a workflow of one node.
pub(crate) struct Stage {
    pub(crate) database: Database,
    pub(crate) client: Client,
    pub(crate) workflow: Uuid,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::on(Variant::Alembic).await
    }

    pub(crate) async fn on(variant: Variant) -> Self {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
        Self {
            database,
            client,
            workflow,
        }
    }

    /// A workflow whose executions wait until they get the signal `go`.
    pub(crate) async fn waiting_workflow(&self) -> Uuid {
        let wait = node("w", "wait_for_signal", json!({"signal_type": "go"}));
        insert_workflow(&self.client, &chain(vec![trigger(), wait])).await
    }

    pub(crate) fn url(&self) -> String {
        self.database.url()
    }

    /// A row of workflowschedule by plain SQL; `next_run_at` is an SQL expression.
    pub(crate) async fn insert(&self, workflow: Uuid, expression: &str, next_run_at: &str) -> Uuid {
        self.client
            .query_one(
                &format!(
                    "INSERT INTO workflowschedule (id, workflow_id, cron_expression, is_active, next_run_at)
                     VALUES (gen_random_uuid(), $1, $2, true, {next_run_at}) RETURNING id"
                ),
                &[&workflow, &expression],
            )
            .await
            .unwrap()
            .get(0)
    }

    /// Makes it due at this moment.
    pub(crate) async fn make_due(&self, schedule: Uuid) {
        self.update(schedule, "next_run_at = now() AT TIME ZONE 'utc'")
            .await;
    }

    pub(crate) async fn update(&self, schedule: Uuid, assignments: &str) {
        let changed = self
            .client
            .execute(
                &format!("UPDATE workflowschedule SET {assignments} WHERE id = $1"),
                &[&schedule],
            )
            .await
            .unwrap();
        assert_eq!(changed, 1);
    }

    /// Waits until an SQL condition on the view `schedules` holds for this one.
    pub(crate) async fn wait_for(&self, schedule: Uuid, condition: &str) {
        wait_until(condition, PATIENCE, async || {
            let row = self
                .client
                .query_one(
                    &format!(
                        "SELECT coalesce({condition}, false), to_json(schedules)::text
                         FROM workflow_worker.schedules WHERE schedule_id = $1"
                    ),
                    &[&schedule],
                )
                .await
                .unwrap();
            if row.get(0) {
                Ok(())
            } else {
                Err(row.get::<_, String>(1))
            }
        })
        .await;
    }

    /// A column of the view, as text.
    pub(crate) async fn shown(&self, schedule: Uuid, column: &str) -> Option<String> {
        self.client
            .query_one(
                &format!(
                    "SELECT {column}::text FROM workflow_worker.schedules WHERE schedule_id = $1"
                ),
                &[&schedule],
            )
            .await
            .unwrap()
            .get(0)
    }

    /// Its executions, oldest first.
    pub(crate) async fn executions(&self, schedule: Uuid) -> Vec<Uuid> {
        self.client
            .query(
                "SELECT id FROM workflowexecution
                 WHERE execution_state -> 'execution_data' ->> 'schedule_id' = $1::uuid::text
                 ORDER BY started_at, execution_state -> 'execution_data' ->> 'scheduled_at'",
                &[&schedule],
            )
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect()
    }

    pub(crate) async fn wait_for_executions(&self, schedule: Uuid, number: usize) -> Vec<Uuid> {
        wait_until(&format!("{number} execution(s)"), PATIENCE, async || {
            let executions = self.executions(schedule).await;
            if executions.len() >= number {
                Ok(executions)
            } else {
                Err(executions.len())
            }
        })
        .await
    }

    /// Ends an execution of the waiting workflow.
    pub(crate) async fn let_go(&self, execution: Uuid) {
        self.client
            .execute(
                "INSERT INTO workflowsignal (execution_id, signal_type, signal_data) VALUES ($1, 'go', '{}')",
                &[&execution],
            )
            .await
            .unwrap();
    }

    pub(crate) async fn count(&self, query: &str) -> i64 {
        count(&self.client, query).await
    }
}
