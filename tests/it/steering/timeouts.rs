//! The time-out of the whole execution: in time wherever the execution is, final, and out of reach for its own nodes.

use serde_json::json;
use uuid::Uuid;
use workflow_worker::telemetry::Event;

use super::{age_by_an_hour, approval, insert_limited, insert_state, messages};
use crate::control::Stage;
use crate::support::database::Variant;
use crate::support::flow::{
    HostRow, PATIENCE, branch, chain, count, edge, get, graph, host_row, insert_with,
    insert_workflow, log, node, restart, set, trigger, wait_for_calls, wait_for_completion,
    wait_for_end, wait_for_status,
};
use crate::support::state::assert_api_can_read;
use crate::support::wait::wait_until;

fn assert_timed_out(row: &HostRow, seconds: &str) {
    let message = format!("Workflow execution timed out after {seconds} seconds");
    assert_eq!(row.error_message.as_deref(), Some(message.as_str()));
    assert_eq!(
        (row.status.as_str(), row.state["status"].as_str()),
        ("failed", Some("failed"))
    );
    assert_eq!(row.state["error_message"], message);
    assert!(row.is_completed && !row.has_next_retry);
    assert_api_can_read(&row.state);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_is_cancelled_and_the_failure_is_final() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        stage.start(&[]).await;
        let graph = chain(vec![
            trigger(),
            get("long", &stage.hits.url("/long?ms=60000")),
        ]);
        let workflow = insert_workflow(&stage.client, &graph).await;
        let execution = insert_limited(&stage.client, workflow, 0.5).await;
        let mut worker = stage.worker.take().unwrap();
        worker
            .wait_for(
                "the event",
                |event| matches!(event, Event::ExecutionTimedOut { id } if id.0 == execution),
            )
            .await;
        let row = wait_for_end(&stage.client, execution).await;
        assert_timed_out(&row, "0.5");
        assert_eq!(row.retry_count, 0);
        assert_eq!(row.state["completed_node_ids"], json!(["t"]), "{variant:?}");
        wait_until("the call to be cut", PATIENCE, async || {
            match stage.hits.cut("/long?ms=60000") {
                0 => Err("it goes on"),
                _ => Ok(()),
            }
        })
        .await;
        let lines = log(&stage.client, execution).await;
        assert_eq!(
            messages(&lines).last(),
            Some(
                &"Workflow execution failed permanently: Workflow execution timed out after 0.5 seconds"
            )
        );
        let queued = "SELECT count(*) FROM workflow_worker.run_queue";
        assert_eq!(count(&stage.client, queued).await, 0);
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_limit_goes_before_its_workflows_and_that_before_the_setting() {
    let stage = Stage::with(&[("WORKFLOW_TIMEOUT_SECONDS", "0.7")]).await;
    let mut graph = chain(vec![trigger(), approval("ap")]);
    let plain = insert_workflow(&stage.client, &graph).await;
    graph["timeout_seconds"] = json!("0.6");
    let limited = insert_workflow(&stage.client, &graph).await;
    let by_setting = insert_with(&stage.client, plain, &json!({})).await;
    let by_workflow = insert_with(&stage.client, limited, &json!({})).await;
    let by_itself = insert_limited(&stage.client, limited, 0.4).await;
    for (execution, seconds) in [
        (by_setting, "0.7"),
        (by_workflow, "0.6"),
        (by_itself, "0.4"),
    ] {
        assert_timed_out(&wait_for_end(&stage.client, execution).await, seconds);
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_it_waits_for_the_time_ends_in_time_and_what_it_asked_for_is_withdrawn() {
    let stage = Stage::new().await;
    let inner = insert_workflow(
        &stage.client,
        &chain(vec![
            trigger(),
            node("d", "delay", json!({"delay_seconds": 3600})),
        ]),
    )
    .await;
    let waits = [
        node("w", "delay", json!({"delay_seconds": 3600})),
        node(
            "w",
            "http_request",
            json!({"url": stage.hits.url("/status/503"), "retries": 3, "retry_delay": 3600}),
        ),
        approval("w"),
        node(
            "w",
            "sub_workflow",
            json!({"workflow_id": inner, "wait_for_completion": true}),
        ),
        node(
            "w",
            "delay",
            json!({"delay_type": "until_condition", "condition_expression": "input.never"}),
        ),
    ];
    for wait in waits {
        let kind = wait["node_type"].clone();
        let graph = chain(vec![trigger(), wait, set("z", "z", json!(1))]);
        let workflow = insert_workflow(&stage.client, &graph).await;
        let execution = insert_limited(&stage.client, workflow, 1.0).await;
        let row = wait_for_end(&stage.client, execution).await;
        assert_timed_out(&row, "1");
        assert!(row.state["node_results"].get("z").is_none(), "{kind}");
        let open = format!(
            "SELECT count(*) FROM workflowsignal WHERE execution_id = '{execution}' AND NOT processed"
        );
        assert_eq!(count(&stage.client, &open).await, 0, "{kind}");
    }
    // The child has been told.
    let children = format!("SELECT id FROM workflowexecution WHERE workflow_id = '{inner}'");
    let child: Uuid = stage.client.query_one(&children, &[]).await.unwrap().get(0);
    let ended = wait_for_end(&stage.client, child).await;
    let error = ended.error_message.unwrap();
    assert!(
        error.starts_with("Execution terminated: Parent execution"),
        "{error}"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_time_that_is_further_away_is_still_shown() {
    let stage = Stage::new().await;
    let failing = json!({"url": stage.hits.url("/status/503"), "retries": 3, "retry_delay": 3000});
    let graph = chain(vec![trigger(), node("h", "http_request", failing)]);
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_limited(&stage.client, workflow, 60.0).await;
    wait_for_status(&stage.client, execution, "failed").await;
    let far = format!(
        "SELECT count(*) FROM workflowexecution AS host JOIN workflow_worker.run_queue AS queued ON queued.execution_id = host.id
         WHERE host.id = '{execution}' AND host.status = 'failed' AND host.completed_at IS NULL
           AND host.next_retry_at > now() AT TIME ZONE 'utc' + interval '40 minutes'
           AND run_at < now() + interval '2 minutes'"
    );
    assert_eq!(count(&stage.client, &far).await, 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_catch_no_finally_and_no_continue_on_error_holds_it_up() {
    let stage = Stage::new().await;
    let long =
        json!({"url": stage.hits.url("/long?ms=60000"), "continue_on_error": true, "retries": 3});
    let graph = graph(
        vec![
            trigger(),
            node("try", "try", json!({})),
            node("long", "http_request", long),
            node("c", "catch", json!({})),
            node("f", "finally", json!({})),
            get("after", &stage.hits.url("/after")),
        ],
        vec![
            edge("t", "try"),
            edge("try", "long"),
            edge("long", "c"),
            edge("c", "f"),
            edge("f", "after"),
        ],
    );
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_limited(&stage.client, workflow, 0.5).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_timed_out(&row, "0.5");
    assert_eq!(row.state["completed_node_ids"], json!(["t"]));
    assert_eq!(stage.hits.count("/after"), 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_paused_the_clock_stands_still() {
    let stage = Stage::new().await;
    let graph = chain(vec![trigger(), approval("ap")]);
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_limited(&stage.client, workflow, 600.0).await;
    stage.wait_for_waiting(execution).await;
    stage.platform.pause(execution).await.unwrap();
    age_by_an_hour(&stage.client, execution).await;
    stage.platform.resume(execution).await.unwrap();
    stage.wait_for_waiting(execution).await;
    stage
        .signal(execution, "human_approval", &json!({"decision": "approve"}))
        .await;
    wait_for_completion(&stage.client, execution).await;

    // As long without a pause is too long.
    let execution = insert_limited(&stage.client, workflow, 600.0).await;
    stage.wait_for_waiting(execution).await;
    age_by_an_hour(&stage.client, execution).await;
    assert_timed_out(&wait_for_end(&stage.client, execution).await, "600");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_a_resume_while_a_node_runs_move_the_end_as_well() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        get("long", &stage.hits.url("/long?ms=1500")),
        approval("ap"),
    ]);
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_limited(&stage.client, workflow, 600.0).await;
    wait_for_calls(&stage.hits, "/long?ms=1500", 1).await;
    stage.platform.pause(execution).await.unwrap();
    age_by_an_hour(&stage.client, execution).await;
    stage.platform.resume(execution).await.unwrap();
    stage.wait_for_waiting(execution).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_rewrite_of_the_state_does_not_lose_it_not_even_before_a_worker_has_seen_it()
{
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        let graph = chain(vec![trigger(), approval("ap")]);
        let workflow = insert_workflow(&stage.client, &graph).await;
        let execution = insert_limited(&stage.client, workflow, 600.0).await;
        stage.platform.pause(execution).await.unwrap();
        stage.platform.resume(execution).await.unwrap();
        stage.start(&[]).await;
        stage.wait_for_waiting(execution).await;
        // And once more, from a state in which the worker has left the key out.
        stage.platform.pause(execution).await.unwrap();
        stage.platform.resume(execution).await.unwrap();
        stage.wait_for_waiting(execution).await;
        age_by_an_hour(&stage.client, execution).await;
        assert_timed_out(&wait_for_end(&stage.client, execution).await, "600");
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_be_given_and_changed_while_the_execution_waits() {
    let stage = Stage::new().await;
    let graph = chain(vec![trigger(), approval("ap")]);
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_with(&stage.client, workflow, &json!({})).await;
    stage.wait_for_waiting(execution).await;
    let change = "UPDATE workflowexecution
                  SET execution_state = (execution_state::jsonb || '{\"timeout_seconds\": 0.2}')::json WHERE id = $1";
    stage.client.execute(change, &[&execution]).await.unwrap();
    assert_timed_out(&wait_for_end(&stage.client, execution).await, "0.2");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_write_of_a_waiting_execution_does_not_lose_its_deadlines() {
    let stage = Stage::new().await;
    let ap = node("ap", "human_approval", json!({"timeout_seconds": 3}));
    let workflow = insert_workflow(&stage.client, &chain(vec![trigger(), ap])).await;
    let execution = insert_with(&stage.client, workflow, &json!({})).await;
    stage.wait_for_waiting(execution).await;
    let touch = "UPDATE workflowexecution SET execution_state = execution_state WHERE id = $1";
    stage.client.execute(touch, &[&execution]).await.unwrap();
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some("Node ap timed out after 3 seconds")
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_limit_fails_the_execution_that_has_it() {
    let stage = Stage::new().await;
    let mut good = chain(vec![trigger()]);
    let workflow = insert_workflow(&stage.client, &good).await;
    for (limit, expected) in [
        (
            json!(0),
            "execution_state: timeout_seconds is 0; it must be more than 0",
        ),
        (
            json!("soon"),
            "execution_state: timeout_seconds is \"soon\"; it must be a number of seconds",
        ),
        (
            json!(-1),
            "execution_state: timeout_seconds is -1; it must be",
        ),
    ] {
        let state = json!({"timeout_seconds": limit, "execution_data": {"n": 1}});
        let execution = insert_state(&stage.client, workflow, &state).await;
        let row = wait_for_end(&stage.client, execution).await;
        let error = row.error_message.unwrap();
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(row.state["execution_data"]["n"], 1, "nothing is lost");
    }
    good["timeout_seconds"] = json!([1]);
    let execution = stage.run(&good).await;
    let error = wait_for_end(&stage.client, execution).await.error_message;
    assert!(
        error
            .unwrap()
            .starts_with("graph_config: timeout_seconds is [1]")
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_hand_has_a_fresh_clock_and_asks_again() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![trigger(), approval("ap"), set("z", "z", json!(1))],
        vec![edge("t", "ap"), branch("ap", "z", "approve")],
    );
    let workflow = insert_workflow(&stage.client, &graph).await;
    let execution = insert_limited(&stage.client, workflow, 600.0).await;
    stage.wait_for_waiting(execution).await;
    age_by_an_hour(&stage.client, execution).await;
    assert_timed_out(&wait_for_end(&stage.client, execution).await, "600");
    restart(&stage.client, execution).await;
    stage.wait_for_waiting(execution).await;
    let open: Vec<bool> = stage
        .signals(execution)
        .await
        .iter()
        .map(|signal| !signal.is_processed)
        .collect();
    assert_eq!(open, [false, true], "the first question is withdrawn");
    stage
        .signal(execution, "human_approval", &json!({"decision": "approve"}))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.state["completed_node_ids"], json!(["t", "ap", "z"]));
    // Its own limit is still known.
    stage.platform.pause(execution).await.unwrap();
    let known = format!(
        "SELECT (checkpoint ->> 'time_limit_ms')::bigint FROM workflow_worker.finished WHERE execution_id = '{execution}'"
    );
    assert_eq!(count(&stage.client, &known).await, 600_000);
    assert_eq!(host_row(&stage.client, execution).await.status, "paused");
    stage.stop().await;
}
