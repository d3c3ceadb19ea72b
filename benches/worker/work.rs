//! The workflows that are measured, and executions of them by plain SQL.
//!
//! Their nodes do nothing that takes time (`set_variable`), so that what is measured is the worker.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

/// A node that costs nothing.
pub(crate) fn cheap(id: &str) -> Value {
    node(
        id,
        "set_variable",
        &json!({ "variable_name": "x", "variable_value": 1 }),
    )
}

/// A node.
pub(crate) fn node(id: &str, node_type: &str, config: &Value) -> Value {
    json!({ "node_id": id, "node_type": node_type, "config": config })
}

/// Nodes in a row.
pub(crate) fn chain(nodes: &[Value]) -> Value {
    let ids = nodes.iter().map(|node| &node["node_id"]);
    let edges: Vec<Value> = ids
        .clone()
        .zip(ids.skip(1))
        .map(|(from, to)| json!({ "from": from, "to": to }))
        .collect();
    json!({ "nodes": nodes, "edges": edges })
}

/// So many cheap nodes in a row: n1, n2, ….
pub(crate) fn cheap_chain(length: u32) -> Value {
    chain_of(length, cheap)
}

/// So many that call a server, in a row: each is committed before the next starts.
pub(crate) fn acting_chain(length: u32, url: &str) -> Value {
    let config = json!({ "method": "GET", "url": url });
    chain_of(length, |id| node(id, "http_request", &config))
}

/// The nodes `n1`, `n2` and so on, in a row.
fn chain_of(length: u32, make: impl Fn(&str) -> Value) -> Value {
    let nodes: Vec<Value> = (1..=length)
        .map(|number| make(&format!("n{number}")))
        .collect();
    chain(&nodes)
}

/// A loop with one cheap node, `b`, in its body.
pub(crate) fn cheap_loop(rounds: u32) -> Value {
    json!({
        "nodes": [
            node("l", "loop", &json!({ "loop_type": "repeat", "repeat_count": rounds, "collect_results": false })),
            cheap("b"),
        ],
        "edges": [{ "from": "l", "to": "b", "branch": "body" }],
    })
}

/// Makes a workflow.
pub(crate) async fn workflow(client: &Client, graph: &Value) -> anyhow::Result<Uuid> {
    let insert =
        "INSERT INTO workflow (name, graph_config) VALUES ('bench', $1::text::json) RETURNING id";
    Ok(client
        .query_one(insert, &[&graph.to_string()])
        .await?
        .get(0))
}

/// Makes executions, in one statement.
pub(crate) async fn executions(client: &Client, workflow: Uuid, count: i64) -> anyhow::Result<()> {
    let insert = "INSERT INTO workflowexecution (workflow_id)
                  SELECT $1::uuid FROM generate_series(1, $2::bigint)";
    client.execute(insert, &[&workflow, &count]).await?;
    Ok(())
}

/// The shortest INSERT.
pub(crate) const INSERT: &str =
    "INSERT INTO workflowexecution (workflow_id) VALUES ($1) RETURNING id";

/// Whether nothing is left to do.
pub(crate) const IS_DRAINED: &str = "SELECT NOT EXISTS (SELECT FROM workflow_worker.run_queue)";

/// What many producers run: with the version, which a trigger fills otherwise, so that it does without triggers as well.
pub(crate) const FULL_INSERT: &str =
    "INSERT INTO workflowexecution (workflow_id, workflow_version) VALUES ($1, 1)";

/// Between what is measured one at a time and the next: longer than the worker stays awake after an execution, and never in
/// step with its poll. The raw round trip has the same pauses: what has slept for longer takes longer to wake.
const PAUSE_MS: (u64, u64) = (60, 140);

/// Random, without a generator of random numbers: a fresh UUID has enough of it.
pub(crate) fn pause() -> Duration {
    let (least, most) = PAUSE_MS;
    let (random, _) = Uuid::new_v4().as_u64_pair();
    Duration::from_millis(least + random % (most - least))
}
