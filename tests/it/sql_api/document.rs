//! The examples of `docs/sql.md`, run as they stand there, and its tables against the catalogue.
//!
//! The drivers for Python and Node are installed by `scripts/test`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use tokio_postgres::types::Type;
use uuid::Uuid;
use workflow_worker::config::process_variable;

use super::one;
use crate::support::database::{Database, Variant};
use crate::support::flow::{chain, insert_workflow, node, trigger, wait_for_status};
use crate::support::in_process::{InProcess, NO_POLL};

const DOCUMENT: &str = include_str!("../../../docs/sql.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let found: Vec<&str> = DOCUMENT
        .split(fence.as_str())
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(!found.is_empty(), "{language}");
    found
}

/// Where `scripts/test` puts the drivers.
fn drivers() -> PathBuf {
    let target = process_variable("CARGO_TARGET_DIR").unwrap_or_else(|| "target".to_owned());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(target)
        .join("drivers");
    assert!(
        directory.join("versions").is_file(),
        "{} is missing: scripts/test installs the drivers for the examples",
        directory.display()
    );
    directory
}

/// `psql`, beside the server's programs or in PATH.
fn psql() -> PathBuf {
    let output = Command::new("pg_config").arg("--bindir").output();
    let mut places: Vec<PathBuf> = output
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|text| PathBuf::from(text.trim()))
        .into_iter()
        .collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        places.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    places
        .into_iter()
        .map(|place| place.join("psql"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| PathBuf::from("psql"))
}

/// Runs a program with a script on its standard input; returns what it prints.
async fn run(mut command: Command, script: &'static str) -> String {
    tokio::task::spawn_blocking(move || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{script}\n{said}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    })
    .await
    .unwrap()
}

/// A database with a worker, in which each example finds an execution that waits for an approval.
struct Stage {
    database: Database,
    client: tokio_postgres::Client,
    worker: InProcess,
    workflow: Uuid,
}

impl Stage {
    async fn set() -> Self {
        let database = Database::migrated(Variant::Alembic).await;
        let client = database.client().await;
        let ask = node(
            "ask",
            "human_approval",
            json!({ "approval_message": "Pay?" }),
        );
        let workflow = insert_workflow(&client, &chain(vec![trigger(), ask])).await;
        let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
        Self {
            database,
            client,
            worker,
            workflow,
        }
    }

    async fn execution(&self) -> Uuid {
        let start = "SELECT id FROM workflow_worker.start($1)";
        let execution = one(&self.client, start, &[(&self.workflow, Type::UUID)]).await;
        wait_for_status(&self.client, execution, "waiting_for_signal").await;
        execution
    }

    /// Runs each block of a language, with the variables that the document names.
    async fn run(&self, language: &str, command: impl Fn() -> Command) -> Vec<String> {
        let mut said = Vec::new();
        for block in blocks(language) {
            let execution = self.execution().await;
            let mut command = command();
            command
                .env("DATABASE_URL", self.database.url())
                .env("WORKFLOW_ID", self.workflow.to_string())
                .env("EXECUTION_ID", execution.to_string());
            if language == "sql" {
                command
                    .args(["-X", "-v", "ON_ERROR_STOP=1", "-v"])
                    .arg(format!("workflow={}", self.workflow))
                    .arg("-v")
                    .arg(format!("execution={execution}"))
                    .arg(self.database.url());
            }
            said.push(run(command, block).await);
        }
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_for_psql_run() {
    let stage = Stage::set().await;
    let said = stage.run("sql", || Command::new(psql())).await;
    assert!(said[0].contains("scheduled"), "{}", said[0]);
    assert!(said[1].contains("Pay?"), "{}", said[1]);
    assert!(said[2].contains("Asynchronous notification"), "{}", said[2]);
    stage.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_for_python_run() {
    let stage = Stage::set().await;
    let python = drivers().join("python/bin/python");
    let said = stage
        .run("python", || {
            let mut command = Command::new(&python);
            command.arg("-");
            command
        })
        .await;
    assert!(said[1].contains(" failed "), "{}", said[1]);
    stage.worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_for_node_run() {
    let stage = Stage::set().await;
    let directory = drivers().join("node");
    let said = stage
        .run("js", || {
            let mut command = Command::new("node");
            command
                .args(["--input-type=module", "-"])
                .current_dir(&directory);
            command
        })
        .await;
    assert!(said[0].contains("exec-"), "{}", said[0]);
    assert_eq!(said[1].trim(), "completed");
    stage.worker.stop().await;
}

#[tokio::test]
async fn the_document_has_every_function_of_a_producer_and_every_column_of_the_views() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let names = client
        .query(
            "SELECT DISTINCT split_part(split_part(name, '(', 1), '.', 2)
             FROM workflow_worker.shared_objects('producer')
             WHERE name !~ 'schedule'
             UNION ALL
             SELECT attname::text
             FROM pg_attribute
             WHERE attrelid IN ('workflow_worker.executions'::regclass, 'workflow_worker.approvals'::regclass,
                                'workflow_worker.health'::regclass)
               AND attnum > 0",
            &[],
        )
        .await
        .unwrap();
    assert!(names.len() > 40, "{}", names.len());
    for row in names {
        let name: String = row.get(0);
        let is_there =
            DOCUMENT.contains(&format!("`{name}`")) || DOCUMENT.contains(&format!("`{name}("));
        assert!(is_there, "{name} is not in docs/sql.md");
    }
}

#[tokio::test]
async fn the_document_and_the_catalogue_name_the_same_refusals() {
    let codes = |text: &str| -> std::collections::BTreeSet<String> {
        text.match_indices("WW")
            .filter_map(|(at, _)| text.get(at..at + 5))
            .filter(|code| code.chars().skip(2).all(|digit| digit.is_ascii_digit()))
            .map(str::to_owned)
            .collect()
    };
    let mut raised = codes("");
    for migration in workflow_worker::store::migrate::MIGRATIONS {
        raised.extend(codes(migration.text));
    }
    assert_eq!(codes(DOCUMENT), raised);
}
