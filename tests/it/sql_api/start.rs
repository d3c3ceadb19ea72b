//! `start` and `replay`.

use serde_json::{Value, json};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{one, refusal, small_workflow, state, state_of};
use crate::support::database::{Database, Variant};
use crate::support::flow::{
    chain, count, insert_workflow, log, set, steps, trigger, wait_for_completion, wait_for_status,
};
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::state::assert_api_can_read;

const START: &str = "SELECT id FROM workflow_worker.start($1)";
const WITH_KEY: &str = "SELECT id FROM workflow_worker.start($1, idempotency_key => $2)";

#[tokio::test(flavor = "multi_thread")]
async fn a_started_execution_is_as_the_platform_makes_it_and_runs() {
    for variant in Variant::ALL {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let graph = chain(vec![trigger(), set("s", "x", json!("{{ amount }}"))]);
        let workflow = insert_workflow(&client, &graph).await;
        let row = client
            .query_one(
                "SELECT id, name, is_new FROM workflow_worker.start($1, '{\"amount\": 250}', 'HIGH')",
                &[&workflow],
            )
            .await
            .unwrap();
        let (id, name, is_new): (Uuid, String, bool) = (row.get(0), row.get(1), row.get(2));
        assert!(
            is_new && name.len() == 17 && name.starts_with("exec-"),
            "{name}"
        );
        assert_eq!(
            log(&client, id).await,
            [(
                "start".to_owned(),
                "info".to_owned(),
                format!("Workflow execution started: {name}")
            )]
        );
        let made = state_of(&client, id).await;
        assert_api_can_read(&made);
        assert_eq!(made["execution_data"], json!({ "amount": 250 }));
        assert_eq!(made["execution_id"], name);
        let priority: i32 = one(
            &client,
            "SELECT priority FROM workflow_worker.run_queue",
            &[],
        )
        .await;
        assert_eq!(priority, 10);
        let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
        let ended = wait_for_completion(&client, id).await;
        assert_eq!(ended.state["execution_data"]["amount"], 250, "{variant:?}");
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_from_32_connections_at_the_same_time_is_one_execution() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = small_workflow(&client).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let caller = database.client().await;
        callers.spawn(async move {
            let row = caller
                .query_one(
                    "SELECT id, is_new FROM workflow_worker.start($1, idempotency_key => 'invoice 17')",
                    &[&workflow],
                )
                .await
                .unwrap();
            (row.get::<_, Uuid>(0), row.get::<_, bool>(1))
        });
    }
    let answers = callers.join_all().await;
    assert!(
        answers.iter().all(|(id, _)| *id == answers[0].0),
        "{answers:?}"
    );
    assert_eq!(answers.iter().filter(|(_, is_new)| *is_new).count(), 1);
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflowexecution").await,
        1
    );
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflow_worker.run_queue").await,
        1
    );
    // Another workflow has keys of its own.
    let other = small_workflow(&client).await;
    let second: Uuid = one(
        &client,
        WITH_KEY,
        &[(&other, Type::UUID), (&"invoice 17", Type::TEXT)],
    )
    .await;
    assert_ne!(second, answers[0].0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_transaction_is_open_is_waited_for_and_free_again_if_it_is_rolled_back() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = small_workflow(&client).await;
    for is_committed in [false, true] {
        let key = format!("key {is_committed}");
        let mut first = database.client().await;
        let transaction = first.transaction().await.unwrap();
        let arguments = [(&workflow as _, Type::UUID), (&key as _, Type::TEXT)];
        let rows = transaction.query_typed(WITH_KEY, &arguments).await.unwrap();
        let firsts: Uuid = rows[0].get(0);
        let second = database.client().await;
        let waiting = {
            let key = key.clone();
            tokio::spawn(async move {
                one::<Uuid>(
                    &second,
                    WITH_KEY,
                    &[(&workflow, Type::UUID), (&key, Type::TEXT)],
                )
                .await
            })
        };
        crate::support::wait::wait_until(
            "the second to wait",
            crate::support::wait::SOON,
            async || {
                let waiting = count(
                    &client,
                    "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'",
                )
                .await;
                if waiting == 1 { Ok(()) } else { Err(waiting) }
            },
        )
        .await;
        if is_committed {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
        assert_eq!(waiting.await.unwrap() == firsts, is_committed);
    }
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflowexecution").await,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_kept_as_long_as_its_execution_and_no_longer() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = small_workflow(&client).await;
    let arguments = [(&workflow as _, Type::UUID), (&"k" as _, Type::TEXT)];
    let first: Uuid = one(&client, WITH_KEY, &arguments).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    wait_for_completion(&client, first).await;
    assert_eq!(
        one::<Uuid>(&client, WITH_KEY, &arguments).await,
        first,
        "ended, and still the one"
    );
    client
        .batch_execute("UPDATE workflow SET is_active = false")
        .await
        .unwrap();
    assert_eq!(
        one::<Uuid>(&client, WITH_KEY, &arguments).await,
        first,
        "nothing is started"
    );
    client
        .batch_execute("UPDATE workflow SET is_active = true; DELETE FROM workflowexecution")
        .await
        .unwrap();
    assert_eq!(
        count(
            &client,
            "SELECT count(*) FROM workflow_worker.idempotency_keys"
        )
        .await,
        0
    );
    let second: Uuid = one(&client, WITH_KEY, &arguments).await;
    assert_ne!(second, first);
    // Past the triggers: the key is taken over all the same.
    client
        .batch_execute("SET session_replication_role = replica; DELETE FROM workflowexecution; RESET session_replication_role")
        .await
        .unwrap();
    let third: Uuid = one(&client, WITH_KEY, &arguments).await;
    assert_ne!(third, second);
    assert_eq!(
        count(
            &client,
            "SELECT count(*) FROM workflow_worker.idempotency_keys"
        )
        .await,
        1
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_start_later_waits_for_its_time_through_pause_resume_and_signals() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = small_workflow(&client).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let later: Uuid = one(
        &client,
        "SELECT id FROM workflow_worker.start($1, run_at => now() + interval '1 hour')",
        &[(&workflow, Type::UUID)],
    )
    .await;
    let host: String = one(&client, "SELECT status FROM workflowexecution", &[]).await;
    assert_eq!(
        (host.as_str(), state(&client, later).await.as_str()),
        ("running", "scheduled")
    );
    let run_at = "SELECT run_at::text FROM workflow_worker.executions WHERE id = $1";
    let planned: String = one(&client, run_at, &[(&later, Type::UUID)]).await;
    for call in [
        "signal($1, 'x')",
        "pause($1)",
        "resume($1)",
        "signal($1, 'x')",
    ] {
        let statement = format!("SELECT workflow_worker.{call}");
        client
            .query_typed(&statement, &[(&later, Type::UUID)])
            .await
            .unwrap();
    }
    // A worker that had been woken would have run it before this one.
    let soon: Uuid = one(
        &client,
        "SELECT id FROM workflow_worker.start($1, run_at => clock_timestamp() + interval '100 ms')",
        &[(&workflow, Type::UUID)],
    )
    .await;
    wait_for_completion(&client, soon).await;
    let kept: String = one(&client, run_at, &[(&later, Type::UUID)]).await;
    assert_eq!(
        (kept, state(&client, later).await.as_str()),
        (planned, "scheduled")
    );
    let early = count(
        &client,
        "SELECT count(*) FROM workflow_worker.steps AS step
         JOIN workflowexecution AS host ON host.id = step.execution_id
         WHERE seq = 1 AND step.started_at < host.started_at AT TIME ZONE 'utc' + interval '90 ms'",
    )
    .await;
    assert_eq!(early, 0, "not before its time");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_ends_with_its_parent() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let waits = json!({ "signal_type": "never" });
    let graph = chain(vec![
        trigger(),
        crate::support::flow::node("w", "wait_for_signal", waits),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let parent: Uuid = one(&client, START, &[(&workflow, Type::UUID)]).await;
    let child: Uuid = one(
        &client,
        "SELECT id FROM workflow_worker.start($1, parent => $2)",
        &[(&workflow, Type::UUID), (&parent, Type::UUID)],
    )
    .await;
    wait_for_status(&client, parent, "waiting_for_signal").await;
    wait_for_status(&client, child, "waiting_for_signal").await;
    client
        .query(
            "SELECT workflow_worker.terminate($1::uuid, 'enough')",
            &[&parent],
        )
        .await
        .unwrap();
    let ended = wait_for_status(&client, child, "failed").await;
    assert!(ended.error_message.unwrap().contains("Parent execution"));
    let code = refusal(
        &client,
        "SELECT workflow_worker.start($1, parent => $2)",
        &[(&workflow, Type::UUID), (&parent, Type::UUID)],
    )
    .await;
    assert_eq!(code, "WW410");
    worker.stop().await;
}

#[tokio::test]
async fn each_argument_that_cannot_be_is_refused_and_nothing_is_left() {
    let database = Database::migrated(Variant::Jsonb).await;
    let client = database.client().await;
    let workflow = small_workflow(&client).await;
    for (arguments, code) in [
        ("NULL", "WW400"),
        ("'00000000-0000-0000-0000-000000000001'", "WW404"),
        ("$1, '[1]'", "WW400"),
        ("$1, '\"text\"'", "WW400"),
        ("$1, priority => 'urgent'", "WW400"),
        ("$1, priority => ''", "WW400"),
        ("$1, run_at => 'infinity'", "WW400"),
        ("$1, idempotency_key => ' '", "WW400"),
        ("$1, idempotency_key => repeat('x', 256)", "WW400"),
        ("$1, concurrency_key => ''", "WW400"),
        ("$1, timeout_seconds => 0", "WW400"),
        ("$1, timeout_seconds => 'NaN'", "WW400"),
        ("$1, timeout_seconds => 1e12", "WW400"),
        (
            "$1, parent => gen_random_uuid(), idempotency_key => 'k'",
            "WW404",
        ),
    ] {
        let statement = format!("SELECT workflow_worker.start({arguments}) WHERE $1 IS NOT NULL");
        let found = refusal(&client, &statement, &[(&workflow, Type::UUID)]).await;
        assert_eq!(found, code, "{arguments}");
    }
    client
        .batch_execute("UPDATE workflow SET is_active = false")
        .await
        .unwrap();
    let found = refusal(&client, START, &[(&workflow, Type::UUID)]).await;
    assert_eq!(found, "WW403");
    for table in [
        "workflowexecution",
        "workflow_worker.run_queue",
        "workflow_worker.idempotency_keys",
    ] {
        assert_eq!(
            count(&client, &format!("SELECT count(*) FROM {table}")).await,
            0,
            "{table}"
        );
    }
}

#[tokio::test]
async fn input_null_is_none_and_what_is_extra_stands_in_the_state() {
    let database = Database::migrated(Variant::CreateAll).await;
    let client = database.client().await;
    let workflow = small_workflow(&client).await;
    let id: Uuid = one(
        &client,
        "SELECT id FROM workflow_worker.start(
             $1, NULL, priority => ' low ', concurrency_key => 'tenant 7', timeout_seconds => 1.5)",
        &[(&workflow, Type::UUID)],
    )
    .await;
    let made = state_of(&client, id).await;
    assert_eq!(made["execution_data"], json!({}));
    assert_eq!(made["priority"], "LOW");
    assert_eq!(made["concurrency_key"], "tenant 7");
    assert_eq!(made["timeout_seconds"], json!(1.5));
    let keys: Vec<&String> = made.as_object().unwrap().keys().take(4).collect();
    assert_eq!(
        keys,
        ["execution_id", "workflow_id", "workflow_version", "status"]
    );
    let number: Uuid = one(
        &client,
        "SELECT id FROM workflow_worker.start($1, priority => '-7')",
        &[(&workflow, Type::UUID)],
    )
    .await;
    assert_eq!(state_of(&client, number).await["priority"], -7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_says_what_it_replays_as_the_platform_does() {
    for variant in Variant::WITH_HOST {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let graph = chain(vec![trigger(), set("s", "x", json!(1))]);
        let workflow = insert_workflow(&client, &graph).await;
        let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
        let original: Uuid = one(&client, START, &[(&workflow, Type::UUID)]).await;
        wait_for_completion(&client, original).await;
        for (from_node, words) in [
            (
                None,
                format!("Replay started from beginning of execution {original}"),
            ),
            (Some("s"), "Replay started from node: s".to_owned()),
        ] {
            let replay: Uuid = one(
                &client,
                "SELECT id FROM workflow_worker.replay($1::uuid, $2)",
                &[(&original, Type::UUID), (&from_node, Type::TEXT)],
            )
            .await;
            assert_ne!(replay, original);
            let row = client
                .query_one(
                    "SELECT replay_of, replay_from FROM workflow_worker.replay_in(
                         (SELECT json_build_object('execution_data', json_build_object(
                              'trigger_type', 'replay', 'original_execution_id', $1::uuid, 'replay_from_node', $2::text))::text))",
                    &[&original, &from_node],
                )
                .await
                .unwrap();
            assert_eq!(
                (row.get::<_, Uuid>(0), row.get::<_, Option<&str>>(1)),
                (original, from_node)
            );
            let said = log(&client, replay).await;
            assert!(
                said.contains(&("system".to_owned(), "info".to_owned(), words)),
                "{said:?}"
            );
            wait_for_completion(&client, replay).await;
            assert!(!steps(&client, replay).await.is_empty());
        }
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_replay_is_refused_where_it_cannot_be_and_has_keys_as_a_start() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = small_workflow(&client).await;
    let id: Uuid = one(&client, START, &[(&workflow, Type::UUID)]).await;
    for (arguments, code) in [
        ("NULL::uuid", "WW400"),
        ("NULL::text", "WW400"),
        ("gen_random_uuid()", "WW404"),
        ("'exec-nobody'", "WW404"),
        ("$1, 'no such node'", "WW400"),
        ("$1, priority => 'urgent'", "WW400"),
    ] {
        let statement = format!("SELECT workflow_worker.replay({arguments}) WHERE $1 IS NOT NULL");
        assert_eq!(
            refusal(&client, &statement, &[(&id, Type::UUID)]).await,
            code,
            "{arguments}"
        );
    }
    let keyed = "SELECT json_build_object('id', id, 'is_new', is_new)::text FROM workflow_worker.replay($1, idempotency_key => 'again')";
    let mut answers: Vec<Value> = Vec::new();
    for _ in 0..2 {
        let text: String = one(&client, keyed, &[(&id, Type::UUID)]).await;
        answers.push(serde_json::from_str(&text).unwrap());
    }
    assert_eq!(answers[0]["id"], answers[1]["id"]);
    assert_eq!(
        (&answers[0]["is_new"], &answers[1]["is_new"]),
        (&json!(true), &json!(false))
    );
    client
        .batch_execute("UPDATE workflow SET is_active = false")
        .await
        .unwrap();
    assert_eq!(
        refusal(
            &client,
            "SELECT workflow_worker.replay($1)",
            &[(&id, Type::UUID)]
        )
        .await,
        "WW403"
    );
}

#[tokio::test]
async fn a_later_start_is_brought_forward_by_nobody() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let later: Uuid = one(
        &client,
        "SELECT id FROM workflow_worker.start($1, run_at => now() + interval '1 hour')",
        &[(&workflow, Type::UUID)],
    )
    .await;
    let waits = "SELECT run_at > now() + interval '50 minutes' AND NOT ready
                 FROM workflow_worker.run_queue WHERE execution_id = $1";
    for statement in [
        "INSERT INTO workflowsignal (execution_id, signal_type) VALUES ($1, 'paid')",
        "UPDATE workflowexecution SET status = 'paused' WHERE id = $1",
        "UPDATE workflowexecution SET status = 'running' WHERE id = $1",
        "UPDATE workflowexecution SET execution_state = execution_state WHERE id = $1",
    ] {
        client.execute(statement, &[&later]).await.unwrap();
        if !statement.contains("'paused'") {
            let is_waiting: bool = one(&client, waits, &[(&later, Type::UUID)]).await;
            assert!(is_waiting, "{statement}");
        }
    }
}
