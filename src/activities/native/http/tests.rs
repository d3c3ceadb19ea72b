use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::testing::{context, done, run};
use super::*;
use crate::activities::FailureKind;

fn activity() -> HttpRequest {
    HttpRequest {
        client: http_client().unwrap(),
        limits: HttpLimits::default(),
    }
}

/// Serves one answer per entry, one connection each; gives the base URL and the requests as they came.
async fn serve(answers: Vec<Vec<u8>>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            requests.push(read_request(&mut stream).await);
            // The client may have gone away on purpose.
            drop(stream.write_all(&answer).await);
        }
        requests
    });
    (url, requests)
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")?
                        .parse::<usize>()
                        .ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "the request ended early: {text}");
        received.extend_from_slice(&buffer[..count]);
    }
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

async fn call(config: Value) -> Result<Outcome, Failure> {
    run(&activity(), config, &context(json!({}))).await
}

#[tokio::test]
async fn the_output_has_the_six_keys_of_old() {
    let (url, _) = serve(vec![answer(
        "200 OK\r\nContent-Type: application/json\r\nX-A: 1\r\nX-A: 2",
        b"{\"a\": 1}",
    )])
    .await;
    let (output, branch) = done(call(json!({"url": format!("{url}/x")})).await);
    assert_eq!(branch, None);
    assert_eq!(
        output,
        json!({
            "status_code": 200,
            "headers": {
                "Content-Type": "application/json", "X-A": "1, 2", "Content-Length": "8", "Connection": "close"
            },
            "body": "{\"a\": 1}",
            "json": {"a": 1},
            "url": format!("{url}/x"),
            "method": "GET"
        })
    );
}

#[tokio::test]
async fn an_object_is_sent_as_json_with_the_idempotency_key() {
    let (url, requests) = serve(vec![answer("201 Created", b"")]).await;
    let config = json!({"url": url, "method": "post", "headers": {"X-Token": "t", "": "x"}, "body": {"k": ["v"]}});
    let (output, _) = done(call(config).await);
    assert_eq!(
        (&output["json"], &output["body"]),
        (&json!(null), &json!(""))
    );
    let request = requests.await.unwrap().remove(0);
    assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"k\":[\"v\"]}"), "{request}");
    for line in [
        "content-type: application/json",
        "idempotency-key: 00000000:n1:1",
        "x-token: t",
    ] {
        assert!(request.contains(line), "{line} is missing in {request}");
    }
    assert!(
        request.contains("user-agent: synthralos-workflow-worker/"),
        "{request}"
    );
}

#[tokio::test]
async fn a_text_is_sent_as_it_is_and_own_headers_win() {
    let (url, requests) = serve(vec![answer("200 OK", b"")]).await;
    let config = json!({
        "url": url, "method": "PUT", "body": "a=1",
        "headers": {"content-type": "application/x-www-form-urlencoded", "Idempotency-Key": "mine"}
    });
    done(call(config).await);
    let request = requests.await.unwrap().remove(0);
    assert!(request.ends_with("\r\n\r\na=1"), "{request}");
    assert!(
        request.contains("content-type: application/x-www-form-urlencoded"),
        "{request}"
    );
    assert!(request.contains("idempotency-key: mine"), "{request}");
    assert!(!request.contains("application/json"), "{request}");
}

#[tokio::test]
async fn an_error_status_is_retryable_and_keeps_the_answer() {
    let (url, _) = serve(vec![answer("500 Whatever", b"oops")]).await;
    let failure = call(json!({"url": url})).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retryable);
    assert_eq!(failure.message, "HTTP 500: Internal Server Error");
    assert_eq!(failure.output["status_code"], json!(500));
    assert_eq!(failure.output["body"], json!("oops"));
}

#[tokio::test]
async fn redirects_are_followed() {
    let (url, requests) = serve(vec![
        answer("302 Found\r\nLocation: /there", b""),
        answer("200 OK", b"here"),
    ])
    .await;
    let (output, _) = done(call(json!({"url": url})).await);
    assert_eq!(
        (&output["body"], &output["url"]),
        (&json!("here"), &json!(format!("{url}/there")))
    );
    assert_eq!(requests.await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_refused_connection_is_a_retryable_network_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?key=secret", listener.local_addr().unwrap());
    drop(listener);
    let failure = call(json!({"url": url})).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retryable);
    assert!(
        failure.message.starts_with("Network error: "),
        "{}",
        failure.message
    );
    assert!(failure.message.contains("refused"), "{}", failure.message);
    assert!(!failure.message.contains("secret"), "{}", failure.message);
}

#[tokio::test]
async fn an_answer_that_never_comes_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let failure = call(json!({"url": url, "timeout": 0.05}))
        .await
        .unwrap_err();
    assert_eq!(
        failure,
        Failure::retryable("Network error: timed out after 0.05 s")
    );
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let (url, _) = serve(vec![answer("200 OK", &[b'x'; 2000])]).await;
    let mut activity = activity();
    activity.limits.body_bytes = 1999;
    let failure = run(&activity, json!({"url": url}), &context(json!({})))
        .await
        .unwrap_err();
    assert_eq!(
        failure,
        Failure::permanent(
            "the answer is larger than 1999 bytes, the most that an http_request node can take"
        )
    );
}

#[tokio::test]
async fn a_body_is_read_by_its_charset() {
    let (url, _) = serve(vec![answer(
        "200 OK\r\nContent-Type: text/plain; charset=ISO-8859-1",
        b"caf\xe9",
    )])
    .await;
    assert_eq!(
        done(call(json!({"url": url})).await).0["body"],
        json!("café")
    );
    let (url, _) = serve(vec![answer("200 OK", b"a\xff")]).await;
    assert_eq!(
        done(call(json!({"url": url})).await).0["body"],
        json!("a\u{fffd}")
    );
}

#[tokio::test]
async fn a_wrong_configuration_is_permanent_and_names_key_and_value() {
    for (config, expected) in [
        (json!({}), "URL is required for HTTP request"),
        (json!({"url": "  "}), "URL is required for HTTP request"),
        (json!({"url": 5}), "url is 5; it must be a text"),
        (
            json!({"url": "ftp://example.com"}),
            "url is \"ftp://example.com\"; it must be an absolute http or https URL, such as https://example.com/path",
        ),
        (
            json!({"url": "example.com"}),
            "url is \"example.com\" (relative URL without a base); it must be an absolute http or https URL, such as \
             https://example.com/path",
        ),
        (
            json!({"url": "http://x", "method": "BREW"}),
            "method is \"BREW\"; it must be one of GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS",
        ),
        (
            json!({"url": "http://x", "headers": "a: b"}),
            "headers is \"a: b\"; it must be an object",
        ),
        (
            json!({"url": "http://x", "headers": {"a b": "c"}}),
            "headers has the name \"a b\"; a header's name must be of letters, digits and - only",
        ),
        (
            json!({"url": "http://x", "headers": {"a": "c\nd"}}),
            "headers.a has a character that a header cannot hold, such as a line break",
        ),
        (
            json!({"url": "http://x", "headers": {"a": []}}),
            "headers.a is []; it must be a text",
        ),
        (
            json!({"url": "http://x", "timeout": 0}),
            "timeout is 0; it must be a number from 0.001 to 86400",
        ),
    ] {
        assert_eq!(
            call(config).await.unwrap_err(),
            Failure::permanent(expected)
        );
    }
}

#[test]
fn the_idempotency_key_of_any_node_can_be_sent() {
    let config = super::super::testing::object(json!({"url": "http://x"}));
    let prepared = Prepared::read(&config, "id:Prüfung 1:2", Duration::from_secs(1)).unwrap();
    assert_eq!(prepared.headers["idempotency-key"], "id:Pr%C3%BCfung%201:2");
}
