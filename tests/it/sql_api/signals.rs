//! Signals, and answers to approvals.

use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{execution_in, one, refusal};
use crate::support::database::{Database, Variant};
use crate::support::flow::{
    branch, chain, count, edge, graph, insert_workflow, node, set, trigger, wait_for_completion,
    wait_for_status,
};
use crate::support::in_process::{InProcess, NO_POLL};

/// An approval with these options, and a node behind each.
fn asks(options: &[&str]) -> Value {
    let mut nodes = vec![
        trigger(),
        node(
            "ask",
            "human_approval",
            json!({ "approval_message": "Pay?", "approval_options": options }),
        ),
    ];
    let mut edges = vec![edge("t", "ask")];
    for (place, option) in options.iter().enumerate() {
        let id = format!("after{place}");
        nodes.push(set(&id, "chosen", json!(option)));
        edges.push(branch("ask", &id, option));
    }
    graph(nodes, edges)
}

async fn start(client: &Client, graph: &Value) -> Uuid {
    let workflow = insert_workflow(client, graph).await;
    one(
        client,
        "SELECT id FROM workflow_worker.start($1)",
        &[(&workflow, Type::UUID)],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_lets_the_execution_go_on() {
    for variant in Variant::WITH_HOST {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let waits = node("w", "wait_for_signal", json!({ "signal_type": "paid" }));
        let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
        let execution = start(&client, &chain(vec![trigger(), waits])).await;
        wait_for_status(&client, execution, "waiting_for_signal").await;
        client
            .query(
                "SELECT workflow_worker.signal($1::uuid, 'paid', '{\"invoice\": 17}')",
                &[&execution],
            )
            .await
            .unwrap();
        let row = wait_for_completion(&client, execution).await;
        assert_eq!(row.output("w")["signal_data"]["invoice"], 17, "{variant:?}");
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_takes_the_branch_that_it_means() {
    for (call, options, chosen) in [
        (
            "approve($1, by => 'ann', comment => 'fine')",
            vec!["reject", "approve"],
            "approve",
        ),
        (
            "reject($1, by => 'ann', comment => 'fine')",
            vec!["Yes", "No"],
            "No",
        ),
        (
            "approve($1, 'ask', 'ann', 'fine')",
            vec!["first", "second"],
            "first",
        ),
        (
            "reject($1, 'ask', 'ann', 'fine')",
            vec!["first", "second"],
            "second",
        ),
        (
            "decide($1, ' MAYBE ', by => 'ann', comment => 'fine')",
            vec!["yes", "maybe"],
            "maybe",
        ),
        (
            "decide($1, 'approved', by => 'ann', comment => 'fine')",
            vec!["approve", "reject"],
            "approve",
        ),
    ] {
        let database = Database::migrated(Variant::Alembic).await;
        let client = database.client().await;
        let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
        let execution = start(&client, &asks(&options)).await;
        wait_for_status(&client, execution, "waiting_for_signal").await;
        let statement = format!("SELECT workflow_worker.{call}");
        client
            .query_typed(&statement, &[(&execution, Type::UUID)])
            .await
            .unwrap();
        let row = wait_for_completion(&client, execution).await;
        let output = row.output("ask");
        assert_eq!(output["decision"], chosen, "{call}");
        assert_eq!(
            (&output["by"], &output["comment"]),
            (&json!("ann"), &json!("fine"))
        );
        let open = "SELECT count(*) FROM workflowsignal WHERE NOT processed";
        assert_eq!(count(&client, open).await, 0);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_answer_counts_and_the_second_is_told() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = start(&client, &asks(&["approve", "reject"])).await;
    wait_for_status(&client, execution, "waiting_for_signal").await;
    // Nobody takes the answers meanwhile.
    worker.stop().await;
    let mut callers = tokio::task::JoinSet::new();
    for place in 0..16 {
        let caller = database.client().await;
        callers.spawn(async move {
            let call = if place % 2 == 0 { "approve" } else { "reject" };
            let statement = format!("SELECT workflow_worker.{call}($1)");
            let answer = caller
                .query_typed(&statement, &[(&execution, Type::UUID)])
                .await;
            answer
                .err()
                .map(|error| error.code().unwrap().code().to_owned())
        });
    }
    let answers = callers.join_all().await;
    assert_eq!(
        answers.iter().filter(|answer| answer.is_none()).count(),
        1,
        "{answers:?}"
    );
    assert!(
        answers.iter().flatten().all(|code| code == "WW419"),
        "{answers:?}"
    );
    let listed = "SELECT count(*) FROM workflow_worker.approvals";
    assert_eq!(count(&client, listed).await, 0, "it is decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_requests_the_one_that_is_named_is_answered() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let ask = |id: &str| node(id, "human_approval", json!({ "approval_message": id }));
    let two = graph(
        vec![trigger(), ask("a"), ask("b")],
        vec![edge("t", "a"), edge("t", "b")],
    );
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = start(&client, &two).await;
    wait_for_status(&client, execution, "waiting_for_signal").await;
    let arguments = [(&execution as _, Type::UUID)];
    let found = refusal(&client, "SELECT workflow_worker.approve($1)", &arguments).await;
    assert_eq!(found, "WW300");
    let found = refusal(
        &client,
        "SELECT workflow_worker.approve($1, 'c')",
        &arguments,
    )
    .await;
    assert_eq!(found, "WW412");
    let found = refusal(
        &client,
        "SELECT workflow_worker.decide($1, 'perhaps', 'a')",
        &arguments,
    )
    .await;
    assert_eq!(found, "WW422");
    client
        .query_typed("SELECT workflow_worker.approve($1, 'b')", &arguments)
        .await
        .unwrap();
    crate::support::wait::wait_until("b to be answered", crate::support::wait::SOON, async || {
        let row = crate::support::flow::host_row(&client, execution).await;
        if row.output("b")["decision"] == "approve" {
            Ok(())
        } else {
            Err(row.status)
        }
    })
    .await;
    let found = refusal(
        &client,
        "SELECT workflow_worker.approve($1, 'b')",
        &arguments,
    )
    .await;
    assert_eq!(found, "WW419");
    // One is left, so it need not be named.
    client
        .query_typed("SELECT workflow_worker.reject($1)", &arguments)
        .await
        .unwrap();
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(row.output("a")["decision"], "reject");
    worker.stop().await;
}

#[tokio::test]
async fn what_cannot_be_answered_or_sent_is_refused() {
    let database = Database::migrated(Variant::Jsonb).await;
    let client = database.client().await;
    let execution = execution_in(&client, "waiting_for_signal").await;
    for (call, code) in [
        ("approve($1)", "WW412"),
        ("reject($1)", "WW412"),
        ("decide($1, 'x')", "WW412"),
        ("decide($1, ' ')", "WW400"),
        ("decide($1, NULL)", "WW400"),
        ("approve($1, data => '[1]')", "WW400"),
        ("signal($1, '')", "WW400"),
        ("signal($1, NULL)", "WW400"),
        ("signal($1, repeat('x', 101))", "WW400"),
    ] {
        let statement = format!("SELECT workflow_worker.{call}");
        assert_eq!(
            refusal(&client, &statement, &[(&execution, Type::UUID)]).await,
            code,
            "{call}"
        );
    }
    for ended in ["completed", "failed"] {
        let execution = execution_in(&client, ended).await;
        for call in [
            "approve($1)",
            "reject($1)",
            "decide($1, 'x')",
            "signal($1, 'x')",
        ] {
            let statement = format!("SELECT workflow_worker.{call}");
            let found = refusal(&client, &statement, &[(&execution, Type::UUID)]).await;
            assert_eq!(found, "WW410", "{call} of one that is {ended}");
        }
    }
    assert_eq!(
        count(&client, "SELECT count(*) FROM workflowsignal").await,
        0
    );
    // No second option to reject with.
    let execution = execution_in(&client, "waiting_for_signal").await;
    client
        .execute(
            "INSERT INTO workflowsignal (execution_id, signal_type, signal_data)
             VALUES ($1, 'human_approval', '{\"node_id\": \"n\", \"message\": \"m\", \"options\": [\"fine\"]}')",
            &[&execution],
        )
        .await
        .unwrap();
    let found = refusal(
        &client,
        "SELECT workflow_worker.reject($1)",
        &[(&execution, Type::UUID)],
    )
    .await;
    assert_eq!(found, "WW422");
}

#[tokio::test]
async fn signals_of_any_shape_break_nothing() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let execution = execution_in(&client, "waiting_for_signal").await;
    for data in [
        "\"options\"",
        "[\"options\"]",
        "{\"options\": 7}",
        "{\"options\": [[1], null], \"message\": \"\\u0000\"}",
        "{\"message\": \"m\"}",
        "null",
    ] {
        client
            .execute(
                "INSERT INTO workflowsignal (execution_id, signal_type, signal_data)
                 VALUES ($1, 'human_approval', $2::text::json)",
                &[&execution, &data],
            )
            .await
            .unwrap();
    }
    client
        .query("SELECT * FROM workflow_worker.approvals", &[])
        .await
        .unwrap();
    client
        .query("SELECT * FROM workflow_worker.executions", &[])
        .await
        .unwrap();
    let error = client
        .query(
            "SELECT workflow_worker.approve($1::uuid, 'n')",
            &[&execution],
        )
        .await
        .expect_err("there is none");
    assert_eq!(error.code().unwrap().code(), "WW412");
}
