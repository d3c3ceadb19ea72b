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

use std::collections::HashSet;
use std::sync::Arc;

use crate::engine::bits::Bits;
use crate::engine::graph::{GraphNode, Outgoing, Place};

const INTO_LOOP: [&str; 3] = ["body", "loop", "each"];
const INTO_TRY: [&str; 2] = ["body", "try"];
const ON_ERROR: [&str; 2] = ["catch", "error"];
const AT_LAST: [&str; 1] = ["finally"];
const AFTERWARDS: [&str; 3] = ["done", "after", "exit"];

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

/// There are too many ways through other `try` nodes to tell which `catch` and `finally` belong to one.
pub(super) struct Tangled;

/// How often a walk may come to each node by ways on which it stands inside of different `try` nodes. A graph that people
/// draw needs a handful.
const WAYS_PER_NODE: usize = 200;

/// Edges by the node they start at.
type Edges = [Vec<Outgoing>];

fn edges_of(edges: &Edges, place: usize) -> &[Outgoing] {
    edges.get(place).map_or(&[], Vec::as_slice)
}

fn has_label(edge: &Outgoing, labels: &[&str]) -> bool {
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

/// What can reach `target` without entering a node of `walls`; `target` is not part of it unless a path leads back.
fn reaching(edges: &Edges, target: usize, walls: &Bits) -> Bits {
    let mut incoming: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (from, outgoing) in edges.iter().enumerate() {
        for edge in outgoing {
            if let Some(sources) = incoming.get_mut(edge.to.0) {
                sources.push(from);
            }
        }
    }
    let mut found = Bits::for_len(edges.len());
    let mut open = vec![target];
    while let Some(place) = open.pop() {
        for &from in incoming.get(place).map_or(&[][..], Vec::as_slice) {
            if (!walls.contains(from) || from == target) && found.insert(from) && from != target {
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
pub(super) fn of_loop(edges: &Edges, place: usize, around: &Bits) -> Region {
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
        let mut back = reaching(edges, place, around);
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
pub(super) fn of_try(edges: &Edges, nodes: &[GraphNode], place: usize) -> Result<Region, Tangled> {
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
    let mut body = Walk::new(edges, nodes, place);
    body.from(&region.entries)?;
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
            catch_path.from(&onward)?;
        } else {
            catch_path.from(&[catch])?;
        }
    }
    for &found in &catch_path.finallies {
        add(&mut region.finallies, found);
    }
    let mut catch_nodes = catch_path.inside;
    let nothing = Bits::for_len(edges.len());
    if region.finallies.is_empty() {
        // What follows a catch is where both ways meet again, unless an edge of the try itself leads to the path.
        catch_nodes = Bits::for_len(edges.len());
        for &catch in &region.catches {
            if kind(nodes, catch.0) == Kind::Catch {
                catch_nodes.insert(catch.0);
            } else {
                let mut path = reachable(edges, &[catch], &nothing);
                path.remove_all(&nodes_of_body);
                path.remove_all(&reachable(edges, &region.after, &nothing));
                for node in (0..nodes.len()).filter(|&node| path.contains(node)) {
                    catch_nodes.insert(node);
                }
            }
        }
    }
    let mut finally_path = Bits::for_len(edges.len());
    for &last in &region.finallies {
        if kind(nodes, last.0) == Kind::Finally {
            finally_path.insert(last.0);
        } else {
            let mut path = reachable(edges, &[last], &nothing);
            path.remove_all(&reachable(edges, &region.after, &nothing));
            for node in (0..nodes.len()).filter(|&node| path.contains(node)) {
                finally_path.insert(node);
            }
        }
    }
    catch_nodes.remove_all(&finally_path);
    nodes_of_body.remove_all(&catch_nodes);
    nodes_of_body.remove_all(&finally_path);
    nodes_of_body.remove_all(&reachable(edges, &region.after, &nothing));
    region.body = Arc::new(nodes_of_body);
    region.catch_path = Arc::new(catch_nodes);
    region.finally_path = Arc::new(finally_path);
    Ok(region)
}

fn add(list: &mut Vec<Place>, place: Place) {
    if !list.contains(&place) {
        list.push(place);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Try,
    Catch,
    Finally,
    Other,
}

fn kind(nodes: &[GraphNode], place: usize) -> Kind {
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
struct Walk<'a> {
    edges: &'a Edges,
    nodes: &'a [GraphNode],
    /// The `try` node itself, which is never part of what it holds.
    owner: usize,
    seen: HashSet<(usize, Nesting)>,
    inside: Bits,
    catches: Vec<Place>,
    finallies: Vec<Place>,
}

impl<'a> Walk<'a> {
    fn new(edges: &'a Edges, nodes: &'a [GraphNode], owner: usize) -> Self {
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
    fn from(&mut self, starts: &[Place]) -> Result<(), Tangled> {
        let most = self.nodes.len().saturating_mul(WAYS_PER_NODE);
        let mut open: Vec<(usize, Nesting)> = starts
            .iter()
            .map(|place| (place.0, Nesting::new()))
            .collect();
        while let Some((place, nesting)) = open.pop() {
            if place == self.owner || !self.seen.insert((place, nesting.clone())) {
                continue;
            }
            if self.seen.len() > most {
                return Err(Tangled);
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
