//! When what was done is recorded: at once after a node that can be seen from outside, else together with what follows.

use serde_json::json;

use crate::control::Stage;
use crate::support::database::Variant;
use crate::support::flow::{chain, count, get, set, trigger, wait_for_completion};

/// The records of an execution that has ended: each raises the revision by one.
async fn records(stage: &Stage, nodes: Vec<serde_json::Value>) -> i64 {
    let execution = stage.run(&chain(nodes)).await;
    wait_for_completion(&stage.client, execution).await;
    let revision = format!(
        "SELECT revision::bigint FROM workflow_worker.finished WHERE execution_id = '{execution}'"
    );
    count(&stage.client, &revision).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_only_compute_are_recorded_together_and_a_call_before_and_after() {
    let mut stage = Stage::without_worker(Variant::Alembic).await;
    stage.start(&[]).await;
    let url = stage.hits.url("/call");
    let computed = || vec![set("x", "x", json!(1)), set("y", "y", json!(2))];
    let mut alone = vec![trigger()];
    alone.extend(computed());
    // A machine that is very busy may need more than the 50 ms after which anything is recorded.
    assert!(records(&stage, alone.clone()).await < 3);
    // What comes before the call, the call, and what follows it.
    let mut with_call = vec![trigger(), get("call", &url)];
    with_call.extend(computed());
    assert!(records(&stage, with_call).await >= 3);
    // Two calls share no record.
    assert!(records(&stage, vec![trigger(), get("one", &url), get("two", &url)]).await >= 3);
    stage.stop().await;
}
