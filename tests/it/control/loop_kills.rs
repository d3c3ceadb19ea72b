//! Law: whatever kills workers in a loop, each round's node is recorded once, only what was in flight is called again, and
//! the results are complete and in order.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Stage;
use crate::support::database::Variant;
use crate::support::flow::PATIENCE;
use crate::support::flow::{branch, edge, graph, node, set, trigger, wait_for_completion};
use crate::support::state::assert_api_can_read;
use crate::support::wait::wait_until;
use crate::support::worker::WorkerProcess;

const ROUNDS: usize = 500;
const KILLS: usize = 6;

/// A loop whose rounds call the server and keep what it said.
fn looping(stage: &Stage, parallel: usize) -> Value {
    let url = stage.hits.url("/round/{{ item }}");
    graph(
        vec![
            trigger(),
            node(
                "l",
                "loop",
                json!({"loop_type": "for", "parallel": parallel > 1, "parallel_limit": parallel,
                "array_expression": format!("Array.from({{length: {ROUNDS}}}, (_, i) => i)")}),
            ),
            node("b", "http_request", json!({"method": "GET", "url": url})),
            set("c", "n", json!("{{ b.output.json.path }}")),
            set("end", "end", json!(1)),
        ],
        vec![
            edge("t", "l"),
            branch("l", "b", "body"),
            edge("b", "c"),
            branch("l", "end", "done"),
        ],
    )
}

async fn survives(parallel: usize) {
    let stage = Stage::without_worker(Variant::Alembic).await;
    let settings = [
        ("WORKFLOW_WORKER_LOG", "warn"),
        ("WORKFLOW_WORKER_HEARTBEAT_INTERVAL", "0.1"),
        ("WORKFLOW_WORKER_LEASE_SECONDS", "2"),
    ];
    let url = stage.database.url();
    let mut worker = WorkerProcess::spawn(&url, &settings);
    let execution = stage.run(&looping(&stage, parallel)).await;
    for kill in 1..=KILLS {
        let target = kill * ROUNDS / (KILLS + 1);
        wait_until("the loop to go on", PATIENCE, async || {
            let calls = stage.hits.all().len();
            if calls >= target { Ok(()) } else { Err(calls) }
        })
        .await;
        worker.kill9();
        worker = WorkerProcess::spawn(&url, &settings);
    }
    let row = wait_for_completion(&stage.client, execution).await;
    assert_api_can_read(&row.state);
    drop(worker);
    let output = row.output("l");
    assert_eq!(output["iterations"], ROUNDS);
    let paths: Vec<&str> = output["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["value"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (0..ROUNDS).map(|n| format!("/round/{n}")).collect();
    assert_eq!(paths, expected);
    let recorded = stage
        .client
        .query(
            "SELECT node_id, scope, count(*) FROM workflow_worker.steps
             WHERE status = 'success' AND node_id IN ('b', 'c') GROUP BY 1, 2",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(recorded.len(), 2 * ROUNDS);
    assert!(
        recorded.iter().all(|row| row.get::<_, i64>(2) == 1),
        "a node was recorded twice"
    );
    let mut calls: HashMap<String, usize> = HashMap::new();
    for hit in stage.hits.all() {
        *calls.entry(hit.key).or_default() += 1;
    }
    let repeated: usize = calls.values().map(|times| times - 1).sum();
    assert_eq!(calls.len(), ROUNDS);
    assert!(
        repeated <= KILLS * parallel,
        "{repeated} calls were repeated after {KILLS} kills"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_goes_on_where_its_worker_was_killed() {
    survives(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_side_by_side_go_on_where_their_worker_was_killed() {
    survives(5).await;
}
