//! The commands that call the SQL API, as an operator types them.

use std::process::{Command, Output};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    chain, insert_workflow, node, trigger, wait_for_completion, wait_for_status,
};
use crate::support::in_process::{InProcess, NO_POLL};

async fn run(database: &Database, arguments: &[&str]) -> Output {
    let (url, arguments) = (
        database.url(),
        arguments
            .iter()
            .map(|one| (*one).to_owned())
            .collect::<Vec<_>>(),
    );
    tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_workflow-worker"))
            .args(arguments)
            .env_clear()
            .env("SUPABASE_DB_URL", url)
            .output()
            .unwrap()
    })
    .await
    .unwrap()
}

/// What a command prints; it must succeed.
async fn text(database: &Database, arguments: &[&str]) -> String {
    let output = run(database, arguments).await;
    let (out, error) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{arguments:?}: {error}");
    out
}

async fn parsed(database: &Database, arguments: &[&str]) -> Value {
    serde_json::from_str(&text(database, arguments).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_started_looked_at_answered_and_replayed_by_commands() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let ask = node(
        "ask",
        "human_approval",
        json!({ "approval_message": "Pay?" }),
    );
    let graph = chain(vec![trigger(), ask]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    // The workflow is named `test`.
    let arguments = [
        "start",
        "test",
        "--input",
        "{\"amount\": 3}",
        "--idempotency-key",
        "k",
        "--json",
    ];
    let started = parsed(&database, &arguments).await;
    let name = started["name"].as_str().unwrap();
    let id: Uuid = started["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(started["is_new"], true);
    assert_eq!(parsed(&database, &arguments).await["is_new"], false);
    wait_for_status(&client, id, "waiting_for_signal").await;

    assert!(text(&database, &["list"]).await.contains(name));
    let listed = parsed(
        &database,
        &[
            "list",
            "--state",
            "waiting",
            "--workflow",
            &workflow.to_string(),
            "--json",
        ],
    )
    .await;
    assert_eq!(
        (&listed[0]["name"], &listed[0]["waits_for"]),
        (&json!(name), &json!("approval"))
    );
    assert_eq!(
        parsed(&database, &["list", "--state", "failed", "--json"]).await,
        json!([])
    );
    assert!(text(&database, &["approvals"]).await.contains("Pay?"));
    text(&database, &["pause", name]).await;
    assert!(
        text(&database, &["show", name])
            .await
            .contains("Execution paused")
    );
    text(&database, &["resume", name]).await;
    text(
        &database,
        &["approve", name, "--by", "ann", "--comment", "fine"],
    )
    .await;
    let row = wait_for_completion(&client, id).await;
    assert_eq!(row.output("ask")["by"], "ann");
    let shown = parsed(&database, &["show", &id.to_string(), "--json"]).await;
    assert_eq!(shown["execution"]["state"], "completed");
    assert_eq!(shown["steps"][1]["node_id"], "ask");
    assert!(shown["log"].as_array().unwrap().len() > 3);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_replayed_and_ended_by_commands() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    insert_workflow(&client, &chain(vec![trigger()])).await;
    let started = parsed(&database, &["start", "test", "--json"]).await;
    let name = started["name"].as_str().unwrap();
    let replay = parsed(&database, &["replay", name, "--json"]).await;
    assert_ne!(replay["id"], started["id"]);
    let replay = replay["name"].as_str().unwrap();
    let urgent = parsed(&database, &["priority", replay, "HIGH", "--json"]).await;
    assert_eq!(urgent["priority"], 10);
    text(&database, &["signal", replay, "anything", "{\"a\": 1}"]).await;
    text(&database, &["cancel", replay, "--reason", "enough"]).await;
    assert!(text(&database, &["show", replay]).await.contains("enough"));
    assert!(
        text(&database, &["terminate", "--all-of", "test"])
            .await
            .contains("1 execution(s)")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_why_with_an_exit_code_of_its_own() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    insert_workflow(&client, &chain(vec![trigger()])).await;
    let started = parsed(&database, &["start", "test", "--json"]).await;
    let name = started["name"].as_str().unwrap();
    for (arguments, code, words) in [
        (
            vec!["pause", "exec-nobody"],
            66,
            "there is no execution \"exec-nobody\" [WW404]",
        ),
        (
            vec!["start", "nothing"],
            66,
            "there is no workflow \"nothing\"",
        ),
        (vec!["resume", name], 69, "it cannot be resumed"),
        (vec!["approve", name], 69, "waits for no approval"),
        (
            vec!["start", "test", "--input", "[1]"],
            64,
            "it must be an object",
        ),
        (vec!["start", "test", "--input", "{"], 64, "is not JSON"),
        (
            vec!["start", "test", "--priority", "urgent"],
            64,
            "LOW, NORMAL, HIGH, CRITICAL",
        ),
        (
            vec!["start", "test", "--run-at", "tomorrow"],
            64,
            "invalid value",
        ),
        (
            vec!["grant", "nobody", "--reader"],
            66,
            "there is no role \"nobody\"",
        ),
        (
            vec!["grant", "anon", "--reader"],
            64,
            "everybody on the web",
        ),
        (vec!["grant", "nobody"], 64, "--producer"),
    ] {
        let output = run(&database, &arguments).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_listed_and_removed_by_commands() {
    let database = Database::migrated(Variant::Alembic).await;
    assert_eq!(text(&database, &["limit"]).await.trim(), "none");
    let arguments = [
        "limit",
        "key",
        "tenant 7",
        "--max-running",
        "3",
        "--max-starts",
        "10",
        "--per",
        "1 minute",
    ];
    text(&database, &arguments).await;
    let listed = parsed(&database, &["limit", "--json"]).await;
    assert_eq!(
        (
            &listed[0]["subject"],
            &listed[0]["max_running"],
            &listed[0]["max_starts"]
        ),
        (&json!("tenant 7"), &json!(3), &json!(10))
    );
    let output = run(&database, &["limit", "colour", "red", "--max-running", "1"]).await;
    assert_eq!(output.status.code(), Some(64));
    assert!(
        text(&database, &["limit", "key", "tenant 7", "--remove"])
            .await
            .contains("removed")
    );
    assert_eq!(parsed(&database, &["limit", "--json"]).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_rights_are_set_by_commands() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    assert_eq!(text(&database, &["events"]).await.trim(), "off");
    assert_eq!(text(&database, &["events", "ends"]).await.trim(), "ends");
    let role = format!("{}_commands", database.name());
    client
        .batch_execute(&format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role}"))
        .await
        .unwrap();
    let arguments = ["grant", &role, "--producer", "--reader"];
    let said = text(&database, &arguments).await;
    assert!(
        said.contains("as producer") && said.contains("as reader"),
        "{said}"
    );
    let may =
        "SELECT has_function_privilege($1::text::name, 'workflow_worker.pause(uuid)', 'EXECUTE')
                   AND has_table_privilege($1::text::name, 'workflow_worker.executions', 'SELECT')";
    let row = client.query_one(may, &[&role]).await.unwrap();
    assert!(row.get::<_, bool>(0));
    text(
        &database,
        &["grant", &role, "--producer", "--reader", "--revoke"],
    )
    .await;
    let row = client.query_one(may, &[&role]).await.unwrap();
    assert!(!row.get::<_, bool>(0));
    client
        .batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .unwrap();
}
