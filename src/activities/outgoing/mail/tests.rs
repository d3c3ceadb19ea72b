use serde_json::json;

use super::super::testing::smtp::{Answers, Smtp};
use super::super::testing::{answer, serve};
use super::*;
use crate::activities::FailureKind;
use crate::activities::native::http::api_client;
use crate::config::{OutgoingConfig, SmtpSecurity};

fn config(port: u16) -> MailConfig {
    MailConfig {
        from_email: Some("worker@example.com".to_owned()),
        smtp_host: Some("127.0.0.1".to_owned()),
        smtp_port: port,
        smtp_security: SmtpSecurity::None,
        ..OutgoingConfig::default().mail
    }
}

fn mailer(config: &MailConfig) -> Mailer {
    Mailer::new(config, api_client().unwrap()).unwrap()
}

fn mail(to: &str) -> Mail {
    Mail {
        to: to.to_owned(),
        subject: "Größe\r\nBcc: evil@example.com".to_owned(),
        text: Some("hello\n.\nend".to_owned()),
        html: None,
        key: "e:n:1".to_owned(),
        date: "2026-01-05T12:00:00Z".parse().unwrap(),
    }
}

async fn refused(answers: Answers) -> (Failure, Smtp) {
    let server = Smtp::start(answers).await;
    let sent = mailer(&config(server.port()))
        .send(&mail("a@example.com"))
        .await;
    (sent.unwrap_err(), server)
}

#[tokio::test]
async fn a_mail_arrives_whole_with_a_stable_id() {
    let server = Smtp::start(&[]).await;
    let mut config = config(server.port());
    config.smtp_user = Some("user".to_owned());
    config.smtp_password = Some("hunter2".into());
    let mailer = mailer(&config);
    assert!(!format!("{mailer:?}").contains("hunter2"));
    let sent = mailer
        .send(&mail("Ann <a@example.com>, b@example.com"))
        .await
        .unwrap();
    assert_eq!(sent.provider, "smtp");
    assert_eq!(sent.answer, "250 queued as 4711");
    let received = server.mails().remove(0);
    assert_eq!(received.to, ["a@example.com", "b@example.com"]);
    assert_eq!(received.header("Message-ID"), Some(sent.id.as_str()));
    assert_eq!(
        received.header("Date"),
        Some("Mon, 05 Jan 2026 12:00:00 +0000")
    );
    assert_eq!(
        received.header("From"),
        Some("\"SynthralOS AI\" <worker@example.com>")
    );
    assert_eq!(received.header("Bcc"), None, "{}", received.data);
    assert!(
        received.data.ends_with("\n\nhello\n.\nend\n"),
        "{}",
        received.data
    );
    // AUTH PLAIN: \0user\0hunter2
    assert!(
        server
            .commands()
            .contains(&"AUTH PLAIN AHVzZXIAaHVudGVyMg==".to_owned())
    );

    let again = mailer.send(&mail("a@example.com")).await.unwrap();
    assert_eq!(again.id, sent.id);
    let other = Mail {
        key: "e:n:2".to_owned(),
        ..mail("a@example.com")
    };
    assert_ne!(mailer.send(&other).await.unwrap().id, sent.id);
}

#[tokio::test]
async fn text_and_html_are_alternatives() {
    let server = Smtp::start(&[]).await;
    let mail = Mail {
        html: Some("<b>hello</b>".to_owned()),
        ..mail("a@example.com")
    };
    mailer(&config(server.port())).send(&mail).await.unwrap();
    let data = server.mails().remove(0).data;
    for part in [
        "multipart/alternative",
        "text/plain",
        "text/html",
        "<b>hello</b>",
    ] {
        assert!(data.contains(part), "{part} is not in {data}");
    }
}

#[tokio::test]
async fn a_refusal_for_good_is_permanent_and_one_for_now_is_not() {
    for (answers, kind, said) in [
        (
            &[("RCPT", "550 no such user")][..],
            FailureKind::Permanent,
            "no such user",
        ),
        (
            &[("MAIL", "421 too busy")],
            FailureKind::Retryable,
            "too busy",
        ),
        (
            &[("", "421 too many connections")],
            FailureKind::Retryable,
            "too many connections",
        ),
        (
            &[(".", "554 looks like spam")],
            FailureKind::Permanent,
            "looks like spam",
        ),
        (
            &[(".", "451 try later")],
            FailureKind::Retryable,
            "try later",
        ),
    ] {
        let (failure, server) = refused(answers).await;
        assert_eq!(failure.kind, kind, "{}", failure.message);
        assert_eq!(failure.error_type, "ActivityError");
        assert!(failure.message.contains(said), "{}", failure.message);
        assert!(server.mails().is_empty());
    }
}

#[tokio::test]
async fn what_is_refused_for_now_can_be_sent_later() {
    let server = Smtp::start(&[("MAIL", "451 try later")]).await;
    let mailer = mailer(&config(server.port()));
    let failure = mailer.send(&mail("a@example.com")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retryable);
    server.answer_as_usual();
    mailer.send(&mail("a@example.com")).await.unwrap();
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn one_refused_recipient_stops_the_mail_to_all() {
    let server = Smtp::start(&[("RCPT TO:<B@", "550 unknown")]).await;
    let sent = mailer(&config(server.port()))
        .send(&mail("a@example.com, b@example.com"))
        .await;
    assert_eq!(sent.unwrap_err().kind, FailureKind::Permanent);
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_wrong_password_is_permanent_and_not_shown() {
    let server = Smtp::start(&[("AUTH", "535 bad credentials")]).await;
    let mut config = config(server.port());
    config.smtp_user = Some("user".to_owned());
    config.smtp_password = Some("hunter2".into());
    let failure = mailer(&config)
        .send(&mail("a@example.com"))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(
        failure.message.contains("bad credentials"),
        "{}",
        failure.message
    );
    assert!(!failure.message.contains("hunter2"));
}

#[tokio::test]
async fn a_server_without_starttls_gets_neither_password_nor_mail() {
    let server = Smtp::start(&[]).await;
    let mut config = config(server.port());
    config.smtp_security = SmtpSecurity::StartTls;
    config.smtp_user = Some("user".to_owned());
    config.smtp_password = Some("hunter2".into());
    let failure = mailer(&config)
        .send(&mail("a@example.com"))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent, "{}", failure.message);
    assert!(failure.message.contains("STARTTLS"), "{}", failure.message);
    let commands = server.commands();
    assert!(
        commands
            .iter()
            .all(|command| !command.starts_with("AUTH") && !command.starts_with("MAIL")),
        "{commands:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_retryable() {
    let server = Smtp::start(&[]).await;
    let config = config(server.port());
    drop(server);
    tokio::task::yield_now().await;
    let failure = mailer(&config)
        .send(&mail("a@example.com"))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.kind, failure.error_type),
        (FailureKind::Retryable, "NetworkError".into())
    );
}

#[tokio::test]
async fn wrong_recipients_are_named() {
    let mailer = mailer(&config(1));
    for to in ["nobody", "", " , ", "a@example.com, b@"] {
        let failure = mailer.send(&mail(to)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Permanent);
        assert!(
            failure.message.starts_with(&format!("recipient is {to:?}")),
            "{}",
            failure.message
        );
    }
    let many = vec!["a@example.com"; 51].join(",");
    let failure = mailer.send(&mail(&many)).await.unwrap_err();
    assert_eq!(
        failure.message,
        "recipient has 51 addresses; at most 50 are allowed"
    );
}

#[tokio::test]
async fn what_is_not_configured_is_named() {
    let empty = OutgoingConfig::default().mail;
    let half = MailConfig {
        smtp_host: Some("h".to_owned()),
        ..empty.clone()
    };
    let keyless = MailConfig {
        use_resend: true,
        ..config(1)
    };
    for (config, variable) in [
        (empty, "SMTP_HOST"),
        (half, "EMAILS_FROM_EMAIL"),
        (keyless, "RESEND_API_KEY"),
    ] {
        let failure = mailer(&config)
            .send(&mail("a@example.com"))
            .await
            .unwrap_err();
        assert_eq!(
            failure,
            Failure::permanent(format!("no mail can be sent: {variable} is not set"))
        );
    }
}

fn resend(url: &str) -> Mailer {
    mailer(&MailConfig {
        use_resend: true,
        resend_api_key: Some("re_1".into()),
        resend_base_url: url.to_owned(),
        ..config(1)
    })
}

#[tokio::test]
async fn resend_gets_the_mail_and_gives_its_id() {
    let (url, requests) = serve(vec![answer("200 OK", r#"{"id": "49a3999c"}"#)]).await;
    let sent = resend(&url).send(&mail("a@example.com")).await.unwrap();
    assert_eq!((sent.provider, sent.id.as_str()), ("resend", "49a3999c"));
    let request = requests.await.unwrap().remove(0);
    assert_eq!(request.path(), "/emails");
    assert_eq!(
        request.header("authorization").as_deref(),
        Some("Bearer re_1")
    );
    assert_eq!(request.header("idempotency-key"), Some(digest("e:n:1")));
    assert_eq!(
        request.json(),
        json!({
            "from": "SynthralOS AI <worker@example.com>", "to": ["a@example.com"],
            "subject": "Größe Bcc: evil@example.com", "text": "hello\n.\nend"
        })
    );
}

#[tokio::test]
async fn resend_s_refusals_are_told_apart() {
    let limited = "429 Too Many Requests\r\nRetry-After: 3";
    for (head, kind, wait) in [
        (limited, FailureKind::Retryable, Some(3)),
        ("422 Unprocessable Entity", FailureKind::Permanent, None),
        ("500 Internal Server Error", FailureKind::Retryable, None),
    ] {
        let body = r#"{"name": "x", "message": "key re_1 said no"}"#;
        let (url, _requests) = serve(vec![answer(head, body)]).await;
        let failure = resend(&url).send(&mail("a@example.com")).await.unwrap_err();
        assert_eq!(failure.kind, kind);
        assert_eq!(
            failure.retry_after,
            wait.map(std::time::Duration::from_secs)
        );
        assert!(
            failure.message.ends_with("key *** said no"),
            "{}",
            failure.message
        );
    }
}
