//! How a node ends whose answer has come.

use serde_json::{Map, Value};

use super::drive::Drive;
use crate::activities::Object;
use crate::engine::{FailureKind, NodeOptions, NodeResult, SignalWait, Waiting};
use crate::host::signals::Answer;
use crate::host::state_json;
use crate::store::children::ChildRow;

/// The signal that completes a remote activity which has answered 'accepted'.
const ACTIVITY_COMPLETED: &str = "activity_completed";

impl Drive {
    pub(super) fn child_ended(
        &self,
        waiting: &Waiting,
        row: &ChildRow,
        output: &Object,
    ) -> NodeResult {
        let mut output = output.clone();
        output.insert("status".to_owned(), row.status.as_str().into());
        let data = state_json::read(row.execution_state.as_deref())
            .map(|state| state.execution_data)
            .unwrap_or_default();
        if row.status == "completed" {
            let config = self
                .graph
                .graph
                .node(&waiting.node)
                .map(|node| &node.config);
            if let Some(Value::Object(mapping)) =
                config.and_then(|config| config.get("output_mapping"))
            {
                for (key, path) in mapping {
                    let found = path.as_str().and_then(|path| member(&data, path));
                    output.insert(key.clone(), found.cloned().unwrap_or_default());
                }
            }
            output.insert("result".to_owned(), Value::Object(data));
            output.insert("error".to_owned(), Value::Null);
            let branch = None;
            return NodeResult::Success { output, branch };
        }
        let error = row.error_message.clone().unwrap_or_default();
        output.insert("result".to_owned(), Value::Object(data));
        output.insert("error".to_owned(), error.as_str().into());
        // A child has retries of its own; its parent repeats it only if its node says so.
        let repeats = self.graph.graph.node(&waiting.node).is_some_and(|node| {
            NodeOptions::read(&node.config)
                .is_ok_and(|options| options.retries.is_some_and(|retries| retries > 0))
        });
        NodeResult::Failure {
            kind: if repeats {
                FailureKind::Retryable
            } else {
                FailureKind::Permanent
            },
            message: format!("sub-workflow {} failed: {error}", row.name),
            output,
            error_type: "SubWorkflowError".into(),
            retry_after: None,
        }
    }
}

pub(super) fn gone(name: &str, output: &Object) -> NodeResult {
    NodeResult::Failure {
        kind: FailureKind::Permanent,
        message: format!("sub-workflow {name} is gone: its execution or its workflow was deleted"),
        output: output.clone(),
        error_type: "SubWorkflowError".into(),
        retry_after: None,
    }
}

/// What a dotted path names in a child's data.
fn member<'a>(data: &'a Object, path: &str) -> Option<&'a Value> {
    let mut parts = path.trim().split('.').peekable();
    if matches!(parts.peek(), Some(&("data" | "result" | "execution_data")))
        && !data.contains_key(path)
    {
        parts.next();
    }
    let first = data.get(parts.next()?)?;
    parts.try_fold(first, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => value.get(part),
    })
}

/// How a node ends whose signal has come.
pub(super) fn answered(wait: &SignalWait, request_id: uuid::Uuid, answer: Answer) -> NodeResult {
    if answer.signal_type == ACTIVITY_COMPLETED && wait.correlation_id.is_some() {
        return activity_completed(answer.data);
    }
    let mut output = Map::new();
    if let Some(request) = &wait.request {
        output.insert("signal_id".to_owned(), request_id.to_string().into());
        output.insert(
            "message".to_owned(),
            request.get("message").cloned().unwrap_or_default(),
        );
        output.insert("status".to_owned(), "answered".into());
        for key in ["comment", "by"] {
            let value = answer.data.get(key).cloned().unwrap_or_default();
            output.insert(key.to_owned(), value);
        }
    }
    if let Some(decision) = &answer.decision {
        output.insert("decision".to_owned(), decision.as_str().into());
    }
    output.insert("signal_type".to_owned(), answer.signal_type.into());
    output.insert("signal_data".to_owned(), Value::Object(answer.data));
    NodeResult::Success {
        output,
        branch: answer.decision,
    }
}

/// The later completion of a remote activity: `output` and perhaps `branch`, or `error` as in a direct answer.
fn activity_completed(mut data: Object) -> NodeResult {
    let output = match data.remove("output") {
        Some(Value::Object(output)) => output,
        None | Some(Value::Null) => Object::new(),
        Some(other) => Object::from_iter([("result".to_owned(), other)]),
    };
    match data.get("error").filter(|error| !error.is_null()) {
        None => NodeResult::Success {
            output,
            branch: data
                .get("branch")
                .and_then(Value::as_str)
                .filter(|branch| !branch.is_empty())
                .map(str::to_owned),
        },
        Some(error) => {
            let text = |key: &str| error.get(key).and_then(Value::as_str);
            let message = error.as_str().or_else(|| text("message"));
            let is_retryable = error.get("retryable").and_then(Value::as_bool) != Some(false);
            NodeResult::Failure {
                kind: if is_retryable {
                    FailureKind::Retryable
                } else {
                    FailureKind::Permanent
                },
                message: message.unwrap_or("the activity failed").to_owned(),
                output,
                error_type: text("type").unwrap_or("ActivityError").into(),
                retry_after: None,
            }
        }
    }
}
