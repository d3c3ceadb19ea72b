//! Templates in texts: `Hello {{ input.name }}`, `${order.id}`.
//!
//! Pure: this file finds the holes of a text and the values that their paths name. A hole whose content is neither a
//! path nor a literal is an expression in JavaScript, which the caller has evaluated. Each text is read once, from left
//! to right; what a hole is filled with is never read again, so nothing in the data can become a template or code.
//!
//! | in the text | means |
//! | --- | --- |
//! | `{{ path }}`, `${path}` | the value, see [`Path`] |
//! | `{{ path ?? 'x' }}`, `{{ path \| default: 'x' }}` | the same, or `x` if the path names nothing or `null` |
//! | `{{ anything else }}`, `${…}` | an expression in JavaScript |
//! | `\{{`, `\${` | these characters; `\\{{` is a backslash and a hole |
//!
//! A default is JSON, a text in single quotes, or another path; several `??` may follow each other.

use std::borrow::Cow;

use serde_json::Value;

use super::error::{ErrorKind, ExprError, excerpt};
use super::path::{Missing, Path};
use super::scope::Scope;

/// What opens a hole, and what closes it.
const DELIMITERS: [(&str, &str); 2] = [("{{", "}}"), ("${", "}")];

/// Objects of JavaScript whose properties look like a path.
const GLOBALS: [&str; 2] = ["Math", "Number"];

/// A text with holes.
#[derive(Clone, PartialEq, Debug)]
pub struct Template<'t> {
    /// What it consists of, in order; no empty texts.
    pub pieces: Vec<Piece<'t>>,
}

/// A part of a template.
#[derive(Clone, PartialEq, Debug)]
pub enum Piece<'t> {
    /// Text that stays.
    Text(&'t str),
    /// Something to be filled in.
    Hole(Hole<'t>),
}

/// A place that is filled with a value.
#[derive(Clone, PartialEq, Debug)]
pub struct Hole<'t> {
    /// As it was typed, with its delimiters.
    pub text: &'t str,
    /// What stands between them.
    content: &'t str,
    /// The paths and literals of a content that consists of nothing else; the first that is a value counts.
    operands: Option<Vec<Operand<'t>>>,
}

#[derive(Clone, PartialEq, Debug)]
enum Operand<'t> {
    Path(Path<'t>),
    Literal(Value),
}

/// What a hole holds.
#[derive(Clone, PartialEq, Debug)]
pub enum Content<'s, 't> {
    /// A value.
    Value(Cow<'s, Value>),
    /// An expression in JavaScript, not evaluated yet.
    Expression(&'t str),
}

/// Whether a text has anything that this file is about.
pub fn has_template(text: &str) -> bool {
    DELIMITERS.iter().any(|(open, _)| text.contains(open))
}

impl<'t> Template<'t> {
    /// Reads a text.
    ///
    /// # Errors
    /// If a hole is not closed, or holds nothing.
    pub fn parse(text: &'t str) -> Result<Self, ExprError> {
        let mut template = Self { pieces: Vec::new() };
        // What comes before `from` is in the template; what comes before `at` has been looked at.
        let (mut from, mut at) = (0, 0);
        while let Some((start, open, close)) = next_open(text, at) {
            at = start + open.len();
            let before = text.get(from..start).unwrap_or_default();
            let plain = before.trim_end_matches('\\').len();
            let backslashes = before.len() - plain;
            template.push_text(before.get(..plain + backslashes / 2).unwrap_or_default());
            from = start;
            if backslashes % 2 == 1 {
                continue;
            }
            let rest = text.get(at..).unwrap_or_default();
            let shown = text.get(start..).unwrap_or_default();
            let length = content_length(rest, close).ok_or_else(|| {
                let message = format!(
                    "\"{}\" has no closing {close}; to write {open} itself, write \\{open}",
                    excerpt(shown)
                );
                ExprError::new(ErrorKind::Syntax, message, text)
            })?;
            at += length + close.len();
            from = at;
            template.pieces.push(Piece::Hole(Hole::new(
                shown
                    .get(..open.len() + length + close.len())
                    .unwrap_or_default(),
                rest.get(..length).unwrap_or_default().trim(),
            )?));
        }
        template.push_text(text.get(from..).unwrap_or_default());
        Ok(template)
    }

    fn push_text(&mut self, text: &'t str) {
        if !text.is_empty() {
            self.pieces.push(Piece::Text(text));
        }
    }
}

/// What stands in `{{ … }}`, if the whole text is that.
pub fn unwrapped(text: &str) -> Option<&str> {
    let text = text.trim();
    let template = Template::parse(text)
        .ok()
        .filter(|_| text.starts_with("{{"))?;
    match template.pieces.as_slice() {
        [Piece::Hole(hole)] => Some(hole.content),
        _ => None,
    }
}

impl<'t> Hole<'t> {
    /// A content without delimiters around it; with them, they are left out.
    ///
    /// # Errors
    /// If it is empty.
    pub fn bare(text: &'t str) -> Result<Self, ExprError> {
        let text = text.trim();
        Self::new(text, unwrapped(text).unwrap_or(text))
    }

    fn new(text: &'t str, content: &'t str) -> Result<Self, ExprError> {
        if content.is_empty() {
            let message = format!("{text} is empty; it must hold a path such as input.name");
            return Err(ExprError::new(ErrorKind::Syntax, message, text));
        }
        Ok(Self {
            text,
            content,
            operands: operands(content),
        })
    }

    /// What must be evaluated for it whatever the data: a content that is neither paths nor literals.
    pub fn expression(&self) -> Option<&'t str> {
        self.operands.is_none().then_some(self.content)
    }

    /// The paths that it names.
    pub fn paths(&self) -> impl Iterator<Item = &Path<'t>> {
        self.operands
            .iter()
            .flatten()
            .filter_map(|operand| match operand {
                Operand::Path(path) => Some(path),
                Operand::Literal(_) => None,
            })
    }

    /// Whether something stands in where a path names nothing.
    pub fn has_default(&self) -> bool {
        self.operands
            .as_ref()
            .is_some_and(|operands| operands.len() > 1)
    }

    /// The value of the hole, or the expression that must be evaluated for it.
    ///
    /// # Errors
    /// If it names nothing and has no default.
    pub fn content<'s>(&self, scope: &'s Scope) -> Result<Content<'s, 't>, ExprError> {
        let Some(operands) = &self.operands else {
            return Ok(Content::Expression(self.content));
        };
        let mut last = Ok(Cow::Owned(Value::Null));
        for operand in operands {
            last = match operand {
                Operand::Literal(value) => Ok(Cow::Owned(value.clone())),
                Operand::Path(path) => path.find(scope),
            };
            match (&last, operand) {
                (Ok(value), _) if !value.is_null() => break,
                (Err(_), Operand::Path(path)) if is_expression(path, scope) => {
                    return Ok(Content::Expression(self.content));
                }
                _ => {}
            }
        }
        last.map(Content::Value)
            .map_err(|missing| self.missing(&missing))
    }

    fn missing(&self, missing: &Missing) -> ExprError {
        let message = format!("{} names no value: {missing}", excerpt(self.text));
        ExprError::new(ErrorKind::MissingValue, message, self.text)
    }
}

/// Whether what looks like a path that names nothing is JavaScript: a property of a global, or a subtraction.
fn is_expression(path: &Path<'_>, scope: &Scope) -> bool {
    let minuend = path.text().split_once('-').map(|(minuend, _)| minuend);
    GLOBALS.contains(&path.head())
        || minuend
            .and_then(Path::parse)
            .is_some_and(|path| path.find(scope).is_ok())
}

/// The next place where a hole may open, with its delimiters.
fn next_open(text: &str, from: usize) -> Option<(usize, &'static str, &'static str)> {
    let rest = text.get(from..)?;
    let mut candidates = rest.match_indices(['{', '$']);
    candidates.find_map(|(at, _)| {
        let rest = rest.get(at..)?;
        let (open, close) = DELIMITERS.iter().find(|(open, _)| rest.starts_with(open))?;
        Some((from + at, *open, *close))
    })
}

/// How long the content of a hole is: up to its closing delimiter, outside quotes and brackets.
fn content_length(rest: &str, close: &str) -> Option<usize> {
    let mut scan = Scan::default();
    rest.char_indices()
        .find(|(at, c)| {
            let is_end =
                scan.is_outside() && rest.get(*at..).is_some_and(|rest| rest.starts_with(close));
            scan.step(*c);
            is_end
        })
        .map(|(at, _)| at)
}

/// The content as paths and literals, if it consists of nothing else.
fn operands(content: &str) -> Option<Vec<Operand<'_>>> {
    if let Some((path, default)) = liquid_default(content) {
        return Some(vec![
            Operand::Path(Path::parse(path)?),
            Operand::Literal(literal(default)?),
        ]);
    }
    split_top_level(content, "??")
        .into_iter()
        .map(operand)
        .collect()
}

fn operand(text: &str) -> Option<Operand<'_>> {
    literal(text)
        .map(Operand::Literal)
        .or_else(|| Path::parse(text).map(Operand::Path))
}

/// `path | default: 'x'` as its two sides.
fn liquid_default(content: &str) -> Option<(&str, &str)> {
    let (path, filter) = content.split_once('|')?;
    let default = filter.trim_start().strip_prefix("default")?;
    Some((path, default.trim_start().strip_prefix(':')?))
}

/// JSON, or a text in single quotes.
fn literal(text: &str) -> Option<Value> {
    let text = text.trim();
    let Some(quoted) = text.strip_prefix('\'') else {
        return serde_json::from_str(text).ok();
    };
    let mut out = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '\'' => break,
            '\\' => out.push(match characters.next()? {
                c @ ('\\' | '\'' | '"') => c,
                'n' => '\n',
                't' => '\t',
                _ => return None,
            }),
            c => out.push(c),
        }
    }
    characters.as_str().is_empty().then_some(Value::String(out))
}

/// The parts of a text between separators that stand outside quotes and brackets.
fn split_top_level<'t>(text: &'t str, separator: &str) -> Vec<&'t str> {
    let mut parts = Vec::new();
    let mut scan = Scan::default();
    let mut from = 0;
    for (at, c) in text.char_indices() {
        if at >= from
            && scan.is_outside()
            && text
                .get(at..)
                .is_some_and(|rest| rest.starts_with(separator))
        {
            parts.push(text.get(from..at).unwrap_or_default());
            from = at + separator.len();
        }
        scan.step(c);
    }
    parts.push(text.get(from..).unwrap_or_default());
    parts
}

/// Where a scan through an expression is: in quotes, in brackets, or outside both.
#[derive(Default)]
struct Scan {
    quote: Option<char>,
    is_escaped: bool,
    depth: usize,
}

impl Scan {
    fn is_outside(&self) -> bool {
        self.quote.is_none() && self.depth == 0
    }

    fn step(&mut self, c: char) {
        match self.quote {
            Some(_) if self.is_escaped => self.is_escaped = false,
            Some(_) if c == '\\' => self.is_escaped = true,
            Some(quote) if c == quote => self.quote = None,
            Some(_) => {}
            None => match c {
                '"' | '\'' | '`' => self.quote = Some(c),
                '(' | '[' | '{' => self.depth += 1,
                ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn scope() -> Scope {
        let data = json!({"name": "Ann", "n": 5, "a": {"b": [1, 2]}, "none": null, "x-1": 7, "evil": "{{ name }} ${n}"});
        Scope {
            data: Arc::new(data.as_object().unwrap().clone()),
            ..Scope::default()
        }
    }

    /// The pieces: texts as they are, values as JSON, expressions in angle brackets.
    fn pieces(text: &str) -> Result<Vec<String>, String> {
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        template
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => Ok((*text).to_owned()),
                Piece::Hole(hole) => match hole.content(&scope()) {
                    Ok(Content::Value(value)) => Ok(value.to_string()),
                    Ok(Content::Expression(source)) => Ok(format!("<{source}>")),
                    Err(error) => Err(error.to_string()),
                },
            })
            .collect()
    }

    #[test]
    fn a_text_is_read_as_texts_and_holes() {
        for (text, expected) in [
            ("", vec![]),
            ("plain { } } $ {", vec!["plain { } } $ {"]),
            ("{{name}}", vec!["\"Ann\""]),
            (
                "Hi {{ name }}, ${n}!",
                vec!["Hi ", "\"Ann\"", ", ", "5", "!"],
            ),
            ("{\"a\":{\"id\":{{n}}}}", vec!["{\"a\":{\"id\":", "5", "}}"]),
            ("{{n}}{{n}}", vec!["5", "5"]),
            ("$${n}", vec!["$", "5"]),
            ("{{ evil }}", vec!["\"{{ name }} ${n}\""]),
            ("ünï {{ name }} ö", vec!["ünï ", "\"Ann\"", " ö"]),
        ] {
            assert_eq!(
                pieces(text),
                Ok(expected.into_iter().map(str::to_owned).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_backslash_writes_the_delimiters_themselves() {
        for (text, expected) in [
            ("\\{{ name }}", "{{ name }}"),
            ("\\${HOME}", "${HOME}"),
            ("C:\\\\{{ n }}", "C:\\5"),
            ("a\\\\\\{{ n }}", "a\\{{ n }}"),
            ("a\\b {{ n }}", "a\\b 5"),
            ("{{ '{{' }} {{ '}}' }}", "\"{{\" \"}}\""),
        ] {
            assert_eq!(pieces(text).unwrap().concat(), expected, "{text}");
        }
    }

    #[test]
    fn a_default_stands_in_for_nothing_and_for_null() {
        for (content, expected) in [
            ("name ?? 'x'", json!("Ann")),
            ("gone ?? 'x'", json!("x")),
            ("a.c.d ?? \"x\"", json!("x")),
            ("none ?? 1", json!(1)),
            ("none", json!(null)),
            ("none ?? null", json!(null)),
            ("gone ?? none ?? n", json!(5)),
            ("gone ?? {\"k\": [1, \"??\"]}", json!({"k": [1, "??"]})),
            ("gone ?? 'it\\'s\\n'", json!("it's\n")),
            ("gone ?? ''", json!("")),
            ("gone | default: 'x'", json!("x")),
            ("gone|default:5", json!(5)),
            ("name | default: 'x | y'", json!("Ann")),
            ("'text'", json!("text")),
            ("true", json!(true)),
        ] {
            for text in [format!("{{{{{content}}}}}"), format!("${{{content}}}")] {
                assert_eq!(pieces(&text), Ok(vec![expected.to_string()]), "{text}");
            }
        }
    }

    #[test]
    fn what_is_neither_path_nor_literal_is_an_expression() {
        for content in [
            "n * 2",
            "name.toUpperCase()",
            "a.b.map(x => ({ n: x }))",
            "n > 3 ? 'yes' : 'no'",
            "gone ?? n * 2",
            "gone ?? n ? 1 : 2",
            "n | 1",
            "n-1",
            "a.b.length-1",
            "n-gone ?? 0",
            "Math.PI",
            "`a ${name} }}`",
        ] {
            for text in [format!("{{{{{content}}}}}"), format!("${{ {content} }}")] {
                assert_eq!(pieces(&text), Ok(vec![format!("<{content}>")]), "{text}");
            }
        }
        assert_eq!(
            pieces("{{ x-1 }}"),
            Ok(vec!["7".to_owned()]),
            "a key with a minus wins"
        );
    }

    #[test]
    fn delimiters_around_a_whole_text_may_be_left_out() {
        for (text, expected) in [
            (" {{ a > 1 }} ", Some("a > 1")),
            ("{{ a }} > {{ b }}", None),
            ("a", None),
            ("${a}", None),
            ("{{ a", None),
            ("{{a: 1}}.a", None),
        ] {
            assert_eq!(unwrapped(text), expected, "{text}");
        }
        for text in ["name", "{{ name }}", " name ?? 1"] {
            let hole = Hole::bare(text).unwrap();
            let scope = scope();
            let content = hole.content(&scope).unwrap();
            assert_eq!(content, Content::Value(Cow::Owned(json!("Ann"))), "{text}");
        }
        assert!(Hole::bare(" ").is_err());
    }

    #[test]
    fn a_bad_hole_says_what_is_wrong() {
        for (text, expected) in [
            (
                "a {{ name",
                "\"{{ name\" has no closing }}; to write {{ itself, write \\{{",
            ),
            (
                "${name",
                "\"${name\" has no closing }; to write ${ itself, write \\${",
            ),
            (
                "{{ }}",
                "{{ }} is empty; it must hold a path such as input.name",
            ),
            (
                "{{ a.c }}",
                "{{ a.c }} names no value: a has no \"c\"; there is \"b\"",
            ),
            (
                "{{ a.c ?? a.d }}",
                "{{ a.c ?? a.d }} names no value: a has no \"d\"; there is \"b\"",
            ),
        ] {
            assert_eq!(pieces(text).unwrap_err(), expected, "{text}");
        }
    }
}
