//! `http_request`: one HTTP call.
//!
//! A wrong configuration is a permanent failure, found before anything is sent. An answer of 400 or above, and a
//! network that fails, are retryable; the answer is then in the failure's output all the same. Each attempt carries
//! the same `Idempotency-Key`, so that a receiver that honours it does the work once.

mod client;
mod request;
mod response;

#[cfg(test)]
mod tests;

use std::error::Error as _;
use std::time::Duration;

use serde_json::Value;

pub(in crate::activities) use client::client_builder;
pub use client::{ClientError, api_client, http_client};
use request::Prepared;
pub(in crate::activities) use request::{checked_header, idempotency_value};

use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Outcome, Running, Spec};

/// The bounds of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HttpLimits {
    /// For the whole call, unless the node's `timeout` says otherwise.
    pub timeout: Duration,
    /// The largest body of an answer, after decompression.
    pub body_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            body_bytes: 10 << 20,
        }
    }
}

/// Calls a URL.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// Made by [`http_client`]; shared, since it holds the connection pool.
    pub client: reqwest::Client,
    /// The bounds.
    pub limits: HttpLimits,
}

static SPEC: Spec = Spec {
    about: "Calls an HTTP server.",
    keys: &[
        Key::new("url", Holds::Text, "http:// or https://").required(),
        Key::new(
            "method",
            Holds::Choice(&["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
            "default GET",
        ),
        Key::new("headers", Holds::Object, "texts by header name"),
        Key::new(
            "body",
            Holds::Any,
            "a text is sent as it is, anything else as JSON",
        ),
        Key::new(
            "timeout",
            Holds::Number,
            "seconds until the answer must be there; default 30",
        ),
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: true,
};

impl Activity for HttpRequest {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, node: &Node) -> Result<(), Failure> {
        Prepared::read(&node.config, "check", self.limits.timeout).map(drop)
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let prepared =
                Prepared::read(&node.config, &context.idempotency_key, self.limits.timeout)?;
            let timeout = prepared.timeout;
            match tokio::time::timeout(timeout, self.call(prepared)).await {
                Ok(result) => result,
                Err(_elapsed) => Err(Failure::retryable(format!(
                    "Network error: timed out after {} s",
                    timeout.as_secs_f64()
                ))),
            }
        })
    }
}

impl HttpRequest {
    async fn call(&self, prepared: Prepared) -> Result<Outcome, Failure> {
        let Prepared {
            method,
            url,
            headers,
            body,
            ..
        } = prepared;
        let mut request = self
            .client
            .request(method.clone(), url.clone())
            .headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = request.send().await.map_err(network_failure)?;
        let status = answer.status();
        let final_url = answer.url().clone();
        let headers = answer.headers().clone();
        let body = response::read_body(answer, self.limits.body_bytes).await?;
        let text = response::decode(&headers, &body);
        let json: Value = serde_json::from_str(&text).unwrap_or_default();

        let mut output = crate::activities::Object::new();
        output.insert("status_code".to_owned(), status.as_u16().into());
        output.insert("headers".to_owned(), response::headers(&headers).into());
        output.insert("body".to_owned(), text.into());
        output.insert("json".to_owned(), json);
        output.insert("url".to_owned(), final_url.as_str().into());
        output.insert("method".to_owned(), method.as_str().into());
        if status.is_client_error() || status.is_server_error() {
            let reason = status.canonical_reason().unwrap_or("unknown status");
            let message = format!("HTTP {}: {reason}", status.as_u16());
            return Err(Failure::retryable(message)
                .of_type("HTTPError")
                .with_output(output));
        }
        Ok(Outcome::Done {
            output,
            branch: None,
        })
    }
}

/// A call that got no answer.
pub(in crate::activities) fn network_failure(error: reqwest::Error) -> Failure {
    let is_timeout = error.is_timeout();
    let (causes, is_final) = network_causes(error);
    let message = format!("Network error: {causes}");
    if is_final {
        Failure::permanent(message).of_type("NetworkError")
    } else if is_timeout {
        Failure::retryable(message).of_type("TimeoutError")
    } else {
        Failure::retryable(message).of_type("NetworkError")
    }
}

/// Why a call got no answer, and whether another would get none either. The URL is left out: it may hold a secret, and
/// the user knows it.
pub(in crate::activities) fn network_causes(error: reqwest::Error) -> (String, bool) {
    let error = error.without_url();
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // Some layers repeat the text of the layer below.
        if causes.last().is_none_or(|last| !last.contains(&text)) {
            causes.push(text);
        }
        source = cause.source();
    }
    (causes.join(": "), error.is_redirect() || error.is_builder())
}
