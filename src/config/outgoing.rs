//! What nodes and mails call in the world outside: AI providers, mail, webhooks.
//!
//! Nothing here is required: what is not set up is an error of the node that needs it, with the name of the variable.
//! What is set is checked at the start. Names and defaults are the platform's.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::parse;
use super::reader::Reader;
use super::settings::{self, Setting};

/// What the platform uses where `FRONTEND_HOST` is unset.
const LOCAL_FRONTEND: &str = "http://localhost:5173";
/// Where Google and Cohere serve the form of OpenAI's API.
const GOOGLE_BASE_URL: &str = "https://generativelanguage.googleapis.com/v1beta/openai";
const COHERE_BASE_URL: &str = "https://api.cohere.ai/compatibility/v1";

/// Everything that is called outside.
#[derive(Debug, Clone)]
pub struct OutgoingConfig {
    /// For `ai_prompt`.
    pub providers: ProvidersConfig,
    /// How mails are sent.
    pub mail: MailConfig,
    /// For `notification`.
    pub webhooks: WebhooksConfig,
    /// Whether owners get a mail at the end of an execution.
    pub completion_mails: bool,
    /// What mails call the platform.
    pub project_name: String,
    /// Where links in mails point to; without a `/` at its end.
    pub frontend_host: String,
}

/// The AI providers.
#[derive(Debug, Clone)]
pub struct ProvidersConfig {
    /// OpenAI, or what is compatible with it.
    pub openai: ProviderConfig,
    /// Anthropic.
    pub anthropic: ProviderConfig,
    /// Google's Gemini.
    pub google: ProviderConfig,
    /// Cohere.
    pub cohere: ProviderConfig,
    /// Model names that are sent as another id.
    pub aliases: BTreeMap<String, String>,
}

/// One AI provider.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// The key; `None` if it is not set.
    pub key: Option<SecretString>,
    /// The API's URL; without a `/` at its end.
    pub base_url: String,
}

/// How mails are sent.
#[derive(Debug, Clone)]
pub struct MailConfig {
    /// The sender's address.
    pub from_email: Option<String>,
    /// The sender's name.
    pub from_name: String,
    /// The mail server.
    pub smtp_host: Option<String>,
    /// Its port.
    pub smtp_port: u16,
    /// The user there.
    pub smtp_user: Option<String>,
    /// The user's password.
    pub smtp_password: Option<SecretString>,
    /// How the connection is encrypted.
    pub smtp_security: SmtpSecurity,
    /// Whether Resend is used instead.
    pub use_resend: bool,
    /// The key for it.
    pub resend_api_key: Option<SecretString>,
    /// Its URL; without a `/` at its end.
    pub resend_base_url: String,
}

/// How the connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// Not at all.
    None,
    /// By STARTTLS, and not used if the server has none.
    StartTls,
    /// From its beginning.
    Tls,
}

/// The incoming webhooks of chats. Whoever knows such a URL may write there, so it is a secret.
#[derive(Debug, Clone)]
pub struct WebhooksConfig {
    /// Slack's.
    pub slack: Option<SecretString>,
    /// Discord's.
    pub discord: Option<SecretString>,
}

impl MailConfig {
    /// The first variable that must be set before a mail can be sent.
    pub fn missing(&self) -> Option<&'static str> {
        if self.use_resend && self.resend_api_key.is_none() {
            Some(settings::RESEND_API_KEY.name)
        } else if !self.use_resend && self.smtp_host.is_none() {
            Some(settings::SMTP_HOST.name)
        } else if self.from_email.is_none() {
            Some(settings::EMAILS_FROM_EMAIL.name)
        } else {
            None
        }
    }

    /// Whether somebody has begun to set it up.
    pub fn is_begun(&self) -> bool {
        self.use_resend || self.smtp_host.is_some()
    }
}

impl Default for OutgoingConfig {
    /// As with an empty environment.
    fn default() -> Self {
        read(&mut Reader::new(&|_unset| None))
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> OutgoingConfig {
    OutgoingConfig {
        providers: read_providers(reader),
        mail: read_mail(reader),
        webhooks: WebhooksConfig {
            slack: secret_url(reader, &settings::SLACK_WEBHOOK_URL),
            discord: secret_url(reader, &settings::DISCORD_WEBHOOK_URL),
        },
        completion_mails: reader.flag(&settings::COMPLETION_MAILS),
        project_name: reader
            .optional_text(&settings::PROJECT_NAME)
            .unwrap_or_else(|| "SynthralOS".to_owned()),
        frontend_host: reader
            .optional_text(&settings::FRONTEND_HOST)
            .unwrap_or_else(|| LOCAL_FRONTEND.to_owned())
            .trim_end_matches('/')
            .to_owned(),
    }
}

fn read_providers(reader: &mut Reader<'_>) -> ProvidersConfig {
    let mut key = |setting| secret(reader, setting);
    let (openai, anthropic) = (
        key(&settings::OPENAI_API_KEY),
        key(&settings::ANTHROPIC_API_KEY),
    );
    let (google, cohere) = (
        key(&settings::GOOGLE_API_KEY),
        key(&settings::COHERE_API_KEY),
    );
    ProvidersConfig {
        openai: ProviderConfig {
            key: openai,
            base_url: base_url(reader, &settings::OPENAI_BASE_URL),
        },
        anthropic: ProviderConfig {
            key: anthropic,
            base_url: base_url(reader, &settings::ANTHROPIC_BASE_URL),
        },
        google: ProviderConfig {
            key: google,
            base_url: GOOGLE_BASE_URL.to_owned(),
        },
        cohere: ProviderConfig {
            key: cohere,
            base_url: COHERE_BASE_URL.to_owned(),
        },
        aliases: aliases(reader),
    }
}

fn read_mail(reader: &mut Reader<'_>) -> MailConfig {
    let smtp_host = reader.optional_text(&settings::SMTP_HOST);
    // Zero stands for a wrong value only, which is noted.
    let smtp_port = u16::try_from(reader.integer(&settings::SMTP_PORT)).unwrap_or(0);
    let smtp_user = reader.optional_text(&settings::SMTP_USER);
    // Not trimmed: a password may end with a space.
    let smtp_password = reader
        .optional_text(&settings::SMTP_PASSWORD)
        .map(SecretString::from);
    let starts_tls = reader.flag(&settings::SMTP_TLS);
    let smtp_security = match (reader.flag(&settings::SMTP_SSL), starts_tls) {
        (true, _) => SmtpSecurity::Tls,
        (false, true) => SmtpSecurity::StartTls,
        (false, false) => SmtpSecurity::None,
    };
    if smtp_user.is_some() && smtp_password.is_none() {
        reader.wrong(
            &settings::SMTP_PASSWORD,
            None,
            "is needed where SMTP_USER is set".to_owned(),
        );
    }
    let from_email = reader.optional_text(&settings::EMAILS_FROM_EMAIL);
    if let Some(address) = &from_email
        && let Err(error) = address.parse::<lettre::Address>()
    {
        reader.wrong(
            &settings::EMAILS_FROM_EMAIL,
            Some(parse::show_wrong(address)),
            format!("an e-mail address ({error})"),
        );
    }
    MailConfig {
        from_email,
        from_name: reader
            .optional_text(&settings::EMAILS_FROM_NAME)
            .unwrap_or_default(),
        smtp_host,
        smtp_port,
        smtp_user,
        smtp_password,
        smtp_security,
        use_resend: reader.flag(&settings::USE_RESEND),
        resend_api_key: secret(reader, &settings::RESEND_API_KEY),
        resend_base_url: base_url(reader, &settings::RESEND_BASE_URL),
    }
}

fn secret(reader: &mut Reader<'_>, setting: &Setting) -> Option<SecretString> {
    reader
        .optional_text(setting)
        .map(|text| SecretString::from(text.trim()))
}

/// A URL with a default, without the `/` at its end.
fn base_url(reader: &mut Reader<'_>, setting: &Setting) -> String {
    let text = reader.checked_text(setting, |text| {
        check_url(text).map_err(|()| setting.kind.allowed())
    });
    text.trim_end_matches('/').to_owned()
}

fn secret_url(reader: &mut Reader<'_>, setting: &Setting) -> Option<SecretString> {
    let text = reader.optional_text(setting)?;
    if check_url(text.trim()).is_err() {
        reader.wrong(
            setting,
            None,
            format!("it is not {}", setting.kind.allowed()),
        );
    }
    Some(SecretString::from(text.trim()))
}

fn check_url(text: &str) -> Result<(), ()> {
    let url = reqwest::Url::parse(text).map_err(drop)?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(())
    } else {
        Err(())
    }
}

fn aliases(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let mut aliases = BTreeMap::new();
    reader.checked_text(&settings::AI_MODEL_ALIASES, |text| {
        for pair in text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            match pair
                .split_once('=')
                .map(|(name, id)| (name.trim(), id.trim()))
            {
                Some((name, id)) if !name.is_empty() && !id.is_empty() => {
                    aliases.insert(name.to_owned(), id.to_owned());
                }
                _ => return Err(settings::AI_MODEL_ALIASES.kind.allowed()),
            }
        }
        Ok(())
    });
    aliases
}
