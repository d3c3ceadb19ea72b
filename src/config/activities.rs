//! Where the nodes run that the worker does not run itself: at a URL, or in a child process.
//!
//! At most one of the two is set. An address holds no secret, because it is shown; the token is apart.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;
use secrecy::SecretString;

use super::parse;
use super::reader::Reader;
use super::settings;

/// Node types that are the graph's own: an activity host cannot run them, because they decide what the engine does.
const ENGINE_TYPES: [&str; 17] = [
    "trigger",
    "loop",
    "for",
    "while",
    "repeat",
    "break",
    "continue",
    "try",
    "catch",
    "finally",
    "delay",
    "wait",
    "human_approval",
    "sub_workflow",
    "sub-workflow",
    "set_variable",
    "get_variable",
];

/// Where the nodes run that the worker does not run itself.
#[derive(Debug, Clone, Default)]
pub struct ActivityConfig {
    /// The activity host; without one, only the worker's own node types run.
    pub host: Option<ActivityHost>,
    /// What the host asks its callers for.
    pub token: Option<SecretString>,
    /// Types that go to the host although the worker could run them itself.
    pub types: Vec<String>,
}

/// How an activity host is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActivityHost {
    /// It runs already.
    At(ActivityUrl),
    /// The worker starts it: a program and its arguments, at least the program.
    Command(Vec<String>),
}

/// The address of an activity host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActivityUrl {
    /// `http://` or `https://`, without user, query and fragment; the paths of the protocol are put behind it.
    Http(Url),
    /// `unix:` and the absolute path of a socket.
    Unix(PathBuf),
}

impl ActivityUrl {
    /// Reads an address.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///run/x.sock` is the same as `unix:/run/x.sock`.
            let path = path.strip_prefix("//").unwrap_or(path);
            return (path.starts_with('/') && path.len() > 1).then(|| Self::Unix(path.into()));
        }
        let url = Url::parse(text).ok()?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        is_plain.then_some(Self::Http(url))
    }
}

impl fmt::Display for ActivityUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => f.write_str(url.as_str()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> ActivityConfig {
    let url = reader.optional_text(&settings::ACTIVITY_URL);
    let command = reader.optional_text(&settings::ACTIVITY_COMMAND);
    let token = reader.optional_text(&settings::ACTIVITY_TOKEN);
    if token
        .as_deref()
        .is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        reader.wrong(
            &settings::ACTIVITY_TOKEN,
            None,
            "it has a space or another character that a header cannot hold".to_owned(),
        );
    }
    let types = read_types(reader, url.is_some() || command.is_some());
    let host = match (url, command) {
        (Some(_), Some(command)) => {
            reader.wrong(
                &settings::ACTIVITY_COMMAND,
                Some(parse::show_wrong(&command)),
                format!(
                    "only one of {} and {}: the host is reached at a URL, or started by the worker",
                    settings::ACTIVITY_COMMAND.name,
                    settings::ACTIVITY_URL.name
                ),
            );
            None
        }
        (Some(url), None) => read_url(reader, &url),
        (None, Some(command)) => read_command(reader, &command),
        (None, None) => None,
    };
    ActivityConfig {
        host,
        token: token.map(SecretString::from),
        types,
    }
}

fn read_url(reader: &mut Reader<'_>, text: &str) -> Option<ActivityHost> {
    let url = ActivityUrl::parse(text);
    if url.is_none() {
        // What is wrong may be a password in it.
        reader.wrong(
            &settings::ACTIVITY_URL,
            None,
            format!("it is not {}", settings::ACTIVITY_URL.kind.allowed()),
        );
    }
    url.map(ActivityHost::At)
}

fn read_command(reader: &mut Reader<'_>, text: &str) -> Option<ActivityHost> {
    match shlex::split(text) {
        Some(words) if !words.is_empty() => Some(ActivityHost::Command(words)),
        _ => {
            reader.wrong(
                &settings::ACTIVITY_COMMAND,
                Some(parse::show_wrong(text)),
                "a program and its arguments, quoted as in a shell; a quote is not closed"
                    .to_owned(),
            );
            None
        }
    }
}

fn read_types(reader: &mut Reader<'_>, has_host: bool) -> Vec<String> {
    let setting = &settings::ACTIVITY_TYPES;
    let Some(text) = reader.optional_text(setting) else {
        return Vec::new();
    };
    let types: Vec<String> = text
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    if !has_host {
        reader.wrong(
            setting,
            Some(parse::show_wrong(&text)),
            format!(
                "nothing without {} or {}",
                settings::ACTIVITY_URL.name,
                settings::ACTIVITY_COMMAND.name
            ),
        );
    }
    if let Some(name) = types
        .iter()
        .find(|name| ENGINE_TYPES.contains(&name.as_str()))
    {
        reader.wrong(
            setting,
            Some(parse::show_wrong(name)),
            "node types that do work; what steers the graph is the worker's own".to_owned(),
        );
    }
    types
}
