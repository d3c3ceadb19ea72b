//! All of it at once on every shape of the platform's tables, behind a pooler, and where the earlier worker has begun.

use serde_json::{Value, json};
use uuid::Uuid;

use super::sub_workflow::start;
use super::{Stage, successes};
use crate::support::database::Variant;
use crate::support::flow::{
    branch, chain, count, edge, get, graph, insert_workflow, node, set, trigger,
    wait_for_completion,
};
use crate::support::in_process::InProcess;
use crate::support::pgbouncer::PgBouncer;
use crate::support::state::assert_api_can_read;
use crate::support::wait::{SOON, wait_until};

/// A loop over children, something that is caught, a fan-out, and an approval.
fn everything(stage: &Stage, child: Uuid) -> Value {
    let wrong = stage.hits.url("/status/500/x");
    graph(
        vec![
            trigger(),
            node(
                "l",
                "for",
                json!({"array_expression": "[1, 2, 3]", "parallel": true}),
            ),
            start(
                "s",
                child,
                json!({"input_mapping": {"x": "item", "nul": "String.fromCharCode(0)"}, "output_mapping": {"y": "square_output.value"}}),
            ),
            node("try1", "try", json!({})),
            node("bad", "http_request", json!({"url": wrong, "retries": 0})),
            node("c", "catch", json!({})),
            node(
                "fan",
                "get_variable",
                json!({"variable_name": "none", "parallel_wait_mode": "any", "parallel_aggregation": "array"}),
            ),
            node(
                "ap",
                "human_approval",
                json!({"approval_message": "{{ String.fromCharCode(0) }}ok?"}),
            ),
            node("never", "wait_for_signal", json!({"signal_type": "never"})),
            set("end", "text", json!("naïve ✓")),
        ],
        vec![
            edge("t", "l"),
            branch("l", "s", "body"),
            branch("l", "try1", "done"),
            edge("try1", "bad"),
            edge("bad", "c"),
            edge("c", "fan"),
            edge("fan", "ap"),
            edge("fan", "never"),
            edge("ap", "end"),
            edge("never", "end"),
        ],
    )
}

async fn run_everything(stage: &Stage) {
    let squaring = chain(vec![trigger(), set("square", "s", json!("{{ x * x }}"))]);
    let child = insert_workflow(&stage.client, &squaring).await;
    let execution = stage.run(&everything(stage, child)).await;
    stage.wait_for_waiting(execution).await;
    stage
        .signal(execution, "human_input", &json!({"decision": "approve"}))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    let squares: Vec<&Value> = row.output("l")["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["y"])
        .collect();
    assert_eq!(squares, [&json!(1), &json!(4), &json!(9)]);
    assert_eq!(row.output("try1")["outcome"], "caught");
    let results = &row.state["execution_data"]["fan_parallel_result"];
    assert_eq!(results[0]["decision"], "approve");
    assert_eq!(successes(&stage.client, "end").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_variant_of_the_tables() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        stage.start(&[]).await;
        run_everything(&stage).await;
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_transaction_pooler() {
    let stage = Stage::without_worker(Variant::Alembic).await;
    let pooler = PgBouncer::start(stage.database.cluster());
    let worker = InProcess::start_only(
        &pooler.url(stage.database.name()),
        &[
            ("WORKFLOW_WORKER_POLL_INTERVAL", "0.1"),
            ("WORKFLOW_WORKER_AUTO_MIGRATE", "false"),
        ],
    );
    run_everything(&stage).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_the_earlier_worker_has_asked_for_is_taken_over() {
    let stage = Stage::new().await;
    let asking = chain(vec![
        trigger(),
        node("ap", "human_approval", json!({})),
        get("h", &stage.hits.url("/h")),
    ]);
    let workflow = insert_workflow(&stage.client, &asking).await;
    for into_the_request in [false, true] {
        let state = json!({
            "execution_id": "exec-0123456789ab", "workflow_id": workflow, "workflow_version": 1,
            "status": "waiting_for_signal", "current_node_id": "ap", "completed_node_ids": ["t"],
            "node_results": {}, "execution_data": {"t_output": {}},
            "started_at": "2026-01-05T00:52:44.123456", "retry_count": 0,
        });
        let name = format!("exec-{}", Uuid::new_v4().simple());
        let execution: Uuid = stage
            .client
            .query_one(
                "INSERT INTO workflowexecution (workflow_id, execution_id, status, current_node_id, execution_state)
                 VALUES ($1, $2, 'waiting_for_signal', 'ap', $3::text::json) RETURNING id",
                &[&workflow, &name, &state.to_string()],
            )
            .await
            .unwrap()
            .get(0);
        let asked = json!({"node_id": "ap", "message": "ok?", "options": ["approve", "reject"], "timeout_seconds": 3600});
        let request = stage.signal(execution, "human_approval", &asked).await;
        // The worker looks, and asks in its own name.
        wait_until("its own request", SOON, async || {
            match stage.signals(execution).await.len() {
                2 => Ok(()),
                other => Err(other),
            }
        })
        .await;
        stage.wait_for_waiting(execution).await;
        if into_the_request {
            let update = "UPDATE workflowsignal SET signal_data = (signal_data::jsonb || '{\"decision\": \"approve\"}')::json
                          WHERE id = $1";
            stage.client.execute(update, &[&request]).await.unwrap();
        } else {
            let answer = json!({"decision": "approve", "node_id": "ap"});
            stage.signal(execution, "human_approval", &answer).await;
        }
        let row = wait_for_completion(&stage.client, execution).await;
        assert_eq!(row.output("ap")["decision"], "approve");
    }
    assert_eq!(stage.hits.count("/h"), 2);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_deleted_while_it_waits_is_forgotten_with_its_child() {
    let stage = Stage::new().await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), node("ap", "human_approval", json!({}))]),
    )
    .await;
    let execution = stage
        .run(&chain(vec![trigger(), start("s", child, json!({}))]))
        .await;
    let child = super::sub_workflow::child_of(&stage.client, child).await;
    stage.wait_for_waiting(child).await;
    stage
        .client
        .execute("DELETE FROM workflowexecution WHERE id = $1", &[&execution])
        .await
        .unwrap();
    let row = crate::support::flow::wait_for_end(&stage.client, child).await;
    let message = row.error_message.unwrap();
    assert!(message.ends_with("was deleted"), "{message}");
    let left = "SELECT count(*) FROM workflow_worker.run_queue";
    assert_eq!(count(&stage.client, left).await, 0);
    stage.stop().await;
}
