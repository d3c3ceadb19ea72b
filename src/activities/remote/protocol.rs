//! What worker and activity host say to each other: version 1 of `docs/remote-activities.md`.
//!
//! Only the shape; who sends it how is `http`. Keys that are not known here are passed over, so that either side may
//! add some without a new version.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::activities::{Context, Failure, Node, Object, Outcome, SignalWait};
use crate::ids::Timestamp;

/// The version that this worker speaks.
pub const PROTOCOL: u32 = 1;
/// The type of the signal that ends what a host has accepted.
pub const COMPLETION_SIGNAL: &str = "activity_completed";
/// The longest message of a host that a failure shows, in characters.
const MESSAGE_CHARS: usize = 2_000;
/// The longest that a host may take for what it has accepted, in seconds: 30 days.
const LONGEST_ACCEPTED: f64 = 30.0 * 86_400.0;
/// The error type where the host names none.
const UNTYPED: &str = "ActivityError";

/// A node to be run.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    protocol: u32,
    execution_id: String,
    node_id: &'a str,
    node_type: &'a str,
    /// Its configuration, with its templates resolved.
    config: &'a Object,
    /// `execution_data`: the trigger data at its top level and `<node>_output` of what has run.
    input: &'a Object,
    /// By scope, then by name.
    variables: &'a Object,
    /// What the node's place adds: a loop's item and index, a caught error.
    locals: Object,
    attempt: u32,
    visit: u32,
    /// The same for each attempt of this visit.
    pub(super) idempotency_key: &'a str,
    /// When the worker stops waiting, in UTC.
    deadline: String,
    timeout_seconds: f64,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        node: &'a Node,
        context: &'a Context,
        deadline: Timestamp,
        timeout: Duration,
    ) -> Self {
        Self {
            protocol: PROTOCOL,
            execution_id: context.execution_id.to_string(),
            node_id: node.id.as_str(),
            node_type: &node.node_type,
            config: &node.config,
            input: &context.data,
            variables: &context.variables,
            locals: context.locals.iter().cloned().collect(),
            attempt: context.attempt,
            visit: context.visit,
            idempotency_key: &context.idempotency_key,
            deadline: deadline.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            timeout_seconds: timeout.as_secs_f64(),
        }
    }
}

/// What a host answers with status 200 or 202.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(super) enum Answer {
    /// It is done.
    Completed {
        #[serde(default)]
        output: Option<Object>,
        #[serde(default)]
        branch: Option<String>,
    },
    /// It could not be done.
    Failed {
        error: HostError,
        #[serde(default)]
        output: Option<Object>,
    },
    /// It will be done; a signal says when.
    Accepted {
        /// How long it may take from now on.
        #[serde(default)]
        timeout_seconds: Option<f64>,
    },
}

/// A host's error.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct HostError {
    /// For the user.
    pub(super) message: String,
    /// What a `catch` node's `error_type` names.
    #[serde(default, rename = "type")]
    pub(super) kind: Option<String>,
    /// Whether another attempt may help.
    #[serde(default)]
    pub(super) retryable: Option<bool>,
}

/// The body of an answer with another status.
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    pub(super) error: HostError,
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Health {
    status: String,
    protocol: u32,
    /// The node types that it serves; `None` if it does not say.
    #[serde(default)]
    pub types: Option<Vec<String>>,
}

impl Health {
    /// The same, if the host is well and speaks our version.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub(super) fn check(self) -> Result<Self, String> {
        if self.protocol != PROTOCOL {
            return Err(format!(
                "it speaks version {} of the protocol; this worker speaks version {PROTOCOL}",
                self.protocol
            ));
        }
        if self.status != "ok" {
            return Err(format!(
                "its health is {:?}, not \"ok\"",
                bounded(&self.status)
            ));
        }
        Ok(self)
    }
}

/// Reads the body of an answer with status 200 or 202.
pub(super) fn read_answer(body: &[u8]) -> Result<Answer, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::permanent(format!(
            "the activity host's answer is not as the protocol wants it: {error}"
        ))
        .of_type(UNTYPED)
    })
}

impl Answer {
    /// What the answer means for the node. An accepted one has until `deadline`; the host may set another, unless the
    /// deadline is the node's own.
    pub(super) fn into_outcome(
        self,
        idempotency_key: &str,
        now: Timestamp,
        (deadline, is_nodes_own): (Timestamp, bool),
    ) -> Result<Outcome, Failure> {
        match self {
            Self::Completed { output, branch } => Ok(Outcome::Done {
                output: output.unwrap_or_default(),
                branch: branch.filter(|branch| !branch.is_empty()),
            }),
            Self::Failed { error, output } => {
                // A host that does not say whether another attempt helps is like one that broke down.
                let is_retryable = error.retryable.unwrap_or(true);
                Err(error
                    .into_failure(is_retryable)
                    .with_output(output.unwrap_or_default()))
            }
            Self::Accepted { timeout_seconds } => {
                let until = match timeout_seconds {
                    Some(seconds) if !is_nodes_own => later(now, seconds)?,
                    _ => deadline,
                };
                Ok(Outcome::AwaitSignal {
                    wait: SignalWait {
                        signal_type: COMPLETION_SIGNAL.to_owned(),
                        request: None,
                        options: Vec::new(),
                        correlation_id: Some(idempotency_key.to_owned()),
                    },
                    until: Some(until),
                })
            }
        }
    }
}

fn later(now: Timestamp, seconds: f64) -> Result<Timestamp, Failure> {
    let allowed = (0.0..=LONGEST_ACCEPTED).contains(&seconds);
    let time = allowed
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
        .and_then(|time| chrono::TimeDelta::from_std(time).ok());
    time.map(|time| now + time).ok_or_else(|| {
        Failure::permanent(format!(
            "the activity host accepted the node with timeout_seconds {seconds}; it must be a number from 0 to \
             {LONGEST_ACCEPTED}"
        ))
        .of_type(UNTYPED)
    })
}

impl HostError {
    /// The failure that it describes.
    pub(super) fn into_failure(self, is_retryable: bool) -> Failure {
        let message = match self.message.trim() {
            "" => "the activity host reports a failure without a message".to_owned(),
            message => bounded(message),
        };
        let failure = if is_retryable {
            Failure::retryable(message)
        } else {
            Failure::permanent(message)
        };
        match self.kind.filter(|kind| !kind.trim().is_empty()) {
            Some(kind) => failure.of_type(bounded(kind.trim())),
            None => failure.of_type(UNTYPED),
        }
    }
}

/// A host's text, as far as it is shown.
pub(super) fn bounded(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The message of a body that is an error of the protocol, if it is one.
pub(super) fn read_refusal(body: &[u8]) -> Option<HostError> {
    let value: Value = serde_json::from_slice(body).ok()?;
    serde_json::from_value::<Refused>(value)
        .ok()
        .map(|refused| refused.error)
}
