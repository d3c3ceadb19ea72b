//! One call of a JSON API: the bounded answer, and what a refusal means.
//!
//! | answer | meaning |
//! | --- | --- |
//! | 408, 425, 429, 5xx (529 is Anthropic's 'overloaded') | retryable, not before the time that the answer names |
//! | any other 4xx, and a redirect | permanent |
//! | none | retryable |
//!
//! URLs and keys never show: some URLs are secrets themselves, and some servers repeat the key that they refuse.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::activities::Failure;
use crate::activities::native::http::network_failure;
use crate::clock;
use crate::ids::Timestamp;

/// The largest answer, after decompression.
pub const ANSWER_BYTES: usize = 10 << 20;
/// The longest part of an answer that a message or an output shows, in characters.
const SHOWN_CHARS: usize = 500;
/// The longest wait that is taken over from an answer.
pub(in crate::activities) const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

/// Sends a request and reads the answer, whatever its status.
pub async fn send(request: RequestBuilder) -> Result<Answer, Failure> {
    let mut answer = request.send().await.map_err(network_failure)?;
    let status = answer.status();
    let headers = answer.headers().clone();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(network_failure)? {
        if body.len() + chunk.len() > ANSWER_BYTES {
            let message =
                format!("the answer is larger than {ANSWER_BYTES} bytes, the most that is read");
            return Err(Failure::permanent(message).of_type("HTTPError"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status,
        headers,
        text: String::from_utf8_lossy(&body).into_owned(),
    })
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The beginning of the body.
    pub fn beginning(&self) -> String {
        beginning(&self.text)
    }

    /// The failure for an answer that is no success. `service` is who answered; `secret` is taken out of its text.
    pub fn failure(&self, service: &str, secret: Option<&SecretString>) -> Failure {
        let status = self.status;
        let code = status.as_u16();
        if status.is_redirection() {
            return Failure::permanent(format!(
                "{service}: HTTP {code}: the answer is a redirect, which is not followed; use the URL that it leads to"
            ))
            .of_type("HTTPError");
        }
        let said = without(&self.error_text(), secret);
        let failure = if is_passing(status) {
            let wait = retry_after(&self.headers, &self.json(), clock::now());
            Failure {
                retry_after: wait,
                ..Failure::retryable(format!("{service}: HTTP {code}: {said}"))
            }
        } else {
            Failure::permanent(format!("{service}: HTTP {code}: {said}"))
        };
        failure.of_type("HTTPError")
    }

    /// What the service says is wrong, in the forms that services use; else the beginning of the body, else the status.
    pub fn error_text(&self) -> String {
        let json = self.json();
        // Google answers with a list of one.
        let json = json.get(0).unwrap_or(&json);
        let said = [
            json.pointer("/error/message"),
            json.get("message"),
            json.get("error"),
            json.get("detail"),
        ];
        let said = said.into_iter().flatten().find_map(Value::as_str);
        match said.map(str::trim).filter(|said| !said.is_empty()) {
            Some(said) => beginning(said),
            None if self.text.trim().is_empty() => self
                .status
                .canonical_reason()
                .unwrap_or("no reason given")
                .to_owned(),
            None => self.beginning(),
        }
    }
}

/// Whether the same request may succeed later.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

fn beginning(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn without(text: &str, secret: Option<&SecretString>) -> String {
    match secret.map(ExposeSecret::expose_secret) {
        Some(secret) if !secret.is_empty() => text.replace(secret, "***"),
        _ => text.to_owned(),
    }
}

/// How long the service asks to wait: `retry-after-ms`, `Retry-After` (seconds or a date), `retry_after` in the body
/// (Discord), or the reset of a rate limit that is used up (OpenAI).
pub fn retry_after(headers: &HeaderMap, body: &Value, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim().to_owned());
    let millis = text("retry-after-ms")
        .and_then(|ms| ms.parse::<f64>().ok())
        .map(|ms| ms / 1_000.0);
    let after = || {
        let after = text("retry-after")?;
        let seconds = after.parse::<f64>().ok();
        seconds.or_else(|| Some(until_date(&after, now)?.as_secs_f64()))
    };
    let in_body = || body.get("retry_after").and_then(Value::as_f64);
    let reset = || {
        ["requests", "tokens"]
            .iter()
            .filter(|what| {
                text(&format!("x-ratelimit-remaining-{what}")).is_some_and(|left| left == "0")
            })
            .filter_map(|what| reset_seconds(&text(&format!("x-ratelimit-reset-{what}"))?))
            .reduce(f64::max)
    };
    let seconds = millis.or_else(after).or_else(in_body).or_else(reset)?;
    let wait = Duration::try_from_secs_f64(seconds).ok()?;
    Some(wait.min(LONGEST_WAIT))
}

/// How long it is until a date as HTTP writes it; nothing if it has passed.
pub(in crate::activities) fn until_date(text: &str, now: Timestamp) -> Option<Duration> {
    let at = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some((at.to_utc() - now).to_std().unwrap_or_default())
}

/// `6m0s`, `1.5s`, `20ms`, `1h2m`: how OpenAI writes a length of time.
fn reset_seconds(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = next;
    }
    (!text.is_empty()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wait(headers: &[(&'static str, &'static str)], body: &Value) -> Option<Duration> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    reqwest::header::HeaderName::from_static(name),
                    reqwest::header::HeaderValue::from_static(value),
                )
            })
            .collect();
        retry_after(&headers, body, "2026-01-05T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_wait_is_read_in_every_form() {
        let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
        for (headers, expected) in [
            (&[("retry-after", "7")][..], seconds(7.0)),
            (&[("retry-after", "0.5")], seconds(0.5)),
            (
                &[("retry-after", "Mon, 05 Jan 2026 12:01:30 GMT")],
                seconds(90.0),
            ),
            (
                &[("retry-after", "Mon, 05 Jan 2026 11:00:00 GMT")],
                seconds(0.0),
            ),
            (
                &[("retry-after-ms", "1250"), ("retry-after", "2")],
                seconds(1.25),
            ),
            (&[("retry-after", "999999999")], seconds(86_400.0)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "nan")], None),
            (
                &[
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                ],
                seconds(360.0),
            ),
            (
                &[
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-reset-requests", "20ms"),
                ],
                seconds(0.02),
            ),
            (
                &[
                    ("x-ratelimit-remaining-requests", "3"),
                    ("x-ratelimit-reset-requests", "1h2m3.5s"),
                ],
                None,
            ),
            (
                &[
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-reset-requests", "later"),
                ],
                None,
            ),
        ] {
            assert_eq!(wait(headers, &Value::Null), expected, "{headers:?}");
        }
        assert_eq!(wait(&[], &json!({"retry_after": 0.65})), seconds(0.65));
        assert_eq!(wait(&[], &Value::Null), None);
    }

    #[test]
    fn an_error_is_found_in_every_form_and_shown_without_the_key() {
        let answer = |status: u16, text: &str| Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            text: text.to_owned(),
        };
        for (text, expected) in [
            (r#"{"error": {"message": "a"}}"#, "x: HTTP 400: a"),
            (r#"[{"error": {"message": "b"}}]"#, "x: HTTP 400: b"),
            (r#"{"message": "c"}"#, "x: HTTP 400: c"),
            (r#"{"error": "d"}"#, "x: HTTP 400: d"),
            ("<html>e", "x: HTTP 400: <html>e"),
            ("", "x: HTTP 400: Bad Request"),
        ] {
            assert_eq!(answer(400, text).failure("x", None).message, expected);
        }
        let failure = answer(401, "wrong key sk-1").failure("x", Some(&"sk-1".into()));
        assert_eq!(failure.message, "x: HTTP 401: wrong key ***");
    }
}
