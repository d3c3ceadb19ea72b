//! The SQL API: every function, every refusal, whoever calls.

/// Roles, rights, and attempts to get around them.
mod access;
/// The commands that call it.
mod commands;
/// Pause … step, each against each state.
mod control;
/// What `docs/sql.md` shows, run as it stands there.
mod document;
/// What listeners are told.
mod events;
/// Signals and answers to approvals.
mod signals;
/// Start and replay.
mod start;
/// The views.
mod views;

use serde_json::Value;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::support::flow::{chain, insert_workflow, trigger};

type Argument<'a> = (&'a (dyn ToSql + Sync), Type);

/// The SQLSTATE with which a statement is refused; its message must be for people.
async fn refusal(client: &Client, statement: &str, arguments: &[Argument<'_>]) -> String {
    let error = client
        .query_typed(statement, arguments)
        .await
        .expect_err(statement);
    let error = error.as_db_error().expect("an answer of the server");
    assert!(
        !error.message().is_empty() && !error.message().contains('%'),
        "{}",
        error.message()
    );
    error.code().code().to_owned()
}

/// The first column of the one row of an answer.
async fn one<T>(client: &Client, statement: &str, arguments: &[Argument<'_>]) -> T
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    let rows = client.query_typed(statement, arguments).await.unwrap();
    assert_eq!(rows.len(), 1, "{statement}");
    rows[0].get(0)
}

/// A workflow of one node.
async fn small_workflow(client: &Client) -> Uuid {
    insert_workflow(client, &chain(vec![trigger()])).await
}

/// What `executions` says of an execution.
async fn state(client: &Client, execution: Uuid) -> String {
    one(
        client,
        "SELECT state FROM workflow_worker.executions WHERE id = $1",
        &[(&execution, Type::UUID)],
    )
    .await
}

/// The statuses that a host row can have, with what makes it so.
const STATES: [&str; 6] = [
    "running",
    "waiting_for_signal",
    "paused",
    "retrying",
    "failed",
    "completed",
];

/// An execution in such a state, which no worker runs.
async fn execution_in(client: &Client, state: &str) -> Uuid {
    let workflow = small_workflow(client).await;
    let id: Uuid = one(
        client,
        "SELECT id FROM workflow_worker.start($1)",
        &[(&workflow, Type::UUID)],
    )
    .await;
    let (status, completed, retry) = match state {
        "retrying" => ("failed", false, true),
        "failed" => ("failed", true, false),
        "completed" => ("completed", true, false),
        other => (other, false, false),
    };
    if status != "running" {
        client
            .execute(
                "UPDATE workflowexecution SET status = $2::text,
                     completed_at = CASE WHEN $3 THEN now() AT TIME ZONE 'utc' END,
                     next_retry_at = CASE WHEN $4 THEN now() AT TIME ZONE 'utc' + interval '1 hour' END,
                     execution_state = workflow_worker.with_keys(execution_state::json, json_build_object('status', $2::text))
                 WHERE id = $1",
                &[&id, &status, &completed, &retry],
            )
            .await
            .unwrap();
    }
    id
}

/// The status in the column, and the one in the state.
async fn statuses(client: &Client, execution: Uuid) -> (String, String) {
    let row = client
        .query_one(
            "SELECT status, execution_state::json ->> 'status' FROM workflowexecution WHERE id = $1",
            &[&execution],
        )
        .await
        .unwrap();
    (row.get(0), row.get(1))
}

/// `execution_state` of an execution.
async fn state_of(client: &Client, execution: Uuid) -> Value {
    let text: String = one(
        client,
        "SELECT execution_state::text FROM workflowexecution WHERE id = $1",
        &[(&execution, Type::UUID)],
    )
    .await;
    serde_json::from_str(&text).unwrap()
}
