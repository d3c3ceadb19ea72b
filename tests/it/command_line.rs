//! The binary as an operator meets it: exit codes, messages, and the lines that are looked for.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;

use crate::support::database::{Database, Variant};
use crate::support::flow::{chain, insert, insert_workflow, set, trigger, wait_for_completion};
use crate::support::wait::wait_until;
use crate::support::worker::WorkerProcess;

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_workflow-worker"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn all_wrong_settings_are_reported_at_once_with_exit_code_64() {
    let output = run(
        &["run"],
        &[
            ("DATABASE_URL", "postgresql://u:p@localhost/db"),
            ("WORKFLOW_WORKER_CONCURRENCY", "many"),
            ("WORKFLOW_MAX_RETRIES", "-1"),
            ("WORKFLOW_WORKER_POLL_INTERVAL", "0"),
        ],
    );
    assert_eq!(output.status.code(), Some(64));
    let errors = text(&output.stderr);
    for part in [
        "WORKFLOW_WORKER_CONCURRENCY",
        "many",
        "WORKFLOW_MAX_RETRIES",
        "-1",
        "WORKFLOW_WORKER_POLL_INTERVAL",
    ] {
        assert!(errors.contains(part), "{part} is missing in: {errors}");
    }
}

#[test]
fn a_missing_database_is_answered_with_the_ways_to_name_one() {
    let output = run(&["run"], &[]);
    assert_eq!(output.status.code(), Some(64));
    let errors = text(&output.stderr);
    for way in ["SUPABASE_DB_URL", "POSTGRES_SERVER", "DATABASE_URL"] {
        assert!(errors.contains(way), "{way} is missing in: {errors}");
    }
}

#[test]
fn config_prints_what_is_in_force_and_no_secret() {
    let output = run(
        &["config"],
        &[(
            "SUPABASE_DB_URL",
            "postgresql+psycopg://u:s3[cr]et#%@db.example.com/x",
        )],
    );
    assert!(output.status.success(), "{output:?}");
    let lines = text(&output.stdout);
    assert!(
        lines.contains("WORKFLOW_WORKER_CONCURRENCY") && lines.contains("db.example.com"),
        "{lines}"
    );
    assert!(!lines.contains("s3[cr]et"), "{lines}");
}

#[test]
fn an_unknown_command_is_a_usage_error_and_help_is_none() {
    assert_eq!(run(&["frobnicate"], &[]).status.code(), Some(64));
    let help = run(&["--help"], &[]);
    assert!(help.status.success());
    assert!(text(&help.stdout).contains("doctor"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_operators_look_for_keep_their_wording() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger(), set("s", "x", json!(1))])).await;
    let mut worker =
        WorkerProcess::spawn(&database.url(), &[("WORKFLOW_WORKER_LOG_FORMAT", "human")]);
    let execution = insert(&client, workflow).await;
    wait_for_completion(&client, execution).await;
    let name: String = client
        .query_one(
            "SELECT execution_id FROM workflowexecution WHERE id = $1",
            &[&execution],
        )
        .await
        .unwrap()
        .get(0);
    for line in [
        "🚀 Workflow worker started (poll_interval=1.0s)",
        "📍 Executing node: s",
        "✅ Node s completed successfully",
        &format!("✅ Execution completed: {name}"),
    ] {
        worker.line_containing(line);
    }
    worker.sigterm();
    assert!(worker.wait_exit(Duration::from_secs(30)).success());
    worker.line_containing("✅ Workflow worker stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_and_health_say_what_is_well_and_what_is_not() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let url = database.url();
    let path = workflow_worker::config::process_variable("PATH").unwrap_or_default();
    let variables = [("DATABASE_URL", url.as_str()), ("PATH", path.as_str())];
    assert!(
        !run(&["health"], &variables).status.success(),
        "no worker is running"
    );
    let well = run(&["doctor"], &variables);
    assert!(well.status.success(), "{}", text(&well.stdout));
    let worker = WorkerProcess::spawn(&url, &[]);
    wait_until("a heartbeat", Duration::from_secs(20), async || {
        let output = run(&["health"], &variables);
        if output.status.success() {
            Ok(())
        } else {
            Err(text(&output.stderr))
        }
    })
    .await;
    client
        .batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER workflow_worker_inserted")
        .await
        .unwrap();
    let ill = run(&["doctor"], &variables);
    assert_eq!(ill.status.code(), Some(1));
    assert!(
        text(&ill.stdout).contains("workflow_worker_inserted"),
        "{}",
        text(&ill.stdout)
    );
    drop(worker);
}
