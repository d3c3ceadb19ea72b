//! `map`: each item of a list, made into something else.
//!
//! `map_expression` is an expression of `item` (`item.price * 2`), or a function (`item => item.price * 2`).

use std::sync::Arc;

use super::{INPUT, INPUT_KEY, LANGUAGE_KEY, Work, done};
use crate::activities::native::evaluator::Evaluator;
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Node, Running, Spec};
use crate::expr::over::Task;

/// Evaluates an expression for each item.
#[derive(Clone, Debug)]
pub struct Map {
    /// Evaluates its expressions.
    pub expressions: Evaluator,
}

static SPEC: Spec = Spec {
    about: "Makes a list of the values of an expression for each item of a list.",
    keys: &[
        Key::new(
            "map_expression",
            Holds::Expression,
            "of item, index, items; or a function of them",
        )
        .required(),
        INPUT_KEY,
        LANGUAGE_KEY,
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

impl Activity for Map {
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
            let expression = work.expression("map_expression")?;
            let items = Arc::new(work.list(&[INPUT], expression.language).await?);
            let result = work.over(&expression, &items, Task::Map).await?;
            Ok(done(result, &[("count", items.len().into())]))
        })
    }
}
