//! What the host row shows of an execution that runs: never far behind what is recorded, and yet not everything with each
//! node.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    PATIENCE, chain, count, get, host_row, insert, insert_with, insert_workflow,
    wait_for_completion,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::platform::Platform;
use crate::support::state::assert_api_can_read;
use crate::support::wait::{SOON, pause, wait_until};

/// A view may be a second old. The rest is for a machine that is busy with other tests.
const STALE: Duration = Duration::from_secs(2);

/// Nodes in a row, each of which takes so long and is committed before the next starts.
fn calls(hits: &Hits, nodes: u32, ms: u32) -> Value {
    let nodes = 1..=nodes;
    let url = |number| hits.url(&format!("/{number}?ms={ms}"));
    chain(
        nodes
            .map(|number| get(&format!("n{number}"), &url(number)))
            .collect(),
    )
}

/// Nodes that the row does not show although what has ended [`STALE`] later is recorded; one statement, so one instant. (That
/// nothing is recorded for a while, because the disk is busy, makes no view stale.)
async fn missing(client: &Client, execution: Uuid) -> Vec<String> {
    let rows = client
        .query(
            "WITH recorded AS (
                 SELECT node_id, finished_at, max(finished_at) OVER () AS last
                 FROM workflow_worker.steps WHERE execution_id = $1 AND seq > 0)
             SELECT node_id FROM recorded
             WHERE finished_at < last - $2::double precision * interval '1 s'
               AND NOT EXISTS (
                   SELECT FROM workflowexecution AS host
                   WHERE host.id = $1 AND host.execution_state::jsonb -> 'node_results' ? recorded.node_id)",
            &[&execution, &STALE.as_secs_f64()],
        )
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// How often the row of the one execution was written, its insertion apart. Connections report what they have done before
/// they are gone.
async fn writes(client: &Client) -> i64 {
    let others = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    wait_until(
        "the worker's connections to end",
        SOON,
        async || match count(client, others).await {
            0 => Ok(()),
            others => Err(others),
        },
    )
    .await;
    let updates = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'workflowexecution'";
    count(client, updates).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_state_is_written_seldom_and_is_never_far_behind() {
    const NODES: u32 = 300;
    let hits = Hits::start();
    let database = Database::migrated(Variant::CreateAll).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &calls(&hits, NODES, 20)).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let large = json!({ "text": "x".repeat(100_000) });
    let execution = insert_with(&client, workflow, &large).await;
    let mut seen = 0;
    wait_until("the execution to end", PATIENCE, async || {
        let behind = missing(&client, execution).await;
        assert!(
            behind.is_empty(),
            "recorded long ago and not shown: {behind:?}"
        );
        let row = host_row(&client, execution).await;
        seen = seen.max(
            row.state["node_results"]
                .as_object()
                .map_or(0, |all| all.len()),
        );
        if row.is_completed { Ok(()) } else { Err(seen) }
    })
    .await;
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(
        row.state["completed_node_ids"].as_array().unwrap().len(),
        NODES as usize
    );
    assert_api_can_read(&row.state);
    worker.stop().await;
    let writes = writes(&client).await;
    assert!(
        (3..=100).contains(&writes),
        "{writes} writes for {NODES} nodes of 20 ms"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn short_nodes_before_a_long_one_are_shown_while_it_runs() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::CreateAll).await;
    let client = database.client().await;
    let mut nodes: Vec<Value> = (1..=10)
        .map(|number| get(&format!("n{number}"), &hits.url(&format!("/{number}"))))
        .collect();
    nodes.push(get("long", &hits.url("/long?ms=8000")));
    let workflow = insert_workflow(&client, &chain(nodes)).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert(&client, workflow).await;
    wait_until("the long node to be shown", SOON, async || {
        let row = host_row(&client, execution).await;
        assert!(!row.is_completed, "nobody saw the long node run");
        let shown = row.state["completed_node_ids"].as_array().unwrap().len();
        let node = row.current_node_id.clone();
        if node.as_deref() == Some("long") && row.state["current_node_id"] == "long" && shown == 10
        {
            Ok(())
        } else {
            Err(format!("{shown} nodes, at {node:?}"))
        }
    })
    .await;
    wait_for_completion(&client, execution).await;
    worker.stop().await;
}

/// Somebody who has read the row long ago writes it back: what it lacks does not wait for the time of the next view.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_overwritten_is_shown_again_with_the_next_record() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::CreateAll).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &calls(&hits, 3, 1_500)).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert(&client, workflow).await;
    let show = async |nodes: usize| {
        wait_until("the view", SOON, async || {
            let row = host_row(&client, execution).await;
            let shown = row.state["completed_node_ids"].as_array().unwrap().len();
            if shown == nodes {
                Ok(row.state.to_string())
            } else {
                Err(shown)
            }
        })
        .await
    };
    let early = show(0).await;
    show(1).await;
    let overwrite = "UPDATE workflowexecution SET execution_state = $1::text::json WHERE id = $2";
    client
        .execute(overwrite, &[&early, &execution])
        .await
        .unwrap();
    show(2).await;
    // While it is paused the row shows all that was done, too.
    pause(Duration::from_millis(100)).await;
    let platform = Platform::connect(&database).await;
    platform.pause(execution).await.unwrap();
    let paused = show(3).await;
    assert!(paused.contains("\"paused\""), "{paused}");
    platform.resume(execution).await.unwrap();
    wait_for_completion(&client, execution).await;
    worker.stop().await;
}
