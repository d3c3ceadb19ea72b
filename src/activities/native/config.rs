//! Reads a node's configuration.
//!
//! A key that is absent, `null` or an emptied form field (`""`) counts as not set; a
//! value of the wrong type is a permanent failure that names key, value and what is allowed.

use serde_json::Value;

use crate::activities::{Failure, Object};

/// The longest part of a value that a message shows, in characters.
const SHOWN_CHARS: usize = 100;

/// The value of a key, if it is set.
pub fn value<'a>(config: &'a Object, key: &str) -> Option<&'a Value> {
    config
        .get(key)
        .filter(|value| !value.is_null() && value.as_str() != Some(""))
}

/// The value of the first of several keys that is set, with its key: older names of the same thing.
pub fn first_of<'a, 'k>(config: &'a Object, keys: &[&'k str]) -> Option<(&'k str, &'a Value)> {
    keys.iter()
        .find_map(|key| Some((*key, value(config, key)?)))
}

/// A text.
pub fn text<'a>(config: &'a Object, key: &str) -> Result<Option<&'a str>, Failure> {
    match value(config, key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(key, other, "a text")),
    }
}

/// An object.
pub fn object<'a>(config: &'a Object, key: &str) -> Result<Option<&'a Object>, Failure> {
    match value(config, key) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(other) => Err(wrong(key, other, "an object")),
    }
}

/// A number, or a text that holds one (form fields are saved as texts), from `least` to `most`.
pub fn number(config: &Object, key: &str, least: f64, most: f64) -> Result<Option<f64>, Failure> {
    let Some(value) = value(config, key) else {
        return Ok(None);
    };
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(wrong(
            key,
            value,
            &format!("a number from {least} to {most}"),
        )),
    }
}

/// The failure for a value that is not what the key needs.
pub fn wrong(key: &str, value: &Value, allowed: &str) -> Failure {
    Failure::permanent(format!("{key} is {}; it must be {allowed}", shown(value)))
}

/// A value, as far as a message shows it.
pub fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
