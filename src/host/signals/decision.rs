//! What one row of `workflowsignal` says: for whom it is, and which decision it holds.
//!
//! Its data are anything that a person or a foreign system may write: an object, an object as text, `null`, a list.

use std::fmt;

use serde_json::Value;
use uuid::Uuid;

use super::Object;

/// The keys of a decision, in the order in which they count.
const DECISION_KEYS: [&str; 3] = ["decision", "response", "option"];
/// The options that `approved: true` and `approved: false` stand for, where they are there.
const YES: [&str; 5] = ["approve", "approved", "yes", "ok", "true"];
const NO: [&str; 5] = ["reject", "rejected", "no", "deny", "false"];
/// Words that stand for an option of another spelling.
const SYNONYMS: [(&str, &str); 2] = [("approved", "approve"), ("rejected", "reject")];
/// A refusal shows no more of a decision than this.
const SHOWN_CHARS: usize = 200;

/// What a row says.
#[derive(Debug)]
pub(super) struct Message {
    /// The data; those that are no object under `value`.
    pub(super) data: Object,
    /// The decision, if there is one.
    pub(super) given: Option<Given>,
    /// The request that it names.
    pub(super) request_id: Option<Uuid>,
    /// The node that it names.
    pub(super) node_id: Option<String>,
    /// What it is about, in the words of a foreign system.
    pub(super) correlation_id: Option<String>,
    /// Who sends it.
    pub(super) by: Option<String>,
    /// It asks (and may have been answered in its own row).
    pub(super) is_request: bool,
}

/// A decision as it was written.
#[derive(Debug)]
pub(super) enum Given {
    Word(String),
    Approved(bool),
}

impl Message {
    /// The message of a row.
    pub(super) fn of(data: &Value) -> Self {
        let mut object = object_from(data);
        // The row of a request that an earlier worker has made, with an answer written into it.
        let is_answered_request = object.contains_key("options") && given(&object).is_some();
        let is_request = object.contains_key("options")
            || (object.contains_key("message") && given(&object).is_none());
        if is_answered_request {
            object.shift_remove("message");
            object.shift_remove("options");
        }
        Self::from_object(object, is_request)
    }

    /// The message that was written into the row of a request: what differs from the request.
    pub(super) fn of_request(data: &Value, request: Option<&Object>) -> Self {
        let mut object = object_from(data);
        object.retain(|key, value| {
            let is_as_asked = request.and_then(|request| request.get(key)) == Some(&*value);
            !is_as_asked && key != "message" && key != "options"
        });
        Self::from_object(object, true)
    }

    /// Whether it asks, and if a node is named, on behalf of that node.
    pub(super) fn is_request_of(&self, node: Option<&str>) -> bool {
        self.is_request && (node.is_none() || self.node_id.as_deref() == node)
    }

    fn from_object(object: Object, is_request: bool) -> Self {
        let text = |key: &str| object.get(key).and_then(word);
        let request_id = ["signal_id", "request_id"]
            .iter()
            .find_map(|key| Uuid::parse_str(text(key)?.trim()).ok());
        Self {
            given: given(&object),
            request_id,
            node_id: text("node_id"),
            correlation_id: text("correlation_id"),
            by: text("by"),
            is_request,
            data: object,
        }
    }
}

impl Given {
    /// The option that is meant, as it is spelled there.
    pub(super) fn among<'a>(&self, options: &'a [String]) -> Option<&'a str> {
        match self {
            Self::Word(text) => named(options, text).or_else(|| {
                let (_, other) = SYNONYMS
                    .iter()
                    .find(|(synonym, _)| text.trim().eq_ignore_ascii_case(synonym))?;
                named(options, other)
            }),
            Self::Approved(true) => first_of(options, &YES, 0),
            Self::Approved(false) => first_of(options, &NO, 1),
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) => {
                let shown: String = text.chars().take(SHOWN_CHARS).collect();
                write!(f, "decision {shown:?}")
            }
            Self::Approved(is_approved) => write!(f, "approved: {is_approved}"),
        }
    }
}

/// Exactly so, else but for blanks and case.
fn named<'a>(options: &'a [String], text: &str) -> Option<&'a str> {
    let wanted = text.trim();
    options
        .iter()
        .find(|option| option.trim() == wanted)
        .or_else(|| {
            let wanted = wanted.to_lowercase();
            options
                .iter()
                .find(|option| option.trim().to_lowercase() == wanted)
        })
        .map(String::as_str)
}

fn first_of<'a>(options: &'a [String], words: &[&str], otherwise: usize) -> Option<&'a str> {
    words
        .iter()
        .find_map(|word| named(options, word))
        .or_else(|| options.get(otherwise).map(String::as_str))
}

fn given(object: &Object) -> Option<Given> {
    for key in DECISION_KEYS {
        match object.get(key) {
            Some(Value::Bool(is_approved)) => return Some(Given::Approved(*is_approved)),
            // It is there, and cannot be one of the options: to be refused, and not overlooked.
            Some(value @ (Value::Array(_) | Value::Object(_))) => {
                return Some(Given::Word(value.to_string()));
            }
            Some(value) => {
                if let Some(text) = word(value) {
                    return Some(Given::Word(text));
                }
            }
            None => {}
        }
    }
    match object.get("approved") {
        Some(Value::Bool(is_approved)) => Some(Given::Approved(*is_approved)),
        Some(Value::String(text)) => text.trim().to_lowercase().parse().ok().map(Given::Approved),
        _ => None,
    }
}

/// A text that is not blank, or a number as text.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn object_from(data: &Value) -> Object {
    match data {
        Value::Null => Object::new(),
        Value::Object(object) => object.clone(),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            _ => under_value(data),
        },
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => under_value(data),
    }
}

fn under_value(data: &Value) -> Object {
    Object::from_iter([("value".to_owned(), data.clone())])
}
