//! Who is asked: provider, model, URL and key.

use reqwest::Url;
use secrecy::SecretString;

use crate::activities::native::config;
use crate::activities::{Failure, Object};
use crate::config::{ProviderConfig, ProvidersConfig};

const DEFAULT_MODEL: &str = "gpt-4o-mini";

/// Who serves the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Provider {
    OpenAi,
    Anthropic,
    Google,
    Cohere,
}

impl Provider {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "openai" => Some(Self::OpenAi),
            "anthropic" => Some(Self::Anthropic),
            "google" => Some(Self::Google),
            "cohere" => Some(Self::Cohere),
            _ => None,
        }
    }

    /// By the model's name. OpenAI-compatible servers have models of any name.
    fn of_model(model: &str) -> Self {
        if model.starts_with("claude-") {
            Self::Anthropic
        } else if model.starts_with("gemini-") {
            Self::Google
        } else if model.starts_with("command-") {
            Self::Cohere
        } else {
            Self::OpenAi
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Google => "google",
            Self::Cohere => "cohere",
        }
    }

    fn key_variable(self) -> &'static str {
        match self {
            Self::OpenAi => "OPENAI_API_KEY",
            Self::Anthropic => "ANTHROPIC_API_KEY",
            Self::Google => "GOOGLE_API_KEY",
            Self::Cohere => "COHERE_API_KEY",
        }
    }

    fn of(self, providers: &ProvidersConfig) -> &ProviderConfig {
        match self {
            Self::OpenAi => &providers.openai,
            Self::Anthropic => &providers.anthropic,
            Self::Google => &providers.google,
            Self::Cohere => &providers.cohere,
        }
    }
}

/// Who is asked.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) provider: Provider,
    /// The id that is sent.
    pub(super) model: String,
    /// The name in the node, if another id is sent for it.
    pub(super) requested_model: Option<String>,
    pub(super) url: String,
    pub(super) key: Option<SecretString>,
}

impl Target {
    pub(super) fn read(config: &Object, providers: &ProvidersConfig) -> Result<Self, Failure> {
        let name = config::text(config, "model")?
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .unwrap_or(DEFAULT_MODEL);
        let model = providers.aliases.get(name).map_or(name, String::as_str);
        let provider = match config::text(config, "provider")? {
            None => Provider::of_model(model),
            Some(text) => Provider::parse(&text.trim().to_ascii_lowercase()).ok_or_else(|| {
                let allowed = "one of openai, anthropic, google, cohere";
                config::wrong("provider", &text.into(), allowed)
            })?,
        };
        let own_url = config::text(config, "base_url")?;
        let own_key = config::text(config, "api_key")?;
        let (base_url, key) = match own_url {
            Some(url) => (check(url.trim())?, own_key.map(SecretString::from)),
            None if own_key.is_some() => {
                return Err(Failure::permanent(format!(
                    "api_key is for base_url only, which is not set; the platform's key is {}",
                    provider.key_variable()
                )));
            }
            None => {
                let settings = provider.of(providers);
                let Some(key) = &settings.key else {
                    return Err(Failure::permanent(format!(
                        "model {name:?} needs the worker's variable {}, which is not set",
                        provider.key_variable()
                    )));
                };
                (settings.base_url.as_str(), Some(key.clone()))
            }
        };
        let path = match provider {
            Provider::Anthropic if base_url.ends_with("/v1") => "/messages",
            Provider::Anthropic => "/v1/messages",
            Provider::OpenAi | Provider::Google | Provider::Cohere => "/chat/completions",
        };
        Ok(Self {
            provider,
            model: model.to_owned(),
            requested_model: (model != name).then(|| name.to_owned()),
            url: format!("{base_url}{path}"),
            key,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        self.provider.name()
    }
}

fn check(url: &str) -> Result<&str, Failure> {
    let is_right =
        Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if is_right {
        Ok(url.trim_end_matches('/'))
    } else {
        let allowed = "an http or https URL, such as https://example.com/v1";
        Err(config::wrong("base_url", &url.into(), allowed))
    }
}
