//! What the host row shows of an execution that runs: never far behind what is recorded, and yet not everything with each
//! node.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    HostRow, PATIENCE, chain, count, get, host_row, insert, insert_with, insert_workflow, restart,
    wait_for_completion, wait_for_end,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::state::assert_api_can_read;
use crate::support::wait::{SOON, wait_until};

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
                 FROM workflow_worker.steps WHERE execution_id = $1 AND seq > 0),
             shown AS MATERIALIZED (
                 SELECT json_object_keys(host.execution_state::json -> 'node_results') AS node_id
                 FROM workflowexecution AS host WHERE host.id = $1)
             SELECT node_id FROM recorded
             WHERE finished_at < last - $2::double precision * interval '1 s'
               AND node_id NOT IN (SELECT shown.node_id FROM shown)",
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
    let workflow = insert_workflow(&client, &calls(&hits, 30, 200)).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let large = json!({ "text": "x".repeat(100_000) });
    let execution = insert_with(&client, workflow, &large).await;
    let early = host_row(&client, execution).await.state.to_string();
    // The view was written just now, and is not due for almost a second.
    let before = wait_until("the view", SOON, async || {
        match recorded_and_shown(&client, execution).await {
            (recorded, shown) if shown >= 2 && shown == recorded => Ok(recorded),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    overwrite(&client, execution, &early).await;
    wait_until("the view again", SOON, async || {
        let (recorded, shown) = recorded_and_shown(&client, execution).await;
        if shown > 0 {
            return Ok(());
        }
        // One may have met the foreign write, and one may have begun before that.
        let most = before + 2;
        assert!(
            recorded <= most,
            "{recorded} are recorded, of {before} before, and none is shown"
        );
        Err(recorded)
    })
    .await;
    wait_for_completion(&client, execution).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_overwritten_while_a_long_node_runs_is_shown_again_meanwhile() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::CreateAll).await;
    let client = database.client().await;
    let graph = chain(vec![
        get("short", &hits.url("/short")),
        get("long", &hits.url("/long?ms=10000")),
    ]);
    let workflow = insert_workflow(&client, &graph).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert(&client, workflow).await;
    let early = host_row(&client, execution).await.state.to_string();
    let show = async || {
        wait_until("the long node to be shown", SOON, async || {
            let row = host_row(&client, execution).await;
            assert!(!row.is_completed, "nobody saw the long node run");
            match (
                &row.state["current_node_id"],
                &row.state["completed_node_ids"],
            ) {
                (node, done) if node == "long" && *done == json!(["short"]) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    };
    show().await;
    overwrite(&client, execution, &early).await;
    show().await;
    wait_for_completion(&client, execution).await;
    worker.stop().await;
}

/// Three nodes, left as by a worker that dies after the last: the row shows none of them. Then `sabotage`, a statement, and
/// what becomes of it.
async fn left_and_taken_up(sabotage: &str) -> HostRow {
    let hits = Hits::start();
    let database = Database::migrated(Variant::CreateAll).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &calls(&hits, 3, 1)).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert(&client, workflow).await;
    wait_for_completion(&client, execution).await;
    worker.stop().await;
    restart(&client, execution).await;
    client
        .execute(
            "UPDATE workflowexecution
             SET execution_state = (execution_state::jsonb || '{\"node_results\": {}, \"completed_node_ids\": []}')::json
             WHERE id = $1",
            &[&execution],
        )
        .await
        .unwrap();
    client.batch_execute(sabotage).await.unwrap();
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    wait_until("nobody to hold it", SOON, async || {
        match count(&client, "SELECT count(*) FROM workflow_worker.run_queue").await {
            0 => Ok(()),
            held => Err(held),
        }
    })
    .await;
    let row = wait_for_end(&client, execution).await;
    worker.stop().await;
    row
}

/// A checkpoint that nobody can read.
const NO_CHECKPOINT: &str = "UPDATE workflow_worker.run_queue SET checkpoint = '{\"v\": 1}'";
/// A step that nobody can read.
const NO_STEP: &str = "UPDATE workflow_worker.steps SET output = '[1]' WHERE node_id = 'n2'";

/// A worker that dies has recorded more than the row shows. If the execution cannot go on, the row shows it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_cannot_go_on_shows_all_that_was_recorded() {
    let row = left_and_taken_up(NO_CHECKPOINT).await;
    assert_eq!(row.status, "failed");
    assert!(row.error_message.unwrap().contains("checkpoint"));
    assert_eq!(row.state["completed_node_ids"], json!(["n1", "n2", "n3"]));
    assert_api_can_read(&row.state);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_somebody_has_ended_shows_all_that_was_recorded_though_it_cannot_be_restored()
 {
    let end = "UPDATE workflowexecution SET status = 'failed', error_message = 'enough', completed_at = now()";
    let row = left_and_taken_up(&format!("{NO_CHECKPOINT}; {end}")).await;
    assert_eq!(row.status, "failed");
    assert_eq!(row.error_message.unwrap(), "enough");
    assert_eq!(row.state["completed_node_ids"], json!(["n1", "n2", "n3"]));
    assert_api_can_read(&row.state);
}

/// It would be handed back for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_execution_of_which_a_step_cannot_be_read_fails_and_says_which() {
    let row = left_and_taken_up(NO_STEP).await;
    assert_eq!(row.status, "failed");
    let error = row.error_message.unwrap();
    assert!(error.contains("step 2"), "{error}");
    assert!(error.contains("cannot be read"), "{error}");
    assert_api_can_read(&row.state);
}

/// What kills its workers may be what it has recorded.
#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_has_killed_ten_workers_is_failed_without_a_look_at_its_steps() {
    let rescued = "UPDATE workflow_worker.run_queue SET rescues = 10";
    let row = left_and_taken_up(&format!("{NO_STEP}; {rescued}")).await;
    assert_eq!(row.status, "failed");
    let error = row.error_message.unwrap();
    assert!(error.contains("died 10 times"), "{error}");
    assert_eq!(row.state["completed_node_ids"], json!([]));
    assert_api_can_read(&row.state);
}

/// Somebody writes back a state that he has read before.
async fn overwrite(client: &Client, execution: Uuid, state: &str) {
    let update = "UPDATE workflowexecution SET execution_state = $1::text::json WHERE id = $2";
    client.execute(update, &[&state, &execution]).await.unwrap();
}

/// How many nodes are recorded, and how many the row shows; one statement, so one instant.
async fn recorded_and_shown(client: &Client, execution: Uuid) -> (i64, i64) {
    let row = client
        .query_one(
            "SELECT
                 (SELECT count(*) FROM workflow_worker.steps WHERE execution_id = host.id AND seq > 0),
                 (SELECT count(*) FROM json_object_keys(host.execution_state::json -> 'node_results'))
             FROM workflowexecution AS host WHERE host.id = $1",
            &[&execution],
        )
        .await
        .unwrap();
    (row.get(0), row.get(1))
}
