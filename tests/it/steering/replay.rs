//! Replays as the platform's API makes them: two commits, of which the second is late and changes nothing.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{approval, ids, insert_state};
use crate::control::Stage;
use crate::support::database::Variant;
use crate::support::flow::{
    branch, chain, count, edge, get, graph, host_row, insert_with, insert_workflow, log, node,
    restart, set, steps, trigger, wait_for_calls, wait_for_completion, wait_for_end,
};
use crate::support::platform::Platform;
use crate::support::state::{State, assert_api_can_read};

/// t, a, b, c: three calls in a row.
fn calls(stage: &Stage, c: &str) -> Value {
    chain(vec![
        trigger(),
        get("a", &stage.hits.url("/a")),
        get("b", &stage.hits.url("/b")),
        once("c", &stage.hits.url(c)),
    ])
}

/// A call that is not tried again.
fn once(id: &str, url: &str) -> Value {
    node(id, "http_request", json!({"url": url, "retries": 0}))
}

fn counts(stage: &Stage, keys: &[&str]) -> Vec<usize> {
    keys.iter().map(|key| stage.hits.count(key)).collect()
}

async fn set_graph(stage: &Stage, workflow: Uuid, graph: &Value) {
    let update = "UPDATE workflow SET graph_config = $2::text::json WHERE id = $1";
    let text = graph.to_string();
    stage
        .client
        .execute(update, &[&workflow, &text])
        .await
        .unwrap();
}

/// The first commit of a replay, and no second.
async fn first_commit(stage: &Stage, original: Uuid, node: &str) -> Uuid {
    let workflow = stage
        .platform
        .read_state(original)
        .await
        .unwrap()
        .workflow_id;
    let data = json!({"trigger_type": "replay", "original_execution_id": original, "replay_from_node": node});
    stage.platform.run(workflow, data).await.id
}

/// What the API writes with the second, from the state that it reads at this moment.
async fn second_commit(platform: &Platform, original: Uuid, replay: Uuid, node: &str) -> State {
    let old = platform.read_state(original).await.unwrap();
    let mut state = platform.read_state(replay).await.unwrap();
    state.execution_data = old.execution_data;
    state.node_results = old
        .node_results
        .into_iter()
        .take_while(|(name, _)| name != node)
        .collect();
    state.completed_node_ids = state
        .node_results
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_begins_at_its_node_with_what_was_before_it_on_the_graph_of_today() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        stage.start(&[]).await;
        let workflow = insert_workflow(&stage.client, &calls(&stage, "/status/404")).await;
        let original = stage.platform.run(workflow, json!({"n": 7})).await.id;
        let failed = wait_for_end(&stage.client, original).await;
        assert_eq!(failed.status, "failed");
        // The workflow is mended, and the execution replayed from where it failed.
        set_graph(&stage, workflow, &calls(&stage, "/c?n={{ input.n }}")).await;
        let replay = stage.platform.replay(original, Some("c")).await.unwrap().id;
        let row = wait_for_completion(&stage.client, replay).await;
        assert_eq!(
            counts(&stage, &["/a", "/b", "/status/404", "/c?n=7"]),
            [1, 1, 1, 1],
            "{variant:?}"
        );
        let state = assert_api_can_read(&row.state);
        assert_eq!(state.completed_node_ids, ["t", "a", "b", "c"]);
        assert_eq!(row.output("a"), failed.output("a"));
        assert_eq!(row.output("c")["status_code"], 200);
        let data = &row.state["execution_data"];
        assert_eq!(
            (&data["n"], &data["a_output"]),
            (&json!(7), failed.output("a"))
        );
        assert!(data.get("original_execution_id").is_none(), "{data}");
        assert_eq!(
            ids(&steps(&stage.client, replay).await),
            ["t", "a", "b", "c"]
        );
        let lines = log(&stage.client, replay).await;
        let has = |message: &str| lines.iter().any(|(_, _, line)| line == message);
        assert!(has("Executing node: c") && has("Replay started from node: c"));
        assert!(!has("Executing node: a"), "{lines:?}");
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_commit_changes_nothing_before_the_claim() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        stage.start(&[]).await;
        let workflow = insert_workflow(&stage.client, &calls(&stage, "/c")).await;
        let original = stage.platform.run(workflow, json!({"n": 7})).await.id;
        wait_for_completion(&stage.client, original).await;
        stage.worker.take().unwrap().stop().await;
        let replay = stage.platform.replay(original, Some("c")).await.unwrap().id;
        stage.start(&[]).await;
        wait_for_completion(&stage.client, replay).await;
        assert_eq!(
            counts(&stage, &["/a", "/b", "/c"]),
            [1, 1, 2],
            "{variant:?}"
        );
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_commit_changes_nothing_while_it_runs_and_a_pause_is_not_taken_for_it() {
    let stage = Stage::new().await;
    let slow = |ms: &str| {
        chain(vec![
            trigger(),
            get("a", &stage.hits.url("/a")),
            get("c", &stage.hits.url(&format!("/c?ms={ms}"))),
            get("z", &stage.hits.url("/z")),
        ])
    };
    let workflow = insert_workflow(&stage.client, &slow("0")).await;
    let original = stage.platform.run(workflow, json!({"n": 7})).await.id;
    let first = wait_for_completion(&stage.client, original).await;
    set_graph(&stage, workflow, &slow("1500")).await;
    let replay = first_commit(&stage, original, "c").await;
    wait_for_calls(&stage.hits, "/c?ms=1500", 1).await;
    let late = second_commit(&stage.platform, original, replay, "c").await;
    stage.platform.write_state(replay, &late).await;
    let data = host_row(&stage.client, replay).await.state["execution_data"].clone();
    assert!(data.get("z_output").is_none(), "{data}");
    stage.platform.pause(replay).await.unwrap();
    crate::support::flow::wait_until_not_held(&stage.client, replay).await;
    assert_eq!(host_row(&stage.client, replay).await.status, "paused");
    assert_eq!(stage.hits.count("/z"), 1);
    stage.platform.resume(replay).await.unwrap();
    let row = wait_for_completion(&stage.client, replay).await;
    assert_eq!(counts(&stage, &["/a", "/c?ms=1500", "/z"]), [1, 1, 2]);
    assert_ne!(row.output("c")["url"], first.output("c")["url"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_commit_does_not_resurrect_a_replay_that_has_ended() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        stage.start(&[]).await;
        let workflow = insert_workflow(&stage.client, &calls(&stage, "/c")).await;
        let original = stage.platform.run(workflow, json!({"n": 7})).await.id;
        wait_for_completion(&stage.client, original).await;
        stage.worker.take().unwrap().stop().await;
        // What the API has read when the replay was not yet begun …
        let replay = first_commit(&stage, original, "c").await;
        let early = second_commit(&stage.platform, original, replay, "c").await;
        stage.start(&[]).await;
        let ended = wait_for_completion(&stage.client, replay).await;
        // … and what it would read now.
        let late = second_commit(&stage.platform, original, replay, "c").await;
        assert_eq!(
            (early.status.as_str(), late.status.as_str()),
            ("running", "completed")
        );
        for state in [early, late] {
            stage.platform.write_state(replay, &state).await;
            let row = host_row(&stage.client, replay).await;
            assert_eq!(row.status, "completed", "{variant:?}");
            assert_eq!(row.state, ended.state);
            assert!(row.is_completed);
        }
        let queued = "SELECT count(*) FROM workflow_worker.run_queue";
        assert_eq!(count(&stage.client, queued).await, 0);
        assert_eq!(counts(&stage, &["/a", "/b", "/c"]), [1, 1, 2]);
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_from_the_beginning_has_the_originals_input_and_runs_all_again() {
    let stage = Stage::new().await;
    let workflow = insert_workflow(&stage.client, &calls(&stage, "/c?n={{ input.n }}")).await;
    let data = json!({"trigger_type": "webhook", "n": 7});
    let original = stage.platform.run(workflow, data).await.id;
    wait_for_completion(&stage.client, original).await;
    let replay = stage.platform.replay(original, None).await.unwrap().id;
    let row = wait_for_completion(&stage.client, replay).await;
    assert_eq!(counts(&stage, &["/a", "/b", "/c?n=7"]), [2, 2, 2]);
    assert_eq!(row.state["execution_data"]["trigger_type"], "webhook");
    let keys = stage.hits.all();
    let keys: Vec<_> = keys
        .iter()
        .filter_map(|hit| hit.idempotency_key())
        .collect();
    let unique: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(unique.len(), keys.len(), "a replay's calls are its own");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_a_replay_needs_nothing_of_the_first_original() {
    let stage = Stage::new().await;
    let workflow = insert_workflow(&stage.client, &calls(&stage, "/c")).await;
    let first = stage.platform.run(workflow, json!({"n": 7})).await.id;
    wait_for_completion(&stage.client, first).await;
    let second = stage.platform.replay(first, Some("b")).await.unwrap().id;
    wait_for_completion(&stage.client, second).await;
    let delete = "DELETE FROM workflowexecution WHERE id = $1";
    stage.client.execute(delete, &[&first]).await.unwrap();
    let third = stage.platform.replay(second, Some("c")).await.unwrap().id;
    let row = wait_for_completion(&stage.client, third).await;
    assert_eq!(counts(&stage, &["/a", "/b", "/c"]), [1, 2, 3]);
    assert_eq!(row.state["execution_data"]["n"], 7);
    let whole = stage.platform.replay(third, None).await.unwrap().id;
    let row = wait_for_completion(&stage.client, whole).await;
    assert_eq!(counts(&stage, &["/a", "/b", "/c"]), [2, 3, 4]);
    assert_eq!(row.state["execution_data"]["n"], 7);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_original_whose_steps_are_gone_is_replayed_from_its_row_and_survives_a_pause() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        stage.start(&[]).await;
        let graph = chain(vec![
            trigger(),
            get("a", &stage.hits.url("/a")),
            approval("ap"),
            get("c", &stage.hits.url("/c?n={{ input.n }}")),
        ]);
        let workflow = insert_workflow(&stage.client, &graph).await;
        let original = insert_with(&stage.client, workflow, &json!({"n": 7})).await;
        let approve = json!({"decision": "approve"});
        stage.wait_for_waiting(original).await;
        stage.signal(original, "human_approval", &approve).await;
        wait_for_completion(&stage.client, original).await;
        let forget = "DELETE FROM workflow_worker.steps";
        stage.client.execute(forget, &[]).await.unwrap();
        let replay = stage
            .platform
            .replay(original, Some("ap"))
            .await
            .unwrap()
            .id;
        // Taken up a second time, when nothing is left of the original at all.
        stage.wait_for_waiting(replay).await;
        let delete = "DELETE FROM workflowexecution WHERE id = $1";
        stage.client.execute(delete, &[&original]).await.unwrap();
        stage.signal(replay, "human_approval", &approve).await;
        let row = wait_for_completion(&stage.client, replay).await;
        assert_eq!(counts(&stage, &["/a", "/c?n=7"]), [1, 2], "{variant:?}");
        let state = assert_api_can_read(&row.state);
        assert_eq!(state.completed_node_ids, ["t", "a", "ap", "c"]);
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_beside_the_node_keep_their_results_and_what_follows_runs_again() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            get("a", &stage.hits.url("/a")),
            get("b", &stage.hits.url("/b?ms=200")),
            get(
                "j",
                &stage.hits.url("/j?b={{ input.b_output.status_code }}"),
            ),
        ],
        vec![
            edge("t", "a"),
            edge("t", "b"),
            edge("a", "j"),
            edge("b", "j"),
        ],
    );
    let workflow = insert_workflow(&stage.client, &graph).await;
    let original = stage.platform.run(workflow, json!({})).await.id;
    wait_for_completion(&stage.client, original).await;
    let replay = stage.platform.replay(original, Some("a")).await.unwrap().id;
    wait_for_completion(&stage.client, replay).await;
    assert_eq!(counts(&stage, &["/a", "/b?ms=200", "/j?b=200"]), [2, 1, 2]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_and_loops_before_the_node_are_there() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            set("v", "v", json!("kept")),
            node("l", "for", json!({"array_expression": "[1, 2]"})),
            get("in", &stage.hits.url("/in")),
            get(
                "c",
                &stage
                    .hits
                    .url("/c?v={{ variables.v }}&n={{ input.l_output.results.length }}"),
            ),
        ],
        vec![
            edge("t", "v"),
            edge("v", "l"),
            branch("l", "in", "body"),
            branch("l", "c", "done"),
        ],
    );
    let workflow = insert_workflow(&stage.client, &graph).await;
    let original = stage.platform.run(workflow, json!({})).await.id;
    wait_for_completion(&stage.client, original).await;
    let replay = stage.platform.replay(original, Some("c")).await.unwrap().id;
    wait_for_completion(&stage.client, replay).await;
    assert_eq!(counts(&stage, &["/in", "/c?v=kept&n=2"]), [2, 2]);
    // From the loop itself all its rounds run again.
    let replay = stage.platform.replay(original, Some("l")).await.unwrap().id;
    wait_for_completion(&stage.client, replay).await;
    assert_eq!(counts(&stage, &["/in", "/c?v=kept&n=2"]), [4, 3]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_replayed_says_why_in_its_row() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            node("l", "for", json!({"array_expression": "[1]"})),
            set("in", "x", json!(1)),
            node("try", "try", json!({})),
            set("tried", "y", json!(1)),
            node("c", "catch", json!({})),
        ],
        vec![
            edge("t", "l"),
            branch("l", "in", "body"),
            branch("l", "try", "done"),
            edge("try", "tried"),
            edge("tried", "c"),
        ],
    );
    let workflow = insert_workflow(&stage.client, &graph).await;
    let other = insert_workflow(&stage.client, &chain(vec![trigger()])).await;
    let original = insert_with(&stage.client, workflow, &json!({"n": 1})).await;
    wait_for_completion(&stage.client, original).await;
    let nobody = Uuid::new_v4();
    let marked = |original: Value, node: Value| json!({"trigger_type": "replay", "original_execution_id": original, "replay_from_node": node});
    for (of, data, expected) in [
        (
            workflow,
            marked(json!(nobody), json!("t")),
            format!("original_execution_id is {nobody}; there is no such execution"),
        ),
        (
            workflow,
            marked(json!("soon"), json!("t")),
            "original_execution_id is \"soon\"; it must be".to_owned(),
        ),
        (
            other,
            marked(json!(original), json!(null)),
            format!(
                "original_execution_id is {original}; that execution is of workflow {workflow}"
            ),
        ),
        (
            workflow,
            marked(json!(original), json!("ghost")),
            "replay_from_node is \"ghost\"; the workflow, as it is now, has no such node"
                .to_owned(),
        ),
        (
            workflow,
            marked(json!(original), json!("in")),
            "replay_from_node is \"in\"; that node stands inside \"l\" (for)".to_owned(),
        ),
        (
            workflow,
            marked(json!(original), json!("tried")),
            "replay_from_node is \"tried\"; that node stands inside \"try\" (try)".to_owned(),
        ),
    ] {
        let replay = insert_with(&stage.client, of, &data).await;
        let row = wait_for_end(&stage.client, replay).await;
        let error = row.error_message.unwrap();
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(row.status, "failed");
        assert_api_can_read(&row.state);
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_could_not_begin_is_one_still_when_it_is_retried() {
    let stage = Stage::new().await;
    let broken = chain(vec![trigger(), get("a", &stage.hits.url("/a"))]);
    let workflow = insert_workflow(&stage.client, &broken).await;
    let original = insert_with(&stage.client, workflow, &json!({"n": 7})).await;
    wait_for_completion(&stage.client, original).await;
    let replay = first_commit(&stage, original, "c").await;
    assert_eq!(wait_for_end(&stage.client, replay).await.status, "failed");
    // The node that was missing is drawn.
    set_graph(&stage, workflow, &calls(&stage, "/c")).await;
    restart(&stage.client, replay).await;
    let row = wait_for_completion(&stage.client, replay).await;
    assert_eq!(counts(&stage, &["/a", "/b", "/c"]), [1, 0, 1]);
    assert_eq!(row.state["execution_data"]["n"], 7);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_beside_the_marker_replaces_the_originals_input() {
    let stage = Stage::new().await;
    let workflow = insert_workflow(&stage.client, &calls(&stage, "/c?n={{ input.n }}")).await;
    let original = insert_with(
        &stage.client,
        workflow,
        &json!({"n": 7, "debug_mode": false}),
    )
    .await;
    wait_for_completion(&stage.client, original).await;
    let data = json!({
        "trigger_type": "replay", "original_execution_id": original, "replay_from_node": "c", "n": 8,
    });
    let state = json!({ "execution_data": data });
    let replay = insert_state(&stage.client, workflow, &state).await;
    wait_for_completion(&stage.client, replay).await;
    assert_eq!(counts(&stage, &["/a", "/c?n=7", "/c?n=8"]), [1, 1, 1]);
    stage.stop().await;
}

/// Writes the row as the worker does, so that no trigger of ours looks at it.
async fn as_the_worker(client: &tokio_postgres::Client, id: Uuid, status: &str, data: &Value) {
    let state = json!({"status": status, "execution_data": data}).to_string();
    client
        .batch_execute("SET workflow_worker.writer = 'on'")
        .await
        .unwrap();
    let update = "UPDATE workflowexecution
                  SET status = $2, execution_state = (execution_state::jsonb || $3::text::jsonb)::json WHERE id = $1";
    client
        .execute(update, &[&id, &status, &state])
        .await
        .unwrap();
    client
        .batch_execute("RESET workflow_worker.writer")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_pause_an_end_or_a_debug_switch_is_not_taken_for_the_second_commit() {
    let stage = Stage::without_worker(Variant::Alembic).await;
    let client = &stage.client;
    let workflow = insert_workflow(client, &chain(vec![trigger()])).await;
    let original = insert_with(client, workflow, &json!({"a": 1})).await;
    let of_the_original = json!({"a": 1});
    let replay = first_commit(&stage, original, "t").await;
    let write = "UPDATE workflowexecution
                 SET status = $2, execution_state = (execution_state::jsonb || $3::text::jsonb)::json WHERE id = $1";
    let api = async |status: &str| {
        let state = json!({"status": status, "execution_data": of_the_original}).to_string();
        client
            .execute(write, &[&replay, &status, &state])
            .await
            .unwrap();
        host_row(client, replay).await
    };
    // Debugging is switched off: the data are the original's now, and were but for the flag.
    as_the_worker(
        client,
        replay,
        "paused",
        &json!({"a": 1, "debug_mode": true}),
    )
    .await;
    let row = api("running").await;
    assert_eq!(row.status, "running");
    assert_eq!(row.state["execution_data"], of_the_original);
    // Read before the worker has recorded more, and written after it.
    for status in ["paused", "failed"] {
        as_the_worker(client, replay, "running", &json!({"a": 1, "b_output": {}})).await;
        assert_eq!(api(status).await.status, status);
    }
    // The state alone, after the end.
    as_the_worker(
        client,
        replay,
        "completed",
        &json!({"a": 1, "b_output": {}}),
    )
    .await;
    let before = host_row(client, replay).await;
    let state = json!({"status": "running", "execution_data": of_the_original}).to_string();
    let late = "UPDATE workflowexecution
                SET execution_state = (execution_state::jsonb || $2::text::jsonb)::json WHERE id = $1";
    client.execute(late, &[&replay, &state]).await.unwrap();
    assert_eq!(host_row(client, replay).await.state, before.state);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_ended_before_it_begins_has_its_history_when_it_is_retried() {
    let mut stage = Stage::without_worker(Variant::Alembic).await;
    stage.start(&[]).await;
    let workflow = insert_workflow(&stage.client, &calls(&stage, "/c")).await;
    let original = stage.platform.run(workflow, json!({"n": 7})).await.id;
    wait_for_completion(&stage.client, original).await;
    stage.worker.take().unwrap().stop().await;
    let replay = first_commit(&stage, original, "c").await;
    stage.platform.terminate(replay, None).await.unwrap();
    stage.start(&[]).await;
    crate::support::flow::wait_until_not_held(&stage.client, replay).await;
    restart(&stage.client, replay).await;
    wait_for_completion(&stage.client, replay).await;
    assert_eq!(counts(&stage, &["/a", "/b", "/c"]), [1, 1, 2]);
    let recorded = steps(&stage.client, replay).await;
    assert_eq!(ids(&recorded), ["t", "a", "b", "c"]);
    stage.stop().await;
}
