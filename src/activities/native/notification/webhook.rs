//! A webhook: a POST of JSON to the recipient's URL.

use reqwest::Url;
use reqwest::header::HeaderMap;
use serde_json::json;

use super::{Notice, Sent, http_url};
use crate::activities::native::config;
use crate::activities::native::http::checked_header;
use crate::activities::outgoing::{Outgoing, api};
use crate::activities::{Context, Failure, Node, Object};

/// A call that can be made.
#[derive(Debug)]
pub(super) struct Call {
    url: Url,
    headers: HeaderMap,
}

impl Call {
    pub(super) fn read(config: &Object, notice: &Notice) -> Result<Self, Failure> {
        let allowed = "an http or https URL, such as https://example.com/hook";
        let Some(recipient) = &notice.recipient else {
            return Err(Failure::permanent(format!(
                "recipient is not set; for a webhook it must be {allowed}"
            )));
        };
        let url = http_url(recipient)
            .ok_or_else(|| config::wrong("recipient", &recipient.as_str().into(), allowed))?;
        Ok(Self {
            url,
            headers: headers(config)?,
        })
    }

    pub(super) async fn send(
        self,
        outgoing: &Outgoing,
        notice: &Notice,
        node: &Node,
        context: &Context,
    ) -> Result<Sent, Failure> {
        let body = json!({
            "subject": notice.subject,
            "message": notice.value,
            "execution_id": context.execution_id.to_string(),
            "node_id": node.id.as_str(),
            "idempotency_key": context.idempotency_key,
        });
        let recipient = self.url.to_string();
        let request = outgoing.client.post(self.url).json(&body);
        let answer = api::send(request.headers(self.headers)).await?;
        if !answer.status.is_success() {
            return Err(answer.failure("the webhook", None));
        }
        Ok(Sent {
            recipient,
            told: vec![
                ("status_code", answer.status.as_u16().into()),
                ("response", answer.beginning().into()),
            ],
        })
    }
}

fn headers(config: &Object) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in config::object(config, "headers")?.into_iter().flatten() {
        let (header, text) = checked_header(name, value)?;
        headers.insert(header, text);
    }
    Ok(headers)
}
