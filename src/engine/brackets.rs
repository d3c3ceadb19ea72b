//! Which `catch` and `finally` belong to which `try`, where no label says it: they pair like brackets.

use std::collections::HashSet;

use crate::engine::bits::Bits;
use crate::engine::graph::{GraphNode, Place};
use crate::engine::region::{AFTERWARDS, Edges, add, edges_of, has_label};

/// There are too many ways through other `try` nodes to tell which `catch` and `finally` belong to one.
pub(super) struct Tangled;

/// How much all walks of one graph may do together: a step counts one, and one more for each `try` that it stands
/// inside of. A graph that people draw needs hundreds; this takes some tenths of a second.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn of_a_graph() -> Self {
        Self(2_000_000)
    }

    fn spend(&mut self, cost: usize) -> Result<(), Tangled> {
        self.0 = self.0.checked_sub(cost).ok_or(Tangled)?;
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Try,
    Catch,
    Finally,
    Other,
}

pub(super) fn kind(nodes: &[GraphNode], place: usize) -> Kind {
    match nodes.get(place).map(|node| &*node.node_type) {
        Some("try") => Kind::Try,
        Some("catch") => Kind::Catch,
        Some("finally") => Kind::Finally,
        Some(_) | None => Kind::Other,
    }
}

/// The nested `try` nodes that a walk is inside of, the innermost last: whether its `catch` has been passed.
type Nesting = Vec<bool>;

/// A walk from a part of a `try` node to where it ends. `catch` and `finally` pair with `try` like brackets: each closes
/// the innermost `try` that is open for it.
pub(super) struct Walk<'a> {
    edges: &'a Edges,
    nodes: &'a [GraphNode],
    /// The `try` node itself, which is never part of what it holds.
    owner: usize,
    seen: HashSet<(usize, Nesting)>,
    pub(super) inside: Bits,
    pub(super) catches: Vec<Place>,
    pub(super) finallies: Vec<Place>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(edges: &'a Edges, nodes: &'a [GraphNode], owner: usize) -> Self {
        Self {
            edges,
            nodes,
            owner,
            seen: HashSet::new(),
            inside: Bits::for_len(nodes.len()),
            catches: Vec::new(),
            finallies: Vec::new(),
        }
    }

    /// # Errors
    /// If there are too many ways through other `try` nodes to follow.
    pub(super) fn from(&mut self, starts: &[Place], budget: &mut Budget) -> Result<(), Tangled> {
        let mut open: Vec<(usize, Nesting)> = starts
            .iter()
            .map(|place| (place.0, Nesting::new()))
            .collect();
        while let Some((place, nesting)) = open.pop() {
            budget.spend(1 + nesting.len())?;
            if place == self.owner || !self.seen.insert((place, nesting.clone())) {
                continue;
            }
            let Some(beyond) = self.enter(place, nesting.clone()) else {
                continue;
            };
            self.inside.insert(place);
            for edge in edges_of(self.edges, place)
                .iter()
                .filter(|edge| !edge.is_back)
            {
                let is_way_out =
                    kind(self.nodes, place) == Kind::Try && has_label(edge, &AFTERWARDS);
                let nesting = if is_way_out { &nesting } else { &beyond };
                open.push((edge.to.0, nesting.clone()));
            }
        }
        Ok(())
    }

    /// Where the walk is behind this node; `None` if it ends here.
    fn enter(&mut self, place: usize, mut nesting: Nesting) -> Option<Nesting> {
        match kind(self.nodes, place) {
            Kind::Try => nesting.push(false),
            Kind::Catch => {
                // Those that have had theirs, and have no `finally`, are behind us.
                while nesting.last() == Some(&true) {
                    nesting.pop();
                }
                match nesting.last_mut() {
                    Some(has_caught) => *has_caught = true,
                    None => {
                        add(&mut self.catches, Place(place));
                        return None;
                    }
                }
            }
            Kind::Finally => {
                if nesting.pop().is_none() {
                    add(&mut self.finallies, Place(place));
                    return None;
                }
            }
            Kind::Other => {}
        }
        Some(nesting)
    }
}
