//! `switch`: one of several ways.
//!
//! The expression stands in `switch_expression` (or `expression`), its language in `condition_type`. `cases` maps the
//! name of a branch to the value that chooses it. A case whose value is `null` or empty stands for its own name. The
//! first case, in the order they were written, that equals the value wins; without one the branch is `default`. The
//! case named `default` is never compared.
//!
//! Equal means: the same JSON; or one side is a text that reads as the other side, a number or a boolean, since form
//! fields hold texts.

use serde_json::Value;

use super::config;
use super::evaluator::{Evaluator, Expression};
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Object, Outcome, Running, Spec};

const DEFAULT: &str = "default";

/// Evaluates an expression and chooses the branch of the case that equals it.
#[derive(Clone, Debug)]
pub struct Switch {
    /// Evaluates it.
    pub expressions: Evaluator,
}

static SPEC: Spec = Spec {
    about: "Takes the branch of the first case that equals a value, else \"default\".",
    keys: &[
        Key::new(
            "switch_expression",
            Holds::Expression,
            "the value to compare",
        )
        .or(&["expression"])
        .required(),
        Key::new(
            "cases",
            Holds::Object,
            "branch → the value that chooses it; an empty value stands for the branch's name",
        ),
        Key::new(
            "condition_type",
            Holds::Choice(&["javascript", "python", "jsonpath"]),
            "the expression's language; default javascript",
        ),
    ],
    branches: &["*"],
    timeout: Timeout::Node,
    acts: false,
};

impl Activity for Switch {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let expression = Expression::read(node, &["switch_expression", "expression"])?
                .ok_or_else(|| Failure::permanent("switch_expression is required"))?;
            let cases = match config::value(&node.config, "cases") {
                None => None,
                Some(Value::Object(cases)) => Some(cases),
                Some(other) => {
                    return Err(config::wrong(
                        "cases",
                        other,
                        "an object {\"branch\": value, …}",
                    ));
                }
            };
            let value = expression.value(&self.expressions, node, context).await?;
            let branch = cases
                .into_iter()
                .flatten()
                .filter(|(name, _)| *name != DEFAULT)
                .find(|(name, case)| matches(&value, name, case))
                .map_or(DEFAULT, |(name, _)| name)
                .to_owned();
            let mut output = Object::new();
            output.insert("value".to_owned(), value);
            output.insert("branch".to_owned(), branch.as_str().into());
            Ok(Outcome::Done {
                output,
                branch: Some(branch),
            })
        })
    }
}

fn matches(value: &Value, name: &str, case: &Value) -> bool {
    if case.is_null() || case.as_str() == Some("") {
        return equal(value, &Value::from(name));
    }
    equal(value, case)
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || left.as_f64() == right.as_f64()
        }
        (Value::String(text), Value::Number(number))
        | (Value::Number(number), Value::String(text)) => {
            let parsed = text.trim().parse::<f64>().ok();
            parsed.is_some() && parsed == number.as_f64()
        }
        (Value::String(text), Value::Bool(flag)) | (Value::Bool(flag), Value::String(text)) => {
            text.trim().parse() == Ok(*flag)
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{context, done, evaluator, run};
    use super::*;

    async fn branch_of(kind: Value, cases: Value) -> Option<String> {
        let activity = Switch {
            expressions: evaluator(),
        };
        let config = json!({"switch_expression": "input.kind", "cases": cases});
        done(run(&activity, config, &context(json!({"kind": kind}))).await).1
    }

    #[tokio::test]
    async fn the_case_that_equals_the_value_names_the_branch() {
        let activity = Switch {
            expressions: evaluator(),
        };
        let config = json!({"switch_expression": "kind", "cases": {"big": "L", "small": "S", "default": null}});
        let (output, branch) = done(run(&activity, config, &context(json!({"kind": "S"}))).await);
        assert_eq!(output, json!({"value": "S", "branch": "small"}));
        assert_eq!(branch.as_deref(), Some("small"));
    }

    #[tokio::test]
    async fn without_a_match_the_branch_is_default() {
        for cases in [
            json!({"a": 1}),
            json!({}),
            json!(null),
            json!({"a": 1, "default": "zzz"}),
        ] {
            assert_eq!(
                branch_of(json!("zzz"), cases).await.as_deref(),
                Some("default")
            );
        }
    }

    #[tokio::test]
    async fn a_number_equals_its_text_and_an_empty_case_its_name() {
        assert_eq!(
            branch_of(json!(2), json!({"one": "1", "two": "2"}))
                .await
                .as_deref(),
            Some("two")
        );
        assert_eq!(
            branch_of(json!("2.0"), json!({"two": 2})).await.as_deref(),
            Some("two")
        );
        assert_eq!(
            branch_of(json!(true), json!({"yes": "true"}))
                .await
                .as_deref(),
            Some("yes")
        );
        assert_eq!(
            branch_of(json!("red"), json!({"blue": null, "red": ""}))
                .await
                .as_deref(),
            Some("red")
        );
        assert_eq!(
            branch_of(json!("nope"), json!({"zero": 0}))
                .await
                .as_deref(),
            Some("default")
        );
    }

    #[tokio::test]
    async fn the_first_of_two_equal_cases_wins() {
        assert_eq!(
            branch_of(json!(1), json!({"z": 1, "a": 1}))
                .await
                .as_deref(),
            Some("z")
        );
    }

    #[tokio::test]
    async fn a_switch_without_expression_or_with_a_list_of_cases_says_so() {
        let activity = Switch {
            expressions: evaluator(),
        };
        let failure = run(&activity, json!({"cases": {}}), &context(json!({})))
            .await
            .unwrap_err();
        assert_eq!(failure.message, "switch_expression is required");
        let config = json!({"switch_expression": "1", "cases": [1]});
        let failure = run(&activity, config, &context(json!({})))
            .await
            .unwrap_err();
        assert_eq!(
            failure.message,
            "cases is [1]; it must be an object {\"branch\": value, …}"
        );
    }
}
