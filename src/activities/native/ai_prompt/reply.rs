//! What came back, and the node's output.

use serde_json::{Map, Value};

use super::target::Target;

/// What a model answered.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) content: String,
    /// Why it did not answer, if it says so.
    pub(super) refusal: Option<String>,
    /// The model that answered.
    pub(super) model: Option<String>,
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Option<Usage>,
    /// The provider's id of the answer.
    pub(super) id: Option<String>,
}

/// How much was used, in tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) total: u64,
}

impl Reply {
    pub(super) fn output(&self, target: &Target) -> Map<String, Value> {
        let mut output = Map::new();
        output.insert("content".to_owned(), self.content.as_str().into());
        let model = self.model.as_deref().unwrap_or(&target.model);
        output.insert("model".to_owned(), model.into());
        if let Some(requested) = &target.requested_model {
            output.insert("requested_model".to_owned(), requested.as_str().into());
        }
        output.insert("provider".to_owned(), target.name().into());
        output.insert(
            "tokens_used".to_owned(),
            self.usage.map_or(Value::Null, |usage| usage.total.into()),
        );
        let usage = self.usage.map(|usage| {
            serde_json::json!({
                "input_tokens": usage.input, "output_tokens": usage.output, "total_tokens": usage.total
            })
        });
        output.insert("usage".to_owned(), usage.unwrap_or_default());
        output.insert(
            "finish_reason".to_owned(),
            text(self.finish_reason.as_ref()),
        );
        output.insert("id".to_owned(), text(self.id.as_ref()));
        output
    }
}

fn text(value: Option<&String>) -> Value {
    value.map_or(Value::Null, |value| value.as_str().into())
}

/// A content that is a text, or a list of parts of which the texts count.
pub(super) fn content(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .filter(|part| part.get("type").and_then(Value::as_str) == Some("text"))
            .filter_map(|part| part.get("text")?.as_str())
            .collect(),
        _ => String::new(),
    }
}

/// The JSON in an answer, be it fenced as Markdown.
pub(super) fn parse_json(content: &str) -> Result<Value, serde_json::Error> {
    let content = content.trim();
    let inner = content
        .strip_prefix("```")
        .and_then(|rest| rest.strip_suffix("```"))
        .map(|rest| rest.strip_prefix("json").unwrap_or(rest));
    serde_json::from_str(inner.unwrap_or(content))
}
