//! A path into the data, as templates and the inputs of transforms write it: `input.user.name`, `items[0].price`,
//! `http_request-17.output.json`, `input["a key"]`.
//!
//! Reading a path starts no engine, and finding its value copies nothing but what is built on the way (`length`, all
//! data, all variables). A path that names nothing says how far it got and what is there instead.
//!
//! What the first name stands for, the first that leads to a value:
//!
//! | name | value |
//! | --- | --- |
//! | `input`, `data`, `variables`, a name of the scope | as in expressions, see [`Scope`] |
//! | `nodes.<id>` and `<id>` | the output of that node; a following `.output` may be there or not |
//!
//! A number selects from a list, a negative one from its end; `length` is that of a list or a text.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::scope::Scope;

/// How many keys of an object a message names.
const SHOWN_KEYS: usize = 8;
/// How much of a key a message shows, in characters.
const SHOWN_CHARS: usize = 40;

/// A path that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path<'t> {
    head: &'t str,
    /// Each with the end of the text that leads to it.
    steps: Vec<(Cow<'t, str>, usize)>,
    text: &'t str,
}

/// A path that leads nowhere, in words: how far it led, and what is there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Missing(String);

/// Where a path starts.
enum Root<'s> {
    Data(&'s Map<String, Value>),
    Variables,
    Value(&'s Value),
}

impl<'t> Path<'t> {
    /// Reads a path; `None` if the text is none. Whether it names something is not asked.
    pub fn parse(text: &'t str) -> Option<Self> {
        let text = text.trim();
        let head_end = name_end(text);
        let head = text.get(..head_end).filter(|head| is_head(head))?;
        let mut steps = Vec::new();
        let mut at = head_end;
        while at < text.len() {
            let rest = text.get(at..)?;
            let (step, length) = match rest.strip_prefix('.') {
                Some(rest) => {
                    let end = name_end(rest);
                    let name = rest
                        .get(..end)
                        .filter(|name| !name.is_empty() && !name.ends_with('-'))?;
                    (Cow::Borrowed(name), end + 1)
                }
                None => bracketed(rest)?,
            };
            at += length;
            steps.push((step, at));
        }
        Some(Self { head, steps, text })
    }

    /// The first name.
    pub fn head(&self) -> &'t str {
        self.head
    }

    /// The names and numbers behind the first name.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|(step, _)| step.as_ref())
    }

    /// As it was written.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// The value that the path names.
    ///
    /// # Errors
    /// If it names none. `null` is a value.
    pub fn find<'s>(&self, scope: &'s Scope) -> Result<Cow<'s, Value>, Missing> {
        let mut first = None;
        for (root, skipped) in self.roots(scope) {
            match self.walk(&root, skipped, scope) {
                Ok(value) => return Ok(value),
                Err(missing) => {
                    first.get_or_insert(missing);
                }
            }
        }
        Err(first.unwrap_or_else(|| self.unknown_head(scope)))
    }

    /// What the first name may stand for, with the number of steps that this takes.
    fn roots<'s>(&self, scope: &'s Scope) -> Vec<(Root<'s>, usize)> {
        let mut roots = Vec::new();
        let step = |index: usize| self.steps.get(index).map(|(step, _)| step.as_ref());
        if let Some(value) = scope.extra(self.head) {
            roots.push((Root::Value(value), 0));
        }
        match self.head {
            "input" | "data" => roots.push((Root::Data(&scope.data), 0)),
            "variables" => roots.push((Root::Variables, 0)),
            _ => {}
        }
        if let Some(value) = scope.name(self.head) {
            roots.push((Root::Value(value), 0));
        }
        let mut node = |id: &str, taken: usize| {
            if let Some(output) = scope.data.get(&format!("{id}_output")) {
                if step(taken) == Some("output") {
                    roots.push((Root::Value(output), taken + 1));
                }
                roots.push((Root::Value(output), taken));
            }
        };
        if let ("nodes", Some(id)) = (self.head, step(0)) {
            node(id, 1);
        }
        node(self.head, 0);
        roots
    }

    fn walk<'s>(
        &self,
        root: &Root<'s>,
        skipped: usize,
        scope: &'s Scope,
    ) -> Result<Cow<'s, Value>, Missing> {
        let mut steps = self.steps.iter().enumerate().skip(skipped);
        let mut value: &'s Value = match root {
            Root::Value(value) => value,
            Root::Data(data) => match steps.next() {
                None => return Ok(Cow::Owned(Value::Object((*data).clone()))),
                Some((index, (key, _))) => data
                    .get(key.as_ref())
                    .ok_or_else(|| self.missing(index, &keys(data.keys())))?,
            },
            Root::Variables => match steps.next() {
                None => return Ok(Cow::Owned(all_variables(scope))),
                Some((index, (key, _))) => scope
                    .variable(key)
                    .ok_or_else(|| self.missing(index, &keys(scope.variable_names())))?,
            },
        };
        for (index, (step, _)) in steps {
            let next = match value {
                Value::Array(items) => item(items, step),
                _ => value.get(step.as_ref()),
            };
            match next {
                Some(next) => value = next,
                None => {
                    return match length(value) {
                        Some(length) if step == "length" && index + 1 == self.steps.len() => {
                            Ok(Cow::Owned(length.into()))
                        }
                        _ => Err(self.missing(index, &described(value))),
                    };
                }
            }
        }
        Ok(Cow::Borrowed(value))
    }

    /// The step at `index` does not exist in what is described.
    fn missing(&self, index: usize, there: &str) -> Missing {
        let step = self.steps.get(index).map_or("", |(step, _)| step.as_ref());
        let end = match index.checked_sub(1).and_then(|index| self.steps.get(index)) {
            Some((_, end)) => *end,
            None => self.head.len(),
        };
        let found = self.text.get(..end).unwrap_or_default();
        Missing(format!("{found} has no {}; {there}", quoted(step)))
    }

    fn unknown_head(&self, scope: &Scope) -> Missing {
        let names = scope
            .extra
            .iter()
            .map(|(name, _)| name)
            .chain(scope.data.keys());
        Missing(format!(
            "nothing is named {}; {}",
            quoted(self.head),
            keys(names)
        ))
    }
}

/// Where the name at the start of a text ends.
fn name_end(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$' | '-')))
        .unwrap_or(text.len())
}

fn is_head(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.parse::<f64>().is_err()
}

/// A step such as `[0]`, `[-1]` or `["key"]` at the start of a text, and its length.
fn bracketed(text: &str) -> Option<(Cow<'_, str>, usize)> {
    let inner = text.strip_prefix('[')?;
    let quote = inner.chars().next()?;
    if quote == '"' || quote == '\'' {
        let (key, rest) = inner.get(1..)?.split_once(quote)?;
        if key.contains('\\') || !rest.starts_with(']') {
            return None;
        }
        return Some((Cow::Borrowed(key), key.len() + 4));
    }
    let (index, _) = inner.split_once(']')?;
    let digits = index.strip_prefix('-').unwrap_or(index);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((Cow::Borrowed(index), index.len() + 2))
}

fn item<'s>(items: &'s [Value], step: &str) -> Option<&'s Value> {
    match step.strip_prefix('-') {
        Some(from_end) => items.get(items.len().checked_sub(from_end.parse().ok()?)?),
        None => items.get(step.parse::<usize>().ok()?),
    }
}

/// As JavaScript counts it.
fn length(value: &Value) -> Option<usize> {
    match value {
        Value::Array(items) => Some(items.len()),
        Value::String(text) => Some(text.encode_utf16().count()),
        _ => None,
    }
}

fn all_variables(scope: &Scope) -> Value {
    let entries = scope
        .variable_names()
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), scope.variable(name)?.clone())));
    Value::Object(entries.collect())
}

/// What a value is, for someone who looked for something in it.
fn described(value: &Value) -> String {
    match value {
        Value::Null => "it is null".to_owned(),
        Value::Bool(_) => "it is true or false".to_owned(),
        Value::Number(_) => "it is a number".to_owned(),
        Value::String(_) => "it is a text".to_owned(),
        Value::Array(items) => format!("it is a list of {}", items.len()),
        Value::Object(entries) => keys(entries.keys()),
    }
}

fn keys<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> String {
    let mut keys = keys.into_iter();
    let mut shown: Vec<String> = keys
        .by_ref()
        .take(SHOWN_KEYS)
        .map(|key| quoted(key.as_ref()))
        .collect();
    let more = keys.count();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    if shown.is_empty() {
        return "there is nothing".to_owned();
    }
    format!("there is {}", shown.join(", "))
}

fn quoted(name: &str) -> String {
    match name.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("\"{}…\"", name.get(..end).unwrap_or_default()),
        None => format!("\"{name}\""),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn scope() -> Scope {
        let object = |value: Value| Arc::new(value.as_object().unwrap().clone());
        Scope {
            data: object(json!({
                "user": {"name": "Ann", "a key": 1, "tags": ["x", "y"]}, "n": null, "data": {"deep": true},
                "http_request-17_output": {"status": 200, "json": {"output": 5}},
                "call_output": {"output": {"x": 1}, "y": 2}, "0ab_output": {"z": 3}, "input": {"own": 9}
            })),
            variables: object(json!({"workflow": {"limit": 10, "v": 1}, "loop": {"limit": 11}})),
            extra: vec![("item".to_owned(), json!({"n": 7}))],
        }
    }

    fn find(text: &str) -> Result<Value, String> {
        let path = Path::parse(text).unwrap_or_else(|| panic!("{text} is no path"));
        path.find(&scope())
            .map(Cow::into_owned)
            .map_err(|missing| missing.to_string())
    }

    #[test]
    fn a_path_names_what_an_expression_would() {
        for (text, expected) in [
            ("input.user.name", json!("Ann")),
            ("data.user.name", json!("Ann")),
            ("user.name", json!("Ann")),
            (" user['a key'] ", json!(1)),
            ("input[\"user\"].tags[1]", json!("y")),
            ("user.tags.0", json!("x")),
            ("user.tags[-1]", json!("y")),
            ("user.tags.length", json!(2)),
            ("user.name.length", json!(3)),
            ("n", json!(null)),
            ("data.deep", json!(true)),
            ("input.own", json!(9)),
            ("item.n", json!(7)),
            ("limit", json!(11)),
            ("variables.v", json!(1)),
            ("variables", json!({"limit": 11, "v": 1})),
            ("http_request-17_output.status", json!(200)),
            ("http_request-17.output.status", json!(200)),
            ("http_request-17.status", json!(200)),
            ("nodes.http_request-17.output.json.output", json!(5)),
            ("nodes['http_request-17'].json", json!({"output": 5})),
            (
                "http_request-17.output",
                json!({"status": 200, "json": {"output": 5}}),
            ),
            ("call.output.x", json!(1)),
            ("call.output.y", json!(2)),
            ("0ab.z", json!(3)),
        ] {
            assert_eq!(find(text), Ok(expected), "{text}");
        }
        assert_eq!(find("input").unwrap()["user"]["name"], "Ann");
    }

    #[test]
    fn what_is_no_path_is_left_to_an_engine() {
        for text in [
            "", "a b", "a + b", "a.", ".a", "a..b", "a[b]", "a[1", "a()", "12", "-1", "a--", "1e5",
            "a?.b", "a['x", "a['x'", "a['\\x']", "a[]", "a[-]", "['a']", "{a}", "inf",
        ] {
            assert_eq!(Path::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_says_how_far_it_led() {
        for (text, expected) in [
            (
                "input.user.nmae",
                "input.user has no \"nmae\"; there is \"name\", \"a key\", \"tags\"",
            ),
            ("user.tags[2]", "user.tags has no \"2\"; it is a list of 2"),
            (
                "user.tags[-3]",
                "user.tags has no \"-3\"; it is a list of 2",
            ),
            (
                "user.name.first",
                "user.name has no \"first\"; it is a text",
            ),
            ("n.a", "n has no \"a\"; it is null"),
            (
                "variables.w",
                "variables has no \"w\"; there is \"limit\", \"v\"",
            ),
            (
                "http_request-17.output.body",
                "http_request-17.output has no \"body\"; there is \"status\", \"json\"",
            ),
            (
                "nobody.x",
                "nothing is named \"nobody\"; there is \"item\", \"user\", \"n\", \"data\", \"http_request-17_output\", \
                 \"call_output\", \"0ab_output\", \"input\"",
            ),
        ] {
            assert_eq!(find(text).unwrap_err(), expected, "{text}");
        }
        let missing = Path::parse("x")
            .unwrap()
            .find(&Scope::default())
            .unwrap_err();
        assert_eq!(
            missing.to_string(),
            "nothing is named \"x\"; there is nothing"
        );
    }

    #[test]
    fn a_message_stays_short_however_large_the_data() {
        let data: Map<String, Value> = (0..1000)
            .map(|n| (format!("{n}{}", "x".repeat(500)), Value::Null))
            .collect();
        let scope = Scope {
            data: Arc::new(data),
            ..Scope::default()
        };
        let missing = Path::parse("input.y").unwrap().find(&scope).unwrap_err();
        let text = missing.to_string();
        assert!(text.ends_with("992 more"), "{text}");
        assert!(text.chars().count() < 500, "{text}");
    }
}
