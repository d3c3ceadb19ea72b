//! Old history goes, in small batches; what is young, lives or is needed stays, and what runs does not feel it.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workflow_worker::config::RetentionConfig;
use workflow_worker::ids::Timestamp;
use workflow_worker::retention::round::{Outcome, Patience, Round};
use workflow_worker::retention::{Retention, Rhythm};
use workflow_worker::store::{Store, sql};
use workflow_worker::telemetry::{Event, Telemetry};

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    PATIENCE, chain, count, get, insert, insert_workflow, node, trigger, wait_for_completion,
    wait_for_end, wait_for_status, wait_until_not_held,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL, config};
use crate::support::wait::wait_until;

const DAY: Duration = Duration::from_secs(86_400);
const KEEP: Duration = Duration::from_secs(30 * 86_400);

fn store(database: &Database) -> Store {
    Store::new(&config(&database.url(), &[]).database).unwrap()
}

async fn cutoff(store: &Store, older_than: Duration) -> Timestamp {
    store
        .begin_pruning(Duration::ZERO, older_than, "a test")
        .await
        .unwrap()
        .expect("the table of rounds has its row")
}

/// A round as the command makes it.
async fn prune(database: &Database, older_than: Duration, prune_host_tables: bool) -> Outcome {
    let store = store(database);
    let cutoff = cutoff(&store, older_than).await;
    let stop = CancellationToken::new();
    let round = Round {
        store: &store,
        cutoff,
        prune_host_tables,
        patience: Patience::OfACommand,
        stop: &stop,
    };
    round.run().await
}

/// A round that meets no problem; with the rows that it has removed from a table.
async fn prune_rows(database: &Database, prune_host_tables: bool, table: &str) -> i64 {
    let Outcome { removed, problem } = prune(database, KEEP, prune_host_tables).await;
    assert_eq!(problem, None);
    removed.0.get(table).map_or(0, |amount| amount.rows)
}

/// `executions` that ended `days` ago: each with three steps and an input, four log rows and a signal.
async fn seed(client: &Client, workflow: Uuid, executions: i32, days: i32) -> Vec<Uuid> {
    let rows = client
        .query(
            "INSERT INTO workflowexecution
                 (id, workflow_id, workflow_version, execution_id, status, started_at, completed_at, execution_state, retry_count)
             SELECT id, $1, 1, 'exec-' || id, 'completed', at, at, '{\"execution_id\": 1, \"started_at\": 2}', 0
             FROM (SELECT gen_random_uuid() AS id,
                          (now() AT TIME ZONE 'utc') - make_interval(days => $3) - number * interval '1 ms' AS at
                   FROM generate_series(1, $2) AS number) AS new_row
             RETURNING id",
            &[&workflow, &executions, &days],
        )
        .await
        .unwrap();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    for statement in [
        "INSERT INTO workflow_worker.finished (execution_id, outcome, fence, revision, graph_hash, checkpoint, finished_at)
         SELECT host.id, host.status, 1, 1, 'graph', '{}', host.completed_at AT TIME ZONE 'utc'
         FROM workflowexecution AS host WHERE host.id = ANY ($1)",
        "INSERT INTO workflow_worker.steps
             (execution_id, seq, node_id, node_type, visit, attempt, status, output, started_at, finished_at, worker_id, fence)
         SELECT id, seq, 'n' || seq, 'trigger', 1, 1, CASE seq WHEN 0 THEN 'input' ELSE 'success' END, '{\"a\": 1}',
                now(), now(), id, 1
         FROM unnest($1::uuid[]) AS id, generate_series(0, 3) AS seq",
        "INSERT INTO executionlog (id, execution_id, node_id, level, message, \"timestamp\")
         SELECT gen_random_uuid(), id, 'n', 'info', 'a message', now() FROM unnest($1::uuid[]) AS id, generate_series(1, 4)",
        "INSERT INTO workflowsignal (id, execution_id, signal_type, received_at, processed)
         SELECT gen_random_uuid(), id, 's', now(), true FROM unnest($1::uuid[]) AS id",
    ] {
        client.execute(statement, &[&ids]).await.unwrap();
    }
    ids
}

async fn set_status(client: &Client, execution: Uuid, columns: &str) {
    // Also what the guard refuses to others.
    client
        .batch_execute("SET workflow_worker.restart = 'on'")
        .await
        .unwrap();
    let written = client
        .execute(
            &format!("UPDATE workflowexecution SET {columns} WHERE id = $1"),
            &[&execution],
        )
        .await
        .unwrap();
    assert_eq!(written, 1);
}

/// Which of these executions have a row in `table`, by its column `key`.
async fn kept(client: &Client, table: &str, key: &str, executions: &[Uuid]) -> Vec<bool> {
    let mut kept = Vec::new();
    for execution in executions {
        let row = client
            .query_one(
                &format!("SELECT EXISTS (SELECT FROM {table} WHERE {key} = $1)"),
                &[execution],
            )
            .await
            .unwrap();
        kept.push(row.get(0));
    }
    kept
}

async fn with_steps(client: &Client, executions: &[Uuid]) -> Vec<bool> {
    kept(client, "workflow_worker.steps", "execution_id", executions).await
}

async fn with_host_row(client: &Client, executions: &[Uuid]) -> Vec<bool> {
    kept(client, "workflowexecution", "id", executions).await
}

async fn migrated(variant: Variant) -> (Database, Client, Uuid) {
    let database = Database::migrated(variant).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    (database, client, workflow)
}

/// What `prune` says an operator is to run first, where the platform's tables have no indexes.
async fn make_indexes(database: &Database, client: &Client) {
    for statement in store(database).host_pruning_needs().await.unwrap() {
        client.batch_execute(&statement).await.unwrap();
    }
}

fn command(database: &Database, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_workflow-worker"))
        .arg("prune")
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[tokio::test]
async fn only_what_ended_before_the_cut_off_and_is_over_loses_its_steps() {
    for variant in Variant::WITH_HOST {
        let (database, client, workflow) = migrated(variant).await;
        let old = seed(&client, workflow, 6, 31).await;
        let young = seed(&client, workflow, 1, 29).await;
        set_status(&client, old[1], "status = 'failed', error_message = 'x'").await;
        // The API pauses from any status; a resume of it would go on from its checkpoint.
        set_status(&client, old[2], "status = 'paused'").await;
        set_status(&client, old[3], "status = 'waiting_for_signal'").await;
        let retry =
            "status = 'failed', next_retry_at = now() + interval '1 day', completed_at = NULL";
        set_status(&client, old[4], retry).await;
        set_status(&client, old[5], "status = 'running'").await;

        let removed = prune_rows(&database, false, "workflow_worker.steps").await;
        assert_eq!(removed, 2 * 4, "{variant:?}");
        assert_eq!(
            with_steps(&client, &old).await,
            [false, false, true, true, true, true]
        );
        assert_eq!(with_steps(&client, &young).await, [true]);
        let all: Vec<Uuid> = old.iter().chain(&young).copied().collect();
        assert_eq!(
            kept(&client, "workflow_worker.finished", "execution_id", &all).await,
            [true; 7],
            "a resume needs the checkpoint"
        );
        assert_eq!(with_host_row(&client, &all).await, [true; 7]);
        assert_eq!(
            count(&client, "SELECT count(*) FROM executionlog").await,
            7 * 4
        );
        assert_eq!(
            prune_rows(&database, false, "workflow_worker.steps").await,
            0,
            "nothing is left to do"
        );
    }
}

#[tokio::test]
async fn the_platforms_rows_go_only_when_asked_and_only_where_nothing_that_lives_needs_them() {
    for variant in Variant::WITH_HOST {
        let (database, client, workflow) = migrated(variant).await;
        make_indexes(&database, &client).await;
        let old = seed(&client, workflow, 7, 31).await;
        let young = seed(&client, workflow, 1, 29).await;
        set_status(&client, old[1], "status = 'failed', error_message = 'x'").await;
        set_status(&client, old[2], "status = 'paused'").await;
        let living = insert(&client, workflow).await;
        let family = "INSERT INTO workflow_worker.children (child_id, parent_id, node_id, visit, depth, is_awaited)
                      VALUES ($1, $2, 'n', 1, 1, $3)";
        // Ended, and its parent has not looked yet; ended, and its child goes on alone.
        client
            .execute(family, &[&old[3], &living, &true])
            .await
            .unwrap();
        client
            .execute(family, &[&living, &old[4], &false])
            .await
            .unwrap();
        let replay = "UPDATE workflow_worker.run_queue SET replay_of = $2 WHERE execution_id = $1";
        client.execute(replay, &[&living, &old[5]]).await.unwrap();
        // As rows are that ended before the worker was installed.
        for own in ["finished", "steps"] {
            let forget = format!("DELETE FROM workflow_worker.{own} WHERE execution_id = $1");
            client.execute(&forget, &[&old[6]]).await.unwrap();
        }

        let Outcome { removed, problem } = prune(&database, KEEP, true).await;
        assert_eq!(problem, None, "{variant:?}");
        let rows = |table: &str| removed.0.get(table).map_or(0, |amount| amount.rows);
        assert_eq!(
            (
                rows("public.workflowexecution"),
                rows("public.executionlog"),
                rows("public.workflowsignal"),
                rows("workflow_worker.finished")
            ),
            (3, 12, 3, 2),
            "{variant:?}"
        );
        assert_eq!(
            with_host_row(&client, &old).await,
            [false, false, true, true, true, true, false]
        );
        assert_eq!(
            with_host_row(&client, &[young[0], living]).await,
            [true, true]
        );
        assert_eq!(
            with_steps(&client, &old[5..6]).await,
            [true],
            "a replay reads them"
        );
        assert_eq!(
            count(&client, "SELECT count(*) FROM executionlog").await,
            5 * 4,
            "log rows go with their execution, and no others"
        );
        assert_eq!(
            count(&client, "SELECT count(*) FROM workflow_worker.finished").await,
            5
        );
    }
}

#[tokio::test]
async fn tables_without_the_indexes_that_it_takes_are_left_alone_and_the_statements_are_named() {
    let (database, client, workflow) = migrated(Variant::CreateAll).await;
    let old = seed(&client, workflow, 3, 31).await;
    let Outcome { removed, problem } = prune(&database, KEEP, true).await;
    let problem = problem.expect("a refusal");
    for statement in [
        "CREATE INDEX CONCURRENTLY ix_workflowexecution_started_at ON workflowexecution (started_at);",
        "CREATE INDEX CONCURRENTLY ix_executionlog_execution_id ON executionlog (execution_id);",
    ] {
        assert!(problem.contains(statement), "{problem}");
    }
    assert_eq!(
        removed
            .0
            .get("workflow_worker.steps")
            .map(|amount| amount.rows),
        Some(12),
        "the own tables are pruned all the same"
    );
    assert_eq!(with_host_row(&client, &old).await, [true; 3]);
    let refused = command(&database, &["--host-tables"], &[]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("CREATE INDEX CONCURRENTLY"));

    make_indexes(&database, &client).await;
    assert_eq!(
        prune_rows(&database, true, "public.workflowexecution").await,
        3
    );
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_tells_what_the_run_then_removes() {
    let (database, client, workflow) = migrated(Variant::Jsonb).await;
    seed(&client, workflow, 700, 31).await;
    seed(&client, workflow, 5, 1).await;
    // Deleted while triggers were off, before and after their history was pruned; a graph that nobody uses.
    let gone = seed(&client, workflow, 3, 40).await;
    client
        .batch_execute(
            "SET session_replication_role = replica;
             INSERT INTO workflow_worker.graphs (hash, source, unused_since) VALUES ('g', 'source', now() - interval '2 days');",
        )
        .await
        .unwrap();
    client
        .execute(
            "DELETE FROM workflowexecution WHERE id = ANY ($1)",
            &[&gone],
        )
        .await
        .unwrap();
    client
        .execute(
            "UPDATE workflow_worker.finished SET pruned_at = now() WHERE execution_id = $1",
            &[&gone[0]],
        )
        .await
        .unwrap();
    let contents = "SELECT (SELECT count(*) FROM workflow_worker.steps) + (SELECT count(*) FROM workflow_worker.finished)
                         + (SELECT count(*) FROM workflow_worker.graphs) + (SELECT count(*) FROM workflowexecution)
                         + (SELECT count(*) FROM workflow_worker.finished WHERE pruned_at IS NULL)";
    let before = count(&client, contents).await;
    let arguments = ["--host-tables", "--older-than", "30d"];
    let dry = command(&database, &[&arguments[..], &["--dry-run"]].concat(), &[]);
    assert!(dry.status.success(), "{dry:?}");
    assert_eq!(count(&client, contents).await, before);
    let wet = command(&database, &arguments, &[]);
    assert!(wet.status.success(), "{wet:?}");

    let lines = |output: &Output| -> Vec<String> {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(str::to_owned).collect()
    };
    let (mut told, mut done) = (lines(&dry), lines(&wet));
    let (said, has_done) = (told.pop().unwrap(), done.pop().unwrap());
    assert!(said.contains("nothing was changed"), "{said}");
    assert!(has_done.starts_with("removed"), "{has_done}");
    assert_eq!(told, done);
    let told = told.join("\n");
    for (table, rows) in [
        ("workflow_worker.steps", 703 * 4),
        ("workflow_worker.finished", 703),
        ("workflow_worker.graphs", 1),
        ("public.workflowexecution", 700),
        ("public.executionlog", 2800),
        ("public.workflowsignal", 700),
    ] {
        let line = told.lines().find(|line| line.starts_with(table));
        let line = line.unwrap_or_else(|| panic!("{table} is missing in\n{told}"));
        assert!(line.contains(&format!(" {rows} row(s)")), "{line}");
    }
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflowexecution").await,
        5
    );
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflow_worker.steps").await,
        20
    );
}

#[tokio::test]
async fn an_execution_with_more_steps_and_log_rows_than_a_batch_takes_goes_in_several() {
    let (database, client, workflow) = migrated(Variant::Alembic).await;
    let old = seed(&client, workflow, 5, 31).await;
    for statement in [
        "INSERT INTO workflow_worker.steps
             (execution_id, seq, node_id, node_type, visit, attempt, status, output, started_at, finished_at, worker_id, fence)
         SELECT $1, seq, 'n', 'trigger', seq, 1, 'success', '{}', now(), now(), $1, 1 FROM generate_series(4, 5003) AS seq",
        "INSERT INTO executionlog (id, execution_id, node_id, level, message, \"timestamp\")
         SELECT gen_random_uuid(), $1, 'n', 'info', 'a message', now() FROM generate_series(1, 5000)",
    ] {
        client.execute(statement, &[&old[2]]).await.unwrap();
    }
    let Outcome { removed, problem } = prune(&database, KEEP, true).await;
    assert_eq!(problem, None);
    assert_eq!(removed.0["workflow_worker.steps"].rows, 5_020);
    assert_eq!(removed.0["public.executionlog"].rows, 5_020);
    assert_eq!(removed.0["public.workflowexecution"].rows, 5);
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflow_worker.steps").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rounds_at_once_take_turns_and_remove_everything_once() {
    let (database, client, workflow) = migrated(Variant::Alembic).await;
    seed(&client, workflow, 2_000, 31).await;
    let (one, other) = tokio::join!(prune(&database, KEEP, true), prune(&database, KEEP, true));
    assert_eq!((one.problem, other.problem), (None, None));
    let mut both = one.removed;
    both.add(&other.removed);
    assert_eq!(both.0["workflow_worker.steps"].rows, 8_000);
    assert_eq!(both.0["public.workflowexecution"].rows, 2_000);
    assert_eq!(both.0["public.executionlog"].rows, 8_000);
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflowexecution").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_of_a_fleet_makes_the_round_of_the_hour_and_each_stops_when_told() {
    let (database, client, workflow) = migrated(Variant::Alembic).await;
    seed(&client, workflow, 500, 31).await;
    let telemetry = Telemetry::default();
    let mut events = telemetry.subscribe();
    let stop = CancellationToken::new();
    let fleet = (0..4).map(|number| {
        let retention = Retention {
            store: store(&database),
            database: config(&database.url(), &[]).database,
            config: RetentionConfig {
                keep: Some(KEEP),
                prune_host_tables: true,
            },
            worker_name: format!("worker {number}"),
            rhythm: Rhythm {
                first: Duration::ZERO,
                ..Rhythm::default()
            },
            telemetry: telemetry.clone(),
        };
        tokio::spawn(retention.run(stop.clone()))
    });
    let fleet: Vec<_> = fleet.collect();
    let ended = "SELECT count(*) FROM workflow_worker.retention WHERE ended_at IS NOT NULL AND problem IS NULL";
    wait_until("the round to end", PATIENCE, async || {
        match count(&client, ended).await {
            0 => Err("it has not"),
            _ => Ok(()),
        }
    })
    .await;
    stop.cancel();
    for worker in fleet {
        worker.await.unwrap();
    }
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflowexecution").await,
        0
    );
    let rows = 500 * (4 + 1 + 4 + 1 + 1);
    assert_eq!(
        count(&client, "SELECT rows FROM workflow_worker.retention").await,
        rows
    );
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        match &*event {
            Event::Pruned { rows, .. } => told.push(*rows),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, [rows], "one round, told once");
}

#[tokio::test]
async fn what_somebody_has_locked_is_left_for_the_next_round() {
    let (database, client, workflow) = migrated(Variant::Alembic).await;
    let old = seed(&client, workflow, 3, 31).await;
    let mut other = database.client().await;
    let transaction = other.transaction().await.unwrap();
    let lock = "SELECT FROM workflowexecution WHERE id = $1 FOR NO KEY UPDATE";
    transaction.execute(lock, &[&old[1]]).await.unwrap();
    assert_eq!(
        prune_rows(&database, true, "public.workflowexecution").await,
        2,
        "without waiting"
    );
    assert_eq!(with_steps(&client, &old).await, [false, true, false]);
    transaction.commit().await.unwrap();
    assert_eq!(
        prune_rows(&database, true, "public.workflowexecution").await,
        1
    );
}

/// Begins a transaction that has removed a batch and has not committed. Returns the rows of the first table.
async fn open_batch(client: &Client, statement: &sql::Statement) -> i64 {
    client.batch_execute("BEGIN").await.unwrap();
    let row = client
        .query_one("SELECT now() - interval '30 days'", &[])
        .await
        .unwrap();
    let cutoff: Timestamp = row.get(0);
    // Each under a lock of its own: here two are open at a time.
    let lock = if statement.name == sql::PRUNE_HOST.name {
        7_i64
    } else {
        8
    };
    let rows = client
        .query_typed(
            statement.text,
            &[
                (&cutoff, statement.types[0].clone()),
                (&1_000_i64, statement.types[1].clone()),
                (&100_000_i64, statement.types[2].clone()),
                (&lock, statement.types[3].clone()),
            ],
        )
        .await
        .unwrap();
    rows[0].get("rows")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_commit_holds_up_nothing_that_runs() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        node("d", "delay", json!({ "delay_seconds": 0.05 })),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let sub = node(
        "s",
        "sub_workflow",
        json!({ "workflow_id": workflow, "wait_for_completion": true }),
    );
    let parent = insert_workflow(&client, &chain(vec![trigger(), sub])).await;
    seed(&client, workflow, 500, 31).await;
    let (own, host) = (database.client().await, database.client().await);
    assert_eq!(open_batch(&own, &sql::PRUNE_HISTORY).await, 2_000);
    // The other takes executions that the first does not hold: those without steps of ours.
    let without = seed(&client, workflow, 500, 32).await;
    for table in ["steps", "finished"] {
        let forget = format!("DELETE FROM workflow_worker.{table} WHERE execution_id = ANY ($1)");
        client.execute(&forget, &[&without]).await.unwrap();
    }
    assert_eq!(open_batch(&host, &sql::PRUNE_HOST).await, 500);

    let mut worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    for _ in 0..10 {
        insert(&client, parent).await;
    }
    let ended = "SELECT count(*) FROM workflowexecution WHERE status = 'completed' AND started_at > now() AT TIME ZONE 'utc' - interval '1 day'";
    wait_until("all to end", PATIENCE, async || {
        match count(&client, ended).await {
            20 => Ok(()),
            other => Err(format!("{other} of 20")),
        }
    })
    .await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    assert_eq!(count(&client, waiting).await, 0);
    for event in worker.events_so_far() {
        assert!(
            !matches!(
                *event,
                Event::DatabaseLost { .. }
                    | Event::LeaseLost { .. }
                    | Event::WorkerError { .. }
                    | Event::ExecutionFailed { .. }
            ),
            "{event:?}"
        );
    }
    for session in [own, host] {
        session.batch_execute("COMMIT").await.unwrap();
    }
    worker.stop().await;
}

#[tokio::test]
async fn old_history_is_found_by_index_among_much_that_is_young() {
    let (database, client, workflow) = migrated(Variant::Alembic).await;
    seed(&client, workflow, 20_000, 1).await;
    seed(&client, workflow, 50, 31).await;
    client
        .batch_execute("ANALYZE; SET plan_cache_mode = force_generic_plan")
        .await
        .unwrap();
    for (statement, indexes, forbidden) in [
        (
            sql::PRUNE_HISTORY,
            ["finished_unpruned", "steps_pkey", "workflowexecution_pkey"],
            ["on finished", "on steps", "on workflowexecution"],
        ),
        (
            sql::PRUNE_HOST,
            [
                "ix_workflowexecution_started_at",
                "ix_executionlog_execution_id",
                "executionlog_pkey",
            ],
            ["on executionlog", "on steps", "on workflowexecution"],
        ),
    ] {
        let types: Vec<String> = statement.types.iter().map(ToString::to_string).collect();
        let name = statement.name;
        client
            .batch_execute(&format!(
                "PREPARE {name} ({}) AS {}",
                types.join(", "),
                statement.text
            ))
            .await
            .unwrap();
        let explain = format!(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE {name} (now() - interval '30 days', 200, 2000, 1)"
        );
        // Rolled back, so that the second finds what the first has found.
        client.batch_execute("BEGIN").await.unwrap();
        let rows = client.query(&explain, &[]).await.unwrap();
        client.batch_execute("ROLLBACK").await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        for index in indexes {
            assert!(plan.contains(index), "{name} does not use {index}:\n{plan}");
        }
        for scan in forbidden {
            assert!(
                !plan.contains(&format!("Seq Scan {scan}")),
                "{name}:\n{plan}"
            );
        }
        if name == sql::PRUNE_HISTORY.name {
            client
                .batch_execute("DELETE FROM workflow_worker.steps WHERE execution_id IN
                    (SELECT execution_id FROM workflow_worker.finished WHERE finished_at < now() - interval '30 days')")
                .await
                .unwrap();
        }
    }
    assert_eq!(
        prune_rows(&database, true, "public.workflowexecution").await,
        50
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_execution_that_is_resumed_goes_on_at_its_failed_node_with_what_it_had() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a")),
        get("b", &hits.url("/b?fail=1&from={{a_output.status_code}}")),
        get("c", &hits.url("/c")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL, ("WORKFLOW_MAX_RETRIES", "0")]).await;
    let execution = insert(&client, workflow).await;
    assert_eq!(wait_for_end(&client, execution).await.status, "failed");
    wait_until_not_held(&client, execution).await;
    let Outcome { removed, problem } = prune(&database, Duration::ZERO, false).await;
    assert_eq!(problem, None);
    assert!(removed.0["workflow_worker.steps"].rows >= 4);
    assert_eq!(with_steps(&client, &[execution]).await, [false]);

    set_status(
        &client,
        execution,
        "status = 'running', completed_at = NULL",
    )
    .await;
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(
        (hits.count("/a"), hits.count("/c")),
        (1, 1),
        "what it had done is not done again"
    );
    assert_eq!(row.state["completed_node_ids"], json!(["t", "a", "b", "c"]));
    assert!(row.output("a").is_object(), "{:#}", row.state);

    // What it has recorded since is history in its turn.
    wait_until_not_held(&client, execution).await;
    assert_eq!(with_steps(&client, &[execution]).await, [true]);
    prune(&database, Duration::ZERO, false).await;
    assert_eq!(with_steps(&client, &[execution]).await, [false]);

    // Resumed once more it has nothing to do.
    let calls = hits.all().len();
    set_status(
        &client,
        execution,
        "status = 'running', completed_at = NULL",
    )
    .await;
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(hits.all().len(), calls);
    assert_eq!(row.state["completed_node_ids"], json!(["t", "a", "b", "c"]));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_execution_that_had_stopped_inside_a_loop_says_why_it_cannot_go_on() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = json!({
        "nodes": [
            trigger(),
            node("l", "for", json!({ "array_expression": "[1, 2]" })),
            get("a", &hits.url("/status/500")),
        ],
        "edges": [
            { "from": "t", "to": "l" },
            { "from": "l", "to": "a", "branch": "body" },
        ],
    });
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL, ("WORKFLOW_MAX_RETRIES", "0")]).await;
    let execution = insert(&client, workflow).await;
    let failed = wait_for_end(&client, execution).await;
    assert_eq!(failed.status, "failed");
    assert!(hits.count("/status/500") > 0, "{:?}", failed.error_message);
    wait_until_not_held(&client, execution).await;
    prune(&database, Duration::ZERO, false).await;
    let calls = hits.all().len();
    set_status(
        &client,
        execution,
        "status = 'running', completed_at = NULL, error_message = NULL",
    )
    .await;
    let row = wait_for_status(&client, execution, "failed").await;
    let message = row.error_message.unwrap_or_default();
    assert!(
        message.contains("WORKFLOW_HISTORY_RETENTION_DAYS") && message.contains("replay"),
        "{message}"
    );
    assert_eq!(hits.all().len(), calls);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_goes_a_day_after_its_last_use_and_comes_back_with_the_next() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let run = async || {
        let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
        let execution = insert(&client, workflow).await;
        wait_for_completion(&client, execution).await;
        worker.stop().await;
        execution
    };
    let graphs = "SELECT count(*) FROM workflow_worker.graphs";
    let marked = "SELECT count(*) FROM workflow_worker.graphs WHERE unused_since IS NOT NULL";
    let delete = "DELETE FROM workflowexecution WHERE id = $1";
    let first = run().await;
    prune(&database, KEEP, false).await;
    assert_eq!(count(&client, marked).await, 0, "it is referred to");
    client.execute(delete, &[&first]).await.unwrap();
    prune(&database, KEEP, false).await;
    assert_eq!(
        (count(&client, graphs).await, count(&client, marked).await),
        (1, 1)
    );
    // A record that brings it again takes the mark away.
    let second = run().await;
    assert_eq!(count(&client, marked).await, 0);
    client.execute(delete, &[&second]).await.unwrap();
    prune(&database, KEEP, false).await;
    client
        .batch_execute(
            "UPDATE workflow_worker.graphs SET unused_since = unused_since - interval '25 hours'",
        )
        .await
        .unwrap();
    assert_eq!(
        prune_rows(&database, false, "workflow_worker.graphs").await,
        1
    );
    assert_eq!(count(&client, graphs).await, 0);
    run().await;
    assert_eq!(count(&client, graphs).await, 1);
}

#[tokio::test]
async fn the_command_asks_for_an_age_where_history_is_kept_for_ever_and_for_its_unit() {
    let (database, client, workflow) = migrated(Variant::Alembic).await;
    let old = seed(&client, workflow, 1, 31).await;
    let for_ever = [("WORKFLOW_HISTORY_RETENTION_DAYS", "0")];
    let refused = command(&database, &[], &for_ever);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--older-than"));
    let refused = command(&database, &["--older-than", "30"], &[]);
    assert_eq!(refused.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("30d"));
    assert_eq!(with_steps(&client, &old).await, [true]);
    assert!(
        command(&database, &["--older-than", "30d"], &for_ever)
            .status
            .success()
    );
    assert_eq!(with_steps(&client, &old).await, [false]);
    assert_eq!(with_host_row(&client, &old).await, [true]);
    let host = [("WORKFLOW_PRUNE_HOST_TABLES", "true")];
    assert!(command(&database, &[], &host).status.success());
    assert_eq!(with_host_row(&client, &old).await, [false]);

    let doctor = Command::new(env!("CARGO_BIN_EXE_workflow-worker"))
        .arg("doctor")
        .env("DATABASE_URL", database.url())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("retention "));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.starts_with("ok") && line.contains("30d") && line.contains("workflow-worker prune"),
        "{line}"
    );
}

#[tokio::test]
async fn a_round_that_is_told_to_stop_leaves_the_rest() {
    let (database, client, workflow) = migrated(Variant::Alembic).await;
    let old = seed(&client, workflow, 1, 31).await;
    let store = store(&database);
    let stop = CancellationToken::new();
    stop.cancel();
    let round = Round {
        store: &store,
        cutoff: cutoff(&store, DAY).await,
        prune_host_tables: true,
        patience: Patience::OfTheBackground,
        stop: &stop,
    };
    let Outcome { removed, problem } = round.run().await;
    assert_eq!((removed.total().rows, problem), (0, None));
    assert_eq!(with_steps(&client, &old).await, [true]);
}
