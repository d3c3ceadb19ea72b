//! What somebody else may not write, and what the platform's API and a restored dump still may.

use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;

use super::messages;
use crate::control::Stage;
use crate::support::database::Variant;
use crate::support::flow::{
    chain, count, get, host_row, insert_with, insert_workflow, log, node, restart, trigger,
    wait_for_completion, wait_for_end, wait_for_status,
};

const RUN: &str = "UPDATE workflowexecution SET status = 'running' WHERE id = $1";

/// SQLSTATE and message of a refused statement.
async fn refused(client: &Client, statement: &str, id: Uuid) -> (String, String) {
    let error = client.execute(statement, &[&id]).await.unwrap_err();
    let error = error.as_db_error().unwrap_or_else(|| panic!("{error}"));
    let text = format!("{} {}", error.message(), error.hint().unwrap_or_default());
    (error.code().code().to_owned(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_execution_does_not_run_again_by_a_stray_update() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        stage.start(&[]).await;
        let good = stage.run(&chain(vec![trigger()])).await;
        let bad = stage
            .run(&chain(vec![
                trigger(),
                node(
                    "h",
                    "http_request",
                    json!({"url": stage.hits.url("/status/404"), "retries": 0}),
                ),
            ]))
            .await;
        wait_for_completion(&stage.client, good).await;
        wait_for_end(&stage.client, bad).await;
        for (id, ended) in [(good, "completed"), (bad, "failed")] {
            let before = host_row(&stage.client, id).await;
            for statement in [
                RUN,
                "UPDATE workflow_executions SET status = 'running', completed_at = NULL WHERE id = $1",
                "UPDATE workflowexecution SET status = 'waiting_for_signal' WHERE id = $1",
                "UPDATE workflowexecution SET status = 'failed', completed_at = NULL, next_retry_at = now() WHERE id = $1",
            ] {
                let (code, text) = refused(&stage.client, statement, id).await;
                assert_eq!(code, "WW409", "{variant:?}: {statement}: {text}");
                assert!(
                    text.starts_with(&format!("execution {id} has ended as {ended}")),
                    "{text}"
                );
                assert!(text.contains("workflow_worker.replay"), "{text}");
                // What has completed cannot be retried.
                let names_retry = text.contains("workflow_worker.retry");
                assert_eq!(names_retry, ended == "failed", "{text}");
            }
            assert_eq!(host_row(&stage.client, id).await.state, before.state);
        }
        let queued = "SELECT count(*) FROM workflow_worker.run_queue";
        assert_eq!(count(&stage.client, queued).await, 0);
        restart(&stage.client, bad).await;
        wait_for_end(&stage.client, bad).await;
        assert_eq!(stage.hits.count("/status/404"), 2, "retry may");
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_of_the_old_worker_stays_dead() {
    let stage = Stage::new().await;
    let workflow = insert_workflow(&stage.client, &chain(vec![trigger()])).await;
    let zombie = stage
        .client
        .query_one(
            "INSERT INTO workflowexecution (workflow_id, status, completed_at, next_retry_at)
             VALUES ($1, 'failed', now(), now()) RETURNING id",
            &[&workflow],
        )
        .await
        .unwrap()
        .get(0);
    let undead = "UPDATE workflowexecution SET completed_at = NULL WHERE id = $1";
    assert_eq!(refused(&stage.client, undead, zombie).await.0, "WW409");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_status_is_refused_and_all_five_of_a_dump_are_not() {
    for variant in Variant::ALL {
        let database = crate::support::database::Database::migrated(variant).await;
        let client = database.client().await;
        let workflow = insert_workflow(&client, &chain(vec![trigger()])).await;
        for status in ["cancelled", "Running", "", "queued"] {
            let insert = format!(
                "INSERT INTO workflowexecution (workflow_id, status) VALUES ($1, '{status}')"
            );
            let (code, text) = refused(&client, &insert, workflow).await;
            assert_eq!(code, "WW400", "{variant:?}");
            let named =
                format!("workflowexecution.status is '{status}'; it must be one of running");
            assert!(text.starts_with(&named), "{text}");
        }
        for status in [
            "running",
            "completed",
            "failed",
            "paused",
            "waiting_for_signal",
        ] {
            for completed_at in ["NULL", "now()"] {
                for next_retry_at in ["NULL", "now()"] {
                    let insert = format!(
                        "INSERT INTO workflowexecution (workflow_id, status, completed_at, next_retry_at)
                         VALUES ($1, '{status}', {completed_at}, {next_retry_at})"
                    );
                    client.execute(&insert, &[&workflow]).await.unwrap();
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_does_to_a_finished_execution_is_let_through_and_runs_nothing_twice() {
    for variant in Variant::WITH_HOST {
        let mut stage = Stage::without_worker(variant).await;
        stage.start(&[]).await;
        let graph = chain(vec![trigger(), get("a", &stage.hits.url("/a"))]);
        let execution = stage.run(&graph).await;
        wait_for_completion(&stage.client, execution).await;
        // Pause and resume, as ever.
        stage.platform.pause(execution).await.unwrap();
        stage.platform.resume(execution).await.unwrap();
        wait_for_status(&stage.client, execution, "completed").await;
        // Whole states that were read earlier: a debug step, the second commit of a test, a second click on resume.
        let mut late = stage.platform.read_state(execution).await.unwrap();
        late.status = "running".to_owned();
        late.execution_data
            .insert("test_mode".to_owned(), json!(true));
        stage.platform.write_state(execution, &late).await;
        let row = host_row(&stage.client, execution).await;
        assert_eq!(
            (row.status.as_str(), row.state["status"].as_str()),
            ("completed", Some("completed"))
        );
        assert!(row.is_completed, "{variant:?}");
        let lines = log(&stage.client, execution).await;
        let told = "A late write of status running was not taken: the execution has ended as completed. To run it again, \
                    retry or replay it";
        assert!(messages(&lines).contains(&told), "{lines:?}");
        assert_eq!(stage.hits.count("/a"), 1);
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_waited_for_may_be_run_at_once_by_either_way() {
    let stage = Stage::new().await;
    let failing = |key: &str| {
        let config = json!({"url": stage.hits.url(&format!("/{key}?fail=1")), "retries": 1, "retry_delay": 3600});
        chain(vec![trigger(), node("h", "http_request", config)])
    };
    for (key, statement) in [
        ("status", RUN),
        (
            "time",
            "UPDATE workflowexecution SET next_retry_at = now() AT TIME ZONE 'utc' WHERE id = $1",
        ),
    ] {
        let workflow = insert_workflow(&stage.client, &failing(key)).await;
        let execution = insert_with(&stage.client, workflow, &json!({})).await;
        wait_for_status(&stage.client, execution, "failed").await;
        crate::support::flow::wait_until_not_held(&stage.client, execution).await;
        stage
            .client
            .execute(statement, &[&execution])
            .await
            .unwrap();
        wait_for_completion(&stage.client, execution).await;
        assert_eq!(stage.hits.count(&format!("/{key}?fail=1")), 2);
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_needs_no_right_on_our_tables() {
    let stage = Stage::new().await;
    let execution = stage.run(&chain(vec![trigger()])).await;
    wait_for_completion(&stage.client, execution).await;
    stage
        .client
        .batch_execute(
            "CREATE ROLE guard_probe;
             GRANT SELECT, UPDATE ON workflowexecution TO guard_probe;
             SET ROLE guard_probe;",
        )
        .await
        .unwrap();
    let refusal = refused(&stage.client, RUN, execution).await;
    let pause = "UPDATE workflowexecution SET status = 'paused' WHERE id = $1";
    let paused = stage.client.execute(pause, &[&execution]).await;
    stage
        .client
        .batch_execute("RESET ROLE; DROP OWNED BY guard_probe; DROP ROLE guard_probe;")
        .await
        .unwrap();
    assert_eq!(refusal.0, "WW409");
    assert_eq!(paused.unwrap(), 1);
    stage.stop().await;
}

#[tokio::test]
async fn a_status_that_means_nothing_is_refused_in_an_update_as_well() {
    let stage = Stage::without_worker(Variant::Alembic).await;
    let workflow = insert_workflow(&stage.client, &chain(vec![trigger()])).await;
    let execution = insert_with(&stage.client, workflow, &json!({})).await;
    let cancel = "UPDATE workflowexecution SET status = 'cancelled' WHERE id = $1";
    let (code, text) = refused(&stage.client, cancel, execution).await;
    assert_eq!(code, "WW400");
    assert!(text.contains("terminate"), "{text}");
    let row = host_row(&stage.client, execution).await;
    assert_eq!(row.status, "running");
}
