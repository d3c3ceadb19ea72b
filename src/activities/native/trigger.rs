//! `trigger`: the entry of a workflow. Its output is what the execution was started with, without the outputs of
//! other nodes, so that it does not double the state.

use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Node, Outcome, Running, Spec};

/// Passes the trigger data on.
#[derive(Clone, Copy, Debug)]
pub struct Trigger;

static SPEC: Spec = Spec {
    about: "Passes the trigger data on.",
    keys: &[
        Key::new(
            "trigger_type",
            Holds::Choice(&["manual", "webhook", "schedule"]),
            "for the platform; the worker does not read it",
        ),
        Key::new("cron_expression", Holds::Text, "for the platform"),
        Key::new("webhook_method", Holds::Text, "for the platform"),
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

impl Activity for Trigger {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run<'a>(&'a self, _node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            Ok(Outcome::Done {
                output: (*context.trigger_data).clone(),
                branch: None,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::testing::{context, done, object, run};
    use super::*;

    #[tokio::test]
    async fn the_output_is_the_trigger_data_without_the_outputs_of_others() {
        let mut context = context(json!({"id": 7, "n0_output": {"body": "hi"}}));
        context.trigger_data = Arc::new(object(json!({"id": 7, "branch": "x"})));
        let (output, branch) = done(run(&Trigger, json!({}), &context).await);
        assert_eq!(output, json!({"id": 7, "branch": "x"}));
        assert_eq!(branch, None);
    }
}
