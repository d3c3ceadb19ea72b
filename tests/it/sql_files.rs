//! `sql/queries/`: each file is used, is documented, and can be prepared against a fresh schema with the types that the
//! code declares; the hot ones can be served by their index.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use workflow_worker::store::sql;

use crate::support::database::{Database, MAIL_TEMPLATES, Variant};

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
async fn the_claim_and_the_idle_poll_can_be_served_by_their_indexes() {
    let database = Database::migrated(Variant::Empty).await;
    let client = database.client().await;
    client.batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan").await.unwrap();
    for (statement, indexes) in [
        (sql::CLAIM, vec!["run_queue_due", "run_queue_timed"]),
        (
            sql::NEXT_DUE,
            vec![
                "run_queue_due",
                "run_queue_timed",
                "run_queue_held",
                "limit_openings_next",
                "workflow_worker_runnable",
                "schedule_states_due",
                "schedule_states_waiting",
            ],
        ),
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
