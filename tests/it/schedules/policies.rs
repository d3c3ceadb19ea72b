//! Missed times and overlaps.

use serde_json::Value;
use workflow_worker::telemetry::Event;

use super::{Stage, YEARLY};
use crate::support::flow::{host_row, wait_for_completion, wait_for_status};
use crate::support::in_process::{InProcess, NO_POLL};

/// Five times have passed: four New Years and this year's.
const FIVE_MISSED: &str = "date_trunc('year', now() AT TIME ZONE 'utc') - interval '4 years'";

async fn years(stage: &Stage, schedule: uuid::Uuid) -> Vec<i64> {
    let mut years = Vec::new();
    for execution in stage.executions(schedule).await {
        let row = host_row(&stage.client, execution).await;
        let at = &row.state["execution_data"]["scheduled_at"];
        let at = at.as_str().map_or(0, |at| at[..4].parse().unwrap());
        years.push(at);
    }
    years
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_each_policy_does_what_it_says() {
    let stage = Stage::new().await;
    let coalesce = stage.insert(stage.workflow, YEARLY, FIVE_MISSED).await;
    let catch_up = stage.insert(stage.workflow, YEARLY, FIVE_MISSED).await;
    let bounded = stage.insert(stage.workflow, YEARLY, FIVE_MISSED).await;
    let skip = stage.insert(stage.workflow, YEARLY, FIVE_MISSED).await;
    for (schedule, arguments) in [
        (catch_up, "missed => 'catch_up'"),
        (bounded, "missed => 'catch_up', max_catch_up => 2"),
        (skip, "missed => 'skip'"),
    ] {
        let configure =
            format!("SELECT workflow_worker.configure_schedule('{schedule}', {arguments})");
        stage.client.batch_execute(&configure).await.unwrap();
    }
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    for schedule in [coalesce, catch_up, bounded, skip] {
        stage.wait_for(schedule, "next_run_at > now()").await;
    }
    let this_year: i64 = stage
        .count("SELECT extract(year FROM now() AT TIME ZONE 'utc')::bigint")
        .await;
    assert_eq!(
        years(&stage, coalesce).await,
        [0],
        "one, as the platform has it"
    );
    assert_eq!(
        years(&stage, catch_up).await,
        (this_year - 4..=this_year).collect::<Vec<_>>()
    );
    assert_eq!(
        years(&stage, bounded).await,
        (this_year - 4..=this_year - 2).collect::<Vec<_>>(),
        "two, and one for the rest"
    );
    assert!(years(&stage, skip).await.is_empty());
    assert_eq!(stage.shown(skip, "skipped").await.unwrap(), "1");
    let reason = stage.shown(skip, "skip_reason").await.unwrap();
    assert!(reason.contains("missed"), "{reason}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_setting_decides_for_schedules_without_a_policy() {
    let stage = Stage::new().await;
    let schedule = stage.insert(stage.workflow, YEARLY, FIVE_MISSED).await;
    let settings = [
        NO_POLL,
        ("WORKFLOW_SCHEDULE_MISSED", "catch_up"),
        ("WORKFLOW_SCHEDULE_MAX_CATCH_UP", "3"),
    ];
    let worker = InProcess::start(&stage.url(), &settings).await;
    stage.wait_for(schedule, "next_run_at > now()").await;
    assert_eq!(stage.executions(schedule).await.len(), 4);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_executions_of_a_schedule_run_side_by_side() {
    let stage = Stage::new().await;
    let waiting = stage.waiting_workflow().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage.insert(waiting, YEARLY, "NULL").await;
    for number in 1..=3 {
        stage.make_due(schedule).await;
        let executions = stage.wait_for_executions(schedule, number).await;
        wait_for_status(&stage.client, executions[number - 1], "waiting_for_signal").await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_overlap_skip_nothing_starts_beside_an_open_execution_and_that_is_said_once() {
    let stage = Stage::new().await;
    let waiting = stage.waiting_workflow().await;
    let mut worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage.insert(waiting, YEARLY, "NULL").await;
    configure(&stage, schedule, "overlap => 'skip'").await;
    stage.make_due(schedule).await;
    let executions = stage.wait_for_executions(schedule, 1).await;
    wait_for_status(&stage.client, executions[0], "waiting_for_signal").await;
    for skipped in 1..=3 {
        stage.make_due(schedule).await;
        stage
            .wait_for(
                schedule,
                &format!("skipped = {skipped} AND skip_reason LIKE '%has not ended%' AND next_run_at > now()"),
            )
            .await;
    }
    assert_eq!(stage.executions(schedule).await.len(), 1);
    let said = worker
        .events_so_far()
        .iter()
        .filter(|event| matches!(***event, Event::ScheduleSkipped { .. }))
        .count();
    assert_eq!(said, 1);
    stage.let_go(executions[0]).await;
    wait_for_completion(&stage.client, executions[0]).await;
    stage.make_due(schedule).await;
    stage.wait_for_executions(schedule, 2).await;
    assert_eq!(stage.shown(schedule, "skip_reason").await, None);
    worker.stop().await;
}

async fn configure(stage: &Stage, schedule: uuid::Uuid, arguments: &str) {
    stage
        .client
        .batch_execute(&format!(
            "SELECT workflow_worker.configure_schedule('{schedule}', {arguments})"
        ))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_overlap_queue_fires_start_one_after_another_without_a_poll() {
    let stage = Stage::new().await;
    let waiting = stage.waiting_workflow().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage.insert(waiting, YEARLY, "NULL").await;
    configure(&stage, schedule, "overlap => 'queue', max_queued => 3").await;
    stage.make_due(schedule).await;
    stage.wait_for_executions(schedule, 1).await;
    for queued in 1..=3 {
        stage.make_due(schedule).await;
        stage
            .wait_for(
                schedule,
                &format!("queued = {queued} AND next_run_at > now()"),
            )
            .await;
    }
    stage.make_due(schedule).await;
    stage
        .wait_for(schedule, "skipped = 1 AND skip_reason LIKE '3 fires wait%'")
        .await;
    let mut times: Vec<Value> = Vec::new();
    for number in 1..=4 {
        let executions = stage.wait_for_executions(schedule, number).await;
        assert_eq!(executions.len(), number, "one at a time");
        let current = executions[number - 1];
        let row = wait_for_status(&stage.client, current, "waiting_for_signal").await;
        times.push(row.state["execution_data"]["scheduled_at"].clone());
        if number == 2 {
            // However it ends: here, somebody deletes it.
            stage
                .client
                .execute("DELETE FROM workflowexecution WHERE id = $1", &[&current])
                .await
                .unwrap();
            // So that the numbers go on: one that is over takes its place.
            stage
                .client
                .execute(
                    "INSERT INTO workflowexecution (workflow_id, status, completed_at, started_at, execution_state)
                     VALUES ($1, 'completed', now(), '2000-01-01',
                             json_build_object('execution_data', json_build_object('schedule_id', $2::uuid)))",
                    &[&waiting, &schedule],
                )
                .await
                .unwrap();
        } else {
            stage.let_go(current).await;
            wait_for_completion(&stage.client, current).await;
        }
    }
    assert!(
        times.is_sorted_by(|a, b| a.as_str() < b.as_str()),
        "oldest first: {times:?}"
    );
    stage.wait_for(schedule, "queued = 0").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fires_that_wait_survive_a_restart() {
    let stage = Stage::new().await;
    let waiting = stage.waiting_workflow().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage.insert(waiting, YEARLY, "NULL").await;
    configure(&stage, schedule, "overlap => 'queue'").await;
    stage.make_due(schedule).await;
    let executions = stage.wait_for_executions(schedule, 1).await;
    wait_for_status(&stage.client, executions[0], "waiting_for_signal").await;
    stage.make_due(schedule).await;
    stage.wait_for(schedule, "queued = 1").await;
    worker.stop().await;
    // It ends while no worker runs.
    stage
        .client
        .execute(
            "DELETE FROM workflowexecution WHERE id = $1",
            &[&executions[0]],
        )
        .await
        .unwrap();
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    stage.wait_for(schedule, "queued = 0 AND fired = 2").await;
    worker.stop().await;
}
