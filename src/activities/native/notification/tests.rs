use std::time::Duration;

use serde_json::json;

use super::super::testing::{context, done, run};
use super::*;
use crate::activities::FailureKind;
use crate::activities::outgoing::testing::smtp::Smtp;
use crate::activities::outgoing::testing::{answer, serve};
use crate::config::{OutgoingConfig, SmtpSecurity};

fn activity(change: impl FnOnce(&mut OutgoingConfig)) -> Notification {
    let mut config = OutgoingConfig::default();
    change(&mut config);
    Notification {
        outgoing: Outgoing::new(config).unwrap(),
    }
}

async fn notify(activity: &Notification, config: Value) -> Result<Outcome, Failure> {
    run(activity, config, &context(json!({}))).await
}

async fn notify_plainly(config: Value) -> Result<Outcome, Failure> {
    notify(&activity(|_| {}), config).await
}

#[tokio::test]
async fn a_webhook_gets_json() {
    let (url, requests) = serve(vec![answer("202 Accepted", "thanks")]).await;
    let config = json!({
        "channel": "webhook", "recipient": format!("{url}/hook?a=1"), "subject": "S", "message": {"n": 1},
        "headers": {"X-Token": "t"}
    });
    let (output, branch) = done(notify_plainly(config).await);
    assert_eq!(branch, None);
    assert_eq!(
        output,
        json!({
            "channel": "webhook", "recipient": format!("{url}/hook?a=1"), "subject": "S", "message": {"n": 1},
            "sent": true, "status_code": 202, "response": "thanks"
        })
    );
    let request = requests.await.unwrap().remove(0);
    assert!(
        request.head.starts_with("POST /hook?a=1 "),
        "{}",
        request.head
    );
    assert_eq!(request.header("x-token").as_deref(), Some("t"));
    assert_eq!(
        request.json(),
        json!({
            "subject": "S", "message": {"n": 1}, "execution_id": "00000000-0000-0000-0000-000000000000",
            "node_id": "n1", "idempotency_key": "00000000:n1:1"
        })
    );
}

#[tokio::test]
async fn a_webhook_that_refuses_is_no_success() {
    for (head, kind) in [
        (
            "301 Moved Permanently\r\nLocation: /there",
            FailureKind::Permanent,
        ),
        ("404 Not Found", FailureKind::Permanent),
        ("503 Service Unavailable", FailureKind::Retryable),
        ("408 Request Timeout", FailureKind::Retryable),
    ] {
        let (url, _requests) = serve(vec![answer(head, "")]).await;
        let config = json!({"channel": "webhook", "recipient": url, "message": "m"});
        let failure = notify_plainly(config).await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.error_type),
            (kind, "HTTPError".into()),
            "{head}"
        );
    }
}

#[tokio::test]
async fn slack_gets_a_text_at_the_node_s_webhook() {
    let (url, requests) = serve(vec![answer("200 OK", "ok")]).await;
    let config = json!({
        "channel": "Slack", "recipient": format!("{url}/services/SECRET"), "subject": "Build", "message": "done"
    });
    let (output, _) = done(notify_plainly(config).await);
    assert_eq!(output["sent"], true);
    assert_eq!(output["recipient"], format!("{url}/…"));
    let request = requests.await.unwrap().remove(0);
    assert_eq!(request.path(), "/services/SECRET");
    assert_eq!(request.json(), json!({"text": "*Build*\ndone"}));
}

#[tokio::test]
async fn slack_uses_the_setting_for_a_channel_s_name_and_for_none() {
    let ok = || answer("200 OK", "ok");
    let (url, requests) = serve(vec![ok(), ok()]).await;
    let activity = activity(|config| config.webhooks.slack = Some(format!("{url}/SECRET").into()));
    let config = json!({"channel": "slack", "recipient": "#ops", "message": "m"});
    assert_eq!(done(notify(&activity, config).await).0["recipient"], "#ops");
    let (output, _) = done(notify(&activity, json!({"channel": "slack", "message": "m"})).await);
    assert_eq!(output["recipient"], format!("{url}/…"));
    let bodies: Vec<Value> = requests
        .await
        .unwrap()
        .iter()
        .map(|request| request.json())
        .collect();
    assert_eq!(
        bodies,
        [
            json!({"text": "m", "channel": "#ops"}),
            json!({"text": "m"})
        ]
    );
}

#[tokio::test]
async fn slack_s_refusals_are_told_apart_and_hide_the_url() {
    for (head, body, kind, expected) in [
        (
            "400 Bad Request",
            "invalid_payload",
            FailureKind::Permanent,
            "Slack: HTTP 400: invalid_payload",
        ),
        (
            "404 Not Found",
            "no_service",
            FailureKind::Permanent,
            "Slack: HTTP 404: no_service",
        ),
        (
            "500 Internal Server Error",
            "rollup_error",
            FailureKind::Retryable,
            "Slack: HTTP 500: rollup_error",
        ),
        (
            "200 OK",
            "<html>",
            FailureKind::Permanent,
            "Slack: the answer is \"<html>\" and not \"ok\": is this an incoming webhook's URL?",
        ),
    ] {
        let (url, _requests) = serve(vec![answer(head, body)]).await;
        let config =
            json!({"channel": "slack", "recipient": format!("{url}/SECRET"), "message": "m"});
        let failure = notify_plainly(config).await.unwrap_err();
        assert_eq!((failure.kind, failure.message.as_str()), (kind, expected));
    }
    let config =
        json!({"channel": "slack", "recipient": "http://127.0.0.1:1/SECRET", "message": "m"});
    let failure = notify_plainly(config).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.error_type),
        (FailureKind::Retryable, "NetworkError".into())
    );
    assert!(!failure.message.contains("SECRET"), "{}", failure.message);
}

#[tokio::test]
async fn discord_gives_the_message_s_id() {
    let (url, requests) = serve(vec![
        answer("200 OK", r#"{"id": "1180"}"#),
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned(),
    ])
    .await;
    let activity =
        activity(|config| config.webhooks.discord = Some(format!("{url}/SECRET?x=1").into()));
    let config = json!({"channel": "discord", "subject": "S", "message": "m"});
    let (output, _) = done(notify(&activity, config.clone()).await);
    assert_eq!(
        (&output["id"], &output["sent"]),
        (&json!("1180"), &json!(true))
    );
    assert_eq!(done(notify(&activity, config).await).0["id"], Value::Null);
    let request = requests.await.unwrap().remove(0);
    assert_eq!(request.path(), "/SECRET?x=1&wait=true");
    assert_eq!(request.json(), json!({"content": "**S**\nm"}));
}

#[tokio::test]
async fn discord_s_rate_limit_says_how_long() {
    let limited = answer(
        "429 Too Many Requests",
        r#"{"message": "You are being rate limited.", "retry_after": 0.65, "global": false}"#,
    );
    let unknown = answer(
        "404 Not Found",
        r#"{"message": "Unknown Webhook", "code": 10015}"#,
    );
    let (url, _requests) = serve(vec![limited, unknown]).await;
    let config = json!({"channel": "discord", "recipient": url, "message": "m"});
    let failure = notify_plainly(config.clone()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retryable);
    assert_eq!(failure.retry_after, Some(Duration::from_millis(650)));
    assert_eq!(
        failure.message,
        "Discord: HTTP 429: You are being rate limited."
    );
    let failure = notify_plainly(config).await.unwrap_err();
    assert_eq!(
        failure,
        Failure::permanent("Discord: HTTP 404: Unknown Webhook").of_type("HTTPError")
    );
}

#[tokio::test]
async fn an_email_is_sent() {
    let server = Smtp::start(&[]).await;
    let activity = activity(|config| {
        config.mail.smtp_host = Some("127.0.0.1".to_owned());
        config.mail.smtp_port = server.port();
        config.mail.smtp_security = SmtpSecurity::None;
        config.mail.from_email = Some("worker@example.com".to_owned());
    });
    let config = json!({
        "channel": "email", "recipient": ["a@example.com", "B <b@example.com>"], "subject": "S", "message": 5
    });
    let (output, _) = done(notify(&activity, config).await);
    let received = server.mails().remove(0);
    assert_eq!(received.to, ["a@example.com", "b@example.com"]);
    assert_eq!(received.header("Subject"), Some("S"));
    assert!(received.data.ends_with("\n\n5\n"), "{}", received.data);
    assert_eq!(
        output,
        json!({
            "channel": "email", "recipient": "a@example.com, B <b@example.com>", "subject": "S", "message": 5,
            "sent": true, "provider": "smtp", "id": received.header("Message-ID"), "response": "250 queued as 4711"
        })
    );
}

#[tokio::test]
async fn what_is_wrong_or_missing_is_named() {
    let long = "x".repeat(2_001);
    for (config, expected) in [
        (
            json!({}),
            "channel is not set; it must be one of email, sms, slack, discord, webhook",
        ),
        (
            json!({"channel": "fax", "message": "m"}),
            "channel is \"fax\"; it must be one of email, sms, slack, discord, webhook",
        ),
        (
            json!({"channel": "email"}),
            "message is not set; it must be the text that is sent",
        ),
        (
            json!({"channel": "email", "message": "m"}),
            "recipient is not set; for an email it must be addresses, separated by commas",
        ),
        (
            json!({"channel": "email", "message": "m", "recipient": "a@example.com"}),
            "no mail can be sent: SMTP_HOST is not set",
        ),
        (
            json!({"channel": "email", "message": "m", "recipient": 5}),
            "recipient is 5; it must be a text, or a list of texts",
        ),
        (
            json!({"channel": "email", "message": "m", "subject": []}),
            "subject is []; it must be a text",
        ),
        (
            json!({"channel": "webhook", "message": "m"}),
            "recipient is not set; for a webhook it must be an http or https URL, such as https://example.com/hook",
        ),
        (
            json!({"channel": "webhook", "message": "m", "recipient": "example.com"}),
            "recipient is \"example.com\"; it must be an http or https URL, such as https://example.com/hook",
        ),
        (
            json!({"channel": "webhook", "message": "m", "recipient": "http://x", "headers": {"a b": "c"}}),
            "headers has the name \"a b\"; a header's name must be of letters, digits and - only",
        ),
        (
            json!({"channel": "slack", "message": "m"}),
            "recipient is not set; it must be a webhook's URL, or the worker's variable SLACK_WEBHOOK_URL must be set",
        ),
        (
            json!({"channel": "discord", "message": "m", "recipient": "general"}),
            "recipient is \"general\", which is not a webhook's URL, and the worker's variable DISCORD_WEBHOOK_URL is \
             not set",
        ),
        (
            json!({"channel": "discord", "message": long, "recipient": "http://x"}),
            "the message has 2001 characters; Discord takes at most 2000",
        ),
        (
            json!({"channel": "sms", "message": "m", "recipient": "+49"}),
            "channel is \"sms\", for which the platform has no provider; use email, slack, discord or webhook, or an \
             http_request node that calls your provider",
        ),
    ] {
        assert_eq!(
            notify_plainly(config).await.unwrap_err(),
            Failure::permanent(expected)
        );
    }
}
