//! Broken rows never stop the worker or delay others; each fails with a message that its owner understands.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    branch, chain, edge, graph, host_row, insert, insert_workflow, insert_workflow_text, node, set,
    trigger, wait_for_completion, wait_for_end,
};
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::state::assert_api_can_read;

/// Runs a graph that cannot be run, beside a good one. Returns the message.
async fn fails_with(graph_text: &str) -> String {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(
        &database.url(),
        &[NO_POLL, ("WORKFLOW_WORKER_CONCURRENCY", "1")],
    )
    .await;
    let broken = insert_workflow_text(&client, Some(graph_text)).await;
    let good = insert_workflow(&client, &chain(vec![trigger()])).await;
    let (broken, good) = (insert(&client, broken).await, insert(&client, good).await);
    wait_for_completion(&client, good).await;
    let row = wait_for_end(&client, broken).await;
    assert_eq!(row.status, "failed");
    assert_eq!(row.state["status"], "failed");
    worker.stop().await;
    row.error_message.expect("a message")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_that_is_not_an_object() {
    for text in ["[]", "\"nodes\"", "7", "true"] {
        let message = fails_with(text).await;
        assert!(message.contains("graph_config"), "{text}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_types_everywhere() {
    for (text, named) in [
        (r#"{"nodes": 5}"#, "nodes"),
        (r#"{"nodes": [7]}"#, "node"),
        (
            r#"{"nodes": [{"node_id": {"a": 1}, "node_type": "trigger"}]}"#,
            "node_id",
        ),
        (r#"{"nodes": [{"node_id": "a"}]}"#, "a"),
        (
            r#"{"nodes": [{"node_id": "a", "node_type": "trigger", "config": [1]}]}"#,
            "config",
        ),
        (
            r#"{"nodes": [{"node_id": "a", "node_type": "trigger"}], "edges": "x"}"#,
            "edges",
        ),
        (
            r#"{"nodes": [{"node_id": "a", "node_type": "trigger"}], "edges": [{"from": "a", "to": 5.5}]}"#,
            "edge",
        ),
        (
            r#"{"nodes": [{"node_id": "a", "node_type": "trigger"}, {"node_id": "a", "node_type": "trigger"}]}"#,
            "a",
        ),
    ] {
        let message = fails_with(text).await;
        assert!(message.contains(named), "{text}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_to_nowhere_and_cycles_are_named() {
    let nowhere = graph(vec![trigger()], vec![edge("t", "ghost")]);
    assert!(fails_with(&nowhere.to_string()).await.contains("ghost"));
    let cycle = graph(
        vec![trigger(), set("a", "x", json!(1)), set("b", "x", json!(2))],
        vec![edge("t", "a"), edge("a", "b"), edge("b", "a")],
    );
    let message = fails_with(&cycle.to_string()).await;
    assert!(message.contains("cycle"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_nested_deeper_than_any_parser_goes() {
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let text = format!(
        r#"{{"nodes": [{{"node_id": "a", "node_type": "trigger", "config": {{"x": {deep}}}}}]}}"#
    );
    let message = fails_with(&text).await;
    assert!(
        message.contains("recursion") || message.contains("deep"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_without_nodes_completes_and_a_deleted_one_takes_its_executions_with_it() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    for text in [
        None,
        Some("null"),
        Some("{}"),
        Some(r#"{"nodes": [], "edges": []}"#),
    ] {
        let workflow = insert_workflow_text(&client, text).await;
        let execution = insert(&client, workflow).await;
        wait_for_completion(&client, execution).await;
    }
    worker.stop().await;
}

async fn insert_state(client: &tokio_postgres::Client, workflow: Uuid, state: &str) -> Uuid {
    client
        .query_one(
            "INSERT INTO workflowexecution (workflow_id, execution_state) VALUES ($1, $2::text::json) RETURNING id",
            &[&workflow, &state],
        )
        .await
        .unwrap()
        .get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn states_of_any_shape() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let workflow = insert_workflow(&client, &chain(vec![trigger(), set("s", "x", json!(1))])).await;
    for runs in [
        "null",
        "{}",
        r#"{"execution_data": null}"#,
        r#"{"n": 1}"#,
        r#"{"completed_node_ids": 5, "node_results": []}"#,
    ] {
        let execution = insert_state(&client, workflow, runs).await;
        wait_for_completion(&client, execution).await;
    }
    for (fails, named) in [
        ("[]", "execution_state"),
        ("\"x\"", "execution_state"),
        (r#"{"execution_data": [1]}"#, "execution_data"),
        (r#"{"execution_data": {"x": "\ud800"}}"#, "execution_state"),
        (r#"{"execution_data": {"x": 1e999}}"#, "execution_state"),
    ] {
        let execution = insert_state(&client, workflow, fails).await;
        let row = wait_for_end_text(&client, execution).await;
        assert_eq!(row.0, "failed", "{fails}");
        assert!(row.1.contains(named), "{fails}: {}", row.1);
        // Or its owner could not read the message.
        let row = host_row(&client, execution).await;
        assert_api_can_read(&row.state);
        assert!(row.state["execution_data"]["unreadable_execution_state"].is_string());
    }
    worker.stop().await;
}

/// As `wait_for_end`, for rows whose state no JSON parser of ours reads.
async fn wait_for_end_text(client: &tokio_postgres::Client, execution: Uuid) -> (String, String) {
    crate::support::wait::wait_until("the execution to end", crate::support::flow::PATIENCE, async || {
        let row = client
            .query_one(
                "SELECT status, coalesce(error_message, ''), completed_at IS NOT NULL FROM workflowexecution WHERE id = $1",
                &[&execution],
            )
            .await
            .unwrap();
        if row.get(2) { Ok((row.get(0), row.get(1))) } else { Err(row.get::<_, String>(0)) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_characters_pass_through_data_and_do_no_harm() {
    for variant in [Variant::Alembic, Variant::Jsonb] {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
        // In data: PostgreSQL's json takes them, jsonb does not. The expression makes one in both.
        let nodes = vec![
            trigger(),
            node(
                "c",
                "switch",
                json!({ "switch_expression": "'a\\u0000b'", "cases": { "one": "a" } }),
            ),
            set("s", "x", json!("after")),
        ];
        let workflow = insert_workflow(
            &client,
            &graph(nodes, vec![edge("t", "c"), branch("c", "s", "default")]),
        )
        .await;
        let execution = insert(&client, workflow).await;
        let row = wait_for_completion(&client, execution).await;
        assert!(row.output("s")["value"] == "after", "{variant:?}");
        if variant == Variant::Alembic {
            let execution =
                insert_state(&client, workflow, r#"{"execution_data": {"x": "\u0000"}}"#).await;
            wait_for_completion(&client, execution).await;
        }
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_of_ten_megabytes_runs() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let big = "x".repeat(10 * 1024 * 1024);
    let workflow = insert_workflow(
        &client,
        &chain(vec![
            trigger(),
            set("s", "big", Value::String(big.clone())),
            set("z", "y", json!(1)),
        ]),
    )
    .await;
    let execution = insert(&client, workflow).await;
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(
        row.output("s")["value"].as_str().map(str::len),
        Some(big.len())
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_row_that_somebody_has_locked_delays_only_itself() {
    let database = Database::migrated(Variant::Alembic).await;
    let mut client = database.client().await;
    let other = database.client().await;
    let workflow = insert_workflow(
        &other,
        &chain(vec![
            trigger(),
            node("d", "delay", json!({ "delay_seconds": 0.2 })),
            set("s", "x", json!(1)),
        ]),
    )
    .await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let locked = insert(&other, workflow).await;
    crate::support::flow::wait_until_not_held(&other, locked).await;
    let transaction = client.transaction().await.unwrap();
    transaction
        .execute(
            "SELECT FROM workflowexecution WHERE id = $1 FOR UPDATE",
            &[&locked],
        )
        .await
        .unwrap();
    for _ in 0..5 {
        let execution = insert(&other, workflow).await;
        wait_for_completion(&other, execution).await;
    }
    assert_eq!(host_row(&other, locked).await.status, "running");
    transaction.commit().await.unwrap();
    wait_for_completion(&other, locked).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_the_database_refuses_fail_their_execution_alone() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    client
        .batch_execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF NEW.node_id = 'poison' THEN RAISE check_violation USING MESSAGE = 'no poison here'; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON workflow_worker.steps FOR EACH ROW EXECUTE FUNCTION refuse();",
        )
        .await
        .unwrap();
    let good = insert_workflow(&client, &chain(vec![trigger(), set("s", "x", json!(1))])).await;
    let poisoned = insert_workflow(
        &client,
        &chain(vec![trigger(), set("poison", "x", json!(1))]),
    )
    .await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let mut good_ones = Vec::new();
    let bad = insert(&client, poisoned).await;
    for _ in 0..10 {
        good_ones.push(insert(&client, good).await);
    }
    for execution in good_ones {
        wait_for_completion(&client, execution).await;
    }
    let row = wait_for_end(&client, bad).await;
    assert_eq!(row.status, "failed");
    assert!(row.error_message.unwrap().contains("no poison here"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_no_clock_can_hold_stop_nobody() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    for columns in [
        "status, next_retry_at) VALUES ($1, 1, 'failed', '-infinity'",
        "status, next_retry_at) VALUES ($1, 1, 'failed', '290000-01-01'",
        "started_at) VALUES ($1, 1, 'infinity'",
        "started_at) VALUES ($1, 1, '-infinity'",
        "completed_at) VALUES ($1, 1, '290000-01-01'",
    ] {
        let insert =
            format!("INSERT INTO workflowexecution (workflow_id, workflow_version, {columns})");
        client.execute(&insert, &[&workflow]).await.unwrap();
    }
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let good = insert(&client, workflow).await;
    wait_for_completion(&client, good).await;
    worker.stop().await;
}
