//! `try`, `catch`, `finally`, and what any node may say of its retries, its time and its errors.

use serde_json::{Value, json};

use super::{Stage, successes};
use crate::support::flow::{
    chain, edge, get, graph, log, node, set, steps, trigger, wait_for_calls, wait_for_completion,
    wait_for_end,
};
use crate::support::state::assert_api_can_read;
use crate::support::wait::{SOON, wait_until};

fn http(id: &str, url: &str, more: Value) -> Value {
    let mut config = json!({"method": "GET", "url": url});
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    node(id, "http_request", config)
}

/// Trigger, try, a body, catch, finally, and what is after.
fn trying(body: Value, catch: Value) -> Value {
    chain(vec![
        trigger(),
        node("try1", "try", json!({})),
        body,
        node("c", "catch", catch),
        node("f", "finally", json!({})),
        set("after", "after", json!(true)),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_caught_with_what_there_is_to_know_of_it() {
    let stage = Stage::new().await;
    let risky = http(
        "risky",
        &stage.hits.url("/status/404/x"),
        json!({"retries": 1, "retry_delay": 0.02}),
    );
    let handler =
        "return { told: error.message, at: error.node_id, status: error.output.status_code };";
    let execution = stage
        .run(&trying(
            risky,
            json!({"error_type": "HTTPError", "error_handler": handler}),
        ))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    assert_eq!(row.error_message, None);
    assert_eq!(
        stage.hits.count("/status/404/x"),
        2,
        "its retry comes first"
    );
    let caught = row.output("c");
    assert_eq!(
        caught["result"],
        json!({"told": "HTTP 404: Not Found", "at": "risky", "status": 404})
    );
    assert_eq!(caught["error"]["type"], "HTTPError");
    assert_eq!(row.output("try1")["outcome"], "caught");
    assert_eq!(row.state["node_results"]["risky"]["status"], "failed");
    assert_eq!(
        row.state["node_results"]["risky"]["error"],
        "HTTP 404: Not Found"
    );
    for node in ["c", "f", "after"] {
        assert_eq!(successes(&stage.client, node).await, 1, "{node}");
    }
    let completed = row.state["completed_node_ids"].as_array().unwrap();
    assert!(!completed.contains(&json!("risky")), "{completed:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_error_the_catch_is_skipped() {
    let stage = Stage::new().await;
    let execution = stage
        .run(&trying(get("risky", &stage.hits.url("/ok")), json!({})))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    assert_eq!(row.output("try1")["outcome"], "success");
    assert_eq!(successes(&stage.client, "c").await, 0);
    assert_eq!(
        (
            successes(&stage.client, "f").await,
            successes(&stage.client, "after").await
        ),
        (1, 1)
    );
    let completed = row.state["completed_node_ids"].as_array().unwrap();
    assert!(!completed.contains(&json!("c")), "{completed:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_no_catch_names_goes_on_after_the_finally() {
    let stage = Stage::new().await;
    let risky = http(
        "risky",
        &stage.hits.url("/status/500/x"),
        json!({"retries": 0}),
    );
    let execution = stage
        .run(&trying(risky, json!({"error_type": "TimeoutError"})))
        .await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.status, "failed");
    assert_eq!(
        row.error_message.as_deref(),
        Some("Node risky failed: HTTP 500: Internal Server Error")
    );
    assert_api_can_read(&row.state);
    assert_eq!(
        (
            successes(&stage.client, "c").await,
            successes(&stage.client, "f").await
        ),
        (0, 1)
    );
    assert_eq!(successes(&stage.client, "after").await, 0);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_in_a_loop_lets_the_other_rounds_go_on() {
    let stage = Stage::new().await;
    let url = stage.hits.url("/status/{{ item }}/x");
    let graph = graph(
        vec![
            trigger(),
            node("l", "for", json!({"array_expression": "[200, 500, 201]"})),
            node("try1", "try", json!({})),
            http("risky", &url, json!({"retries": 0})),
            node("c", "catch", json!({})),
            set(
                "seen",
                "seen",
                json!("{{ item }} {{ error.message ?? 'ok' }}"),
            ),
        ],
        vec![
            edge("t", "l"),
            edge("l", "try1"),
            edge("try1", "risky"),
            edge("risky", "c"),
            edge("c", "seen"),
        ],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    let seen: Vec<&str> = row.output("l")["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["value"].as_str().unwrap())
        .collect();
    assert_eq!(
        seen,
        ["200 ok", "500 HTTP 500: Internal Server Error", "201 ok"]
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_go_on_in_spite_of_its_error() {
    let stage = Stage::new().await;
    let nodes = [
        http(
            "h",
            &stage.hits.url("/status/503/x"),
            json!({"continue_on_error": true, "retries": 1, "retry_delay": 0.02}),
        ),
        node(
            "s",
            "set_variable",
            json!({"continue_on_error": true, "variable_name": "x", "variable_value": "{{ no.such }}"}),
        ),
        node(
            "m",
            "map",
            json!({"continue_on_error": true, "input_array": "[1]", "map_expression": "item.a.b"}),
        ),
        node(
            "cond",
            "condition",
            json!({"continue_on_error": true, "expression": "no_such_name > 1"}),
        ),
    ];
    for one in nodes {
        let id = one["node_id"].as_str().unwrap().to_owned();
        let execution = stage
            .run(&chain(vec![
                trigger(),
                one,
                set("after", "after", json!(1)),
            ]))
            .await;
        let row = wait_for_completion(&stage.client, execution).await;
        assert_api_can_read(&row.state);
        let output = row.output(&id);
        assert!(
            output["error"].is_object() || output["error"].is_string(),
            "{id}: {output}"
        );
        assert_eq!(row.output("after")["value"], 1, "{id}");
        let said = log(&stage.client, execution).await;
        let failed = said.iter().any(|(node, level, text)| {
            *node == id && level == "error" && text.starts_with(&format!("Node {id} failed: "))
        });
        assert!(failed, "{id}: {said:?}");
    }
    assert_eq!(stage.hits.count("/status/503/x"), 2);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_own_retries_are_apart_from_those_of_the_execution() {
    let stage = Stage::new().await;
    let patient = http(
        "a",
        &stage.hits.url("/a?fail=5"),
        json!({"retries": 5, "retry_delay": 0.01}),
    );
    let impatient = http("b", &stage.hits.url("/b?fail=1"), json!({"retries": 0}));
    let execution = stage.run(&chain(vec![trigger(), patient, impatient])).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.status, "failed");
    assert_eq!(
        row.error_message.as_deref(),
        Some("Node b failed: HTTP 503: Service Unavailable")
    );
    assert_eq!(
        (stage.hits.count("/a?fail=5"), stage.hits.count("/b?fail=1")),
        (6, 1)
    );
    let attempts: Vec<i32> = steps(&stage.client, execution)
        .await
        .into_iter()
        .filter(|(node, ..)| node == "a")
        .map(|(_, attempt, _)| attempt)
        .collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_time_cancels_its_work() {
    let stage = Stage::new().await;
    let nodes = [
        http(
            "h",
            &stage.hits.url("/slow?ms=60000"),
            json!({"timeout_seconds": 0.3, "retries": 0}),
        ),
        node(
            "code",
            "code",
            json!({"language": "python", "code": "import time\ntime.sleep(60)", "timeout_seconds": 0.5, "retries": 0}),
        ),
        node(
            "js",
            "code",
            json!({"language": "javascript", "code": "while (true) {}", "timeout_seconds": 0.3, "retries": 0}),
        ),
        node(
            "d",
            "delay",
            json!({"delay_type": "until_condition", "condition_expression": "false", "timeout_seconds": 0.3, "retries": 0}),
        ),
    ];
    for one in nodes {
        let id = one["node_id"].as_str().unwrap().to_owned();
        let caught = chain(vec![
            trigger(),
            node("try1", "try", json!({})),
            one,
            node("c", "catch", json!({})),
            set("after", "after", json!("{{ error.type }}")),
        ]);
        let execution = stage.run(&caught).await;
        let row = wait_for_completion(&stage.client, execution).await;
        let message = row.output("c")["error"]["message"].as_str().unwrap();
        if id == "d" {
            assert!(message.contains("was not met within"), "{message}");
        } else {
            assert_eq!(
                row.output("after")["value"],
                "TimeoutError",
                "{id}: {message}"
            );
            assert!(message.starts_with("timed out after 0."), "{id}: {message}");
        }
    }
    wait_until("the call to be cut", SOON, async || {
        match stage.hits.cut("/slow?ms=60000") {
            1 => Ok(()),
            cut => Err(cut),
        }
    })
    .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finally_runs_after_a_break_and_before_a_terminate_nothing_does() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            node("l", "repeat", json!({"repeat_count": 5})),
            node("try1", "try", json!({})),
            set("b", "n", json!("{{ index }}")),
            node("enough", "condition", json!({"expression": "index == 1"})),
            node("stop", "break", json!({})),
            node("f", "finally", json!({"finally_code": "return index;"})),
        ],
        vec![
            edge("t", "l"),
            edge("l", "try1"),
            edge("try1", "b"),
            edge("b", "enough"),
            crate::support::flow::branch("enough", "stop", "true"),
            crate::support::flow::branch("enough", "f", "false"),
        ],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(successes(&stage.client, "f").await, 2);
    assert_eq!(row.output("f")["result"], 1);
    assert_eq!(row.output("l")["broken"], true);

    let slow = http("slow", &stage.hits.url("/term?ms=60000"), json!({}));
    let execution = stage.run(&trying(slow, json!({}))).await;
    wait_for_calls(&stage.hits, "/term?ms=60000", 1).await;
    stage.platform.terminate(execution, None).await.unwrap();
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some("Execution terminated by user")
    );
    assert_eq!(successes(&stage.client, "after").await, 0);
    wait_until("the call to be cut", SOON, async || {
        match stage.hits.cut("/term?ms=60000") {
            1 => Ok(()),
            cut => Err(cut),
        }
    })
    .await;
    assert_eq!(
        successes(&stage.client, "f").await,
        2,
        "who terminates wants nothing more to run"
    );
    stage.stop().await;
}
