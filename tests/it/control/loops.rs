//! Loops: what their bodies see, what their results are, what leaves them, and what stops them.

use serde_json::{Value, json};

use super::{Stage, successes};
use crate::support::flow::{
    branch, edge, get, graph, host_row, node, set, trigger, wait_for_calls, wait_for_completion,
    wait_for_end, wait_until_not_held,
};
use crate::support::state::assert_api_can_read;
use crate::support::wait::{SOON, wait_until};

fn post(id: &str, url: &str, body: Value) -> Value {
    node(
        id,
        "http_request",
        json!({"method": "POST", "url": url, "body": body}),
    )
}

/// A loop with this body in a row, and a node behind it.
fn looping(config: Value, body: Vec<Value>) -> Value {
    let ids: Vec<String> = body
        .iter()
        .map(|node| node["node_id"].as_str().unwrap().to_owned())
        .collect();
    let mut nodes = vec![
        trigger(),
        node("l", "loop", config),
        set("end", "end", json!(true)),
    ];
    nodes.extend(body);
    let mut edges = vec![
        edge("t", "l"),
        branch("l", &ids[0], "body"),
        branch("l", "end", "done"),
    ];
    edges.extend(ids.windows(2).map(|pair| edge(&pair[0], &pair[1])));
    graph(nodes, edges)
}

/// What the server was sent, in the order of arrival.
fn sent(stage: &Stage, key: &str) -> Vec<Value> {
    let hits = stage.hits.all();
    hits.into_iter()
        .filter(|hit| hit.key == key)
        .map(|hit| hit.body)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_sees_its_item_and_its_number_and_the_results_are_kept() {
    let stage = Stage::new().await;
    let body = post(
        "b",
        &stage.hits.url("/b"),
        json!({"order": "{{ order.id }}", "text": "no {{ index }} of {{ loop.total }}: {{ order.id }}"}),
    );
    let config =
        json!({"loop_type": "for", "array_expression": "input.orders", "loop_variable": "order"});
    let execution = stage
        .run_with(
            &looping(config, vec![body]),
            &json!({"orders": [{"id": "x"}, {"id": "y"}, {"id": "z"}]}),
        )
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    assert_eq!(
        sent(&stage, "/b"),
        [
            json!({"order": "x", "text": "no 0 of 3: x"}),
            json!({"order": "y", "text": "no 1 of 3: y"}),
            json!({"order": "z", "text": "no 2 of 3: z"}),
        ]
    );
    let output = row.output("l");
    assert_eq!(
        (&output["iterations"], &output["broken"]),
        (&json!(3), &json!(false))
    );
    let results = output["results"].as_array().unwrap();
    let orders: Vec<&Value> = results
        .iter()
        .map(|result| &result["json"]["body"]["order"])
        .collect();
    assert_eq!(orders, ["x", "y", "z"]);
    assert_eq!(
        row.output("b")["json"]["body"]["order"],
        "z",
        "the last round's is what is shown"
    );
    assert_eq!(successes(&stage.client, "end").await, 1);
    assert_eq!(
        row.state["completed_node_ids"],
        json!(["t", "b", "l", "end"])
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_and_repeat_run_as_often_as_they_say() {
    let stage = Stage::new().await;
    let seen = "typeof b_output === 'undefined' || b_output.json.body.n < 2";
    for (config, times) in [
        (
            json!({"loop_type": "while", "condition_expression": "index < 4"}),
            4,
        ),
        (
            json!({"loop_type": "while", "condition_expression": "i < 2", "loop_variable": "i"}),
            2,
        ),
        (
            json!({"loop_type": "while", "condition_expression": seen}),
            3,
        ),
        (
            json!({"loop_type": "while", "condition_expression": "false"}),
            0,
        ),
        (json!({"loop_type": "repeat", "repeat_count": 3}), 3),
        (json!({"loop_type": "repeat", "repeat_count": 0}), 0),
        (json!({"loop_type": "for", "array_expression": "[]"}), 0),
    ] {
        let text = config.to_string();
        let body = post("b", &stage.hits.url("/w"), json!({"n": "{{ index }}"}));
        let execution = stage.run(&looping(config, vec![body])).await;
        let row = wait_for_completion(&stage.client, execution).await;
        let output = row.output("l");
        assert_eq!(output["iterations"], times, "{text}");
        let numbers: Vec<u64> = output["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["json"]["body"]["n"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (0..times).collect::<Vec<u64>>(), "{text}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loops_in_loops_and_the_way_out_of_both() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            node(
                "outer",
                "loop",
                json!({"loop_type": "for", "array_expression": "[1, 2, 3, 4]",
                "loop_variable": "x", "loop_label": "rows"}),
            ),
            node(
                "inner",
                "for",
                json!({"array_expression": "['a', 'b', 'c']", "loop_variable": "y"}),
            ),
            node(
                "is_skipped",
                "condition",
                json!({"expression": "x == 2 && y == 'b'"}),
            ),
            node("next_row", "continue", json!({"loop_label": "rows"})),
            node(
                "is_over",
                "condition",
                json!({"expression": "x == 3 && y == 'b'"}),
            ),
            node("stop", "break", json!({"loop_label": "rows"})),
            post("b", &stage.hits.url("/n"), json!("{{ x }}{{ y }}")),
            set("end", "end", json!(1)),
        ],
        vec![
            edge("t", "outer"),
            branch("outer", "inner", "body"),
            branch("outer", "end", "done"),
            branch("inner", "is_skipped", "body"),
            branch("is_skipped", "next_row", "true"),
            branch("is_skipped", "is_over", "false"),
            branch("is_over", "stop", "true"),
            branch("is_over", "b", "false"),
        ],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    assert_eq!(sent(&stage, "/n"), ["1a", "1b", "1c", "2a", "3a"]);
    let output = row.output("outer");
    assert_eq!(
        (&output["iterations"], &output["broken"]),
        (&json!(3), &json!(true))
    );
    assert_eq!(output["results"][0]["iterations"], 3);
    assert_eq!(successes(&stage.client, "end").await, 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_without_a_label_leaves_the_nearest_loop() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            node(
                "outer",
                "repeat",
                json!({"repeat_count": 2, "loop_variable": "i"}),
            ),
            node(
                "inner",
                "repeat",
                json!({"repeat_count": 5, "loop_variable": "j"}),
            ),
            post("b", &stage.hits.url("/n"), json!("r{{ i }}{{ j }}")),
            node("enough", "condition", json!({"expression": "j == 1"})),
            node("stop", "break", json!({})),
        ],
        vec![
            edge("t", "outer"),
            edge("outer", "inner"),
            edge("inner", "b"),
            edge("b", "enough"),
            branch("enough", "stop", "true"),
        ],
    );
    let execution = stage.run(&graph).await;
    wait_for_completion(&stage.client, execution).await;
    assert_eq!(sent(&stage, "/n"), ["r00", "r01", "r10", "r11"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_side_by_side_see_their_own_outputs_and_keep_their_order() {
    let stage = Stage::new().await;
    let config = json!({"loop_type": "for", "array_expression": "Array.from({length: 20}, (_, i) => i)",
        "parallel": true, "parallel_limit": 5});
    let body = vec![
        // Those with a small number take longest, so that the order of ends is not that of starts.
        post(
            "one",
            &stage.hits.url("/one?ms={{ 60 - (index % 5) * 12 }}"),
            json!({"n": "{{ item }}"}),
        ),
        post(
            "two",
            &stage.hits.url("/two"),
            json!({"n": "{{ item }}", "seen": "{{ one.output.json.body.n }}"}),
        ),
    ];
    let execution = stage.run(&looping(config, body)).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    let second = sent(&stage, "/two");
    assert_eq!(second.len(), 20);
    for body in &second {
        assert_eq!(body["n"], body["seen"], "a round has seen another's output");
    }
    let order: Vec<u64> = row.output("l")["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["json"]["body"]["n"].as_u64().unwrap())
        .collect();
    assert_eq!(order, (0..20).collect::<Vec<u64>>());
    let starts: Vec<u64> = stage
        .hits
        .all()
        .iter()
        .filter(|hit| hit.key.starts_with("/one"))
        .map(|hit| hit.body["n"].as_u64().unwrap())
        .collect();
    assert_eq!(starts.len(), 20);
    assert_ne!(starts[..5], [0, 0, 0, 0, 0]);
    assert!(
        starts[..5].iter().all(|n| *n < 5),
        "no more than five at a time: {starts:?}"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_a_loop_end_with_it() {
    let stage = Stage::new().await;
    let add = node(
        "add",
        "set_variable",
        json!({"variable_name": "sum", "variable_scope": "loop", "variable_value": "{{ (variables.sum ?? 0) + item }}"}),
    );
    let graph = graph(
        vec![
            trigger(),
            node("l", "for", json!({"array_expression": "[1, 2, 3]"})),
            add,
            node(
                "after",
                "get_variable",
                json!({"variable_name": "sum", "default_value": "gone"}),
            ),
        ],
        vec![
            edge("t", "l"),
            branch("l", "add", "body"),
            branch("l", "after", "done"),
        ],
    );
    let execution = stage.run(&graph).await;
    let row = wait_for_completion(&stage.client, execution).await;
    let sums: Vec<&Value> = row.output("l")["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["value"])
        .collect();
    assert_eq!(sums, [&json!(1), &json!(3), &json!(6)]);
    assert_eq!(row.output("after")["value"], "gone");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rounds_and_one_too_many() {
    let stage = Stage::with(&[("WORKFLOW_MAX_LOOP_ITERATIONS", "1000")]).await;
    let repeat = |times: u32| {
        let config = json!({"loop_type": "repeat", "repeat_count": times});
        looping(config, vec![set("b", "n", json!("{{ index }}"))])
    };
    let execution = stage.run(&repeat(1000)).await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    assert_eq!(row.output("l")["results"].as_array().unwrap().len(), 1000);
    assert_eq!(successes(&stage.client, "b").await, 1000);

    let execution = stage.run(&repeat(1001)).await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some(
            "Node l failed: the loop is to run 1001 times; at most 1000 are allowed (WORKFLOW_MAX_LOOP_ITERATIONS)"
        )
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_while_that_never_ends_is_ended() {
    let stage = Stage::with(&[("WORKFLOW_MAX_LOOP_ITERATIONS", "20")]).await;
    let config = json!({"loop_type": "while", "condition_expression": "true"});
    let execution = stage
        .run(&looping(config, vec![set("b", "n", json!(1))]))
        .await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some(
            "Node l failed: the loop has run 20 times and would go on; at most 20 are allowed (WORKFLOW_MAX_LOOP_ITERATIONS)"
        )
    );
    assert_eq!(successes(&stage.client, "b").await, 20);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_resume_and_terminate_in_a_loop() {
    let stage = Stage::new().await;
    let slow = post("b", &stage.hits.url("/p?ms=150"), json!("{{ index }}"));
    let config = json!({"loop_type": "repeat", "repeat_count": 5});
    let execution = stage.run(&looping(config, vec![slow])).await;
    wait_for_calls(&stage.hits, "/p?ms=150", 2).await;
    stage.platform.pause(execution).await.unwrap();
    wait_until_not_held(&stage.client, execution).await;
    let row = host_row(&stage.client, execution).await;
    assert_eq!(row.status, "paused");
    assert_api_can_read(&row.state);
    let so_far = sent(&stage, "/p?ms=150").len();
    assert_eq!(
        i64::try_from(so_far).unwrap(),
        successes(&stage.client, "b").await
    );
    stage.platform.resume(execution).await.unwrap();
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(sent(&stage, "/p?ms=150"), [0, 1, 2, 3, 4], "no round twice");
    assert_eq!(row.output("l")["results"].as_array().unwrap().len(), 5);

    let slow = post("b", &stage.hits.url("/q?ms=100"), json!("{{ index }}"));
    let config = json!({"loop_type": "repeat", "repeat_count": 1000});
    let execution = stage.run(&looping(config, vec![slow])).await;
    wait_for_calls(&stage.hits, "/q?ms=100", 3).await;
    stage.platform.terminate(execution, None).await.unwrap();
    wait_until(
        "it to leave the run queue",
        SOON,
        async || match crate::support::flow::count(
            &stage.client,
            "SELECT count(*) FROM workflow_worker.run_queue",
        )
        .await
        {
            0 => Ok(()),
            left => Err(left),
        },
    )
    .await;
    let calls = sent(&stage, "/q?ms=100").len();
    assert!(calls < 1000);
    let row = host_row(&stage.client, execution).await;
    assert_eq!(
        row.error_message.as_deref(),
        Some("Execution terminated by user")
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_back_to_the_loop_says_what_its_body_is() {
    let stage = Stage::new().await;
    // As the builder draws it: no labels, one edge back.
    let graph = graph(
        vec![
            trigger(),
            node(
                "l",
                "loop",
                json!({"loop_type": "for", "array_expression": "[1, 2]"}),
            ),
            post("a", &stage.hits.url("/a"), json!("{{ item }}")),
            get("b", &stage.hits.url("/b")),
            get("after", &stage.hits.url("/after")),
        ],
        vec![
            edge("t", "l"),
            edge("l", "a"),
            edge("a", "b"),
            edge("b", "l"),
            edge("l", "after"),
        ],
    );
    let execution = stage.run(&graph).await;
    wait_for_completion(&stage.client, execution).await;
    assert_eq!(sent(&stage, "/a"), [1, 2]);
    assert_eq!((stage.hits.count("/b"), stage.hits.count("/after")), (2, 1));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_a_round_says_where_and_ends_the_execution() {
    let stage = Stage::new().await;
    let body = set("b", "n", json!("{{ item.name }}"));
    let config = json!({"loop_type": "for", "array_expression": "[{name: 'x'}, {}, {name: 'z'}]"});
    let execution = stage.run(&looping(config, vec![body])).await;
    let row = wait_for_end(&stage.client, execution).await;
    let message = row.error_message.clone().unwrap();
    assert!(
        message.starts_with("Node b failed: variable_value: {{ item.name }} names no value"),
        "{message}"
    );
    assert_eq!(successes(&stage.client, "b").await, 1);
    assert_api_can_read(&row.state);
    stage.stop().await;
}
