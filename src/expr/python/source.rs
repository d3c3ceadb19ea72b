//! From what the user typed to the program that Monty runs.
//!
//! The text must be one expression; the parser says so before Monty sees it. Three things that Python does not know
//! are then written in Python: placeholders (see `placeholders`), keys as attributes (`input.value`), and keys that
//! have the name of a built-in function. Everything else is Monty's.

use std::collections::BTreeSet;

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_parameter};
use ruff_python_ast::{Expr, ExprAttribute, ExprContext, Parameter};
use ruff_python_parser::{Mode, ParseError, ParseErrorType, ParseOptions, parse};
use ruff_text_size::{Ranged, TextRange, TextSize};
use serde_json::Value;

use super::edits::{Edit, Edited};
use super::placeholders::{self, Filled};
use crate::expr::error::{ErrorKind, ExprError, Position, position_of};
use crate::expr::scope::Scope;

/// `_attribute` reads an attribute: that of an object of the data is its key. Each `a.b` that is not called becomes a
/// call of it. `_iterator` is what `next` needs around a generator expression, which is a list to Monty.
const PRELUDE: &str = "_iterator = iter
def _attribute(value, name):
    if isinstance(value, dict) and name in value:
        return value[name]
    return getattr(value, name)
";

/// How deep the syntax tree may be. Monty takes no more either.
const MAX_DEPTH: u16 = 200;

/// Functions of Python that a key of the data does not hide where the name is called.
const BUILTINS: [&str; 42] = [
    "abs",
    "all",
    "any",
    "bin",
    "bool",
    "bytes",
    "chr",
    "dict",
    "divmod",
    "enumerate",
    "filter",
    "float",
    "format",
    "frozenset",
    "getattr",
    "hasattr",
    "hash",
    "hex",
    "id",
    "int",
    "isinstance",
    "iter",
    "len",
    "list",
    "map",
    "max",
    "min",
    "next",
    "object",
    "oct",
    "ord",
    "pow",
    "print",
    "range",
    "repr",
    "reversed",
    "round",
    "set",
    "sorted",
    "str",
    "sum",
    "tuple",
];

/// Those whose names are common as keys.
const MORE_BUILTINS: [&str; 3] = ["type", "zip", "slice"];

/// A program for Monty.
pub(super) struct Program<'a> {
    /// Its text.
    pub(super) text: String,
    /// The names that it mentions, each with the name in the scope that it stands for.
    pub(super) names: Vec<(String, String)>,
    /// The values of its placeholders, by name.
    pub(super) placeholders: Vec<(String, &'a Value)>,
    source: String,
    filled: Edited,
    written: Edited,
}

impl<'a> Program<'a> {
    /// Reads an expression. A leading `return` and a trailing `;` are allowed, since people type them.
    pub(super) fn new(source: &str, scope: &'a Scope) -> Result<Self, ExprError> {
        Self::with_arguments(source, scope, &[])
    }

    /// The same; if it is a `lambda`, the program calls it, with the inputs of these names.
    pub(super) fn with_arguments(
        source: &str,
        scope: &'a Scope,
        arguments: &[&str],
    ) -> Result<Self, ExprError> {
        let source = without_statement(source)?;
        let Filled {
            text: filled,
            inputs: placeholders,
        } = placeholders::fill(&source, scope)?;
        let options = ParseOptions::from(Mode::ParenthesizedExpression);
        let parsed =
            parse(&filled.text, options).map_err(|error| unreadable(&error, &source, &filled))?;
        let mut reader = Reader::new(&filled.text);
        if let Some(expression) = parsed.syntax().as_expression() {
            reader.visit_expr(&expression.body);
        }
        if reader.too_deep {
            return Err(too_deep());
        }
        let (edits, mut names) = reader.finish();
        let written = Edited::new(&filled.text, edits);
        let called = parsed
            .syntax()
            .as_expression()
            .and_then(|expression| call(&expression.body, arguments));
        let call = called.map_or_else(String::new, |arguments| {
            let own = |name: &&str| ((*name).to_owned(), (*name).to_owned());
            names.extend(
                arguments
                    .iter()
                    .map(own)
                    .filter(|name| !names.contains(name))
                    .collect::<Vec<_>>(),
            );
            format!("({})", arguments.join(", "))
        });
        Ok(Self {
            text: format!("{PRELUDE}({}\n){call}", written.text),
            names,
            placeholders,
            source,
            filled,
            written,
        })
    }

    /// The place in the user's text behind a place in the program, if it is not in our own part.
    pub(super) fn position(&self, line: u32, column: u32) -> Option<Position> {
        let (line, column) = (usize::try_from(line).ok()?, usize::try_from(column).ok()?);
        let line = line.checked_sub(PRELUDE.lines().count() + 1)?;
        // The first line has our parenthesis in front.
        let column = column.checked_sub(if line == 0 { 2 } else { 1 })?;
        let start: usize = self
            .written
            .text
            .split_inclusive('\n')
            .take(line)
            .map(str::len)
            .sum();
        let rest = self.written.text.get(start..)?;
        let offset = rest
            .char_indices()
            .nth(column)
            .map_or(rest.len(), |(offset, _)| offset);
        let origin = self.filled.origin(self.written.origin(start + offset));
        Some(position_of(&self.source, origin.min(self.source.len())))
    }
}

/// The arguments that a `lambda` is called with: as many as it has parameters for.
fn call<'n>(expression: &Expr, arguments: &'n [&'n str]) -> Option<&'n [&'n str]> {
    let Expr::Lambda(lambda) = expression else {
        return None;
    };
    let taken = match &lambda.parameters {
        None => 0,
        Some(parameters) if parameters.vararg.is_some() => arguments.len(),
        Some(parameters) => parameters.posonlyargs.len() + parameters.args.len(),
    };
    (!arguments.is_empty()).then(|| arguments.get(..taken).unwrap_or(arguments))
}

/// The error for what nests too deeply.
pub(super) fn too_deep() -> ExprError {
    ExprError::new(ErrorKind::Depth, "it nests too deeply", "")
}

/// The text without `return` and `;`, each byte in its place.
fn without_statement(source: &str) -> Result<String, ExprError> {
    let end = source
        .trim_end_matches(|c: char| c == ';' || c.is_whitespace())
        .len();
    let text = source.get(..end).unwrap_or_default();
    let start = text.len() - text.trim_start().len();
    let word = text
        .get(start..)
        .and_then(|rest| rest.strip_prefix("return"));
    let text = match word {
        Some(rest) if !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric()) => {
            format!("{}{rest}", " ".repeat(start + "return".len()))
        }
        _ => text.to_owned(),
    };
    if text.trim().is_empty() {
        return Err(ExprError::new(
            ErrorKind::Syntax,
            "the expression is empty",
            "",
        ));
    }
    Ok(text)
}

fn unreadable(error: &ParseError, source: &str, filled: &Edited) -> ExprError {
    if matches!(error.error, ParseErrorType::RecursionLimitExceeded) {
        return too_deep();
    }
    let message = error.error.to_string();
    let mut letters = message.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    let message: String = first.into_iter().chain(letters).collect();
    let origin = filled
        .origin(error.location.start().to_usize())
        .min(source.len());
    let message = format!("syntax error: {message}{}", hint(source, origin));
    ExprError::new(ErrorKind::Syntax, message, "").at(position_of(source, origin))
}

/// For those who have another language in mind.
fn hint(source: &str, offset: usize) -> &'static str {
    let at = source.get(offset..).unwrap_or_default();
    let before = source.get(..offset).unwrap_or_default();
    match at.chars().next() {
        Some('&') if before.ends_with('&') => "; Python says 'and'",
        Some('|') if before.ends_with('|') => "; Python says 'or'",
        Some('!') => "; Python says 'not'",
        Some('=') => "; to compare, write ==",
        _ => "",
    }
}

/// Walks through the expression, and notes what to write differently.
struct Reader<'t> {
    text: &'t str,
    edits: Vec<Edit>,
    /// Names that are read, with their places.
    read: Vec<(String, TextRange)>,
    /// Names that are called.
    called: BTreeSet<String>,
    /// Names that the expression itself gives values to.
    bound: BTreeSet<String>,
    depth: u16,
    too_deep: bool,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            edits: Vec::new(),
            read: Vec::new(),
            called: BTreeSet::new(),
            bound: BTreeSet::new(),
            depth: 0,
            too_deep: false,
        }
    }

    /// The edits, and the inputs with the names that they stand for.
    fn finish(mut self) -> (Vec<Edit>, Vec<(String, String)>) {
        let is_builtin = |name: &str| BUILTINS.contains(&name) || MORE_BUILTINS.contains(&name);
        // Called, such a name is the function, elsewhere the key; so the key needs another name.
        let renamed = |name: &str| {
            self.called.contains(name) && !self.bound.contains(name) && is_builtin(name)
        };
        let mut names = BTreeSet::new();
        for (name, range) in &self.read {
            if renamed(name) {
                let input = format!("_key_{name}");
                self.edits.push(Edit {
                    range: range.start().to_usize()..range.end().to_usize(),
                    text: input.clone(),
                });
                names.insert((input, name.clone()));
            } else {
                names.insert((name.clone(), name.clone()));
            }
        }
        for name in &self.called {
            if !renamed(name) {
                names.insert((name.clone(), name.clone()));
            }
        }
        (self.edits, names.into_iter().collect())
    }

    fn insert(&mut self, at: TextSize, text: &str) {
        self.edits.push(Edit {
            range: at.to_usize()..at.to_usize(),
            text: text.to_owned(),
        });
    }

    fn attribute(&mut self, attribute: &ExprAttribute) {
        let (start, end) = (attribute.value.end(), attribute.attr.start());
        let between = self
            .text
            .get(start.to_usize()..end.to_usize())
            .unwrap_or_default();
        let dot = start.to_usize() + dot(between);
        // The space keeps it off a word in front.
        self.insert(attribute.start(), " _attribute(");
        self.edits.push(Edit {
            range: dot..attribute.end().to_usize(),
            text: format!(", \"{}\")", attribute.attr.id),
        });
    }
}

impl<'a> Visitor<'a> for Reader<'_> {
    fn visit_expr(&mut self, expression: &'a Expr) {
        if self.depth == MAX_DEPTH {
            self.too_deep = true;
            return;
        }
        self.depth += 1;
        match expression {
            Expr::Name(name) if name.ctx == ExprContext::Load => {
                self.read.push((name.id.to_string(), name.range()));
            }
            Expr::Name(name) => {
                self.bound.insert(name.id.to_string());
            }
            Expr::Attribute(attribute) if attribute.ctx == ExprContext::Load => {
                self.attribute(attribute);
                self.visit_expr(&attribute.value);
            }
            Expr::Call(call) => {
                match call.func.as_ref() {
                    Expr::Name(name) => {
                        self.called.insert(name.id.to_string());
                        match call.arguments.args.first() {
                            Some(Expr::Generator(generator)) if name.id == "next" => {
                                self.insert(generator.start(), " _iterator(");
                                self.insert(generator.end(), ")");
                            }
                            _ => {}
                        }
                    }
                    // A method.
                    Expr::Attribute(attribute) => self.visit_expr(&attribute.value),
                    other => self.visit_expr(other),
                }
                self.visit_arguments(&call.arguments);
            }
            _ => walk_expr(self, expression),
        }
        self.depth -= 1;
    }

    fn visit_parameter(&mut self, parameter: &'a Parameter) {
        self.bound.insert(parameter.name.id.to_string());
        walk_parameter(self, parameter);
    }
}

/// Where the dot is between a value and its attribute: behind parentheses, white space and comments.
fn dot(between: &str) -> usize {
    let mut in_comment = false;
    let found = between.char_indices().find(|(_, letter)| {
        match letter {
            '#' => in_comment = true,
            '\n' => in_comment = false,
            _ => {}
        }
        *letter == '.' && !in_comment
    });
    found.map_or(0, |(offset, _)| offset)
}
