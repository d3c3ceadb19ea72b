//! `ai_prompt`: one question to a language model.
//!
//! `target` decides who is asked and under which key, `prompt` what is asked; `openai` and `anthropic` are the two forms
//! of API; `reply` is what comes back. A key of the platform goes to the platform's URL only: a node that names a
//! `base_url` brings its own key, or none.
//!
//! Models differ in the parameters that they take. What is known is sent right at once; a refusal that names the
//! parameter is answered by one more request without it, and a value that its author set is then reported as a warning.

mod anthropic;
mod openai;
mod prompt;
mod reply;
mod target;

#[cfg(test)]
mod tests;

use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use prompt::Prompt;
use reply::Reply;
use target::{Provider, Target};

use crate::activities::outgoing::{Outgoing, api};
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Outcome, Running, Spec};

/// Requests of one attempt, if the model refuses parameters.
const MOST_REQUESTS: usize = 3;

/// Asks a language model.
#[derive(Clone, Debug)]
pub struct AiPrompt {
    /// Keys and client.
    pub outgoing: Outgoing,
}

static SPEC: Spec = Spec {
    about: "Asks a language model.",
    keys: &[
        Key::new("prompt", Holds::Any, "the question; a text, or any JSON")
            .required()
            .or(&["messages"]),
        Key::new("model", Holds::Text, "default gpt-4o-mini"),
        Key::new("system_prompt", Holds::Any, "what the model is told first"),
        Key::new(
            "temperature",
            Holds::Number,
            "0 to 2 (Anthropic: 1); default 0.7",
        ),
        Key::new(
            "max_tokens",
            Holds::Number,
            "the longest answer; default 1000",
        ),
        Key::new(
            "messages",
            Holds::List,
            "objects with role (system, user, assistant) and content, before the prompt",
        ),
        Key::new(
            "json",
            Holds::Flag,
            "whether the answer is JSON, and is parsed",
        ),
        Key::new(
            "response_format",
            Holds::Object,
            "OpenAI's response_format, such as a JSON schema",
        ),
        Key::new(
            "provider",
            Holds::Choice(&["openai", "anthropic", "google", "cohere"]),
            "default by the model's name",
        ),
        Key::new(
            "base_url",
            Holds::Text,
            "another server with the provider's API; gets api_key and not the platform's key",
        ),
        Key::new("api_key", Holds::Text, "the key for base_url"),
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: true,
};

impl Activity for AiPrompt {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let target = Target::read(&node.config, &self.outgoing.config.providers)?;
            let prompt = Prompt::read(&node.config, target.provider)?;
            let (reply, dialect) = self.ask(&target, &prompt, context).await?;
            finish(&target, &prompt, reply, &dialect)
        })
    }
}

/// Which parameters the model takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Dialect {
    takes_temperature: bool,
    /// `max_completion_tokens` instead of `max_tokens`.
    counts_completion: bool,
}

impl Dialect {
    /// What is known of a model. The rest shows by its refusals.
    fn of(target: &Target) -> Self {
        let model = target.model.as_str();
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| model.starts_with(prefix));
        match target.provider {
            Provider::Anthropic => Self {
                takes_temperature: !starts(&[
                    "claude-opus-4-7",
                    "claude-opus-4-8",
                    "claude-opus-5",
                ]),
                counts_completion: false,
            },
            Provider::OpenAi | Provider::Google | Provider::Cohere => {
                let reasons = target.provider == Provider::OpenAi
                    && starts(&["o1", "o3", "o4", "gpt-5"])
                    && !model.contains("-chat");
                Self {
                    takes_temperature: !reasons,
                    counts_completion: reasons,
                }
            }
        }
    }

    /// Another form of the request, if a refusal says that a parameter is in the way.
    fn adapted(self, refusal: &str) -> Option<Self> {
        let text = refusal.to_ascii_lowercase();
        let is_refused = ["unsupported", "not support", "deprecated"]
            .iter()
            .any(|word| text.contains(word));
        if !is_refused {
            None
        } else if text.contains("max_completion_tokens") && !self.counts_completion {
            Some(Self {
                counts_completion: true,
                ..self
            })
        } else if text.contains("temperature") && self.takes_temperature {
            Some(Self {
                takes_temperature: false,
                ..self
            })
        } else {
            None
        }
    }
}

impl AiPrompt {
    async fn ask(
        &self,
        target: &Target,
        prompt: &Prompt,
        context: &Context,
    ) -> Result<(Reply, Dialect), Failure> {
        let mut dialect = Dialect::of(target);
        let mut requests = 1;
        loop {
            let answer = api::send(self.request(target, prompt, dialect, context)).await?;
            if answer.status.is_success() {
                let json: Value = serde_json::from_str(&answer.text).map_err(|error| {
                    let beginning = answer.beginning();
                    retryable(format!(
                        "{}: the answer is not JSON ({error}): {beginning}",
                        target.name()
                    ))
                })?;
                let reply = match target.provider {
                    Provider::Anthropic => anthropic::reply(&json),
                    Provider::OpenAi | Provider::Google | Provider::Cohere => openai::reply(&json),
                };
                let reply = reply.map_err(|what| {
                    let beginning = answer.beginning();
                    retryable(format!("{}: {what}: {beginning}", target.name()))
                })?;
                return Ok((reply, dialect));
            }
            if answer.status == StatusCode::BAD_REQUEST
                && requests < MOST_REQUESTS
                && let Some(adapted) = dialect.adapted(&answer.error_text())
            {
                dialect = adapted;
                requests += 1;
                continue;
            }
            let failure = answer.failure(target.name(), target.key.as_ref());
            // Waiting does not fill an account.
            let is_empty = answer.json().pointer("/error/code").and_then(Value::as_str)
                == Some("insufficient_quota");
            return Err(if is_empty {
                Failure::permanent(failure.message).of_type("HTTPError")
            } else {
                failure
            });
        }
    }

    fn request(
        &self,
        target: &Target,
        prompt: &Prompt,
        dialect: Dialect,
        context: &Context,
    ) -> reqwest::RequestBuilder {
        let request = self.outgoing.client.post(&target.url);
        let key = target.key.as_ref().map(ExposeSecret::expose_secret);
        match target.provider {
            Provider::Anthropic => {
                let request = request.header("anthropic-version", "2023-06-01");
                let request = match key {
                    Some(key) => request.header("x-api-key", key),
                    None => request,
                };
                request.json(&anthropic::body(&target.model, prompt, dialect))
            }
            Provider::OpenAi | Provider::Google | Provider::Cohere => {
                let request = request.header("idempotency-key", ascii(&context.idempotency_key));
                let request = match key {
                    Some(key) => request.bearer_auth(key),
                    None => request,
                };
                request.json(&openai::body(&target.model, prompt, dialect))
            }
        }
    }
}

/// The key holds the node's id, which may have any character.
fn ascii(key: &str) -> String {
    key.chars()
        .flat_map(|c| {
            if c.is_ascii_graphic() {
                vec![c]
            } else {
                c.escape_unicode().collect()
            }
        })
        .collect()
}

/// What the provider did not do right.
fn retryable(message: String) -> Failure {
    Failure::retryable(message).of_type("HTTPError")
}

fn finish(
    target: &Target,
    prompt: &Prompt,
    reply: Reply,
    dialect: &Dialect,
) -> Result<Outcome, Failure> {
    let mut output = reply.output(target);
    let mut warnings: Vec<Value> = Vec::new();
    if let Some(temperature) = prompt.set_temperature
        && !dialect.takes_temperature
    {
        warnings.push(
            format!(
                "temperature {temperature} has no effect: {} takes none",
                target.model
            )
            .into(),
        );
    }
    if !warnings.is_empty() {
        output.insert("warnings".to_owned(), warnings.into());
    }
    let failed = |failure: Failure, output: Map<String, Value>| {
        Err(failure.of_type("ActivityError").with_output(output))
    };
    let name = target.name();
    if let Some(refusal) = reply.refusal {
        let failure = Failure::permanent(format!("{name}: the model refuses to answer: {refusal}"));
        return failed(failure, output);
    }
    if reply.content.is_empty() {
        let reason = reply.finish_reason.as_deref().unwrap_or("none");
        let failure = if matches!(reason, "length" | "max_tokens") {
            Failure::permanent(format!(
                "{name}: the model has used up max_tokens ({}) before it said anything (what it thinks counts too); \
                 set a higher max_tokens",
                prompt.max_tokens
            ))
        } else {
            Failure::permanent(format!(
                "{name}: the answer has no text (finish_reason: {reason})"
            ))
        };
        return failed(failure, output);
    }
    if prompt.wants_json {
        match reply::parse_json(&reply.content) {
            Ok(json) => {
                output.insert("json".to_owned(), json);
            }
            Err(error) => {
                // Another attempt may bring another answer.
                let failure =
                    Failure::retryable(format!("{name}: the model's answer is not JSON: {error}"));
                return failed(failure, output);
            }
        }
    }
    Ok(Outcome::Done {
        output,
        branch: None,
    })
}
