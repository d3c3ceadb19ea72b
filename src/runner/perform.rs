//! Carries out one `RunNode`: finds the activity, gives it its context, bounds it, and turns what comes back into an
//! event for the engine.
//!
//! A panic in an activity is caught here and nowhere else; it fails the node, not the worker.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::activities::registry::Registry;
use crate::activities::spec::Timeout;
use crate::activities::{Context, Failure, Node, Outcome};
use crate::engine::{Awaited, ChildStart, Event, FailureKind, NodeOptions, NodeResult, TokenId};
use crate::ids;

/// What an activity with a limit of its own may take beyond it, to tell how it ended.
const OVERTIME: Duration = Duration::from_secs(30);

/// One node to be run.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) token: TokenId,
    pub(super) node: Node,
    pub(super) context: Context,
    /// `WORKFLOW_NODE_TIMEOUT_SECONDS`.
    pub(super) limit: Duration,
}

/// How a node ended.
#[derive(Debug)]
pub(super) struct Performed {
    /// For the engine.
    pub(super) event: Event,
    /// An execution to start in the commit that records this, and whether the node waits for it.
    pub(super) child: Option<(ChildStart, bool)>,
}

/// Runs a node to its end, and says how it ended.
pub(super) async fn perform(registry: Arc<Registry>, call: Call) -> Performed {
    let (token, started_at) = (call.token, call.context.now);
    let (result, child) = match attempt(&registry, &call).await {
        Ok(outcome) => into_result(outcome, &call),
        Err(failure) => (failed(failure), None),
    };
    let event = Event::NodeFinished {
        token,
        result,
        started_at,
    };
    Performed { event, child }
}

async fn attempt(registry: &Registry, call: &Call) -> Result<Outcome, Failure> {
    let Call { node, context, .. } = call;
    let activity = registry
        .get(&node.node_type)
        .ok_or_else(|| Failure::permanent(registry.unknown_type(&node.node_type)))?;
    let options = NodeOptions::read(&node.config).map_err(Failure::permanent)?;
    let limit = match activity.spec().timeout {
        Timeout::Node if options.timeout.is_some_and(|limit| limit.is_zero()) => {
            return Err(Failure::permanent(
                "timeout_seconds is 0; it must be more than 0",
            ));
        }
        Timeout::Node => options.timeout.unwrap_or(call.limit),
        // The activity keeps its own limit; this one only catches an activity that does not.
        Timeout::Own => options.timeout.map_or(call.limit, |own| {
            call.limit.max(own.saturating_add(OVERTIME))
        }),
    };
    let work = async {
        let node = registry.fill(&*activity, node.clone(), context).await?;
        activity.run(&node, context).await
    };
    let work = AssertUnwindSafe(work).catch_unwind();
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(Failure::permanent(format!(
            "internal error in {}: {}",
            node.node_type,
            panic_text(&*panic)
        ))),
        Err(_elapsed) => {
            // Dropping the future has cancelled what it awaited; this tells what it may have set going.
            context.cancelled.cancel();
            let mut failure =
                Failure::retryable(format!("timed out after {} seconds", limit.as_secs_f64()))
                    .of_type("TimeoutError");
            failure.kind = FailureKind::TimedOut;
            Err(failure)
        }
    }
}

fn failed(failure: Failure) -> NodeResult {
    NodeResult::Failure {
        kind: failure.kind,
        message: failure.message,
        output: failure.output,
        error_type: (&*failure.error_type).into(),
        retry_after: failure.retry_after,
    }
}

fn into_result(outcome: Outcome, call: &Call) -> (NodeResult, Option<(ChildStart, bool)>) {
    let result = match outcome {
        Outcome::Done { output, branch } => NodeResult::Success { output, branch },
        Outcome::SleepUntil { at, output } => NodeResult::SleepUntil { at, output },
        Outcome::RecheckAt { at } => NodeResult::RecheckAt { at },
        Outcome::Iterate(rounds) => NodeResult::Iterate(rounds),
        Outcome::AwaitSignal { wait, until } => NodeResult::Await {
            wait: Awaited::Signal {
                wait,
                request_id: ids::derived_uuid(&format!(
                    "request:{}:{}",
                    call.context.idempotency_key, call.context.attempt
                )),
            },
            until,
        },
        Outcome::StartChild {
            child,
            output,
            waits,
            until,
        } => {
            let wait = Awaited::Child {
                id: child.id,
                name: child.name.clone(),
                output: output.clone(),
            };
            let result = if waits {
                NodeResult::Await { wait, until }
            } else {
                let branch = None;
                NodeResult::Success { output, branch }
            };
            return (result, Some((child, waits)));
        }
    };
    (result, None)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
