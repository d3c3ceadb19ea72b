//! Words for what was found in a JSON document, for messages that its owner understands.

use serde_json::Value;

/// The most of a value that a message quotes.
const QUOTED_CHARS: usize = 60;

/// The kind of a value: `array`, `null`.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The kind of a value, and the value itself if it is a plain one: `number 5`, `text "x"`, `an array`.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("number {number}"),
        Value::String(text) => format!("text {}", quoted(text)),
    }
}

/// Text in quotation marks, shortened.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("\"{}…\"", text.get(..end).unwrap_or(text)),
        None => format!("\"{text}\""),
    }
}
