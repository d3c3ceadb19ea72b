//! A mail.

use super::{Notice, Sent};
use crate::activities::native::config;
use crate::activities::outgoing::{Mail, Outgoing};
use crate::activities::{Context, Failure, Object};

/// The subject of a mail that has none.
const NO_SUBJECT: &str = "Notification";

pub(super) async fn send(
    outgoing: &Outgoing,
    config: &Object,
    notice: &Notice,
    context: &Context,
) -> Result<Sent, Failure> {
    let Some(recipient) = &notice.recipient else {
        return Err(Failure::permanent(
            "recipient is not set; for an email it must be addresses, separated by commas",
        ));
    };
    let mail = Mail {
        to: recipient.clone(),
        subject: notice
            .subject
            .clone()
            .unwrap_or_else(|| NO_SUBJECT.to_owned()),
        text: Some(notice.message.clone()),
        html: config::text(config, "html")?.map(str::to_owned),
        key: context.idempotency_key.clone(),
        date: context.now,
    };
    let sent = outgoing.mailer.send(&mail).await?;
    Ok(Sent {
        recipient: recipient.clone(),
        told: vec![
            ("provider", sent.provider.into()),
            ("id", sent.id.into()),
            ("response", sent.answer.into()),
        ],
    })
}
