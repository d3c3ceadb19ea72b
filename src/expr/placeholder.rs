//! `${path}` inside an expression: a value of the scope, named by a dotted path.
//!
//! The platform used to paste the value's text into the source and evaluate that, which let data become code. Here
//! a placeholder is a reference: outside quotes it stands for the value, inside a quoted string for the value's
//! text. Both `${name} == 'x'` and `'${name}' == 'x'` mean what they look like, whatever the value holds.

use serde_json::Value;

use super::error::{ErrorKind, ExprError};
use super::scope::Scope;

/// What a path names: a bare name of the scope, or a path into `execution_data`.
///
/// A leading `data.` or `input.` may be left out; parts are separated by dots, a number also selects from an array.
/// The path as it stands is tried first, so a key named `data` is still reachable.
pub fn resolve<'a>(path: &str, scope: &'a Scope) -> Result<&'a Value, ExprError> {
    let path = path.trim();
    let within_data = ["data.", "input."]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix));
    walk(path, scope)
        .or_else(|| within_data.and_then(|rest| walk(rest, scope)))
        .ok_or_else(|| {
            ExprError::new(
                ErrorKind::MissingValue,
                format!("${{{path}}} names no value of the execution's data"),
                "",
            )
        })
}

/// The text of a value inside a quoted string: a string as it is, anything else as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn walk<'a>(path: &str, scope: &'a Scope) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let first = scope.name(parts.next()?)?;
    parts.try_fold(first, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => value.get(part),
    })
}
