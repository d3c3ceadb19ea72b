//! Carries out one `RunNode`: finds the activity, gives it its context, bounds it, and turns what comes back into an
//! event for the engine.
//!
//! A panic in an activity is caught here and nowhere else; it fails the node, not the worker.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::activities::registry::Registry;
use crate::activities::{Context, Failure, Node, Outcome};
use crate::engine::{Event, FailureKind, NodeResult, TokenId};
use crate::ids::Timestamp;

/// One node to be run.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) token: TokenId,
    pub(super) node: Node,
    pub(super) context: Context,
    /// `WORKFLOW_NODE_TIMEOUT_SECONDS`.
    pub(super) limit: Duration,
}

/// Runs a node to its end, and says how it ended.
pub(super) async fn perform(registry: Arc<Registry>, call: Call) -> Event {
    let Call {
        token,
        node,
        context,
        limit,
    } = call;
    let started_at: Timestamp = context.now;
    let cancelled: CancellationToken = context.cancelled.clone();
    let result = match registry.get(&node.node_type) {
        None => Err(Failure::permanent(registry.unknown_type(&node.node_type))),
        Some(activity) => {
            let node_type = Arc::clone(&node.node_type);
            let work = async {
                let node = registry.fill(&*activity, node, &context).await?;
                activity.run(&node, &context).await
            };
            match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(Failure::permanent(format!(
                    "internal error in {node_type}: {}",
                    panic_text(&*panic)
                ))),
                Err(_elapsed) => {
                    // Dropping the future has cancelled what it awaited; this tells what it may have set going.
                    cancelled.cancel();
                    return timed_out(token, started_at, limit);
                }
            }
        }
    };
    Event::NodeFinished {
        token,
        result: into_result(result),
        started_at,
    }
}

fn timed_out(token: TokenId, started_at: Timestamp, limit: Duration) -> Event {
    Event::NodeFinished {
        token,
        started_at,
        result: NodeResult::Failure {
            kind: FailureKind::TimedOut,
            message: format!("timed out after {} seconds", limit.as_secs_f64()),
            output: serde_json::Map::new(),
        },
    }
}

fn into_result(result: Result<Outcome, Failure>) -> NodeResult {
    match result {
        Ok(Outcome::Done { output, branch }) => NodeResult::Success { output, branch },
        Ok(Outcome::SleepUntil { at, output }) => NodeResult::SleepUntil { at, output },
        Ok(Outcome::RecheckAt { at }) => NodeResult::RecheckAt { at },
        Ok(Outcome::Iterate(_) | Outcome::AwaitSignal { .. } | Outcome::StartChild { .. }) => {
            NodeResult::Failure {
                kind: FailureKind::Permanent,
                message: "this node type does not run yet".to_owned(),
                output: serde_json::Map::new(),
            }
        }
        Err(Failure {
            kind,
            message,
            output,
            error_type: _,
            retry_after: _,
        }) => NodeResult::Failure {
            kind,
            message,
            output,
        },
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
