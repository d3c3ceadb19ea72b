//! What users type, evaluated with bounds (pure: no I/O, no async).
//!
//! Three languages: JavaScript (QuickJS), Python (Monty, see [`python`]), and JSONPath (RFC 9535). Each evaluation
//! starts from nothing, sees the [`Scope`] and nothing else, and ends within its [`Limits`]: a loop without end, a
//! memory bomb or a bottomless recursion is an [`ExprError`], never a stuck or dead worker. For Python that takes a
//! process of its own; [`evaluate`] is safe for it only there. An evaluation may use a processor for as long as
//! `limits.time`, so callers run it on a thread that may block.
//!
//! Which names an expression sees, and which of two equal names wins, is in [`Scope`]. How `${path}` in an expression is
//! read is in [`placeholder`]; texts that are no expressions have their templates, which are in [`template`]. One
//! expression for each item of a list is in [`over`].

pub mod error;
pub mod javascript;
pub mod jsonpath;
pub mod limits;
pub mod over;
pub mod path;
pub mod placeholder;
pub mod python;
pub mod scope;
pub mod template;

#[cfg(test)]
mod tests;

use std::str::FromStr;

use serde_json::Value;

pub use error::{ErrorKind, ExprError, Position};
pub use jsonpath::fits as json_fits;
pub use limits::Limits;
pub use over::Over;
pub use scope::Scope;

/// The language of an expression; `condition_type` of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Language {
    /// `javascript`, `js`: what the builder writes unless told otherwise.
    #[default]
    JavaScript,
    /// `python`, `py`.
    Python,
    /// `jsonpath`.
    JsonPath,
}

impl Language {
    /// The name that a node writes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JavaScript => "javascript",
            Self::Python => "python",
            Self::JsonPath => "jsonpath",
        }
    }
}

impl FromStr for Language {
    type Err = ExprError;

    fn from_str(text: &str) -> Result<Self, ExprError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "javascript" | "js" | "" => Ok(Self::JavaScript),
            "python" | "py" => Ok(Self::Python),
            "jsonpath" => Ok(Self::JsonPath),
            _ => Err(ExprError::new(
                ErrorKind::UnknownLanguage,
                format!("unknown language \"{text}\"; allowed are javascript, python, jsonpath"),
                "",
            )),
        }
    }
}

/// Evaluates one expression.
///
/// The result is what JSON can hold of it. JavaScript: `undefined` and `NaN` become `null`, as with
/// `JSON.stringify`; a function, a promise, a `BigInt` or an infinite number is an error. Python: a tuple or a set
/// becomes an array; `nan`, `inf` and integers beyond 64 bits are errors. JSONPath: no node is `null`, one node is
/// its value, several are an array.
pub fn evaluate(
    language: Language,
    source: &str,
    scope: &Scope,
    limits: &Limits,
) -> Result<Value, ExprError> {
    check_source(source, limits)?;
    let result = match language {
        Language::JavaScript => javascript::evaluate(source, scope, limits),
        Language::Python => python::evaluate(source, scope, limits),
        Language::JsonPath => jsonpath::evaluate(source, scope, limits),
    };
    result.map_err(|error| error.with_source(source))
}

/// Reads an expression without evaluating it: what is wrong with it whatever the data. What `${path}` stands for must
/// be in the scope.
///
/// The parser of Python recurses as deeply as the text nests, up to `limits.source_bytes`: the stack must allow for it.
///
/// # Errors
/// What is wrong with its syntax, and where.
pub fn check(
    language: Language,
    source: &str,
    scope: &Scope,
    limits: &Limits,
) -> Result<(), ExprError> {
    check_source(source, limits)?;
    let result = match language {
        Language::JavaScript => javascript::check(source, scope, limits),
        Language::Python => python::check(source, scope, limits),
        Language::JsonPath => jsonpath::check(source),
    };
    result.map_err(|error| error.with_source(source))
}

/// Whether a source text is one that an engine is shown at all: not empty, not too long.
pub fn check_source(source: &str, limits: &Limits) -> Result<(), ExprError> {
    if source.len() > limits.source_bytes {
        return Err(ExprError::new(
            ErrorKind::TooLarge,
            format!(
                "the expression has {} bytes; at most {} are allowed",
                source.len(),
                limits.source_bytes
            ),
            source,
        ));
    }
    if source.trim().is_empty() {
        return Err(ExprError::new(
            ErrorKind::Syntax,
            "the expression is empty",
            source,
        ));
    }
    Ok(())
}

/// Whether a result counts as true in the language it was written in.
///
/// JavaScript: all but `false`, `0`, `""` and `null`. Python: also `[]` and `{}` are false. JSONPath: as Python for
/// the one node selected, so that an empty array reads as 'nothing found'.
pub fn is_truthy(language: Language, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => language == Language::JavaScript || !items.is_empty(),
        Value::Object(entries) => language == Language::JavaScript || !entries.is_empty(),
    }
}
