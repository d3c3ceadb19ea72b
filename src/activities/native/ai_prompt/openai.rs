//! OpenAI's chat completions, which many others serve too.

use serde_json::{Map, Value, json};

use super::Dialect;
use super::prompt::Prompt;
use super::reply::{Reply, Usage, content};

pub(super) fn body(model: &str, prompt: &Prompt, dialect: Dialect) -> Map<String, Value> {
    let system = prompt
        .system
        .iter()
        .map(|text| json!({"role": "system", "content": text}));
    let messages: Vec<Value> = system.chain(prompt.messages.iter().cloned()).collect();
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    body.insert("messages".to_owned(), messages.into());
    let tokens = if dialect.counts_completion {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    body.insert(tokens.to_owned(), prompt.max_tokens.into());
    if dialect.takes_temperature {
        body.insert("temperature".to_owned(), prompt.temperature.into());
    }
    if let Some(format) = &prompt.response_format {
        body.insert("response_format".to_owned(), format.clone());
    }
    body
}

/// The first choice; or what is wrong with the answer.
pub(super) fn reply(json: &Value) -> Result<Reply, &'static str> {
    let choice = json
        .get("choices")
        .and_then(|choices| choices.get(0))
        .ok_or("the answer has no choices")?;
    let message = choice
        .get("message")
        .ok_or("the answer's choice has no message")?;
    let text = |value: Option<&Value>| Some(value?.as_str()?.to_owned());
    let finish_reason = text(choice.get("finish_reason"));
    let said = content(message.get("content"));
    let is_filtered = said.is_empty() && finish_reason.as_deref() == Some("content_filter");
    let refusal = text(message.get("refusal"))
        .filter(|refusal| !refusal.is_empty())
        .or_else(|| is_filtered.then(|| "the provider's content filter".to_owned()));
    let count = |name: &str| {
        json.pointer(&format!("/usage/{name}"))
            .and_then(Value::as_u64)
    };
    let usage = count("prompt_tokens").map(|input| {
        let output = count("completion_tokens").unwrap_or(0);
        Usage {
            input,
            output,
            total: count("total_tokens").unwrap_or(input + output),
        }
    });
    Ok(Reply {
        content: said,
        refusal,
        model: text(json.get("model")),
        finish_reason,
        usage,
        id: text(json.get("id")),
    })
}
