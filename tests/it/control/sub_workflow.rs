//! `sub_workflow`: what a child is given, what its parent gets, and that a parent that waits holds no slot.

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::Stage;
use crate::support::flow::{
    HostRow, PATIENCE, branch, chain, count, edge, get, graph, host_row, insert, insert_with,
    insert_workflow, log, node, set, steps, trigger, wait_for_calls, wait_for_completion,
    wait_for_end,
};
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::state::assert_api_can_read;
use crate::support::wait::wait_until;
use crate::support::worker::WorkerProcess;

/// A node that starts `workflow` and waits for its end, with more configuration.
pub(super) fn start(id: &str, workflow: Uuid, more: Value) -> Value {
    let mut config = json!({"workflow_id": workflow, "wait_for_completion": true});
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    node(id, "sub_workflow", config)
}

/// The executions of a workflow.
pub(super) async fn executions_of(client: &Client, workflow: Uuid) -> Vec<Uuid> {
    client
        .query(
            "SELECT id FROM workflowexecution WHERE workflow_id = $1 ORDER BY started_at",
            &[&workflow],
        )
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// The one execution of a workflow, once it is there.
pub(super) async fn child_of(client: &Client, workflow: Uuid) -> Uuid {
    wait_until("the child", PATIENCE, async || {
        match executions_of(client, workflow).await.as_slice() {
            [child] => Ok(*child),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn decided(row: &HostRow, node: &str) -> Value {
    row.output(node)["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_waiting_the_parent_goes_on_at_once() {
    let stage = Stage::new().await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), get("h", &stage.hits.url("/h"))]),
    )
    .await;
    let parent = chain(vec![
        trigger(),
        node("s", "sub_workflow", json!({"workflow_id": child})),
        set("m", "m", json!(1)),
    ]);
    let execution = stage.run_with(&parent, &json!({"p": 1})).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    let child = child_of(&stage.client, child).await;
    let of_child = wait_for_completion(&stage.client, child).await;
    assert_api_can_read(&of_child.state);
    assert_eq!(
        of_child.state["execution_data"]["p"], 1,
        "all data are its input"
    );
    let output = row.output("s");
    assert_eq!(output["status"], "started");
    assert_eq!(output["sub_execution_uuid"], child.to_string());
    assert_eq!(output["sub_execution_id"], of_child.state["execution_id"]);
    assert_eq!(stage.hits.count("/h"), 1);
    let said = log(&stage.client, child).await;
    assert!(
        said[0].2.starts_with("Workflow execution started: exec-"),
        "{said:?}"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_the_parent_holds_no_slot_and_gets_what_it_mapped() {
    let stage = Stage::with(&[("WORKFLOW_WORKER_CONCURRENCY", "1")]).await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![
            trigger(),
            set("double", "d", json!("{{ amount * 2 }}")),
        ]),
    )
    .await;
    let more = json!({
        "input_data": {"unit": "{{ unit }}"},
        "input_mapping": {"amount": "n + 1"},
        "output_mapping": {"doubled": "double_output.value", "nothing": "no.such.thing"},
    });
    let parent = chain(vec![
        trigger(),
        start("s", child, more),
        set("after", "seen", json!("{{ s.output.doubled }}")),
    ]);
    let execution = stage
        .run_with(&parent, &json!({"n": 20, "unit": "EUR", "secret": 1}))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    assert_eq!(row.output("after")["value"], 42);
    let output = row.output("s");
    assert_eq!(output["status"], "completed");
    assert_eq!(output["doubled"], 42);
    assert_eq!(output["nothing"], Value::Null);
    assert_eq!(output["error"], Value::Null);
    assert_eq!(output["result"]["double_output"]["value"], 42);
    let child = child_of(&stage.client, child).await;
    let data = host_row(&stage.client, child).await.state["execution_data"].clone();
    assert_eq!(
        (&data["unit"], &data["amount"]),
        (&json!("EUR"), &json!(21))
    );
    assert_eq!(data.get("secret"), None, "only what is mapped");
    let rows = "SELECT count(*) FROM workflow_worker.run_queue";
    assert_eq!(count(&stage.client, rows).await, 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_childs_failure_is_its_parents_unless_it_is_caught() {
    let stage = Stage::new().await;
    let broken = set("x", "x", json!("{{ no.such }}"));
    let child = insert_workflow(&stage.client, &chain(vec![trigger(), broken])).await;
    let execution = stage
        .run(&chain(vec![
            trigger(),
            start("s", child, json!({})),
            set("m", "m", json!(1)),
        ]))
        .await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.status, "failed");
    let message = row.error_message.clone().unwrap();
    let first = child_of(&stage.client, child).await;
    let of_child = host_row(&stage.client, first).await;
    let name = of_child.state["execution_id"].as_str().unwrap();
    let expected = format!(
        "Node s failed: sub-workflow {name} failed: {}",
        of_child.error_message.unwrap()
    );
    assert_eq!(message, expected);
    assert_eq!(
        row.state["completed_node_ids"].as_array().unwrap().last(),
        Some(&json!("s"))
    );
    assert_api_can_read(&row.state);

    let caught = chain(vec![
        trigger(),
        node("try1", "try", json!({})),
        start("s", child, json!({})),
        node("c", "catch", json!({"error_type": "SubWorkflowError"})),
        set("m", "m", json!("{{ error.message }}")),
    ]);
    let execution = stage.run(&caught).await;
    let row = wait_for_completion(&stage.client, execution).await;
    let told = row.output("m")["value"].as_str().unwrap();
    assert!(told.starts_with("sub-workflow exec-"), "{told}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_in_each_round_of_a_loop_one_by_one_and_side_by_side() {
    let stage = Stage::new().await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), set("square", "s", json!("{{ x * x }}"))]),
    )
    .await;
    for parallel in [false, true] {
        let graph = graph(
            vec![
                trigger(),
                node(
                    "l",
                    "loop",
                    json!({"loop_type": "for", "array_expression": "[1, 2, 3, 4, 5, 6]",
                    "parallel": parallel, "parallel_limit": 3}),
                ),
                start(
                    "s",
                    child,
                    json!({"input_mapping": {"x": "item"},
                    "output_mapping": {"y": "square_output.value"}}),
                ),
                set("end", "end", json!("{{ l.output.results }}")),
            ],
            vec![
                edge("t", "l"),
                branch("l", "s", "body"),
                branch("l", "end", "done"),
            ],
        );
        let execution = stage.run(&graph).await;
        let row = wait_for_completion(&stage.client, execution).await;
        assert_api_can_read(&row.state);
        let squares: Vec<i64> = row.output("l")["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["y"].as_i64().unwrap())
            .collect();
        assert_eq!(squares, [1, 4, 9, 16, 25, 36], "parallel: {parallel}");
    }
    assert_eq!(executions_of(&stage.client, child).await.len(), 12);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_while_a_parent_waits_costs_nothing() {
    let mut stage = Stage::without_worker(crate::support::database::Variant::Alembic).await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), get("h", &stage.hits.url("/h?ms=700"))]),
    )
    .await;
    let mut first = WorkerProcess::spawn(&stage.database.url(), &[NO_POLL]);
    let parent = chain(vec![
        trigger(),
        start("s", child, json!({})),
        set("m", "m", json!(1)),
    ]);
    let execution = stage.run(&parent).await;
    wait_for_calls(&stage.hits, "/h?ms=700", 1).await;
    first.kill9();
    stage.start(&[]).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(decided(&row, "s"), "completed");
    assert_eq!(
        stage.hits.count("/h?ms=700"),
        2,
        "the call in flight is repeated"
    );
    assert_eq!(executions_of(&stage.client, child).await.len(), 1);
    let recorded: Vec<String> = steps(&stage.client, execution)
        .await
        .into_iter()
        .map(|(node, ..)| node)
        .collect();
    assert_eq!(recorded, ["t", "s", "m"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_parents_with_three_children_each_over_four_workers() {
    let stage = Stage::without_worker(crate::support::database::Variant::Alembic).await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), set("c", "c", json!("{{ n + 1 }}"))]),
    )
    .await;
    let mut nodes = vec![
        trigger(),
        set(
            "end",
            "sum",
            json!("{{ s1_output.c + s2_output.c + s3_output.c }}"),
        ),
    ];
    let mut edges = Vec::new();
    for id in ["s1", "s2", "s3"] {
        nodes.push(start(
            id,
            child,
            json!({"output_mapping": {"c": "c_output.value"}}),
        ));
        edges.extend([edge("t", id), edge(id, "end")]);
    }
    let workflow = insert_workflow(&stage.client, &graph(nodes, edges)).await;
    let mut workers = Vec::new();
    for _ in 0..4 {
        let settings = [NO_POLL, ("WORKFLOW_WORKER_CONCURRENCY", "5")];
        workers.push(InProcess::start(&stage.database.url(), &settings).await);
    }
    let mut parents = Vec::new();
    for n in 0..50 {
        parents.push((
            n,
            insert_with(&stage.client, workflow, &json!({"n": n})).await,
        ));
    }
    for (n, parent) in parents {
        let row = wait_for_completion(&stage.client, parent).await;
        assert_eq!(row.output("end")["value"], 3 * (n + 1));
    }
    let completed = "SELECT count(*) FROM workflowexecution WHERE status = 'completed'";
    assert_eq!(count(&stage.client, completed).await, 200);
    let left = "SELECT count(*) FROM workflow_worker.run_queue";
    assert_eq!(count(&stage.client, left).await, 0);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_asks_people_and_its_parent_that_waits_for_it() {
    let stage = Stage::new().await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), node("ap", "human_approval", json!({}))]),
    )
    .await;
    let parent = chain(vec![
        trigger(),
        start(
            "s",
            child,
            json!({"output_mapping": {"answer": "ap_output.decision"}}),
        ),
    ]);
    let workflow = insert_workflow(&stage.client, &parent).await;
    let execution = insert(&stage.client, workflow).await;
    let child = child_of(&stage.client, child).await;
    stage.wait_for_waiting(child).await;
    // Nobody can answer the parent.
    assert_eq!(host_row(&stage.client, execution).await.status, "running");
    stage
        .signal(child, "human_input", &json!({"decision": "reject"}))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("s")["answer"], "reject");
    stage.stop().await;
}
