//! A schedule that is inserted or changed by SQL takes effect at once. No poll can explain it.

use workflow_worker::telemetry::Event;

use super::{Stage, YEARLY};
use crate::support::in_process::{InProcess, NO_POLL};

const NEXT_NEW_YEAR: &str = "next_run_at = (date_trunc('year', now() AT TIME ZONE 'utc') + interval '1 year') AT TIME ZONE 'utc'";

#[tokio::test(flavor = "multi_thread")]
async fn one_without_a_time_is_planned_and_does_not_fire() {
    let stage = Stage::new().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage.insert(stage.workflow, YEARLY, "NULL").await;
    stage.wait_for(schedule, NEXT_NEW_YEAR).await;
    assert!(stage.executions(schedule).await.is_empty());
    assert_eq!(stage.shown(schedule, "last_run_at").await, None);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_were_there_before_the_worker_are_planned_at_its_start() {
    let stage = Stage::new().await;
    let schedule = stage.insert(stage.workflow, YEARLY, "NULL").await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    stage.wait_for(schedule, NEXT_NEW_YEAR).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_set_by_hand_counts_and_then_the_expression_again() {
    let stage = Stage::new().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage.insert(stage.workflow, YEARLY, "NULL").await;
    stage.wait_for(schedule, NEXT_NEW_YEAR).await;
    stage
        .update(
            schedule,
            "next_run_at = (now() AT TIME ZONE 'utc') + interval '0.5 seconds'",
        )
        .await;
    stage.wait_for_executions(schedule, 1).await;
    stage.wait_for(schedule, NEXT_NEW_YEAR).await;
    // A time that no clock can hold does no harm.
    stage.update(schedule, "next_run_at = 'infinity'").await;
    stage.wait_for(schedule, "next_run_at > now()").await;
    stage.update(schedule, "next_run_at = '-infinity'").await;
    stage.wait_for_executions(schedule, 2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_expression_is_planned_from_now() {
    let stage = Stage::new().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage.insert(stage.workflow, YEARLY, "NULL").await;
    stage.wait_for(schedule, NEXT_NEW_YEAR).await;
    stage
        .update(schedule, "cron_expression = '0 0 2 1 *'")
        .await;
    stage
        .wait_for(
            schedule,
            "extract(day FROM next_run_at AT TIME ZONE 'utc') = 2",
        )
        .await;
    assert!(stage.executions(schedule).await.is_empty());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_zone_is_planned_from_now() {
    let stage = Stage::new().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage.insert(stage.workflow, "0 12 * * *", "NULL").await;
    stage
        .wait_for(
            schedule,
            "extract(hour FROM next_run_at AT TIME ZONE 'utc') = 12",
        )
        .await;
    stage
        .client
        .execute(
            "SELECT workflow_worker.configure_schedule($1, time_zone => 'Asia/Kolkata')",
            &[&schedule],
        )
        .await
        .unwrap();
    stage
        .wait_for(
            schedule,
            "to_char(next_run_at AT TIME ZONE 'utc', 'HH24:MI') = '06:30'",
        )
        .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_off_does_not_fire_and_when_on_again_not_for_that_time() {
    let stage = Stage::new().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage.insert(stage.workflow, YEARLY, "NULL").await;
    stage.wait_for(schedule, NEXT_NEW_YEAR).await;
    stage
        .update(
            schedule,
            "is_active = false, next_run_at = (now() AT TIME ZONE 'utc') - interval '1 hour'",
        )
        .await;
    // A second one shows that the scheduler has looked meanwhile.
    let other = stage.insert(stage.workflow, YEARLY, "NULL").await;
    stage.wait_for(other, NEXT_NEW_YEAR).await;
    stage.update(schedule, "is_active = true").await;
    stage.wait_for(schedule, NEXT_NEW_YEAR).await;
    assert!(stage.executions(schedule).await.is_empty());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_workflow_is_not_started_but_planned_on_quietly() {
    let stage = Stage::new().await;
    let set_active = async |on: bool| {
        stage
            .client
            .execute(
                "UPDATE workflow SET is_active = $1 WHERE id = $2",
                &[&on, &stage.workflow],
            )
            .await
            .unwrap();
    };
    set_active(false).await;
    let mut worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage
        .insert(stage.workflow, YEARLY, "now() AT TIME ZONE 'utc'")
        .await;
    stage.wait_for(schedule, NEXT_NEW_YEAR).await;
    assert!(stage.executions(schedule).await.is_empty());
    assert_eq!(stage.shown(schedule, "skipped").await.unwrap(), "0");
    assert!(!worker.events_so_far().iter().any(|event| matches!(
        **event,
        Event::ScheduleFailed { .. } | Event::ScheduleSkipped { .. }
    )));
    set_active(true).await;
    stage.make_due(schedule).await;
    stage.wait_for_executions(schedule, 1).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_expression_or_zone_is_said_once_and_mended_at_once() {
    let stage = Stage::new().await;
    let mut worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    // Far from due: that it is bad is found now.
    let bad = stage
        .insert(
            stage.workflow,
            "61 * * * *",
            "(now() AT TIME ZONE 'utc') + interval '1 day'",
        )
        .await;
    let event = worker
        .wait_for("the warning", |event| {
            matches!(event, Event::ScheduleFailed { .. })
        })
        .await;
    let Event::ScheduleFailed {
        id,
        workflow,
        error,
    } = &*event
    else {
        unreachable!()
    };
    assert_eq!((id.0, workflow.as_str()), (bad, "test"));
    assert!(error.contains("61 * * * *"), "{error}");
    stage
        .wait_for(bad, "next_run_at IS NULL AND error LIKE '%61 * * * *%'")
        .await;
    let doctor = doctor(&stage.url()).await;
    assert!(
        doctor.contains(&format!("{bad} of workflow \"test\"")) && doctor.contains("61 * * * *"),
        "{doctor}"
    );
    // A zone that only this worker can know to be none.
    let good = stage.insert(stage.workflow, YEARLY, "NULL").await;
    stage.wait_for(good, NEXT_NEW_YEAR).await;
    stage
        .client
        .execute(
            "UPDATE workflow_worker.schedule_states
             SET time_zone = 'Mars/Olympus', due_at = '-infinity', is_to_plan = true WHERE schedule_id = $1",
            &[&good],
        )
        .await
        .unwrap();
    stage.update(bad, "cron_expression = '1 0 1 1 *'").await;
    stage
        .wait_for(good, "next_run_at IS NULL AND error LIKE '%Mars/Olympus%'")
        .await;
    // The first is mended, and was not looked at again and again meanwhile.
    stage
        .wait_for(bad, "error IS NULL AND next_run_at > now()")
        .await;
    let failures = worker
        .events_so_far()
        .iter()
        .filter(|event| matches!(***event, Event::ScheduleFailed { .. }))
        .count();
    assert_eq!(failures, 1, "that of the zone");
    worker.stop().await;
}

/// What `workflow-worker doctor` prints about a database with which something is wrong.
async fn doctor(url: &str) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_workflow-worker"));
    command.arg("doctor").env_clear().env("DATABASE_URL", url);
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_while_triggers_were_off_is_found_by_the_repair() {
    let stage = Stage::new().await;
    let known = stage.insert(stage.workflow, YEARLY, "NULL").await;
    let gone = stage.insert(stage.workflow, YEARLY, "NULL").await;
    let worker = InProcess::start(&stage.url(), &[("WORKFLOW_WORKER_POLL_INTERVAL", "0.2")]).await;
    stage.wait_for(known, NEXT_NEW_YEAR).await;
    stage
        .client
        .batch_execute("ALTER TABLE workflowschedule DISABLE TRIGGER USER")
        .await
        .unwrap();
    let new = stage
        .insert(stage.workflow, YEARLY, "now() AT TIME ZONE 'utc'")
        .await;
    stage.wait_for_executions(new, 1).await;
    stage.make_due(known).await;
    stage.wait_for_executions(known, 1).await;
    stage
        .client
        .execute("DELETE FROM workflowschedule WHERE id = $1", &[&gone])
        .await
        .unwrap();
    crate::support::wait::wait_until(
        "its state to go",
        crate::support::flow::PATIENCE,
        async || match stage
            .count("SELECT count(*) FROM workflow_worker.schedule_states")
            .await
        {
            2 => Ok(()),
            number => Err(number),
        },
    )
    .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_schedule_or_workflow_leaves_nothing() {
    let stage = Stage::new().await;
    let states = "SELECT count(*) FROM workflow_worker.schedule_states";
    let schedule = stage.insert(stage.workflow, YEARLY, "NULL").await;
    stage.insert(stage.workflow, YEARLY, "NULL").await;
    stage
        .client
        .execute("DELETE FROM workflowschedule WHERE id = $1", &[&schedule])
        .await
        .unwrap();
    assert_eq!(stage.count(states).await, 1);
    stage
        .client
        .execute("DELETE FROM workflow WHERE id = $1", &[&stage.workflow])
        .await
        .unwrap();
    assert_eq!(stage.count(states).await, 0);
}
