//! Mail through Resend's HTTP API.

use lettre::message::Mailbox;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::{Mail, Sent, digest, one_line};
use crate::activities::Failure;
use crate::activities::outgoing::api;

/// Resend.
#[derive(Clone, Debug)]
pub(super) struct Resend {
    pub(super) client: reqwest::Client,
    pub(super) base_url: String,
    pub(super) key: SecretString,
}

impl Resend {
    pub(super) async fn send(
        &self,
        from: &Mailbox,
        to: &[Mailbox],
        mail: &Mail,
    ) -> Result<Sent, Failure> {
        let mut body = Map::new();
        body.insert("from".to_owned(), from.to_string().into());
        let to: Vec<String> = to.iter().map(ToString::to_string).collect();
        body.insert("to".to_owned(), to.into());
        body.insert("subject".to_owned(), one_line(&mail.subject).into());
        if let Some(text) = &mail.text {
            body.insert("text".to_owned(), text.as_str().into());
        }
        if let Some(html) = &mail.html {
            body.insert("html".to_owned(), html.as_str().into());
        }
        let request = self
            .client
            .post(format!("{}/emails", self.base_url))
            .bearer_auth(self.key.expose_secret())
            .header("idempotency-key", digest(&mail.key))
            .json(&body);
        let answer = api::send(request).await?;
        if !answer.status.is_success() {
            return Err(answer.failure("Resend", Some(&self.key)));
        }
        match answer.json().get("id").and_then(Value::as_str) {
            Some(id) => Ok(Sent {
                provider: "resend",
                id: id.to_owned(),
                answer: answer.beginning(),
            }),
            None => Err(Failure::retryable(format!(
                "Resend: the answer has no id: {}",
                answer.beginning()
            ))
            .of_type("HTTPError")),
        }
    }
}
