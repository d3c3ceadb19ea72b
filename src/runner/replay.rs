//! How a replay begins: on the graph of today, with what the original was started with, and, if it begins at a node, with
//! what the nodes that do not run again have done.
//!
//! Those are all but that node and what may follow it. Their steps are copied, so that a replay needs nothing of its
//! original after its first record; of an original whose steps are not there (another worker ran it, or they are too old
//! to be kept) the published view is taken over.

use super::graphs::StoredGraph;
use super::restore::Obstacle;
use super::session::Session;
use crate::engine::Step;
use crate::host::state_json::{self, DEBUG_MODE, HostState, View, replay_marker};
use crate::ids::NodeId;
use crate::store::claim::{HostRow, RecordedStep, Replay};
use crate::store::replay::OriginalRow;

/// What a replay begins with: the view, and the steps that are copied into its own record.
pub(super) async fn begin(
    session: &Session,
    (host, own): (&HostRow, &HostState),
    graph: &StoredGraph,
    replay: &Replay,
) -> Result<(View, Vec<Step>), Obstacle> {
    let original = original(session, host, replay).await?;
    if let Some(node) = &replay.from {
        check_start(graph, node)?;
    }
    let state = state_json::read(original.execution_state.as_deref()).map_err(|error| {
        Obstacle::Broken(format!(
            "execution {} cannot be replayed: {error}",
            original.execution_name
        ))
    })?;
    let store = &session.tools.store;
    let (mut input, mut steps) = (None, Vec::new());
    for recorded in store.load_steps(replay.original).await? {
        match recorded {
            RecordedStep::Input(data) => input = Some(data),
            RecordedStep::Step(step) => steps.push(step),
        }
    }
    if input.is_none() && !replay_marker(&state.execution_data).is_empty() {
        return Err(Obstacle::Broken(format!(
            "execution {} cannot be replayed: it is itself a replay that has not begun; replay its original",
            original.execution_name
        )));
    }
    let mut trigger_data = input.unwrap_or_else(|| state.trigger_data(&graph.graph));
    trigger_data.remove(DEBUG_MODE);
    // What stands beside the marker in the replay's own row was put there on purpose.
    let marker = replay_marker(&own.execution_data);
    if !marker.is_empty() {
        let beside = own.execution_data.iter();
        let beside = beside.filter(|(key, _)| !marker.contains(&key.as_str()));
        trigger_data.extend(beside.map(|(key, value)| (key.clone(), value.clone())));
    }
    let mut view = View::new(&session.identity(host), trigger_data);
    let Some(node) = &replay.from else {
        return Ok((view, Vec::new()));
    };
    let again = graph.graph.from_on(node);
    view.adopt(&state.without(&again));
    let kept = steps.into_iter().filter(|step| !again.contains(&step.node));
    let copied: Vec<Step> = (1..)
        .zip(kept)
        .map(|(seq, step)| Step { seq, ..step })
        .collect();
    for step in &copied {
        view.apply(step);
    }
    Ok((view, copied))
}

async fn original(
    session: &Session,
    host: &HostRow,
    replay: &Replay,
) -> Result<OriginalRow, Obstacle> {
    let id = replay.original;
    let Some(row) = session.tools.store.load_original(id).await? else {
        return Err(Obstacle::Broken(format!(
            "original_execution_id is {id}; there is no such execution to replay"
        )));
    };
    if row.workflow_id == host.workflow_id {
        return Ok(row);
    }
    Err(Obstacle::Broken(format!(
        "original_execution_id is {id}; that execution is of workflow {}, and this one of workflow {}: a replay must be of \
         the same workflow",
        row.workflow_id, host.workflow_id
    )))
}

fn check_start(graph: &StoredGraph, node: &NodeId) -> Result<(), Obstacle> {
    let wrong = |what: String| {
        Err(Obstacle::Broken(format!(
            "replay_from_node is \"{node}\"; {what}"
        )))
    };
    if graph.graph.node(node).is_none() {
        return wrong(
            "the workflow, as it is now, has no such node (a replay runs the workflow of today)"
                .to_owned(),
        );
    }
    match graph.graph.holder_of(node) {
        Some(holder) => wrong(format!(
            "that node stands inside \"{}\" ({}), and cannot run outside of it: begin at \"{}\" or at a node that stands \
             in no loop and no try",
            holder.id, holder.node_type, holder.id
        )),
        None => Ok(()),
    }
}
