//! Workflows and executions by plain SQL, as an integrator writes them; and looks at what became of them.

#![expect(
    clippy::needless_pass_by_value,
    reason = "builders whose arguments are written in place"
)]

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::hits::Hits;
use super::wait::wait_until;

/// Long enough for a slow machine under load; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn node(id: &str, node_type: &str, config: Value) -> Value {
    json!({ "node_id": id, "node_type": node_type, "position_x": 0, "position_y": 0, "config": config })
}

pub(crate) fn edge(from: &str, to: &str) -> Value {
    json!({ "from": from, "to": to })
}

pub(crate) fn branch(from: &str, to: &str, branch: &str) -> Value {
    json!({ "from": from, "to": to, "branch": branch })
}

pub(crate) fn graph(nodes: Vec<Value>, edges: Vec<Value>) -> Value {
    json!({ "nodes": nodes, "edges": edges })
}

/// Nodes in a row, each with one edge to the next.
pub(crate) fn chain(nodes: Vec<Value>) -> Value {
    let ids: Vec<String> = nodes
        .iter()
        .map(|node| node["node_id"].as_str().unwrap().to_owned())
        .collect();
    let edges = ids
        .windows(2)
        .map(|pair| edge(&pair[0], &pair[1]))
        .collect();
    graph(nodes, edges)
}

pub(crate) fn trigger() -> Value {
    node("t", "trigger", json!({}))
}

pub(crate) fn get(id: &str, url: &str) -> Value {
    node(id, "http_request", json!({ "method": "GET", "url": url }))
}

pub(crate) fn set(id: &str, name: &str, value: Value) -> Value {
    node(
        id,
        "set_variable",
        json!({ "variable_name": name, "variable_value": value }),
    )
}

/// Inserts a workflow with every column, as a database that the platform made needs it.
pub(crate) async fn insert_workflow(client: &Client, graph: &Value) -> Uuid {
    insert_workflow_text(client, Some(&graph.to_string())).await
}

/// The same with the JSON text as it is; `None` is SQL NULL.
pub(crate) async fn insert_workflow_text(client: &Client, graph: Option<&str>) -> Uuid {
    let owner = Uuid::new_v4();
    client
        .execute(
            // Whichever of these columns the variant has.
            "INSERT INTO \"user\" SELECT * FROM json_populate_record(NULL::\"user\", $1::text::json)",
            &[&json!({
                "id": owner, "email": format!("{owner}@example.com"), "is_active": true, "is_superuser": false,
                "email_verified": false, "hashed_password": "x",
            })
            .to_string()],
        )
        .await
        .unwrap();
    let rows = client
        .query(
            "INSERT INTO workflow (id, owner_id, name, is_active, version, graph_config, created_at, updated_at)
             VALUES (gen_random_uuid(), $1, 'test', true, 1, $2::text::json, now(), now())
             RETURNING id",
            &[&owner, &graph],
        )
        .await
        .unwrap();
    rows[0].get(0)
}

/// Inserts an execution by the shortest statement there is.
pub(crate) async fn insert(client: &Client, workflow: Uuid) -> Uuid {
    let row = client
        .query_one(
            "INSERT INTO workflowexecution (workflow_id) VALUES ($1) RETURNING id",
            &[&workflow],
        )
        .await
        .unwrap();
    row.get(0)
}

/// Inserts an execution with trigger data.
pub(crate) async fn insert_with(client: &Client, workflow: Uuid, data: &Value) -> Uuid {
    let state = json!({ "execution_data": data }).to_string();
    let row = client
        .query_one(
            "INSERT INTO workflow_executions (workflow_id, execution_state) VALUES ($1, $2::text::json) RETURNING id",
            &[&workflow, &state],
        )
        .await
        .unwrap();
    row.get(0)
}

/// Has a finished execution go on where it ended, as `retry` does it.
pub(crate) async fn restart(client: &Client, execution: Uuid) {
    client
        .batch_execute(&format!(
            "BEGIN;
             SELECT set_config('workflow_worker.restart', 'on', true);
             UPDATE workflowexecution
             SET status = 'running', completed_at = NULL, error_message = NULL, next_retry_at = NULL
             WHERE id = '{execution}';
             COMMIT;"
        ))
        .await
        .unwrap();
}

/// What a host row says.
#[derive(Clone, Debug)]
pub(crate) struct HostRow {
    pub(crate) status: String,
    pub(crate) error_message: Option<String>,
    pub(crate) current_node_id: Option<String>,
    pub(crate) state: Value,
    pub(crate) is_completed: bool,
    pub(crate) has_next_retry: bool,
    pub(crate) retry_count: i32,
}

impl HostRow {
    pub(crate) fn output(&self, node: &str) -> &Value {
        &self.state["execution_data"][format!("{node}_output")]
    }
}

pub(crate) async fn host_row(client: &Client, execution: Uuid) -> HostRow {
    let row = client
        .query_one(
            "SELECT status, error_message, current_node_id, execution_state::text AS state,
                    completed_at IS NOT NULL AS is_completed, next_retry_at IS NOT NULL AS has_next_retry, retry_count
             FROM workflowexecution WHERE id = $1",
            &[&execution],
        )
        .await
        .unwrap();
    let state: Option<String> = row.get("state");
    HostRow {
        status: row.get("status"),
        error_message: row.get("error_message"),
        current_node_id: row.get("current_node_id"),
        state: state.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap()),
        is_completed: row.get("is_completed"),
        has_next_retry: row.get("has_next_retry"),
        retry_count: row.get("retry_count"),
    }
}

/// Waits until the execution has left the run queue for good, and returns its row.
pub(crate) async fn wait_for_end(client: &Client, execution: Uuid) -> HostRow {
    wait_until("the execution to end", PATIENCE, async || {
        let row = host_row(client, execution).await;
        if row.is_completed {
            Ok(row)
        } else {
            Err(format!("{} at {:?}", row.status, row.current_node_id))
        }
    })
    .await
}

/// Waits until it has completed; a failure is shown with its message.
pub(crate) async fn wait_for_completion(client: &Client, execution: Uuid) -> HostRow {
    let row = wait_for_end(client, execution).await;
    assert_eq!(row.status, "completed", "{:?}", row.error_message);
    row
}

/// Waits for a status.
pub(crate) async fn wait_for_status(client: &Client, execution: Uuid, status: &str) -> HostRow {
    wait_until(&format!("status {status}"), PATIENCE, async || {
        let row = host_row(client, execution).await;
        if row.status == status {
            Ok(row)
        } else {
            Err(format!("{} ({:?})", row.status, row.error_message))
        }
    })
    .await
}

/// Waits until the server was called this often under `key`.
pub(crate) async fn wait_for_calls(hits: &Hits, key: &str, times: usize) {
    wait_until(&format!("{times} call(s) of {key}"), PATIENCE, async || {
        let count = hits.count(key);
        if count >= times { Ok(()) } else { Err(count) }
    })
    .await;
}

/// Waits until no worker holds it, and it is not due: parked, timed or gone.
pub(crate) async fn wait_until_not_held(client: &Client, execution: Uuid) {
    wait_until("nobody to hold it", PATIENCE, async || {
        let rows = client
            .query(
                "SELECT worker_id IS NOT NULL OR ready FROM workflow_worker.run_queue WHERE execution_id = $1",
                &[&execution],
            )
            .await
            .unwrap();
        match rows.first() {
            Some(row) if row.get::<_, bool>(0) => Err("it is held or due".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}

/// The recorded steps: node, attempt, status, in order; without the input.
pub(crate) async fn steps(client: &Client, execution: Uuid) -> Vec<(String, i32, String)> {
    client
        .query(
            "SELECT node_id, attempt, status FROM workflow_worker.steps
             WHERE execution_id = $1 AND seq > 0 ORDER BY seq",
            &[&execution],
        )
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

/// The log rows: node, level, message, in order.
pub(crate) async fn log(client: &Client, execution: Uuid) -> Vec<(String, String, String)> {
    client
        .query(
            "SELECT node_id, level, message FROM executionlog WHERE execution_id = $1 ORDER BY \"timestamp\"",
            &[&execution],
        )
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

/// One number.
pub(crate) async fn count(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}
