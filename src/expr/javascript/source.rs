//! From what the user typed to the program that the engine runs.
//!
//! The scan knows strings, template literals and comments, and nothing else of the language: what it gets wrong (a
//! quote inside a regular expression) can only make a placeholder read as quoted text. It decides no bounds.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::expr::error::{ErrorKind, ExprError};
use crate::expr::placeholder;
use crate::expr::scope::Scope;

/// Words that no parameter may be named, and globals that data must not hide. Sorted.
const NOT_FOR_DATA: [&str; 82] = [
    "Array",
    "ArrayBuffer",
    "BigInt",
    "Boolean",
    "DataView",
    "Date",
    "Error",
    "Function",
    "Infinity",
    "Intl",
    "JSON",
    "Map",
    "Math",
    "NaN",
    "Number",
    "Object",
    "Promise",
    "Proxy",
    "RangeError",
    "ReferenceError",
    "Reflect",
    "RegExp",
    "Set",
    "String",
    "Symbol",
    "SyntaxError",
    "TypeError",
    "WeakMap",
    "WeakSet",
    "arguments",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "decodeURIComponent",
    "default",
    "delete",
    "do",
    "else",
    "encodeURIComponent",
    "enum",
    "eval",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "globalThis",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "isFinite",
    "isNaN",
    "let",
    "new",
    "null",
    "package",
    "parseFloat",
    "parseInt",
    "private",
    "protected",
    "public",
    "return",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "undefined",
    "var",
    "yield",
];

/// What a parameter of the program is given.
#[derive(Debug)]
pub(super) enum Parameter {
    /// `execution_data`.
    Data,
    /// All variables.
    Variables,
    /// A value.
    Value(Value),
}

/// A program and the arguments it is to be called with.
#[derive(Debug)]
pub(super) struct Program {
    /// An expression whose value is a function.
    pub(super) text: String,
    /// Its arguments.
    pub(super) parameters: Vec<Parameter>,
    /// Whether a placeholder names something that is known only later.
    pub(super) has_late_placeholder: bool,
    /// Whether it mentions `items`.
    pub(super) mentions_items: bool,
}

impl Program {
    /// Reads what the user typed. Placeholders become parameters; in quoted strings they become text.
    pub(super) fn new(source: &str, scope: &Scope) -> Result<Self, ExprError> {
        Self::with_late_names(source, scope, &[])
    }

    /// The same with names that are given values later, and as often as one likes: the program's value is then a
    /// function of them.
    pub(super) fn with_late_names(
        source: &str,
        scope: &Scope,
        late: &[&str],
    ) -> Result<Self, ExprError> {
        let mut names = Vec::new();
        let mut parameters = Vec::new();
        let mut scanner = Scanner {
            source,
            scope,
            late,
            names: &mut names,
            parameters: &mut parameters,
            has_late_placeholder: false,
        };
        let body = scanner.scan()?;
        let has_late_placeholder = scanner.has_late_placeholder;
        let body = trim_statement(&body);
        if body.is_empty() {
            return Err(ExprError::new(
                ErrorKind::Syntax,
                "the expression is empty",
                source,
            ));
        }
        for word in words(body) {
            if NOT_FOR_DATA.binary_search(&word).is_ok() || late.contains(&word) {
                continue;
            }
            let parameter = match (scope.extra(word), word) {
                (Some(value), _) => Parameter::Value(value.clone()),
                (None, "input" | "data") => Parameter::Data,
                (None, "variables") => Parameter::Variables,
                (None, _) => match scope.name(word) {
                    Some(value) => Parameter::Value(value.clone()),
                    None => continue,
                },
            };
            names.push(word.to_owned());
            parameters.push(parameter);
        }
        let names = names.join(",");
        let text = if late.is_empty() {
            format!("(function({names}){{'use strict';return(\n{body}\n)}})")
        } else {
            let late = late.join(",");
            format!(
                "(function({names}){{'use strict';return function({late}){{return(\n{body}\n)}}}})"
            )
        };
        Ok(Self {
            text,
            parameters,
            has_late_placeholder,
            mentions_items: words(body).contains("items"),
        })
    }
}

/// Without a leading `return` and trailing `;`.
fn trim_statement(body: &str) -> &str {
    let body = body
        .trim()
        .trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    match body.strip_prefix("return") {
        Some(rest) if !rest.starts_with(is_word) => rest.trim_start(),
        _ => body,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// All that looks like an identifier, each once, wherever it stands: one in a string costs a parameter, no more.
fn words(body: &str) -> BTreeSet<&str> {
    body.split(|c| !is_word(c))
        .filter(|word| word.starts_with(|c: char| is_word(c) && !c.is_numeric()))
        .collect()
}

struct Scanner<'a> {
    source: &'a str,
    scope: &'a Scope,
    late: &'a [&'a str],
    names: &'a mut Vec<String>,
    parameters: &'a mut Vec<Parameter>,
    has_late_placeholder: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Within {
    Code,
    Quotes(char),
    Template,
    LineComment,
    BlockComment,
}

impl Scanner<'_> {
    fn scan(&mut self) -> Result<String, ExprError> {
        if !self.source.contains("${") {
            return Ok(self.source.to_owned());
        }
        let mut out = String::with_capacity(self.source.len());
        let mut within = Within::Code;
        let mut rest = self.source;
        while let Some(c) = rest.chars().next() {
            if rest.starts_with("${") && matches!(within, Within::Code | Within::Quotes(_)) {
                rest = self.placeholder(rest, within, &mut out)?;
                continue;
            }
            let (taken, next) = step(within, c, rest);
            let (head, tail) = rest.split_at_checked(taken).unwrap_or((rest, ""));
            out.push_str(head);
            within = next;
            rest = tail;
        }
        Ok(out)
    }

    /// Writes what a placeholder stands for; returns what follows it.
    fn placeholder<'s>(
        &mut self,
        rest: &'s str,
        within: Within,
        out: &mut String,
    ) -> Result<&'s str, ExprError> {
        let Some((path, after)) = rest.get(2..).and_then(|inner| inner.split_once('}')) else {
            return Err(ExprError::new(
                ErrorKind::Syntax,
                "syntax error: ${ without a closing }",
                self.source,
            ));
        };
        let head = path.split('.').next().unwrap_or_default().trim();
        if self.late.contains(&head) {
            self.has_late_placeholder = true;
            return Ok(after);
        }
        let value = placeholder::resolve(path, self.scope)?;
        match within {
            Within::Quotes(quote) => escape(&placeholder::text(value), quote, out),
            _ => {
                let name = format!("$placeholder{}", self.names.len());
                out.push('(');
                out.push_str(&name);
                out.push(')');
                self.names.push(name);
                self.parameters.push(Parameter::Value(value.clone()));
            }
        }
        Ok(after)
    }
}

/// How many bytes of `rest` (which starts with `c`) belong together, and where the scan is after them.
fn step(within: Within, c: char, rest: &str) -> (usize, Within) {
    let one = c.len_utf8();
    match (within, c) {
        (Within::Code, '\'' | '"') => (one, Within::Quotes(c)),
        (Within::Code, '`') => (one, Within::Template),
        (Within::Code, '/') if rest.starts_with("//") => (2, Within::LineComment),
        (Within::Code, '/') if rest.starts_with("/*") => (2, Within::BlockComment),
        (Within::Quotes(_) | Within::Template, '\\') => {
            let escaped = rest.chars().nth(1).map_or(0, char::len_utf8);
            (one + escaped, within)
        }
        (Within::Quotes(quote), _) if c == quote => (one, Within::Code),
        (Within::Template, '`') | (Within::LineComment, '\n') => (one, Within::Code),
        (Within::BlockComment, '*') if rest.starts_with("*/") => (2, Within::Code),
        _ => (one, within),
    }
}

/// Text as it may stand inside a quoted string.
fn escape(text: &str, quote: char, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            _ if c == quote => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_words_is_sorted_for_binary_search() {
        assert!(NOT_FOR_DATA.is_sorted());
    }
}
