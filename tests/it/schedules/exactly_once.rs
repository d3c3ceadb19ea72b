//! Law: each time of each schedule makes one execution, and moves the schedule on, whatever the number of workers and
//! whenever they or their connections are killed.

use std::time::Duration;

use uuid::Uuid;
use workflow_worker::telemetry::Event;

use super::{Stage, YEARLY};
use crate::support::flow::PATIENCE;
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::wait::{pause, wait_until};
use crate::support::worker::WorkerProcess;

/// Schedules without an execution, or with more than one for one round.
const WRONG: &str = "SELECT count(*) FROM workflow_worker.schedules WHERE fired <> $1";

async fn insert_many(stage: &Stage, number: i32, next_run_at: &str) {
    stage
        .client
        .execute(
            &format!(
                "INSERT INTO workflowschedule (workflow_id, cron_expression, next_run_at)
                 SELECT $1, '{YEARLY}', {next_run_at} FROM generate_series(1, $2)"
            ),
            &[&stage.workflow, &number],
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_workers_fire_two_hundred_schedules_of_one_moment_once_each() {
    let stage = Stage::new().await;
    let url = stage.url();
    let settings = [NO_POLL, ("WORKFLOW_WORKER_POOL_SIZE", "3")];
    let mut workers = Vec::new();
    for _ in 0..8 {
        workers.push(InProcess::start(&url, &settings).await);
    }
    insert_many(
        &stage,
        200,
        "(now() AT TIME ZONE 'utc') + interval '2 seconds'",
    )
    .await;
    wait_until("all to complete", PATIENCE, async || {
        let done = "SELECT count(*) FROM workflowexecution WHERE status = 'completed'";
        match stage.count(done).await {
            done if done >= 200 => Ok(()),
            done => Err(done),
        }
    })
    .await;
    // What a second fire would still do, it does before its worker has stopped.
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(
        stage.count("SELECT count(*) FROM workflowexecution").await,
        200
    );
    let schedules = "SELECT count(DISTINCT execution_state -> 'execution_data' ->> 'schedule_id') FROM workflowexecution";
    assert_eq!(stage.count(schedules).await, 200);
    let logged =
        "SELECT count(*) FROM executionlog WHERE message LIKE 'Workflow execution started: %'";
    assert_eq!(stage.count(logged).await, 200);
    let moved = "SELECT count(*) FROM workflowschedule
                 WHERE next_run_at = date_trunc('year', now() AT TIME ZONE 'utc') + interval '1 year'
                   AND last_run_at IS NOT NULL";
    assert_eq!(stage.count(moved).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_schedules_than_a_batch_holds_are_all_planned_and_all_fire() {
    let stage = Stage::new().await;
    insert_many(&stage, 350, "NULL").await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    wait_for_all_moved(&stage).await;
    assert_eq!(
        stage.count("SELECT count(*) FROM workflowexecution").await,
        0,
        "planned, not fired"
    );
    make_all_due(&stage).await;
    wait_for_all_moved(&stage).await;
    worker.stop().await;
    assert_eq!(
        stage.count("SELECT count(*) FROM workflowexecution").await,
        350
    );
}

async fn make_all_due(stage: &Stage) {
    stage
        .client
        .execute(
            "UPDATE workflowschedule SET next_run_at = now() AT TIME ZONE 'utc'",
            &[],
        )
        .await
        .unwrap();
}

async fn wait_for_all_moved(stage: &Stage) {
    wait_until("all to be moved on", PATIENCE, async || {
        let left = "SELECT count(*) FROM workflowschedule
                    WHERE next_run_at IS NULL OR next_run_at <= now() AT TIME ZONE 'utc'";
        match stage.count(left).await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_and_connections_killed_at_random_lose_no_fire_and_make_none_twice() {
    const SCHEDULES: i32 = 150;
    const ROUNDS: i64 = 14;
    let stage = Stage::new().await;
    insert_many(&stage, SCHEDULES, "NULL").await;
    let url = stage.url();
    let settings = [
        ("WORKFLOW_WORKER_LOG", "warn"),
        ("WORKFLOW_WORKER_POOL_SIZE", "3"),
        ("WORKFLOW_WORKER_POLL_INTERVAL", "0.2"),
    ];
    let mut workers: Vec<WorkerProcess> = (0..3)
        .map(|_| WorkerProcess::spawn(&url, &settings))
        .collect();
    wait_for_all_moved(&stage).await;
    let seed = u64::from_le_bytes(Uuid::new_v4().as_bytes()[..8].try_into().unwrap());
    let mut random = seed;
    let mut in_the_middle = 0;
    for round in 1..=ROUNDS {
        make_all_due(&stage).await;
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        pause(Duration::from_millis((random >> 33) % 40)).await;
        let fired = "SELECT count(*) FROM workflow_worker.schedule_states WHERE fired = ";
        let done = stage.count(&format!("{fired}{round}")).await;
        if done > 0 && done < i64::from(SCHEDULES) {
            in_the_middle += 1;
        }
        if round % 2 == 0 {
            // All connections, in whatever they are.
            let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                       WHERE application_name LIKE 'workflow-worker%' AND datname = current_database()";
            stage.count(cut).await;
        } else {
            // Two of three: the survivor may have been about to do the same.
            for victim in [0, 1] {
                workers[victim].kill9();
                workers[victim] = WorkerProcess::spawn(&url, &settings);
            }
            workers.rotate_left(1);
        }
        wait_for_all_moved(&stage).await;
        let wrong: i64 = stage
            .client
            .query_one(WRONG, &[&round])
            .await
            .unwrap()
            .get(0);
        assert_eq!(wrong, 0, "round {round} (seed {seed})");
    }
    drop(workers);
    assert_eq!(
        stage.count("SELECT count(*) FROM workflowexecution").await,
        i64::from(SCHEDULES) * ROUNDS,
        "seed {seed}, {in_the_middle} rounds were hit in the middle"
    );
}

/// A fire takes a second inside its statement, between the executions and the move of the schedule or before either.
const SLOW_FIRE: &str = "
    CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$;
    CREATE TRIGGER slowly BEFORE INSERT ON workflowexecution FOR EACH ROW EXECUTE FUNCTION slowly();
    CREATE TRIGGER slowly BEFORE UPDATE ON workflowschedule FOR EACH ROW
        WHEN (NEW.last_run_at IS DISTINCT FROM OLD.last_run_at) EXECUTE FUNCTION slowly();";

const FIRING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE wait_event = 'PgSleep' AND datname = current_database() AND application_name = 'workflow-worker'";

#[tokio::test(flavor = "multi_thread")]
async fn a_fire_that_is_cut_in_the_middle_of_its_statement_happens_once() {
    let stage = Stage::new().await;
    stage.client.batch_execute(SLOW_FIRE).await.unwrap();
    let schedule = stage.insert(stage.workflow, YEARLY, "NULL").await;
    let url = stage.url();
    let settings = [("WORKFLOW_WORKER_POLL_INTERVAL", "0.2")];
    let mut worker = WorkerProcess::spawn(&url, &settings);
    stage.wait_for(schedule, "next_run_at > now()").await;
    // First its server process dies, so that the statement is undone; then the worker does, and the server, which does not
    // see that, ends the statement. Each while the executions are made, and about when the schedule is moved on.
    for (fires, is_worker_killed, pause_ms) in [
        (1, false, 0),
        (2, true, 0),
        (3, false, 1_000),
        (4, true, 1_000),
    ] {
        stage.make_due(schedule).await;
        wait_until("the middle of a fire", PATIENCE, async || {
            match stage.count(FIRING).await {
                0 => Err("nobody fires"),
                _ => Ok(()),
            }
        })
        .await;
        pause(Duration::from_millis(pause_ms)).await;
        if is_worker_killed {
            worker.kill9();
            worker = WorkerProcess::spawn(&url, &settings);
        } else {
            let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                       WHERE wait_event = 'PgSleep' AND datname = current_database()";
            stage.count(cut).await;
        }
        stage
            .wait_for(
                schedule,
                &format!("fired = {fires} AND next_run_at > now()"),
            )
            .await;
        assert_eq!(stage.executions(schedule).await.len(), fires);
    }
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_comes_due_while_the_database_is_away_fires_when_it_is_back() {
    let stage = Stage::new().await;
    let mut worker = InProcess::start(&stage.url(), &[]).await;
    let schedule = stage
        .insert(
            stage.workflow,
            YEARLY,
            "(now() AT TIME ZONE 'utc') + interval '3 seconds'",
        )
        .await;
    let name = stage.database.name();
    let admin = |statements: &str| {
        stage
            .database
            .cluster()
            .execute("postgres", statements)
            .unwrap();
    };
    admin(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    admin(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    ));
    let is_loss = |event: &Event| {
        matches!(
            event,
            Event::DatabaseLost {
                part: "scheduler",
                ..
            }
        )
    };
    worker.wait_for("the loss", is_loss).await;
    // Several attempts long.
    pause(Duration::from_millis(700)).await;
    let said_again = worker.events_so_far().iter().any(|event| is_loss(event));
    assert!(!said_again, "once for an outage");
    admin(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    worker
        .wait_for("the return", |event| {
            matches!(event, Event::DatabaseBack { part: "scheduler" })
        })
        .await;
    let stage = Stage {
        client: stage.database.client().await,
        ..stage
    };
    stage.wait_for_executions(schedule, 1).await;
    worker.stop().await;
    assert_eq!(stage.executions(schedule).await.len(), 1);
}
