//! A workflow's graph, checked once and never changed: nodes, edges, where a token starts.
//!
//! What a [`Graph`] promises to the rest of the engine:
//! - each edge joins two nodes that exist, and no edge is there twice;
//! - without the edges that close a loop (they lead back to where a path through a loop node came from) it has no
//!   cycle, so that a token that follows the others comes to an end;
//! - reachability is computed per join node when it is first asked for, and then kept: one bit per node.
//!
//! Nothing here recurses: a chain of 10,000 nodes is as safe as one of ten.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};
use thiserror::Error;

use crate::engine::cycles::{for_each_back_edge, shown};
use crate::ids::NodeId;

/// A node, as its author wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphNode {
    /// Its id, unique in the graph.
    pub id: NodeId,
    /// Its type, such as `http_request`.
    pub node_type: Arc<str>,
    /// Its configuration.
    pub config: Arc<Map<String, Value>>,
}

impl GraphNode {
    /// Whether a cycle may go through it.
    pub fn is_loop(&self) -> bool {
        matches!(&*self.node_type, "loop" | "for" | "while" | "repeat")
    }
}

/// An edge, as it is given to [`Graph::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Where it starts.
    pub from: NodeId,
    /// Where it leads.
    pub to: NodeId,
    /// The branch that takes it; `None` is taken by all.
    pub branch: Option<Arc<str>>,
}

/// Why nodes and edges are not a graph.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadGraph {
    /// An edge to nowhere.
    #[error("edge {edge} from node \"{from}\" points to node \"{to}\", which does not exist")]
    UnknownTarget {
        /// Its place in the list, from 1.
        edge: usize,
        /// Where it starts.
        from: NodeId,
        /// The missing node.
        to: NodeId,
    },
    /// An edge from nowhere.
    #[error("edge {edge} to node \"{to}\" starts at node \"{from}\", which does not exist")]
    UnknownSource {
        /// Its place in the list, from 1.
        edge: usize,
        /// The missing node.
        from: NodeId,
        /// Where it leads.
        to: NodeId,
    },
    /// Two nodes with one id.
    #[error(
        "nodes {first} and {second} both have the id \"{id}\"; each node needs an id of its own"
    )]
    DuplicateNode {
        /// The id.
        id: NodeId,
        /// The place of the first in the list, from 1.
        first: usize,
        /// The place of the other.
        second: usize,
    },
    /// A path that comes back to its start, with nothing on it that could end it.
    #[error("cycle without a loop node: {path}")]
    Cycle {
        /// The ids on it, the first one repeated at the end.
        path: String,
    },
}

/// A node's place in its graph; made by the graph alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Place(usize);

/// An edge, seen from the node it starts at.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) to: Place,
    pub(super) branch: Option<Arc<str>>,
    /// It leads back into a loop; a token ends here.
    pub(super) closes_loop: bool,
}

/// A checked graph. Shared by all executions of one content; `Arc` it.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<GraphNode>,
    places: HashMap<NodeId, Place>,
    outgoing: Vec<Vec<Outgoing>>,
    /// Where the edges that close no loop come from, by node.
    incoming: Vec<Vec<Place>>,
    entry: Option<Place>,
    /// By node: the nodes from which it can be reached. Filled on demand.
    ancestors: Vec<OnceLock<Bits>>,
}

impl Graph {
    /// Checks nodes and edges. A token starts at `entry_hint` if it names a node, else at the first node of type
    /// `trigger`, else at the first node that no edge leads to, else at the first.
    ///
    /// # Errors
    /// [`BadGraph`] names the node, edge or cycle that is wrong, be it reachable or not: a replay may start anywhere.
    pub fn new(
        nodes: Vec<GraphNode>,
        edges: Vec<Edge>,
        entry_hint: Option<&NodeId>,
    ) -> Result<Self, BadGraph> {
        let mut graph = Self {
            places: places_of(&nodes)?,
            outgoing: vec![Vec::new(); nodes.len()],
            incoming: vec![Vec::new(); nodes.len()],
            ancestors: nodes.iter().map(|_| OnceLock::new()).collect(),
            nodes,
            entry: None,
        };
        graph.connect(edges)?;
        graph.entry = graph.choose_entry(entry_hint);
        graph.refuse_endless_cycles()?;
        graph.mark_loops();
        graph.fill_incoming();
        Ok(graph)
    }

    /// Where a new execution starts; `None` if there are no nodes.
    pub fn entry(&self) -> Option<&GraphNode> {
        self.entry.map(|place| self.at(place))
    }

    /// The node with this id.
    pub fn node(&self, id: &NodeId) -> Option<&GraphNode> {
        self.place(id).map(|place| self.at(place))
    }

    /// All nodes, in the order in which they were given.
    pub fn nodes(&self) -> &[GraphNode] {
        &self.nodes
    }

    /// The edges that start at a node: where each leads, and the branch that takes it.
    pub fn edges_from(&self, id: &NodeId) -> impl Iterator<Item = (&NodeId, Option<&str>)> {
        self.place(id)
            .into_iter()
            .flat_map(|place| self.outgoing(place))
            .map(|edge| (&self.at(edge.to).id, edge.branch.as_deref()))
    }

    pub(super) fn place(&self, id: &NodeId) -> Option<Place> {
        self.places.get(id).copied()
    }

    pub(super) fn entry_place(&self) -> Option<Place> {
        self.entry
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a Place is made by the graph that it belongs to"
    )]
    pub(super) fn at(&self, place: Place) -> &GraphNode {
        &self.nodes[place.0]
    }

    pub(super) fn outgoing(&self, place: Place) -> &[Outgoing] {
        self.outgoing.get(place.0).map_or(&[], Vec::as_slice)
    }

    /// Whether tokens may have to be waited for at this node.
    pub(super) fn is_join(&self, place: Place) -> bool {
        self.incoming
            .get(place.0)
            .is_some_and(|from| from.len() > 1)
    }

    /// Whether a token at `from` can still come to `to` along one edge or more.
    pub(super) fn reaches(&self, from: Place, to: Place) -> bool {
        self.ancestors.get(to.0).is_some_and(|ancestors| {
            ancestors
                .get_or_init(|| self.ancestors_of(to))
                .contains(from.0)
        })
    }

    fn ancestors_of(&self, to: Place) -> Bits {
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

    fn connect(&mut self, edges: Vec<Edge>) -> Result<(), BadGraph> {
        let mut known = HashSet::new();
        for (number, Edge { from, to, branch }) in (1..).zip(edges) {
            let Some(source) = self.place(&from) else {
                return Err(BadGraph::UnknownSource {
                    edge: number,
                    from,
                    to,
                });
            };
            let Some(target) = self.place(&to) else {
                return Err(BadGraph::UnknownTarget {
                    edge: number,
                    from,
                    to,
                });
            };
            if !known.insert((source, target, branch.clone())) {
                continue;
            }
            if let Some(outgoing) = self.outgoing.get_mut(source.0) {
                outgoing.push(Outgoing {
                    to: target,
                    branch,
                    closes_loop: false,
                });
            }
        }
        Ok(())
    }

    fn choose_entry(&self, hint: Option<&NodeId>) -> Option<Place> {
        let first_trigger = || {
            self.nodes
                .iter()
                .position(|node| &*node.node_type == "trigger")
        };
        let first_without_incoming = || {
            let targets: HashSet<usize> = self
                .outgoing
                .iter()
                .flatten()
                .map(|edge| edge.to.0)
                .collect();
            (0..self.nodes.len()).find(|place| !targets.contains(place))
        };
        let first = || (!self.nodes.is_empty()).then_some(0);
        hint.and_then(|id| self.place(id)).or_else(|| {
            first_trigger()
                .or_else(first_without_incoming)
                .or_else(first)
                .map(Place)
        })
    }

    fn refuse_endless_cycles(&self) -> Result<(), BadGraph> {
        let is_loop: Vec<bool> = self.nodes.iter().map(GraphNode::is_loop).collect();
        let passes = |place: usize| is_loop.get(place) == Some(&false);
        let mut adjacency = self.adjacency();
        for (place, targets) in adjacency.iter_mut().enumerate() {
            if passes(place) {
                targets.retain(|&target| passes(target));
            } else {
                targets.clear();
            }
        }
        let mut cycle = None;
        for_each_back_edge(&adjacency, None, |path, _| {
            cycle.get_or_insert_with(|| {
                path.iter()
                    .map(|&place| self.at(Place(place)).id.as_str())
                    .collect::<Vec<_>>()
            });
        });
        cycle.map_or(Ok(()), |ids| Err(BadGraph::Cycle { path: shown(&ids) }))
    }

    fn mark_loops(&mut self) {
        let mut closing = Vec::new();
        for_each_back_edge(
            &self.adjacency(),
            self.entry.map(|place| place.0),
            |path, nth| {
                closing.extend(path.last().map(|&from| (from, nth)));
            },
        );
        for (from, nth) in closing {
            if let Some(edge) = self
                .outgoing
                .get_mut(from)
                .and_then(|edges| edges.get_mut(nth))
            {
                edge.closes_loop = true;
            }
        }
    }

    fn fill_incoming(&mut self) {
        for (from, edges) in self.outgoing.iter().enumerate() {
            for edge in edges.iter().filter(|edge| !edge.closes_loop) {
                if let Some(incoming) = self.incoming.get_mut(edge.to.0) {
                    incoming.push(Place(from));
                }
            }
        }
    }

    fn adjacency(&self) -> Vec<Vec<usize>> {
        self.outgoing
            .iter()
            .map(|edges| edges.iter().map(|edge| edge.to.0).collect())
            .collect()
    }
}

fn places_of(nodes: &[GraphNode]) -> Result<HashMap<NodeId, Place>, BadGraph> {
    let mut places = HashMap::with_capacity(nodes.len());
    for (place, node) in nodes.iter().enumerate() {
        if let Some(Place(first)) = places.insert(node.id.clone(), Place(place)) {
            return Err(BadGraph::DuplicateNode {
                id: node.id.clone(),
                first: first + 1,
                second: place + 1,
            });
        }
    }
    Ok(places)
}

/// A set of nodes, one bit each.
#[derive(Debug)]
struct Bits(Box<[u64]>);

impl Bits {
    fn for_len(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)].into_boxed_slice())
    }

    /// Whether it was new.
    fn insert(&mut self, place: usize) -> bool {
        let mask = 1 << (place % 64);
        self.0.get_mut(place / 64).is_some_and(|word| {
            let is_new = *word & mask == 0;
            *word |= mask;
            is_new
        })
    }

    fn contains(&self, place: usize) -> bool {
        self.0
            .get(place / 64)
            .is_some_and(|word| word & (1 << (place % 64)) != 0)
    }
}
