//! `filter`: the items of a list for which a condition holds, in their order.
//!
//! `filter_condition` is an expression of `item` (`item.price > 10`), or a function. What counts as true is the
//! language's own idea, see [`crate::expr::is_truthy`].

use super::{INPUT, INPUT_KEY, LANGUAGE_KEY, Work, done};
use crate::activities::native::evaluator::Evaluator;
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Node, Running, Spec};

/// Keeps the items for which a condition holds.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Evaluates its expressions.
    pub expressions: Evaluator,
}

static SPEC: Spec = Spec {
    about: "Keeps the items of a list for which a condition holds.",
    keys: &[
        Key::new(
            "filter_condition",
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

impl Activity for Filter {
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
            let condition = work.expression("filter_condition")?;
            let items = work.list(&[INPUT], condition.language).await?;
            let total = items.len();
            let (kept, _) = work.partition(&condition, items).await?;
            let count = kept.len();
            Ok(done(
                kept.into(),
                &[("count", count.into()), ("total", total.into())],
            ))
        })
    }
}
