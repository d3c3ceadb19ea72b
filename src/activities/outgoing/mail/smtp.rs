//! Mail by SMTP.
//!
//! With `SMTP_TLS` a server without STARTTLS gets neither password nor mail. The server is trusted if its certificate
//! is, by the same roots as for HTTP.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{CertificateStore, Tls, TlsParameters, TlsParametersBuilder};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::ExposeSecret;

use super::{Mail, MailError, Sent, digest, one_line};
use crate::activities::Failure;
use crate::config::{MailConfig, SmtpSecurity};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A mail server.
#[derive(Clone)]
pub(super) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The transport's own form has the password.
        f.debug_struct("Smtp").finish_non_exhaustive()
    }
}

impl Smtp {
    pub(super) fn new(host: &str, config: &MailConfig) -> Result<Self, MailError> {
        let tls = match config.smtp_security {
            SmtpSecurity::None => Tls::None,
            SmtpSecurity::StartTls => Tls::Required(tls(host)?),
            SmtpSecurity::Tls => Tls::Wrapper(tls(host)?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(config.smtp_port)
            .tls(tls)
            .timeout(Some(CONNECT_TIMEOUT));
        if let (Some(user), Some(password)) = (&config.smtp_user, &config.smtp_password) {
            builder = builder.credentials(Credentials::new(
                user.clone(),
                password.expose_secret().to_owned(),
            ));
        }
        Ok(Self {
            transport: builder.build(),
        })
    }

    pub(super) async fn send(
        &self,
        from: Mailbox,
        to: Vec<Mailbox>,
        mail: &Mail,
    ) -> Result<Sent, Failure> {
        let id = format!("<{}@{}>", digest(&mail.key), from.email.domain());
        let message = message(from, to, mail, &id)?;
        let answer = self
            .transport
            .send(message)
            .await
            .map_err(|error| failure(&error))?;
        Ok(Sent {
            provider: "smtp",
            id,
            answer: format!(
                "{} {}",
                answer.code(),
                answer.message().collect::<Vec<_>>().join(" ")
            ),
        })
    }
}

/// The system's roots of trust, or Mozilla's list on a system that has none.
fn tls(host: &str) -> Result<TlsParameters, MailError> {
    let store = if rustls_native_certs::load_native_certs().certs.is_empty() {
        CertificateStore::WebpkiRoots
    } else {
        CertificateStore::Default
    };
    Ok(TlsParametersBuilder::new(host.to_owned())
        .certificate_store(store)
        .build()?)
}

fn message(from: Mailbox, to: Vec<Mailbox>, mail: &Mail, id: &str) -> Result<Message, Failure> {
    let mut builder = Message::builder()
        .from(from)
        .subject(one_line(&mail.subject))
        .date(SystemTime::from(mail.date))
        .message_id(Some(id.to_owned()));
    for mailbox in to {
        builder = builder.to(mailbox);
    }
    let built = match (mail.text.clone(), mail.html.clone()) {
        (Some(text), Some(html)) => {
            builder.multipart(MultiPart::alternative_plain_html(text, html))
        }
        (None, Some(html)) => builder.singlepart(SinglePart::html(html)),
        (text, None) => builder
            .header(ContentType::TEXT_PLAIN)
            .body(text.unwrap_or_default()),
    };
    built.map_err(|error| Failure::permanent(format!("the mail cannot be written: {error}")))
}

fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        source = cause.source();
    }
    let said = texts.join(": ");
    match error.status() {
        Some(_) if error.is_permanent() => {
            Failure::permanent(format!("the mail server refuses the mail: {said}"))
                .of_type("ActivityError")
        }
        Some(_) => Failure::retryable(format!("the mail server refuses the mail for now: {said}"))
            .of_type("ActivityError"),
        None if error.is_client() => {
            Failure::permanent(format!("the mail server cannot be used: {said}"))
        }
        None => Failure::retryable(format!("no answer from the mail server: {said}"))
            .of_type("NetworkError"),
    }
}
