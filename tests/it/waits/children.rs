//! Executions that others have started: how they come to be, whom their end wakes, and who cancels them.

use serde_json::{Value, json};
use uuid::Uuid;
use workflow_worker::ids::{ExecutionId, NodeId, WorkflowId};
use workflow_worker::store::record::{Disposition, NewChild, Record, Recorded};

use super::{Queued, Stage, finished, publish};
use crate::support::claims::claim;
use crate::support::database::Variant;
use crate::support::flow::{chain, count, host_row, insert_workflow, log, trigger};
use crate::support::platform::Platform;
use crate::support::state::assert_api_can_read;

fn child_of(stage: &Stage, is_awaited: bool) -> NewChild {
    let id = Uuid::new_v4();
    NewChild {
        id: ExecutionId(id),
        name: format!("exec-{}", &id.simple().to_string()[..12]),
        workflow_id: WorkflowId(stage.workflow),
        input: json!({ "n": 1 }).to_string(),
        node: NodeId::from("sub"),
        visit: 2,
        depth: 1,
        is_awaited,
    }
}

/// A parent that has started children, and goes on holding its lease: its next record, and the children.
async fn family(stage: &Stage, awaited: &[bool]) -> (Record, Vec<Uuid>) {
    let record = stage.held().await;
    let children: Vec<NewChild> = awaited
        .iter()
        .map(|is_awaited| child_of(stage, *is_awaited))
        .collect();
    let ids = children.iter().map(|child| child.id.0).collect();
    stage
        .commit(Record {
            children,
            ..record.clone()
        })
        .await;
    let next = Record {
        revision: 1,
        ..record
    };
    (next, ids)
}

/// The same, with the parent parked.
async fn waiting_family(stage: &Stage, status: &str) -> (Uuid, Uuid) {
    let (record, children) = family(stage, &[true]).await;
    let parent = record.execution_id.0;
    stage
        .commit(Record {
            publish: Some(publish(status)),
            disposition: Disposition::Park(None),
            ..record
        })
        .await;
    (parent, children[0])
}

async fn cancel_reason(stage: &Stage, child: Uuid) -> Option<String> {
    let query = "SELECT cancel_reason FROM workflow_worker.children WHERE child_id = $1";
    stage
        .client
        .query_one(query, &[&child])
        .await
        .unwrap()
        .get(0)
}

async fn name(stage: &Stage, execution: Uuid) -> String {
    let query = "SELECT execution_id FROM workflowexecution WHERE id = $1";
    stage
        .client
        .query_one(query, &[&execution])
        .await
        .unwrap()
        .get(0)
}

fn told(queued: &Option<Queued>) -> (bool, i32) {
    let queued = queued.as_ref().unwrap();
    (queued.is_ready && queued.is_due, queued.host_version)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_what_run_would_have_made_on_every_variant() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::new(variant).await;
        let record = stage.held().await;
        let parent = record.execution_id.0;
        stage.notified().await;
        let child = child_of(&stage, true);
        stage
            .commit(Record {
                children: vec![child.clone()],
                ..record
            })
            .await;
        assert_eq!(stage.notified().await, [""], "{variant:?}");

        let platform = Platform::connect(&stage.database).await;
        let run = platform
            .insert_execution(stage.workflow, json!({ "n": 1 }))
            .await;
        let of_run = host_row(&stage.client, run.id).await;
        let row = host_row(&stage.client, child.id.0).await;
        assert_api_can_read(&row.state);
        let keys =
            |state: &Value| -> Vec<String> { state.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(keys(&row.state), keys(&of_run.state));
        for (key, expected) in of_run.state.as_object().unwrap() {
            match key.as_str() {
                "execution_id" => assert_eq!(row.state[key], child.name.as_str()),
                "started_at" => assert_eq!(
                    row.state[key].as_str().unwrap().len(),
                    "2026-01-05T00:52:44.123456".len()
                ),
                _ => assert_eq!(&row.state[key], expected, "{key}"),
            }
        }
        assert_eq!(
            (row.status.as_str(), row.retry_count, row.is_completed),
            ("running", 0, false)
        );
        assert_eq!(name(&stage, child.id.0).await, child.name);
        assert_eq!(
            log(&stage.client, child.id.0).await,
            [(
                "start".to_owned(),
                "info".to_owned(),
                format!("Workflow execution started: {}", child.name)
            )]
        );
        let linked = stage
            .client
            .query_one("SELECT parent_id, node_id, visit, depth, is_awaited, cancel_reason FROM workflow_worker.children", &[])
            .await
            .unwrap();
        assert_eq!(
            (
                linked.get(0),
                linked.get(1),
                linked.get(2),
                linked.get(3),
                linked.get(4),
                linked.get(5)
            ),
            (parent, "sub", 2, 1, true, None::<&str>)
        );
        let queued = stage.queued(child.id.0).await.unwrap();
        assert!(queued.is_ready && queued.is_due);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_complete_and_runs_without_triggers_too() {
    let stage = Stage::new(Variant::Alembic).await;
    let record = stage.held().await;
    stage
        .client
        .batch_execute("ALTER TABLE workflowexecution DISABLE TRIGGER USER")
        .await
        .unwrap();
    let child = child_of(&stage, true);
    stage
        .commit(Record {
            children: vec![child.clone()],
            ..record
        })
        .await;
    assert_api_can_read(&host_row(&stage.client, child.id.0).await.state);
    assert_eq!(stage.queued(child.id.0).await, None);
    let day = std::time::Duration::from_secs(86_400);
    assert_eq!(stage.store.repair(day, None).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_there_already_is_not_started_again() {
    let stage = Stage::new(Variant::Alembic).await;
    let record = stage.held().await;
    let child = child_of(&stage, true);
    for revision in 0..2 {
        stage
            .commit(Record {
                children: vec![child.clone()],
                revision,
                ..record.clone()
            })
            .await;
    }
    assert_eq!(log(&stage.client, child.id.0).await.len(), 1);
    let linked = "SELECT count(*) FROM workflow_worker.children";
    assert_eq!(count(&stage.client, linked).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_is_gone_starts_nothing_and_the_record_is_made() {
    let stage = Stage::new(Variant::Alembic).await;
    let record = stage.held().await;
    let mut child = child_of(&stage, true);
    child.workflow_id = WorkflowId(Uuid::new_v4());
    stage
        .commit(Record {
            children: vec![child.clone()],
            ..record
        })
        .await;
    assert!(
        stage
            .store
            .load_children(&[child.id])
            .await
            .unwrap()
            .is_empty()
    );
    let linked = "SELECT count(*) FROM workflow_worker.children";
    assert_eq!(count(&stage.client, linked).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_is_being_deleted_delays_only_the_record_that_would_start_it() {
    let stage = Stage::new(Variant::Alembic).await;
    let (record, other) = (stage.held().await, stage.held().await);
    let mut child = child_of(&stage, true);
    child.workflow_id = WorkflowId(insert_workflow(&stage.client, &chain(vec![trigger()])).await);
    let starting = Record {
        children: vec![child.clone()],
        ..record
    };
    let mut deleting = stage.database.client().await;
    let deletion = deleting.transaction().await.unwrap();
    deletion
        .execute(
            "DELETE FROM workflow WHERE id = $1",
            &[&child.workflow_id.0],
        )
        .await
        .unwrap();
    let answers = stage.record_all(&[starting.clone(), other]).await;
    assert_eq!(answers, [Recorded::Blocked, Recorded::Committed]);
    deletion.commit().await.unwrap();
    stage.commit(starting).await;
    assert!(
        stage
            .store
            .load_children(&[child.id])
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_child_wakes_its_parent_in_the_same_commit() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::new(variant).await;
        for (status, is_woken) in [
            ("running", true),
            ("waiting_for_signal", true),
            ("paused", false),
        ] {
            let (parent, child) = waiting_family(&stage, status).await;
            let record = stage.lease(child).await;
            stage.notified().await;
            stage.commit(finished(record)).await;
            let after = stage.queued(parent).await;
            assert_eq!(told(&after), (is_woken, 1), "{variant:?} {status}");
            let expected: &[&str] = if is_woken { &[""] } else { &[] };
            assert_eq!(stage.notified().await, expected, "{variant:?} {status}");
            assert_eq!(host_row(&stage.client, parent).await.status, status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_runs_is_told_to_look() {
    let mut stage = Stage::new(Variant::Alembic).await;
    let (parent, children) = family(&stage, &[true]).await;
    let child = stage.lease(children[0]).await;
    stage.notified().await;
    stage.commit(finished(child)).await;
    assert_eq!(stage.notified().await, ["interrupt"]);
    assert_eq!(stage.record(parent).await, Recorded::HostChanged);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_end_of_a_child_that_is_awaited_wakes() {
    let mut stage = Stage::new(Variant::Alembic).await;
    let (parent, children) = family(&stage, &[false, true]).await;
    let not_awaited = stage.lease(children[0]).await;
    stage.commit(finished(not_awaited)).await;
    let awaited = stage.lease(children[1]).await;
    // It goes on, is parked, or ends unaware of a pause: none is its end.
    stage.commit(awaited.clone()).await;
    let park = Record {
        revision: 1,
        disposition: Disposition::Park(None),
        ..awaited
    };
    stage.commit(park).await;
    let awaited = stage.lease(children[1]).await;
    stage
        .client
        .execute(
            "UPDATE workflowexecution SET status = 'paused' WHERE id = $1",
            &[&children[1]],
        )
        .await
        .unwrap();
    assert_eq!(stage.record(finished(awaited)).await, Recorded::HostChanged);
    stage.notified().await;
    assert_eq!(
        stage
            .queued(parent.execution_id.0)
            .await
            .unwrap()
            .host_version,
        0
    );
}

/// Parks a child with this status.
async fn park(stage: &Stage, child: Uuid, status: &str) {
    let record = stage.lease(child).await;
    stage
        .commit(Record {
            publish: Some(publish(status)),
            disposition: Disposition::Park(None),
            ..record
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_parent_cancels_its_awaited_children_that_run() {
    let mut stage = Stage::new(Variant::Alembic).await;
    let (parent, children) = family(&stage, &[true, true, true, true, false]).await;
    let parent_name = name(&stage, parent.execution_id.0).await;
    let [parked, paused, held, over, not_awaited] = children[..] else {
        panic!("five")
    };
    park(&stage, parked, "waiting_for_signal").await;
    park(&stage, paused, "paused").await;
    stage.lease(held).await;
    let record = stage.lease(over).await;
    stage.commit(finished(record)).await;
    let version = stage
        .queued(parent.execution_id.0)
        .await
        .unwrap()
        .host_version;
    stage.notified().await;
    stage
        .commit(finished(Record {
            host_version: version,
            ..parent
        }))
        .await;

    let mut heard = stage.notified().await;
    heard.sort();
    assert_eq!(heard, ["", "interrupt"]);
    let reason = format!("Parent execution {parent_name} ended");
    for child in [parked, paused] {
        assert_eq!(told(&stage.queued(child).await), (true, 1));
        assert_eq!(cancel_reason(&stage, child).await.as_ref(), Some(&reason));
    }
    let row = stage.queued(held).await.unwrap();
    assert!(row.is_held && row.host_version == 1);
    assert_eq!(cancel_reason(&stage, held).await.as_ref(), Some(&reason));
    for child in [over, not_awaited] {
        assert_eq!(cancel_reason(&stage, child).await, None);
    }
    assert_eq!(stage.queued(not_awaited).await.unwrap().host_version, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_runs_a_child_sees_its_depth_and_why_it_is_cancelled() {
    let stage = Stage::new(Variant::Alembic).await;
    let (parent, children) = family(&stage, &[true, true, false]).await;
    let reason = format!(
        "Parent execution {} ended",
        name(&stage, parent.execution_id.0).await
    );
    let [held, parked, not_awaited] = children[..] else {
        panic!("three")
    };
    let record = stage.lease(held).await;
    park(&stage, parked, "paused").await;
    stage.commit(finished(parent)).await;

    let write = stage
        .store
        .load_host_row(ExecutionId(held), record.fence)
        .await;
    let write = write.unwrap().unwrap();
    assert_eq!(
        (write.host_version, write.cancel_reason),
        (1, Some(reason.clone()))
    );
    let (taken, _) = claim(&stage.store, stage.worker, 10).await;
    let claimed = taken.claimed;
    let mut seen: Vec<_> = claimed
        .iter()
        .map(|claimed| {
            (
                claimed.execution_id.0,
                claimed.depth,
                claimed.cancel_reason.clone(),
            )
        })
        .collect();
    seen.sort();
    let mut expected = vec![(parked, 1, Some(reason)), (not_awaited, 1, None)];
    expected.sort();
    assert_eq!(seen, expected);

    // Once it is carried out it is taken back: whoever resumes it by hand means it.
    let record = stage.lease(parked).await;
    stage.commit(finished(record)).await;
    assert_eq!(cancel_reason(&stage, parked).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_no_longer_wanted_is_told_while_its_parent_goes_on() {
    let mut stage = Stage::new(Variant::Alembic).await;
    let (parent, children) = family(&stage, &[true, true]).await;
    let (foreign, _) = family(&stage, &[true]).await;
    let parent_name = name(&stage, parent.execution_id.0).await;
    stage.notified().await;
    let unwanted = |record: Record| Record {
        cancelled_children: vec![ExecutionId(children[0])],
        ..record
    };
    // Not by somebody else's wish.
    stage.commit(unwanted(foreign)).await;
    assert_eq!(cancel_reason(&stage, children[0]).await, None);
    stage.commit(unwanted(parent)).await;
    assert_eq!(
        cancel_reason(&stage, children[0]).await,
        Some(format!("No longer needed by execution {parent_name}"))
    );
    assert_eq!(told(&stage.queued(children[0]).await), (true, 1));
    assert_eq!(cancel_reason(&stage, children[1]).await, None);
    assert_eq!(stage.notified().await, [""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_family_in_one_batch_are_told_of_each_other() {
    let stage = Stage::new(Variant::Alembic).await;
    // The parent parks at the moment at which its child ends.
    let (parent, children) = family(&stage, &[true]).await;
    let id = parent.execution_id.0;
    let park = Record {
        publish: Some(publish("running")),
        disposition: Disposition::Park(None),
        ..parent
    };
    let child = stage.lease(children[0]).await;
    let answers = stage.record_all(&[park, finished(child)]).await;
    assert_eq!(answers, [Recorded::Committed, Recorded::Committed]);
    assert_eq!(told(&stage.queued(id).await), (true, 1));

    // It goes on at that moment: it is held, and has to look.
    let (parent, children) = family(&stage, &[true]).await;
    let id = parent.execution_id.0;
    let child = stage.lease(children[0]).await;
    let answers = stage.record_all(&[finished(child), parent]).await;
    assert_eq!(answers, [Recorded::Committed, Recorded::Committed]);
    let row = stage.queued(id).await.unwrap();
    assert_eq!((row.is_held, row.host_version, row.revision), (true, 1, 2));

    // Both end; or the parent ends while the child goes on.
    for child_ends in [true, false] {
        let (parent, children) = family(&stage, &[true]).await;
        let id = parent.execution_id.0;
        let child = stage.lease(children[0]).await;
        let child = if child_ends { finished(child) } else { child };
        let answers = stage.record_all(&[child, finished(parent)]).await;
        assert_eq!(answers, [Recorded::Committed, Recorded::Committed]);
        assert_eq!(stage.queued(id).await, None);
        let left = stage.queued(children[0]).await;
        assert_eq!(left.is_none(), child_ends);
        assert_eq!(
            cancel_reason(&stage, children[0]).await.is_none(),
            child_ends
        );
        if let Some(left) = left {
            assert_eq!(
                (left.is_held, left.host_version, left.revision),
                (true, 1, 1)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relative_that_somebody_has_locked_delays_only_the_record_that_needs_it() {
    let stage = Stage::new(Variant::Alembic).await;
    let (parent, child) = waiting_family(&stage, "running").await;
    let record = finished(stage.lease(child).await);
    let other = stage.held().await;
    let mut platform = stage.database.client().await;
    let transaction = platform.transaction().await.unwrap();
    let pause = "UPDATE workflowexecution SET status = 'paused' WHERE id = $1";
    transaction.execute(pause, &[&parent]).await.unwrap();
    let answers = stage.record_all(&[record.clone(), other]).await;
    assert_eq!(answers, [Recorded::Blocked, Recorded::Committed]);
    assert_eq!(
        stage.queued(child).await.unwrap().revision,
        0,
        "nothing of it is written"
    );
    transaction.commit().await.unwrap();
    stage.commit(record).await;
    assert_eq!(
        told(&stage.queued(parent).await),
        (false, 2),
        "paused, and told"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_in_an_open_transaction_delays_its_execution_and_nothing_else() {
    let stage = Stage::new(Variant::Alembic).await;
    let (record, other) = (stage.held().await, stage.held().await);
    let mut platform = stage.database.client().await;
    let transaction = platform.transaction().await.unwrap();
    transaction
        .execute(
            "INSERT INTO workflowsignal (execution_id, signal_type) VALUES ($1, 'go')",
            &[&record.execution_id.0],
        )
        .await
        .unwrap();
    let answers = stage.record_all(&[record.clone(), other]).await;
    assert_eq!(answers, [Recorded::Blocked, Recorded::Committed]);
    transaction.commit().await.unwrap();
    assert_eq!(stage.record(record).await, Recorded::HostChanged);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_child_whose_parent_is_gone_is_nothing_special() {
    let stage = Stage::new(Variant::Alembic).await;
    let (parent, children) = family(&stage, &[true]).await;
    stage.commit(finished(parent)).await;
    let record = stage.lease(children[0]).await;
    stage.commit(finished(record)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_become_of_children_is_read() {
    let stage = Stage::new(Variant::Alembic).await;
    let (_, children) = family(&stage, &[true, true, true, true]).await;
    let set = |child: Uuid, set: &str| {
        let statement = format!("UPDATE workflowexecution SET {set} WHERE id = '{child}'");
        let client = &stage.client;
        async move { client.batch_execute(&statement).await.unwrap() }
    };
    set(
        children[0],
        "status = 'failed', error_message = 'no', completed_at = now(), next_retry_at = now()",
    )
    .await;
    set(children[1], "status = 'failed', next_retry_at = now()").await;
    set(
        children[2],
        "status = 'completed', execution_state = '{\"execution_data\": {\"a\": \"\\u0000\"}}'",
    )
    .await;
    let ids: Vec<ExecutionId> = children.iter().copied().map(ExecutionId).collect();
    let asked = [ids.clone(), vec![ExecutionId(Uuid::new_v4())]].concat();
    let found = stage.store.load_children(&asked).await.unwrap();
    assert_eq!(found.len(), 4);
    let of = |index: usize| &found[&ids[index]];
    assert!(of(0).is_final && !of(1).is_final && of(2).is_final && !of(3).is_final);
    assert_eq!(of(0).error_message.as_deref(), Some("no"));
    assert_eq!(of(0).name, name(&stage, children[0]).await);
    let state = of(2).execution_state.as_deref();
    let data = workflow_worker::host::state_json::read(state)
        .unwrap()
        .execution_data;
    assert_eq!(Value::Object(data), json!({ "a": "\0" }));
    assert_eq!(of(3).execution_state, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_deleted_wakes_its_parent() {
    let mut stage = Stage::new(Variant::Alembic).await;
    let (parent, child) = waiting_family(&stage, "running").await;
    let (paused, other) = waiting_family(&stage, "paused").await;
    stage.notified().await;
    let delete = "DELETE FROM workflowexecution WHERE id = ANY ($1)";
    stage
        .client
        .execute(delete, &[&vec![child, other]])
        .await
        .unwrap();
    assert_eq!(told(&stage.queued(parent).await), (true, 1));
    assert_eq!(told(&stage.queued(paused).await), (false, 1));
    assert_eq!(stage.notified().await, [""]);
    let linked = "SELECT count(*) FROM workflow_worker.children";
    assert_eq!(count(&stage.client, linked).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_awaited_children_of_a_parent_that_is_deleted_are_cancelled() {
    let mut stage = Stage::new(Variant::Alembic).await;
    let (record, children) = family(&stage, &[true, true, false]).await;
    let parent = record.execution_id.0;
    let over = stage.lease(children[1]).await;
    stage.commit(finished(over)).await;
    stage.notified().await;
    let delete = "DELETE FROM workflowexecution WHERE id = $1";
    stage.client.execute(delete, &[&parent]).await.unwrap();
    assert_eq!(
        cancel_reason(&stage, children[0]).await,
        Some(format!("Parent execution {parent} was deleted"))
    );
    assert_eq!(told(&stage.queued(children[0]).await), (true, 1));
    assert_eq!(
        cancel_reason(&stage, children[2]).await,
        None,
        "it still has its depth"
    );
    let linked = "SELECT count(*) FROM workflow_worker.children";
    assert_eq!(
        count(&stage.client, linked).await,
        2,
        "the one that is over has none"
    );
    let all = "DELETE FROM workflowexecution";
    stage.client.batch_execute(all).await.unwrap();
    assert_eq!(count(&stage.client, linked).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_is_deleted_takes_whole_families_with_it() {
    let stage = Stage::new(Variant::Alembic).await;
    family(&stage, &[true, false]).await;
    waiting_family(&stage, "running").await;
    stage
        .client
        .batch_execute("DELETE FROM workflow")
        .await
        .unwrap();
    for table in ["run_queue", "children", "steps"] {
        let rows = format!("SELECT count(*) FROM workflow_worker.{table}");
        assert_eq!(count(&stage.client, &rows).await, 0, "{table}");
    }
    family_after_truncate(&stage).await;
}

async fn family_after_truncate(stage: &Stage) {
    let workflow = insert_workflow(&stage.client, &chain(vec![trigger()])).await;
    let statement = format!(
        "INSERT INTO workflow_worker.children (child_id, parent_id, node_id, visit, depth, is_awaited)
         VALUES ('{workflow}', '{workflow}', 'a', 1, 1, true);
         TRUNCATE workflowexecution CASCADE;"
    );
    stage.client.batch_execute(&statement).await.unwrap();
    let rows = "SELECT count(*) FROM workflow_worker.children";
    assert_eq!(count(&stage.client, rows).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn relatives_of_an_execution_that_was_deleted_without_triggers_learn_of_it_from_its_runner() {
    let stage = Stage::new(Variant::Alembic).await;
    let (parent, child) = waiting_family(&stage, "running").await;
    let record = stage.lease(child).await;
    stage
        .client
        .batch_execute(&format!(
            "ALTER TABLE workflowexecution DISABLE TRIGGER USER;
             DELETE FROM workflowexecution WHERE id = '{child}';"
        ))
        .await
        .unwrap();
    stage
        .store
        .forget(ExecutionId(child), record.fence)
        .await
        .unwrap();
    assert_eq!(stage.queued(child).await, None);
    assert_eq!(told(&stage.queued(parent).await), (true, 1));
}
