//! Anthropic's messages.

use serde_json::{Map, Value};

use super::Dialect;
use super::prompt::Prompt;
use super::reply::{Reply, Usage, content};

pub(super) fn body(model: &str, prompt: &Prompt, dialect: Dialect) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    body.insert("max_tokens".to_owned(), prompt.max_tokens.into());
    if let Some(system) = &prompt.system {
        body.insert("system".to_owned(), system.as_str().into());
    }
    body.insert("messages".to_owned(), prompt.messages.clone().into());
    if dialect.takes_temperature {
        body.insert("temperature".to_owned(), prompt.temperature.into());
    }
    body
}

/// The answer; or what is wrong with it.
pub(super) fn reply(json: &Value) -> Result<Reply, &'static str> {
    let parts = json
        .get("content")
        .filter(|content| content.is_array())
        .ok_or("the answer has no content")?;
    let text = |name: &str| Some(json.get(name)?.as_str()?.to_owned());
    let finish_reason = text("stop_reason");
    let said = content(Some(parts));
    let refusal = (finish_reason.as_deref() == Some("refusal")).then(|| {
        if said.is_empty() {
            "no reason given".to_owned()
        } else {
            said.clone()
        }
    });
    let count = |name: &str| {
        json.pointer(&format!("/usage/{name}"))
            .and_then(Value::as_u64)
    };
    let usage = count("input_tokens").map(|fresh| {
        // What came from the cache, or went there, is input as well.
        let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"]
            .iter()
            .filter_map(|name| count(name))
            .sum::<u64>();
        let (input, output) = (fresh + cached, count("output_tokens").unwrap_or(0));
        Usage {
            input,
            output,
            total: input + output,
        }
    });
    Ok(Reply {
        content: said,
        refusal,
        model: text("model"),
        finish_reason,
        usage,
        id: text("id"),
    })
}
