//! Mails at the end of executions: to the owner, from the platform's templates, never in an execution's way.

use serde_json::json;
use tokio_postgres::Client;
use uuid::Uuid;
use workflow_worker::telemetry::Event;

use crate::support::database::{Database, MAIL_TEMPLATES, Variant};
use crate::support::flow::{
    PATIENCE, chain, insert, insert_workflow, node, set, trigger, wait_for_completion, wait_for_end,
};
use crate::support::in_process::{InProcess, NO_POLL};
use crate::support::smtp::{Received, Smtp};
use crate::support::wait::wait_until;

async fn add_template(client: &Client, slug: &str, is_active: bool) {
    let html = json!("<p>{{ workflow_name }}: {{ error_message }}</p>").to_string();
    let text = json!(
        "{{ user_name }}/{{ workflow_name }}/{{ execution_id }}/{{ duration }}/{{ error_message }}/{{ project_name }}\n\
         {{ execution_url }}"
    )
    .to_string();
    let insert = "INSERT INTO emailtemplate (id, name, slug, subject, html_content, text_content, is_active) \
                  VALUES (gen_random_uuid(), $1, $1, 'About {{ workflow_name }}', $2::text::json, $3::text::json, $4)";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&slug, &html, &text, &is_active];
    client.execute(insert, &values).await.unwrap();
}

async fn start(database: &Database, port: u16, more: &[(&str, &str)]) -> InProcess {
    let port = port.to_string();
    let settings = [
        NO_POLL,
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", port.as_str()),
        ("SMTP_TLS", "false"),
        ("EMAILS_FROM_EMAIL", "worker@example.com"),
        ("PROJECT_NAME", "Acme"),
        ("FRONTEND_HOST", "https://acme.example.com/"),
    ];
    InProcess::start(&database.url(), &[&settings[..], more].concat()).await
}

async fn workflow(client: &Client, fails: bool) -> Uuid {
    let last = if fails {
        node("n", "http_request", json!({"url": "ftp://x"}))
    } else {
        set("n", "a", json!(1))
    };
    insert_workflow(client, &chain(vec![trigger(), last])).await
}

async fn owner_email(client: &Client, workflow: Uuid) -> String {
    let select =
        "SELECT email FROM \"user\" JOIN workflow ON owner_id = \"user\".id WHERE workflow.id = $1";
    client.query_one(select, &[&workflow]).await.unwrap().get(0)
}

async fn one_mail(server: &Smtp) -> Received {
    wait_until("a mail", PATIENCE, async || {
        server.mails().pop().ok_or("no mail")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_execution_sends_its_owner_one_mail() {
    let server = Smtp::start(&[]).await;
    let database = Database::migrated(Variant::CreateAll).await;
    let client = database.client().await;
    client.batch_execute(MAIL_TEMPLATES).await.unwrap();
    add_template(&client, "workflow-completed", true).await;
    add_template(&client, "workflow-failed", true).await;
    let worker = start(&database, server.port(), &[]).await;
    let workflow = workflow(&client, false).await;
    let email = owner_email(&client, workflow).await;
    let execution = insert(&client, workflow).await;
    wait_for_completion(&client, execution).await;
    let mail = one_mail(&server).await;
    assert_eq!(mail.to, [email.as_str()]);
    assert_eq!(mail.header("Subject"), Some("About test"));
    assert_eq!(
        mail.header("From"),
        Some("\"SynthralOS AI\" <worker@example.com>")
    );
    // Long lines are folded in the quoted-printable form.
    let data = mail.data.replace("=\n", "");
    assert!(
        data.contains(&format!("{email}/test/{execution}/0.")),
        "{data}"
    );
    assert!(data.contains(" seconds//Acme\n"), "{data}");
    let url = format!("https://acme.example.com/workflows?execution_id={execution}");
    assert!(data.replace("=3D", "=").contains(&url), "{data}");
    assert!(data.contains("<p>test: </p>"), "{data}");
    worker.stop().await;
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_execution_sends_the_other_mail_with_its_error() {
    let server = Smtp::start(&[]).await;
    let database = Database::migrated(Variant::CreateAll).await;
    let client = database.client().await;
    client.batch_execute(MAIL_TEMPLATES).await.unwrap();
    add_template(&client, "workflow-failed", true).await;
    add_template(&client, "workflow-completed", false).await;
    let worker = start(&database, server.port(), &[]).await;
    let execution = insert(&client, workflow(&client, true).await).await;
    let row = wait_for_end(&client, execution).await;
    assert_eq!(row.status, "failed");
    let data = one_mail(&server).await.data.replace("=\n", "");
    assert!(data.contains("Node n failed: url is"), "{data}");
    // Its template is not active.
    let completed = insert(&client, workflow(&client, false).await).await;
    wait_for_completion(&client, completed).await;
    worker.stop().await;
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_table_or_with_mails_off_nothing_is_sent() {
    for (has_table, more) in [
        (false, &[][..]),
        (true, &[("WORKFLOW_COMPLETION_MAILS", "false")]),
    ] {
        let server = Smtp::start(&[]).await;
        let database = Database::migrated(Variant::Jsonb).await;
        let client = database.client().await;
        if has_table {
            client.batch_execute(MAIL_TEMPLATES).await.unwrap();
            add_template(&client, "workflow-completed", true).await;
        }
        let mut worker = start(&database, server.port(), more).await;
        let execution = insert(&client, workflow(&client, false).await).await;
        wait_for_completion(&client, execution).await;
        worker
            .wait_for("the end", |event| {
                matches!(event, Event::ExecutionCompleted { .. })
            })
            .await;
        assert!(
            worker
                .events_so_far()
                .iter()
                .all(|event| !matches!(**event, Event::MailFailed { .. }))
        );
        // What waits is sent before the worker ends.
        worker.stop().await;
        assert_eq!(server.commands(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_refuses_or_is_away_is_in_no_execution_s_way() {
    let server = Smtp::start(&[("MAIL", "550 not from you")]).await;
    let database = Database::migrated(Variant::CreateAll).await;
    let client = database.client().await;
    client.batch_execute(MAIL_TEMPLATES).await.unwrap();
    add_template(&client, "workflow-completed", true).await;
    let mut worker = start(&database, server.port(), &[]).await;
    let workflow = workflow(&client, false).await;
    let execution = insert(&client, workflow).await;
    wait_for_completion(&client, execution).await;
    let failed = worker
        .wait_for("the mail's failure", |event| {
            matches!(event, Event::MailFailed { .. })
        })
        .await;
    let Event::MailFailed { id, error } = &*failed else {
        unreachable!()
    };
    assert_eq!(id.0, execution);
    assert!(error.contains("not from you"), "{error}");

    drop(server);
    for _ in 0..5 {
        let execution = insert(&client, workflow).await;
        wait_for_completion(&client, execution).await;
    }
    worker
        .wait_for(
            "the mail's failure",
            |event| matches!(event, Event::MailFailed { error, .. } if error.contains("refused")),
        )
        .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_refused_for_now_is_sent_in_the_end() {
    let server = Smtp::start(&[("MAIL", "451 try again")]).await;
    let database = Database::migrated(Variant::CreateAll).await;
    let client = database.client().await;
    client.batch_execute(MAIL_TEMPLATES).await.unwrap();
    add_template(&client, "workflow-completed", true).await;
    let worker = start(&database, server.port(), &[]).await;
    let execution = insert(&client, workflow(&client, false).await).await;
    wait_for_completion(&client, execution).await;
    wait_until("a refusal", PATIENCE, async || {
        let commands = server.commands();
        let is_refused = commands.iter().any(|command| command.starts_with("MAIL"));
        if is_refused {
            Ok(())
        } else {
            Err(commands.len())
        }
    })
    .await;
    server.answer_as_usual();
    one_mail(&server).await;
    worker.stop().await;
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_configuration_of_mail_is_said_at_the_start() {
    let database = Database::migrated(Variant::CreateAll).await;
    let settings = [NO_POLL, ("SMTP_HOST", "127.0.0.1")];
    let mut worker = InProcess::start_only(&database.url(), &settings);
    worker
        .wait_for("the warning", |event| {
            matches!(event, Event::MailOff { variable } if *variable == "EMAILS_FROM_EMAIL")
        })
        .await;
    worker.stop().await;
}
