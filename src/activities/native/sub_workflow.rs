//! `sub_workflow`: starts an execution of another workflow, and may wait for its end.
//!
//! The child is inserted in the commit that records this node's start, under an id that follows from the node's
//! idempotency key: a repeated attempt starts no second one.

use serde_json::Value;
use uuid::Uuid;

use super::approval::after;
use super::config;
use super::evaluator::{Evaluator, scope};
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{
    Activity, ChildStart, Context, Failure, Node, Object, Outcome, Running, Spec,
};
use crate::expr::Language;
use crate::host::state_json::DEBUG_MODE;
use crate::ids;

/// How long a child is waited for unless the node says otherwise: an hour.
const DEFAULT_SECONDS: f64 = 3_600.0;
/// The longest wait: ten years.
const LONGEST_SECONDS: f64 = 315_360_000.0;

static SPEC: Spec = Spec {
    about: "Starts an execution of another workflow, and may wait for its end.",
    keys: &[
        Key::new("workflow_id", Holds::Text, "the workflow's UUID")
            .or(&["sub_workflow_id"])
            .required(),
        Key::new(
            "input_data",
            Holds::Object,
            "the child's execution_data; default: all data of this execution",
        ),
        Key::new(
            "input_mapping",
            Holds::Expression,
            "object: key of the child's data → expression over this execution's",
        ),
        Key::new(
            "output_mapping",
            Holds::Object,
            "object: member of this node's output → path into the child's data, such as last_output.body",
        ),
        Key::new("wait_for_completion", Holds::Flag, "default false"),
        Key::new(
            "timeout_seconds",
            Holds::Number,
            "with wait_for_completion: then the child is terminated, and the branch timeout is taken if an edge has it, else the node fails; default 3600",
        ),
    ],
    branches: &["timeout"],
    timeout: Timeout::Own,
    acts: true,
};

/// Starts an execution of another workflow.
#[derive(Clone, Debug)]
pub struct SubWorkflow {
    /// Evaluates `input_mapping`.
    pub expressions: Evaluator,
    /// `WORKFLOW_MAX_SUB_WORKFLOW_DEPTH`.
    pub max_depth: u32,
}

impl Activity for SubWorkflow {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, node: &Node) -> Result<(), Failure> {
        workflow_id(node)?;
        config::number(&node.config, "timeout_seconds", 0.0, LONGEST_SECONDS).map(drop)
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(self.start(node, context))
    }
}

impl SubWorkflow {
    async fn start(&self, node: &Node, context: &Context) -> Result<Outcome, Failure> {
        let workflow_id = workflow_id(node)?;
        let depth = context.depth.saturating_add(1);
        if depth > self.max_depth {
            return Err(Failure::permanent(format!(
                "sub-workflows may be {} deep at most (WORKFLOW_MAX_SUB_WORKFLOW_DEPTH); this one would be {depth} deep",
                self.max_depth
            )));
        }
        let waits = flag(node, "wait_for_completion")?;
        let seconds = config::number(&node.config, "timeout_seconds", 0.0, LONGEST_SECONDS)?
            .unwrap_or(DEFAULT_SECONDS);
        config::object(&node.config, "output_mapping")?;
        let id = ids::derived_uuid(&format!(
            "child:{}:{}",
            context.idempotency_key, context.attempt
        ));
        let simple = id.simple().to_string();
        // Of a UUID version 8 the last digits are the hash alone.
        let name = format!("exec-{}", simple.get(20..).unwrap_or(&simple));
        let mut output = Object::new();
        output.insert("sub_workflow_id".to_owned(), workflow_id.to_string().into());
        output.insert("sub_execution_id".to_owned(), name.as_str().into());
        output.insert("sub_execution_uuid".to_owned(), id.to_string().into());
        output.insert("status".to_owned(), "started".into());
        Ok(Outcome::StartChild {
            child: ChildStart {
                id,
                name,
                workflow_id,
                input: self.input(node, context).await?,
            },
            output,
            waits,
            until: if waits {
                after(context.now, seconds)
            } else {
                None
            },
        })
    }

    async fn input(&self, node: &Node, context: &Context) -> Result<Object, Failure> {
        let mut input = match config::value(&node.config, "input_data") {
            None if config::value(&node.config, "input_mapping").is_some() => Object::new(),
            // Who debugs an execution steps through that one alone.
            None => {
                let mut data = (*context.data).clone();
                data.remove(DEBUG_MODE);
                data
            }
            Some(Value::Object(input)) => input.clone(),
            Some(other) => return Err(config::wrong("input_data", other, "an object")),
        };
        let mapping = config::object(&node.config, "input_mapping")?;
        for (key, expression) in mapping.into_iter().flatten() {
            let Value::String(source) = expression else {
                let key = format!("input_mapping.{key}");
                return Err(config::wrong(&key, expression, "an expression, as a text"));
            };
            let label = format!("input_mapping.{key}");
            let value = self
                .expressions
                .evaluate(&label, Language::JavaScript, source, scope(node, context))
                .await?;
            input.insert(key.clone(), value);
        }
        Ok(input)
    }
}

/// The workflow to start.
///
/// # Errors
/// A permanent failure if it is not set or no UUID.
pub fn workflow_id(node: &Node) -> Result<Uuid, Failure> {
    let Some((key, value)) = config::first_of(&node.config, &["workflow_id", "sub_workflow_id"])
    else {
        return Err(Failure::permanent(
            "workflow_id is required: the UUID of the workflow to start",
        ));
    };
    value
        .as_str()
        .and_then(|text| Uuid::parse_str(text.trim()).ok())
        .ok_or_else(|| config::wrong(key, value, "a UUID"))
}

fn flag(node: &Node, key: &str) -> Result<bool, Failure> {
    match config::value(&node.config, key) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(config::wrong(key, other, "true or false")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{context, evaluator, run};
    use super::*;

    const ID: &str = "15e7c5ff-7849-42ca-8ab4-c07979e1ec3f";

    fn sub_workflow() -> SubWorkflow {
        SubWorkflow {
            expressions: evaluator(),
            max_depth: 2,
        }
    }

    async fn started(config: Value) -> (ChildStart, bool, Option<ids::Timestamp>) {
        let context = context(json!({"p": 1, "items": [1, 2]}));
        match run(&sub_workflow(), config, &context).await {
            Ok(Outcome::StartChild {
                child,
                waits,
                until,
                ..
            }) => (child, waits, until),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_child_gets_the_data_or_what_is_given_or_mapped() {
        let (child, waits, until) = started(json!({"workflow_id": ID})).await;
        assert_eq!(Value::Object(child.input), json!({"p": 1, "items": [1, 2]}));
        assert_eq!((waits, until), (false, None));
        assert!(
            child.name.starts_with("exec-") && child.name.len() == 17,
            "{}",
            child.name
        );
        let (child, waits, until) = started(json!({
            "sub_workflow_id": ID, "input_data": {"a": 1}, "input_mapping": {"n": "items.length"},
            "wait_for_completion": "true", "timeout_seconds": 5
        }))
        .await;
        assert_eq!(Value::Object(child.input), json!({"a": 1, "n": 2}));
        assert!(waits && until.is_some());
    }

    #[tokio::test]
    async fn the_same_visit_starts_the_same_child_and_another_attempt_another() {
        let (one, ..) = started(json!({"workflow_id": ID})).await;
        let (again, ..) = started(json!({"workflow_id": ID})).await;
        assert_eq!(one.id, again.id);
        let mut retry = context(json!({}));
        retry.attempt = 2;
        let Ok(Outcome::StartChild { child, .. }) =
            run(&sub_workflow(), json!({"workflow_id": ID}), &retry).await
        else {
            panic!("it starts nothing");
        };
        assert_ne!(one.id, child.id);
    }

    #[tokio::test]
    async fn what_is_wrong_is_named() {
        for (config, error) in [
            (
                json!({}),
                "workflow_id is required: the UUID of the workflow to start",
            ),
            (
                json!({"workflow_id": "x"}),
                "workflow_id is \"x\"; it must be a UUID",
            ),
            (
                json!({"workflow_id": ID, "input_data": [1]}),
                "input_data is [1]; it must be an object",
            ),
            (
                json!({"workflow_id": ID, "wait_for_completion": 1}),
                "wait_for_completion is 1; it must be true or false",
            ),
            (
                json!({"workflow_id": ID, "output_mapping": "x"}),
                "output_mapping is \"x\"; it must be an object",
            ),
        ] {
            let failure = run(&sub_workflow(), config, &context(json!({})))
                .await
                .unwrap_err();
            assert_eq!(failure.message, error);
        }
        let mut deep = context(json!({}));
        deep.depth = 2;
        let failure = run(&sub_workflow(), json!({"workflow_id": ID}), &deep)
            .await
            .unwrap_err();
        assert_eq!(
            failure.message,
            "sub-workflows may be 2 deep at most (WORKFLOW_MAX_SUB_WORKFLOW_DEPTH); this one would be 3 deep"
        );
    }
}
