//! `loop`, `for`, `while`, `repeat`, and `break`, `continue`.
//!
//! Which kind of loop it is says `loop_type`; without it the node's type, and for a plain `loop` whichever of
//! `array_expression`, `condition_expression` and `repeat_count` is set.

use std::sync::Arc;

use serde_json::Value;

use crate::activities::native::config;
use crate::activities::native::evaluator::{Evaluator, Expression};
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Object, Outcome, Rounds, Running, Spec};

/// The most rounds that a `repeat_count` may name; the setting is the narrower bound.
const MOST_ROUNDS: f64 = 1_000_000.0;
/// Where the list stands, the first that is set.
const LIST_KEYS: [&str; 3] = ["array_expression", "array", "items"];
/// Where the condition stands, the first that is set.
const CONDITION_KEYS: [&str; 3] = ["condition_expression", "condition", "expression"];

static LOOP: Spec = Spec {
    about: "Runs its body for each item of a list, while a condition holds, or a number of times.",
    keys: &[
        Key::new(
            "loop_type",
            Holds::Choice(&["for", "while", "repeat"]),
            "default: the node's type, else by the keys that are set",
        ),
        Key::new(
            "array_expression",
            Holds::Expression,
            "for: the list; a list itself is taken as it is",
        )
        .or(&["array", "items"]),
        Key::new(
            "condition_expression",
            Holds::Expression,
            "while: looked at before each round",
        )
        .or(&["condition", "expression"]),
        Key::new("repeat_count", Holds::Number, "repeat: how often").or(&["count", "iterations"]),
        Key::new(
            "condition_type",
            Holds::Choice(&["javascript", "python", "jsonpath"]),
            "the expressions' language; default javascript",
        ),
        Key::new(
            "loop_variable",
            Holds::Text,
            "the name of the item (of the round's number, if there are no items); default item",
        ),
        Key::new(
            "loop_label",
            Holds::Text,
            "the name by which break and continue mean it, beside the node's id",
        ),
        Key::new(
            "parallel",
            Holds::Flag,
            "run rounds side by side (for, repeat); default false",
        ),
        Key::new(
            "parallel_limit",
            Holds::Number,
            "with parallel: at most so many at a time; default 10",
        ),
        Key::new(
            "collect_results",
            Holds::Flag,
            "whether the output holds the rounds' results; default true",
        ),
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

/// Says what the body runs for.
#[derive(Clone, Debug)]
pub struct Loop {
    /// Evaluates list and condition.
    pub expressions: Evaluator,
}

enum Kind {
    For,
    While,
    Repeat,
}

impl Activity for Loop {
    fn spec(&self) -> &'static Spec {
        &LOOP
    }

    fn check(&self, node: &Node) -> Result<(), Failure> {
        let is_set = |keys: &[&str]| config::first_of(&node.config, keys).is_some();
        match kind(node)? {
            Kind::For if is_set(&LIST_KEYS) => Ok(()),
            Kind::For => Err(no_list(LIST_KEYS[0])),
            Kind::While if is_set(&CONDITION_KEYS) => Ok(()),
            Kind::While => Err(missing(
                CONDITION_KEYS[0],
                "the condition for another round, such as index < 3",
            )),
            Kind::Repeat => count(node).map(drop),
        }
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let rounds = match kind(node)? {
                Kind::For => Rounds::Items(self.items(node, context).await?),
                Kind::While => Rounds::Next(self.goes_on(node, context).await?),
                Kind::Repeat => Rounds::Times(count(node)?),
            };
            Ok(Outcome::Iterate(rounds))
        })
    }
}

impl Loop {
    async fn items(&self, node: &Node, context: &Context) -> Result<Vec<Value>, Failure> {
        let Some((key, value)) = config::first_of(&node.config, &LIST_KEYS) else {
            return Err(no_list(LIST_KEYS[0]));
        };
        let list = if let Value::Array(items) = value {
            Value::Array(items.clone())
        } else {
            match Expression::read(node, &[key])? {
                Some(expression) => expression.value(&self.expressions, node, context).await?,
                None => return Err(no_list(key)),
            }
        };
        match list {
            Value::Array(items) => Ok(items),
            other => Err(Failure::permanent(format!(
                "{key} is {}; it must be a list",
                config::shown(&other)
            ))
            .of_type("ExpressionError")),
        }
    }

    async fn goes_on(&self, node: &Node, context: &Context) -> Result<bool, Failure> {
        let keys = ["condition_expression", "condition", "expression"];
        match Expression::read(node, &keys)? {
            Some(expression) => {
                let mut asked = context.clone();
                // The names that the round would have.
                let variable = config::text(&node.config, "loop_variable")?
                    .map(str::trim)
                    .filter(|name| !name.is_empty())
                    .unwrap_or("item");
                Arc::make_mut(&mut asked.locals).extend(
                    ["index", variable].map(|name| (name.to_owned(), context.round.into())),
                );
                expression.test(&self.expressions, node, &asked).await
            }
            None => Err(missing(
                "condition_expression",
                "the condition for another round, such as index < 3",
            )),
        }
    }
}

fn kind(node: &Node) -> Result<Kind, Failure> {
    let named = match config::text(&node.config, "loop_type")? {
        Some(named) => named.trim(),
        None => &node.node_type,
    };
    match named.to_ascii_lowercase().as_str() {
        "for" | "foreach" | "for_each" | "each" => Ok(Kind::For),
        "while" => Ok(Kind::While),
        "repeat" | "times" => Ok(Kind::Repeat),
        "loop" => {
            let is_set = |keys: &[&str]| config::first_of(&node.config, keys).is_some();
            if is_set(&LIST_KEYS) {
                Ok(Kind::For)
            } else if is_set(&["repeat_count", "count", "iterations"]) {
                Ok(Kind::Repeat)
            } else if is_set(&CONDITION_KEYS) {
                Ok(Kind::While)
            } else {
                Err(Failure::permanent(
                    "array_expression, condition_expression or repeat_count is required: what the loop runs for",
                ))
            }
        }
        _ => Err(config::wrong(
            "loop_type",
            &named.into(),
            "one of for, while, repeat",
        )),
    }
}

fn count(node: &Node) -> Result<u32, Failure> {
    for key in ["repeat_count", "count", "iterations"] {
        if let Some(count) = config::number(&node.config, key, 0.0, MOST_ROUNDS)? {
            return format!("{count}")
                .parse()
                .map_err(|_fraction| config::wrong(key, &count.into(), "a whole number"));
        }
    }
    Err(missing("repeat_count", "how often the body runs"))
}

fn no_list(key: &str) -> Failure {
    missing(key, "the list to go through, such as input.items")
}

fn missing(key: &str, what: &str) -> Failure {
    Failure::permanent(format!("{key} is required: {what}"))
}

static LEAVE: Spec = Spec {
    about: "Ends the loop (break) or its round (continue).",
    keys: &[Key::new(
        "loop_label",
        Holds::Text,
        "which loop: its node's id or its loop_label; default: the nearest",
    )],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

/// `break` and `continue`: says which loop is meant.
#[derive(Clone, Copy, Debug)]
pub struct LeaveLoop;

impl Activity for LeaveLoop {
    fn spec(&self) -> &'static Spec {
        &LEAVE
    }

    fn run<'a>(&'a self, node: &'a Node, _context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let label = config::text(&node.config, "loop_label")?.unwrap_or_default();
            let mut output = Object::new();
            output.insert("loop_label".to_owned(), label.trim().into());
            Ok(Outcome::Done {
                output,
                branch: None,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::activities::native::testing::{context, done, evaluator, node};

    async fn rounds(node_type: &str, config: Value) -> Result<Rounds, String> {
        let activity = Loop {
            expressions: evaluator(),
        };
        let context = context(json!({"items": [1, 2], "n": 3}));
        match activity.run(&node(node_type, config), &context).await {
            Ok(Outcome::Iterate(rounds)) => Ok(rounds),
            Err(failure) => Err(failure.message),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_list_comes_from_an_expression_or_stands_there() {
        let items = Ok(Rounds::Items(vec![json!(1), json!(2)]));
        assert_eq!(
            rounds("loop", json!({"array_expression": "input.items"})).await,
            items
        );
        assert_eq!(
            rounds("for", json!({"array_expression": [1, 2]})).await,
            items
        );
        assert_eq!(
            rounds(
                "loop",
                json!({"loop_type": "for", "array_expression": "['a']"})
            )
            .await,
            Ok(Rounds::Items(vec![json!("a")]))
        );
        assert_eq!(
            rounds("for", json!({"array_expression": "n"})).await,
            Err("array_expression is 3; it must be a list".to_owned())
        );
        assert_eq!(
            rounds("for", json!({})).await,
            Err(
                "array_expression is required: the list to go through, such as input.items"
                    .to_owned()
            )
        );
    }

    #[tokio::test]
    async fn a_count_may_be_a_text_and_must_be_whole() {
        assert_eq!(
            rounds("repeat", json!({"repeat_count": "3"})).await,
            Ok(Rounds::Times(3))
        );
        assert_eq!(
            rounds("loop", json!({"repeat_count": 0})).await,
            Ok(Rounds::Times(0))
        );
        for (count, error) in [
            (json!(1.5), "repeat_count is 1.5; it must be a whole number"),
            (
                json!(-1),
                "repeat_count is -1; it must be a number from 0 to 1000000",
            ),
            (
                json!(null),
                "repeat_count is required: how often the body runs",
            ),
        ] {
            assert_eq!(
                rounds("repeat", json!({"repeat_count": count})).await,
                Err(error.to_owned())
            );
        }
    }

    #[tokio::test]
    async fn a_condition_is_looked_at_for_another_round() {
        assert_eq!(
            rounds("while", json!({"condition_expression": "n < 4"})).await,
            Ok(Rounds::Next(true))
        );
        assert_eq!(
            rounds("loop", json!({"condition_expression": "n > 4"})).await,
            Ok(Rounds::Next(false))
        );
        let error = rounds("while", json!({"condition_expression": "n <"}))
            .await
            .unwrap_err();
        assert!(
            error.starts_with("condition_expression \"n <\": "),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_a_loop_runs_for_must_be_said() {
        assert_eq!(
            rounds("loop", json!({})).await,
            Err("array_expression, condition_expression or repeat_count is required: what the loop runs for".to_owned())
        );
        assert_eq!(
            rounds("loop", json!({"loop_type": "until"})).await,
            Err("loop_type is \"until\"; it must be one of for, while, repeat".to_owned())
        );
    }

    #[tokio::test]
    async fn a_break_names_its_loop() {
        let found = LeaveLoop
            .run(
                &node("break", json!({"loop_label": " rows "})),
                &context(json!({})),
            )
            .await;
        assert_eq!(done(found).0, json!({"loop_label": "rows"}));
    }
}
