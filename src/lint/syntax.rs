//! Templates, expressions and programs: whether they can be read. None is run.
//!
//! What `${path}` stands for in an expression is made up, so that the rest can be read. The parsers of Python and
//! TypeScript recurse as deeply as a text nests, so they run on a stack of their own that is deep enough for each text
//! that they are shown; a longer one is not checked. Python and Bash programs are not checked either: only their own
//! interpreters know them.

use std::sync::Arc;
use std::thread;

use serde_json::{Map, Value};

use super::texts::{self, Source};
use super::{Finding, View, rule};
use crate::activities::native::code::Language as CodeLanguage;
use crate::activities::native::config;
use crate::activities::spec::Holds;
use crate::engine::GraphNode;
use crate::expr::javascript::{program, typescript};
use crate::expr::path::Path;
use crate::expr::template::{Hole, Piece, Template};
use crate::expr::{self, ErrorKind, ExprError, Language, Limits, Scope};

/// The longest text that a parser which recurses is shown, in bytes.
const DEEPEST_BYTES: usize = 16 << 10;
/// Its stack: 16 KiB for each byte of such a text, which may open a level each. It is address space until it is used.
const STACK_BYTES: usize = 256 << 20;

pub(super) fn check(view: &View<'_>, node: &GraphNode, findings: &mut Vec<Finding>) {
    let mut add = |rule, place: String, message: String| {
        findings.push(Finding::new(rule, message).at(&node.id).in_key(place));
    };
    for found in texts::templates(view, node) {
        if let Err(error) = template(found.text) {
            add(&rule::BAD_TEMPLATE, found.place, error.to_string());
        }
    }
    for found in texts::expressions(view, node) {
        if let Err(error) = expression(&found) {
            let shown = expr::error::excerpt(found.text);
            add(
                &rule::BAD_EXPRESSION,
                found.place,
                format!("\"{shown}\": {error}"),
            );
        }
    }
    for (key, source, language) in programs(view, node) {
        if let Err(error) = program(source, language) {
            add(&rule::BAD_CODE, key.to_owned(), error);
        }
    }
}

fn template(text: &str) -> Result<(), ExprError> {
    for piece in Template::parse(text)?.pieces {
        if let Piece::Hole(hole) = piece
            && let Some(source) = hole.expression()
        {
            expr::check(
                Language::JavaScript,
                source,
                &invented(source),
                &Limits::default(),
            )
            .map_err(|error| ExprError {
                message: format!("{}: {}", hole.text, error.message),
                ..error
            })?;
        }
    }
    Ok(())
}

fn expression(found: &Source<'_>) -> Result<(), ExprError> {
    if found.may_be_path {
        let is_path = Path::parse(found.text).is_some()
            || Hole::bare(found.text).is_ok_and(|hole| hole.expression().is_none());
        if is_path {
            return Ok(());
        }
    }
    let scope = invented(found.text);
    let check = || expr::check(found.language, found.text, &scope, &Limits::default());
    let checked = match found.language {
        Language::Python => on_deep_stack(found.text, check).unwrap_or(Ok(())),
        Language::JavaScript | Language::JsonPath => check(),
    };
    match checked {
        // What a placeholder stands for is known at run time only.
        Err(error) if error.kind == ErrorKind::MissingValue => Ok(()),
        other => other,
    }
}

/// The programs of a node, with their keys and languages; those in a language that does not exist are left out.
fn programs<'a>(
    view: &View<'_>,
    node: &'a GraphNode,
) -> Vec<(&'static str, &'a str, CodeLanguage)> {
    let keys = view.spec(node).map_or(&[][..], |spec| spec.keys);
    let language = match config::text(&node.config, "language") {
        Ok(None) if &*node.node_type == "code" => Some(CodeLanguage::Python),
        Ok(None) => Some(CodeLanguage::JavaScript),
        Ok(Some(name)) => name.parse().ok(),
        Err(_) => None,
    };
    keys.iter()
        .filter(|key| key.holds == Holds::Code)
        .filter_map(|key| {
            let text = config::value(&node.config, key.name)?.as_str()?;
            (!text.trim().is_empty()).then_some((key.name, text, language?))
        })
        .collect()
}

fn program(source: &str, language: CodeLanguage) -> Result<(), String> {
    let limits = Limits::default();
    match language {
        CodeLanguage::JavaScript => {
            program::check(source, &limits).map_err(|error| error.to_string())
        }
        CodeLanguage::TypeScript => on_deep_stack(source, || typescript::strip(source))
            .map_or(Ok(()), |stripped| stripped.map(drop))
            .map_err(|error| error.to_string()),
        CodeLanguage::Json => serde_json::from_str::<Value>(source)
            .map(drop)
            .map_err(|error| format!("it is not JSON: {error}")),
        CodeLanguage::Python | CodeLanguage::Bash => Ok(()),
    }
}

/// Runs a parser that recurses; `None` if the text is too long for it, or there is no such stack.
fn on_deep_stack<T: Send>(text: &str, work: impl FnOnce() -> T + Send) -> Option<T> {
    if text.len() > DEEPEST_BYTES {
        return None;
    }
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK_BYTES);
        builder.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

/// A scope in which each `${path}` of a text names something.
fn invented(text: &str) -> Scope {
    let mut data = Map::new();
    for rest in text.split("${").skip(1) {
        if let Some((path, _)) = rest.split_once('}') {
            let path = path.trim();
            let path = ["data.", "input."]
                .iter()
                .find_map(|prefix| path.strip_prefix(prefix))
                .unwrap_or(path);
            invent(&mut data, path);
        }
    }
    Scope {
        data: Arc::new(data),
        ..Scope::default()
    }
}

fn invent(data: &mut Map<String, Value>, path: &str) {
    let mut parts = path.split('.').peekable();
    let mut at = data;
    while let Some(part) = parts.next() {
        let entry = at.entry(part).or_insert(Value::Null);
        if parts.peek().is_none() {
            break;
        }
        if !entry.is_object() {
            *entry = Value::Object(Map::new());
        }
        let Some(next) = entry.as_object_mut() else {
            break;
        };
        at = next;
    }
}
