//! Nodes that compute with the data: `map`, `filter`, `reduce`, `merge`, `split`, one file each.
//!
//! Here is what they share: how a configuration names a value, and how it names a list. A path such as `input.items` or
//! the id of a node is looked up without an engine; anything else is an expression, in the node's language. Since these
//! keys hold expressions, no template is filled in them; delimiters around the whole (`{{ input.items }}`) are left out.

pub mod filter;
pub mod map;
pub mod merge;
pub mod reduce;
pub mod split;

use std::fmt::Display;
use std::sync::Arc;

use serde_json::Value;

use super::config;
use super::evaluator::{Evaluator, Expression, scope};
use crate::activities::spec::{Holds, Key};
use crate::activities::{Context, Failure, Node, Object, Outcome};
use crate::expr::over::Task;
use crate::expr::template::{Content, Hole};
use crate::expr::{Language, Over};

/// The key of the list that a node works on.
const INPUT: &str = "input_array";
/// The list if the key is not set.
const DEFAULT_INPUT: &str = "input.items";
/// What a value of that key must be.
const A_LIST: &str = "a list, or a path or expression that gives one, such as input.items";

const INPUT_KEY: Key = Key::new(
    INPUT,
    Holds::Expression,
    "the list: a path or expression, or the list itself; default input.items",
);

const LANGUAGE_KEY: Key = Key::new(
    "condition_type",
    Holds::Choice(&["javascript", "python", "jsonpath"]),
    "the expression's language; default javascript",
);

/// For nodes that combine values, which a JSONPath cannot.
const COMBINING_LANGUAGE_KEY: Key = Key::new(
    "condition_type",
    Holds::Choice(&["javascript", "python"]),
    "the expressions' language; default javascript",
);

/// A node at work.
#[derive(Clone, Copy)]
struct Work<'a> {
    evaluator: &'a Evaluator,
    node: &'a Node,
    context: &'a Context,
}

impl Work<'_> {
    /// The expression under a key that must be set.
    fn expression<'k>(&self, key: &'k str) -> Result<Expression<'k>, Failure> {
        Expression::read(self.node, &[key])?
            .ok_or_else(|| Failure::permanent(format!("{key} is required")))
    }

    /// The value that a text under a key names: a path, or else an expression.
    async fn named(&self, key: &str, text: &str, language: Language) -> Result<Value, Failure> {
        let failure = |error: &dyn Display| {
            Failure::permanent(format!("{key}: {error}")).of_type("ExpressionError")
        };
        let scope = scope(self.node, self.context);
        let hole = Hole::bare(text).map_err(|error| failure(&error))?;
        let source = match hole.content(&scope).map_err(|error| failure(&error))? {
            Content::Value(value) => return Ok(value.into_owned()),
            Content::Expression(source) => source,
        };
        // A JSONPath selects from one item; where the list comes from is not its business.
        let language = match language {
            Language::JsonPath => Language::JavaScript,
            other => other,
        };
        self.evaluator
            .evaluate(key, language, source, scope.clone())
            .await
    }

    /// What the first of these keys that is set names, with key and text for messages.
    async fn input(
        &self,
        keys: &[&str],
        language: Language,
    ) -> Result<Option<(String, Value)>, Failure> {
        match config::first_of(&self.node.config, keys) {
            None => Ok(None),
            Some((key, Value::String(text))) => {
                let value = self.named(key, text, language).await?;
                Ok(Some((format!("{key} {text:?}"), value)))
            }
            Some((key, value)) => Ok(Some((key.to_owned(), value.clone()))),
        }
    }

    /// The list that the first of these keys that is set names; without one, [`DEFAULT_INPUT`].
    async fn list(&self, keys: &[&str], language: Language) -> Result<Vec<Value>, Failure> {
        let (what, value) = match self.input(keys, language).await? {
            Some(input) => input,
            None => {
                let value = self.named(INPUT, DEFAULT_INPUT, language).await;
                let value = value.map_err(|failure| {
                    let why = failure.message.trim_start_matches("input_array: ");
                    Failure {
                        message: format!("{INPUT} is not set, so it is {DEFAULT_INPUT}; {why}"),
                        ..failure
                    }
                })?;
                (format!("{INPUT} (by default {DEFAULT_INPUT})"), value)
            }
        };
        match value {
            Value::Array(items) => Ok(items),
            other => Err(config::wrong(&what, &other, A_LIST)),
        }
    }

    /// The result of an expression over a list.
    async fn over(
        &self,
        expression: &Expression<'_>,
        items: &Arc<Vec<Value>>,
        task: Task,
    ) -> Result<Value, Failure> {
        let Expression {
            key,
            source,
            language,
        } = expression;
        let over = Over {
            items: Arc::clone(items),
            task,
        };
        let scope = scope(self.node, self.context);
        self.evaluator
            .evaluate_over(key, *language, source, scope, over)
            .await
    }

    /// The items of a list for which an expression holds, and the others; both in their order.
    async fn partition(
        &self,
        expression: &Expression<'_>,
        items: Vec<Value>,
    ) -> Result<(Vec<Value>, Vec<Value>), Failure> {
        let items = Arc::new(items);
        let flags = self.over(expression, &items, Task::Test).await?;
        let flags = flags.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut parts = (Vec::new(), Vec::new());
        for (item, flag) in Arc::unwrap_or_clone(items).into_iter().zip(flags) {
            if *flag == Value::Bool(true) {
                parts.0.push(item);
            } else {
                parts.1.push(item);
            }
        }
        Ok(parts)
    }
}

/// Refuses the language that can only select.
fn combining(language: Language) -> Result<Language, Failure> {
    match language {
        Language::JsonPath => Err(config::wrong(
            "condition_type",
            &language.as_str().into(),
            "javascript or python",
        )),
        other => Ok(other),
    }
}

/// A result with what else there is to say, as an outcome.
fn done(result: Value, more: &[(&str, Value)]) -> Outcome {
    let mut output = Object::new();
    output.insert("result".to_owned(), result);
    for (name, value) in more {
        output.insert((*name).to_owned(), value.clone());
    }
    Outcome::Done {
        output,
        branch: None,
    }
}

#[cfg(test)]
mod tests;
