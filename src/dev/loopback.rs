//! A small HTTP server on the loopback interface, for the demo's `http_request` nodes to call.
//!
//! `/echo` answers at once, `/slow?ms=N` after N milliseconds, `/flaky` with 503 at the first call of each
//! idempotency key and with 200 afterwards.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The longest that `/slow` takes.
const SLOWEST_MS: u64 = 3_600_000;

type Seen = Arc<Mutex<HashSet<String>>>;

/// Serves until dropped.
#[derive(Debug)]
pub struct Loopback {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Loopback {
    /// Starts on a free port.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener));
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }

    /// The URL of a path on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn serve(listener: TcpListener) {
    let seen = Seen::default();
    // Connections end with the server.
    let mut connections = JoinSet::new();
    while let Ok((stream, _peer)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&seen)));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!("loopback: {error}");
            }
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Seen,
) -> Result<Response<http_body_util::Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut status = StatusCode::OK;
    match path.as_str() {
        "/slow" => {
            let ms = request
                .uri()
                .query()
                .and_then(|query| query.strip_prefix("ms="))
                .and_then(|ms| ms.parse().ok());
            tokio::time::sleep(Duration::from_millis(ms.unwrap_or(100).min(SLOWEST_MS))).await;
        }
        "/flaky" => {
            let key = request
                .headers()
                .get("idempotency-key")
                .and_then(|key| key.to_str().ok())
                .unwrap_or_default();
            let is_first = seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key.to_owned());
            if is_first {
                status = StatusCode::SERVICE_UNAVAILABLE;
            }
        }
        _ => {}
    }
    let body =
        serde_json::json!({ "ok": status.is_success(), "path": path, "value": 42 }).to_string();
    let mut response = Response::new(http_body_util::Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}
