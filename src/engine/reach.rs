//! Where an execution may begin in the middle of its graph, and what runs again if it does.

use std::collections::HashSet;

use crate::engine::bits::Bits;
use crate::engine::graph::{Graph, GraphNode, Place};
use crate::engine::region::reachable;
use crate::ids::NodeId;

impl Graph {
    /// A node and all that may run after it.
    pub fn from_on(&self, id: &NodeId) -> HashSet<NodeId> {
        let starts: Vec<Place> = self.place(id).into_iter().collect();
        let found = reachable(&self.outgoing, &starts, &Bits::for_len(self.nodes.len()));
        self.nodes
            .iter()
            .enumerate()
            .filter(|(place, _)| found.contains(*place))
            .map(|(_, node)| node.id.clone())
            .collect()
    }

    /// The loop or `try` that a node stands in, the first of several. Nothing can begin there: what is inside runs in
    /// frames of the node around it.
    pub fn holder_of(&self, id: &NodeId) -> Option<&GraphNode> {
        let inside = self.place(id)?;
        (0..self.nodes.len()).map(Place).find_map(|place| {
            let region = self.region(place)?;
            let parts = [&region.body, &region.catch_path, &region.finally_path];
            parts
                .iter()
                .any(|part| part.contains(inside.0))
                .then(|| self.at(place))
        })
    }
}
