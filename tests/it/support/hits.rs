//! A loopback HTTP server that counts, in a thread of its own, so that it serves child processes too.
//!
//! | request | answer |
//! | --- | --- |
//! | `/status/<code>…` | that status |
//! | `…?ms=<n>` | after n milliseconds |
//! | `…?fail=<n>` | 503 for the first n hits of the same path and query |
//! | `/accepting/…` | 202 and `{"status": "accepted"}`, as an activity host that finishes later |
//! | anything else | 200 and a JSON object with `method`, `path`, `query`, `headers`, `body` |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::wait::pause;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    /// `GET`, `POST`, …
    pub(crate) method: String,
    /// Path and query, as sent.
    pub(crate) key: String,
    /// In lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// JSON if it is JSON, else text; null if it is empty.
    pub(crate) body: Value,
}

impl Hit {
    /// The header `Idempotency-Key`.
    pub(crate) fn idempotency_key(&self) -> Option<&str> {
        self.headers.get("idempotency-key").map(String::as_str)
    }
}

/// The server. Dropping it closes the port and cuts who is connected.
#[derive(Debug)]
pub(crate) struct Hits {
    address: SocketAddr,
    hits: Arc<Mutex<Vec<Hit>>>,
    cut: Arc<Mutex<Vec<String>>>,
    _stop: DropGuard,
}

impl Hits {
    /// Starts a server on a free port.
    pub(crate) fn start() -> Self {
        let hits = Arc::<Mutex<Vec<Hit>>>::default();
        let stop = CancellationToken::new();
        let (address_to, address_from) = std::sync::mpsc::channel();
        let cut = Arc::<Mutex<Vec<String>>>::default();
        let (kept, stopped, kept_cut) = (hits.clone(), stop.clone(), cut.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                address_to
                    .send(listener.local_addr().expect("an address"))
                    .expect("the test is there");
                stopped
                    .run_until_cancelled(serve(listener, kept, kept_cut))
                    .await;
            });
        });
        let address = address_from.recv().expect("the server starts");
        Self {
            address,
            hits,
            cut,
            _stop: stop.drop_guard(),
        }
    }

    /// The URL of a path (which begins with `/` and may have a query).
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often this path and query was asked for.
    pub(crate) fn count(&self, key: &str) -> usize {
        self.all().iter().filter(|hit| hit.key == key).count()
    }

    /// How many requests of this path and query were given up by the client before they were answered.
    pub(crate) fn cut(&self, key: &str) -> usize {
        self.cut
            .lock()
            .unwrap()
            .iter()
            .filter(|cut| *cut == key)
            .count()
    }

    /// Every request, in the order of arrival.
    pub(crate) fn all(&self) -> Vec<Hit> {
        self.hits.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, hits: Arc<Mutex<Vec<Hit>>>, cut: Arc<Mutex<Vec<String>>>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let (hits, cut) = (hits.clone(), cut.clone());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let unanswered = Unanswered {
                key: request.uri().to_string(),
                cut: Some(cut.clone()),
            };
            let answer = answer(request, hits.clone());
            async move {
                let answer = answer.await;
                unanswered.answered();
                answer
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        // A client that is killed cuts its connection; that is no error here.
        tokio::spawn(async { drop(connection.await) });
    }
}

/// A request that is dropped before its answer counts as cut.
struct Unanswered {
    key: String,
    cut: Option<Arc<Mutex<Vec<String>>>>,
}

impl Unanswered {
    fn answered(mut self) {
        self.cut = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(cut) = self.cut.take() {
            cut.lock().unwrap().push(std::mem::take(&mut self.key));
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    hits: Arc<Mutex<Vec<Hit>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let hit = Hit {
        method: head.method.to_string(),
        key: head.uri.to_string(),
        headers: head
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect(),
        body: body_value(&body),
    };
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let echo = json!({"method": hit.method, "path": path, "query": query, "headers": hit.headers, "body": hit.body});
    let earlier = {
        let mut hits = hits.lock().unwrap();
        let earlier = hits.iter().filter(|other| other.key == hit.key).count();
        hits.push(hit);
        earlier
    };
    if let Some(ms) = number(query, "ms") {
        pause(Duration::from_millis(ms)).await;
    }
    let failing = number(query, "fail").is_some_and(|failures| (earlier as u64) < failures);
    let code = path
        .strip_prefix("/status/")
        .and_then(|rest| rest.split('/').next()?.parse().ok());
    let is_accepting = path.starts_with("/accepting/");
    let status = match code {
        _ if failing => 503,
        _ if is_accepting => 202,
        code => code.unwrap_or(200),
    };
    let echo = if is_accepting {
        json!({"status": "accepted"})
    } else {
        echo
    };
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    Ok(response
        .body(Full::from(echo.to_string()))
        .expect("a response"))
}

fn body_value(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(bytes)))
}

/// A number in a query.
fn number(query: &str, name: &str) -> Option<u64> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}
