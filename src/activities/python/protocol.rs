//! What worker and host say to each other: frames of JSON with their length in front, one answer to each request.
//!
//! Of the data, a request holds the keys that the expression can read and no others.

use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::expr::over::{Over, Task};
use crate::expr::python::Mentions;
use crate::expr::scope::VARIABLE_SCOPES;
use crate::expr::{ErrorKind, ExprError, Limits, Scope};

/// The length in front of each frame, big-endian.
pub(super) const LENGTH_BYTES: usize = size_of::<u32>();

/// What the worker sends.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    source: &'a str,
    data: Mentioned<'a>,
    variables: Vec<(&'static str, Mentioned<'a>)>,
    extra: &'a [(String, Value)],
    /// The items of a list, if it is to be evaluated for each of them, and what is done with the values.
    items: Option<&'a [Value]>,
    task: Option<&'a Task>,
    limits: &'a Limits,
}

/// An object without the keys that are not mentioned.
struct Mentioned<'a>(Vec<(&'a String, &'a Value)>);

impl Serialize for Mentioned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

impl<'a> Request<'a> {
    pub(super) fn new(
        source: &'a str,
        scope: &'a Scope,
        over: Option<&'a Over>,
        limits: &'a Limits,
    ) -> Self {
        let mentions = Mentions::new(source);
        let mentioned = |object: &'a Map<String, Value>| {
            Mentioned(
                object
                    .iter()
                    .filter(|(key, _)| mentions.includes(key))
                    .collect(),
            )
        };
        let variables = VARIABLE_SCOPES
            .iter()
            .filter_map(|name| Some((*name, mentioned(scope.variables.get(*name)?.as_object()?))))
            .collect();
        Self {
            source,
            data: mentioned(&scope.data),
            variables,
            extra: &scope.extra,
            items: over.map(|over| over.items.as_slice()),
            task: over.map(|over| &over.task),
            limits,
        }
    }

    /// As it goes through the pipe.
    pub(super) fn frame(&self) -> Result<Vec<u8>, serde_json::Error> {
        frame(self)
    }
}

/// What the host receives. The parts with values are read on their own, so that they may nest as deeply as they could
/// in the database.
#[derive(Deserialize)]
pub(super) struct Received {
    pub(super) source: String,
    data: Box<RawValue>,
    variables: Box<RawValue>,
    extra: Box<RawValue>,
    items: Box<RawValue>,
    task: Box<RawValue>,
    pub(super) limits: Limits,
}

impl Received {
    /// What the expression sees.
    pub(super) fn scope(&self) -> Result<Scope, serde_json::Error> {
        let variables: Vec<(String, Value)> = serde_json::from_str(self.variables.get())?;
        Ok(Scope {
            data: serde_json::from_str::<Map<String, Value>>(self.data.get())?.into(),
            variables: variables.into_iter().collect::<Map<String, Value>>().into(),
            extra: serde_json::from_str(self.extra.get())?,
        })
    }

    /// The list, if it is to be evaluated for the items of one.
    pub(super) fn over(&self) -> Result<Option<Over>, serde_json::Error> {
        let items: Option<Vec<Value>> = serde_json::from_str(self.items.get())?;
        let task: Option<Task> = serde_json::from_str(self.task.get())?;
        Ok(items.zip(task).map(|(items, task)| Over {
            items: items.into(),
            task,
        }))
    }
}

/// What the host answers.
#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    /// The value.
    #[serde(rename = "ok")]
    Value(Value),
    /// Why there is none.
    #[serde(rename = "error")]
    Error(ExprError),
}

impl Answer {
    /// Whether the host had better not be used again.
    pub(super) fn is_breakdown(&self) -> bool {
        matches!(self, Self::Error(error) if error.kind == ErrorKind::Crashed)
    }
}

/// A frame.
pub(super) fn frame(content: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut frame = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, content)?;
    let length = u32::try_from(frame.len() - LENGTH_BYTES).map_err(|error| {
        serde::ser::Error::custom(format!("the data is too large for one message: {error}"))
    })?;
    for (byte, of_length) in frame.iter_mut().zip(length.to_be_bytes()) {
        *byte = of_length;
    }
    Ok(frame)
}
