//! From a node's configuration to a request, or to what is wrong with it.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use crate::activities::native::config;
use crate::activities::{Failure, Object};

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A day: the longest `timeout`, in seconds.
const LONGEST_TIMEOUT: f64 = 86_400.0;

/// A request that can be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<String>,
    pub(super) timeout: Duration,
}

impl Prepared {
    /// Reads `method`, `url`, `headers`, `body` and `timeout`.
    pub(super) fn read(
        config: &Object,
        idempotency_key: &str,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let url = url(config)?;
        let method = method(config)?;
        let mut headers = headers(config)?;
        let (body, is_json) = body(config);
        let sends = matches!(method, Method::POST | Method::PUT | Method::PATCH);
        if (sends || is_json) && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if !headers.contains_key(IDEMPOTENCY_KEY) {
            headers.insert(IDEMPOTENCY_KEY, idempotency_value(idempotency_key)?);
        }
        let timeout = match config::number(config, "timeout", 0.001, LONGEST_TIMEOUT)? {
            Some(seconds) => Duration::from_secs_f64(seconds),
            None => timeout,
        };
        Ok(Self {
            method,
            url,
            headers,
            body,
            timeout,
        })
    }
}

fn url(config: &Object) -> Result<Url, Failure> {
    let required = || Failure::permanent("URL is required for HTTP request");
    let text = config::text(config, "url")?
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .ok_or_else(required)?;
    let allowed = "an absolute http or https URL, such as https://example.com/path";
    let url = Url::parse(text).map_err(|error| {
        Failure::permanent(format!("url is {text:?} ({error}); it must be {allowed}"))
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(config::wrong("url", &text.into(), allowed));
    }
    Ok(url)
}

fn method(config: &Object) -> Result<Method, Failure> {
    let Some(text) = config::text(config, "method")? else {
        return Ok(Method::GET);
    };
    let upper = text.trim().to_ascii_uppercase();
    let known = METHODS
        .contains(&upper.as_str())
        .then(|| Method::from_bytes(upper.as_bytes()).ok())
        .flatten();
    known.ok_or_else(|| {
        config::wrong(
            "method",
            &text.into(),
            &format!("one of {}", METHODS.join(", ")),
        )
    })
}

/// A header as its author wrote it: a text, a number or a flag.
///
/// # Errors
/// A permanent failure that names the header.
pub(in crate::activities) fn checked_header(
    name: &str,
    value: &Value,
) -> Result<(HeaderName, HeaderValue), Failure> {
    let header = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_invalid| {
        Failure::permanent(format!(
            "headers has the name {name:?}; a header's name must be of letters, digits and - only"
        ))
    })?;
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        _ => return Err(config::wrong(&format!("headers.{name}"), value, "a text")),
    };
    // The value may be a secret, so the message leaves it out.
    let text = HeaderValue::from_str(&text).map_err(|_invalid| {
        Failure::permanent(format!(
            "headers.{name} has a character that a header cannot hold, such as a line break"
        ))
    })?;
    Ok((header, text))
}

fn headers(config: &Object) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in config::object(config, "headers")?.into_iter().flatten() {
        // An emptied line of the builder's form.
        if name.trim().is_empty() || value.is_null() {
            continue;
        }
        let (header, text) = checked_header(name, value)?;
        headers.append(header, text);
    }
    Ok(headers)
}

/// The body, and whether it is JSON that we wrote. A text is sent as it is.
fn body(config: &Object) -> (Option<String>, bool) {
    match config::value(config, "body") {
        None => (None, false),
        Some(Value::String(text)) => (Some(text.clone()), false),
        Some(json) => (Some(json.to_string()), true),
    }
}

/// The key holds the node's id, which may have any character; those that a header cannot hold are percent-encoded.
pub(in crate::activities) fn idempotency_value(key: &str) -> Result<HeaderValue, Failure> {
    let mut text = String::with_capacity(key.len());
    for c in key.chars() {
        if c.is_ascii_graphic() && c != '%' {
            text.push(c);
        } else {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    HeaderValue::from_str(&text).map_err(|error| {
        Failure::permanent(format!(
            "the idempotency key {key:?} cannot be sent: {error}"
        ))
    })
}
