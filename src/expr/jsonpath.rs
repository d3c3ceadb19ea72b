//! JSONPath (RFC 9535) over `execution_data`, with what the node adds (`item`, …) at its top level.
//!
//! The library has no limits of its own, and a query such as `$..*..*..*` grows with a power of the data. So the
//! work is estimated from the query's text and the data's size before it runs, and refused when it is too much.

use std::borrow::Cow;

use serde_json::{Map, Value};
use serde_json_path::JsonPath;

use super::error::{ErrorKind, ExprError, position_of};
use super::limits::Limits;
use super::over::{Over, Results, Task};
use super::scope::Scope;
use super::{Language, is_truthy};
use crate::clock;

/// The most nodes that a query may visit, by estimate: about a second of work.
const MAX_VISITS: usize = 10_000_000;

/// Reads a query without running it.
pub fn check(source: &str) -> Result<(), ExprError> {
    parsed(source.trim()).map(drop)
}

fn parsed(source: &str) -> Result<JsonPath, ExprError> {
    if !source.starts_with('$') {
        return Err(ExprError::new(
            ErrorKind::Syntax,
            "a JSONPath starts with $, such as $.items[0].name",
            source,
        ));
    }
    JsonPath::parse(source).map_err(|error| {
        ExprError::new(
            ErrorKind::Syntax,
            format!("syntax error: {}", error.message()),
            source,
        )
        .at(position_of(source, error.position()))
    })
}

/// No node is `null`, one node is its value, several are an array.
pub fn evaluate(source: &str, scope: &Scope, limits: &Limits) -> Result<Value, ExprError> {
    let source = source.trim();
    let path = parsed(source)?;
    let root = root(source, scope);
    let visits = estimate(source, &root);
    if visits > MAX_VISITS {
        return Err(ExprError::new(
            ErrorKind::TooLarge,
            format!(
                "the query might visit {visits} nodes of the data; at most {MAX_VISITS} are allowed"
            ),
            source,
        ));
    }
    let nodes = path.query(&root).all();
    let mut room = limits.result_bytes;
    for node in &nodes {
        if !fits(node, &mut room) {
            return Err(too_large(source, limits));
        }
    }
    Ok(match nodes.as_slice() {
        [] => Value::Null,
        [node] => (*node).clone(),
        several => Value::Array(several.iter().map(|node| (*node).clone()).collect()),
    })
}

/// The same for each item of a list, which stands in `$.item`. It cannot reduce.
pub fn evaluate_over(
    source: &str,
    scope: &Scope,
    over: &Over,
    limits: &Limits,
) -> Result<Value, ExprError> {
    if matches!(over.task, Task::Reduce(_)) {
        let message = "a JSONPath selects and cannot combine; use javascript or python";
        return Err(ExprError::new(ErrorKind::UnknownLanguage, message, source));
    }
    let started = clock::monotonic();
    let mut results = Results::new(limits);
    let mut scope = scope.clone();
    if source.contains("items") {
        let items = Value::Array((*over.items).clone());
        scope.extra.push(("items".to_owned(), items));
    }
    let common = scope.extra.len();
    for (index, item) in over.items.iter().enumerate() {
        scope.extra.truncate(common);
        scope.extra.push(("item".to_owned(), item.clone()));
        scope.extra.push(("index".to_owned(), index.into()));
        let value = evaluate(source, &scope, limits).map_err(|error| error.for_item(index))?;
        if started.elapsed() > limits.time {
            let message = format!("it ran longer than {} ms", limits.time.as_millis());
            return Err(ExprError::new(ErrorKind::Timeout, message, source).for_item(index));
        }
        let value = match over.task {
            Task::Test => is_truthy(Language::JsonPath, &value).into(),
            _ => value,
        };
        let mut room = limits.result_bytes;
        let is_small = fits(&value, &mut room);
        if !is_small || !results.push(value, limits.result_bytes - room) {
            return Err(too_large(source, limits).for_item(index));
        }
    }
    Ok(results.into_value())
}

fn too_large(source: &str, limits: &Limits) -> ExprError {
    ExprError::new(
        ErrorKind::TooLarge,
        format!("the result is larger than {} bytes", limits.result_bytes),
        source,
    )
}

/// The value that `$` stands for. If each `$` is followed by a plain name, only the keys whose name occurs in the
/// query are copied.
fn root(source: &str, scope: &Scope) -> Value {
    let only_named = !source.contains('\\')
        && source.match_indices('$').all(|(at, _)| {
            let rest = source.get(at + 1..).unwrap_or_default();
            rest.starts_with("['")
                || rest.starts_with("[\"")
                || rest
                    .strip_prefix('.')
                    .is_some_and(|name| name.starts_with(|c: char| c.is_alphabetic() || c == '_'))
        });
    let mut root = Map::new();
    let extra = scope.extra.iter().map(|(key, value)| (key, value));
    for (key, value) in scope.data.iter().chain(extra) {
        if !only_named || source.contains(key.as_str()) {
            root.insert(key.clone(), value.clone());
        }
    }
    Value::Object(root)
}

/// An upper bound, roughly, of the nodes that a query visits: each `..` may meet a node once per level above it, each
/// list of selectors `[a, b]` once per selector, and each `$` inside a filter starts again for every node.
fn estimate(source: &str, root: &Value) -> usize {
    let plain = without_strings(source);
    let (size, depth) = measure(root);
    let mut visits = size;
    let mut open = 0_usize;
    let mut selectors = 1_usize;
    for c in plain.chars() {
        match c {
            '[' => open += 1,
            ']' => {
                open = open.saturating_sub(1);
                visits = visits.saturating_mul(selectors);
                selectors = 1;
            }
            ',' if open > 0 => selectors = selectors.saturating_add(1),
            _ => {}
        }
    }
    let descents = plain.matches("..").count();
    for _ in 1..descents {
        visits = visits.saturating_mul(depth);
    }
    let restarts = plain
        .match_indices('$')
        .skip(1)
        .filter(|(at, _)| is_wide(plain.get(*at..).unwrap_or_default()));
    for _ in restarts {
        visits = visits.saturating_mul(size);
    }
    visits
}

/// Whether a query that starts here may visit more than a few nodes.
fn is_wide(query: &str) -> bool {
    let end = query
        .find(['=', '<', '>', '!', '&', '|', ')'])
        .unwrap_or(query.len());
    let query = query.get(..end).unwrap_or(query);
    query.contains("..") || query.contains('*') || query.contains(':') || query.contains('?')
}

/// The query with all that stands between quotes left out.
fn without_strings(source: &str) -> Cow<'_, str> {
    if !source.contains(['\'', '"']) {
        return Cow::Borrowed(source);
    }
    let mut plain = String::with_capacity(source.len());
    let mut quote = None;
    let mut characters = source.chars();
    while let Some(c) = characters.next() {
        match quote {
            Some(_) if c == '\\' => {
                characters.next();
            }
            Some(end) if c == end => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// How many nodes a value has, and how many levels. (JSON that was parsed has at most 128.)
fn measure(value: &Value) -> (usize, usize) {
    let children: &mut dyn Iterator<Item = &Value> = match value {
        Value::Array(items) => &mut items.iter(),
        Value::Object(entries) => &mut entries.values(),
        _ => return (1, 1),
    };
    let (size, depth) = children
        .map(measure)
        .fold((0, 0), |(size, depth), (s, d)| (size + s, depth.max(d)));
    (size + 1, depth + 1)
}

/// Takes the approximate length of a value's JSON text from `room`; false when there is not enough.
pub fn fits(value: &Value, room: &mut usize) -> bool {
    let own = match value {
        Value::String(text) => text.len() + 2,
        Value::Object(entries) => entries.keys().map(|key| key.len() + 4).sum::<usize>() + 2,
        _ => 4,
    };
    let Some(rest) = room.checked_sub(own) else {
        return false;
    };
    *room = rest;
    match value {
        Value::Array(items) => items.iter().all(|item| fits(item, room)),
        Value::Object(entries) => entries.values().all(|entry| fits(entry, room)),
        _ => true,
    }
}
