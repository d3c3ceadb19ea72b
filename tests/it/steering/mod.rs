//! What others do to an execution, and what its time does to it: time-outs, replays, debug steps, test mode, guards.

mod dead_workers;
mod debug;
mod guards;
mod in_effect;
mod recording;
mod replay;
mod test_mode;
mod timeouts;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

/// Inserts an execution with a state of one's own.
async fn insert_state(client: &Client, workflow: Uuid, state: &Value) -> Uuid {
    client
        .query_one(
            "INSERT INTO workflowexecution (workflow_id, execution_state) VALUES ($1, $2::text::json) RETURNING id",
            &[&workflow, &state.to_string()],
        )
        .await
        .unwrap()
        .get(0)
}

/// Inserts an execution that may take this long.
async fn insert_limited(client: &Client, workflow: Uuid, seconds: f64) -> Uuid {
    let state = json!({"timeout_seconds": seconds, "execution_data": {}});
    insert_state(client, workflow, &state).await
}

/// Makes a parked execution as old as if it had been inserted, and perhaps paused, an hour earlier.
async fn age_by_an_hour(client: &Client, execution: Uuid) {
    client
        .batch_execute(&format!(
            "UPDATE workflow_worker.run_queue
             SET timed_from = timed_from - interval '1 hour',
                 paused_at = paused_at - interval '1 hour',
                 run_at = CASE WHEN paused_at IS NULL THEN now() ELSE run_at END
             WHERE execution_id = '{execution}';
             NOTIFY workflow_worker, '';"
        ))
        .await
        .unwrap();
}

fn approval(id: &str) -> Value {
    crate::support::flow::node(id, "human_approval", json!({"approval_message": "?"}))
}

fn messages(log: &[(String, String, String)]) -> Vec<&str> {
    log.iter().map(|(_, _, message)| message.as_str()).collect()
}

fn ids(steps: &[(String, i32, String)]) -> Vec<&str> {
    steps.iter().map(|(node, _, _)| node.as_str()).collect()
}
