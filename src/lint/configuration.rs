//! Each node's configuration against what its type says of itself.

use serde_json::Value;

use super::texts::is_templated;
use super::{Finding, View, as_activity_node, nearest, rule};
use crate::activities::Spec;
use crate::activities::native::code::Language as CodeLanguage;
use crate::activities::native::config;
use crate::activities::spec::{COMMON, Holds, Key};
use crate::engine::{GraphNode, NodeOptions};
use crate::expr::Language;

/// Keys of expressions that may be given as what they come to: a list, or an object of expressions.
const MAY_BE_DATA: [&str; 7] = [
    "array_expression",
    "array",
    "items",
    "input_array",
    "input",
    "input_sources",
    "split_config",
];
/// A key of expressions by name.
const OBJECT_OF_EXPRESSIONS: &str = "input_mapping";

pub(super) fn check(view: &View<'_>, node: &GraphNode, findings: &mut Vec<Finding>) {
    let mut own = Vec::new();
    if view.registry.get(&node.node_type).is_none() {
        let message = view.registry.unknown_type(&node.node_type);
        own.push(Finding::new(&rule::UNKNOWN_TYPE, message));
    }
    if let Err(message) = NodeOptions::read(&node.config) {
        let key = message.split(' ').next().unwrap_or_default().to_owned();
        own.push(Finding::new(&rule::BAD_OPTION, message).in_key(key));
    }
    if let Some(spec) = view.spec(node) {
        required(spec, node, &mut own);
        for (name, value) in &*node.config {
            check_key(view, spec, node, (name, value), &mut own);
        }
    }
    if own
        .iter()
        .all(|finding| finding.rule.severity != rule::Severity::Error)
    {
        ask_activity(view, node, &mut own);
    }
    findings.extend(own.into_iter().map(|finding| finding.at(&node.id)));
}

fn is_set(node: &GraphNode, key: &str) -> bool {
    match config::value(&node.config, key) {
        None => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(_) => true,
    }
}

fn required(spec: &Spec, node: &GraphNode, own: &mut Vec<Finding>) {
    for key in spec.keys.iter().filter(|key| key.is_required) {
        let has_one = is_set(node, key.name) || key.or.iter().any(|name| is_set(node, name));
        if !has_one {
            let names: Vec<&str> = [key.name]
                .into_iter()
                .chain(key.or.iter().copied())
                .collect();
            let message = format!(
                "{} is required and not set ({}: {})",
                names.join(" or "),
                key.holds.in_words(),
                key.about
            );
            own.push(Finding::new(&rule::MISSING_KEY, message).in_key(key.name));
        }
    }
}

fn check_key(
    view: &View<'_>,
    spec: &Spec,
    node: &GraphNode,
    (name, value): (&str, &Value),
    own: &mut Vec<Finding>,
) {
    let is_common = COMMON.iter().any(|key| key.name == name);
    let Some(key) = spec.key(name) else {
        if !is_common && !is_for_the_platform(name) {
            mistyped(spec, name, own);
        }
        return;
    };
    let is_known_wrong = own
        .iter()
        .any(|finding| finding.key.as_deref() == Some(name));
    if config::value(&node.config, name).is_none() || is_known_wrong || fits(key, name, value) {
        return;
    }
    let message = format!(
        "{name} is {}; it must be {}",
        config::shown(value),
        key.holds.in_words()
    );
    // The worker reads nothing of a trigger.
    let is_read = view.registry.is_own(&node.node_type) && &*node.node_type != "trigger";
    let found = if is_read {
        &rule::WRONG_VALUE
    } else {
        &rule::ODD_VALUE
    };
    own.push(Finding::new(found, message).in_key(name));
}

/// What the builder keeps in a configuration for itself.
fn is_for_the_platform(name: &str) -> bool {
    matches!(name, "label" | "description" | "name" | "notes")
}

fn mistyped(spec: &Spec, name: &str, own: &mut Vec<Finding>) {
    let known = spec
        .keys
        .iter()
        .flat_map(|key| [key.name].into_iter().chain(key.or.iter().copied()))
        .chain(COMMON.iter().map(|key| key.name));
    if let Some(meant) = nearest(name, known) {
        let message =
            format!("\"{name}\" is no key of this node and is not read; is \"{meant}\" meant?");
        own.push(Finding::new(&rule::MISTYPED_KEY, message).in_key(name));
    }
}

/// Whether the value may stand under the key, as far as that can be said without data.
fn fits(key: &Key, name: &str, value: &Value) -> bool {
    if !key.holds.is_program() && value.is_string() && is_templated(value) {
        return true;
    }
    match (key.holds, value) {
        (Holds::Any, _)
        | (Holds::Number, Value::Number(_))
        | (Holds::Flag, Value::Bool(_))
        | (Holds::Text | Holds::Expression | Holds::Code | Holds::List, Value::String(_))
        | (Holds::Object, Value::Object(_))
        | (Holds::List, Value::Array(_))
        | (Holds::Expression, Value::Bool(_) | Value::Number(_)) => true,
        // A program in JSON may stand there without quotes.
        (Holds::Code, Value::Object(_) | Value::Array(_)) => true,
        (Holds::Number, Value::String(text)) => text.trim().parse::<f64>().is_ok(),
        (Holds::Flag, Value::String(text)) => {
            ["true", "false"].contains(&text.trim().to_ascii_lowercase().as_str())
        }
        (Holds::Choice(words), Value::String(text)) => is_word(name, text, words),
        (Holds::Expression, Value::Array(_)) => MAY_BE_DATA.contains(&name),
        (Holds::Expression, Value::Object(_)) => {
            name == OBJECT_OF_EXPRESSIONS || MAY_BE_DATA.contains(&name)
        }
        _ => false,
    }
}

/// Whether it is one of the words, or another name of one.
fn is_word(key: &str, text: &str, words: &[&str]) -> bool {
    let is_one = |text: &str| {
        words
            .iter()
            .any(|word| word.eq_ignore_ascii_case(text.trim()))
    };
    match key {
        "condition_type" => text
            .parse()
            .is_ok_and(|language: Language| is_one(language.as_str())),
        "language" => text
            .parse()
            .is_ok_and(|language: CodeLanguage| is_one(language.as_str())),
        // The loop has more names for them and says itself what it does not know.
        "loop_type" => true,
        _ => is_one(text),
    }
}

/// What the activity itself finds; a value that holds a template may become right.
fn ask_activity(view: &View<'_>, node: &GraphNode, own: &mut Vec<Finding>) {
    let Some(activity) = view.registry.get(&node.node_type) else {
        return;
    };
    let Err(failure) = activity.check(&as_activity_node(node)) else {
        return;
    };
    let message = failure.message;
    let names = |key: &str| {
        message
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .any(|word| word.eq_ignore_ascii_case(key))
    };
    let spec = activity.spec();
    let is_open = node
        .config
        .iter()
        .any(|(key, value)| !spec.is_program(key) && is_templated(value) && names(key));
    if is_open {
        return;
    }
    let key = spec
        .keys
        .iter()
        .flat_map(|key| [key.name].into_iter().chain(key.or.iter().copied()))
        .find(|key| names(key))
        .map(str::to_owned);
    let is_missing = key.as_ref().is_none_or(|key| !is_set(node, key));
    let found = if is_missing {
        &rule::MISSING_KEY
    } else {
        &rule::WRONG_VALUE
    };
    own.push(Finding {
        key,
        ..Finding::new(found, message)
    });
}
