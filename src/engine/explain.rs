//! How a graph is read, in node ids: what each loop repeats, what each `try` holds, what nothing leads to.
//!
//! For those who check a graph or show it; no execution asks. It says what `region` and `join` have found and decides
//! nothing of its own.

use std::collections::{HashMap, HashSet};

use crate::engine::bits::Bits;
use crate::engine::graph::{Graph, Place};
use crate::engine::region::{Region, is_labelled_loop};
use crate::ids::NodeId;

/// How a graph is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Where a new execution starts.
    pub entry: Option<NodeId>,
    /// The nodes that no path from there leads to.
    pub unreachable: Vec<NodeId>,
    /// The loops, in the order of the nodes.
    pub loops: Vec<LoopReading>,
    /// The `try` nodes, in the order of the nodes.
    pub tries: Vec<TryReading>,
    /// The nodes that wait for more than one other, each with those.
    pub joins: Vec<(NodeId, Vec<NodeId>)>,
    /// By node: those from which a path leads to it, an error's way to a `catch` and a loop's rounds included.
    before: HashMap<NodeId, Vec<NodeId>>,
}

/// How a loop node is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopReading {
    /// The loop node.
    pub node: NodeId,
    /// Whether labels on its edges say what is repeated.
    pub is_labelled: bool,
    /// Whether a path leads from its body back to it.
    pub has_way_back: bool,
    /// What is repeated.
    pub body: Vec<NodeId>,
    /// Where it goes on.
    pub then: Vec<NodeId>,
}

/// How a `try` node is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TryReading {
    /// The `try` node.
    pub node: NodeId,
    /// What is tried.
    pub body: Vec<NodeId>,
    /// Where an error leads.
    pub catches: Vec<NodeId>,
    /// All that runs after an error, those included.
    pub catch_path: Vec<NodeId>,
    /// Where it leads in any case.
    pub finallies: Vec<NodeId>,
    /// Where it goes on.
    pub then: Vec<NodeId>,
}

impl Reading {
    /// Whether the first node can have run when the second begins. A node in a loop can have run before itself.
    pub fn can_run_before(&self, earlier: &NodeId, later: &NodeId) -> bool {
        let mut seen = HashSet::new();
        let mut open = vec![later];
        while let Some(id) = open.pop() {
            for before in self.before.get(id).into_iter().flatten() {
                if before == earlier {
                    return true;
                }
                if seen.insert(before) {
                    open.push(before);
                }
            }
        }
        false
    }
}

impl Graph {
    /// How the graph is read.
    pub fn explain(&self) -> Reading {
        let all = || (0..self.nodes().len()).map(Place);
        let reached = self.reached();
        let mut reading = Reading {
            entry: self.entry().map(|node| node.id.clone()),
            unreachable: self.ids(all().filter(|place| !reached.contains(place.0))),
            ..Reading::default()
        };
        for place in all() {
            if let Some(region) = self.region(place) {
                if self.at(place).is_loop() {
                    reading.loops.push(self.explain_loop(place, region));
                } else {
                    reading.tries.push(self.explain_try(place, region));
                }
            }
        }
        let sources = self.sources();
        for place in all().filter(|place| self.is_join(*place)) {
            if let Some(from) = sources.get(&place).filter(|from| from.len() > 1) {
                let from = self.ids(from.iter().copied());
                reading.joins.push((self.at(place).id.clone(), from));
            }
        }
        reading.before = self.before();
        reading
    }

    fn ids(&self, places: impl IntoIterator<Item = Place>) -> Vec<NodeId> {
        places
            .into_iter()
            .map(|place| self.at(place).id.clone())
            .collect()
    }

    fn members(&self, set: &Bits) -> Vec<Place> {
        (0..self.nodes().len())
            .filter(|place| set.contains(*place))
            .map(Place)
            .collect()
    }

    /// All that some path leads to from the entry.
    fn reached(&self) -> Bits {
        let mut found = Bits::for_len(self.nodes().len());
        let mut open: Vec<Place> = self.entry_place().into_iter().collect();
        while let Some(place) = open.pop() {
            if found.insert(place.0) {
                open.extend(self.outgoing(place).iter().map(|edge| edge.to));
            }
        }
        found
    }

    /// By node: where the edges come from that it may have to wait for.
    fn sources(&self) -> HashMap<Place, Vec<Place>> {
        let mut sources: HashMap<Place, Vec<Place>> = HashMap::new();
        for from in (0..self.nodes().len()).map(Place) {
            for edge in self.outgoing(from).iter().filter(|edge| !edge.is_back) {
                let found = sources.entry(edge.to).or_default();
                if !found.contains(&from) {
                    found.push(from);
                }
            }
        }
        sources
    }

    /// Where the edges of these nodes lead that lead neither to one of them nor to `owner`.
    fn leaving(&self, inside: &[Place], owner: Place) -> Vec<Place> {
        let known: HashSet<Place> = inside.iter().copied().chain([owner]).collect();
        let mut found = Vec::new();
        for edge in inside.iter().flat_map(|place| self.outgoing(*place)) {
            if !known.contains(&edge.to) && !found.contains(&edge.to) {
                found.push(edge.to);
            }
        }
        found
    }

    fn explain_loop(&self, place: Place, region: &Region) -> LoopReading {
        let body = self.members(&region.body);
        let mut then = region.after.clone();
        for to in self.leaving(&body, place) {
            // A round of the loop around it ends there, which is nothing that follows this one.
            let closes = self
                .region(to)
                .is_some_and(|outer| outer.body.contains(place.0));
            if !closes && !then.contains(&to) {
                then.push(to);
            }
        }
        let leads_back = |from: &Place| self.outgoing(*from).iter().any(|edge| edge.to == place);
        let has_way_back = leads_back(&place) || body.iter().any(leads_back);
        LoopReading {
            node: self.at(place).id.clone(),
            is_labelled: is_labelled_loop(self.outgoing(place)),
            has_way_back,
            body: self.ids(body),
            then: self.ids(then),
        }
    }

    fn explain_try(&self, place: Place, region: &Region) -> TryReading {
        let body = self.members(&region.body);
        let mut catch_path = region.catches.clone();
        catch_path.extend(self.members(&region.catch_path));
        catch_path = distinct(catch_path);
        let mut inside = body.clone();
        inside.extend(&catch_path);
        inside.extend(&region.finallies);
        inside.extend(self.members(&region.finally_path));
        let mut then = region.after.clone();
        then.extend(self.leaving(&distinct(inside), place));
        TryReading {
            node: self.at(place).id.clone(),
            body: self.ids(body),
            catches: self.ids(region.catches.iter().copied()),
            catch_path: self.ids(catch_path),
            finallies: self.ids(region.finallies.iter().copied()),
            then: self.ids(distinct(then)),
        }
    }

    /// By node: those that can come directly before it, along an edge, by an error, or by the end of a loop.
    fn before(&self) -> HashMap<NodeId, Vec<NodeId>> {
        let mut before: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        let mut note = |from: Place, to: Place| {
            before
                .entry(self.at(to).id.clone())
                .or_default()
                .push(self.at(from).id.clone());
        };
        for from in (0..self.nodes().len()).map(Place) {
            for edge in self.outgoing(from) {
                note(from, edge.to);
            }
            let Some(region) = self.region(from) else {
                continue;
            };
            let beyond = [&region.catches, &region.finallies, &region.after];
            for inside in self.members(&region.body) {
                for &to in beyond.into_iter().flatten() {
                    note(inside, to);
                }
            }
            for inside in self.members(&region.catch_path) {
                for &to in region.finallies.iter().chain(&region.after) {
                    note(inside, to);
                }
            }
        }
        before
    }
}

fn distinct(places: Vec<Place>) -> Vec<Place> {
    let mut seen = HashSet::new();
    places
        .into_iter()
        .filter(|place| seen.insert(*place))
        .collect()
}
