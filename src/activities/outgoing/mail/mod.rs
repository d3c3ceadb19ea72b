//! Sends one mail, by SMTP or through Resend, as the configuration says.
//!
//! A mail goes to all its recipients or to none. The same key gives the same `Message-ID` (SMTP) or `Idempotency-Key`
//! (Resend), so that a repeated attempt is recognisable. A refusal for good (SMTP 5xx, most of HTTP 4xx) is permanent;
//! one for now, and a server that is not there, are retryable.

mod resend;
mod smtp;
#[cfg(test)]
mod tests;

use lettre::message::{Mailbox, Mailboxes};
use sha2::{Digest, Sha256};

use crate::activities::Failure;
use crate::config::MailConfig;
use crate::ids::Timestamp;

/// The most recipients of one mail; Resend takes no more.
const MOST_RECIPIENTS: usize = 50;

/// Mail cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS for the mail server")]
pub struct MailError(#[from] lettre::transport::smtp::Error);

/// A mail.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Addresses, separated by commas, each perhaps as `Name <address>`.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The text; at least one of text and HTML is there.
    pub text: Option<String>,
    /// The HTML.
    pub html: Option<String>,
    /// What makes it the same mail.
    pub key: String,
    /// Its date.
    pub date: Timestamp,
}

/// A mail that was taken over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// `smtp` or `resend`.
    pub provider: &'static str,
    /// Its id: the Message-ID, or Resend's.
    pub id: String,
    /// What the server said.
    pub answer: String,
}

/// Sends mails. Cheap to clone; each mail has a connection of its own.
#[derive(Clone, Debug)]
pub struct Mailer {
    way: Way,
    from_email: Option<String>,
    from_name: String,
}

#[derive(Clone, Debug)]
enum Way {
    /// This variable must be set first.
    Missing(&'static str),
    Smtp(smtp::Smtp),
    Resend(resend::Resend),
}

impl Mailer {
    /// Sets up what the configuration names. Connects to nothing.
    pub fn new(config: &MailConfig, client: reqwest::Client) -> Result<Self, MailError> {
        let way = match (config.missing(), &config.smtp_host, &config.resend_api_key) {
            (Some(variable), _, _) => Way::Missing(variable),
            (None, _, Some(key)) if config.use_resend => Way::Resend(resend::Resend {
                client,
                base_url: config.resend_base_url.clone(),
                key: key.clone(),
            }),
            (None, Some(host), _) => Way::Smtp(smtp::Smtp::new(host, config)?),
            (None, None, _) => Way::Missing("SMTP_HOST"),
        };
        Ok(Self {
            way,
            from_email: config.from_email.clone(),
            from_name: config.from_name.clone(),
        })
    }

    /// The first variable that must be set before a mail can be sent.
    pub fn missing(&self) -> Option<&'static str> {
        match self.way {
            Way::Missing(variable) => Some(variable),
            Way::Smtp(_) | Way::Resend(_) => None,
        }
    }

    /// Sends a mail. Dropping the future closes the connection.
    pub async fn send(&self, mail: &Mail) -> Result<Sent, Failure> {
        let to = recipients(&mail.to)?;
        match &self.way {
            Way::Missing(variable) => Err(Failure::permanent(format!(
                "no mail can be sent: {variable} is not set"
            ))),
            Way::Smtp(smtp) => smtp.send(self.from()?, to, mail).await,
            Way::Resend(resend) => resend.send(&self.from()?, &to, mail).await,
        }
    }

    fn from(&self) -> Result<Mailbox, Failure> {
        let address = self.from_email.as_deref().unwrap_or_default();
        let email = address.parse().map_err(|error| {
            Failure::permanent(format!(
                "EMAILS_FROM_EMAIL is {address:?}; it must be an e-mail address ({error})"
            ))
        })?;
        let name = Some(self.from_name.clone()).filter(|name| !name.is_empty());
        Ok(Mailbox::new(name, email))
    }
}

/// Reads the recipients.
fn recipients(text: &str) -> Result<Vec<Mailbox>, Failure> {
    let wrong = |detail: &str| {
        Failure::permanent(format!(
            "recipient is {text:?}{detail}; it must be e-mail addresses, separated by commas"
        ))
    };
    let separated = text.replace(';', ",");
    let separated = separated.trim_matches([' ', ',', '\n', '\r', '\t']);
    if separated.is_empty() {
        return Err(wrong(""));
    }
    let boxes: Mailboxes = separated
        .parse()
        .map_err(|error| wrong(&format!(" ({error})")))?;
    let boxes: Vec<Mailbox> = boxes.into_iter().collect();
    if boxes.is_empty() {
        return Err(wrong(""));
    }
    if boxes.len() > MOST_RECIPIENTS {
        return Err(Failure::permanent(format!(
            "recipient has {} addresses; at most {MOST_RECIPIENTS} are allowed",
            boxes.len()
        )));
    }
    Ok(boxes)
}

/// A short form of a key that any header can hold.
fn digest(key: &str) -> String {
    let hash = Sha256::digest(key.as_bytes());
    hash.iter()
        .take(16)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A subject is one line, whatever came in from data.
fn one_line(subject: &str) -> String {
    subject
        .split(['\r', '\n'])
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
