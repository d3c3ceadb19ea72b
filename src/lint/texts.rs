//! The texts of a configuration: which hold templates, which are expressions, and where each stands.

use serde_json::Value;

use super::View;
use crate::activities::native::config;
use crate::activities::spec::Holds;
use crate::engine::GraphNode;
use crate::expr::Language;
use crate::expr::template::{has_template, unwrapped};

/// Keys whose texts are paths into the data or expressions, whichever they can be read as.
const PATHS_OR_EXPRESSIONS: [&str; 3] = ["input_array", "input", "input_sources"];

/// A text that may hold templates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Text<'a> {
    /// Where it stands: `headers.X-Id`, `items[0]`.
    pub(super) place: String,
    pub(super) text: &'a str,
}

/// A text that is evaluated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Source<'a> {
    pub(super) place: String,
    pub(super) text: &'a str,
    pub(super) language: Language,
    /// Whether it may be a path instead.
    pub(super) may_be_path: bool,
}

/// The texts with templates, at any depth.
pub(super) fn templates<'a>(view: &View<'_>, node: &'a GraphNode) -> Vec<Text<'a>> {
    let spec = view.spec(node);
    let mut found = Vec::new();
    for (key, value) in &*node.config {
        if !spec.is_some_and(|spec| spec.is_program(key)) {
            collect(value, key.clone(), &mut found);
        }
    }
    found
}

fn collect<'a>(value: &'a Value, place: String, found: &mut Vec<Text<'a>>) {
    // Nesting is bounded: whatever reads JSON here refuses more than 127 levels.
    match value {
        Value::String(text) if has_template(text) => found.push(Text { place, text }),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{place}[{index}]"), found);
            }
        }
        Value::Object(entries) => {
            for (name, entry) in entries {
                collect(entry, format!("{place}.{name}"), found);
            }
        }
        _ => {}
    }
}

/// Whether a value holds a template.
pub(super) fn is_templated(value: &Value) -> bool {
    let mut found = Vec::new();
    collect(value, String::new(), &mut found);
    !found.is_empty()
}

/// The expressions. Those in a language that does not exist are left out; that is a finding of its own.
pub(super) fn expressions<'a>(view: &View<'_>, node: &'a GraphNode) -> Vec<Source<'a>> {
    let Some(spec) = view.spec(node) else {
        return Vec::new();
    };
    let language = match config::text(&node.config, "condition_type") {
        Ok(None) => Language::default(),
        Ok(Some(name)) => match name.parse() {
            Ok(language) => language,
            Err(_) => return Vec::new(),
        },
        Err(_) => return Vec::new(),
    };
    let mut found = Vec::new();
    for (key, value) in &*node.config {
        if spec
            .key(key)
            .is_some_and(|key| key.holds == Holds::Expression)
        {
            sources(key, value, language, &mut found);
        }
    }
    found
}

/// The expressions under one key.
fn sources<'a>(key: &str, value: &'a Value, language: Language, found: &mut Vec<Source<'a>>) {
    let may_be_path = PATHS_OR_EXPRESSIONS.contains(&key);
    // What is selected by a JSONPath comes from a list, which is named in JavaScript.
    let language = match language {
        Language::JsonPath if may_be_path => Language::JavaScript,
        other => other,
    };
    let mut add = |place: String, text: &'a str, language| {
        if !text.trim().is_empty() {
            found.push(Source {
                place,
                text: unwrapped(text).unwrap_or(text),
                language,
                may_be_path,
            });
        }
    };
    match (key, value) {
        // An object as JSON text is data; what else it may be, its strategy says.
        ("split_config", Value::String(text)) if serde_json::from_str::<Value>(text).is_ok() => {}
        ("input_sources", Value::String(_)) => {}
        (_, Value::String(text)) => add(key.to_owned(), text, language),
        ("input_sources", Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                if let Value::String(text) = item {
                    add(format!("{key}[{index}]"), text, language);
                }
            }
        }
        ("input_mapping", Value::Object(entries)) => {
            for (name, entry) in entries {
                if let Value::String(text) = entry {
                    add(format!("{key}.{name}"), text, Language::JavaScript);
                }
            }
        }
        ("split_config", Value::Object(entries)) => {
            if let Some(Value::String(text)) = entries.get("condition") {
                add(format!("{key}.condition"), text, language);
            }
        }
        _ => {}
    }
}
