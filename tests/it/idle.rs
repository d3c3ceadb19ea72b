//! What an idle worker asks of the database: a list, with how often. `docs/operating.md` has the same list.

use std::collections::BTreeMap;

use tokio_postgres::Client;
use workflow_worker::store::sql;

use crate::support::cluster::TestCluster;
use crate::support::database::{Database, Recipe, Variant};
use crate::support::flow::{chain, count, insert, insert_workflow, trigger, wait_for_completion};
use crate::support::in_process::InProcess;
use crate::support::migrated::MIGRATED;
use crate::support::plans::Explained;
use crate::support::wait::wait_until;

/// The listener's proof that notifications arrive, with its constant as the server shows it.
const ECHO: &str = "SELECT pg_notify($1, $2)";
/// Of one full repair to the next it is a minute.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(240);

/// How often each statement was sent so far, by its file in `sql/queries`; and the server's time in seconds.
async fn sent(monitor: &Client, database: &str) -> (BTreeMap<String, i64>, f64) {
    let rows = monitor
        .query(
            "SELECT statement.query, sum(statement.calls)::bigint,
                    extract(epoch FROM clock_timestamp())::double precision
             FROM pg_stat_statements AS statement
             JOIN pg_database ON pg_database.oid = statement.dbid
             WHERE pg_database.datname = $1
             GROUP BY statement.query",
            &[&database],
        )
        .await
        .unwrap();
    let mut calls = BTreeMap::new();
    let mut at = 0.0;
    for row in &rows {
        let text: String = row.get(0);
        let first_line =
            |statement: &sql::Statement| statement.text.lines().next().unwrap().to_owned();
        let known = sql::ALL
            .iter()
            .find(|statement| text.starts_with(&first_line(statement)));
        let name = known.map_or(text.clone(), |statement| statement.name.to_owned());
        *calls.entry(name).or_default() += row.get::<_, i64>(1);
        at = row.get(2);
    }
    (calls, at)
}

async fn wait_for_repair(
    monitor: &Client,
    database: &str,
    times: i64,
) -> (BTreeMap<String, i64>, f64) {
    wait_until("a full repair", PATIENCE, async || {
        let (calls, at) = sent(monitor, database).await;
        match calls.get(sql::REPAIR_WAITING.name) {
            Some(seen) if *seen >= times => Ok((calls, at)),
            seen => Err(format!("{seen:?} of {times}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_sends_per_minute_what_is_on_the_list_and_nothing_else() {
    let settings = [
        ("shared_preload_libraries", "pg_stat_statements"),
        ("pg_stat_statements.track", "top"),
        ("pg_stat_statements.track_utility", "on"),
    ];
    let cluster = tokio::task::spawn_blocking(move || TestCluster::private_with(&settings))
        .await
        .unwrap();
    let recipe = Recipe::on(cluster.clone(), Variant::Alembic).prepared(MIGRATED);
    let database = Database::make(recipe).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    // A session in another database, whose statements are not counted.
    let (monitor, connection) =
        tokio_postgres::connect(&cluster.url("postgres"), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(async { drop(connection.await) });
    monitor
        .batch_execute("CREATE EXTENSION pg_stat_statements")
        .await
        .unwrap();
    // All settings as they are by default. It has worked, and has nothing left to do.
    let worker = InProcess::start(&database.url(), &[]).await;
    let execution = insert(&client, workflow).await;
    wait_for_completion(&client, execution).await;
    drop(client);
    // One at the start, one when the listener is up.
    let (_, _) = wait_for_repair(&monitor, database.name(), 2).await;
    let (before, began) = sent(&monitor, database.name()).await;
    let repairs = before[sql::REPAIR_WAITING.name];
    let (after, ended) = wait_for_repair(&monitor, database.name(), repairs + 1).await;
    worker.stop().await;

    let mut sent: BTreeMap<&str, i64> = after
        .iter()
        .map(|(name, calls)| (name.as_str(), calls - before.get(name).unwrap_or(&0)))
        .filter(|(_, calls)| *calls > 0)
        .collect();
    let seconds = ended - began;
    let all = format!("in {seconds:.1} s: {sent:#?}");
    // A busy machine is late, so there may be fewer; more there cannot be.
    for (name, per_second) in [
        (sql::HEARTBEAT.name, 1.0),
        (sql::NEXT_DUE.name, 1.0),
        (ECHO, 1.0 / 30.0),
        (sql::REPAIR.name, 1.0 / 60.0),
        (sql::REPAIR_PARKED.name, 1.0 / 60.0),
        (sql::REPAIR_WAITING.name, 1.0 / 60.0),
    ] {
        let calls = sent.remove(name).unwrap_or_default();
        let most = seconds * per_second + 1.5;
        assert!((calls as f64) <= most, "{name}: {calls} of {most}, {all}");
        assert!(calls > 0, "{name} is not sent: {all}");
    }
    assert!(sent.is_empty(), "not on the list: {sent:#?}; {all}");
}

#[tokio::test]
async fn the_idle_poll_reads_indexes_alone_whatever_waits_and_has_ended() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    client
        .execute(
            "INSERT INTO workflowexecution (id, workflow_id, workflow_version, execution_id, status, started_at, completed_at, retry_count)
             SELECT id, $1, 1, 'exec-' || id, 'completed', at, at, 0
             FROM (SELECT gen_random_uuid() AS id, now() AT TIME ZONE 'utc' AS at FROM generate_series(1, 20000)) AS ended",
            &[&workflow],
        )
        .await
        .unwrap();
    // Parked, and timed for later.
    client
        .batch_execute(
            "INSERT INTO workflow_worker.run_queue (execution_id, ready, run_at)
             SELECT gen_random_uuid(), false, CASE number % 2 WHEN 0 THEN 'infinity' ELSE now() + number * interval '1 minute' END
             FROM generate_series(1, 20000) AS number",
        )
        .await
        .unwrap();
    // On its own: it cannot be part of several.
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    let session = Explained::connect(&database).await;
    let poll = "SELECT workflow_worker.next_due(gen_random_uuid(), 10, NULL)";
    // The first time the session reads its catalogues as well.
    session.plans_of(poll).await;
    let plans = session.plans_of(poll).await;
    // Nested statements tell first.
    let text = plans.first().unwrap();
    let plan: Vec<&str> = text.lines().collect();
    for index in ["run_queue_due", "run_queue_timed", "run_queue_leased"] {
        assert!(
            text.contains(&format!("Index Only Scan using {index}")),
            "{index}:\n{text}"
        );
    }
    assert!(!text.contains("Seq Scan"), "{text}");
    let fetches: Vec<&&str> = plan
        .iter()
        .filter(|line| line.contains("Heap Fetches"))
        .collect();
    assert!(
        fetches.iter().all(|line| line.trim() == "Heap Fetches: 0"),
        "{text}"
    );
    // Of the whole statement, which stands first: a few pages of each index, and of the catalogue of triggers.
    let pages = plan
        .iter()
        .find_map(|line| line.trim().strip_prefix("Buffers: shared "))
        .unwrap_or_default();
    let pages: i64 = pages
        .split(' ')
        .filter_map(|part| part.split_once('=')?.1.parse::<i64>().ok())
        .sum();
    assert!((1..=40).contains(&pages), "{pages} pages:\n{text}");
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflow_worker.run_queue").await,
        20_000
    );
}
