use std::collections::VecDeque;
use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::http::Readiness;
use super::process::Timing;
use super::*;
use crate::activities::native::testing::{context, done, node};
use crate::activities::{FailureKind, SignalWait};
use crate::config::ActivityUrl;
use crate::telemetry::Event;

const PATIENCE: Duration = Duration::from_secs(20);

/// What one connection answers: the status line with further headers, and the body.
type Scripted = (&'static str, Value);

/// Answers one connection, and gives the request as it came.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, scripted: &Scripted) -> String {
    let mut received = Vec::new();
    let request = loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                break text;
            }
        }
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "the request ended early: {text}");
        received.extend_from_slice(&buffer[..count]);
    };
    let (head, body) = scripted;
    let body = match body {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    let answer = format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // The caller may have gone away on purpose.
    drop(stream.write_all(answer.as_bytes()).await);
    request
}

/// A host that answers as scripted; its address, and the requests that came.
async fn serve(answers: Vec<Scripted>) -> (ActivityUrl, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&requests);
    tokio::spawn(async move {
        let mut answers = VecDeque::from(answers);
        while let Some(answer) = answers.pop_front() {
            let (stream, _) = listener.accept().await.unwrap();
            let request = converse(stream, &answer).await;
            kept.lock().unwrap().push(request);
        }
    });
    (ActivityUrl::parse(&url).unwrap(), requests)
}

fn remote(endpoint: Endpoint) -> Remote {
    Remote {
        endpoint,
        node_timeout: Duration::from_secs(300),
        types: Arc::default(),
    }
}

async fn run_at(url: &ActivityUrl, config: Value) -> Result<Outcome, Failure> {
    let activity = remote(Endpoint::new(url, None).unwrap()).custom();
    activity
        .run(&node("agent", config), &context(json!({"topic": "desk"})))
        .await
}

/// The outcome of one answer.
async fn answered(head: &'static str, body: Value) -> Result<Outcome, Failure> {
    let (url, _) = serve(vec![(head, body)]).await;
    run_at(&url, json!({})).await
}

async fn failure(head: &'static str, body: Value) -> Failure {
    answered(head, body).await.expect_err("no failure")
}

fn is_retryable(failure: &Failure) -> bool {
    failure.kind == FailureKind::Retryable
}

#[tokio::test]
async fn the_request_says_all_that_a_host_needs() {
    let (url, requests) = serve(vec![("200 OK", json!({"status": "completed"}))]).await;
    let token = secrecy::SecretString::from("secret");
    let activity = remote(Endpoint::new(&url, Some(&token)).unwrap()).custom();
    let mut context = context(json!({"topic": "desk"}));
    context.attempt = 2;
    context.variables = Arc::new(json!({"workflow": {"a": 1}}).as_object().unwrap().clone());
    context.locals = Arc::new(vec![
        ("item".to_owned(), json!(3)),
        ("item".to_owned(), json!(4)),
    ]);
    let node = node("agent", json!({"task": "tidy", "timeout_seconds": "1.5"}));
    activity.run(&node, &context).await.unwrap();
    let request = requests.lock().unwrap()[0].clone();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /base/v1/activities HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nidempotency-key: 00000000:n1:1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nauthorization: Bearer secret\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\ncontent-type: application/json\r\n"),
        "{head}"
    );
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({
            "protocol": 1,
            "execution_id": "00000000-0000-0000-0000-000000000000",
            "node_id": "n1",
            "node_type": "agent",
            "config": {"task": "tidy", "timeout_seconds": "1.5"},
            "input": {"topic": "desk"},
            "variables": {"workflow": {"a": 1}},
            "locals": {"item": 4},
            "attempt": 2,
            "visit": 1,
            "idempotency_key": "00000000:n1:1",
            "deadline": "2026-01-05T12:00:01.500Z",
            "timeout_seconds": 1.5
        })
    );
}

#[tokio::test]
async fn a_completed_node_has_its_output_and_its_branch() {
    let body = json!({"status": "completed", "output": {"a": 1}, "branch": "left", "further": 1});
    let (output, branch) = done(answered("200 OK", body).await);
    assert_eq!((output, branch.as_deref()), (json!({"a": 1}), Some("left")));
    let (output, branch) = done(answered("200 OK", json!({"status": "completed"})).await);
    assert_eq!((output, branch), (json!({}), None));
}

#[tokio::test]
async fn a_failed_node_has_the_error_of_the_host() {
    let body = json!({
        "status": "failed",
        "error": {"message": "no such page", "type": "NotFound", "retryable": false},
        "output": {"seen": 1}
    });
    let found = failure("200 OK", body).await;
    assert_eq!(found.kind, FailureKind::Permanent);
    assert_eq!(
        (found.message.as_str(), &*found.error_type),
        ("no such page", "NotFound")
    );
    assert_eq!(Value::Object(found.output), json!({"seen": 1}));

    let found = failure(
        "200 OK",
        json!({"status": "failed", "error": {"message": " "}}),
    )
    .await;
    assert!(is_retryable(&found));
    assert_eq!(
        found.message,
        "the activity host reports a failure without a message"
    );
    assert_eq!(found.error_type, "ActivityError");
}

#[tokio::test]
async fn an_accepted_node_waits_for_the_signal_with_its_key() {
    let wait = |until: &str| Outcome::AwaitSignal {
        wait: SignalWait {
            signal_type: "activity_completed".to_owned(),
            request: None,
            options: Vec::new(),
            correlation_id: Some("00000000:n1:1".to_owned()),
        },
        until: Some(until.parse().unwrap()),
    };
    let accepted = json!({"status": "accepted"});
    let outcome = answered("202 Accepted", accepted).await;
    assert_eq!(outcome, Ok(wait("2026-01-05T12:05:00Z")));
    let for_an_hour = json!({"status": "accepted", "timeout_seconds": 3600});
    let outcome = answered("202 Accepted", for_an_hour.clone()).await;
    assert_eq!(outcome, Ok(wait("2026-01-05T13:00:00Z")));
    // What the node's author has set counts, be it more or less.
    for (seconds, until) in [(60, "2026-01-05T12:01:00Z"), (7200, "2026-01-05T14:00:00Z")] {
        let (url, _) = serve(vec![("202 Accepted", for_an_hour.clone())]).await;
        let outcome = run_at(&url, json!({"timeout_seconds": seconds})).await;
        assert_eq!(outcome, Ok(wait(until)));
    }

    let for_ever = json!({"status": "accepted", "timeout_seconds": 1e300});
    let found = failure("202 Accepted", for_ever).await;
    assert_eq!(found.kind, FailureKind::Permanent);
    assert!(
        found.message.contains("from 0 to 2592000"),
        "{}",
        found.message
    );
}

#[tokio::test]
async fn the_status_says_whether_another_attempt_may_help() {
    for (head, retryable) in [
        ("400 Bad Request", false),
        ("401 Unauthorized", false),
        ("404 Not Found", false),
        ("422 Unprocessable Entity", false),
        ("301 Moved Permanently\r\nLocation: /other", false),
        ("204 No Content", false),
        ("408 Request Timeout", true),
        ("409 Conflict", true),
        ("429 Too Many Requests", true),
        ("500 Internal Server Error", true),
        ("502 Bad Gateway", true),
        ("503 Service Unavailable", true),
        ("504 Gateway Timeout", true),
    ] {
        let found = failure(head, json!("")).await;
        assert_eq!(is_retryable(&found), retryable, "{head}: {found:?}");
        let status = head.split("\r\n").next().unwrap();
        assert!(
            found
                .message
                .starts_with(&format!("the activity host answered {status}")),
            "{}",
            found.message
        );
        assert_eq!(found.error_type, "HTTPError");
    }
    let hint = failure("404 Not Found", json!("<html>")).await.message;
    assert!(
        hint.ends_with("; does WORKFLOW_ACTIVITY_URL lead to an activity host?"),
        "{hint}"
    );
    let hint = failure("401 Unauthorized", json!("")).await.message;
    assert!(
        hint.ends_with("; is WORKFLOW_ACTIVITY_TOKEN the one that it wants?"),
        "{hint}"
    );
}

#[tokio::test]
async fn a_refusal_of_the_protocol_says_why() {
    let body = json!({"error": {"message": "no handler for \"x\"", "type": "UnknownType", "retryable": true}});
    let found = failure("404 Not Found", body).await;
    // The status decides.
    assert_eq!(found.kind, FailureKind::Permanent);
    assert_eq!(
        (found.message.as_str(), &*found.error_type),
        ("no handler for \"x\"", "UnknownType")
    );
}

#[tokio::test]
async fn a_host_can_say_when_to_come_again() {
    let after = |head| async move { failure(head, json!("")).await.retry_after };
    let seconds = "503 Service Unavailable\r\nRetry-After: 7";
    assert_eq!(after(seconds).await, Some(Duration::from_secs(7)));
    let date = "429 Too Many Requests\r\nRetry-After: Mon, 05 Jan 2026 12:01:00 GMT";
    assert_eq!(after(date).await, Some(Duration::from_secs(60)));
    let past = "429 Too Many Requests\r\nRetry-After: Mon, 05 Jan 2026 11:00:00 GMT";
    assert_eq!(after(past).await, Some(Duration::ZERO));
    let far = "503 Service Unavailable\r\nRetry-After: 99999999";
    assert_eq!(after(far).await, Some(Duration::from_secs(86_400)));
    assert_eq!(
        after("503 Service Unavailable\r\nRetry-After: soon").await,
        None
    );
    assert_eq!(after("400 Bad Request\r\nRetry-After: 7").await, None);
}

#[tokio::test]
async fn an_answer_that_is_not_of_the_protocol_is_a_permanent_failure() {
    for body in [
        json!("<html>"),
        json!([]),
        json!({"status": "done"}),
        json!({"status": "completed", "output": [1]}),
        json!({"status": "failed"}),
    ] {
        let found = failure("200 OK", body.clone()).await;
        assert_eq!(found.kind, FailureKind::Permanent, "{body}");
        assert!(
            found
                .message
                .starts_with("the activity host's answer is not as the protocol wants it: "),
            "{}",
            found.message
        );
    }
}

#[tokio::test]
async fn a_long_message_is_cut_and_a_large_answer_is_refused() {
    let body = json!({"status": "failed", "error": {"message": "ä".repeat(5_000)}});
    assert_eq!(failure("200 OK", body).await.message.chars().count(), 2_001);

    let body = json!({"status": "completed", "output": {"a": "x".repeat(100)}});
    let (url, _) = serve(vec![("200 OK", body)]).await;
    let endpoint = Endpoint::new(&url, None).unwrap().with_body_bytes(100);
    let found = remote(endpoint)
        .run(&node("agent", json!({})), &context(json!({})))
        .await;
    let found = found.expect_err("no failure");
    assert_eq!(found.kind, FailureKind::Permanent);
    assert_eq!(
        found.message,
        "the activity host's answer is larger than 100 bytes"
    );
}

#[tokio::test]
async fn a_host_that_is_not_there_is_a_retryable_failure() {
    let url = ActivityUrl::parse("http://127.0.0.1:1").unwrap();
    for url in [url, ActivityUrl::Unix("/nonexistent/activity.sock".into())] {
        let found = run_at(&url, json!({})).await.expect_err("no failure");
        assert!(is_retryable(&found), "{found:?}");
        assert_eq!(found.error_type, "NetworkError");
        assert!(
            found
                .message
                .starts_with("the activity host cannot be reached: "),
            "{}",
            found.message
        );
    }
}

#[tokio::test]
async fn a_wrong_time_limit_is_refused_before_anything_is_sent() {
    let url = ActivityUrl::parse("http://127.0.0.1:1").unwrap();
    let found = run_at(&url, json!({"timeout_seconds": "soon"})).await;
    assert_eq!(
        found.expect_err("no failure").message,
        "timeout_seconds is \"soon\"; it must be a number from 0.001 to 604800"
    );
}

#[tokio::test]
async fn a_unix_socket_is_an_address_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("host.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        converse(
            stream,
            &("200 OK", json!({"status": "completed", "output": {"a": 1}})),
        )
        .await
    });
    let (output, _) = done(run_at(&ActivityUrl::Unix(path), json!({})).await);
    assert_eq!(output, json!({"a": 1}));
}

#[tokio::test]
async fn health_is_of_our_version_or_says_what_is_wrong() {
    let good = json!({"status": "ok", "protocol": 1, "types": ["agent"]});
    let (url, requests) = serve(vec![
        ("200 OK", good),
        ("200 OK", json!({"status": "ok", "protocol": 1})),
        ("200 OK", json!({"status": "ok", "protocol": 2})),
        ("200 OK", json!({"status": "tired", "protocol": 1})),
        ("200 OK", json!("<html>")),
        ("500 Internal Server Error", json!("")),
    ])
    .await;
    let endpoint = Endpoint::new(&url, None).unwrap();
    let types = endpoint.health().await.unwrap().types;
    assert_eq!(types, Some(vec!["agent".to_owned()]));
    assert!(requests.lock().unwrap()[0].starts_with("GET /base/v1/health "));
    assert_eq!(endpoint.health().await.unwrap().types, None);
    let mut errors = Vec::new();
    for _ in 0..4 {
        errors.push(endpoint.health().await.unwrap_err());
    }
    assert_eq!(
        errors[0],
        "it speaks version 2 of the protocol; this worker speaks version 1"
    );
    assert_eq!(errors[1], "its health is \"tired\", not \"ok\"");
    assert!(
        errors[2].starts_with("its answer is not as the protocol wants it: "),
        "{}",
        errors[2]
    );
    assert_eq!(errors[3], "it answered 500 Internal Server Error");
}

#[tokio::test]
async fn a_call_waits_for_a_host_that_starts_and_gives_up_with_the_reason() {
    let (url, _) = serve(vec![("200 OK", json!({"status": "completed"}))]).await;
    let (sender, readiness) = watch::channel(Readiness::NotReady("it starts".to_owned()));
    let endpoint = Endpoint::new(&url, None).unwrap().with_readiness(readiness);
    let (node, context) = (node("agent", json!({})), context(json!({})));

    let hurried = remote(endpoint.clone().with_ready_limit(Duration::from_millis(10)));
    let found = hurried.run(&node, &context).await.expect_err("no failure");
    assert!(is_retryable(&found));
    assert_eq!(found.message, "the activity host is not ready: it starts");

    let patient = remote(endpoint.clone());
    let ready = async { sender.send_replace(Readiness::Ready) };
    let (outcome, _) = tokio::join!(patient.run(&node, &context), ready);
    done(outcome);

    sender.send_replace(Readiness::NotReady("it ended".to_owned()));
    drop(sender);
    let found = patient.run(&node, &context).await.expect_err("no failure");
    assert_eq!(
        found.message,
        "the activity host is not ready: the worker has stopped it"
    );
}

/// Supervises a command until an event, and gives all events so far.
async fn supervise(
    command: &[&str],
    timing: Timing,
    is_enough: impl Fn(&Event) -> bool,
) -> Vec<String> {
    let telemetry = Telemetry::default();
    let mut events = telemetry.subscribe();
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let process = HostProcess::new(command, None, telemetry)
        .unwrap()
        .with_timing(timing);
    let stop = CancellationToken::new();
    let running = tokio::spawn(process.run(stop.clone()));
    let mut seen = Vec::new();
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await;
        let event = event.expect("no such event").unwrap();
        seen.push(format!("{event:?}"));
        if is_enough(&event) {
            break;
        }
    }
    stop.cancel();
    tokio::time::timeout(STOP_LIMIT, running)
        .await
        .expect("it does not stop")
        .unwrap();
    seen
}

fn lost(event: &Event) -> bool {
    matches!(event, Event::ActivityHostLost { .. })
}

#[tokio::test]
async fn a_host_that_cannot_be_started_or_ends_is_reported_with_its_words() {
    let events = supervise(&["/nonexistent/host"], Timing::default(), lost).await;
    assert!(
        events[0].contains("/nonexistent/host cannot be started: No such file"),
        "{events:?}"
    );

    let script = "echo to stdout; echo to stderr >&2; exit 3";
    let events = supervise(&["sh", "-c", script], Timing::default(), lost)
        .await
        .join("\n");
    assert!(
        events.contains("line: \"to stdout\", is_stderr: false"),
        "{events}"
    );
    assert!(
        events.contains("line: \"to stderr\", is_stderr: true"),
        "{events}"
    );
    assert!(events.contains("it ended with exit status: 3"), "{events}");
}

#[tokio::test]
async fn a_host_that_does_not_answer_in_time_is_lost() {
    let timing = Timing {
        start: Duration::from_millis(50),
        ..Timing::default()
    };
    let events = supervise(&["sleep", "1000"], timing, lost).await.join("\n");
    assert!(
        events.contains("it was not ready within 0.05 s: error sending request"),
        "{events}"
    );
}

/// Says once that it is well, and never again.
const UNWELL: &str = r#"
import http.server, os, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    count = 0
    def do_GET(self):
        Handler.count += 1
        body = b'{"status": "ok", "protocol": 1}'
        self.send_response(200 if Handler.count == 1 else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "worker"
    def log_message(self, *arguments):
        pass
socketserver.UnixStreamServer(os.environ["WORKFLOW_ACTIVITY_SOCKET"], Handler).serve_forever()
"#;

#[tokio::test]
async fn a_host_that_is_no_longer_well_is_started_again() {
    let timing = Timing {
        interval: Duration::from_millis(1),
        ..Timing::default()
    };
    let ready_again = {
        let count = std::cell::Cell::new(0);
        move |event: &Event| {
            count.set(count.get() + u32::from(matches!(event, Event::ActivityHostReady { .. })));
            count.get() == 2
        }
    };
    let events = supervise(&["python3", "-c", UNWELL], timing, ready_again)
        .await
        .join("\n");
    assert!(
        events
            .contains("it missed 3 health checks in a row: it answered 500 Internal Server Error"),
        "{events}"
    );
}

/// Whether a process runs; one that is dead and not yet waited for does not.
fn is_alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .starts_with('Z')
    })
}

#[tokio::test]
async fn a_host_that_takes_no_hint_is_killed_with_all_that_it_started() {
    let script = "trap '' TERM; sleep 1000 & echo pid $!; wait; sleep 1000";
    let is_up = |event: &Event| matches!(event, Event::ActivityHostLine { .. });
    let events = supervise(&["sh", "-c", script], Timing::default(), is_up).await;
    let line = events.last().unwrap();
    let pid: String = line
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    assert!(!is_alive(&pid), "{pid} of {line} still runs");
}

#[tokio::test]
async fn the_directory_of_the_socket_is_private_and_goes_with_the_supervisor() {
    use std::os::unix::fs::PermissionsExt;
    let telemetry = Telemetry::default();
    let mut events = telemetry.subscribe();
    let script = "echo $WORKFLOW_ACTIVITY_SOCKET; echo $WORKFLOW_ACTIVITY_TOKEN; read nothing";
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let token = secrecy::SecretString::from("secret");
    let process = HostProcess::new(command, Some(&token), telemetry).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(process.run(stop.clone()));
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let event = tokio::time::timeout(PATIENCE, events.recv())
            .await
            .unwrap()
            .unwrap();
        if let Event::ActivityHostLine { line, .. } = &*event {
            lines.push(line.clone());
        }
    }
    assert_eq!(lines[1], "secret");
    let directory = std::path::Path::new(&lines[0]).parent().unwrap();
    let mode = std::fs::metadata(directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    stop.cancel();
    running.await.unwrap();
    assert!(!directory.exists());
}
