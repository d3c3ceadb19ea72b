//! Loops and fan-outs that run: their rounds and branches begin, end, and are summed up.
//!
//! ```text
//! loop:    Iterate ─► rounds, up to `at_once` at a time ─► all ended, or a break ─► its step, then on
//! fan-out: success ─► branches, up to `at_once` at a time ─► as many ended as are needed ─► the others are cancelled, on
//! ```
//!
//! Nothing here recurses: a frame in which no token is left is put on a list, which [`Machine::settle_frames`] works off.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::frame::{Caught, Container, Exit, Frame, FrameId, Kind, Plan, result_of};
use crate::engine::graph::Place;
use crate::engine::token::TokenState;
use crate::engine::{
    Ended, FailureKind, Faulty, IllegalEvent, Machine, StepStatus, Times, TokenId, scope_inside,
};

impl Machine {
    /// Ends every frame in which no token is left, and does what follows from that, until nothing more follows.
    pub(super) fn settle_frames(&mut self, times: Times) -> Result<(), IllegalEvent> {
        while let Some(id) = self.frames.emptied.pop() {
            if self.frames.get(id).is_some_and(|frame| frame.live == 0)
                && let Some(frame) = self.frames.remove(id)
            {
                self.frame_ended(frame, times)?;
            }
        }
        Ok(())
    }

    /// A frame's last token is gone.
    pub(super) fn frame_ended(&mut self, frame: Frame, times: Times) -> Result<(), IllegalEvent> {
        let owner = frame.owner;
        let Some(container) = self.frames.containers.get_mut(&owner) else {
            return Ok(());
        };
        let collects = self
            .tokens
            .get(owner)
            .is_some_and(|token| self.graph.collects_results(token.place));
        match &mut container.kind {
            Kind::Loop(run) => {
                if collects {
                    run.results.insert(frame.index, result_of(&frame.ends));
                }
                container.leave_by(frame.exits);
                self.next_rounds(owner, times)
            }
            Kind::Group(group) => {
                group.ended.push(frame.index);
                group.results.insert(frame.index, result_of(&frame.ends));
                container.leave_by(frame.exits);
                self.next_branches(owner, times)
            }
            Kind::Try(_) => self.part_ended(&frame, times),
        }
    }

    /// The node stays where it is while what is inside it runs.
    pub(super) fn open(&mut self, id: TokenId, kind: Kind, times: Times) {
        self.tokens.set(id, |token| token.state = TokenState::Open);
        let container = Container {
            kind,
            started_at: times.started_at,
            frames: std::collections::BTreeSet::new(),
            exits: Vec::new(),
        };
        self.frames.containers.insert(id, container);
    }

    /// Puts a token on each of the places where a frame begins.
    pub(super) fn begin(&mut self, frame: FrameId, entries: &[Place], error: Option<&Arc<Caught>>) {
        let mut unsettled = Vec::new();
        for &entry in entries {
            self.arrive(entry, Some(frame), error.cloned(), &mut unsettled);
        }
        self.settle_joins(unsettled);
        if self.frames.get(frame).is_some_and(|frame| frame.live == 0) {
            self.frames.emptied.push(frame);
        }
    }

    /// An open node is done: its step, and on to where it leads.
    pub(super) fn leave(
        &mut self,
        id: TokenId,
        status: StepStatus,
        output: Map<String, Value>,
        exits: Vec<Exit>,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        self.record_end(id, status, Ended::with(output), &exits, times)?;
        self.pass(id, exits);
        Ok(())
    }

    /// The scope of a frame inside an open node.
    pub(super) fn scope_inside(&self, id: TokenId, own: &str) -> Arc<str> {
        let Some(token) = self.tokens.get(id) else {
            return Arc::default();
        };
        let around = token
            .frame
            .and_then(|frame| self.frames.get(frame))
            .map_or("", |frame| &frame.scope);
        let inside = scope_inside(around, &token.node, token.visit);
        format!("{inside}{own}]").into()
    }

    /// What the names `item`, `index`, `loop` and `error` are at a token.
    pub(super) fn locals(&self, id: TokenId) -> Vec<(String, Value)> {
        let mut chain = Vec::new();
        let mut at = self.tokens.get(id);
        let error = at.and_then(|token| token.error.clone());
        while let Some(frame) = at
            .and_then(|token| token.frame)
            .and_then(|id| self.frames.get(id))
        {
            chain.push(frame);
            at = self.tokens.get(frame.owner);
        }
        let mut locals = Vec::new();
        for frame in chain.into_iter().rev() {
            let owner = self.frames.containers.get(&frame.owner);
            if let (Some(Kind::Loop(run)), Some(token)) =
                (owner.map(|owner| &owner.kind), self.tokens.get(frame.owner))
            {
                let node = self.graph.at(token.place);
                let variable = node
                    .config
                    .get("loop_variable")
                    .and_then(Value::as_str)
                    .map(str::trim)
                    .filter(|name| !name.is_empty())
                    .unwrap_or("item");
                let (item, total) = match &run.plan {
                    Plan::Items(items) => (
                        usize::try_from(frame.index)
                            .ok()
                            .and_then(|index| items.get(index))
                            .cloned()
                            .unwrap_or_default(),
                        Value::from(items.len()),
                    ),
                    Plan::Times(count) => (frame.index.into(), (*count).into()),
                    Plan::Asked => (frame.index.into(), Value::Null),
                };
                let mut about = Map::new();
                about.insert("node_id".to_owned(), token.node.as_str().into());
                about.insert("index".to_owned(), frame.index.into());
                about.insert("iteration".to_owned(), (frame.index + 1).into());
                about.insert("total".to_owned(), total);
                locals.push(("index".to_owned(), frame.index.into()));
                locals.push(("loop".to_owned(), about.into()));
                locals.push((variable.to_owned(), item));
            }
        }
        locals.extend(error.map(|error| ("error".to_owned(), error.to_value())));
        locals
    }
}

/// The exits, and one for each edge that is taken at the end.
pub(super) fn with_edges(mut exits: Vec<Exit>, after: Vec<Place>) -> Vec<Exit> {
    for to in after {
        if !exits.iter().any(|exit| exit.to == to) {
            exits.push(Exit { to, error: None });
        }
    }
    exits
}

impl Faulty {
    /// A failure that another attempt would not help.
    pub(super) fn permanent(error_type: &str, message: String) -> Self {
        Self {
            kind: FailureKind::Permanent,
            message,
            output: Map::new(),
            error_type: error_type.into(),
            retry_after: None,
        }
    }
}
