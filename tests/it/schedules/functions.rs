//! schedule(), configure_schedule(), unschedule(): what they do, and what they refuse.

use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::{Stage, YEARLY};
use crate::support::database::Variant;
use crate::support::flow::host_row;
use crate::support::in_process::{InProcess, NO_POLL};

#[tokio::test(flavor = "multi_thread")]
async fn schedule_makes_one_with_all_its_settings_and_its_input_reaches_each_fire() {
    for variant in [Variant::Alembic, Variant::Jsonb] {
        let stage = Stage::on(variant).await;
        let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
        let row = stage
            .client
            .query_one(
                "SELECT workflow_worker.schedule($1, '30 6 * * *', time_zone => 'Europe/Berlin', overlap => 'queue',
                     missed => 'catch_up', max_catch_up => 5, max_queued => 7, input => '{\"region\": \"eu\"}')",
                &[&stage.workflow],
            )
            .await
            .unwrap();
        let schedule: Uuid = row.get(0);
        stage
            .wait_for(
                schedule,
                "to_char(next_run_at AT TIME ZONE 'Europe/Berlin', 'HH24:MI') = '06:30' AND overlap = 'queue'
                 AND missed = 'catch_up' AND max_catch_up = 5 AND max_queued = 7 AND error IS NULL AND is_active",
            )
            .await;
        stage
            .client
            .execute(
                "SELECT workflow_worker.configure_schedule($1, next_run_at => now())",
                &[&schedule],
            )
            .await
            .unwrap();
        let executions = stage.wait_for_executions(schedule, 1).await;
        let row = host_row(&stage.client, executions[0]).await;
        assert_eq!(row.state["execution_data"]["region"], "eu");
        assert_eq!(row.state["execution_data"]["trigger_type"], "schedule");
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schedule_with_an_id_replaces_and_null_in_configure_leaves_as_it_is() {
    let stage = Stage::new().await;
    let id = Uuid::new_v4();
    let schedule = "SELECT workflow_worker.schedule($1, '0 0 1 1 *', overlap => 'skip', missed => 'skip', schedule_id => $2)";
    for _ in 0..2 {
        let row = stage
            .client
            .query_one(schedule, &[&stage.workflow, &id])
            .await
            .unwrap();
        assert_eq!(row.get::<_, Uuid>(0), id);
    }
    assert_eq!(
        stage.count("SELECT count(*) FROM workflowschedule").await,
        1
    );
    let configure =
        |arguments: &str| format!("SELECT workflow_worker.configure_schedule('{id}', {arguments})");
    let shown = async |columns: &str| stage.shown(id, columns).await.unwrap();
    stage
        .client
        .batch_execute(&configure("max_catch_up => 4, is_active => false"))
        .await
        .unwrap();
    let all =
        "concat_ws(' ', overlap, missed, max_catch_up, is_active, time_zone, cron_expression)";
    assert_eq!(shown(all).await, "skip skip 4 f UTC 0 0 1 1 *");
    stage
        .client
        .batch_execute(&configure(
            "missed => 'default', max_catch_up => 0, cron_expression => '5 0 1 1 *'",
        ))
        .await
        .unwrap();
    assert_eq!(shown(all).await, "skip default f UTC 5 0 1 1 *");
    // Given anew, all else goes back to the defaults.
    stage
        .client
        .execute(
            "SELECT workflow_worker.schedule($1, '0 0 1 1 *', schedule_id => $2)",
            &[&stage.workflow, &id],
        )
        .await
        .unwrap();
    assert_eq!(shown(all).await, "allow default t UTC 0 0 1 1 *");
}

#[tokio::test(flavor = "multi_thread")]
async fn unschedule_deletes_it_and_what_it_has_started_goes_on() {
    let stage = Stage::new().await;
    let waiting = stage.waiting_workflow().await;
    let worker = InProcess::start(&stage.url(), &[NO_POLL]).await;
    let schedule = stage
        .insert(waiting, YEARLY, "now() AT TIME ZONE 'utc'")
        .await;
    let executions = stage.wait_for_executions(schedule, 1).await;
    stage
        .client
        .execute("SELECT workflow_worker.unschedule($1)", &[&schedule])
        .await
        .unwrap();
    assert_eq!(
        stage
            .count("SELECT count(*) FROM workflow_worker.schedule_states")
            .await,
        0
    );
    stage.let_go(executions[0]).await;
    crate::support::flow::wait_for_completion(&stage.client, executions[0]).await;
    worker.stop().await;
}

/// Calls with `$w` for a workflow, `$s` for a schedule and `$n` for the id of neither; the SQLSTATE; what the message names.
const REFUSALS: [(&str, &str, &str); 17] = [
    ("schedule($n, '* * * * *')", "WW404", "no workflow"),
    ("schedule(NULL, '* * * * *')", "WW400", "workflow_id"),
    ("schedule($w, NULL)", "WW400", "cron_expression"),
    ("schedule($w, '')", "WW400", "cron_expression"),
    ("schedule($w, '* * * *')", "WW400", "cron_expression"),
    (
        "schedule($w, '1 2 3 4 5 6 7 8')",
        "WW400",
        "cron_expression",
    ),
    (
        "schedule($w, repeat('1,', 60) || '1 * * * *')",
        "WW400",
        "at most 100",
    ),
    (
        "schedule($w, '@daily', time_zone => 'Mars/Olympus')",
        "WW400",
        "time_zone",
    ),
    (
        "schedule($w, '@daily', overlap => 'both')",
        "WW400",
        "overlap",
    ),
    ("schedule($w, '@daily', missed => 'all')", "WW400", "missed"),
    ("schedule($w, '@daily', input => '[1]')", "WW400", "input"),
    (
        "schedule($w, '@daily', input => json_build_object('a', repeat('x', 65536))::jsonb)",
        "WW400",
        "input",
    ),
    (
        "schedule($w, '@daily', max_catch_up => -1)",
        "WW400",
        "max_catch_up",
    ),
    (
        "configure_schedule($s, max_queued => 0)",
        "WW400",
        "max_queued",
    ),
    ("configure_schedule($n)", "WW404", "no schedule"),
    ("configure_schedule(NULL)", "WW404", "no schedule NULL"),
    ("unschedule($n)", "WW404", "no schedule"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_sqlstate_and_names_the_argument() {
    let stage = Stage::new().await;
    let schedule = stage.insert(stage.workflow, YEARLY, "NULL").await;
    for (call, code, named) in REFUSALS {
        let call = call
            .replace("$w", &format!("'{}'", stage.workflow))
            .replace("$s", &format!("'{schedule}'"))
            .replace("$n", &format!("'{}'", Uuid::new_v4()));
        let refused = stage
            .client
            .batch_execute(&format!("SELECT workflow_worker.{call}"))
            .await
            .expect_err(&call);
        let error = refused.as_db_error().unwrap();
        assert_eq!(*error.code(), SqlState::from_code(code), "{call}: {error}");
        assert!(error.message().contains(named), "{call}: {error}");
    }
    assert_eq!(
        stage.count("SELECT count(*) FROM workflowschedule").await,
        1,
        "nothing was made"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_any_right_on_the_tables_may_be_given_the_functions() {
    let stage = Stage::new().await;
    let role = format!("producer_{}", Uuid::new_v4().simple());
    stage
        .client
        .batch_execute(&format!(
            "CREATE ROLE {role};
             SET ROLE {role}"
        ))
        .await
        .unwrap();
    let call = format!(
        "SELECT workflow_worker.schedule('{}', '{YEARLY}', time_zone => 'Europe/Berlin')",
        stage.workflow
    );
    let refused = stage.client.batch_execute(&call).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Some(&SqlState::INSUFFICIENT_PRIVILEGE),
        "not without a grant"
    );
    stage
        .client
        .batch_execute(&format!(
            "RESET ROLE;
             GRANT USAGE ON SCHEMA workflow_worker TO {role};
             GRANT EXECUTE ON FUNCTION workflow_worker.schedule TO {role};
             SET ROLE {role};
             {call};
             RESET ROLE"
        ))
        .await
        .unwrap();
    assert_eq!(
        stage.count("SELECT count(*) FROM workflowschedule").await,
        1
    );
    stage
        .client
        .batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .unwrap();
}
