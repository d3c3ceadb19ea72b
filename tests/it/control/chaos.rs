//! Law: executions that loop, try, ask people and start other workflows complete whatever workers are killed whenever:
//! each node of each round is recorded once, each child is started once, and each request is asked once.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::sub_workflow::start;
use super::{Stage, signal};
use crate::support::database::Variant;
use crate::support::flow::{
    branch, count, edge, graph, insert_with, insert_workflow, node, set, trigger,
};
use crate::support::wait::{pause, wait_until};
use crate::support::worker::WorkerProcess;

const EXECUTIONS: i64 = 30;
const ROUNDS: i64 = 6;

/// A loop, side by side or not, whose rounds call a server that fails at first, start a child, and ask.
fn workflow(stage: &Stage, child: Uuid, parallel: bool) -> Value {
    let flaky = stage.hits.url("/flaky/{{ n }}/{{ item }}?fail=1&ms=10");
    let wrong = stage.hits.url("/status/500/x?ms=5");
    graph(
        vec![
            trigger(),
            node(
                "l",
                "for",
                json!({"array_expression": "[0, 1, 2, 3, 4, 5]", "parallel": parallel, "parallel_limit": 3}),
            ),
            node(
                "h",
                "http_request",
                json!({"url": flaky, "retries": 5, "retry_delay": 0.02}),
            ),
            start(
                "s",
                child,
                json!({"input_mapping": {"x": "item"}, "output_mapping": {"y": "square_output.value"}}),
            ),
            node("try1", "try", json!({})),
            node("bad", "http_request", json!({"url": wrong, "retries": 0})),
            node("c", "catch", json!({})),
            node("ap", "human_approval", json!({})),
            set(
                "s2",
                "r",
                json!("{{ s.output.y }} {{ ap.output.decision }}"),
            ),
            set("end", "end", json!("{{ l.output.results }}")),
        ],
        vec![
            edge("t", "l"),
            branch("l", "h", "body"),
            edge("h", "s"),
            edge("s", "try1"),
            edge("try1", "bad"),
            edge("bad", "c"),
            edge("c", "ap"),
            branch("ap", "s2", "approve"),
            branch("l", "end", "done"),
        ],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_nothing_is_lost_and_nothing_is_done_twice() {
    let stage = Stage::without_worker(Variant::Alembic).await;
    let squaring = graph(
        vec![
            trigger(),
            node("d", "delay", json!({"delay_seconds": 0.05})),
            set("square", "s", json!("{{ x * x }}")),
        ],
        vec![edge("t", "d"), edge("d", "square")],
    );
    let child = insert_workflow(&stage.client, &squaring).await;
    let url = stage.database.url();
    let settings = [
        ("WORKFLOW_WORKER_LOG", "warn"),
        ("WORKFLOW_WORKER_POOL_SIZE", "3"),
        ("WORKFLOW_WORKER_CONCURRENCY", "4"),
        ("WORKFLOW_WORKER_HEARTBEAT_INTERVAL", "0.1"),
        ("WORKFLOW_WORKER_LEASE_SECONDS", "2"),
    ];
    let mut workers: Vec<WorkerProcess> = (0..3)
        .map(|_| WorkerProcess::spawn(&url, &settings))
        .collect();
    let one_by_one = insert_workflow(&stage.client, &workflow(&stage, child, false)).await;
    let side_by_side = insert_workflow(&stage.client, &workflow(&stage, child, true)).await;
    for n in 0..EXECUTIONS {
        let which = if n % 2 == 0 { one_by_one } else { side_by_side };
        insert_with(&stage.client, which, &json!({"n": n})).await;
    }
    let mut kills: usize = 0;
    wait_until("all executions to complete", Duration::from_secs(120), async || {
        answer_all(&stage).await;
        pause(Duration::from_millis(40)).await;
        if kills < 100 && kills.is_multiple_of(10) {
            let victim = (kills / 10) % workers.len();
            workers[victim].kill9();
            workers[victim] = WorkerProcess::spawn(&url, &settings);
        }
        kills += 1;
        let open = "SELECT count(*) FROM workflowexecution WHERE status <> 'completed'";
        let failed = "SELECT count(*) FROM workflowexecution WHERE status = 'failed' AND completed_at IS NOT NULL";
        assert_eq!(count(&stage.client, failed).await, 0);
        match count(&stage.client, open).await {
            0 => Ok(()),
            open => Err(format!("{open} have not; {kills} looks")),
        }
    })
    .await;
    drop(workers);
    assert!(
        kills > 30,
        "all was done before three workers were killed: the test has shown nothing"
    );
    check_records(&stage.client, child).await;
    check_results(&stage.client, child).await;
}

async fn check_records(client: &Client, child: Uuid) {
    let rounds = EXECUTIONS * ROUNDS;
    let children = format!("SELECT count(*) FROM workflowexecution WHERE workflow_id = '{child}'");
    assert_eq!(count(client, &children).await, rounds, "children");
    let requests = "SELECT count(*) FROM workflowsignal WHERE signal_data->>'options' IS NOT NULL";
    assert_eq!(count(client, requests).await, rounds, "requests");
    assert_eq!(
        count(
            client,
            "SELECT count(*) FROM workflowsignal WHERE NOT processed"
        )
        .await,
        0
    );
    assert_eq!(
        count(client, "SELECT count(*) FROM workflow_worker.run_queue").await,
        0
    );
    let twice = "SELECT count(*) FROM (SELECT FROM workflow_worker.steps WHERE seq > 0 AND status = 'success'
                 GROUP BY execution_id, scope, node_id HAVING count(*) > 1) AS twice";
    assert_eq!(count(client, twice).await, 0, "recorded twice");
    for node in ["h", "s", "c", "ap", "s2"] {
        let recorded = format!(
            "SELECT count(*) FROM workflow_worker.steps WHERE node_id = '{node}' AND status = 'success'"
        );
        assert_eq!(count(client, &recorded).await, rounds, "{node}");
    }
}

async fn check_results(client: &Client, child: Uuid) {
    let rows = client
        .query(
            "SELECT execution_state::text FROM workflowexecution WHERE workflow_id <> $1",
            &[&child],
        )
        .await
        .unwrap();
    for row in rows {
        let state: Value = serde_json::from_str(row.get(0)).unwrap();
        let results = state["execution_data"]["l_output"]["results"]
            .as_array()
            .unwrap();
        let values: Vec<&str> = results
            .iter()
            .map(|result| result["value"].as_str().unwrap())
            .collect();
        let expected = [
            "0 approve",
            "1 approve",
            "4 approve",
            "9 approve",
            "16 approve",
            "25 approve",
        ];
        assert_eq!(values, expected);
    }
}

/// Answers every request that is open, by its id.
async fn answer_all(stage: &Stage) {
    let open = stage
        .client
        .query(
            "SELECT asked.execution_id, asked.id FROM workflowsignal AS asked
             WHERE NOT asked.processed AND asked.signal_data->>'options' IS NOT NULL AND NOT EXISTS (
                 SELECT FROM workflowsignal AS answer
                 WHERE answer.execution_id = asked.execution_id AND answer.signal_data->>'signal_id' = asked.id::text)",
            &[],
        )
        .await
        .unwrap();
    for row in open {
        let (execution, request): (Uuid, Uuid) = (row.get(0), row.get(1));
        let answer = json!({"decision": "approve", "signal_id": request.to_string()});
        signal(&stage.client, execution, "human_input", &answer).await;
    }
}
