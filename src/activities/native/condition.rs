//! `condition`, `if`: which of two ways to go.
//!
//! The expression stands in `expression` (or `condition`), its language in `condition_type`. What counts as true is
//! the language's own idea, see [`crate::expr::is_truthy`]. An expression that fails is a failure of the node, in
//! each language: the old worker took some of them for false, and nobody saw why a branch never ran.

use super::evaluator::{Evaluator, Expression};
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Object, Outcome, Running, Spec};

/// Evaluates a condition and chooses the branch `true` or `false`.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Evaluates it.
    pub expressions: Evaluator,
}

static SPEC: Spec = Spec {
    about: "Takes the branch \"true\" or \"false\".",
    keys: &[
        Key::new("expression", Holds::Expression, "what is to hold")
            .or(&["condition"])
            .required(),
        Key::new(
            "condition_type",
            Holds::Choice(&["javascript", "python", "jsonpath"]),
            "the expression's language; default javascript",
        ),
    ],
    branches: &["true", "false"],
    timeout: Timeout::Node,
    acts: false,
};

impl Activity for Condition {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let expression = Expression::read(node, &["expression", "condition"])?
                .ok_or_else(|| Failure::permanent("condition expression is required"))?;
            let holds = expression.test(&self.expressions, node, context).await?;
            let branch = if holds { "true" } else { "false" };
            let mut output = Object::new();
            output.insert("condition_result".to_owned(), holds.into());
            output.insert("branch".to_owned(), branch.into());
            output.insert("condition_expr".to_owned(), expression.source.into());
            Ok(Outcome::Done {
                output,
                branch: Some(branch.to_owned()),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{context, done, evaluator, run};
    use super::*;

    async fn decide(config: Value) -> Result<Outcome, Failure> {
        let activity = Condition {
            expressions: evaluator(),
        };
        run(
            &activity,
            config,
            &context(json!({"value": 12, "name": "Ann", "list": []})),
        )
        .await
    }

    #[tokio::test]
    async fn the_builders_example_chooses_a_branch() {
        let (output, branch) = done(decide(json!({"expression": "input.value > 10"})).await);
        assert_eq!(
            output,
            json!({"condition_result": true, "branch": "true", "condition_expr": "input.value > 10"})
        );
        assert_eq!(branch.as_deref(), Some("true"));
        let (_, branch) = done(decide(json!({"expression": "input.value > 100"})).await);
        assert_eq!(branch.as_deref(), Some("false"));
    }

    #[tokio::test]
    async fn the_old_key_and_the_old_placeholders_still_work() {
        let (_, branch) =
            done(decide(json!({"condition": "'${data.name}' == 'Ann' && ${value} > 5"})).await);
        assert_eq!(branch.as_deref(), Some("true"));
    }

    #[tokio::test]
    async fn delimiters_of_a_template_around_the_whole_are_left_out() {
        let (output, branch) = done(decide(json!({"expression": "{{ input.value > 10 }}"})).await);
        assert_eq!(branch.as_deref(), Some("true"));
        assert_eq!(output["condition_expr"], "input.value > 10");
    }

    #[tokio::test]
    async fn each_language_has_its_own_idea_of_truth() {
        for (language, source, expected) in [
            ("javascript", "list", "true"),
            ("jsonpath", "$.nothing", "false"),
        ] {
            let config = json!({"expression": source, "condition_type": language});
            assert_eq!(
                done(decide(config).await).1.as_deref(),
                Some(expected),
                "{language}"
            );
        }
    }

    #[tokio::test]
    async fn nothing_to_decide_is_a_permanent_failure() {
        for config in [
            json!({}),
            json!({"expression": null}),
            json!({"expression": " "}),
        ] {
            let failure = decide(config).await.unwrap_err();
            assert_eq!(
                failure,
                Failure::permanent("condition expression is required")
            );
        }
    }

    #[tokio::test]
    async fn a_bad_expression_fails_in_every_language() {
        for (language, source) in [("javascript", "1 +"), ("jsonpath", "name")] {
            let failure = decide(json!({"expression": source, "condition_type": language}))
                .await
                .unwrap_err();
            assert!(
                failure
                    .message
                    .starts_with(&format!("expression \"{source}\": ")),
                "{}",
                failure.message
            );
        }
        let failure = decide(json!({"expression": "1", "condition_type": "perl"}))
            .await
            .unwrap_err();
        assert_eq!(
            failure.message,
            "condition_type: unknown language \"perl\"; allowed are javascript, python, jsonpath"
        );
        let failure = decide(json!({"expression": ["1"]})).await.unwrap_err();
        assert_eq!(
            failure.message,
            "expression is [\"1\"]; it must be an expression, as a text"
        );
    }
}
