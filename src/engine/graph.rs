//! A workflow's graph, checked once and never changed: nodes, edges, where a token starts.
//!
//! What a [`Graph`] promises to the rest of the engine:
//! - each edge joins two nodes that exist, and no edge is there twice;
//! - each loop node has a body (`region`), which is walked in rounds; with its loops passed as a whole it has no cycle,
//!   so that a token that follows the others comes to an end;
//! - reachability is computed per join node when it is first asked for, and then kept: one bit per node.
//!
//! Nothing here recurses: a chain of 10,000 nodes is as safe as one of ten.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use crate::engine::bad_graph::BadGraph;
use crate::engine::bits::Bits;
use crate::engine::brackets::{Budget, Tangled};
use crate::engine::cycles::{for_each_back_edge, shown};
use crate::engine::options::{self, NodeOptions};
use crate::engine::region::{self, Region};
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
    /// Whether it chooses between its edges. (Activities on a host may, too.)
    pub fn decides(&self) -> bool {
        matches!(
            &*self.node_type,
            "condition" | "if" | "switch" | "human_approval"
        )
    }

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

/// How many nodes and edges may be walked over to find what loops and tries hold: 1,000 of them among 10,000.
const MOST_WALKED: usize = 20_000_000;

/// A node's place in its graph; made by the graph alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Place(pub(super) usize);

/// An edge, seen from the node it starts at.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) to: Place,
    pub(super) branch: Option<Arc<str>>,
    /// It leads from the body of a loop back to its loop node: the round ends here.
    pub(super) closes_loop: bool,
    /// It closes a loop whose loop node stands on each way to where it starts: nothing comes along it but the end of a
    /// round.
    pub(super) is_back: bool,
}

/// A checked graph. Shared by all executions of one content; `Arc` it.
#[derive(Debug, Default)]
pub struct Graph {
    pub(super) nodes: Vec<GraphNode>,
    pub(super) places: HashMap<NodeId, Place>,
    pub(super) outgoing: Vec<Vec<Outgoing>>,
    /// By node: the nodes from which a token can come next, loops being passed as a whole.
    pub(super) incoming: Vec<Vec<Place>>,
    /// By node: how many edges lead to it, without those that only end a round.
    pub(super) ways_in: Vec<u32>,
    pub(super) entry: Option<Place>,
    /// By node: the nodes from which it can be reached. Filled on demand.
    pub(super) ancestors: Vec<OnceLock<Bits>>,
    /// What stands inside each loop and each `try`.
    pub(super) regions: HashMap<Place, Region>,
    /// What each node says of its retries and of how its branches run.
    pub(super) options: Vec<NodeOptions>,
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
            ways_in: vec![0; nodes.len()],
            ancestors: nodes.iter().map(|_| OnceLock::new()).collect(),
            regions: HashMap::new(),
            options: nodes
                .iter()
                .map(|node| NodeOptions::read(&node.config).unwrap_or_default())
                .collect(),
            nodes,
            entry: None,
        };
        graph.connect(edges)?;
        graph.entry = graph.choose_entry(entry_hint);
        graph.refuse_too_much()?;
        graph.find_loops();
        graph.refuse_endless_cycles()?;
        graph.find_tries()?;
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

    /// What stands inside a loop or a `try`.
    pub(super) fn region(&self, place: Place) -> Option<&Region> {
        self.regions.get(&place)
    }

    /// What a node says of its retries and of how its branches run.
    #[expect(
        clippy::indexing_slicing,
        reason = "a Place is made by the graph that it belongs to"
    )]
    pub(super) fn options(&self, place: Place) -> &NodeOptions {
        &self.options[place.0]
    }

    /// Whether a loop is to keep the results of its rounds (`collect_results`, default true).
    pub(super) fn collects_results(&self, place: Place) -> bool {
        let config = &self.at(place).config;
        options::flag(config, "collect_results").ok().flatten() != Some(false)
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
                    is_back: false,
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

    /// Finds the body of each loop, and marks the edges that end a round.
    fn find_loops(&mut self) {
        let loops = region::loops(&self.outgoing, &self.nodes, self.entry);
        let incoming = region::incoming_of(&self.outgoing);
        for found in &loops {
            let region = region::of_loop(&self.outgoing, &incoming, found.place, &found.around);
            self.regions.insert(Place(found.place), region);
        }
        let only_through: HashMap<usize, &Bits> = loops
            .iter()
            .map(|found| (found.place, &found.avoidable))
            .collect();
        for (from, edges) in self.outgoing.iter_mut().enumerate() {
            for edge in edges {
                let region = self.regions.get(&edge.to);
                edge.closes_loop =
                    region.is_some_and(|region| edge.to.0 == from || region.body.contains(from));
                edge.is_back = edge.closes_loop
                    && only_through
                        .get(&edge.to.0)
                        .is_some_and(|avoidable| !avoidable.contains(from));
            }
        }
    }

    /// What stands inside each loop and each `try` is found by walks over the graph: it must be worth them.
    fn refuse_too_much(&self) -> Result<(), BadGraph> {
        let edges: usize = self.outgoing.iter().map(Vec::len).sum();
        let walks = self
            .nodes
            .iter()
            .filter(|node| node.is_loop() || &*node.node_type == "try")
            .count();
        let size = self.nodes.len() + edges;
        if walks.saturating_mul(size) > MOST_WALKED {
            return Err(BadGraph::TooManyContainers { walks, size });
        }
        Ok(())
    }

    fn find_tries(&mut self) -> Result<(), BadGraph> {
        let mut budget = Budget::of_a_graph();
        for (place, node) in self.nodes.iter().enumerate() {
            if &*node.node_type == "try" {
                let region = region::of_try(&self.outgoing, &self.nodes, place, &mut budget)
                    .map_err(|Tangled| BadGraph::TangledTry {
                        id: node.id.clone(),
                    })?;
                self.regions.insert(Place(place), region);
            }
        }
        Ok(())
    }

    /// A loop node leads to where its loop goes on; its body is walked in rounds of their own. On such a graph there
    /// must be no cycle.
    fn refuse_endless_cycles(&self) -> Result<(), BadGraph> {
        let onward: Vec<Vec<usize>> = (0..self.nodes.len())
            .map(|place| self.onward(place).iter().map(|to| to.0).collect())
            .collect();
        let mut cycle = None;
        for_each_back_edge(&onward, self.entry.map(|place| place.0), |path, _| {
            let ids = path.iter().map(|&place| self.at(Place(place)).id.as_str());
            cycle = Some(ids.collect::<Vec<_>>());
            ControlFlow::Break(())
        });
        cycle.map_or(Ok(()), |ids| Err(BadGraph::Cycle { path: shown(&ids) }))
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
