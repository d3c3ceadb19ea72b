//! What the tests of the activities share.

use std::sync::Arc;

use serde_json::Value;

use super::evaluator::Evaluator;
use crate::activities::{Activity, Context, Failure, Node, Object, Outcome};
use crate::expr::Limits;
use crate::ids::{ExecutionId, NodeId};

pub(in crate::activities) fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is not an object"),
    }
}

pub(in crate::activities) fn node(node_type: &str, config: Value) -> Node {
    Node {
        id: NodeId::from("n1"),
        node_type: Arc::from(node_type),
        config: Arc::new(object(config)),
    }
}

pub(in crate::activities) fn context(data: Value) -> Context {
    Context {
        execution_id: ExecutionId(uuid::Uuid::nil()),
        visit: 1,
        attempt: 1,
        idempotency_key: "00000000:n1:1".to_owned(),
        data: Arc::new(object(data)),
        trigger_data: Arc::default(),
        variables: Arc::default(),
        locals: Arc::default(),
        round: 0,
        depth: 0,
        now: "2026-01-05T12:00:00Z".parse().unwrap(),
        waiting_since: None,
        cancelled: tokio_util::sync::CancellationToken::new(),
    }
}

pub(in crate::activities) fn evaluator() -> Evaluator {
    Evaluator::new(Limits::default(), 2)
}

/// Runs an activity once.
pub(in crate::activities) async fn run(
    activity: &dyn Activity,
    config: Value,
    context: &Context,
) -> Result<Outcome, Failure> {
    activity.run(&node("test", config), context).await
}

/// The output and the branch of an activity that is done.
pub(in crate::activities) fn done(result: Result<Outcome, Failure>) -> (Value, Option<String>) {
    match result {
        Ok(Outcome::Done { output, branch }) => (Value::Object(output), branch),
        other => panic!("not done: {other:?}"),
    }
}
