//! `human_approval`: it asks, waits without a slot, and goes on with the branch of the first answer that counts.

use serde_json::json;
use tokio::time::Duration;

use super::Stage;
use crate::support::database::Variant;
use crate::support::flow::{
    branch, chain, edge, get, graph, host_row, insert, insert_workflow, log, node, set, trigger,
    wait_for_completion, wait_for_end,
};
use crate::support::state::assert_api_can_read;
use crate::support::wait::{SOON, wait_until};

/// A trigger, an approval with an edge for each answer, and one that joins them.
pub(super) fn asking(config: serde_json::Value) -> serde_json::Value {
    graph(
        vec![
            trigger(),
            node("ap", "human_approval", config),
            set("yes", "taken", json!("yes")),
            set("no", "taken", json!("no")),
            set("late", "taken", json!("late")),
        ],
        vec![
            edge("t", "ap"),
            branch("ap", "yes", "approve"),
            branch("ap", "no", "reject"),
            branch("ap", "late", "timeout"),
        ],
    )
}

/// Which of the three nodes behind has run.
pub(super) fn taken(row: &crate::support::flow::HostRow) -> Vec<&str> {
    ["yes", "no", "late"]
        .into_iter()
        .filter(|node| {
            let completed = row.state["completed_node_ids"].as_array().unwrap();
            completed.contains(&json!(node))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_asks_in_a_row_and_waits_on_every_variant() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        stage.start(&[]).await;
        let config = json!({"approval_message": "ok {{ who }}?", "approval_options": ["approve", "reject"], "timeout_seconds": 3600});
        let execution = stage
            .run_with(&asking(config), &json!({"who": "Ann"}))
            .await;
        stage.wait_for_waiting(execution).await;
        let row = host_row(&stage.client, execution).await;
        assert_eq!(row.current_node_id.as_deref(), Some("ap"), "{variant:?}");
        assert_eq!(row.state["completed_node_ids"], json!(["t"]));
        let signals = stage.signals(execution).await;
        assert_eq!(signals.len(), 1, "{signals:?}");
        assert_eq!(signals[0].signal_type, "human_approval");
        assert_eq!(
            signals[0].data,
            json!({"node_id": "ap", "message": "ok Ann?", "options": ["approve", "reject"], "timeout_seconds": 3600})
        );
        assert!(!signals[0].is_processed);

        let data = json!({"decision": "approve", "comment": "fine", "by": "bob"});
        stage.signal(execution, "human_approval", &data).await;
        let row = wait_for_completion(&stage.client, execution).await;
        assert_api_can_read(&row.state);
        assert_eq!(taken(&row), ["yes"]);
        let output = row.output("ap");
        for (key, value) in [
            ("decision", json!("approve")),
            ("comment", json!("fine")),
            ("by", json!("bob")),
            ("message", json!("ok Ann?")),
            ("signal_id", json!(signals[0].id.to_string())),
        ] {
            assert_eq!(output[key], value, "{key}");
        }
        assert_eq!(row.state["execution_data"]["signal_human_approval"], data);
        let signals = stage.signals(execution).await;
        assert_eq!(signals.len(), 2);
        assert!(
            signals.iter().all(|signal| signal.is_processed),
            "{signals:?}"
        );
        let said = log(&stage.client, execution).await;
        for line in [
            "Execution waiting for signal: human_approval",
            "Signal received and processed: human_approval",
            "Node ap completed successfully",
        ] {
            let times = said
                .iter()
                .filter(|(node, _, text)| node == "ap" && text == line)
                .count();
            assert_eq!(times, 1, "{line}: {said:?}");
        }
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_and_every_key_of_an_answer_counts() {
    let stage = Stage::new().await;
    let workflow = insert_workflow(&stage.client, &asking(json!({}))).await;
    let answers = [
        ("human_approval", json!({"decision": "approve"}), "yes"),
        (
            "human_input",
            json!({"decision": "reject", "node_id": "ap"}),
            "no",
        ),
        ("approval_response", json!({"response": "approve"}), "yes"),
        ("human_approval", json!({"option": "reject"}), "no"),
        ("human_approval", json!({"approved": true}), "yes"),
        ("human_input", json!({"approved": false}), "no"),
        ("human_input", json!({"decision": " Approved "}), "yes"),
        // Data that somebody has encoded twice.
        ("human_approval", json!("{\"decision\": \"reject\"}"), "no"),
    ];
    let mut executions = Vec::new();
    for _ in &answers {
        executions.push(insert(&stage.client, workflow).await);
    }
    for (execution, (signal_type, data, _)) in executions.iter().zip(&answers) {
        stage.wait_for_waiting(*execution).await;
        stage.signal(*execution, signal_type, data).await;
    }
    for (execution, (signal_type, data, expected)) in executions.iter().zip(&answers) {
        let row = wait_for_completion(&stage.client, *execution).await;
        assert_eq!(taken(&row), [*expected], "{signal_type} {data}");
        let left = stage.signals(*execution).await;
        assert!(left.iter().all(|signal| signal.is_processed), "{left:?}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_be_written_into_the_requests_row() {
    let stage = Stage::new().await;
    let workflow = insert_workflow(&stage.client, &asking(json!({}))).await;
    for (added, expected) in [
        (json!({"decision": "approve"}), "yes"),
        (json!({"approved": false, "comment": "no"}), "no"),
        (json!({"response": "reject"}), "no"),
    ] {
        let execution = insert(&stage.client, workflow).await;
        stage.wait_for_waiting(execution).await;
        let request = stage.request(execution).await;
        let update = "UPDATE workflowsignal SET signal_data = (signal_data::jsonb || $2::text::jsonb)::json WHERE id = $1";
        stage
            .client
            .execute(update, &[&request.id, &added.to_string()])
            .await
            .unwrap();
        let row = wait_for_completion(&stage.client, execution).await;
        assert_eq!(taken(&row), [expected], "{added}");
        assert!(stage.request(execution).await.is_processed);
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_holds_no_slot() {
    let stage = Stage::with(&[("WORKFLOW_WORKER_CONCURRENCY", "1")]).await;
    let workflow = insert_workflow(&stage.client, &asking(json!({}))).await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(insert(&stage.client, workflow).await);
    }
    for execution in &waiting {
        stage.wait_for_waiting(*execution).await;
    }
    let other = stage
        .run(&chain(vec![trigger(), get("h", &stage.hits.url("/h"))]))
        .await;
    wait_for_completion(&stage.client, other).await;
    for execution in waiting {
        let data = json!({"decision": "reject"});
        stage.signal(execution, "human_input", &data).await;
        let row = wait_for_completion(&stage.client, execution).await;
        assert_eq!(taken(&row), ["no"]);
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_of_the_options_is_refused_and_it_waits_on() {
    let stage = Stage::new().await;
    let execution = stage.run(&asking(json!({}))).await;
    stage.wait_for_waiting(execution).await;
    let refused = stage
        .signal(
            execution,
            "human_approval",
            &json!({"decision": "maybe", "by": "bob"}),
        )
        .await;
    let line =
        "Signal refused: decision \"maybe\" by bob is not one of the options: approve, reject";
    wait_until("the refusal", SOON, async || {
        let said = log(&stage.client, execution).await;
        let told = said
            .iter()
            .any(|(node, level, text)| node == "ap" && level == "warning" && text == line);
        if told {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    })
    .await;
    stage.wait_for_waiting(execution).await;
    let all = stage.signals(execution).await;
    assert!(
        all.iter()
            .any(|signal| signal.id == refused && signal.is_processed),
        "{all:?}"
    );
    assert!(!stage.request(execution).await.is_processed);

    // The same in the request's own row.
    let request = stage.request(execution).await.id;
    let update = "UPDATE workflowsignal SET signal_data = (signal_data::jsonb || $2::text::jsonb)::json WHERE id = $1";
    let wrong = json!({"decision": "never"}).to_string();
    stage
        .client
        .execute(update, &[&request, &wrong])
        .await
        .unwrap();
    wait_until("the second refusal", SOON, async || {
        let said = log(&stage.client, execution).await;
        let told = said
            .iter()
            .filter(|(.., text)| text.contains("\"never\""))
            .count();
        if told == 1 {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    })
    .await;
    stage.wait_for_waiting(execution).await;
    let right = json!({"decision": "approve"}).to_string();
    stage
        .client
        .execute(update, &[&request, &right])
        .await
        .unwrap();
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(taken(&row), ["yes"]);
    let said = log(&stage.client, execution).await;
    let told = said
        .iter()
        .filter(|(.., text)| text.contains("\"never\""))
        .count();
    assert_eq!(told, 1, "{said:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_is_kept_and_second_and_late_ones_change_nothing() {
    let stage = Stage::new().await;
    let mut graph = asking(json!({}));
    // The node before it takes its time.
    graph["nodes"]
        .as_array_mut()
        .unwrap()
        .push(get("slow", &stage.hits.url("/slow?ms=300")));
    graph["edges"][0] = edge("t", "slow");
    graph["edges"]
        .as_array_mut()
        .unwrap()
        .push(edge("slow", "ap"));
    let execution = stage.run(&graph).await;
    stage
        .signal(execution, "human_input", &json!({"decision": "reject"}))
        .await;
    stage
        .signal(execution, "human_input", &json!({"decision": "approve"}))
        .await;
    let row = wait_for_completion(&stage.client, execution).await;
    assert_eq!(taken(&row), ["no"], "the first counts");
    let before = row.state.clone();
    stage
        .signal(execution, "human_input", &json!({"decision": "approve"}))
        .await;
    let request = stage.request(execution).await;
    assert!(request.is_processed);
    let named = json!({"decision": "approve", "signal_id": request.id.to_string()});
    stage.signal(execution, "human_approval", &named).await;
    // Another execution shows that the worker has been there.
    let other = stage.run(&chain(vec![trigger()])).await;
    wait_for_completion(&stage.client, other).await;
    let after = host_row(&stage.client, execution).await;
    assert_eq!((after.status.as_str(), after.state), ("completed", before));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_answers_at_the_same_time_take_one_branch() {
    let stage = Stage::new().await;
    let workflow = insert_workflow(&stage.client, &asking(json!({}))).await;
    for _ in 0..5 {
        let execution = insert(&stage.client, workflow).await;
        stage.wait_for_waiting(execution).await;
        let other = stage.database.client().await;
        let (yes, no) = (
            json!({"decision": "approve"}),
            json!({"decision": "reject"}),
        );
        tokio::join!(
            stage.signal(execution, "human_approval", &yes),
            super::signal(&other, execution, "human_input", &no),
        );
        let row = wait_for_completion(&stage.client, execution).await;
        assert_eq!(taken(&row).len(), 1, "{:?}", taken(&row));
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_approval_of_a_loop_takes_its_own_answer() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            node(
                "l",
                "loop",
                json!({"loop_type": "for", "array_expression": "['a', 'b', 'c']"}),
            ),
            node(
                "ap",
                "human_approval",
                json!({"approval_message": "ok {{ item }}?"}),
            ),
        ],
        vec![edge("t", "l"), branch("l", "ap", "body"), edge("ap", "l")],
    );
    let execution = stage.run(&graph).await;
    let mut answered = std::collections::HashSet::new();
    for (item, decision) in [("a", "approve"), ("b", "reject"), ("c", "approve")] {
        let request = wait_until("the next request", Duration::from_secs(20), async || {
            let all = stage.signals(execution).await;
            let open: Vec<_> = all
                .iter()
                .filter(|signal| signal.data["message"].is_string())
                .filter(|signal| !signal.is_processed && !answered.contains(&signal.id))
                .cloned()
                .collect();
            match open.as_slice() {
                [one] => Ok(one.clone()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(request.data["message"], format!("ok {item}?"));
        answered.insert(request.id);
        stage
            .signal(execution, "human_input", &json!({"decision": decision}))
            .await;
        let again = json!({"decision": "approve", "signal_id": request.id.to_string()});
        stage.signal(execution, "human_input", &again).await;
    }
    let row = wait_for_completion(&stage.client, execution).await;
    let decisions: Vec<&str> = row.output("l")["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["decision"].as_str().unwrap())
        .collect();
    assert_eq!(decisions, ["approve", "reject", "approve"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_side_by_side_are_told_apart_by_their_node() {
    let stage = Stage::new().await;
    let graph = graph(
        vec![
            trigger(),
            node("one", "human_approval", json!({})),
            node("two", "human_approval", json!({})),
            set("end", "done", json!(true)),
        ],
        vec![
            edge("t", "one"),
            edge("t", "two"),
            edge("one", "end"),
            edge("two", "end"),
        ],
    );
    let execution = stage.run(&graph).await;
    stage.wait_for_waiting(execution).await;
    assert_eq!(stage.signals(execution).await.len(), 2);
    let to_two = json!({"decision": "reject", "node_id": "two"});
    stage.signal(execution, "human_input", &to_two).await;
    wait_until("the first answer", SOON, async || {
        let all = stage.signals(execution).await;
        let dealt = all.iter().filter(|signal| signal.is_processed).count();
        if dealt == 2 {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    })
    .await;
    stage.wait_for_waiting(execution).await;
    let row = host_row(&stage.client, execution).await;
    assert_eq!(row.current_node_id.as_deref(), Some("one"));
    assert_eq!(row.output("two")["decision"], "reject");
    stage
        .signal(execution, "human_input", &json!({"decision": "approve"}))
        .await;
    let row = wait_for_end(&stage.client, execution).await;
    assert_eq!(row.status, "completed", "{:?}", row.error_message);
    assert_eq!(row.output("one")["decision"], "approve");
    stage.stop().await;
}
