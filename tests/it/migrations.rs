//! Migrations: on every variant, by many at once, and taken back without a trace. Adoption of what was there before.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;
use workflow_worker::clock;
use workflow_worker::config::DatabaseUrl;
use workflow_worker::store::migrate::{self, MigrateError};
use workflow_worker::telemetry::Event;

use crate::support::database::{Database, Recipe, Variant};
use crate::support::flow::{
    chain, count, get, host_row, insert, insert_workflow, trigger, wait_for_completion,
    wait_for_end,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};

fn url(database: &Database) -> DatabaseUrl {
    database.url().parse().unwrap()
}

async fn raw(variant: Variant, with_rls: bool) -> Database {
    let recipe = Recipe::new(variant);
    Database::make(if with_rls {
        recipe.row_level_security()
    } else {
        recipe
    })
    .await
}

/// Everything in schema public, as the catalogue has it: columns with types and defaults, indexes, triggers, views,
/// constraints, rights.
async fn catalogue(client: &Client) -> Vec<String> {
    let rows = client
        .query(
            "SELECT format('column %s.%s %s null=%s default=%s', table_name, column_name, data_type, is_nullable, column_default)
             FROM information_schema.columns WHERE table_schema = 'public'
             UNION ALL
             SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
             UNION ALL
             SELECT format('trigger %s on %s', tgname, tgrelid::regclass) FROM pg_trigger WHERE NOT tgisinternal
             UNION ALL
             SELECT format('relation %s %s rls=%s acl=%s', relname, relkind, relrowsecurity, relacl)
             FROM pg_class WHERE relnamespace = 'public'::regnamespace
             UNION ALL
             SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
             WHERE connamespace = 'public'::regnamespace
             UNION ALL
             SELECT format('schema %s', nspname) FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
             ORDER BY 1",
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstall_leaves_the_platform_as_it_was_on_every_variant() {
    for (variant, with_rls) in [
        (Variant::CreateAll, false),
        (Variant::Alembic, false),
        (Variant::Alembic, true),
        (Variant::Jsonb, true),
    ] {
        let database = raw(variant, with_rls).await;
        let client = database.client().await;
        let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
        let before = catalogue(&client).await;
        migrate::migrate(&url(&database)).await.unwrap();
        assert_ne!(before, catalogue(&client).await);
        let execution = insert(&client, workflow).await;
        let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
        wait_for_completion(&client, execution).await;
        assert!(
            matches!(
                migrate::uninstall(&url(&database), false).await,
                Err(MigrateError::WorkersAreRunning { .. })
            ),
            "not under a running worker"
        );
        worker.stop().await;
        assert!(migrate::uninstall(&url(&database), false).await.unwrap());
        assert_eq!(
            before,
            catalogue(&client).await,
            "{variant:?}, row-level security: {with_rls}"
        );
        assert_eq!(
            host_row(&client, execution).await.status,
            "completed",
            "the data stay"
        );
        assert!(
            !migrate::uninstall(&url(&database), false).await.unwrap(),
            "nothing is left to remove"
        );
        // And again from the start.
        migrate::migrate(&url(&database)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_gets_the_tables_and_keeps_them_at_uninstall() {
    let database = raw(Variant::Empty, false).await;
    let client = database.client().await;
    migrate::migrate(&url(&database)).await.unwrap();
    let row = client
        .query_one(
            "INSERT INTO workflow (name, graph_config) VALUES ('w', '{\"nodes\": [], \"edges\": []}') RETURNING id",
            &[],
        )
        .await
        .unwrap();
    let workflow: Uuid = row.get(0);
    client
        .execute(
            "INSERT INTO workflow_executions (workflow_id) VALUES ($1)",
            &[&workflow],
        )
        .await
        .unwrap();
    migrate::uninstall(&url(&database), false).await.unwrap();
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflowexecution").await,
        1
    );
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'workflow_worker'";
    assert_eq!(count(&client, left).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_workers_that_start_at_once_migrate_once() {
    let database = raw(Variant::Alembic, false).await;
    let url = url(&database);
    let starts = (0..10).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { migrate::migrate(&url).await.unwrap() })
    });
    let mut applied = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        applied.extend(start.await.unwrap());
    }
    let all: Vec<i32> = migrate::MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .collect();
    assert_eq!(applied, all, "each migration is applied by one of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_with_a_message() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    client
        .execute("INSERT INTO workflow_worker.migrations (version, name, checksum) VALUES (999, 'future', '')", &[])
        .await
        .unwrap();
    let worker = InProcess::start_only(&database.url(), &[]);
    let error = worker.ended().await.unwrap_err().to_string();
    assert!(
        error.contains("version 999") && error.contains("newer binary"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auto_migrate_an_old_schema_is_refused_with_the_command_that_helps() {
    let database = raw(Variant::Alembic, false).await;
    let worker = InProcess::start_only(
        &database.url(),
        &[("WORKFLOW_WORKER_AUTO_MIGRATE", "false")],
    );
    let error = worker.ended().await.unwrap_err().to_string();
    assert!(error.contains("workflow-worker migrate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_from_which_row_level_security_hides_everything_is_told_so() {
    let database = Database::make(Recipe::new(Variant::Alembic).row_level_security()).await;
    migrate::migrate(&url(&database)).await.unwrap();
    let client = database.client().await;
    let role = format!("plain_{}", Uuid::new_v4().simple());
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN;
             GRANT USAGE ON SCHEMA workflow_worker, public TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA public, workflow_worker TO {role};
             GRANT ALL ON ALL SEQUENCES IN SCHEMA workflow_worker TO {role};"
        ))
        .await
        .unwrap();
    let as_plain = database.url().replace("postgres@", &format!("{role}@"));
    let worker = InProcess::start_only(&as_plain, &[]);
    let error = worker.ended().await.unwrap_err().to_string();
    client
        .batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role};"))
        .await
        .unwrap();
    assert!(
        error.contains("row-level security") && error.contains(&role),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn supabases_web_roles_get_no_right_on_our_schema_or_view() {
    let database = Database::make(Recipe::new(Variant::Alembic).row_level_security()).await;
    let client = database.client().await;
    // As Supabase has it.
    client
        .batch_execute(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated",
        )
        .await
        .unwrap();
    migrate::migrate(&url(&database)).await.unwrap();
    for role in ["anon", "authenticated"] {
        let row = client
            .query_one(
                "SELECT has_schema_privilege($1::text::name, 'workflow_worker', 'USAGE'),
                        has_table_privilege($1::text::name, 'public.workflow_executions', 'SELECT')
                        OR has_table_privilege($1::text::name, 'public.workflow_executions', 'INSERT')",
                &[&role],
            )
            .await
            .unwrap();
        assert_eq!(
            (row.get::<_, bool>(0), row.get::<_, bool>(1)),
            (false, false),
            "{role}"
        );
    }
    client.batch_execute("ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM anon, authenticated").await.unwrap();
}

/// A row as the Python worker or the API leaves it.
async fn old_row(client: &Client, workflow: Uuid, columns: &Value) -> Uuid {
    let id = Uuid::new_v4();
    let mut row = json!({
        "id": id, "workflow_id": workflow, "workflow_version": 1, "execution_id": format!("exec-{id}"),
        "status": "running", "retry_count": 0,
        "execution_state": {
            "execution_id": format!("exec-{id}"), "workflow_id": workflow, "workflow_version": 1, "status": "running",
            "current_node_id": null, "completed_node_ids": [], "node_results": {}, "execution_data": {},
            "started_at": "2026-01-05T00:52:44.123456", "retry_count": 0,
        },
    });
    for (key, value) in columns.as_object().unwrap() {
        row[key] = value.clone();
    }
    client
        .execute(
            "INSERT INTO workflowexecution SELECT * FROM json_populate_record(NULL::workflowexecution, $1::text::json)",
            &[&row.to_string()],
        )
        .await
        .unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_long_dead_comes_to_life_by_surprise() {
    let hits = Hits::start();
    let database = raw(Variant::Alembic, false).await;
    let client = database.client().await;
    let workflow =
        insert_workflow(&client, &chain(vec![trigger(), get("a", &hits.url("/a"))])).await;
    let ago = |hours: i64| {
        (clock::now() - chrono::TimeDelta::hours(hours))
            .naive_utc()
            .to_string()
    };
    let fresh = old_row(&client, workflow, &json!({ "started_at": ago(1) })).await;
    let old = old_row(&client, workflow, &json!({ "started_at": ago(30 * 24) })).await;
    // T2: final, though a retry time was left over.
    let zombie = json!({ "started_at": ago(1), "status": "failed", "completed_at": ago(1), "next_retry_at": ago(1) });
    let zombie = old_row(&client, workflow, &zombie).await;
    let completed = json!({ "started_at": ago(1), "status": "completed", "completed_at": ago(1), "next_retry_at": ago(1), "error_message": "left over" });
    let completed = old_row(&client, workflow, &completed).await;
    let retry = json!({ "started_at": ago(1), "status": "failed", "next_retry_at": ago(0), "retry_count": 1 });
    let retry = old_row(&client, workflow, &retry).await;

    let mut worker = InProcess::start_only(&database.url(), &[NO_POLL]);
    worker
        .wait_for("the warning", |event| {
            matches!(event, Event::LeftAlone { executions: 1, .. })
        })
        .await;
    wait_for_completion(&client, fresh).await;
    let retried = wait_for_completion(&client, retry).await;
    assert_eq!(retried.retry_count, 1, "the old worker's retries count");
    assert_eq!(host_row(&client, old).await.status, "running");
    assert_eq!(host_row(&client, zombie).await.status, "failed");
    let untouched = host_row(&client, completed).await;
    assert_eq!(
        (
            untouched.status.as_str(),
            untouched.error_message.as_deref()
        ),
        ("completed", Some("left over"))
    );
    assert_eq!(hits.count("/a"), 2);

    let adopt = Command::new(env!("CARGO_BIN_EXE_workflow-worker"))
        .env("DATABASE_URL", database.url())
        .args(["adopt"])
        .output()
        .unwrap();
    assert!(adopt.status.success(), "{adopt:?}");
    client
        .batch_execute("NOTIFY workflow_worker")
        .await
        .unwrap();
    wait_for_completion(&client, old).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_executions_can_be_failed_by_a_command() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    client
        .batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER USER")
        .await
        .unwrap();
    let old = old_row(
        &client,
        workflow,
        &json!({ "started_at": "2026-01-05T00:52:44.123456" }),
    )
    .await;
    client
        .batch_execute("ALTER TABLE workflowexecution ENABLE TRIGGER USER")
        .await
        .unwrap();
    let fail = Command::new(env!("CARGO_BIN_EXE_workflow-worker"))
        .env("DATABASE_URL", database.url())
        .args(["adopt", "--fail", "--message", "forgotten"])
        .output()
        .unwrap();
    assert!(fail.status.success(), "{fail:?}");
    let row = wait_for_end(&client, old).await;
    assert_eq!(
        (row.status.as_str(), row.error_message.as_deref()),
        ("failed", Some("forgotten"))
    );
    assert_eq!(row.state["status"], "failed", "resume looks inside");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_the_old_worker_has_begun_goes_on_where_it_was() {
    let hits = Hits::start();
    let database = raw(Variant::Alembic, false).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a")),
        get("b", &hits.url("/b")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let result = |node: &str| {
        json!({ "node_id": node, "status": "success", "output": { "old": node }, "error": null,
                "started_at": "2026-11-23T14:02:42.485936", "completed_at": "2026-11-23T14:02:42.485940", "duration_ms": 8 })
    };
    let state = json!({
        "execution_id": "exec-x", "workflow_id": workflow, "workflow_version": 1, "status": "running",
        "current_node_id": "b", "completed_node_ids": ["t", "a"],
        "node_results": { "t": result("t"), "a": result("a") },
        "execution_data": { "n": 1, "t_output": { "old": "t" }, "a_output": { "old": "a" } },
        "started_at": "2026-11-23T14:02:41.543955", "error_message": null, "retry_count": 0, "next_retry_at": null,
    });
    let started = clock::now().naive_utc().to_string();
    let row = json!({ "current_node_id": "b", "execution_state": state, "started_at": started });
    let execution = old_row(&client, workflow, &row).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(
        (hits.count("/a"), hits.count("/b")),
        (0, 1),
        "what it had done is not done again"
    );
    assert_eq!(row.state["completed_node_ids"], json!(["t", "a", "b"]));
    assert_eq!(row.output("a"), &json!({ "old": "a" }));
    assert_eq!(row.state["execution_data"]["n"], 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_transaction_that_holds_a_table_delays_a_migration_but_is_not_blocked_by_it() {
    let database = raw(Variant::Alembic, false).await;
    let mut client = database.client().await;
    let transaction = client.transaction().await.unwrap();
    transaction
        .execute("SELECT count(*) FROM workflowexecution", &[])
        .await
        .unwrap();
    let migrating = {
        let url = url(&database);
        tokio::spawn(async move { migrate::migrate(&url).await })
    };
    let other = database.client().await;
    // The migration waits at most its lock time-out at a time; the platform's reads get through in between.
    tokio::time::timeout(
        Duration::from_secs(30),
        other.execute("SELECT count(*) FROM workflowexecution", &[]),
    )
    .await
    .expect("the platform is not blocked")
    .unwrap();
    transaction.commit().await.unwrap();
    assert!(!migrating.await.unwrap().unwrap().is_empty());
}
