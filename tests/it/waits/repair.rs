//! What has come and told nobody: found by the poll, and found once.

use serde_json::json;
use uuid::Uuid;
use workflow_worker::ids::{ExecutionId, NodeId, WorkflowId};
use workflow_worker::store::record::{Disposition, NewChild, Record};

use super::{Stage, finished, publish};
use crate::support::database::Variant;

async fn triggers_are_off(stage: &Stage) -> bool {
    let next = stage.store.next_due(stage.worker, 10.0).await.unwrap();
    next.triggers_are_off
}

async fn repaired(stage: &Stage) -> usize {
    stage.store.repair_parked().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_notices_that_the_triggers_on_signals_are_off_and_finds_answers() {
    for variant in Variant::ALL {
        let stage = Stage::new(variant).await;
        assert!(!triggers_are_off(&stage).await);
        stage
            .client
            .batch_execute("ALTER TABLE workflowsignal DISABLE TRIGGER USER")
            .await
            .unwrap();
        assert!(triggers_are_off(&stage).await, "{variant:?}");

        let answered = stage.parked("waiting_for_signal").await;
        let plain = stage.parked("waiting_for_signal").await;
        let asked = stage.parked("waiting_for_signal").await;
        let paused = stage.parked("paused").await;
        stage.answer(answered).await;
        stage
            .signal(plain, "webhook", &json!({ "message": "hello" }))
            .await;
        let request = json!({ "message": "\u{1}?", "options": ["a"] });
        let request = stage.signal(asked, "human_approval", &request).await;
        stage.answer(paused).await;
        assert_eq!(repaired(&stage).await, 2, "{variant:?}");
        for (execution, is_woken) in [
            (answered, true),
            (plain, true),
            (asked, false),
            (paused, false),
        ] {
            assert_eq!(
                stage.queued(execution).await.unwrap().is_ready,
                is_woken,
                "{variant:?}"
            );
        }
        assert_eq!(repaired(&stage).await, 0, "they are due already");

        let update = "UPDATE workflowsignal SET signal_data = '{\"options\": [\"a\"], \"approved\": true}' WHERE id = $1";
        stage.client.execute(update, &[&request]).await.unwrap();
        assert_eq!(repaired(&stage).await, 1, "{variant:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_nobody_waits_for_does_not_wake_for_ever() {
    let stage = Stage::new(Variant::Alembic).await;
    let execution = stage.parked("waiting_for_signal").await;
    stage.signal(execution, "stray", &json!({})).await;
    let parked_again = "UPDATE workflow_worker.run_queue SET ready = false, run_at = 'infinity'";
    stage.client.batch_execute(parked_again).await.unwrap();
    assert_eq!(repaired(&stage).await, 1, "it has just come");
    stage
        .client
        .batch_execute(&format!(
            "{parked_again}; UPDATE workflowsignal SET received_at = received_at - interval '2 minutes'"
        ))
        .await
        .unwrap();
    assert_eq!(repaired(&stage).await, 0, "a runner has looked since");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_child_that_was_not_told_is_found_until_the_parent_has_recorded_it() {
    let stage = Stage::new(Variant::Alembic).await;
    let record = stage.held().await;
    let parent = record.execution_id.0;
    let child = Uuid::new_v4();
    let new_child = NewChild {
        id: ExecutionId(child),
        name: format!("exec-{child}"),
        workflow_id: WorkflowId(stage.workflow),
        input: "{}".to_owned(),
        node: NodeId::from("sub"),
        visit: 1,
        depth: 1,
        is_awaited: true,
    };
    stage
        .commit(Record {
            children: vec![new_child],
            publish: Some(publish("running")),
            disposition: Disposition::Park(None),
            ..record
        })
        .await;
    let park_again = || async {
        let statement = format!(
            "UPDATE workflow_worker.run_queue SET ready = false, run_at = '9999-01-01' WHERE execution_id = '{parent}'"
        );
        stage.client.batch_execute(&statement).await.unwrap();
    };
    // (A parked row with the status `running` was resumed, for the other repair: this one sleeps.)
    park_again().await;
    assert_eq!(repaired(&stage).await, 0, "it runs");
    let record = stage.lease(child).await;
    stage.commit(finished(record)).await;
    park_again().await;
    assert_eq!(repaired(&stage).await, 1, "it is over");
    assert!(stage.queued(parent).await.unwrap().is_ready);

    park_again().await;
    stage
        .client
        .batch_execute(&format!(
            "INSERT INTO workflow_worker.steps VALUES
                ('{parent}', 1, 'sub', 'sub_workflow', 1, 1, 'success', '{{}}', NULL, now(), now(), '{parent}', 1)"
        ))
        .await
        .unwrap();
    assert_eq!(repaired(&stage).await, 0, "the parent knows");

    stage
        .client
        .batch_execute(
            "DELETE FROM workflow_worker.steps;
             ALTER TABLE workflowexecution DISABLE TRIGGER USER;
             DELETE FROM workflowexecution WHERE id IN (SELECT child_id FROM workflow_worker.children)",
        )
        .await
        .unwrap();
    assert_eq!(repaired(&stage).await, 1, "it is gone");
}
