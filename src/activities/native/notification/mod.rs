//! `notification`: one message to people or to another system.
//!
//! A message that was not taken over by its channel is never reported as sent: a channel that is not configured is a
//! permanent failure with the name of the variable. The URLs of Slack's and Discord's webhooks are secrets: outputs and
//! messages show their host only.

mod chat;
mod email;
mod webhook;

#[cfg(test)]
mod tests;

use reqwest::Url;
use serde_json::Value;

use crate::activities::native::config;
use crate::activities::outgoing::Outgoing;
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Object, Outcome, Running, Spec};

/// Sends a message.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Mail, webhooks and client.
    pub outgoing: Outgoing,
}

const CHANNELS: &[&str] = &["email", "sms", "slack", "discord", "webhook"];

static SPEC: Spec = Spec {
    about: "Sends a message by mail, Slack, Discord or a webhook.",
    keys: &[
        Key::new(
            "channel",
            Holds::Choice(CHANNELS),
            "sms has no provider yet",
        )
        .required(),
        Key::new(
            "message",
            Holds::Any,
            "the text; anything else is sent as JSON",
        )
        .required(),
        Key::new(
            "recipient",
            Holds::Any,
            "email: addresses, separated by commas or as a list; webhook: a URL; slack, discord: a webhook's URL, or \
             nothing for the one of the settings",
        ),
        Key::new(
            "subject",
            Holds::Text,
            "a line above the message; email: the subject",
        ),
        Key::new(
            "html",
            Holds::Text,
            "(email) the message as HTML, beside the text",
        ),
        Key::new("headers", Holds::Object, "(webhook) texts by header name"),
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: true,
};

impl Activity for Notification {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, node: &Node) -> Result<(), Failure> {
        channel(&node.config).map(drop)
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let channel = channel(&node.config)?;
            let notice = Notice::read(&node.config)?;
            let sent = match channel.as_str() {
                "email" => email::send(&self.outgoing, &node.config, &notice, context).await?,
                "slack" => chat::slack(&self.outgoing, &notice).await?,
                "discord" => chat::discord(&self.outgoing, &notice).await?,
                "webhook" => {
                    let call = webhook::Call::read(&node.config, &notice)?;
                    call.send(&self.outgoing, &notice, node, context).await?
                }
                _ => {
                    return Err(Failure::permanent(
                        "channel is \"sms\", for which the platform has no provider; use email, slack, discord or \
                         webhook, or an http_request node that calls your provider",
                    ));
                }
            };
            Ok(Outcome::Done {
                output: output(&channel, notice, sent),
                branch: None,
            })
        })
    }
}

/// What is to be said.
#[derive(Debug)]
struct Notice {
    recipient: Option<String>,
    subject: Option<String>,
    /// The message as it is.
    value: Value,
    /// The message as text.
    message: String,
}

/// That it was said.
#[derive(Debug)]
struct Sent {
    /// To whom, without what is secret in it.
    recipient: String,
    /// What the channel told: ids, statuses.
    told: Vec<(&'static str, Value)>,
}

impl Notice {
    fn read(config: &Object) -> Result<Self, Failure> {
        let value = config::value(config, "message").ok_or_else(|| {
            Failure::permanent("message is not set; it must be the text that is sent")
        })?;
        Ok(Self {
            recipient: recipient(config)?,
            subject: config::text(config, "subject")?
                .map(|subject| subject.trim().to_owned())
                .filter(|subject| !subject.is_empty()),
            value: value.clone(),
            message: match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        })
    }
}

fn channel(config: &Object) -> Result<String, Failure> {
    let allowed = format!("one of {}", CHANNELS.join(", "));
    let Some(text) = config::text(config, "channel")? else {
        return Err(Failure::permanent(format!(
            "channel is not set; it must be {allowed}"
        )));
    };
    let channel = text.trim().to_ascii_lowercase();
    if CHANNELS.contains(&channel.as_str()) {
        Ok(channel)
    } else {
        Err(config::wrong("channel", &text.into(), &allowed))
    }
}

/// A text, or a list of texts.
fn recipient(config: &Object) -> Result<Option<String>, Failure> {
    let wrong = |value: &Value| config::wrong("recipient", value, "a text, or a list of texts");
    let text = match config::value(config, "recipient") {
        None => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(value @ Value::Array(list)) => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.ok_or_else(|| wrong(value))?.join(", ")
        }
        Some(other) => return Err(wrong(other)),
    };
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

fn output(channel: &str, notice: Notice, sent: Sent) -> Object {
    let mut output = Object::new();
    output.insert("channel".to_owned(), channel.into());
    output.insert("recipient".to_owned(), sent.recipient.into());
    let subject = notice.subject.map_or(Value::Null, Value::from);
    output.insert("subject".to_owned(), subject);
    output.insert("message".to_owned(), notice.value);
    output.insert("sent".to_owned(), true.into());
    for (key, value) in sent.told {
        output.insert(key.to_owned(), value);
    }
    output
}

/// An http or https URL, if the text is one.
fn http_url(text: &str) -> Option<Url> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// A URL without what may be secret in it.
fn host_only(url: &Url) -> String {
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{port}/…", url.scheme())
}
