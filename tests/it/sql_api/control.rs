//! Pause, resume, terminate, retry, debug, step: each against each state, and with a worker.

use serde_json::json;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{STATES, execution_in, one, refusal, small_workflow, state, state_of, statuses};
use crate::support::database::{Database, Variant};
use crate::support::flow::{
    chain, count, get, insert_workflow, log, node, set, steps, trigger, wait_for_calls,
    wait_for_completion, wait_for_end, wait_for_status, wait_until_not_held,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};

/// What each function does with an execution in each of [`STATES`]: the new status, or the refusal.
const TABLE: [(&str, [&str; 6]); 8] = [
    (
        "pause($1)",
        ["paused", "paused", "WW409", "paused", "WW410", "WW410"],
    ),
    (
        "resume($1)",
        ["WW409", "WW409", "running", "WW409", "WW410", "WW410"],
    ),
    (
        "terminate($1, 'enough')",
        ["failed", "failed", "failed", "failed", "WW410", "WW410"],
    ),
    (
        "retry($1)",
        ["WW409", "WW409", "WW409", "failed", "running", "WW410"],
    ),
    (
        "debug($1)",
        ["paused", "paused", "paused", "paused", "WW410", "WW410"],
    ),
    (
        "debug($1, false)",
        [
            "running",
            "waiting_for_signal",
            "running",
            "failed",
            "WW410",
            "WW410",
        ],
    ),
    (
        "step($1)",
        ["WW409", "WW409", "WW409", "WW409", "WW410", "WW410"],
    ),
    (
        "signal($1, 'x') IS NOT NULL",
        [
            "running",
            "waiting_for_signal",
            "paused",
            "failed",
            "WW410",
            "WW410",
        ],
    ),
];

#[tokio::test]
async fn each_function_does_what_it_says_or_is_refused_by_the_state() {
    for variant in Variant::WITH_HOST {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        for (call, outcomes) in TABLE {
            for (before, outcome) in STATES.into_iter().zip(outcomes) {
                let execution = execution_in(&client, before).await;
                let untouched = state_of(&client, execution).await;
                let statement = format!("SELECT workflow_worker.{call}");
                let arguments = [(&execution as _, Type::UUID)];
                let what = format!("{variant:?}: {call} of one that is {before}");
                if outcome.starts_with("WW") {
                    assert_eq!(
                        refusal(&client, &statement, &arguments).await,
                        outcome,
                        "{what}"
                    );
                    assert_eq!(state_of(&client, execution).await, untouched, "{what}");
                    continue;
                }
                client
                    .query_typed(&statement, &arguments)
                    .await
                    .expect(&what);
                let (column, inside) = statuses(&client, execution).await;
                assert_eq!(
                    (column.as_str(), inside.as_str()),
                    (outcome, outcome),
                    "{what}"
                );
            }
        }
    }
}

#[tokio::test]
async fn each_function_refuses_null_and_what_is_not_there_by_id_and_by_name() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    for call in [
        "pause(%)",
        "resume(%)",
        "terminate(%)",
        "retry(%)",
        "debug(%)",
        "step(%)",
        "signal(%, 'x')",
        "approve(%)",
        "reject(%)",
        "decide(%, 'yes')",
        "replay(%)",
    ] {
        for (argument, code) in [
            ("NULL::uuid", "WW400"),
            ("NULL::text", "WW400"),
            ("' '", "WW400"),
            ("gen_random_uuid()", "WW404"),
            ("'00000000-0000-0000-0000-000000000001'", "WW404"),
            ("'exec-nobody'", "WW404"),
        ] {
            let statement = format!("SELECT workflow_worker.{}", call.replace('%', argument));
            assert_eq!(refusal(&client, &statement, &[]).await, code, "{statement}");
        }
    }
    for argument in ["gen_random_uuid()", "'exec-nobody'"] {
        let statement = format!("SELECT workflow_worker.set_priority({argument}, 'HIGH')");
        assert_eq!(
            refusal(&client, &statement, &[]).await,
            "WW404",
            "{statement}"
        );
    }
    let nowhere = "SELECT workflow_worker.terminate_all(gen_random_uuid())";
    assert_eq!(refusal(&client, nowhere, &[]).await, "WW404");
    let execution = execution_in(&client, "running").await;
    let unclear = "SELECT workflow_worker.debug($1, NULL)";
    assert_eq!(
        refusal(&client, unclear, &[(&execution, Type::UUID)]).await,
        "WW400"
    );
}

#[tokio::test]
async fn a_name_and_an_id_as_text_mean_the_same() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let execution = execution_in(&client, "running").await;
    let name: String = one(&client, "SELECT execution_id FROM workflowexecution", &[]).await;
    for (call, reference) in [
        ("pause", &name),
        ("resume", &execution.to_string()),
        ("terminate", &name),
    ] {
        let statement = format!("SELECT workflow_worker.{call}($1)");
        let found: Uuid = one(&client, &statement, &[(reference, Type::TEXT)]).await;
        assert_eq!(found, execution);
    }
}

#[tokio::test]
async fn the_rows_are_those_that_the_platform_writes() {
    for variant in Variant::WITH_HOST {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let execution = execution_in(&client, "running").await;
        // A key of the platform's own, and the order of results, must survive.
        client
            .batch_execute(
                "UPDATE workflowexecution SET current_node_id = 'n', execution_state =
                     workflow_worker.with_keys(execution_state::json, '{\"node_results\": {\"zz\": 1, \"a\": 2}, \"own\": 7}')",
            )
            .await
            .unwrap();
        for call in ["pause($1)", "resume($1)", "terminate($1)"] {
            let statement = format!("SELECT workflow_worker.{call}");
            client
                .query_typed(&statement, &[(&execution, Type::UUID)])
                .await
                .unwrap();
        }
        let row = client
            .query_one(
                "SELECT error_message, completed_at IS NOT NULL, execution_state::text FROM workflowexecution",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(row.get::<_, &str>(0), "Execution terminated by user");
        assert!(row.get::<_, bool>(1));
        let state = state_of(&client, execution).await;
        assert_eq!(state["error_message"], "Execution terminated by user");
        assert_eq!(state["own"], 7);
        if variant != Variant::Jsonb {
            let text: String = row.get(2);
            assert!(
                text.find("\"zz\"").unwrap() < text.find("\"a\"").unwrap(),
                "{text}"
            );
        }
        let said: Vec<String> = log(&client, execution)
            .await
            .into_iter()
            .skip(1)
            .map(|(node, level, message)| format!("{node}|{level}|{message}"))
            .collect();
        assert_eq!(
            said,
            [
                "n|info|Execution paused",
                "n|info|Execution resumed",
                "n|warning|Execution terminated: Execution terminated by user"
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_execution_is_paused_resumed_and_terminated_without_a_poll() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let graph = chain(vec![
        trigger(),
        get("a", &hits.url("/a?ms=500")),
        get("b", &hits.url("/b?ms=60000")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let start = "SELECT id FROM workflow_worker.start($1)";
    let execution: Uuid = one(&client, start, &[(&workflow, Type::UUID)]).await;
    let arguments = [(&execution as _, Type::UUID)];
    wait_for_calls(&hits, "/a?ms=500", 1).await;
    client
        .query_typed("SELECT workflow_worker.pause($1)", &arguments)
        .await
        .unwrap();
    wait_until_not_held(&client, execution).await;
    assert_eq!(state(&client, execution).await, "paused");
    assert_eq!(hits.count("/b?ms=60000"), 0);
    client
        .query_typed("SELECT workflow_worker.resume($1)", &arguments)
        .await
        .unwrap();
    wait_for_calls(&hits, "/b?ms=60000", 1).await;
    client
        .query_typed("SELECT workflow_worker.terminate($1, 'enough')", &arguments)
        .await
        .unwrap();
    let ended = wait_for_end(&client, execution).await;
    assert_eq!(ended.error_message.as_deref(), Some("enough"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_goes_on_at_once_and_one_that_had_failed_for_good_has_all_its_retries() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let failing = json!({ "method": "GET", "url": hits.url("/flaky?fail=3"), "retry_delay": 600, "retries": 1 });
    let graph = chain(vec![
        trigger(),
        set("s", "x", json!(1)),
        node("f", "http_request", failing),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let start = "SELECT id FROM workflow_worker.start($1)";
    let execution: Uuid = one(&client, start, &[(&workflow, Type::UUID)]).await;
    let retry = async || {
        client
            .query("SELECT workflow_worker.retry($1::uuid)", &[&execution])
            .await
            .unwrap();
    };
    // The next attempt would be in ten minutes.
    wait_for_calls(&hits, "/flaky?fail=3", 1).await;
    wait_until_not_held(&client, execution).await;
    assert_eq!(state(&client, execution).await, "retrying");
    retry().await;
    wait_for_calls(&hits, "/flaky?fail=3", 2).await;
    let ended = wait_for_end(&client, execution).await;
    assert_eq!(ended.status, "failed", "no retry is left");
    retry().await;
    wait_for_calls(&hits, "/flaky?fail=3", 3).await;
    wait_for_status(&client, execution, "failed").await;
    wait_until_not_held(&client, execution).await;
    assert_eq!(
        state(&client, execution).await,
        "retrying",
        "it has one again"
    );
    retry().await;
    let ended = wait_for_completion(&client, execution).await;
    assert_eq!((ended.error_message, ended.has_next_retry), (None, false));
    let ran: Vec<String> = steps(&client, execution)
        .await
        .into_iter()
        .map(|(node, attempt, status)| format!("{node} {attempt} {status}"))
        .collect();
    assert_eq!(
        ran,
        [
            "t 1 success",
            "s 1 success",
            "f 1 failed",
            "f 2 failed",
            "f 3 failed",
            "f 4 success"
        ]
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_step_needs_debug_mode() {
    for variant in Variant::WITH_HOST {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let execution = execution_in(&client, "running").await;
        let arguments = [(&execution as _, Type::UUID)];
        let call = async |call: &str| {
            let statement = format!("SELECT workflow_worker.{call}");
            client.query_typed(&statement, &arguments).await.map(drop)
        };
        call("debug($1)").await.unwrap();
        assert_eq!(
            state_of(&client, execution).await["execution_data"]["debug_mode"],
            true
        );
        call("step($1)").await.unwrap();
        assert_eq!(statuses(&client, execution).await.0, "running");
        call("step($1)").await.expect_err("one at a time");
        call("debug($1, false)").await.unwrap();
        assert_eq!(
            state_of(&client, execution).await["execution_data"],
            json!({})
        );
        call("pause($1)").await.unwrap();
        let found = refusal(&client, "SELECT workflow_worker.step($1)", &arguments).await;
        assert_eq!(found, "WW409", "not in debug mode");
    }
}

#[tokio::test]
async fn all_executions_of_a_workflow_are_terminated_and_no_others() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let (workflow, other) = (small_workflow(&client).await, small_workflow(&client).await);
    for of in [workflow, workflow, other] {
        client
            .query("SELECT workflow_worker.start($1)", &[&of])
            .await
            .unwrap();
    }
    let ended: i64 = one(
        &client,
        "SELECT workflow_worker.terminate_all($1, 'enough')",
        &[(&workflow, Type::UUID)],
    )
    .await;
    assert_eq!(ended, 2);
    let running = "SELECT count(*) FROM workflowexecution WHERE status = 'running'";
    assert_eq!(count(&client, running).await, 1);
}
