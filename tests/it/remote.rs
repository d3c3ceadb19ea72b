//! Nodes that an activity host runs: the host in `integrations/python`, with a stand-in for the platform's handlers.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use workflow_worker::config::process_variable;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    chain, insert, insert_with, insert_workflow, node, steps, trigger, wait_for_completion,
    wait_for_end,
};
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::process::{Process, is_running, kill9, wait_until_gone};
use crate::support::wait::{SOON, wait_until};
use crate::support::worker::WorkerProcess;

fn in_repository(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

fn host_command() -> String {
    let standin = in_repository("tests/standin");
    format!(
        "python3 -m workflow_worker_host --path '{standin}' --session-factory app.workflows.activities:get_db"
    )
}

/// A worker that starts the host itself.
fn worker_with_host(database: &Database) -> WorkerProcess {
    WorkerProcess::spawn(
        &database.url(),
        &[
            ("WORKFLOW_ACTIVITY_COMMAND", &host_command()),
            ("PYTHONPATH", &in_repository("integrations/python")),
            ("PYTHONDONTWRITEBYTECODE", "1"),
        ],
    )
}

/// A node that is busy until a file is there, in a host that keeps a list of its calls.
struct Busy(tempfile::TempDir);

impl Busy {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn node(&self) -> serde_json::Value {
        let config = json!({"calls": self.path("calls"), "until": self.path("until")});
        node("s", "scraping", config)
    }

    fn release(&self) {
        std::fs::write(self.path("until"), "").unwrap();
    }

    /// Waits for the n-th call; the process ids of its host and of what that has started.
    async fn call(&self, n: usize) -> (u32, u32) {
        wait_until(&format!("call {n}"), SOON, async || {
            let calls = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
            let line = calls.lines().nth(n - 1).and_then(|line| {
                let (host, started) = line.split_once(' ')?;
                Some((host.parse().ok()?, started.parse().ok()?))
            });
            line.ok_or(calls)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_the_platform_runs_in_a_host_that_lives_as_long_as_the_worker() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        node("a", "agent", json!({"task": "tidy"})),
        node("c", "connector", json!({})),
        node("u", "custom", json!({"value": [1, 2]})),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let mut worker = worker_with_host(&database);
    let execution = insert_with(&client, workflow, &json!({"topic": "desk"})).await;
    let row = wait_for_completion(&client, execution).await;
    let output = row.output("a");
    assert_eq!(output["result"], "tidy: done");
    assert_eq!(output["topic"], "desk");
    assert_eq!(output["node_type"], "agent");
    assert_eq!(output["execution_id"], execution.to_string());
    // The agent has had the first one.
    assert_eq!(*row.output("c"), json!({"session": 2}));
    assert_eq!(*row.output("u"), json!({"seen": [1, 2]}));
    worker.line_containing("the activity host is ready; it serves agent, browser");

    let host = u32::try_from(output["host_pid"].as_u64().unwrap()).unwrap();
    assert!(is_running(host));
    worker.sigterm();
    assert!(worker.wait_exit(Duration::from_secs(30)).success());
    assert!(!is_running(host), "the host outlives the worker");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_is_started_again_and_the_node_runs_again() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let busy = Busy::new();
    let workflow = insert_workflow(&client, &chain(vec![trigger(), busy.node()])).await;
    let worker = worker_with_host(&database);
    let execution = insert(&client, workflow).await;
    let (first, started) = busy.call(1).await;
    kill9(first);
    let (second, _) = busy.call(2).await;
    assert_ne!(first, second);
    wait_until_gone(started).await;
    busy.release();
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(*row.output("s"), json!({"calls": 2}));
    let step = |node: &str, attempt, status: &str| (node.to_owned(), attempt, status.to_owned());
    assert_eq!(
        steps(&client, execution).await,
        [
            step("t", 1, "success"),
            step("s", 1, "failed"),
            step("s", 2, "success")
        ]
    );
    worker.line_containing("the activity host is lost: it ended with signal: 9");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_takes_its_host_with_it() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let busy = Busy::new();
    let workflow = insert_workflow(&client, &chain(vec![trigger(), busy.node()])).await;
    let mut worker = worker_with_host(&database);
    insert(&client, workflow).await;
    let (host, started) = busy.call(1).await;
    worker.kill9();
    wait_until_gone(host).await;
    wait_until_gone(started).await;
}

/// A host of its own, and its address.
fn host_at_url(token: &str) -> (Process, String) {
    let mut command = Command::new("python3");
    command
        .args(["-m", "workflow_worker_host", "--listen", "127.0.0.1:0"])
        .args(["--path", &in_repository("tests/standin"), "--token", token])
        .env("PYTHONPATH", in_repository("integrations/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let process = Process::spawn(&mut command);
    let line = process.line_containing("serving");
    let url = line.split_whitespace().last().unwrap().to_owned();
    (process, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_at_a_url_tells_its_errors_to_the_user() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let (_host, url) = host_at_url("secret");
    let with = |token: &'static str| {
        [
            NO_POLL,
            ("WORKFLOW_ACTIVITY_URL", url.as_str()),
            ("WORKFLOW_ACTIVITY_TOKEN", token),
            ("WORKFLOW_MAX_RETRIES", "0"),
        ]
    };
    let worker = InProcess::start(&database.url(), &with("secret")).await;
    for (node_type, message) in [
        (
            "agent",
            "Node n failed: task is required for agent execution",
        ),
        ("browser", "Node n failed: the browser does not answer"),
        (
            "frobnicate",
            "Node n failed: the activity host has no handler for node type 'frobnicate'; it serves: agent",
        ),
    ] {
        let graph = chain(vec![trigger(), node("n", node_type, json!({}))]);
        let execution = insert(&client, insert_workflow(&client, &graph).await).await;
        let row = wait_for_end(&client, execution).await;
        assert_eq!(row.status, "failed");
        let found = row.error_message.unwrap();
        assert!(found.starts_with(message), "{found}");
    }
    worker.stop().await;

    let worker = InProcess::start(&database.url(), &with("other")).await;
    let graph = chain(vec![trigger(), node("n", "agent", json!({"task": "x"}))]);
    let execution = insert(&client, insert_workflow(&client, &graph).await).await;
    let found = wait_for_end(&client, execution)
        .await
        .error_message
        .unwrap();
    assert!(found.contains("WORKFLOW_ACTIVITY_TOKEN"), "{found}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_what_the_host_serves_or_what_is_wrong_with_it() {
    let database = Database::migrated(Variant::Alembic).await;
    let doctor = |variables: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_workflow-worker"))
            .arg("doctor")
            .env_clear()
            .env("PATH", process_variable("PATH").unwrap_or_default())
            .env("DATABASE_URL", database.url())
            .env("PYTHONPATH", in_repository("integrations/python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = doctor(&[("WORKFLOW_ACTIVITY_COMMAND", &host_command())]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("started for this check: serves agent, browser"),
        "{text}"
    );

    let (code, text) = doctor(&[("WORKFLOW_ACTIVITY_URL", "http://127.0.0.1:1")]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("http://127.0.0.1:1/: error sending request"),
        "{text}"
    );
}
