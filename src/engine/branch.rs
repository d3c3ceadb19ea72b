//! Which edges a result takes.
//!
//! A node that decides names a branch: the edges of that branch and those without one are taken. A node that does
//! not decide takes all its edges, labelled or not. No edge taken means that the path ends here, which is no error.

use crate::engine::graph::{Graph, Place};

/// Where tokens go from `place`, in the order of the edges, each node once. An edge that closes a loop leads
/// nowhere: the token that comes along it has done its round.
pub(super) fn taken(graph: &Graph, place: Place, branch: Option<&str>) -> Vec<Place> {
    let mut targets: Vec<Place> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for edge in graph.outgoing(place) {
        let is_taken = match (branch, edge.branch.as_deref()) {
            (Some(chosen), Some(label)) => chosen == label,
            (None, _) | (Some(_), None) => true,
        };
        if is_taken && !edge.closes_loop && known.insert(edge.to) {
            targets.push(edge.to);
        }
    }
    targets
}
