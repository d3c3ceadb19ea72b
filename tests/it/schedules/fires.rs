//! What a fire leaves behind.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use workflow_worker::telemetry::Event;

use super::{Stage, YEARLY};
use crate::support::database::Variant;
use crate::support::flow::{host_row, insert_workflow, log, wait_for_completion};
use crate::support::hits::Hits;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::state::assert_api_can_read;

const CASE: &str = include_str!("../../cases/23_cron.json");
/// The server that the recorded workflow called.
const RECORDED_SERVER: &str = "http://127.0.0.1:37067";

#[tokio::test(flavor = "multi_thread")]
async fn a_fire_leaves_what_the_python_worker_left_on_every_variant() {
    let hits = Hits::start();
    let case: Value = serde_json::from_str(&CASE.replace(RECORDED_SERVER, &hits.url(""))).unwrap();
    let recorded = &case["final_workflowexecution"][0];
    for variant in Variant::WITH_HOST {
        let stage = Stage::on(variant).await;
        let workflow = insert_workflow(&stage.client, &case["graph_config"][0]).await;
        let mut worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
        // Three minutes were missed, as when it was recorded: one fire.
        let missed = "date_trunc('minute', now() AT TIME ZONE 'utc') - interval '3 minutes'";
        let schedule = stage.insert(workflow, "* * * * *", missed).await;
        worker
            .wait_for("the fire", |event| {
                matches!(event, Event::SchedulesTriggered { executions: 1 })
            })
            .await;
        stage
            .update(schedule, "is_active = false, cron_expression = '0 0 1 1 *'")
            .await;
        let executions = stage.executions(schedule).await;
        let row = wait_for_completion(&stage.client, executions[0]).await;

        assert_api_can_read(&row.state);
        assert_eq!(json!(row.status), recorded["status"], "{variant:?}");
        assert_eq!(row.retry_count, 0);
        let given = |state: &Value| -> BTreeMap<String, Value> {
            let data = state["execution_data"].as_object().unwrap().clone();
            let own = |key: &str| !key.ends_with("_output") && key != "schedule_id";
            data.into_iter().filter(|(key, _)| own(key)).collect()
        };
        assert_eq!(given(&row.state), given(&recorded["execution_state"]));
        assert_eq!(
            row.state["execution_data"]["schedule_id"],
            json!(schedule.to_string())
        );
        assert_eq!(
            row.output("t")["schedule_id"],
            json!(schedule.to_string()),
            "the trigger hands it on"
        );
        let name = row.state["execution_id"].as_str().unwrap();
        let lines: Vec<String> = log(&stage.client, executions[0])
            .await
            .into_iter()
            .map(|(node, level, message)| format!("{node} {level} {message}"))
            .collect();
        let expected: Vec<String> = case["final_executionlog"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let text = |key: &str| row[key].as_str().unwrap();
                let message = text("message").replace("exec-b360032e393b", name);
                format!("{} {} {message}", text("node_id"), text("level"))
            })
            .collect();
        assert_eq!(lines, expected, "{variant:?}");
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fire_sets_the_times_of_its_row() {
    let stage = Stage::new().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage
        .insert(stage.workflow, YEARLY, "now() AT TIME ZONE 'utc'")
        .await;
    let executions = stage.wait_for_executions(schedule, 1).await;
    wait_for_completion(&stage.client, executions[0]).await;
    let right = "SELECT count(*) FROM workflowschedule
                 WHERE next_run_at = date_trunc('year', now() AT TIME ZONE 'utc') + interval '1 year'
                   AND last_run_at BETWEEN (now() AT TIME ZONE 'utc') - interval '2 minutes'
                                       AND now() AT TIME ZONE 'utc'";
    assert_eq!(stage.count(right).await, 1);
    assert_eq!(
        stage.shown(schedule, "last_execution_id").await,
        Some(executions[0].to_string())
    );
    assert_eq!(stage.shown(schedule, "fired").await.unwrap(), "1");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_fires_it_and_not_the_poll_and_never_early() {
    let stage = Stage::new().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage
        .insert(
            stage.workflow,
            YEARLY,
            "(now() AT TIME ZONE 'utc') + interval '1.5 seconds'",
        )
        .await;
    let due = stage.shown(schedule, "next_run_at").await.unwrap();
    let executions = stage.wait_for_executions(schedule, 1).await;
    let early = format!(
        "SELECT count(*) FROM workflowexecution WHERE started_at AT TIME ZONE 'utc' < '{due}'"
    );
    assert_eq!(stage.count(&early).await, 0);
    assert_eq!(executions.len(), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_refuses_for_one_schedule_costs_the_others_nothing() {
    let stage = Stage::new().await;
    let refused = insert_workflow(&stage.client, &json!({"nodes": []})).await;
    stage
        .client
        .batch_execute(&format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON workflowexecution FOR EACH ROW
                 WHEN (NEW.workflow_id = '{refused}') EXECUTE FUNCTION refuse();"
        ))
        .await
        .unwrap();
    let now = "now() AT TIME ZONE 'utc'";
    let mut schedules = Vec::new();
    for workflow in [stage.workflow, refused, stage.workflow] {
        schedules.push(stage.insert(workflow, YEARLY, now).await);
    }
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    stage.wait_for_executions(schedules[0], 1).await;
    stage.wait_for_executions(schedules[2], 1).await;
    stage
        .wait_for(
            schedules[1],
            "error LIKE '%not this one%' AND next_run_at > now()",
        )
        .await;
    // And when the reason is gone, so is the error.
    stage
        .client
        .batch_execute("DROP TRIGGER refuse ON workflowexecution")
        .await
        .unwrap();
    stage.make_due(schedules[1]).await;
    stage.wait_for_executions(schedules[1], 1).await;
    assert_eq!(stage.shown(schedules[1], "error").await, None);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_has_locked_delays_no_other() {
    let stage = Stage::new().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let locked = stage.insert(stage.workflow, YEARLY, "NULL").await;
    let free = stage.insert(stage.workflow, YEARLY, "NULL").await;
    stage.wait_for(locked, "next_run_at > now()").await;
    stage.wait_for(free, "next_run_at > now()").await;
    stage
        .client
        .execute(
            "UPDATE workflowschedule SET next_run_at = (now() AT TIME ZONE 'utc') + interval '1 second'",
            &[],
        )
        .await
        .unwrap();
    let mut other = stage.database.client().await;
    let transaction = other.transaction().await.unwrap();
    transaction
        .execute(
            "SELECT FROM workflowschedule WHERE id = $1 FOR UPDATE",
            &[&locked],
        )
        .await
        .unwrap();
    stage.wait_for_executions(free, 1).await;
    assert!(stage.executions(locked).await.is_empty());
    transaction.rollback().await.unwrap();
    let executions = stage.wait_for_executions(locked, 1).await;
    assert_eq!(host_row(&stage.client, executions[0]).await.retry_count, 0);
    worker.stop().await;
}
