//! What is asked, from a node's configuration.

use serde_json::{Value, json};

use super::target::Provider;
use crate::activities::native::config;
use crate::activities::{Failure, Object};

const DEFAULT_TEMPERATURE: f64 = 0.7;
const DEFAULT_MAX_TOKENS: u32 = 1_000;
const MOST_TOKENS: u32 = 1_000_000;
const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// What is asked.
#[derive(Debug)]
pub(super) struct Prompt {
    /// What the model is told first.
    pub(super) system: Option<String>,
    /// Messages of user and assistant, in their order.
    pub(super) messages: Vec<Value>,
    pub(super) temperature: f64,
    /// The temperature, if it is the node's.
    pub(super) set_temperature: Option<f64>,
    pub(super) max_tokens: u32,
    /// Whether the answer is to be parsed.
    pub(super) wants_json: bool,
    pub(super) response_format: Option<Value>,
}

impl Prompt {
    pub(super) fn read(config: &Object, provider: Provider) -> Result<Self, Failure> {
        let mut system: Vec<String> = config::value(config, "system_prompt")
            .map(as_text)
            .into_iter()
            .collect();
        let mut messages = Vec::new();
        read_messages(config, &mut system, &mut messages)?;
        if let Some(prompt) = config::value(config, "prompt") {
            messages.push(json!({"role": "user", "content": as_text(prompt)}));
        }
        if messages.is_empty() {
            return Err(Failure::permanent(
                "prompt is not set; it must be the text that the model is asked",
            ));
        }
        let hottest = if provider == Provider::Anthropic {
            1.0
        } else {
            2.0
        };
        let set_temperature = config::number(config, "temperature", 0.0, hottest)?;
        let json_is_set = flag(config, "json")?;
        let response_format =
            config::object(config, "response_format")?.map(|format| Value::Object(format.clone()));
        if provider == Provider::Anthropic && response_format.is_some() {
            return Err(Failure::permanent(
                "response_format is not known to Anthropic's API; set json to true instead",
            ));
        }
        let wants_json = json_is_set
            || response_format
                .as_ref()
                .and_then(|format| format.get("type")?.as_str())
                .is_some_and(|kind| kind.starts_with("json"));
        // OpenAI refuses its JSON mode where no message speaks of JSON; Anthropic has none, so it must be told.
        let says_json = system
            .iter()
            .cloned()
            .chain(messages.iter().map(Value::to_string))
            .any(|text| text.contains("JSON"));
        if json_is_set && (provider == Provider::Anthropic || !says_json) {
            system.push("Answer with JSON and nothing else.".to_owned());
        }
        Ok(Self {
            system: (!system.is_empty()).then(|| system.join("\n\n")),
            messages,
            temperature: set_temperature.unwrap_or(DEFAULT_TEMPERATURE),
            set_temperature,
            max_tokens: max_tokens(config)?,
            wants_json,
            response_format: response_format
                .or_else(|| json_is_set.then(|| json!({"type": "json_object"}))),
        })
    }
}

/// Messages of the system go where the provider has them; the others keep their order.
fn read_messages(
    config: &Object,
    system: &mut Vec<String>,
    messages: &mut Vec<Value>,
) -> Result<(), Failure> {
    let list = match config::value(config, "messages") {
        None => return Ok(()),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(config::wrong("messages", other, "a list")),
    };
    for (index, message) in list.iter().enumerate() {
        let key = format!("messages[{index}]");
        let role = message.get("role").unwrap_or(&Value::Null);
        let role = role
            .as_str()
            .filter(|role| ROLES.contains(role))
            .ok_or_else(|| {
                let allowed = format!("one of {}", ROLES.join(", "));
                config::wrong(&format!("{key}.role"), role, &allowed)
            })?;
        let content = message.get("content").unwrap_or(&Value::Null);
        match content {
            Value::String(text) if role == "system" => system.push(text.clone()),
            Value::String(_) => messages.push(json!({"role": role, "content": content})),
            Value::Array(_) if role != "system" => {
                messages.push(json!({"role": role, "content": content}));
            }
            other => {
                let allowed = "a text, or (user, assistant) a list of parts";
                return Err(config::wrong(&format!("{key}.content"), other, allowed));
            }
        }
    }
    Ok(())
}

/// A text as it is, anything else as JSON: a template that is the whole text keeps the type of its value.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn max_tokens(config: &Object) -> Result<u32, Failure> {
    let Some(value) = config::value(config, "max_tokens") else {
        return Ok(DEFAULT_MAX_TOKENS);
    };
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (1..=MOST_TOKENS).contains(number))
        .ok_or_else(|| {
            let allowed = format!("a whole number from 1 to {MOST_TOKENS}");
            config::wrong("max_tokens", value, &allowed)
        })
}

fn flag(config: &Object, key: &str) -> Result<bool, Failure> {
    match config::value(config, key) {
        None | Some(Value::Bool(false)) => Ok(false),
        Some(Value::Bool(true)) => Ok(true),
        Some(Value::String(text)) if text == "true" => Ok(true),
        Some(Value::String(text)) if text == "false" => Ok(false),
        Some(other) => Err(config::wrong(key, other, "true or false")),
    }
}
