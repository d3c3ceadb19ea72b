//! What runs inside a node: the rounds of a loop, the branches of a fan-out, the parts of a `try`.
//!
//! Such a node's token stays where it is, **open**, while what is inside runs in **frames**: each round, branch or part
//! is one. A token belongs to one frame or to none. An edge that leads out of its frame's region takes no token along:
//! the exit is kept until the frame ends. A frame has ended when no token is left in it.
//!
//! The outputs at which the paths of a frame ended are its result. They are recorded steps, so a checkpoint holds none
//! of them: they are found again by the frame's scope.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::engine::TokenId;
use crate::engine::bits::Bits;
use crate::engine::graph::{Graph, Place};
use crate::engine::options::{Aggregation, FanOut};
use crate::ids::{NodeId, Timestamp};

/// Names a frame within its execution.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct FrameId(pub(super) u32);

/// What a frame is to its node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// A round of a loop, a branch, what a `try` tries.
    Body,
    /// What runs after an error.
    Catch,
    /// What runs in any case.
    Finally,
}

/// A round, a branch or a part that runs.
#[derive(Debug)]
pub(super) struct Frame {
    /// The open token that it runs inside of.
    pub(super) owner: TokenId,
    pub(super) part: Part,
    /// The how manieth round or branch, from 0.
    pub(super) index: u32,
    /// The tokens in it, not counting those of frames inside it.
    pub(super) live: u32,
    pub(super) region: Arc<Bits>,
    /// Where its steps belong: the scopes around it, and its own.
    pub(super) scope: Arc<str>,
    pub(super) exits: Vec<Exit>,
    pub(super) ends: Ends,
}

/// Where a token would have left a frame.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Exit {
    pub(super) to: Place,
    pub(super) error: Option<Arc<Caught>>,
}

/// The outputs at which the paths of a frame ended.
pub(super) type Ends = Vec<(NodeId, Arc<Map<String, Value>>)>;

/// One output as it is; several by node; none is `null`.
pub(super) fn result_of(ends: &Ends) -> Value {
    match ends.as_slice() {
        [] => Value::Null,
        [(_, output)] => Value::Object((**output).clone()),
        several => Value::Object(
            several
                .iter()
                .map(|(node, output)| (node.to_string(), Value::Object((**output).clone())))
                .collect(),
        ),
    }
}

/// A failure, for whoever handles it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Caught {
    /// Without `Node <id> failed: `.
    pub message: String,
    /// What a `catch` node names.
    #[serde(rename = "type")]
    pub error_type: Arc<str>,
    /// Where it failed.
    pub node_id: NodeId,
    /// That node's type.
    pub node_type: Arc<str>,
    /// The words of `error_message`.
    pub words: String,
    /// What there is to show, such as the answer to an HTTP request.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub output: Map<String, Value>,
}

impl Caught {
    /// The value of `error` in expressions.
    pub fn to_value(&self) -> Value {
        let mut value = Map::new();
        value.insert("message".to_owned(), self.message.as_str().into());
        value.insert("type".to_owned(), (&*self.error_type).into());
        value.insert("node_id".to_owned(), self.node_id.as_str().into());
        value.insert("node_type".to_owned(), (&*self.node_type).into());
        value.insert("output".to_owned(), Value::Object(self.output.clone()));
        Value::Object(value)
    }
}

/// What leaves frames before their end.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Raised {
    /// A failure that nothing has handled yet.
    Error(Arc<Caught>),
    /// A `break` for the loop of that token.
    Break(TokenId),
    /// A `continue` for it.
    Continue(TokenId),
}

/// An open node.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) kind: Kind,
    pub(super) started_at: Timestamp,
    pub(super) frames: BTreeSet<FrameId>,
    /// Where its ended frames lead.
    pub(super) exits: Vec<Exit>,
}

impl Container {
    pub(super) fn leave_by(&mut self, exits: impl IntoIterator<Item = Exit>) {
        for exit in exits {
            match self.exits.iter_mut().find(|known| known.to == exit.to) {
                Some(known) => known.error = known.error.take().or(exit.error),
                None => self.exits.push(exit),
            }
        }
    }
}

#[derive(Debug)]
pub(super) enum Kind {
    Loop(LoopRun),
    Group(Group),
    Try(Attempted),
}

/// A loop that runs.
#[derive(Debug)]
pub(super) struct LoopRun {
    pub(super) plan: Plan,
    /// The step that recorded the items, if there are items.
    pub(super) opened: Option<i32>,
    /// The next round.
    pub(super) next: u32,
    /// How many rounds may run at a time.
    pub(super) at_once: u32,
    /// The results of the rounds that have ended.
    pub(super) results: BTreeMap<u32, Value>,
    pub(super) is_broken: bool,
}

impl LoopRun {
    /// A round's number as its scope shows it: with a `*` if rounds run side by side.
    pub(super) fn mark(&self, index: u32) -> String {
        let mark = if self.at_once > 1 { "*" } else { "" };
        format!("{mark}{index}")
    }
}

/// What a loop runs for.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    Items(Arc<Vec<Value>>),
    Times(u32),
    /// It is asked before each round.
    Asked,
}

/// Branches that run under a rule of their own.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) entries: Vec<Place>,
    /// What each leads to; `None` where branches meet at once, which is no branch.
    pub(super) regions: Vec<Option<Arc<Bits>>>,
    /// The next branch to start.
    pub(super) next: u32,
    /// How many must end well.
    pub(super) need: u32,
    pub(super) at_once: u32,
    pub(super) aggregation: Aggregation,
    /// The branches that have ended well, in that order.
    pub(super) ended: Vec<u32>,
    pub(super) results: BTreeMap<u32, Value>,
    pub(super) failed: u32,
}

impl Group {
    /// Branches that begin at these places.
    pub(super) fn new(graph: &Graph, entries: Vec<Place>, fan_out: Option<&FanOut>) -> Self {
        let mut group = Self {
            regions: graph.branches(&entries),
            entries,
            next: 0,
            need: 0,
            at_once: fan_out.map_or(u32::MAX, |fan_out| fan_out.at_once),
            aggregation: fan_out.map_or_else(Aggregation::default, |fan_out| fan_out.aggregation),
            ended: Vec::new(),
            results: BTreeMap::new(),
            failed: 0,
        };
        let all = group.len();
        let need = fan_out.and_then(|fan_out| fan_out.need);
        group.need = need.unwrap_or(all).min(all);
        group
    }

    /// The next branch to start, if there is one.
    pub(super) fn take_next(&mut self) -> Option<(u32, Place, Arc<Bits>)> {
        loop {
            let nth = usize::try_from(self.next).ok()?;
            let (entry, region) = (*self.entries.get(nth)?, self.regions.get(nth)?.clone());
            let index = self.next;
            self.next += 1;
            if let Some(region) = region {
                return Some((index, entry, region));
            }
        }
    }

    /// A branch's number as its scope shows it.
    pub(super) fn mark(index: u32) -> String {
        format!("#{index}")
    }

    /// How many branches there are.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.regions.iter().flatten().count()).unwrap_or(u32::MAX)
    }

    /// Whether it may go on without one more branch.
    pub(super) fn can_spare_one(&self) -> bool {
        self.len().saturating_sub(self.failed + 1) >= self.need
    }

    /// The value of `<node>_parallel_result`.
    pub(super) fn aggregate(&self) -> Value {
        let of = |index: Option<&u32>| {
            index
                .and_then(|index| self.results.get(index))
                .cloned()
                .unwrap_or_default()
        };
        match self.aggregation {
            Aggregation::First => of(self.ended.first()),
            Aggregation::Last => of(self.ended.last()),
            Aggregation::Array => self.results.values().cloned().collect(),
            Aggregation::Merge => {
                let mut merged = Map::new();
                for result in self.results.values() {
                    if let Value::Object(members) = result {
                        merged.extend(members.clone());
                    }
                }
                Value::Object(merged)
            }
        }
    }
}

/// A `try` that runs.
#[derive(Debug, Default)]
pub(super) struct Attempted {
    /// The error that its catch path handles or has handled.
    pub(super) caught: Option<Arc<Caught>>,
    /// What goes on when its last part has run.
    pub(super) pending: Option<Raised>,
    /// The result of the body or the catch path.
    pub(super) result: Value,
}

/// All frames and open nodes.
#[derive(Debug, Default)]
pub(super) struct Frames {
    pub(super) live: BTreeMap<FrameId, Frame>,
    pub(super) containers: BTreeMap<TokenId, Container>,
    pub(super) next: u32,
    /// Frames in which no token is left, to be looked at before the event is done with.
    pub(super) emptied: Vec<FrameId>,
}

impl Frames {
    pub(super) fn add(&mut self, frame: Frame) -> FrameId {
        let id = FrameId(self.next);
        self.next = self.next.wrapping_add(1);
        if let Some(container) = self.containers.get_mut(&frame.owner) {
            container.frames.insert(id);
        }
        self.live.insert(id, frame);
        id
    }

    pub(super) fn get(&self, id: FrameId) -> Option<&Frame> {
        self.live.get(&id)
    }

    /// The round that a loop node is asked about.
    pub(super) fn next_round(&self, owner: TokenId) -> u32 {
        match self.containers.get(&owner).map(|owner| &owner.kind) {
            Some(Kind::Loop(run)) => run.next,
            Some(Kind::Group(_) | Kind::Try(_)) | None => 0,
        }
    }

    /// A token has come into the frame.
    pub(super) fn count_in(&mut self, id: Option<FrameId>) {
        if let Some(frame) = id.and_then(|id| self.live.get_mut(&id)) {
            frame.live += 1;
        }
    }

    /// A token is gone from the frame.
    pub(super) fn count_out(&mut self, id: Option<FrameId>) {
        if let Some(id) = id
            && let Some(frame) = self.live.get_mut(&id)
        {
            frame.live = frame.live.saturating_sub(1);
            if frame.live == 0 {
                self.emptied.push(id);
            }
        }
    }

    /// The frame ends: it is no longer its node's.
    pub(super) fn remove(&mut self, id: FrameId) -> Option<Frame> {
        let frame = self.live.remove(&id)?;
        if let Some(container) = self.containers.get_mut(&frame.owner) {
            container.frames.remove(&id);
        }
        Some(frame)
    }
}
