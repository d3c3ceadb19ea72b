//! What a run leaves behind: rows as the API and the screens expect them.

use serde_json::{Value, json};

use crate::support::database::{Database, Variant};
use crate::support::flow::{
    self, branch, chain, edge, get, graph, insert, insert_with, insert_workflow, log, node, set,
    steps, trigger, wait_for_completion, wait_for_end,
};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::state::assert_api_can_read;
use crate::support::wait::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_leaves_the_rows_of_the_contract_on_every_variant() {
    let hits = Hits::start();
    for variant in Variant::ALL {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let graph = chain(vec![
            trigger(),
            set("s", "x", json!({ "a": 1 })),
            get("h", &hits.url("/ok")),
            node("g", "get_variable", json!({ "variable_name": "x" })),
        ]);
        let workflow = insert_workflow(&client, &graph).await;
        let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
        let execution = insert_with(&client, workflow, &json!({ "n": 7 })).await;
        let row = wait_for_completion(&client, execution).await;

        assert_api_can_read(&row.state);
        assert_eq!(row.state["status"], "completed", "{variant:?}");
        assert_eq!(row.state["completed_node_ids"], json!(["t", "s", "h", "g"]));
        assert_eq!(row.output("t"), &json!({ "n": 7 }));
        assert_eq!(row.output("g")["value"], json!({ "a": 1 }));
        assert_eq!(row.output("h")["status_code"], 200);
        assert_eq!(row.state["node_results"]["h"]["status"], "success");
        assert_eq!(row.current_node_id.as_deref(), Some("g"));
        assert_eq!(
            (row.retry_count, row.has_next_retry, row.error_message),
            (0, false, None)
        );
        let expected: Vec<_> = ["t", "s", "h", "g"]
            .iter()
            .map(|id| ((*id).to_owned(), 1, "success".to_owned()))
            .collect();
        assert_eq!(steps(&client, execution).await, expected);
        let lines = log(&client, execution).await;
        let messages: Vec<&str> = lines
            .iter()
            .map(|(_, _, message)| message.as_str())
            .collect();
        assert_eq!(
            messages,
            [
                "Executing node: t",
                "Node t completed successfully",
                "Executing node: s",
                "Node s completed successfully",
                "Executing node: h",
                "Node h completed successfully",
                "Executing node: g",
                "Node g completed successfully",
                "Workflow execution completed",
            ]
        );
        assert!(lines.iter().all(|(_, level, _)| level == "info"));
        assert_eq!(lines.last().unwrap().0, "end");
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_insert_has_a_state_that_the_api_can_read_before_any_worker_touches_it() {
    for variant in Variant::ALL {
        let database = Database::migrated(variant).await;
        let client = database.client().await;
        let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
        let execution = insert(&client, workflow).await;
        let row = flow::host_row(&client, execution).await;
        assert_api_can_read(&row.state);
        assert_eq!(row.status, "running");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_takes_its_branch_and_an_unlabelled_edge_is_always_taken() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let nodes = vec![
        trigger(),
        node("c", "condition", json!({ "expression": "${n} > 5" })),
        get("yes", &hits.url("/yes")),
        get("no", &hits.url("/no")),
        get("both", &hits.url("/both")),
    ];
    let edges = vec![
        edge("t", "c"),
        branch("c", "yes", "true"),
        branch("c", "no", "false"),
        edge("c", "both"),
    ];
    let workflow = insert_workflow(&client, &graph(nodes, edges)).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert_with(&client, workflow, &json!({ "n": 7 })).await;
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(
        (hits.count("/yes"), hits.count("/no"), hits.count("/both")),
        (1, 0, 1)
    );
    assert_eq!(row.output("c")["branch"], "true");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_of_any_length_run_side_by_side_and_join_once() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let nodes = vec![
        trigger(),
        get("a1", &hits.url("/a1?ms=300")),
        get("a2", &hits.url("/a2")),
        get("b1", &hits.url("/b1?ms=300")),
        get("c1", &hits.url("/c1?ms=300")),
        get("join", &hits.url("/join")),
    ];
    let edges = vec![
        edge("t", "a1"),
        edge("t", "b1"),
        edge("t", "c1"),
        edge("a1", "a2"),
        edge("a2", "join"),
        edge("b1", "join"),
        edge("c1", "join"),
    ];
    let workflow = insert_workflow(&client, &graph(nodes, edges)).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert(&client, workflow).await;
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(hits.count("/join"), 1);
    let results = &row.state["node_results"];
    let text = |node: &str, key: &str| results[node][key].as_str().unwrap().to_owned();
    // Side by side: each started before any other ended. (Fixed-width times compare as text.)
    for (one, other) in [("a1", "b1"), ("b1", "c1"), ("c1", "a1")] {
        assert!(
            text(one, "started_at") < text(other, "completed_at"),
            "{one} waited for {other}"
        );
    }
    assert!(text("join", "started_at") >= text("a2", "completed_at"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_ends_on_the_graph_it_started_on() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let old = chain(vec![
        trigger(),
        node("d", "delay", json!({ "delay_seconds": 1 })),
        get("old", &hits.url("/old")),
    ]);
    let workflow = insert_workflow(&client, &old).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert(&client, workflow).await;
    flow::wait_until_not_held(&client, execution).await;
    let new = chain(vec![trigger(), get("new", &hits.url("/new"))]).to_string();
    client
        .execute(
            "UPDATE workflow SET graph_config = $1::text::json WHERE id = $2",
            &[&new, &workflow],
        )
        .await
        .unwrap();
    wait_for_completion(&client, execution).await;
    assert_eq!((hits.count("/old"), hits.count("/new")), (1, 0));
    let next = insert(&client, workflow).await;
    wait_for_completion(&client, next).await;
    assert_eq!((hits.count("/old"), hits.count("/new")), (1, 1));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_node_type_fails_with_a_message_that_names_it() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(
        &client,
        &chain(vec![trigger(), node("x", "frobnicate", json!({}))]),
    )
    .await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert(&client, workflow).await;
    let row = wait_for_end(&client, execution).await;
    assert_eq!(row.status, "failed");
    let message = row.error_message.unwrap();
    assert!(
        message.starts_with("Node x failed: ") && message.contains("frobnicate"),
        "{message}"
    );
    assert_eq!(row.retry_count, 0, "another attempt would end the same way");
    assert_api_can_read(&row.state);
    assert_eq!(row.state["node_results"]["x"]["status"], "failed");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_rows_and_node_maps_run_like_node_lists() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let map = json!({ "nodes": {
        "t": { "node_type": "trigger", "config": {}, "next": "h" },
        "h": { "node_type": "http_request", "config": { "url": hits.url("/map") }, "next": ["e"] },
        "e": { "node_type": "set_variable", "config": { "variable_name": "x", "variable_value": 1 } },
    }});
    let workflow = insert_workflow(&client, &map).await;
    let execution = insert(&client, workflow).await;
    let row = wait_for_completion(&client, execution).await;
    assert_eq!(row.state["completed_node_ids"], json!(["t", "h", "e"]));

    let workflow = insert_workflow(&client, &json!({ "edges": [edge("t", "h")] })).await;
    for (id, node_type, config) in [
        ("t", "trigger", Value::Null),
        ("h", "http_request", json!({ "url": hits.url("/rows") })),
    ] {
        client
            .execute(
                "INSERT INTO workflownode (id, workflow_id, node_type, node_id, position_x, position_y, config)
                 VALUES (gen_random_uuid(), $1, $2, $3, 0, 0, $4::text::json)",
                &[&workflow, &node_type, &id, &config.to_string()],
            )
            .await
            .unwrap();
    }
    let execution = insert(&client, workflow).await;
    wait_for_completion(&client, execution).await;
    assert_eq!((hits.count("/map"), hits.count("/rows")), (1, 1));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn higher_priority_runs_first() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
    let mut ids = Vec::new();
    for priority in [json!("LOW"), json!("NORMAL"), json!("CRITICAL"), json!(7)] {
        let state = json!({ "execution_data": {}, "priority": priority }).to_string();
        let row = client
            .query_one(
                "INSERT INTO workflowexecution (workflow_id, execution_state) VALUES ($1, $2::text::json) RETURNING id",
                &[&workflow, &state],
            )
            .await
            .unwrap();
        ids.push(row.get::<_, uuid::Uuid>(0));
    }
    let worker = InProcess::start(
        &database.url(),
        &[NO_POLL, ("WORKFLOW_WORKER_CONCURRENCY", "1")],
    )
    .await;
    for id in &ids {
        wait_for_completion(&client, *id).await;
    }
    let rows = client
        .query(
            "SELECT execution_id FROM workflow_worker.steps WHERE seq = 1 ORDER BY fence",
            &[],
        )
        .await
        .unwrap();
    let order: Vec<usize> = rows
        .iter()
        .map(|row| {
            ids.iter()
                .position(|id| *id == row.get::<_, uuid::Uuid>(0))
                .unwrap()
        })
        .collect();
    assert_eq!(order, [2, 3, 1, 0]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_whose_edges_have_no_branch_runs_both_sides_and_says_so_once() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let nodes = vec![
        trigger(),
        node("c", "condition", json!({ "expression": "input.n > 5" })),
        get("yes", &hits.url("/yes")),
        get("no", &hits.url("/no")),
    ];
    let edges = vec![edge("t", "c"), edge("c", "yes"), edge("c", "no")];
    let workflow = insert_workflow(&client, &graph(nodes, edges)).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert_with(&client, workflow, &json!({ "n": 7 })).await;
    wait_for_completion(&client, execution).await;
    assert_eq!((hits.count("/yes"), hits.count("/no")), (1, 1));
    let lines = log(&client, execution).await;
    let warnings: Vec<_> = lines
        .iter()
        .filter(|(_, level, _)| level == "warning")
        .collect();
    assert_eq!(warnings.len(), 1, "{lines:?}");
    assert!(
        warnings[0].0 == "c" && warnings[0].2.contains("no branch"),
        "{warnings:?}"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_branch_runs_the_row_names_a_node_that_runs() {
    let hits = Hits::start();
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let nodes = vec![
        trigger(),
        get("a", &hits.url("/a")),
        get("b", &hits.url("/b?ms=1500")),
    ];
    let workflow =
        insert_workflow(&client, &graph(nodes, vec![edge("t", "a"), edge("t", "b")])).await;
    let worker = InProcess::start(&database.url(), &[NO_POLL]).await;
    let execution = insert(&client, workflow).await;
    let row = wait_until("`a` to be recorded", flow::PATIENCE, async || {
        let row = flow::host_row(&client, execution).await;
        if row.state["node_results"]["a"].is_object() {
            Ok(row)
        } else {
            Err(row.status)
        }
    })
    .await;
    assert_eq!(
        (row.status.as_str(), row.current_node_id.as_deref()),
        ("running", Some("b"))
    );
    wait_for_completion(&client, execution).await;
    worker.stop().await;
}
