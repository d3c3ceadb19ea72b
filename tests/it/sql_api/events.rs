//! What is told on the channel `workflow_worker_events`.

use std::future::poll_fn;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, NoTls};
use uuid::Uuid;

use super::{one, refusal, small_workflow};
use crate::support::database::{Database, Variant};
use crate::support::flow::{PATIENCE, chain, count, insert_workflow, node, trigger, wait_for_end};
use crate::support::in_process::{InProcess, NO_POLL};

/// A session that listens.
struct Listener {
    client: Client,
    heard: mpsc::UnboundedReceiver<String>,
}

impl Listener {
    async fn start(database: &Database) -> Self {
        let (client, mut connection) = tokio_postgres::connect(&database.url(), NoTls)
            .await
            .unwrap();
        let (sender, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(notification) = message {
                    sender.send(notification.payload().to_owned()).ok();
                }
            }
        });
        client
            .batch_execute("LISTEN workflow_worker_events")
            .await
            .unwrap();
        Self { client, heard }
    }

    /// The changes that were told of an execution, up to its end.
    async fn until_the_end_of(&mut self, execution: Uuid) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let text = tokio::time::timeout(PATIENCE, self.heard.recv())
                .await
                .expect("an event")
                .unwrap();
            let event: Value = serde_json::from_str(&text).unwrap();
            if event["id"] != json!(execution) {
                continue;
            }
            assert!(
                text.len() < 1_000 && event["at"].as_str().unwrap().ends_with('Z'),
                "{text}"
            );
            assert!(event["name"].as_str().unwrap().starts_with("exec-"));
            let to = event["to"].as_str().unwrap().to_owned();
            let is_end = to == "completed" || to == "failed";
            told.push(format!("{} > {to}", event["from"].as_str().unwrap_or("-")));
            if is_end {
                return told;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_changes_are_told_whoever_makes_them() {
    let database = Database::migrated(Variant::Alembic).await;
    let mut listener = Listener::start(&database).await;
    let settings = [NO_POLL, ("WORKFLOW_WORKER_EVENTS", "all")];
    let worker = InProcess::start(&database.url(), &settings).await;
    let waits = node("w", "wait_for_signal", json!({ "signal_type": "go" }));
    let workflow = insert_workflow(&listener.client, &chain(vec![trigger(), waits])).await;
    let start = "SELECT id FROM workflow_worker.start($1)";
    let execution: Uuid = one(&listener.client, start, &[(&workflow, Type::UUID)]).await;
    crate::support::flow::wait_for_status(&listener.client, execution, "waiting_for_signal").await;
    for call in ["pause($1)", "resume($1)", "signal($1, 'go')"] {
        let statement = format!("SELECT workflow_worker.{call}");
        listener
            .client
            .query_typed(&statement, &[(&execution, Type::UUID)])
            .await
            .unwrap();
        if call == "resume($1)" {
            crate::support::flow::wait_for_status(
                &listener.client,
                execution,
                "waiting_for_signal",
            )
            .await;
        }
    }
    let told = listener.until_the_end_of(execution).await;
    assert_eq!(told.first().unwrap(), "- > running");
    for change in [
        "running > waiting_for_signal",
        "waiting_for_signal > paused",
        "paused > running",
    ] {
        assert!(told.iter().any(|one| one == change), "{change} in {told:?}");
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_told_alone_and_once() {
    let database = Database::migrated(Variant::Alembic).await;
    let mut listener = Listener::start(&database).await;
    listener
        .client
        .query("SELECT workflow_worker.set_events('ends')", &[])
        .await
        .unwrap();
    let workflow = small_workflow(&listener.client).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let start = "SELECT id FROM workflow_worker.start($1)";
    let first: Uuid = one(&listener.client, start, &[(&workflow, Type::UUID)]).await;
    assert_eq!(
        listener.until_the_end_of(first).await,
        ["running > completed"]
    );
    worker.stop().await;
    let second: Uuid = one(&listener.client, start, &[(&workflow, Type::UUID)]).await;
    listener
        .client
        .query("SELECT workflow_worker.terminate($1::uuid)", &[&second])
        .await
        .unwrap();
    assert_eq!(
        listener.until_the_end_of(second).await,
        ["running > failed"]
    );
    // A worker settles what somebody has ended; that is no second end.
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let third: Uuid = one(&listener.client, start, &[(&workflow, Type::UUID)]).await;
    assert_eq!(
        listener.until_the_end_of(third).await,
        ["running > completed"]
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn off_there_is_no_trigger_and_a_setting_that_is_unset_changes_nothing() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tell\\_workflow\\_worker%'";
    let mode = "SELECT workflow_worker.events()";
    assert_eq!(count(&client, triggers).await, 0);
    assert_eq!(one::<String>(&client, mode, &[]).await, "off");
    client
        .query("SELECT workflow_worker.set_events('all')", &[])
        .await
        .unwrap();
    let again: bool = one(&client, "SELECT workflow_worker.set_events('all')", &[]).await;
    assert!(!again, "it was so already");
    let workflow = small_workflow(&client).await;
    for (settings, expected) in [
        (vec![NO_POLL], "all"),
        (vec![NO_POLL, ("WORKFLOW_WORKER_EVENTS", "ends")], "ends"),
        (vec![NO_POLL, ("WORKFLOW_WORKER_EVENTS", "off")], "off"),
    ] {
        let worker = InProcess::start(&database.url(), &settings).await;
        let execution = crate::support::flow::insert(&client, workflow).await;
        wait_for_end(&client, execution).await;
        worker.stop().await;
        assert_eq!(one::<String>(&client, mode, &[]).await, expected);
    }
    assert_eq!(count(&client, triggers).await, 0);
    let left = "SELECT count(*) FROM workflow_worker.host_changes WHERE object_name LIKE 'tell%'";
    assert_eq!(count(&client, left).await, 0);
    assert_eq!(
        refusal(&client, "SELECT workflow_worker.set_events('some')", &[]).await,
        "WW400"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_somebody_holds_keeps_no_worker_from_starting() {
    let database = Database::migrated(Variant::Alembic).await;
    let mut holder = database.client().await;
    let client = database.client().await;
    let workflow = small_workflow(&client).await;
    let transaction = holder.transaction().await.unwrap();
    transaction
        .batch_execute("LOCK TABLE workflowexecution IN ROW EXCLUSIVE MODE")
        .await
        .unwrap();
    let worker = InProcess::start(
        &database.url(),
        &[NO_POLL, ("WORKFLOW_WORKER_EVENTS", "all")],
    )
    .await;
    let execution = crate::support::flow::insert(&client, workflow).await;
    wait_for_end(&client, execution).await;
    let mode: String = one(&client, "SELECT workflow_worker.events()", &[]).await;
    assert_eq!(mode, "off", "said in the log, and to be set by the command");
    transaction.rollback().await.unwrap();
    worker.stop().await;
}
