//! Where tokens can come from and go to in a graph: joins, reachability, branches.

use std::sync::Arc;

use crate::engine::bits::Bits;
use crate::engine::graph::{Graph, GraphNode, Place};

impl Graph {
    /// The branches of a fan-out that begin at these nodes: for each, the nodes that it leads to and no other does, which
    /// is where it ends; `None` for one that another leads to as well, which is where branches meet.
    pub(super) fn branches(&self, starts: &[Place]) -> Vec<Option<Arc<Bits>>> {
        /// Which branches lead to a node.
        #[derive(Clone, Copy, PartialEq)]
        enum Led {
            By(usize),
            BySeveral,
        }
        let mut led: Vec<Option<Led>> = vec![None; self.nodes.len()];
        let mut open: Vec<(Place, Led)> = (0..)
            .zip(starts)
            .map(|(nth, start)| (*start, Led::By(nth)))
            .collect();
        while let Some((place, by)) = open.pop() {
            let Some(known) = led.get_mut(place.0) else {
                continue;
            };
            let now = match *known {
                None => by,
                Some(same) if same == by => continue,
                Some(Led::BySeveral) => continue,
                Some(Led::By(_)) => Led::BySeveral,
            };
            *known = Some(now);
            let onward = self.outgoing(place).iter().filter(|edge| !edge.is_back);
            open.extend(onward.map(|edge| (edge.to, now)));
        }
        let mut branches = vec![Bits::for_len(self.nodes.len()); starts.len()];
        for (place, by) in led.iter().enumerate() {
            if let Some(Led::By(nth)) = by
                && let Some(branch) = branches.get_mut(*nth)
            {
                branch.insert(place);
            }
        }
        starts
            .iter()
            .zip(branches)
            .map(|(start, branch)| branch.contains(start.0).then(|| Arc::new(branch)))
            .collect()
    }

    /// Whether tokens may have to be waited for at this node.
    pub(super) fn is_join(&self, place: Place) -> bool {
        self.ways_in.get(place.0).is_some_and(|ways| *ways > 1)
    }

    /// Whether a token at `from` can still come to `to` along one edge or more.
    pub(super) fn reaches(&self, from: Place, to: Place) -> bool {
        self.ancestors.get(to.0).is_some_and(|ancestors| {
            ancestors
                .get_or_init(|| self.ancestors_of(to))
                .contains(from.0)
        })
    }

    pub(super) fn ancestors_of(&self, to: Place) -> Bits {
        let mut found = Bits::for_len(self.nodes.len());
        let mut open = vec![to];
        while let Some(place) = open.pop() {
            for &before in self.incoming.get(place.0).map_or(&[][..], Vec::as_slice) {
                if found.insert(before.0) {
                    open.push(before);
                }
            }
        }
        found
    }

    /// Where a token at this node, or what follows from it, can come next.
    pub(super) fn onward(&self, place: usize) -> Vec<Place> {
        let edges = self.outgoing(Place(place));
        let Some(region) = self
            .regions
            .get(&Place(place))
            .filter(|_| self.nodes.get(place).is_some_and(GraphNode::is_loop))
        else {
            return edges.iter().map(|edge| edge.to).collect();
        };
        let mut onward = region.after.clone();
        for from in (0..self.nodes.len()).filter(|&from| region.body.contains(from)) {
            for edge in self.outgoing(Place(from)) {
                let leaves = edge.to.0 != place && !region.body.contains(edge.to.0);
                if leaves && !onward.contains(&edge.to) {
                    onward.push(edge.to);
                }
            }
        }
        onward
    }

    pub(super) fn fill_incoming(&mut self) {
        for from in 0..self.nodes.len() {
            for to in self.onward(from) {
                if let Some(incoming) = self.incoming.get_mut(to.0) {
                    incoming.push(Place(from));
                }
            }
            let edges = self.outgoing.get(from).map_or(&[][..], Vec::as_slice);
            for edge in edges.iter().filter(|edge| !edge.is_back) {
                if let Some(ways) = self.ways_in.get_mut(edge.to.0) {
                    *ways += 1;
                }
            }
        }
    }
}
