//! Calls of services outside: what `ai_prompt`, `notification` and the mails at the end of an execution share.
//!
//! `api` sends a request and says what a refusal means; `mail` sends a mail. Keys come from the configuration and never
//! go into a message, an output or a log line.

pub mod api;
pub mod mail;
#[cfg(test)]
pub(super) mod testing;

use std::sync::Arc;

use super::native::http::{ClientError, api_client};
use crate::config::OutgoingConfig;
pub use mail::{Mail, MailError, Mailer};

/// What calls outside need. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Follows no redirects.
    pub client: reqwest::Client,
    /// Keys and addresses.
    pub config: Arc<OutgoingConfig>,
    /// Sends mails.
    pub mailer: Mailer,
}

/// Calls outside cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Mail.
    #[error(transparent)]
    Mail(#[from] MailError),
}

impl Outgoing {
    /// Sets up what the configuration names. Connects to nothing.
    pub fn new(config: OutgoingConfig) -> Result<Self, OutgoingError> {
        let client = api_client()?;
        let mailer = Mailer::new(&config.mail, client.clone())?;
        Ok(Self {
            client,
            config: Arc::new(config),
            mailer,
        })
    }
}
