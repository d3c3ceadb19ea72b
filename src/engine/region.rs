//! Which nodes stand inside a loop, a `try`, or a branch of a fan-out.
//!
//! The builder saves edges without labels, so what is inside follows from the edges alone, unless they say it:
//!
//! | node | edges with a label | without |
//! | --- | --- | --- |
//! | loop | `body`, `loop`, `each` lead into the body; `done`, `after`, `exit` are taken when it has ended | if a path leads back to the loop, the nodes on such a path are the body and all other edges are taken when it has ended; else all that follows is the body |
//! | `try` | `body`, `try`; `catch`, `error`; `finally`; `done`, `after`, `exit` | what follows up to the `catch` or `finally` that belongs to it; these pair like brackets, so that a nested `try` has its own |
//!
//! A path back to an inner loop never leads through a loop around it. Of a labelled loop, whatever its body edges lead
//! to and its `done` edges do not is the body, with or without a path back.

use std::sync::Arc;

use crate::engine::bits::Bits;
use crate::engine::brackets::{Budget, Kind, Tangled, Walk, kind};
use crate::engine::graph::{GraphNode, Outgoing, Place};

const INTO_LOOP: [&str; 3] = ["body", "loop", "each"];
const INTO_TRY: [&str; 2] = ["body", "try"];
const ON_ERROR: [&str; 2] = ["catch", "error"];
const AT_LAST: [&str; 1] = ["finally"];
pub(super) const AFTERWARDS: [&str; 3] = ["done", "after", "exit"];

/// What stands inside a loop or a `try`, and where it goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Region {
    /// Where a round of the body starts.
    pub(super) entries: Vec<Place>,
    /// The nodes of the body, without those that begin the other parts.
    pub(super) body: Arc<Bits>,
    /// Where it goes on when all is done, beside where the body's own edges lead out.
    pub(super) after: Vec<Place>,
    /// Where an error leads.
    pub(super) catches: Vec<Place>,
    /// The nodes that run after an error and before `finallies`.
    pub(super) catch_path: Arc<Bits>,
    /// What runs in any case.
    pub(super) finallies: Vec<Place>,
    /// The nodes of that.
    pub(super) finally_path: Arc<Bits>,
}

/// Edges by the node they start at.
pub(super) type Edges = [Vec<Outgoing>];

pub(super) fn edges_of(edges: &Edges, place: usize) -> &[Outgoing] {
    edges.get(place).map_or(&[], Vec::as_slice)
}

pub(super) fn has_label(edge: &Outgoing, labels: &[&str]) -> bool {
    edge.branch.as_deref().is_some_and(|branch| {
        labels
            .iter()
            .any(|label| branch.trim().eq_ignore_ascii_case(label))
    })
}

/// Whether labels on the edges of a loop node say what its body is.
pub(super) fn is_labelled_loop(own: &[Outgoing]) -> bool {
    own.iter()
        .any(|edge| has_label(edge, &INTO_LOOP) || has_label(edge, &AFTERWARDS))
}

/// What can be reached from `starts`, themselves included, without entering a node of `walls` and without following an
/// edge that only ends a round.
pub(super) fn reachable(edges: &Edges, starts: &[Place], walls: &Bits) -> Bits {
    let mut found = Bits::for_len(edges.len());
    let mut open: Vec<usize> = starts.iter().map(|place| place.0).collect();
    while let Some(place) = open.pop() {
        if !walls.contains(place) && found.insert(place) {
            let onward = edges_of(edges, place).iter();
            open.extend(onward.filter(|edge| !edge.is_back).map(|edge| edge.to.0));
        }
    }
    found
}

/// By node: where its edges come from.
pub(super) fn incoming_of(edges: &Edges) -> Vec<Vec<usize>> {
    let mut incoming: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (from, outgoing) in edges.iter().enumerate() {
        for edge in outgoing {
            if let Some(sources) = incoming.get_mut(edge.to.0) {
                sources.push(from);
            }
        }
    }
    incoming
}

/// What can reach `target` without entering a node of `walls`; `target` is not part of it unless a path leads back.
fn reaching(incoming: &[Vec<usize>], target: usize, walls: &Bits) -> Bits {
    let mut found = Bits::for_len(incoming.len());
    let mut open = vec![target];
    while let Some(place) = open.pop() {
        for &from in incoming.get(place).map_or(&[][..], Vec::as_slice) {
            let may_enter = from == target || !walls.contains(from);
            if may_enter && found.insert(from) && from != target {
                open.push(from);
            }
        }
    }
    found
}

/// A loop node, seen from the whole graph.
pub(super) struct LoopNode {
    pub(super) place: usize,
    /// The loop nodes around it: those without which it could not be reached from the entry.
    pub(super) around: Bits,
    /// The nodes that can be reached from the entry without it.
    pub(super) avoidable: Bits,
}

/// All loop nodes.
pub(super) fn loops(edges: &Edges, nodes: &[GraphNode], entry: Option<Place>) -> Vec<LoopNode> {
    let starts: Vec<Place> = entry.into_iter().collect();
    let all = reachable(edges, &starts, &Bits::for_len(edges.len()));
    let mut loops: Vec<LoopNode> = (0..nodes.len())
        .filter(|&place| nodes.get(place).is_some_and(GraphNode::is_loop))
        .map(|place| {
            let mut wall = Bits::for_len(edges.len());
            wall.insert(place);
            LoopNode {
                place,
                around: Bits::for_len(edges.len()),
                avoidable: reachable(edges, &starts, &wall),
            }
        })
        .collect();
    let barred: Vec<(usize, Bits)> = loops
        .iter()
        .map(|node| (node.place, node.avoidable.clone()))
        .collect();
    for inner in &mut loops {
        for (outer, without) in &barred {
            if *outer != inner.place && all.contains(inner.place) && !without.contains(inner.place)
            {
                inner.around.insert(*outer);
            }
        }
    }
    loops
}

/// The region of a loop node. `around`: the loops around it.
pub(super) fn of_loop(
    edges: &Edges,
    incoming: &[Vec<usize>],
    place: usize,
    around: &Bits,
) -> Region {
    let own = edges_of(edges, place);
    let targets = |is_wanted: &dyn Fn(&Outgoing) -> bool| -> Vec<Place> {
        let mut found: Vec<Place> = Vec::new();
        for edge in own.iter().filter(|edge| is_wanted(edge)) {
            if edge.to.0 != place && !around.contains(edge.to.0) && !found.contains(&edge.to) {
                found.push(edge.to);
            }
        }
        found
    };
    let mut walls = around.clone();
    walls.insert(place);
    let into = own.iter().any(|edge| has_label(edge, &INTO_LOOP));
    let afterwards = own.iter().any(|edge| has_label(edge, &AFTERWARDS));
    let (entries, after, body) = if into || afterwards {
        let is_entry = |edge: &Outgoing| {
            has_label(edge, &INTO_LOOP) || (!into && !has_label(edge, &AFTERWARDS))
        };
        let entries = targets(&is_entry);
        let after = all_targets(own, place, |edge| !is_entry(edge));
        let mut body = reachable(edges, &entries, &walls);
        body.remove_all(&reachable(edges, &after, &walls));
        (entries, after, body)
    } else {
        let starts = targets(&|_| true);
        let mut body = reachable(edges, &starts, &walls);
        let mut back = reaching(incoming, place, around);
        back.remove(place);
        back.keep_only(&body);
        if back.is_empty() && !own.iter().any(|edge| edge.to.0 == place) {
            (
                starts,
                all_targets(own, place, |edge| around.contains(edge.to.0)),
                body,
            )
        } else {
            body = back;
            let entries = targets(&|edge| body.contains(edge.to.0));
            let after = all_targets(own, place, |edge| !body.contains(edge.to.0));
            (entries, after, body)
        }
    };
    Region {
        entries,
        after,
        body: Arc::new(body),
        ..Region::default()
    }
}

fn all_targets(
    own: &[Outgoing],
    place: usize,
    is_wanted: impl Fn(&Outgoing) -> bool,
) -> Vec<Place> {
    let mut found: Vec<Place> = Vec::new();
    for edge in own
        .iter()
        .filter(|edge| edge.to.0 != place && is_wanted(edge))
    {
        if !found.contains(&edge.to) {
            found.push(edge.to);
        }
    }
    found
}

/// The region of a `try` node. The edges that close loops are marked by now.
pub(super) fn of_try(
    edges: &Edges,
    nodes: &[GraphNode],
    place: usize,
    budget: &mut Budget,
) -> Result<Region, Tangled> {
    let mut region = first_of_each_part(edges, nodes, place);
    let mut body = Walk::new(edges, nodes, place);
    body.from(&region.entries, budget)?;
    for &found in &body.catches {
        add(&mut region.catches, found);
    }
    for &found in &body.finallies {
        add(&mut region.finallies, found);
    }
    let mut nodes_of_body = body.inside;
    let mut catch_path = Walk::new(edges, nodes, place);
    for &catch in &region.catches {
        if kind(nodes, catch.0) == Kind::Catch {
            catch_path.inside.insert(catch.0);
            let onward: Vec<Place> = edges_of(edges, catch.0)
                .iter()
                .filter(|edge| !edge.is_back)
                .map(|edge| edge.to)
                .collect();
            catch_path.from(&onward, budget)?;
        } else {
            catch_path.from(&[catch], budget)?;
        }
    }
    for &found in &catch_path.finallies {
        add(&mut region.finallies, found);
    }
    let nothing = Bits::for_len(edges.len());
    let beyond = reachable(edges, &region.after, &nothing);
    let mut catch_nodes = if region.finallies.is_empty() {
        // What follows a catch is where both ways meet again, unless an edge of the try itself leads to the path.
        let mut elsewhere = nodes_of_body.clone();
        elsewhere.add_all(&beyond);
        part(edges, nodes, &region.catches, Kind::Catch, &elsewhere)
    } else {
        catch_path.inside
    };
    let finally_path = part(edges, nodes, &region.finallies, Kind::Finally, &beyond);
    catch_nodes.remove_all(&finally_path);
    nodes_of_body.remove_all(&catch_nodes);
    nodes_of_body.remove_all(&finally_path);
    nodes_of_body.remove_all(&beyond);
    region.body = Arc::new(nodes_of_body);
    region.catch_path = Arc::new(catch_nodes);
    region.finally_path = Arc::new(finally_path);
    Ok(region)
}

/// Where the edges of a `try` itself lead, by their labels, else by the kind of the node.
fn first_of_each_part(edges: &Edges, nodes: &[GraphNode], place: usize) -> Region {
    let own = edges_of(edges, place);
    let has_body_label = own.iter().any(|edge| has_label(edge, &INTO_TRY));
    let mut region = Region::default();
    for edge in own
        .iter()
        .filter(|edge| !edge.is_back && edge.to.0 != place)
    {
        let list = match kind(nodes, edge.to.0) {
            _ if has_label(edge, &INTO_TRY) => &mut region.entries,
            _ if has_label(edge, &ON_ERROR) => &mut region.catches,
            _ if has_label(edge, &AT_LAST) => &mut region.finallies,
            _ if has_label(edge, &AFTERWARDS) => &mut region.after,
            Kind::Catch => &mut region.catches,
            Kind::Finally => &mut region.finallies,
            Kind::Try | Kind::Other if has_body_label => &mut region.after,
            Kind::Try | Kind::Other => &mut region.entries,
        };
        add(list, edge.to);
    }
    region
}

/// The nodes of a part: one of its own kind stands for itself, any other for all that follows and is not `elsewhere`.
fn part(edges: &Edges, nodes: &[GraphNode], firsts: &[Place], own: Kind, elsewhere: &Bits) -> Bits {
    let nothing = Bits::for_len(edges.len());
    let mut found = Bits::for_len(edges.len());
    for &first in firsts {
        if kind(nodes, first.0) == own {
            found.insert(first.0);
        } else {
            let mut path = reachable(edges, &[first], &nothing);
            path.remove_all(elsewhere);
            found.add_all(&path);
        }
    }
    found
}

pub(super) fn add(list: &mut Vec<Place>, place: Place) {
    if !list.contains(&place) {
        list.push(place);
    }
}
