//! One call to an activity host, over TCP or a Unix socket.
//!
//! The status says who is to blame: 4xx the call itself (permanent), but for those that say 'not now'; 5xx and a
//! network that fails are retryable. Redirects are not followed: the token is for this host. The body of an answer is
//! bounded.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use super::protocol::{Answer, Health, Request, read_answer, read_refusal};
use crate::activities::Failure;
use crate::activities::native::http::{
    ClientError, HttpLimits, client_builder, idempotency_value, network_causes,
};
use crate::activities::outgoing::api::{LONGEST_WAIT, until_date};
use crate::config::ActivityUrl;
use crate::ids::Timestamp;

/// How long a call waits for a host that the worker is just starting.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long the answer to a look at a host's health may take.
const HEALTH_LIMIT: Duration = Duration::from_secs(5);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether the host can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It has answered.
    Ready,
    /// Not yet, or not any more, and why.
    NotReady(String),
}

/// Where a host is, and how it is spoken to. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct Endpoint {
    client: Client,
    /// Without a slash at its end.
    base: String,
    token: Option<HeaderValue>,
    /// Of a host that the worker starts itself; written by its supervisor.
    readiness: Option<watch::Receiver<Readiness>>,
    body_bytes: usize,
    ready_limit: Duration,
}

/// An endpoint cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The token cannot be sent.
    #[error("WORKFLOW_ACTIVITY_TOKEN has a character that a header cannot hold")]
    Token,
    /// There is no room for the socket of a host.
    #[error("no directory for the socket of the activity host")]
    Directory(#[source] std::io::Error),
}

impl Endpoint {
    /// The host at an address. Connects to nothing.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn new(url: &ActivityUrl, token: Option<&SecretString>) -> Result<Self, EndpointError> {
        let builder = client_builder()?.redirect(reqwest::redirect::Policy::none());
        let (builder, base) = match url {
            ActivityUrl::Http(url) => (builder, url.as_str().trim_end_matches('/').to_owned()),
            // The name of the host is not looked up; a request has to have one.
            ActivityUrl::Unix(path) => (
                builder.unix_socket(path.as_path()).no_proxy(),
                "http://localhost".to_owned(),
            ),
        };
        let token = token.map(bearer).transpose()?;
        Ok(Self {
            client: builder.build().map_err(ClientError::from)?,
            base,
            token,
            readiness: None,
            body_bytes: HttpLimits::default().body_bytes,
            ready_limit: READY_LIMIT,
        })
    }

    /// The same, for a host that comes and goes: a call waits until it is there, for a while.
    #[must_use]
    pub(super) fn with_readiness(mut self, readiness: watch::Receiver<Readiness>) -> Self {
        self.readiness = Some(readiness);
        self
    }

    /// The same, with another limit for that wait.
    #[cfg(test)]
    pub(super) fn with_ready_limit(mut self, limit: Duration) -> Self {
        self.ready_limit = limit;
        self
    }

    /// The same, with another limit for the size of an answer.
    #[cfg(test)]
    pub(super) fn with_body_bytes(mut self, body_bytes: usize) -> Self {
        self.body_bytes = body_bytes;
        self
    }

    /// Has the host run a node.
    pub(super) async fn call(
        &self,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Result<Answer, Failure> {
        self.until_ready().await?;
        let post = self
            .client
            .post(self.path("activities"))
            .header(IDEMPOTENCY_KEY, idempotency_value(request.idempotency_key)?)
            .json(request);
        let answer = self.with_token(post).send().await.map_err(unreachable)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = self.read_body(answer).await?;
        if matches!(status, StatusCode::OK | StatusCode::ACCEPTED) {
            return read_answer(&body);
        }
        Err(refusal(status, &headers, &body, now))
    }

    /// How the host is. Waits a while for one that is being started.
    ///
    /// # Errors
    /// Why it cannot be used, as a sentence.
    pub async fn health(&self) -> Result<Health, String> {
        self.until_ready()
            .await
            .map_err(|failure| failure.message)?;
        let asked = async {
            let get = self.with_token(self.client.get(self.path("health")));
            let answer = get.send().await.map_err(|error| network_causes(error).0)?;
            let status = answer.status();
            let body = self
                .read_body(answer)
                .await
                .map_err(|failure| failure.message)?;
            if status != StatusCode::OK {
                return Err(format!("it answered {status}"));
            }
            let health: Health = serde_json::from_slice(&body)
                .map_err(|error| format!("its answer is not as the protocol wants it: {error}"))?;
            health.check()
        };
        match tokio::time::timeout(HEALTH_LIMIT, asked).await {
            Ok(result) => result,
            Err(_elapsed) => Err(format!("no answer within {} s", HEALTH_LIMIT.as_secs_f64())),
        }
    }

    /// Waits for a host that is being started.
    async fn until_ready(&self) -> Result<(), Failure> {
        let Some(mut readiness) = self.readiness.clone() else {
            return Ok(());
        };
        let is_ready = |readiness: &Readiness| *readiness == Readiness::Ready;
        let waited = tokio::time::timeout(self.ready_limit, readiness.wait_for(is_ready)).await;
        let is_stopped = match waited.map(|ready| ready.is_ok()) {
            Ok(true) => return Ok(()),
            Ok(false) => true,
            Err(_elapsed) => false,
        };
        let why = match &*readiness.borrow() {
            _ if is_stopped => "the worker has stopped it".to_owned(),
            Readiness::Ready => return Ok(()),
            Readiness::NotReady(why) => why.clone(),
        };
        Err(
            Failure::retryable(format!("the activity host is not ready: {why}"))
                .of_type("NetworkError"),
        )
    }

    fn path(&self, what: &str) -> String {
        format!("{}/v1/{what}", self.base)
    }

    fn with_token(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        }
    }

    async fn read_body(&self, mut answer: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > self.body_bytes {
                return Err(Failure::permanent(format!(
                    "the activity host's answer is larger than {} bytes",
                    self.body_bytes
                ))
                .of_type("ActivityError"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn bearer(token: &SecretString) -> Result<HeaderValue, EndpointError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
        .map_err(|_invalid| EndpointError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A call that got no answer.
fn unreachable(error: reqwest::Error) -> Failure {
    let (causes, is_final) = network_causes(error);
    let message = format!("the activity host cannot be reached: {causes}");
    let failure = if is_final {
        Failure::permanent(message)
    } else {
        Failure::retryable(message)
    };
    failure.of_type("NetworkError")
}

/// A call that the host, or something before it, did not take.
fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Failure {
    let is_retryable = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT
                | StatusCode::CONFLICT
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
        );
    let mut failure = match read_refusal(body) {
        Some(error) => error.into_failure(is_retryable),
        None => {
            let hint = match status {
                StatusCode::NOT_FOUND => "; does WORKFLOW_ACTIVITY_URL lead to an activity host?",
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    "; is WORKFLOW_ACTIVITY_TOKEN the one that it wants?"
                }
                _ if status.is_redirection() => "; redirects are not followed",
                _ => "",
            };
            let message = format!("the activity host answered {status}{hint}");
            if is_retryable {
                Failure::retryable(message)
            } else {
                Failure::permanent(message)
            }
            .of_type("HTTPError")
        }
    };
    failure.retry_after = is_retryable
        .then(|| headers.get(RETRY_AFTER))
        .flatten()
        .and_then(|value| retry_after(value.to_str().ok()?, now));
    failure
}

/// `Retry-After`: seconds, or the date of HTTP.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = match text.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_no_number) => until_date(text, now)?,
    };
    Some(wait.min(LONGEST_WAIT))
}
