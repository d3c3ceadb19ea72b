//! From an answer to the parts of the output.

use encoding_rs::{Encoding, UTF_8};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

use super::network_failure;
use crate::activities::{Failure, Object};

/// Reads the body, up to `limit` bytes after decompression.
pub(super) async fn read_body(mut answer: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(network_failure)? {
        if body.len() + chunk.len() > limit {
            return Err(Failure::permanent(format!(
                "the answer is larger than {limit} bytes, the most that an http_request node can take"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The body as text: by its byte order mark, else by the charset of its content type, else as UTF-8. What does not
/// fit becomes `�`.
pub(super) fn decode(headers: &HeaderMap, body: &[u8]) -> String {
    let charset = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            value.split(';').skip(1).find_map(|parameter| {
                let (name, value) = parameter.split_once('=')?;
                name.trim()
                    .eq_ignore_ascii_case("charset")
                    .then(|| value.trim().trim_matches('"').to_owned())
            })
        });
    let encoding = charset
        .and_then(|label| Encoding::for_label(label.as_bytes()))
        .unwrap_or(UTF_8);
    encoding.decode(body).0.into_owned()
}

/// The headers by name, in the capitals of old (`Content-Type`): expressions that were written against the old
/// output name them so. The values of a repeated header are joined.
pub(super) fn headers(headers: &HeaderMap) -> Object {
    let mut object = Object::new();
    for name in headers.keys() {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        object.insert(capitals(name.as_str()), Value::from(values.join(", ")));
    }
    object
}

fn capitals(name: &str) -> String {
    let mut after_dash = true;
    name.chars()
        .map(|c| {
            let c = if after_dash {
                c.to_ascii_uppercase()
            } else {
                c
            };
            after_dash = c == '-';
            c
        })
        .collect()
}
