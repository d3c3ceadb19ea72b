//! The platform's side, by plain SQL, as its API does it: no lock, the whole state read and written back, in
//! several commits.

use std::time::Duration;

use chrono::{NaiveDateTime, SubsecRound};
use serde_json::{Map, Value, json};
use tokio_postgres::{Client, Row};
use uuid::Uuid;
use workflow_worker::clock;

use super::database::Database;
use super::state::{State, assert_api_can_read, isoformat};
use super::wait::wait_until;

/// A session as the API has it.
pub(crate) struct Platform {
    client: Client,
}

/// What `Run` answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Started {
    /// `workflowexecution.id`.
    pub(crate) id: Uuid,
    /// `workflowexecution.execution_id`, the text.
    pub(crate) execution_id: String,
}

/// A row of `workflowexecution`.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) status: String,
    pub(crate) started_at: NaiveDateTime,
    pub(crate) completed_at: Option<NaiveDateTime>,
    pub(crate) error_message: Option<String>,
    pub(crate) current_node_id: Option<String>,
    pub(crate) state: Value,
    pub(crate) retry_count: i32,
    pub(crate) next_retry_at: Option<NaiveDateTime>,
}

/// A row of `executionlog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogRow {
    pub(crate) node_id: String,
    pub(crate) level: String,
    pub(crate) message: String,
}

impl Platform {
    /// Connects to a database with the platform's tables.
    pub(crate) async fn connect(database: &Database) -> Self {
        Self {
            client: database.connect().await,
        }
    }

    /// The session, for what this model has no word for.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A workflow with this graph, and a user who owns it.
    pub(crate) async fn workflow(&self, graph_config: &Value) -> Uuid {
        let (user, workflow) = (Uuid::new_v4(), Uuid::new_v4());
        let insert_user = "INSERT INTO \"user\" (id, email, is_active, is_superuser, email_verified, hashed_password) \
                           VALUES ($1, $2, true, false, true, '')";
        self.client
            .execute(insert_user, &[&user, &format!("{user}@example.com")])
            .await
            .unwrap();
        let insert_workflow = "INSERT INTO workflow (id, owner_id, name, is_active, version, trigger_config, graph_config, \
                               created_at, updated_at) VALUES ($1, $2, 'a workflow', true, 1, '{}', $3::text::json, $4, $4)";
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&workflow, &user, &graph_config.to_string(), &now()];
        self.client.execute(insert_workflow, &values).await.unwrap();
        workflow
    }

    /// A click on Run: one committed INSERT, then a log row.
    pub(crate) async fn run(&self, workflow: Uuid, trigger_data: Value) -> Started {
        let started = self.insert_execution(workflow, trigger_data).await;
        let message = format!("Workflow execution started: {}", started.execution_id);
        self.log(started.id, "start", "info", &message).await;
        started
    }

    /// The INSERT of Run alone.
    pub(crate) async fn insert_execution(&self, workflow: Uuid, trigger_data: Value) -> Started {
        let id = Uuid::new_v4();
        let hex = Uuid::new_v4().simple().to_string();
        let execution_id = format!("exec-{}", hex.get(..12).unwrap());
        let version: i32 = self
            .client
            .query_one("SELECT version FROM workflow WHERE id = $1", &[&workflow])
            .await
            .unwrap()
            .get(0);
        let state = json!({
            "execution_id": execution_id,
            "workflow_id": workflow,
            "workflow_version": version,
            "status": "running",
            "current_node_id": null,
            "completed_node_ids": [],
            "node_results": {},
            "execution_data": trigger_data,
            "started_at": isoformat(now()),
            "retry_count": 0,
        });
        let insert = "INSERT INTO workflowexecution (id, workflow_id, workflow_version, execution_id, status, started_at, \
                      completed_at, error_message, current_node_id, execution_state, retry_count, next_retry_at) \
                      VALUES ($1, $2, $3, $4, 'running', $5, NULL, NULL, NULL, $6::text::json, 0, NULL)";
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] = [
            &id,
            &workflow,
            &version,
            &execution_id,
            &now(),
            &state.to_string(),
        ];
        self.client.execute(insert, &values).await.unwrap();
        Started { id, execution_id }
    }

    /// Pause, from any status.
    pub(crate) async fn pause(&self, id: Uuid) -> Result<(), String> {
        let mut state = self.read_state(id).await?;
        state.status = "paused".to_owned();
        self.write_state(id, &state).await;
        self.log_at(id, &state, "info", "Execution paused").await;
        Ok(())
    }

    /// Resume, from `paused` and `waiting_for_signal` only; `completed_at` stays as it is.
    pub(crate) async fn resume(&self, id: Uuid) -> Result<(), String> {
        let mut state = self.read_state(id).await?;
        only_from(&state, &["paused", "waiting_for_signal"])?;
        state.status = "running".to_owned();
        self.write_state(id, &state).await;
        self.log_at(id, &state, "info", "Execution resumed").await;
        Ok(())
    }

    /// Terminate, from what is not over; `next_retry_at` of the row stays as it is.
    pub(crate) async fn terminate(&self, id: Uuid, reason: Option<&str>) -> Result<(), String> {
        let mut state = self.read_state(id).await?;
        only_from(&state, &["running", "paused", "waiting_for_signal"])?;
        let reason = reason.unwrap_or("Execution terminated by user");
        state.status = "failed".to_owned();
        state.error_message = Some(reason.to_owned());
        self.write(id, &state, Some(now())).await;
        self.log_at(
            id,
            &state,
            "warning",
            &format!("Execution terminated: {reason}"),
        )
        .await;
        Ok(())
    }

    /// Replay: an INSERT as Run's, and, from a node, the state rewritten in a second commit.
    pub(crate) async fn replay(
        &self,
        original: Uuid,
        from_node: Option<&str>,
    ) -> Result<Started, String> {
        let old = self.read_state(original).await?;
        let data = json!({"trigger_type": "replay", "original_execution_id": original, "replay_from_node": from_node});
        let started = self.run(old.workflow_id, data).await;
        let Some(node) = from_node else {
            let message = format!("Replay started from beginning of execution {original}");
            self.log(started.id, "system", "info", &message).await;
            return Ok(started);
        };
        let mut state = self.read_state(started.id).await?;
        state.execution_data = old.execution_data;
        state.node_results = old
            .node_results
            .into_iter()
            .take_while(|(name, _)| name != node)
            .collect();
        state.completed_node_ids = state
            .node_results
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        self.write_state(started.id, &state).await;
        self.log(
            started.id,
            "system",
            "info",
            &format!("Replay started from node: {node}"),
        )
        .await;
        Ok(started)
    }

    /// A signal, as an operator inserts it by hand.
    pub(crate) async fn signal(&self, id: Uuid, signal_type: &str, data: &Value) -> Uuid {
        let signal = Uuid::new_v4();
        let insert = "INSERT INTO workflowsignal (id, execution_id, signal_type, signal_data, received_at, processed) \
                      VALUES ($1, $2, $3, $4::text::json, $5, false)";
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&signal, &id, &signal_type, &data.to_string(), &now()];
        self.client.execute(insert, &values).await.unwrap();
        signal
    }

    /// First half of every rewrite: what the API reads. Apart, so that a test can do something in between.
    pub(crate) async fn read_state(&self, id: Uuid) -> Result<State, String> {
        State::parse(&self.execution(id).await.state)
    }

    /// Second half of every rewrite: the whole state and the columns that follow it; the last writer wins.
    pub(crate) async fn write_state(&self, id: Uuid, state: &State) {
        self.write(id, state, None).await;
    }

    async fn write(&self, id: Uuid, state: &State, completed_at: Option<NaiveDateTime>) {
        let text = state.to_value().to_string();
        let retry_count = i32::try_from(state.retry_count).unwrap();
        let update = "UPDATE workflowexecution SET completed_at = COALESCE($2, completed_at), status = $3, \
                      current_node_id = $4, error_message = $5, retry_count = $6, execution_state = $7::text::json \
                      WHERE id = $1";
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 7] = [
            &id,
            &completed_at,
            &state.status,
            &state.current_node_id,
            &state.error_message,
            &retry_count,
            &text,
        ];
        self.client.execute(update, &values).await.unwrap();
    }

    /// The row of an execution.
    pub(crate) async fn execution(&self, id: Uuid) -> Execution {
        let select = "SELECT status, started_at, completed_at, error_message, current_node_id, execution_state::text, \
                      retry_count, next_retry_at FROM workflowexecution WHERE id = $1";
        execution(&self.client.query_one(select, &[&id]).await.unwrap())
    }

    /// The log rows of an execution, by time.
    pub(crate) async fn logs(&self, id: Uuid) -> Vec<LogRow> {
        let select = "SELECT node_id, level, message FROM executionlog WHERE execution_id = $1 ORDER BY \"timestamp\"";
        let rows = self.client.query(select, &[&id]).await.unwrap();
        rows.iter()
            .map(|row| LogRow {
                node_id: row.get(0),
                level: row.get(1),
                message: row.get(2),
            })
            .collect()
    }

    /// Waits for a status, and checks that the API can read the state that comes with it.
    pub(crate) async fn wait_for_status(
        &self,
        id: Uuid,
        status: &str,
        timeout: Duration,
    ) -> Execution {
        let found = wait_until(
            &format!("execution {id} is {status}"),
            timeout,
            async || {
                let execution = self.execution(id).await;
                if execution.status == status {
                    Ok(execution)
                } else {
                    Err(format!("{execution:?}"))
                }
            },
        )
        .await;
        let state = assert_api_can_read(&found.state);
        assert_eq!(state.status, status, "the status in the state");
        found
    }

    async fn log_at(&self, id: Uuid, state: &State, level: &str, message: &str) {
        self.log(
            id,
            state.current_node_id.as_deref().unwrap_or("system"),
            level,
            message,
        )
        .await;
    }

    async fn log(&self, id: Uuid, node_id: &str, level: &str, message: &str) {
        let insert = "INSERT INTO executionlog (id, execution_id, node_id, level, message, \"timestamp\") \
                      VALUES ($1, $2, $3, $4, $5, $6)";
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&Uuid::new_v4(), &id, &node_id, &level, &message, &now()];
        self.client.execute(insert, &values).await.unwrap();
    }
}

/// `datetime.utcnow()`: no zone, microseconds.
fn now() -> NaiveDateTime {
    clock::now().naive_utc().trunc_subsecs(6)
}

fn only_from(state: &State, statuses: &[&str]) -> Result<(), String> {
    if statuses.contains(&state.status.as_str()) {
        return Ok(());
    }
    Err(format!(
        "400: the execution is {}, not one of {statuses:?}",
        state.status
    ))
}

fn execution(row: &Row) -> Execution {
    let state: Option<String> = row.get(5);
    Execution {
        status: row.get(0),
        started_at: row.get(1),
        completed_at: row.get(2),
        error_message: row.get(3),
        current_node_id: row.get(4),
        state: state.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap()),
        retry_count: row.get(6),
        next_retry_at: row.get(7),
    }
}

/// A graph of nodes one after the other, as the builder saves it: `(node_id, node_type, config)`.
pub(crate) fn chain(nodes: &[(&str, &str, Value)]) -> Value {
    let saved: Vec<Value> = nodes
        .iter()
        .map(|(id, kind, config)| {
            json!({"node_id": id, "node_type": kind, "position_x": 0.5, "position_y": 0, "config": config})
        })
        .collect();
    let edges: Vec<Value> = nodes
        .iter()
        .zip(nodes.iter().skip(1))
        .map(|((from, ..), (to, ..))| json!({"from": from, "to": to}))
        .collect();
    json!({"nodes": saved, "edges": edges, "entry_node_id": nodes.first().map(|node| node.0)})
}

/// The trigger data of a click on Run.
pub(crate) fn manual() -> Value {
    Value::Object(Map::from_iter([(
        "trigger_type".to_owned(),
        json!("manual"),
    )]))
}
