//! `code` nodes as part of an execution, and nodes that a remote host accepts and finishes later.

use serde_json::json;

use super::{Stage, successes};
use crate::support::flow::{
    chain, node, set, trigger, wait_for_calls, wait_for_completion, wait_for_end,
};
use crate::support::process::{is_running, wait_until_gone};
use crate::support::wait::{SOON, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn programs_read_the_data_and_leave_theirs() {
    let stage = Stage::new().await;
    let graph = chain(vec![
        trigger(),
        node(
            "js",
            "code",
            json!({"language": "javascript", "code": "console.log('hi'); return { total: data.amount * 2 };"}),
        ),
        node(
            "py",
            "code",
            json!({"language": "python", "code": "result = input['js_output']['result']['total'] + 1"}),
        ),
        node(
            "sh",
            "code",
            json!({"language": "bash", "code": "echo '{\"n\": 3}' > $RESULT_FILE"}),
        ),
        set(
            "s",
            "s",
            json!("{{ py.output.result }} {{ sh.output.result.n }}"),
        ),
    ]);
    let execution = stage.run_with(&graph, &json!({"amount": 20})).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("s")["value"], "41 3");
    assert_eq!(row.output("js")["stdout"].as_str().unwrap().trim(), "hi");
    assert_eq!(row.output("js")["output_data"], json!({"total": 40}));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_a_terminated_execution_is_gone() {
    let stage = Stage::new().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    // The process ids inside may be those of a namespace; a name in the command line is found from outside.
    let code = format!(
        "echo $$ > '{}'; exec -a {} sleep 600",
        file.display(),
        "marked-sleep"
    );
    let graph = chain(vec![
        trigger(),
        node(
            "sh",
            "code",
            json!({"language": "bash", "code": code, "timeout_seconds": 600}),
        ),
    ]);
    let execution = stage.run(&graph).await;
    wait_until("the program to run", SOON, async || {
        if file.exists() && !marked().is_empty() {
            Ok(())
        } else {
            Err("it does not")
        }
    })
    .await;
    let running = marked();
    stage.platform.terminate(execution, None).await.unwrap();
    for id in running {
        wait_until_gone(id).await;
        assert!(!is_running(id));
    }
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some("Execution terminated by user")
    );
    assert_eq!(successes(&stage.client, "sh").await, 0);
    stage.stop().await;
}

/// Processes that were started as `marked-sleep`.
fn marked() -> Vec<u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id: &u32| {
            std::fs::read(format!("/proc/{id}/cmdline"))
                .is_ok_and(|line| line.starts_with(b"marked-sleep"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_has_accepted_is_finished_by_a_signal() {
    let mut stage = Stage::without_worker(crate::support::database::Variant::Alembic).await;
    let url = stage.hits.url("/accepting");
    stage
        .start(&[
            ("WORKFLOW_ACTIVITY_URL", &url),
            ("WORKFLOW_WORKER_CONCURRENCY", "1"),
        ])
        .await;
    let graph = chain(vec![
        trigger(),
        node(
            "ask",
            "agent",
            json!({"task": "think", "timeout_seconds": 60}),
        ),
        set("s", "s", json!("{{ ask.output.summary }}")),
    ]);
    let executions = [stage.run(&graph).await, stage.run(&graph).await];
    for execution in executions {
        stage.wait_for_waiting(execution).await;
    }
    let keys: Vec<String> = executions.iter().map(|id| format!("{id}:ask:1")).collect();
    let first = json!({"correlation_id": keys[0], "output": {"summary": "done"}});
    stage
        .signal(executions[0], "activity_completed", &first)
        .await;
    let row = wait_for_completion(&stage.client, executions[0]).await;
    assert_eq!(row.output("s")["value"], "done");

    let wrong = json!({"correlation_id": keys[0], "output": {"summary": "another's"}});
    stage
        .signal(executions[1], "activity_completed", &wrong)
        .await;
    stage.wait_for_waiting(executions[1]).await;
    let failed =
        json!({"correlation_id": keys[1], "error": {"message": "no idea", "retryable": false}});
    stage
        .signal(executions[1], "activity_completed", &failed)
        .await;
    let row = wait_for_end(&stage.client, executions[1]).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some("Node ask failed: no idea")
    );
    wait_for_calls(&stage.hits, "/accepting/v1/activities", 2).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_in_the_sandbox_end_with_their_executions() {
    let stage = Stage::new().await;
    let endless = chain(vec![
        trigger(),
        node(
            "js",
            "code",
            json!({"language": "javascript", "code": "while (true) {}", "timeout_seconds": 600}),
        ),
    ]);
    // More than may run at a time.
    let mut executions = Vec::new();
    for _ in 0..6 {
        executions.push(stage.run(&endless).await);
    }
    wait_until("the programs to run", SOON, async || {
        let marked = "SELECT count(*) FROM workflowexecution WHERE current_node_id = 'js'";
        match crate::support::flow::count(&stage.client, marked).await {
            6 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    for execution in &executions {
        stage.platform.terminate(*execution, None).await.unwrap();
    }
    // They held all places.
    let quick = chain(vec![
        trigger(),
        node(
            "js",
            "code",
            json!({"language": "javascript", "code": "1 + 1"}),
        ),
    ]);
    let execution = stage.run(&quick).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("js")["result"], 2);
    stage.stop().await;
}
