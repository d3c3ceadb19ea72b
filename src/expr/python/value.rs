//! Values between JSON and Monty.

use monty_types::MontyObject;
use num_bigint::BigInt;
use serde_json::{Map, Number, Value};

use crate::expr::error::{ErrorKind, ExprError, excerpt};

/// A value for Python.
pub(super) fn to_python(value: &Value) -> MontyObject {
    match value {
        Value::Null => MontyObject::None,
        Value::Bool(flag) => MontyObject::Bool(*flag),
        Value::Number(number) => number_to_python(number),
        Value::String(text) => MontyObject::String(text.clone()),
        Value::Array(items) => MontyObject::List(items.iter().map(to_python).collect()),
        Value::Object(entries) => object_to_python(entries),
    }
}

/// An object for Python.
pub(super) fn object_to_python(entries: &Map<String, Value>) -> MontyObject {
    let pairs = entries
        .iter()
        .map(|(key, value)| (MontyObject::String(key.clone()), to_python(value)));
    MontyObject::Dict(pairs.collect())
}

fn number_to_python(number: &Number) -> MontyObject {
    if let Some(integer) = number.as_i64() {
        return MontyObject::Int(integer);
    }
    if let Some(integer) = number.as_u64() {
        return MontyObject::BigInt(BigInt::from(integer));
    }
    MontyObject::Float(number.as_f64().unwrap_or(f64::NAN))
}

/// What JSON can hold of a result that nests at most `depth` levels.
pub(super) fn from_python(value: MontyObject, depth: usize) -> Result<Value, ExprError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(ExprError::new(
            ErrorKind::Depth,
            "the result nests too deeply",
            "",
        ));
    };
    match value {
        MontyObject::None => Ok(Value::Null),
        MontyObject::Bool(flag) => Ok(Value::Bool(flag)),
        MontyObject::Int(integer) => Ok(Value::from(integer)),
        MontyObject::BigInt(integer) => match u64::try_from(&integer) {
            Ok(integer) => Ok(Value::from(integer)),
            Err(_) => Err(refused(
                "OverflowError: the result is an integer with more than 64 bits, which JSON readers cannot hold",
            )),
        },
        MontyObject::Float(number) => {
            Number::from_f64(number).map(Value::Number).ok_or_else(|| {
                refused(&format!(
                    "ValueError: the result is {}, which JSON cannot hold",
                    MontyObject::Float(number).py_repr()
                ))
            })
        }
        MontyObject::String(text) => Ok(Value::String(text)),
        MontyObject::List(items)
        | MontyObject::Tuple(items)
        | MontyObject::NamedTuple { values: items, .. }
        | MontyObject::Set(items)
        | MontyObject::FrozenSet(items) => items
            .into_iter()
            .map(|item| from_python(item, depth))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        MontyObject::Dict(pairs) => pairs
            .into_iter()
            .map(|(key, value)| Ok((key_text(key)?, from_python(value, depth)?)))
            .collect::<Result<_, _>>()
            .map(Value::Object),
        MontyObject::Function { .. } | MontyObject::BuiltinFunction(_) => Err(function()),
        MontyObject::Repr(text) if text.starts_with("<function ") => Err(function()),
        MontyObject::Cycle(..) => Err(refused(
            "ValueError: the result contains itself, which JSON cannot hold",
        )),
        other => Err(refused(&format!(
            "TypeError: the result is {}, which JSON cannot hold",
            described(&other)
        ))),
    }
}

/// A key as `json.dumps` writes it.
fn key_text(key: MontyObject) -> Result<String, ExprError> {
    match key {
        MontyObject::String(text) => Ok(text),
        MontyObject::None => Ok("null".to_owned()),
        MontyObject::Bool(flag) => Ok(flag.to_string()),
        MontyObject::Int(_) | MontyObject::BigInt(_) | MontyObject::Float(_) => Ok(key.py_repr()),
        other => Err(refused(&format!(
            "TypeError: the result has {} as a key, which JSON cannot hold",
            described(&other)
        ))),
    }
}

fn described(value: &MontyObject) -> String {
    match value {
        // What Monty has no other form for.
        MontyObject::Repr(text) => excerpt(text),
        other => excerpt(&other.to_string()),
    }
}

fn function() -> ExprError {
    refused("TypeError: the result is a function, not a value")
}

fn refused(message: &str) -> ExprError {
    ExprError::new(ErrorKind::Runtime, message, "")
}
