//! Debugging as the platform's API does it: a flag in the data, and one node for each `running`.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{age_by_an_hour, approval, insert_state, messages};
use crate::control::Stage;
use crate::support::database::Variant;
use crate::support::flow::{
    HostRow, PATIENCE, branch, chain, count, edge, get, graph, host_row, insert_with,
    insert_workflow, log, node, set, steps, trigger, wait_for_calls, wait_for_completion,
    wait_until_not_held,
};
use crate::support::state::assert_api_can_read;
use crate::support::wait::wait_until;

/// As the API's `debug/enable`, `debug/step` and `debug/disable` write it.
async fn write(stage: &Stage, execution: Uuid, status: &str, debug_mode: Option<bool>) {
    let mut state = stage.platform.read_state(execution).await.unwrap();
    state.status = status.to_owned();
    match debug_mode {
        Some(true) => {
            let flag = ("debug_mode".to_owned(), Value::Bool(true));
            state.execution_data.extend([flag]);
        }
        Some(false) => {
            state.execution_data.remove("debug_mode");
        }
        None => {}
    }
    stage.platform.write_state(execution, &state).await;
}

async fn step(stage: &Stage, execution: Uuid) {
    write(stage, execution, "running", None).await;
}

/// Waits until it is paused with so many steps recorded.
async fn paused_after(stage: &Stage, execution: Uuid, recorded: usize) -> HostRow {
    let what = format!("a pause after {recorded} step(s)");
    wait_until(&what, PATIENCE, async || {
        let row = host_row(&stage.client, execution).await;
        let found = steps(&stage.client, execution).await.len();
        if (row.status.as_str(), found) == ("paused", recorded) {
            Ok(())
        } else {
            Err(format!(
                "{} after {found}: {:?}",
                row.status, row.error_message
            ))
        }
    })
    .await;
    wait_until_not_held(&stage.client, execution).await;
    let row = host_row(&stage.client, execution).await;
    assert_eq!(
        (row.status.as_str(), row.state["status"].as_str()),
        ("paused", Some("paused"))
    );
    assert_eq!(steps(&stage.client, execution).await.len(), recorded);
    assert_api_can_read(&row.state);
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn each_running_runs_one_node_from_the_first_on() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        stage.start(&[]).await;
        let graph = chain(vec![
            trigger(),
            get("a", &stage.hits.url("/a")),
            get("b", &stage.hits.url("/b")),
        ]);
        let workflow = insert_workflow(&stage.client, &graph).await;
        let data = json!({"n": 1, "debug_mode": true});
        let execution = insert_with(&stage.client, workflow, &data).await;
        let row = paused_after(&stage, execution, 1).await;
        assert_eq!(row.current_node_id.as_deref(), Some("a"), "what comes next");
        assert_eq!(stage.hits.count("/a"), 0);
        step(&stage, execution).await;
        paused_after(&stage, execution, 2).await;
        assert_eq!((stage.hits.count("/a"), stage.hits.count("/b")), (1, 0));
        // By the shortest statement as well.
        let shortest = "UPDATE workflow_executions SET status = 'running' WHERE id = $1";
        stage.client.execute(shortest, &[&execution]).await.unwrap();
        let row = wait_for_completion(&stage.client, execution).await;
        assert_eq!(
            row.state["completed_node_ids"],
            json!(["t", "a", "b"]),
            "{variant:?}"
        );
        let lines = log(&stage.client, execution).await;
        let pauses = messages(&lines)
            .into_iter()
            .filter(|line| *line == "Execution paused");
        assert_eq!(pauses.count(), 2);
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_switched_on_while_it_runs_and_off_again() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        get("a", &stage.hits.url("/a?ms=700")),
        get("b", &stage.hits.url("/b")),
        get("c", &stage.hits.url("/c")),
        get("d", &stage.hits.url("/d")),
    ]);
    let execution = stage.run(&graph).await;
    wait_for_calls(&stage.hits, "/a?ms=700", 1).await;
    write(&stage, execution, "paused", Some(true)).await;
    paused_after(&stage, execution, 2).await;
    step(&stage, execution).await;
    paused_after(&stage, execution, 3).await;
    assert_eq!((stage.hits.count("/b"), stage.hits.count("/c")), (1, 0));
    write(&stage, execution, "running", Some(false)).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!((stage.hits.count("/c"), stage.hits.count("/d")), (1, 1));
    assert!(
        row.state["execution_data"].get("debug_mode").is_none(),
        "the removal counts"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flag_alone_written_while_a_node_runs_stops_after_that_node() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        get("a", &stage.hits.url("/a?ms=1000")),
        get("b", &stage.hits.url("/b")),
    ]);
    let execution = stage.run(&graph).await;
    wait_for_calls(&stage.hits, "/a?ms=1000", 1).await;
    write(&stage, execution, "running", Some(true)).await;
    paused_after(&stage, execution, 2).await;
    assert_eq!(stage.hits.count("/b"), 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_loop_a_step_is_one_node_of_one_round_and_of_branches_one_goes_on() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            node("l", "for", json!({"array_expression": "[1, 2]"})),
            get("in", &stage.hits.url("/in")),
            get("x", &stage.hits.url("/x")),
            get("y", &stage.hits.url("/y")),
        ],
        vec![
            edge("t", "l"),
            branch("l", "in", "body"),
            branch("l", "x", "done"),
            branch("l", "y", "done"),
        ],
    );
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_with(&stage.client, workflow, &json!({"debug_mode": true})).await;
    paused_after(&stage, execution, 1).await;
    for (recorded, rounds) in [(2, 0), (3, 1)] {
        step(&stage, execution).await;
        paused_after(&stage, execution, recorded).await;
        assert_eq!(stage.hits.count("/in"), rounds);
    }
    // The second round, with which the loop ends.
    step(&stage, execution).await;
    let row = paused_after(&stage, execution, 5).await;
    assert_eq!(row.output("l")["results"].as_array().map(Vec::len), Some(2));
    assert_eq!(stage.hits.count("/x") + stage.hits.count("/y"), 0);
    step(&stage, execution).await;
    paused_after(&stage, execution, 6).await;
    assert_eq!(stage.hits.count("/x") + stage.hits.count("/y"), 1);
    step(&stage, execution).await;
    wait_for_completion(&stage.client, execution).await;
    assert_eq!(
        (
            stage.hits.count("/in"),
            stage.hits.count("/x"),
            stage.hits.count("/y")
        ),
        (2, 1, 1)
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_has_its_wait_and_the_pause_comes_after_it() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        node("d", "delay", json!({"delay_seconds": 0.4})),
        approval("ap"),
        set("z", "z", json!(1)),
    ]);
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_with(&stage.client, workflow, &json!({"debug_mode": true})).await;
    paused_after(&stage, execution, 1).await;
    step(&stage, execution).await;
    paused_after(&stage, execution, 2).await;
    step(&stage, execution).await;
    stage.wait_for_waiting(execution).await;
    stage
        .signal(execution, "human_approval", &json!({"decision": "approve"}))
        .await;
    paused_after(&stage, execution, 3).await;
    step(&stage, execution).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(
        row.state["completed_node_ids"],
        json!(["t", "d", "ap", "z"])
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_ends_it_and_a_retry_is_a_step_of_its_own() {
    let stage = Stage::new().await;
    let graph = chain(vec![trigger(), get("h", &stage.hits.url("/h?fail=1"))]);
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_with(&stage.client, workflow, &json!({"debug_mode": true})).await;
    paused_after(&stage, execution, 1).await;
    step(&stage, execution).await;
    paused_after(&stage, execution, 2).await;
    step(&stage, execution).await;
    wait_for_completion(&stage.client, execution).await;
    let bad = chain(vec![
        trigger(),
        node(
            "h",
            "http_request",
            json!({"url": stage.hits.url("/status/404"), "retries": 0}),
        ),
    ]);
    let workflow = insert_workflow(&stage.client, &bad).await;
    let execution = insert_with(&stage.client, workflow, &json!({"debug_mode": true})).await;
    paused_after(&stage, execution, 1).await;
    step(&stage, execution).await;
    let row = crate::support::flow::wait_for_end(&stage.client, execution).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some("Node h failed: HTTP 404: Not Found")
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_debugged_no_time_ends_and_the_pauses_do_not_count_afterwards() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        set("a", "a", json!(1)),
        set("b", "b", json!(1)),
        approval("ap"),
    ]);
    let workflow = insert_workflow(&stage.client, &graph).await;
    let state = json!({"timeout_seconds": 600, "execution_data": {"debug_mode": true}});
    let execution = insert_state(&stage.client, workflow, &state).await;
    paused_after(&stage, execution, 1).await;
    let paused_at = format!(
        "SELECT count(paused_at) FROM workflow_worker.run_queue WHERE execution_id = '{execution}'"
    );
    assert_eq!(count(&stage.client, &paused_at).await, 1);
    age_by_an_hour(&stage.client, execution).await;
    step(&stage, execution).await;
    paused_after(&stage, execution, 2).await;
    write(&stage, execution, "running", Some(false)).await;
    stage.wait_for_waiting(execution).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_workflow_is_not_debugged_with_its_parent() {
    let stage = Stage::new().await;
    let inner = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), get("i", &stage.hits.url("/i"))]),
    )
    .await;
    let sub = json!({"workflow_id": inner, "wait_for_completion": true});
    let graph = chain(vec![
        trigger(),
        node("sub", "sub_workflow", sub),
        set("z", "z", json!(1)),
    ]);
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_with(&stage.client, workflow, &json!({"debug_mode": true})).await;
    paused_after(&stage, execution, 1).await;
    step(&stage, execution).await;
    paused_after(&stage, execution, 2).await;
    assert_eq!(stage.hits.count("/i"), 1);
    step(&stage, execution).await;
    wait_for_completion(&stage.client, execution).await;
    stage.stop().await;
}
