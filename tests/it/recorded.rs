//! Rows recorded from the Python worker, for workflows that it ran right: ours leaves the same behind.

use serde_json::{Map, Value, json};

use crate::support::database::{Database, Variant};
use crate::support::flow::{insert_with, insert_workflow, log, wait_for_completion};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::state::assert_api_can_read;

const CASES: [&str; 4] = [
    include_str!("../cases/01_trigger_only.json"),
    include_str!("../cases/02_trigger_http.json"),
    include_str!("../cases/04_condition_true.json"),
    include_str!("../cases/05_condition_false.json"),
];

/// The server that the recorded workflows called.
const RECORDED_SERVER: &str = "http://127.0.0.1:37067";

/// What depends on the server's answer and not on the worker.
fn without_answer(output: &Value) -> Value {
    let mut output = output.as_object().cloned().unwrap_or_default();
    for key in ["headers", "body", "json", "url"] {
        output.remove(key);
    }
    Value::Object(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_python_worker_ran_right_ends_the_same() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    for text in CASES {
        let case: Value =
            serde_json::from_str(&text.replace(RECORDED_SERVER, &hits.url(""))).unwrap();
        let name = case["case"].as_str().unwrap();
        let recorded = &case["final_workflowexecution"][0];
        let input = &case["inserted"][0]["execution_state"]["execution_data"];
        let workflow = insert_workflow(&client, &case["graph_config"][0]).await;
        let execution = insert_with(&client, workflow, input).await;
        let row = wait_for_completion(&client, execution).await;

        assert_api_can_read(&row.state);
        assert_eq!(json!(row.status), recorded["status"], "{name}");
        assert_eq!(
            json!(row.current_node_id),
            recorded["current_node_id"],
            "{name}"
        );
        assert_eq!(json!(row.retry_count), recorded["retry_count"], "{name}");
        let empty = Map::new();
        let data = recorded["execution_state"]["execution_data"]
            .as_object()
            .unwrap_or(&empty);
        let ours = row.state["execution_data"].as_object().unwrap();
        assert_eq!(
            ours.keys().collect::<Vec<_>>(),
            data.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (key, value) in data {
            assert_eq!(
                without_answer(&ours[key]),
                without_answer(value),
                "{name}: {key}"
            );
        }
        // The first row is the API's.
        let recorded_log = case["final_executionlog"].as_array().unwrap();
        let expected: Vec<(&str, &str, &str)> = recorded_log
            .iter()
            .skip(1)
            .map(|row| {
                let text = |key: &str| row[key].as_str().unwrap();
                (text("node_id"), text("level"), text("message"))
            })
            .collect();
        let lines = log(&client, execution).await;
        let lines: Vec<(&str, &str, &str)> = lines
            .iter()
            .map(|(node, level, message)| (&**node, &**level, &**message))
            .collect();
        assert_eq!(lines, expected, "{name}");
    }
    worker.stop().await;
}
