//! The helpers keep their promises.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use workflow_worker::dev::StopMode;

use super::cluster::TestCluster;
use super::database::{Database, Preparation, Recipe, Variant};
use super::hits::Hits;
use super::pgbouncer::PgBouncer;
use super::platform::{Platform, chain, manual};
use super::process::Process;
use super::wait::{SOON, wait_until_blocking};
use super::worker::WorkerProcess;

/// Set in the copy of this binary that is killed.
const OWNER: &str = "a_cluster_owner";

/// Not a test of its own: what the copy of this binary does, until it is killed.
#[test]
#[expect(
    clippy::print_stdout,
    reason = "this is how the test that kills it learns what to look for"
)]
fn owner_of_a_cluster() {
    if workflow_worker::config::process_variable(OWNER).is_none() {
        return;
    }
    let cluster = TestCluster::private();
    println!(
        "\nowns {} {}",
        cluster.supervisor_id(),
        cluster.root().display()
    );
    loop {
        std::thread::park();
    }
}

#[test]
fn a_cluster_leaves_nothing_behind_when_its_owner_is_killed() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["owner_of_a_cluster", "--nocapture"])
        .env(OWNER, "1");
    let mut owner = Process::spawn(&mut command);
    let line = owner.line_containing("owns ");
    let (supervisor, root) = line.trim_start_matches("owns ").split_once(' ').unwrap();
    let root = PathBuf::from(root);
    let server = std::fs::read_to_string(root.join("data/postmaster.pid")).unwrap();
    let server = server.lines().next().unwrap();
    owner.kill9();
    wait_until_blocking("nothing is left", SOON, || {
        let left = [
            PathBuf::from("/proc").join(supervisor),
            PathBuf::from("/proc").join(server),
            root.clone(),
        ];
        let left: Vec<_> = left.into_iter().filter(|path| path.exists()).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

#[test]
fn a_process_is_heard_and_ends_as_it_is_told() {
    let script =
        "trap 'echo bye; exit 3' TERM; echo ready; echo loud >&2; while :; do sleep 0.05; done";
    let mut process = Process::spawn(Command::new("sh").args(["-c", script]));
    process.line_containing("ready");
    process.line_containing("loud");
    process.sigterm();
    assert_eq!(process.wait_exit(SOON).code(), Some(3));
    process.line_containing("bye");
}

#[test]
fn a_killed_worker_process_is_gone() {
    let database = Database::new(Variant::Empty);
    let mut worker = WorkerProcess::spawn(&database.url(), &[("WORKFLOW_WORKER_CONCURRENCY", "1")]);
    let directory = PathBuf::from(format!("/proc/{}", worker.id()));
    worker.kill9();
    worker.wait_exit(SOON);
    assert!(!directory.exists());
}

#[test]
#[should_panic(expected = "the impossible: not within 30ms; last seen: 3")]
fn waiting_in_vain_says_what_was_last_seen() {
    wait_until_blocking("the impossible", Duration::from_millis(30), || {
        Err::<(), _>(3)
    });
}

#[tokio::test]
async fn each_variant_has_the_platforms_tables_in_its_own_way() {
    for (variant, indexes, json_type) in [
        (Variant::CreateAll, 0, "json"),
        (Variant::Alembic, 5, "json"),
        (Variant::Jsonb, 5, "jsonb"),
    ] {
        let database = Database::new(variant);
        let client = database.connect().await;
        let row = client
            .query_one(
                "SELECT (SELECT count(*) FROM pg_indexes WHERE tablename IN ('workflowexecution', 'executionlog')
                           AND indexdef NOT LIKE '%UNIQUE%'),
                        (SELECT data_type FROM information_schema.columns WHERE column_name = 'execution_state'),
                        (SELECT count(*) FROM information_schema.columns
                          WHERE table_name LIKE 'workflow%' AND column_default IS NOT NULL)",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(
            (
                row.get::<_, i64>(0),
                row.get::<_, &str>(1),
                row.get::<_, i64>(2)
            ),
            (indexes, json_type, 0)
        );
    }
}

#[tokio::test]
async fn a_plain_role_sees_nothing_through_row_level_security() {
    let database = Recipe::new(Variant::Alembic).row_level_security().make();
    let platform = Platform::connect(&database).await;
    let workflow = platform.workflow(&chain(&[])).await;
    platform.run(workflow, manual()).await;
    for (role, seen) in [("authenticated", 0_i64), ("service_role", 1)] {
        platform
            .client()
            .batch_execute(&format!("SET ROLE {role}"))
            .await
            .unwrap();
        let row = platform
            .client()
            .query_one("SELECT count(*) FROM workflowexecution", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), seen, "{role}");
        platform.client().batch_execute("RESET ROLE").await.unwrap();
    }
}

#[tokio::test]
async fn databases_are_fresh_and_gone_at_the_end() {
    let cluster = TestCluster::shared();
    let one = Database::new(Variant::Empty);
    let name = one.name().to_owned();
    assert_eq!(one.cluster().port(), cluster.port());
    one.connect()
        .await
        .batch_execute("CREATE TABLE mine ()")
        .await
        .unwrap();
    let two = Database::new(Variant::Empty);
    assert!(
        two.connect()
            .await
            .batch_execute("SELECT FROM mine")
            .await
            .is_err()
    );
    let still_connected = one.connect().await;
    drop(one);
    assert!(still_connected.batch_execute("SELECT 1").await.is_err());
    let check = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(
        two.connect()
            .await
            .query_one(&check, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        0
    );
}

#[tokio::test]
async fn a_preparation_is_in_every_copy() {
    fn prepare(url: &str) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
                .await
                .map_err(|error| error.to_string())?;
            tokio::spawn(async { drop(connection.await) });
            client
                .batch_execute("CREATE TABLE prepared ()")
                .await
                .map_err(|error| error.to_string())
        })
    }
    let recipe = Recipe::new(Variant::Empty).prepared(Preparation {
        name: "one table",
        run: prepare,
    });
    for database in [recipe.make(), recipe.make()] {
        database
            .connect()
            .await
            .batch_execute("SELECT FROM prepared")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_private_cluster_can_be_restarted_under_a_database() {
    let cluster = TestCluster::private();
    let database = Recipe::on(cluster.clone(), Variant::Empty).make();
    database
        .connect()
        .await
        .batch_execute("CREATE TABLE kept ()")
        .await
        .unwrap();
    tokio::task::spawn_blocking(move || cluster.restart(StopMode::Fast))
        .await
        .unwrap()
        .unwrap();
    database
        .connect()
        .await
        .batch_execute("SELECT FROM kept")
        .await
        .unwrap();
}

#[tokio::test]
async fn pgbouncer_hands_each_transaction_to_any_session() {
    let database = Database::new(Variant::Empty);
    let bouncer = PgBouncer::start(database.cluster());
    let url = bouncer.url(database.name());
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(async { drop(connection.await) });
    client
        .batch_execute("LISTEN nothing_is_delivered")
        .await
        .unwrap();
    // A second client gets the same session, because the first one holds none between its transactions.
    let (other, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(async { drop(connection.await) });
    let mut sessions = Vec::new();
    for client in [&client, &other] {
        let rows = client
            .simple_query("SELECT pg_backend_pid()")
            .await
            .unwrap();
        sessions.extend(rows.iter().filter_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }));
    }
    assert_eq!(sessions.first(), sessions.last());
    assert_eq!(sessions.len(), 2);
}

#[tokio::test]
async fn hits_are_counted_and_answered_as_asked() {
    let hits = Hits::start();
    let status = async |path: &str| request(&hits.url(path), "").await.0;
    assert_eq!(status("/status/500").await, 500);
    assert_eq!(status("/a?fail=2").await, 503);
    assert_eq!(status("/a?fail=2").await, 503);
    assert_eq!(status("/a?fail=2&ms=1").await, 503);
    assert_eq!(status("/a?fail=2").await, 200);
    assert_eq!(hits.count("/a?fail=2"), 3);
    let (status, echo) = request(&hits.url("/b?x=1"), r#"{"n":1}"#).await;
    assert_eq!(
        (status, &echo["path"], &echo["query"], &echo["body"]),
        (200, &json!("/b"), &json!("x=1"), &json!({"n": 1}))
    );
    let last = hits.all().pop().unwrap();
    assert_eq!(
        (last.method.as_str(), last.idempotency_key(), &last.body),
        ("POST", Some("k"), &json!({"n": 1}))
    );
}

/// One POST by hand, so that no TLS set-up is needed: status and JSON body.
async fn request(url: &str, body: &str) -> (u16, Value) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (address, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nIdempotency-Key: k\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        serde_json::from_str(body).unwrap(),
    )
}

#[tokio::test]
async fn the_platform_pauses_resumes_terminates_and_replays_in_every_variant() {
    for variant in Variant::WITH_HOST {
        let database = Database::new(variant);
        let platform = Platform::connect(&database).await;
        let workflow = platform
            .workflow(&chain(&[
                ("a", "trigger", json!({})),
                ("b", "delay", json!({})),
            ]))
            .await;
        let started = platform.run(workflow, manual()).await;
        let execution = platform.wait_for_status(started.id, "running", SOON).await;
        assert_eq!(execution.state["execution_data"], manual());
        assert!(execution.current_node_id.is_none() && execution.next_retry_at.is_none());

        // A key that the API does not know is lost; the error column follows the state.
        let add_key = "UPDATE workflowexecution SET execution_state = (execution_state::jsonb || '{\"priority\": 20}')::json, \
                       error_message = 'old', retry_count = 2";
        platform.client().execute(add_key, &[]).await.unwrap();
        platform.pause(started.id).await.unwrap();
        let paused = platform.wait_for_status(started.id, "paused", SOON).await;
        assert_eq!(paused.state.get("priority"), None);
        assert_eq!((paused.error_message, paused.retry_count), (None, 0));

        platform.resume(started.id).await.unwrap();
        platform
            .resume(started.id)
            .await
            .expect_err("a running execution cannot be resumed");
        platform.terminate(started.id, None).await.unwrap();
        let ended = platform.wait_for_status(started.id, "failed", SOON).await;
        assert_eq!(
            ended.error_message.as_deref(),
            Some("Execution terminated by user")
        );
        assert!(
            ended
                .completed_at
                .is_some_and(|time| time >= ended.started_at)
        );
        platform
            .terminate(started.id, Some("again"))
            .await
            .expect_err("it is over");

        let replay = platform.replay(started.id, Some("b")).await.unwrap();
        assert_eq!(
            platform.execution(replay.id).await.state["execution_data"],
            manual()
        );
        platform.replay(started.id, None).await.unwrap();
        platform
            .signal(started.id, "approval", &json!({"ok": true}))
            .await;
        let messages: Vec<_> = platform
            .logs(started.id)
            .await
            .into_iter()
            .map(|row| row.message)
            .collect();
        let started_message = format!("Workflow execution started: {}", started.execution_id);
        assert_eq!(
            messages,
            [
                &started_message,
                "Execution paused",
                "Execution resumed",
                "Execution terminated: Execution terminated by user"
            ]
        );
    }
}
