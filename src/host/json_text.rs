//! JSON, written piece by piece.

use serde_json::Value;

pub(super) fn push_member(json: &mut String, key: &str, value: &str) {
    json.push_str(",\"");
    json.push_str(key);
    json.push_str("\":");
    json.push_str(value);
}

/// Text as JSON. Keys are written again with each view, and hardly ever have anything to escape.
pub(super) fn push_text(json: &mut String, text: &str) {
    if text
        .bytes()
        .any(|byte| byte < b' ' || byte == b'"' || byte == b'\\')
    {
        json.push_str(&Value::from(text).to_string());
    } else {
        json.push('"');
        json.push_str(text);
        json.push('"');
    }
}

pub(super) fn json_text(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    push_text(&mut json, text);
    json
}

pub(super) fn text_or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), json_text)
}
