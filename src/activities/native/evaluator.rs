//! Runs what users type, a bounded number at a time: Python in processes of its own, all else on threads that may
//! block.
//!
//! An expression may use a processor for as long as its time limit, and the runtime's own threads must not wait for
//! that. At the bound, further expressions queue in order. A permit is held until the expression has really ended,
//! also when nobody waits for it any more, so that stubborn ones cannot pile up.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;

use super::config;
use crate::activities::python::{Hosts, Unanswered};
use crate::activities::{Context, Failure, Node, Object};
use crate::expr::template::unwrapped;
use crate::expr::{self, ExprError, Language, Limits, Over, Scope, error::excerpt};

/// How long a result is waited for beyond the time limit of the expression: an engine that is in the middle of one
/// long step notices the limit only after it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Evaluates expressions. Cheap to clone; clones share their bound.
#[derive(Clone, Debug)]
pub struct Evaluator {
    limits: Limits,
    permits: Arc<Semaphore>,
    python: Hosts,
}

impl Evaluator {
    /// At most `at_once` evaluations at a time, at least one.
    pub fn new(limits: Limits, at_once: usize) -> Self {
        Self {
            limits,
            permits: Arc::new(Semaphore::new(at_once.max(1))),
            python: Hosts::default(),
        }
    }

    /// The same, with other processes for Python.
    pub fn with_python(mut self, python: Hosts) -> Self {
        self.python = python;
        self
    }

    /// Twice as many evaluations at a time as there are processors.
    pub fn per_processor(limits: Limits) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(limits, processors.saturating_mul(2))
    }

    /// The value of an expression. `key` is the configuration key that it stands in, for the message.
    ///
    /// # Errors
    /// A failure `<key> "<expression>": <error>`. It is permanent, since the same data would give the same error again;
    /// only if the process that Python needs cannot start or was killed from outside, it is retryable.
    pub async fn evaluate(
        &self,
        key: &str,
        language: Language,
        source: &str,
        scope: Scope,
    ) -> Result<Value, Failure> {
        let work = Work {
            key,
            language,
            source,
            limits: self.limits,
        };
        self.answer(work, scope, None).await
    }

    /// The result of one expression over a list, in one engine; see [`expr::over`]. Its limits are those
    /// [of a list](Limits::for_list).
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate); the message also names the item.
    pub async fn evaluate_over(
        &self,
        key: &str,
        language: Language,
        source: &str,
        scope: Scope,
        over: Over,
    ) -> Result<Value, Failure> {
        let work = Work {
            key,
            language,
            source,
            limits: self.limits.for_list(),
        };
        self.answer(work, scope, Some(over)).await
    }

    async fn answer(
        &self,
        work: Work<'_>,
        scope: Scope,
        over: Option<Over>,
    ) -> Result<Value, Failure> {
        let items = over.as_ref().map(|over| Arc::clone(&over.items));
        let blame = |error: &ExprError| work.failure(error, items.as_deref());
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|error| work.fail(&error))?;
        let (limits, language) = (work.limits, work.language);
        if language == Language::Python {
            let answer = match &over {
                None => self.python.evaluate(work.source, &scope, &limits).await,
                Some(over) => {
                    let python = &self.python;
                    python
                        .evaluate_over(work.source, &scope, over, &limits)
                        .await
                }
            };
            drop(permit);
            return answer.map_err(|error| match error {
                Unanswered::Expression(error) => blame(&error),
                Unanswered::Machine(error) => Failure::retryable(work.message(&error)),
            });
        }
        let text = work.source.to_owned();
        let running = tokio::task::spawn_blocking(move || {
            let result = match &over {
                None => expr::evaluate(language, &text, &scope, &limits),
                Some(over) => expr::over::evaluate(language, &text, &scope, over, &limits),
            };
            drop(permit);
            result
        });
        match tokio::time::timeout(limits.time + PATIENCE, running).await {
            Ok(Ok(result)) => result.map_err(|error| blame(&error)),
            Ok(Err(error)) if error.is_panic() => {
                Err(work.fail(&"the interpreter failed; please report this expression"))
            }
            Ok(Err(error)) => Err(work.fail(&error)),
            Err(_elapsed) => Err(work.fail(&format!(
                "it ran longer than {} ms",
                limits.time.as_millis()
            ))),
        }
    }

    /// Whether the value of an expression counts as true in its language.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub async fn test(
        &self,
        key: &str,
        language: Language,
        source: &str,
        scope: Scope,
    ) -> Result<bool, Failure> {
        let value = self.evaluate(key, language, source, scope).await?;
        Ok(expr::is_truthy(language, &value))
    }
}

/// What is evaluated, for messages about it.
#[derive(Clone, Copy)]
struct Work<'a> {
    key: &'a str,
    language: Language,
    source: &'a str,
    limits: Limits,
}

impl Work<'_> {
    fn message(&self, error: &dyn Display) -> String {
        format!("{} \"{}\": {error}", self.key, excerpt(self.source))
    }

    fn fail(&self, error: &dyn Display) -> Failure {
        Failure::permanent(self.message(error)).of_type("ExpressionError")
    }

    /// The failure for an error, with the item of the list that it was about.
    fn failure(&self, error: &ExprError, items: Option<&Vec<Value>>) -> Failure {
        let item = error
            .item
            .and_then(|index| Some((index, items?.get(index)?)));
        match item {
            Some((index, item)) => self.fail(&format!(
                "at item {index}, {}: {error}",
                config::shown(item)
            )),
            None => self.fail(error),
        }
    }
}

/// An expression that a node's configuration holds.
#[derive(Clone, Debug)]
pub struct Expression<'a> {
    /// The key it was found under.
    pub key: &'a str,
    /// Its text.
    pub source: String,
    /// Its language.
    pub language: Language,
}

impl<'a> Expression<'a> {
    /// Reads the first of `keys` that is set, and `condition_type`. A `true`, `false` or a number in place of a text
    /// is taken as that literal. `None` if no key is set.
    ///
    /// # Errors
    /// A permanent failure if the expression is an object or an array, or the language is unknown.
    pub fn read(node: &Node, keys: &[&'a str]) -> Result<Option<Self>, Failure> {
        let Some((key, value)) = config::first_of(&node.config, keys) else {
            return Ok(None);
        };
        let language = language(&node.config)?;
        let source = match (value, language) {
            // Delimiters of a template around the whole, which are no expression in any language, are left out.
            (Value::String(source), _) => unwrapped(source).unwrap_or(source).to_owned(),
            (Value::Bool(true), Language::Python) => "True".to_owned(),
            (Value::Bool(false), Language::Python) => "False".to_owned(),
            (Value::Bool(_) | Value::Number(_), _) => value.to_string(),
            _ => return Err(config::wrong(key, value, "an expression, as a text")),
        };
        if source.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            key,
            source,
            language,
        }))
    }

    /// Its value.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub async fn value(
        &self,
        evaluator: &Evaluator,
        node: &Node,
        context: &Context,
    ) -> Result<Value, Failure> {
        evaluator
            .evaluate(self.key, self.language, &self.source, scope(node, context))
            .await
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub async fn test(
        &self,
        evaluator: &Evaluator,
        node: &Node,
        context: &Context,
    ) -> Result<bool, Failure> {
        evaluator
            .test(self.key, self.language, &self.source, scope(node, context))
            .await
    }
}

/// The language that `condition_type` names.
///
/// # Errors
/// A permanent failure if it is none of ours.
pub fn language(config: &Object) -> Result<Language, Failure> {
    match config::text(config, "condition_type")? {
        None => Ok(Language::default()),
        Some(name) => name
            .parse()
            .map_err(|error: ExprError| Failure::permanent(format!("condition_type: {error}"))),
    }
}

/// What the expressions of a node see.
pub fn scope(node: &Node, context: &Context) -> Scope {
    let mut extra: Vec<(String, Value)> = (*context.locals).clone();
    extra.extend(
        personalization(node, context).map(|value| ("personalization".to_owned(), value.clone())),
    );
    Scope {
        data: Arc::clone(&context.data),
        variables: Arc::clone(&context.variables),
        extra,
    }
}

/// The builder's pick from an earlier node's output, `<node_id>.<field>`. A field that the output does not have is
/// `null`, but `output` then means all of it.
fn personalization<'a>(node: &Node, context: &'a Context) -> Option<&'a Value> {
    let pick = node.config.get("personalization")?.as_str()?;
    let (source, field) = pick.rsplit_once('.')?;
    let output = context.data.get(&format!("{source}_output"));
    let value = output.and_then(|output| output.get(field));
    Some(
        value
            .or_else(|| output.filter(|_| field == "output"))
            .unwrap_or(&Value::Null),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{context, evaluator, node};
    use super::*;

    #[tokio::test]
    async fn a_bad_expression_is_a_permanent_failure_that_names_key_and_text() {
        let failure = evaluator()
            .evaluate(
                "expression",
                Language::JavaScript,
                "nobody > 1",
                Scope::default(),
            )
            .await
            .unwrap_err();
        assert_eq!(
            failure,
            Failure::permanent(
                "expression \"nobody > 1\": ReferenceError: nobody is not defined (at column 1)"
            )
            .of_type("ExpressionError")
        );
    }

    #[tokio::test]
    async fn more_expressions_than_permits_all_end() {
        let evaluator = Evaluator::new(Limits::default(), 1);
        let all = (0..20).map(|n| {
            let evaluator = evaluator.clone();
            async move {
                evaluator
                    .evaluate(
                        "x",
                        Language::JavaScript,
                        &format!("{n} + 1"),
                        Scope::default(),
                    )
                    .await
            }
        });
        let values: Result<Vec<Value>, Failure> = futures_util::future::join_all(all)
            .await
            .into_iter()
            .collect();
        assert_eq!(
            values.unwrap(),
            (1..=20).map(Value::from).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn personalization_is_the_picked_field_of_an_earlier_output() {
        let context = context(json!({"n0_output": {"body": "hi"}}));
        for (pick, expected) in [
            ("n0.body", json!("hi")),
            ("n0.output", json!({"body": "hi"})),
            ("n0.stdout", json!(null)),
            ("gone.body", json!(null)),
        ] {
            let node = node("if", json!({"personalization": pick}));
            let value = evaluator()
                .evaluate(
                    "x",
                    Language::JavaScript,
                    "personalization",
                    scope(&node, &context),
                )
                .await;
            assert_eq!(value.unwrap(), expected, "{pick}");
        }
    }
}
