//! The languages of programs, and which nodes are not for this worker.

use std::str::FromStr;

use serde_json::Value;

use super::super::config;
use crate::activities::{Failure, Object};
use crate::config::code::LANGUAGES;

/// The language of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Inside the worker, in a sandbox.
    JavaScript,
    /// The same, without its types.
    TypeScript,
    /// The text is the result.
    Json,
    /// In a process of its own.
    Python,
    /// In a process of its own.
    Bash,
}

impl Language {
    /// The name that a node writes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Json => "json",
            Self::Python => "python",
            Self::Bash => "bash",
        }
    }
}

impl FromStr for Language {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "javascript" | "js" | "node" => Self::JavaScript,
            "typescript" | "ts" => Self::TypeScript,
            "json" => Self::Json,
            "python" | "python3" | "py" => Self::Python,
            "bash" | "sh" | "shell" => Self::Bash,
            _ => {
                let value = Value::from(text);
                return Err(config::wrong("language", &value, &one_of(&LANGUAGES)));
            }
        })
    }
}

/// The runtimes that the builder offers and this worker is not.
pub(super) const HOSTED: [&str; 5] = ["e2b", "wasmedge", "bacalhau", "cline_node", "mcp_server"];
/// The runtimes that this worker is.
const OURS: [&str; 2] = ["auto", "local"];

/// Why a `code` node cannot be run by this worker itself, but by the activities that `WORKFLOW_ACTIVITY_URL` names:
/// it wants packages installed, or one of the platform's hosted runtimes.
pub fn needs_remote(config: &Object) -> Option<String> {
    if let Some(requirements) = config::value(config, "requirements") {
        let is_none = match requirements {
            Value::Array(items) => items.is_empty(),
            Value::Object(items) => items.is_empty(),
            Value::String(text) => text.trim().is_empty(),
            _ => false,
        };
        if !is_none {
            let shown = config::shown(requirements);
            return Some(format!(
                "requirements is {shown}: this worker installs no packages"
            ));
        }
    }
    let runtime = config.get("runtime")?.as_str()?.trim().to_ascii_lowercase();
    HOSTED
        .contains(&runtime.as_str())
        .then(|| format!("runtime is \"{runtime}\", which this worker is not"))
}

/// The failure of a node that needs what this worker does not have.
pub(super) fn check_runtime(config: &Object) -> Result<(), Failure> {
    if let Some(reason) = needs_remote(config) {
        return Err(Failure::permanent(format!(
            "{reason}; a remote activity can run such nodes (WORKFLOW_ACTIVITY_URL)"
        )));
    }
    match config::text(config, "runtime")? {
        Some(runtime) if !OURS.contains(&runtime.trim().to_ascii_lowercase().as_str()) => {
            let all: Vec<&str> = OURS.into_iter().chain(HOSTED).collect();
            Err(config::wrong(
                "runtime",
                &Value::from(runtime),
                &one_of(&all),
            ))
        }
        _ => Ok(()),
    }
}

fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}
