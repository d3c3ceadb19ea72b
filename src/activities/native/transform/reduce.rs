//! `reduce`: one value made of all items of a list.
//!
//! `reduce_function` is a function of `acc`, the value so far, and `item` (`(acc, item) => acc + item`), or an
//! expression of these names (`acc + item`). `initial_value` is the first `acc`; a text there is read as JSON, which is
//! what the builder saves. Without it the first item is the first `acc`, as in JavaScript.

use std::sync::Arc;

use serde_json::Value;

use super::{COMBINING_LANGUAGE_KEY, INPUT, INPUT_KEY, Work, combining, done};
use crate::activities::native::config;
use crate::activities::native::evaluator::Evaluator;
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Object, Running, Spec};
use crate::expr::over::Task;

/// Makes one value of all items.
#[derive(Clone, Debug)]
pub struct Reduce {
    /// Evaluates its expressions.
    pub expressions: Evaluator,
}

static SPEC: Spec = Spec {
    about: "Makes one value of all items of a list.",
    keys: &[
        Key::new(
            "reduce_function",
            Holds::Expression,
            "a function of acc, item, index, items; or an expression of them",
        )
        .required(),
        Key::new(
            "initial_value",
            Holds::Any,
            "the first acc; a text is read as JSON; default: the first item",
        ),
        INPUT_KEY,
        COMBINING_LANGUAGE_KEY,
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

impl Activity for Reduce {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let work = Work {
                evaluator: &self.expressions,
                node,
                context,
            };
            let function = work.expression("reduce_function")?;
            combining(function.language)?;
            let initial = initial_value(&node.config)?;
            let items = Arc::new(work.list(&[INPUT], function.language).await?);
            if items.is_empty() && initial.is_none() {
                return Err(Failure::permanent(
                    "the list is empty and initial_value is not set, so there is no result",
                ));
            }
            let result = work.over(&function, &items, Task::Reduce(initial)).await?;
            Ok(done(result, &[("count", items.len().into())]))
        })
    }
}

fn initial_value(config: &Object) -> Result<Option<Value>, Failure> {
    match config::value(config, "initial_value") {
        Some(Value::String(text)) => serde_json::from_str(text).map(Some).map_err(|_no_json| {
            config::wrong(
                "initial_value",
                &text.as_str().into(),
                "JSON, such as 0, [], {} or \"text\" in double quotes",
            )
        }),
        other => Ok(other.cloned()),
    }
}
