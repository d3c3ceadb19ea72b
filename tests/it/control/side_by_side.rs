//! What happens to a wait while something else of the same execution runs, fails, or ends.

use serde_json::json;

use super::sub_workflow::{child_of, start};
use super::{Stage, successes};
use crate::support::flow::{
    branch, chain, count, edge, get, graph, host_row, insert_workflow, log, node, restart, set,
    steps, trigger, wait_for_calls, wait_for_completion, wait_for_end,
};
use crate::support::state::assert_api_can_read;
use crate::support::wait::{SOON, wait_until};
use crate::support::worker::WorkerProcess;

/// A branch that takes a minute beside `other`, which goes on with a call of `/after`.
fn beside(stage: &Stage, other: serde_json::Value, label: Option<&str>) -> serde_json::Value {
    let id = other["node_id"].as_str().unwrap().to_owned();
    let onward = match label {
        Some(label) => branch(&id, "after", label),
        None => edge(&id, "after"),
    };
    graph(
        vec![
            trigger(),
            get("long", &stage.hits.url("/long?ms=60000")),
            other,
            get("after", &stage.hits.url("/after")),
        ],
        vec![edge("t", "long"), edge("t", &id), onward],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_at_once_though_another_branch_runs() {
    let stage = Stage::new().await;
    let graph = beside(
        &stage,
        node("ap", "human_approval", json!({})),
        Some("approve"),
    );
    let execution = stage.run(&graph).await;
    wait_until("the request", SOON, async || {
        match stage.signals(execution).await.len() {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    wait_for_calls(&stage.hits, "/long?ms=60000", 1).await;
    stage
        .signal(execution, "human_input", &json!({"decision": "approve"}))
        .await;
    wait_for_calls(&stage.hits, "/after", 1).await;
    assert_eq!(stage.hits.cut("/long?ms=60000"), 0);
    assert_eq!(host_row(&stage.client, execution).await.status, "running");
    stage.platform.terminate(execution, None).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_in_time_though_another_branch_runs() {
    let stage = Stage::new().await;
    let asked = node("ap", "human_approval", json!({"timeout_seconds": 0.5}));
    let execution = stage.run(&beside(&stage, asked, Some("timeout"))).await;
    wait_for_calls(&stage.hits, "/after", 1).await;
    assert!(stage.request(execution).await.is_processed);
    stage.platform.terminate(execution, None).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_child_counts_at_once_though_another_branch_runs() {
    let stage = Stage::new().await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![
            trigger(),
            node("d", "delay", json!({"delay_seconds": 0.3})),
        ]),
    )
    .await;
    let execution = stage
        .run(&beside(&stage, start("s", child, json!({})), None))
        .await;
    wait_for_calls(&stage.hits, "/after", 1).await;
    stage.platform.terminate(execution, None).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_withdraws_requests_and_ends_children() {
    let stage = Stage::new().await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), node("ap", "human_approval", json!({}))]),
    )
    .await;
    let graph = graph(
        vec![
            trigger(),
            node("ap", "human_approval", json!({})),
            start("s", child, json!({})),
            node(
                "h",
                "http_request",
                json!({"url": stage.hits.url("/status/500/x?ms=700"), "retries": 0}),
            ),
        ],
        vec![edge("t", "ap"), edge("t", "s"), edge("t", "h")],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some("Node h failed: HTTP 500: Internal Server Error")
    );
    assert_api_can_read(&row.state);
    assert!(stage.request(execution).await.is_processed);
    let child = child_of(&stage.client, child).await;
    let row = wait_for_end(&stage.client, child).await;
    let message = row.error_message.unwrap();
    assert!(
        message.starts_with("Execution terminated: Parent execution exec-"),
        "{message}"
    );
    wait_until("the child's request to be withdrawn", SOON, async || {
        if stage.request(child).await.is_processed {
            Ok(())
        } else {
            Err("it is open")
        }
    })
    .await;
    let left = "SELECT count(*) FROM workflow_worker.run_queue";
    assert_eq!(count(&stage.client, left).await, 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_that_sleep_and_are_tried_again_go_on_in_their_round() {
    let stage = Stage::new().await;
    let url = stage.hits.url("/r/{{ index }}?fail=1");
    let graph = graph(
        vec![
            trigger(),
            node("l", "repeat", json!({"repeat_count": 3})),
            node("d", "delay", json!({"delay_seconds": 0.05})),
            node(
                "h",
                "http_request",
                json!({"url": url, "retries": 2, "retry_delay": 0.05}),
            ),
            set("s", "s", json!("{{ h.output.json.path }}")),
            set("end", "end", json!(1)),
        ],
        vec![
            edge("t", "l"),
            branch("l", "d", "body"),
            edge("d", "h"),
            edge("h", "s"),
            branch("l", "end", "done"),
        ],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    let paths: Vec<&str> = row.output("l")["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["value"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["/r/0", "/r/1", "/r/2"]);
    assert_eq!(stage.hits.all().len(), 6);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_loop_that_is_set_running_again_goes_on_in_its_round() {
    let stage = Stage::new().await;
    let url = stage
        .hits
        .url("/r/{{ index }}?fail={{ index == 2 ? 1 : 0 }}");
    let graph = graph(
        vec![
            trigger(),
            node("l", "repeat", json!({"repeat_count": 4})),
            node("h", "http_request", json!({"url": url, "retries": 0})),
            set("end", "end", json!(1)),
        ],
        vec![
            edge("t", "l"),
            branch("l", "h", "body"),
            branch("l", "end", "done"),
        ],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.status, "failed");
    restart(&stage.client, execution).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("l")["results"].as_array().unwrap().len(), 4);
    let keys: Vec<String> = stage.hits.all().into_iter().map(|hit| hit.key).collect();
    assert_eq!(
        keys,
        [
            "/r/0?fail=0",
            "/r/1?fail=0",
            "/r/2?fail=1",
            "/r/2?fail=1",
            "/r/3?fail=0"
        ]
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_or_a_break_in_one_round_cancels_those_beside_it() {
    let stage = Stage::new().await;
    let url = stage.hits.url("/{{ item }}");
    let looping = |last: serde_json::Value, items: &str| {
        graph(
            vec![
                trigger(),
                node(
                    "l",
                    "for",
                    json!({"array_expression": items, "parallel": true}),
                ),
                node("h", "http_request", json!({"url": url, "retries": 0})),
                last,
                set("end", "end", json!(1)),
            ],
            vec![
                edge("t", "l"),
                branch("l", "h", "body"),
                edge("h", "x"),
                branch("l", "end", "done"),
            ],
        )
    };
    let items = "['one?ms=60000', 'status/500/x?ms=300', 'two?ms=60000']";
    let execution = stage.run(&looping(set("x", "x", json!(1)), items)).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.status, "failed");
    let items = "['three?ms=60000', 'quick?ms=300']";
    let execution = stage
        .run(&looping(node("x", "break", json!({})), items))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("l")["broken"], true);
    for key in ["/one?ms=60000", "/two?ms=60000", "/three?ms=60000"] {
        wait_until(&format!("{key} to be cut"), SOON, async || {
            match stage.hits.cut(key) {
                1 => Ok(()),
                cut => Err(cut),
            }
        })
        .await;
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_fail_themselves() {
    let stage = Stage::new().await;
    let risky = || {
        node(
            "risky",
            "http_request",
            json!({"url": stage.hits.url("/status/500/x"), "retries": 0}),
        )
    };
    let failing_catch = chain(vec![
        trigger(),
        node("try1", "try", json!({})),
        risky(),
        node(
            "c",
            "catch",
            json!({"error_handler": "throw new Error('in the handler')", "retries": 0}),
        ),
        node("f", "finally", json!({})),
        set("after", "after", json!(1)),
    ]);
    let execution = stage.run(&failing_catch).await;
    let row = wait_for_end(&stage.client, execution).await;
    let message = row.error_message.unwrap();
    assert!(
        message.starts_with("Node c failed:") && message.contains("in the handler"),
        "{message}"
    );
    let ran: Vec<String> = steps(&stage.client, execution)
        .await
        .into_iter()
        .map(|(node, ..)| node)
        .collect();
    assert!(
        ran.contains(&"f".to_owned()) && !ran.contains(&"after".to_owned()),
        "{ran:?}"
    );

    let failing_finally = chain(vec![
        trigger(),
        node("try1", "try", json!({})),
        risky(),
        node("c", "catch", json!({})),
        node(
            "f",
            "finally",
            json!({"finally_code": "throw new Error('at last')", "retries": 0}),
        ),
        set("after", "after", json!(1)),
    ]);
    let execution = stage.run(&failing_finally).await;
    let row = wait_for_end(&stage.client, execution).await;
    let message = row.error_message.unwrap();
    assert!(
        message.starts_with("Node f failed:") && message.contains("at last"),
        "{message}"
    );
    assert_eq!(successes(&stage.client, "after").await, 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_condition_of_a_loop_reads_the_loops_variables() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            node(
                "l",
                "while",
                json!({"condition_expression": "(variables.sum ?? 0) < 6"}),
            ),
            node(
                "add",
                "set_variable",
                json!({"variable_name": "sum", "variable_scope": "loop",
                "variable_value": "{{ (variables.sum ?? 0) + 2 }}"}),
            ),
            set("end", "end", json!(1)),
        ],
        vec![
            edge("t", "l"),
            branch("l", "add", "body"),
            branch("l", "end", "done"),
        ],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("l")["iterations"], 3);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_child_is_ended_when_its_parents_time_is_over() {
    let stage = Stage::new().await;
    let child = insert_workflow(
        &stage.client,
        &chain(vec![trigger(), node("ap", "human_approval", json!({}))]),
    )
    .await;
    let late = graph(
        vec![
            trigger(),
            start("s", child, json!({"timeout_seconds": 1})),
            set("late", "late", json!(1)),
        ],
        vec![edge("t", "s"), branch("s", "late", "timeout")],
    );
    let execution = stage.run(&late).await;
    let child = child_of(&stage.client, child).await;
    stage.wait_for_waiting(child).await;
    // Paused or not, nobody wants it any more when its parent's time is over.
    stage.platform.pause(child).await.unwrap();
    wait_for_completion(&stage.client, execution).await;
    let row = wait_for_end(&stage.client, child).await;
    assert_eq!(row.status, "failed");
    wait_until("the request to be withdrawn", SOON, async || {
        if stage.request(child).await.is_processed {
            Ok(())
        } else {
            Err("it is open")
        }
    })
    .await;
    let said = log(&stage.client, child).await;
    assert!(
        said.iter().any(|(_, level, text)| level == "warning"
            && text.starts_with("Execution terminated: No longer needed by")),
        "{said:?}"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continue_ends_its_own_round_and_not_those_beside_it() {
    let stage = Stage::new().await;
    let url = stage.hits.url("/c/{{ item }}?ms=50");
    let graph = graph(
        vec![
            trigger(),
            node(
                "l",
                "for",
                json!({"array_expression": "[1, 2, 3, 4, 5, 6]", "parallel": true, "parallel_limit": 3}),
            ),
            node("odd", "condition", json!({"expression": "item % 2 == 1"})),
            node("next", "continue", json!({})),
            get("h", &url),
            set("s", "s", json!("{{ item }}")),
            set("end", "end", json!(1)),
        ],
        vec![
            edge("t", "l"),
            branch("l", "odd", "body"),
            branch("odd", "next", "true"),
            branch("odd", "h", "false"),
            edge("h", "s"),
            branch("l", "end", "done"),
        ],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_completion(&stage.client, execution).await;
    let output = row.output("l");
    assert_eq!(
        (&output["iterations"], &output["broken"]),
        (&json!(6), &json!(false))
    );
    let values: Vec<&serde_json::Value> = output["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["value"])
        .collect();
    assert_eq!(values.len(), 6, "{output}");
    assert_eq!(
        [values[1], values[3], values[5]],
        [&json!(2), &json!(4), &json!(6)]
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_childs_failure_may_be_gone_on_from() {
    let stage = Stage::new().await;
    let broken = set("x", "x", json!("{{ no.such }}"));
    let child = insert_workflow(&stage.client, &chain(vec![trigger(), broken])).await;
    let execution = stage
        .run(&chain(vec![
            trigger(),
            start("s", child, json!({"continue_on_error": true})),
            set("after", "after", json!("{{ s.output.status }}")),
        ]))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(row.output("after")["value"], "failed");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_hands_its_loop_on() {
    let stage = Stage::without_worker(crate::support::database::Variant::Alembic).await;
    let url = stage.hits.url("/round/{{ index }}?ms=20");
    let graph = graph(
        vec![
            trigger(),
            node(
                "l",
                "repeat",
                json!({"repeat_count": 60, "parallel": true, "parallel_limit": 2}),
            ),
            get("h", &url),
            set("s", "s", json!("{{ index }} {{ h.output.json.path }}")),
            set("end", "end", json!(1)),
        ],
        vec![
            edge("t", "l"),
            branch("l", "h", "body"),
            edge("h", "s"),
            branch("l", "end", "done"),
        ],
    );
    let spawn = || WorkerProcess::spawn(&stage.database.url(), &[("WORKFLOW_WORKER_LOG", "warn")]);
    let mut worker = spawn();
    let execution = stage.run(&graph).await;
    for calls in [15, 30, 45] {
        wait_until("the loop to go on", SOON, async || {
            let seen = stage.hits.all().len();
            if seen >= calls { Ok(()) } else { Err(seen) }
        })
        .await;
        worker.sigterm();
        let next = spawn();
        assert!(worker.wait_exit(SOON).success());
        worker = next;
    }
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(stage.hits.all().len(), 60, "nothing is called twice");
    let expected: Vec<String> = (0..60).map(|n| format!("{n} /round/{n}")).collect();
    let values: Vec<&str> = row.output("l")["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["value"].as_str().unwrap())
        .collect();
    assert_eq!(values, expected);
}
