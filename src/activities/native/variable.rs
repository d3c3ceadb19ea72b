//! `set_variable`, `get_variable`.
//!
//! Setting reports name, value and scope; whoever keeps the execution's state takes the variable from that output.
//! The value is used as it is: a text that looks like an expression stays a text.

use serde_json::Value;

use super::config;
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Object, Outcome, Running, Spec};
use crate::expr::scope::VARIABLE_SCOPES;

/// The longest name, in characters.
const LONGEST_NAME: usize = 255;

/// Sets a variable.
#[derive(Clone, Copy, Debug)]
pub struct SetVariable;

static SET: Spec = Spec {
    about: "Sets a variable, which later expressions and templates read by its name.",
    keys: &[
        Key::new("variable_name", Holds::Text, "at most 255 characters").required(),
        Key::new("variable_value", Holds::Any, "the value; default null"),
        Key::new(
            "variable_scope",
            Holds::Choice(&["workflow", "node", "loop"]),
            "default workflow; loop: gone when the loop has ended",
        ),
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

impl Activity for SetVariable {
    fn spec(&self) -> &'static Spec {
        &SET
    }

    fn check(&self, node: &Node) -> Result<(), Failure> {
        name(&node.config)?;
        scope(&node.config).map(drop)
    }

    fn run<'a>(&'a self, node: &'a Node, _context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let name = name(&node.config)?;
            let scope = scope(&node.config)?.unwrap_or("workflow");
            let value = node
                .config
                .get("variable_value")
                .cloned()
                .unwrap_or_default();
            Ok(output(name, value, Some(scope)))
        })
    }
}

/// Reads a variable: from `variable_scope` if that is set, else from the nearest scope that has it. `scope` in the
/// output is where it was found; if it was not, the one that was asked for, or `null`.
#[derive(Clone, Copy, Debug)]
pub struct GetVariable;

static GET: Spec = Spec {
    about: "Reads a variable.",
    keys: &[
        Key::new("variable_name", Holds::Text, "at most 255 characters").required(),
        Key::new(
            "default_value",
            Holds::Any,
            "the value if it is not set; default null",
        ),
        Key::new(
            "variable_scope",
            Holds::Choice(&["workflow", "node", "loop"]),
            "default: the nearest that has it",
        ),
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

impl Activity for GetVariable {
    fn spec(&self) -> &'static Spec {
        &GET
    }

    fn check(&self, node: &Node) -> Result<(), Failure> {
        name(&node.config)?;
        scope(&node.config).map(drop)
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let name = name(&node.config)?;
            let asked = scope(&node.config)?;
            let found = VARIABLE_SCOPES
                .iter()
                .filter(|scope| asked.is_none_or(|asked| asked == **scope))
                .find_map(|scope| Some((*scope, context.variables.get(*scope)?.get(name)?)));
            Ok(match found {
                Some((scope, value)) => output(name, value.clone(), Some(scope)),
                None => output(
                    name,
                    node.config
                        .get("default_value")
                        .cloned()
                        .unwrap_or_default(),
                    asked,
                ),
            })
        })
    }
}

fn output(name: &str, value: Value, scope: Option<&str>) -> Outcome {
    let mut output = Object::new();
    output.insert("variable_name".to_owned(), name.into());
    output.insert("value".to_owned(), value);
    output.insert("scope".to_owned(), scope.into());
    Outcome::Done {
        output,
        branch: None,
    }
}

fn name(config: &Object) -> Result<&str, Failure> {
    let name = config::text(config, "variable_name")?
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Failure::permanent("variable_name is required"))?;
    let length = name.chars().count();
    if length > LONGEST_NAME {
        return Err(Failure::permanent(format!(
            "variable_name has {length} characters; at most {LONGEST_NAME} are allowed"
        )));
    }
    Ok(name)
}

fn scope(config: &Object) -> Result<Option<&str>, Failure> {
    match config::text(config, "variable_scope")? {
        Some(scope) if !VARIABLE_SCOPES.contains(&scope) => Err(config::wrong(
            "variable_scope",
            &scope.into(),
            "workflow, node or loop",
        )),
        scope => Ok(scope),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::testing::{context, done, object, run};
    use super::*;

    fn with_variables() -> Context {
        let mut context = context(json!({}));
        context.variables = Arc::new(object(json!({
            "workflow": {"a": 1, "only": null}, "node": {"a": 2}, "loop": {"a": 3}
        })));
        context
    }

    #[tokio::test]
    async fn a_variable_is_set_as_it_is_in_the_workflow_unless_told_otherwise() {
        let config = json!({"variable_name": "a", "variable_value": {"x": ["input.y"]}});
        let (output, _) = done(run(&SetVariable, config, &context(json!({}))).await);
        assert_eq!(
            output,
            json!({"variable_name": "a", "value": {"x": ["input.y"]}, "scope": "workflow"})
        );
        let config = json!({"variable_name": "a", "variable_scope": "loop"});
        let (output, _) = done(run(&SetVariable, config, &context(json!({}))).await);
        assert_eq!(
            output,
            json!({"variable_name": "a", "value": null, "scope": "loop"})
        );
    }

    #[tokio::test]
    async fn the_nearest_scope_wins_unless_one_is_named() {
        for (config, expected) in [
            (
                json!({"variable_name": "a"}),
                json!({"variable_name": "a", "value": 3, "scope": "loop"}),
            ),
            (
                json!({"variable_name": "a", "variable_scope": "workflow"}),
                json!({"variable_name": "a", "value": 1, "scope": "workflow"}),
            ),
            (
                json!({"variable_name": "only", "default_value": 9}),
                json!({"variable_name": "only", "value": null, "scope": "workflow"}),
            ),
            (
                json!({"variable_name": "only", "default_value": 9, "variable_scope": "node"}),
                json!({"variable_name": "only", "value": 9, "scope": "node"}),
            ),
            (
                json!({"variable_name": "b"}),
                json!({"variable_name": "b", "value": null, "scope": null}),
            ),
        ] {
            assert_eq!(
                done(run(&GetVariable, config, &with_variables()).await).0,
                expected
            );
        }
    }

    #[tokio::test]
    async fn a_bad_name_or_scope_is_named() {
        let long = "x".repeat(256);
        for (config, expected) in [
            (json!({}), "variable_name is required"),
            (json!({"variable_name": " "}), "variable_name is required"),
            (
                json!({"variable_name": 5}),
                "variable_name is 5; it must be a text",
            ),
            (
                json!({"variable_name": long}),
                "variable_name has 256 characters; at most 255 are allowed",
            ),
            (
                json!({"variable_name": "a", "variable_scope": "global"}),
                "variable_scope is \"global\"; it must be workflow, node or loop",
            ),
        ] {
            let failure = run(&SetVariable, config, &context(json!({})))
                .await
                .unwrap_err();
            assert_eq!(failure, Failure::permanent(expected));
        }
    }
}
