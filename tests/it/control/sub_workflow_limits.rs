//! `sub_workflow`: time, depth, and what ends a child before its own end.

use serde_json::json;
use uuid::Uuid;

use super::Stage;
use super::sub_workflow::{child_of, executions_of, start};
use crate::support::flow::{
    branch, chain, count, edge, get, graph, host_row, insert, insert_workflow, node, set, trigger,
    wait_for_calls, wait_for_completion, wait_for_end,
};
use crate::support::wait::{SOON, wait_until};

/// A workflow whose node takes a minute.
async fn long(stage: &Stage, key: &str) -> Uuid {
    let long = get("long", &stage.hits.url(key));
    insert_workflow(&stage.client, &chain(vec![trigger(), long])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_takes_too_long_is_ended() {
    let stage = Stage::new().await;
    let child = long(&stage, "/a?ms=60000").await;
    let with_branch = graph(
        vec![
            trigger(),
            start("s", child, json!({"timeout_seconds": 0.5})),
            set("late", "late", json!(true)),
        ],
        vec![edge("t", "s"), branch("s", "late", "timeout")],
    );
    let execution = stage.run(&with_branch).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("late")["value"], true);
    let first = child_of(&stage.client, child).await;
    let ended = wait_for_end(&stage.client, first).await;
    assert_eq!(ended.status, "failed");
    let message = ended.error_message.unwrap();
    assert!(
        message.starts_with("Execution terminated: No longer needed by"),
        "{message}"
    );

    let other = long(&stage, "/b?ms=60000").await;
    let plain = chain(vec![
        trigger(),
        start("s", other, json!({"timeout_seconds": 1})),
    ]);
    let execution = stage.run(&plain).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some("Node s timed out after 1 seconds")
    );
    let second = child_of(&stage.client, other).await;
    assert_eq!(wait_for_end(&stage.client, second).await.status, "failed");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_is_terminated_takes_its_child_and_that_ones_child_with_it() {
    let stage = Stage::new().await;
    let grandchild = long(&stage, "/g?ms=60000").await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), start("s", grandchild, json!({}))]),
    )
    .await;
    let execution = stage
        .run(&chain(vec![trigger(), start("s", child, json!({}))]))
        .await;
    wait_for_calls(&stage.hits, "/g?ms=60000", 1).await;
    stage.platform.terminate(execution, None).await.unwrap();
    for workflow in [child, grandchild] {
        let ended = child_of(&stage.client, workflow).await;
        let row = wait_for_end(&stage.client, ended).await;
        assert_eq!(
            (row.status.as_str(), row.state["status"].as_str()),
            ("failed", Some("failed"))
        );
        let message = row.error_message.unwrap();
        assert!(
            message.starts_with("Execution terminated: Parent execution exec-"),
            "{message}"
        );
    }
    wait_until("all to leave the run queue", SOON, async || {
        match count(
            &stage.client,
            "SELECT count(*) FROM workflow_worker.run_queue",
        )
        .await
        {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    let row = host_row(&stage.client, execution).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some("Execution terminated by user")
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_not_awaited_outlives_its_parent() {
    let stage = Stage::new().await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), get("h", &stage.hits.url("/h?ms=500"))]),
    )
    .await;
    let parent = chain(vec![
        trigger(),
        node("s", "sub_workflow", json!({"workflow_id": child})),
        get("long", &stage.hits.url("/long?ms=60000")),
    ]);
    let execution = stage.run(&parent).await;
    wait_for_calls(&stage.hits, "/long?ms=60000", 1).await;
    stage.platform.terminate(execution, None).await.unwrap();
    let child = child_of(&stage.client, child).await;
    wait_for_completion(&stage.client, child).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_starts_itself_stops_at_the_depth_limit() {
    let stage = Stage::new().await;
    let workflow = insert_workflow(&stage.client, &chain(vec![trigger()])).await;
    let itself = chain(vec![trigger(), start("s", workflow, json!({}))]).to_string();
    stage
        .client
        .execute(
            "UPDATE workflow SET graph_config = $2::text::json WHERE id = $1",
            &[&workflow, &itself],
        )
        .await
        .unwrap();
    let execution = insert(&stage.client, workflow).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.status, "failed");
    let message = row.error_message.unwrap();
    let reason = "sub-workflows may be 5 deep at most (WORKFLOW_MAX_SUB_WORKFLOW_DEPTH); this one would be 6 deep";
    assert!(message.ends_with(reason), "{message}");
    assert_eq!(executions_of(&stage.client, workflow).await.len(), 6);
    let failed = "SELECT count(*) FROM workflowexecution WHERE status = 'failed'";
    assert_eq!(count(&stage.client, failed).await, 6);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_is_missing_inactive_or_deleted_meanwhile() {
    let stage = Stage::new().await;
    let nobody = Uuid::new_v4();
    let execution = stage
        .run(&chain(vec![trigger(), start("s", nobody, json!({}))]))
        .await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(
        row.error_message,
        Some(format!(
            "Node s failed: workflow_id is {nobody}; there is no such workflow"
        ))
    );

    let idle = insert_workflow(&stage.client, &chain(vec![trigger()])).await;
    stage
        .client
        .execute(
            "UPDATE workflow SET is_active = false WHERE id = $1",
            &[&idle],
        )
        .await
        .unwrap();
    let execution = stage
        .run(&chain(vec![trigger(), start("s", idle, json!({}))]))
        .await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(
        row.error_message,
        Some(format!(
            "Node s failed: workflow_id is {idle}; the workflow \"test\" is not active"
        ))
    );
    assert_eq!(row.retry_count, 0);

    let gone = long(&stage, "/gone?ms=60000").await;
    let execution = stage
        .run(&chain(vec![trigger(), start("s", gone, json!({}))]))
        .await;
    wait_for_calls(&stage.hits, "/gone?ms=60000", 1).await;
    stage
        .client
        .execute("DELETE FROM workflow WHERE id = $1", &[&gone])
        .await
        .unwrap();
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.status, "failed");
    let message = row.error_message.unwrap();
    assert!(
        message.ends_with("is gone: its execution or its workflow was deleted"),
        "{message}"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_somebody_terminates_fails_its_parent() {
    let stage = Stage::new().await;
    let child = long(&stage, "/a?ms=60000").await;
    let execution = stage
        .run(&chain(vec![trigger(), start("s", child, json!({}))]))
        .await;
    wait_for_calls(&stage.hits, "/a?ms=60000", 1).await;
    let ended = child_of(&stage.client, child).await;
    stage
        .platform
        .terminate(ended, Some("enough"))
        .await
        .unwrap();
    let row = wait_for_end(&stage.client, execution).await;
    let message = row.error_message.unwrap();
    assert!(
        message.starts_with("Node s failed: sub-workflow exec-"),
        "{message}"
    );
    assert!(message.ends_with("failed: enough"), "{message}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_parent_takes_its_childs_result_after_the_resume() {
    let stage = Stage::new().await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), get("h", &stage.hits.url("/h?ms=400"))]),
    )
    .await;
    let execution = stage
        .run(&chain(vec![
            trigger(),
            start("s", child, json!({})),
            set("m", "m", json!(1)),
        ]))
        .await;
    wait_for_calls(&stage.hits, "/h?ms=400", 1).await;
    stage.platform.pause(execution).await.unwrap();
    let child = child_of(&stage.client, child).await;
    wait_for_completion(&stage.client, child).await;
    let row = host_row(&stage.client, execution).await;
    assert_eq!(row.status, "paused");
    stage.platform.resume(execution).await.unwrap();
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("s")["status"], "completed");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_retries_starts_its_child_again() {
    let stage = Stage::new().await;
    let flaky = node(
        "h",
        "http_request",
        json!({"method": "GET", "url": stage.hits.url("/h?fail=1"), "retries": 0}),
    );
    let child = insert_workflow(&stage.client, &chain(vec![trigger(), flaky])).await;
    let more = json!({"retries": 2, "retry_delay": 0.05});
    let execution = stage
        .run(&chain(vec![trigger(), start("s", child, more)]))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("s")["status"], "completed");
    assert_eq!(executions_of(&stage.client, child).await.len(), 2);
    stage.stop().await;
}
