//! Which edges a result takes.
//!
//! A node that decides names a branch: the edges of that branch and those without one are taken. A node that does
//! not decide takes all its edges, labelled or not. No edge taken means that the path ends here, which is no error.

use crate::engine::graph::{Graph, Place};

/// The branch of a wait that nobody has answered in time.
const ON_TIMEOUT: &str = "timeout";

/// Where tokens go from a node that nobody has answered in time: along the edges of that branch alone.
pub(super) fn on_timeout(graph: &Graph, place: Place) -> Vec<Place> {
    let mut targets = Vec::new();
    for edge in graph.outgoing(place) {
        if edge.branch.as_deref() == Some(ON_TIMEOUT) && !targets.contains(&edge.to) {
            targets.push(edge.to);
        }
    }
    targets
}

/// Where tokens go from `place`, in the order of the edges, each node once. Inside of a loop (`is_inside` says whether the
/// token runs in a round of that loop node) an edge back to it leads nowhere: the token has done its round.
pub(super) fn taken(
    graph: &Graph,
    place: Place,
    branch: Option<&str>,
    is_inside: impl Fn(Place) -> bool,
) -> Vec<Place> {
    let mut targets: Vec<Place> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for edge in graph.outgoing(place) {
        let is_taken = match (branch, edge.branch.as_deref()) {
            // Kept for those that nobody answers in time.
            (None, Some(ON_TIMEOUT)) => false,
            (Some(chosen), Some(label)) => chosen == label,
            (None, _) | (Some(_), None) => true,
        };
        let ends_round = edge.closes_loop && is_inside(edge.to);
        if is_taken && !ends_round && known.insert(edge.to) {
            targets.push(edge.to);
        }
    }
    targets
}
