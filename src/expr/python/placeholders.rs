//! `${path}` in a Python expression.
//!
//! Outside quotes it becomes the name of an input that holds the value. Inside a quoted text it becomes a literal of
//! its own between the two halves, which Python joins: `'a ${n} b'` is read as `'a ' "Ann" ' b'`. In an f-string the
//! braces are Python's own, and in a comment it is a comment.
//!
//! The parser's lexer says which of these it is. It does not know `${…}`, so it is shown a name of the same length.

use std::ops::Range;

use ruff_python_ast::StringFlags;
use ruff_python_ast::token::{Token, TokenKind};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};
use ruff_text_size::Ranged;
use serde_json::Value;

use super::edits::{Edit, Edited};
use crate::expr::error::{ErrorKind, ExprError, position_of};
use crate::expr::placeholder;
use crate::expr::scope::Scope;

/// What the inputs are called that hold the values.
const INPUT: &str = "_placeholder_";

/// A source text without placeholders, and the inputs that took their place.
pub(super) struct Filled<'a> {
    /// The text.
    pub(super) text: Edited,
    /// By name.
    pub(super) inputs: Vec<(String, &'a Value)>,
}

/// Puts values where placeholders stand.
pub(super) fn fill<'a>(source: &str, scope: &'a Scope) -> Result<Filled<'a>, ExprError> {
    let found = find(source)?;
    let mut inputs = Vec::new();
    let mut edits = Vec::new();
    let masked = mask(source, &found);
    let parsed = parse_unchecked(&masked, ParseOptions::from(Mode::ParenthesizedExpression));
    for range in found {
        let path = source
            .get(range.start + 2..range.end - 1)
            .unwrap_or_default();
        let text = match place(parsed.tokens(), &range) {
            Place::Name => {
                let name = format!("{INPUT}{}", inputs.len());
                let text = format!(" {name} ");
                inputs.push((name, placeholder::resolve(path, scope)?));
                text
            }
            Place::Text { prefix, quote } => {
                let value = placeholder::text(placeholder::resolve(path, scope)?);
                // The escapes of JSON are Python's too.
                format!("{quote} {} {prefix}{quote}", Value::String(value))
            }
            Place::Glued => {
                let message = format!(
                    "syntax error: ${{{path}}} touches a word; write a space or an operator between them"
                );
                return Err(ExprError::new(ErrorKind::Syntax, message, "")
                    .at(position_of(source, range.start)));
            }
            Place::Elsewhere => continue,
        };
        edits.push(Edit { range, text });
    }
    Ok(Filled {
        text: Edited::new(source, edits),
        inputs,
    })
}

/// Where in the text a placeholder stands.
enum Place {
    /// Where an expression may stand.
    Name,
    /// In a text in quotes.
    Text { prefix: String, quote: String },
    /// Directly at a word.
    Glued,
    /// Where it means nothing.
    Elsewhere,
}

fn place(tokens: &[Token], placeholder: &Range<usize>) -> Place {
    let next = tokens.partition_point(|token| token.start().to_usize() <= placeholder.start);
    let Some(token) = next.checked_sub(1).and_then(|index| tokens.get(index)) else {
        return Place::Elsewhere;
    };
    let range = token.start().to_usize()..token.end().to_usize();
    if range.end < placeholder.end {
        return Place::Elsewhere;
    }
    match (token.kind(), token.string_flags()) {
        (TokenKind::Name, _) if range == *placeholder => Place::Name,
        (TokenKind::Name, _) => Place::Glued,
        (TokenKind::String, Some(flags)) if !flags.is_byte_string() => Place::Text {
            prefix: flags.prefix().as_str().to_owned(),
            quote: flags.quote_str().to_owned(),
        },
        _ => Place::Elsewhere,
    }
}

/// All `${path}` of the text, wherever they stand. A `${` inside an f-string may open anything that Python reads.
fn find(source: &str) -> Result<Vec<Range<usize>>, ExprError> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = source
        .get(from..)
        .and_then(|rest| rest.find("${"))
        .map(|at| from + at)
    {
        let inside = start + 2;
        let rest = source.get(inside..).unwrap_or_default();
        let Some(length) = rest.find(['}', '{', '\'', '"', '\\', '\n']) else {
            return Err(ExprError::new(
                ErrorKind::Syntax,
                "syntax error: ${ without a closing }",
                "",
            )
            .at(position_of(source, start)));
        };
        from = inside + length;
        if rest.get(length..).is_some_and(|rest| rest.starts_with('}')) {
            from += 1;
            found.push(start..from);
        }
    }
    Ok(found)
}

/// The same text with a name of the same length in place of each placeholder.
fn mask(source: &str, placeholders: &[Range<usize>]) -> String {
    let edits = placeholders
        .iter()
        .map(|range| Edit {
            range: range.clone(),
            text: "_".repeat(range.len()),
        })
        .collect();
    Edited::new(source, edits).text
}
