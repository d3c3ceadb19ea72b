//! Slack and Discord, by incoming webhook.

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::{Notice, Sent, host_only, http_url};
use crate::activities::Failure;
use crate::activities::outgoing::{Outgoing, api};

/// Beyond this Slack cuts a text off.
const SLACK_CHARS: usize = 40_000;
/// Beyond this Discord refuses a message.
const DISCORD_CHARS: usize = 2_000;

/// Where a message goes.
struct Place {
    url: Url,
    /// A channel that the node names.
    channel: Option<String>,
}

impl Place {
    /// The webhook that the recipient is, or the one of the settings.
    fn find(
        notice: &Notice,
        setting: Option<&SecretString>,
        variable: &str,
    ) -> Result<Self, Failure> {
        let recipient = notice.recipient.as_deref();
        if let Some(url) = recipient.and_then(http_url) {
            return Ok(Self { url, channel: None });
        }
        let Some(url) = setting else {
            return Err(Failure::permanent(match recipient {
                None => format!(
                    "recipient is not set; it must be a webhook's URL, or the worker's variable {variable} must be set"
                ),
                Some(name) => format!(
                    "recipient is {name:?}, which is not a webhook's URL, and the worker's variable {variable} is not set"
                ),
            }));
        };
        let url = http_url(url.expose_secret())
            .ok_or_else(|| Failure::permanent(format!("{variable} is not an http or https URL")))?;
        Ok(Self {
            url,
            channel: recipient.map(str::to_owned),
        })
    }

    fn shown(&self) -> String {
        match &self.channel {
            Some(channel) => channel.clone(),
            None => host_only(&self.url),
        }
    }
}

fn text(notice: &Notice, bold: &str, most: usize, service: &str) -> Result<String, Failure> {
    let text = match &notice.subject {
        Some(subject) => format!("{bold}{subject}{bold}\n{}", notice.message),
        None => notice.message.clone(),
    };
    let length = text.chars().count();
    if length > most {
        return Err(Failure::permanent(format!(
            "the message has {length} characters; {service} takes at most {most}"
        )));
    }
    Ok(text)
}

/// Slack answers `ok`, or a word such as `invalid_payload`.
pub(super) async fn slack(outgoing: &Outgoing, notice: &Notice) -> Result<Sent, Failure> {
    let setting = outgoing.config.webhooks.slack.as_ref();
    let place = Place::find(notice, setting, "SLACK_WEBHOOK_URL")?;
    let mut body = Map::new();
    body.insert(
        "text".to_owned(),
        text(notice, "*", SLACK_CHARS, "Slack")?.into(),
    );
    // Webhooks of Slack's apps have a channel of their own and ignore it; older ones, and other servers, heed it.
    if let Some(channel) = &place.channel {
        body.insert("channel".to_owned(), channel.as_str().into());
    }
    let answer = api::send(outgoing.client.post(place.url.clone()).json(&body)).await?;
    if !answer.status.is_success() {
        return Err(answer.failure("Slack", None));
    }
    if answer.text.trim() != "ok" {
        return Err(Failure::permanent(format!(
            "Slack: the answer is {:?} and not \"ok\": is this an incoming webhook's URL?",
            answer.beginning()
        ))
        .of_type("HTTPError"));
    }
    Ok(Sent {
        recipient: place.shown(),
        told: vec![("response", "ok".into())],
    })
}

/// Discord answers with the message that it made, if it is asked to.
pub(super) async fn discord(outgoing: &Outgoing, notice: &Notice) -> Result<Sent, Failure> {
    let setting = outgoing.config.webhooks.discord.as_ref();
    let place = Place::find(notice, setting, "DISCORD_WEBHOOK_URL")?;
    let body = json!({"content": text(notice, "**", DISCORD_CHARS, "Discord")?});
    let mut url = place.url.clone();
    url.query_pairs_mut().append_pair("wait", "true");
    let answer = api::send(outgoing.client.post(url).json(&body)).await?;
    if !answer.status.is_success() {
        return Err(answer.failure("Discord", None));
    }
    let json = answer.json();
    let id = json.get("id").and_then(Value::as_str);
    if id.is_none() && answer.status != reqwest::StatusCode::NO_CONTENT {
        return Err(Failure::permanent(format!(
            "Discord: the answer is {:?} and not a message: is this a webhook's URL?",
            answer.beginning()
        ))
        .of_type("HTTPError"));
    }
    Ok(Sent {
        recipient: place.shown(),
        told: vec![("id", id.map_or(Value::Null, Value::from))],
    })
}
