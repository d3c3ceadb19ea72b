//! `sql/queries/`: each file is used, is documented, and can be prepared against a fresh schema with the types that the
//! code declares; the hot ones can be served by their index.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use uuid::Uuid;
use workflow_worker::store::sql;

use crate::support::database::{Database, MAIL_TEMPLATES, Variant};
use crate::support::flow::{chain, insert, insert_workflow, trigger};
use crate::support::plans::Explained;

fn files() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/queries");
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// Those for every database, and those on tables that some databases lack.
fn every_statement() -> impl Iterator<Item = &'static sql::Statement> {
    sql::ALL.iter().chain(sql::ON_OPTIONAL_TABLES)
}

#[test]
fn every_file_is_used_exactly_once() {
    let used: Vec<String> = every_statement()
        .map(|statement| statement.name.to_owned())
        .collect();
    let unique: BTreeSet<String> = used.iter().cloned().collect();
    assert_eq!(used.len(), unique.len(), "a file is included twice");
    assert_eq!(files(), unique);
}

#[test]
fn every_file_opens_with_its_contract() {
    for statement in every_statement() {
        let head: Vec<&str> = statement
            .text
            .lines()
            .take_while(|line| line.starts_with("--"))
            .collect();
        let head = head.join("\n");
        assert!(
            head.contains("-- Index:"),
            "{} does not name its index",
            statement.name
        );
        assert!(
            head.contains("-- Race-free:"),
            "{} does not say why it is race-free",
            statement.name
        );
        let documented = statement.types.is_empty() || head.contains("$1");
        assert!(
            documented,
            "{} does not describe its parameters",
            statement.name
        );
    }
}

#[tokio::test]
async fn every_statement_prepares_with_the_declared_types_on_every_variant() {
    for variant in Variant::ALL {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        for statement in sql::ALL {
            let prepared = client.prepare_typed(statement.text, statement.types).await;
            let prepared = prepared
                .unwrap_or_else(|error| panic!("{variant:?}: {}: {error:?}", statement.name));
            assert_eq!(prepared.params(), statement.types, "{}", statement.name);
        }
    }
}

#[tokio::test]
async fn the_statements_on_optional_tables_prepare_where_the_tables_are() {
    let database = Database::migrated(Variant::CreateAll).await;
    let client = database.client().await;
    client.batch_execute(MAIL_TEMPLATES).await.unwrap();
    for statement in sql::ON_OPTIONAL_TABLES {
        let prepared = client.prepare_typed(statement.text, statement.types).await;
        let prepared = prepared.unwrap_or_else(|error| panic!("{}: {error:?}", statement.name));
        assert_eq!(prepared.params(), statement.types, "{}", statement.name);
    }
}

#[tokio::test]
async fn the_looks_of_scheduler_and_dispatcher_can_be_served_by_their_indexes() {
    let database = Database::migrated(Variant::Empty).await;
    let client = database.client().await;
    client.batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan").await.unwrap();
    for (statement, indexes) in [
        (
            sql::LOAD_DUE_SCHEDULES,
            vec!["schedule_states_due", "schedule_states_waiting"],
        ),
        (sql::INTERRUPTS, vec!["run_queue_leased"]),
    ] {
        let types: Vec<String> = statement.types.iter().map(ToString::to_string).collect();
        let nulls = vec!["NULL"; types.len()].join(", ");
        let name = statement.name;
        client
            .batch_execute(&format!(
                "PREPARE {name} ({}) AS {}",
                types.join(", "),
                statement.text
            ))
            .await
            .unwrap();
        let rows = client
            .query(&format!("EXPLAIN EXECUTE {name} ({nulls})"), &[])
            .await
            .unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        for index in indexes {
            assert!(plan.contains(index), "{name} does not use {index}:\n{plan}");
        }
    }
}

const CLAIM_READS: &[&str] = &[
    "run_queue_due",
    "run_queue_timed",
    "workers_pkey",
    "workflowexecution_pkey",
];
const POLL_READS: &[&str] = &[
    "run_queue_due",
    "run_queue_timed",
    "run_queue_held",
    "limit_openings_next",
    "workflow_worker_runnable",
    "schedule_states_due",
    "schedule_states_waiting",
];
const RECORD_READS: &[&str] = &[
    "workflowexecution_pkey",
    "run_queue_pkey",
    "children_pkey",
    "children_parent",
];

const TABLES: &[&str] = &[
    "run_queue",
    "workflowexecution",
    "children",
    "steps",
    "finished",
];

/// How many pairs of rows a join has looked at for nothing, at most.
fn rows_removed_by_joins(plans: &str) -> u64 {
    plans
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Rows Removed by Join Filter: "))
        .map(|rows| rows.parse().unwrap())
        .max()
        .unwrap_or_default()
}

/// Executions that are due, and many others: parked and finished ones, children; and new ones.
const MANY: &str = "
    INSERT INTO workflow_worker.run_queue (execution_id, ready, run_at)
    SELECT gen_random_uuid(), number % 2 = 0, CASE number % 2 WHEN 0 THEN now() ELSE 'infinity' END
    FROM generate_series(1, 20000) AS number;
    INSERT INTO workflowexecution (id, workflow_id, workflow_version, execution_id, status, started_at, completed_at, retry_count)
    SELECT id, (SELECT id FROM workflow LIMIT 1), 1, 'exec-' || id, 'completed', at, at, 0
    FROM (SELECT gen_random_uuid() AS id, now() AT TIME ZONE 'utc' AS at FROM generate_series(1, 20000)) AS ended;
    INSERT INTO workflow_worker.children (child_id, parent_id, node_id, visit, depth, is_awaited)
    SELECT gen_random_uuid(), gen_random_uuid(), 'n', 1, 1, true FROM generate_series(1, 20000);
    INSERT INTO workflowexecution (workflow_id)
    SELECT (SELECT id FROM workflow LIMIT 1) FROM generate_series(1, 1000)";

#[tokio::test]
async fn plans_that_were_made_while_the_tables_were_empty_read_indexes_when_they_are_not() {
    let database = Database::migrated(Variant::Empty).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let worker = Uuid::new_v4();
    client
        .execute(
            "INSERT INTO workflow_worker.workers (id, name, hostname, pid, version, lease, silence, concurrency)
             VALUES ($1, 'w', 'h', 0, '0', interval '1 day', interval '1 day', 1)",
            &[&worker],
        )
        .await
        .unwrap();
    let session = Explained::connect(&database).await;
    let arrays = sql::RECORD.types.iter().skip(1);
    let arrays = arrays.map(|of| format!("'{{}}'::{}", of.name()));
    // Its first fifteen arrays are of executions: one that ends.
    let execution = insert(&client, workflow).await;
    // It is the first: those after it have a later place. One more is there for the claims of the session.
    insert(&client, workflow).await;
    let leased = format!("SELECT fence FROM workflow_worker.claim('{worker}', 1, NULL)");
    let fence: i64 = client.query_one(&leased, &[]).await.unwrap().get(0);
    let ending = format!(
        "SELECT workflow_worker.record('{worker}', ARRAY['{execution}'::uuid], ARRAY[{fence}::bigint], ARRAY[0], ARRAY[0],
             ARRAY['running'], '{{NULL}}', '{{NULL}}', ARRAY['finish'], '{{NULL}}', ARRAY['completed'], '{{NULL}}', '{{NULL}}',
             '{{NULL}}', ARRAY[0], '{{NULL}}', {})",
        arrays.skip(15).collect::<Vec<_>>().join(", ")
    );
    let claim = format!("SELECT workflow_worker.claim('{worker}', 10, NULL)");
    let poll = format!("SELECT workflow_worker.next_due('{worker}', 10, NULL)");
    for statement in [&ending, &claim, &poll] {
        assert!(!session.plans_of(statement).await.is_empty());
    }
    client.batch_execute(MANY).await.unwrap();
    for (statement, indexes) in [
        (&claim, CLAIM_READS),
        (&poll, POLL_READS),
        (&ending, RECORD_READS),
    ] {
        let plans = session.plans_of(statement).await.join("\n");
        for index in indexes {
            assert!(plans.contains(index), "{statement}: {index}:\n{plans}");
        }
        for table in TABLES {
            let whole = format!("Seq Scan on {table}");
            assert!(!plans.contains(&whole), "{statement}: {whole}:\n{plans}");
        }
        assert!(
            rows_removed_by_joins(&plans) < 1_000,
            "{statement}:\n{plans}"
        );
    }
}
