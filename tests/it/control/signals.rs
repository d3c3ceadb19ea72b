//! `wait_for_signal`, and remote activities that are accepted first and completed by a signal later.

use serde_json::json;

use super::Stage;
use crate::support::flow::{
    branch, chain, edge, graph, node, set, trigger, wait_for_completion, wait_for_end,
};
use crate::support::state::assert_api_can_read;
use crate::support::wait::{SOON, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_of_the_type_ends_the_wait_and_its_data_are_there() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        node(
            "w",
            "wait_for_signal",
            json!({"signal_type": "connector_ready"}),
        ),
        set("s", "amount", json!("{{ signal_connector_ready.amount }}")),
    ]);
    let execution = stage.run(&graph).await;
    stage.wait_for_waiting(execution).await;
    assert_eq!(stage.signals(execution).await.len(), 0, "it asks nobody");
    stage
        .signal(execution, "webhook", &json!({"amount": 1}))
        .await;
    stage
        .signal(execution, "connector_ready", &json!({"amount": 7}))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    assert_eq!(
        row.state["execution_data"]["signal_connector_ready"],
        json!({"amount": 7})
    );
    assert_eq!(row.output("w")["signal_data"], json!({"amount": 7}));
    assert_eq!(row.output("s")["value"], 7);
    let processed: Vec<bool> = stage
        .signals(execution)
        .await
        .iter()
        .map(|signal| signal.is_processed)
        .collect();
    assert_eq!(
        processed,
        [false, true],
        "what nobody waits for is left alone"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_signal_with_the_same_correlation_is_meant() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        node(
            "w",
            "wait_for_signal",
            json!({"signal_type": "paid", "correlation_id": "{{ order }}"}),
        ),
    ]);
    let execution = stage.run_with(&graph, &json!({"order": "A-7"})).await;
    stage
        .signal(execution, "paid", &json!({"correlation_id": "A-6"}))
        .await;
    stage.signal(execution, "paid", &json!({})).await;
    stage.wait_for_waiting(execution).await;
    stage
        .signal(execution, "paid", &json!({"correlation_id": "A-7", "n": 1}))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("w")["signal_data"]["n"], 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_does_not_come_in_time() {
    let stage = Stage::new().await;
    let waiting = node(
        "w",
        "wait_for_signal",
        json!({"signal_type": "paid", "timeout_seconds": 0.2}),
    );
    let with_branch = graph(
        vec![trigger(), waiting.clone(), set("late", "late", json!(true))],
        vec![edge("t", "w"), branch("w", "late", "timeout")],
    );
    let execution = stage.run(&with_branch).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("late")["value"], true);
    let execution = stage.run(&chain(vec![trigger(), waiting])).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.status, "failed");
    let message = row.error_message.unwrap();
    assert!(message.starts_with("Node w timed out after"), "{message}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_and_a_child_may_be_awaited_side_by_side() {
    let stage = Stage::new().await;
    let child = crate::support::flow::insert_workflow(
        &stage.client,
        &chain(vec![
            trigger(),
            node("d", "delay", json!({"delay_seconds": 0.2})),
        ]),
    )
    .await;
    let graph = graph(
        vec![
            trigger(),
            node("ap", "human_approval", json!({})),
            node(
                "s",
                "sub_workflow",
                json!({"workflow_id": child, "wait_for_completion": true}),
            ),
            set("end", "end", json!(1)),
        ],
        vec![
            edge("t", "ap"),
            edge("t", "s"),
            edge("ap", "end"),
            edge("s", "end"),
        ],
    );
    let execution = stage.run(&graph).await;
    wait_until("the child's end to be taken", SOON, async || {
        let row = crate::support::flow::host_row(&stage.client, execution).await;
        match row.output("s")["status"].as_str() {
            Some("completed") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    stage.wait_for_waiting(execution).await;
    stage
        .signal(execution, "human_input", &json!({"decision": "approve"}))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("end")["value"], 1);
    stage.stop().await;
}
