//! Loops and fan-outs that run: their rounds and branches begin, end, and are summed up.
//!
//! ```text
//! loop:    Iterate ─► rounds, up to `at_once` at a time ─► all ended, or a break ─► its step, then on
//! fan-out: success ─► branches, up to `at_once` at a time ─► as many ended as are needed ─► the others are cancelled, on
//! ```
//!
//! Nothing here recurses: a frame in which no token is left is put on a list, which [`Machine::settle_frames`] works off.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::frame::{
    Container, Exit, Frame, FrameId, Group, Kind, LoopRun, Part, Plan, result_of,
};
use crate::engine::graph::Place;
use crate::engine::options;
use crate::engine::token::TokenState;
use crate::engine::{
    Ended, FailureKind, Faulty, IllegalEvent, Machine, Rounds, StepStatus, Times, TokenId,
};

/// How many rounds run at a time if a loop says `parallel` and no limit.
const PARALLEL_ROUNDS: u32 = 10;
/// The most that a limit may name.
const MOST_AT_ONCE: f64 = 10_000.0;

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
            Kind::Try(_) => self.part_ended(frame, times),
        }
    }

    /// A loop node has said what it runs for, for the first time or before another round.
    pub(super) fn iterate(
        &mut self,
        id: TokenId,
        rounds: Rounds,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let Some(token) = self.tokens.get(id) else {
            return Err(IllegalEvent::NotInFlight { token: id });
        };
        let place = token.place;
        let started =
            self.frames
                .containers
                .get(&id)
                .map_or(0, |container| match &container.kind {
                    Kind::Loop(run) => run.next,
                    Kind::Group(_) | Kind::Try(_) => 0,
                });
        let wanted = match &rounds {
            Rounds::Items(items) => items.len(),
            Rounds::Times(times) => usize::try_from(*times).unwrap_or(usize::MAX),
            Rounds::Next(goes_on) => {
                usize::try_from(started).unwrap_or(usize::MAX) + usize::from(*goes_on)
            }
        };
        let most = self.limits.max_iterations;
        if wanted > usize::try_from(most).unwrap_or(usize::MAX) {
            let message = match &rounds {
                Rounds::Next(_) => format!("the loop has run {most} times and would go on"),
                Rounds::Items(_) | Rounds::Times(_) => format!("the loop is to run {wanted} times"),
            };
            let message =
                format!("{message}; at most {most} are allowed (WORKFLOW_MAX_LOOP_ITERATIONS)");
            return self.fail(id, Faulty::permanent("LoopError", message), times);
        }
        let ends_here = rounds == Rounds::Next(false);
        if !self.frames.containers.contains_key(&id) {
            self.open_loop(id, place, rounds, times)?;
        }
        self.tokens.set(id, |token| {
            token.state = TokenState::Open;
            token.attempt = 1;
            token.failure = None;
        });
        if ends_here {
            self.finish_loop(id, times)
        } else {
            self.start_round(id)?;
            self.next_rounds(id, times)
        }
    }

    fn open_loop(
        &mut self,
        id: TokenId,
        place: Place,
        rounds: Rounds,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let config = Arc::clone(&self.graph.at(place).config);
        let is_parallel = options::flag(&config, "parallel").ok().flatten() == Some(true)
            && rounds_are_known(&rounds);
        let limit = options::whole(&config, "parallel_limit", 1.0, MOST_AT_ONCE)
            .ok()
            .flatten()
            .unwrap_or(PARALLEL_ROUNDS);
        let (plan, opened) = match rounds {
            Rounds::Items(items) => {
                let mut output = Map::new();
                output.insert("items".to_owned(), Value::Array(items.clone()));
                let seq = if items.is_empty() {
                    None
                } else {
                    let opened = self.record(id, StepStatus::Opened, Ended::with(output), times)?;
                    Some(opened)
                };
                (Plan::Items(Arc::new(items)), seq)
            }
            Rounds::Times(count) => (Plan::Times(count), None),
            Rounds::Next(_) => (Plan::Asked, None),
        };
        let run = LoopRun {
            plan,
            opened,
            next: 0,
            at_once: if is_parallel { limit } else { 1 },
            results: BTreeMap::new(),
            is_broken: false,
        };
        self.open(id, Kind::Loop(run), times);
        Ok(())
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

    /// Starts as many rounds as may run; the loop ends, or is asked again, when none is left.
    fn next_rounds(&mut self, id: TokenId, times: Times) -> Result<(), IllegalEvent> {
        loop {
            let Some(Container {
                kind: Kind::Loop(run),
                frames,
                ..
            }) = self.frames.containers.get(&id)
            else {
                return Ok(());
            };
            let has_more = !run.is_broken
                && match &run.plan {
                    Plan::Items(items) => {
                        usize::try_from(run.next).is_ok_and(|next| next < items.len())
                    }
                    Plan::Times(count) => run.next < *count,
                    Plan::Asked => true,
                };
            let running = u32::try_from(frames.len()).unwrap_or(u32::MAX);
            if !has_more {
                return if running == 0 {
                    self.finish_loop(id, times)
                } else {
                    Ok(())
                };
            }
            if running >= run.at_once {
                return Ok(());
            }
            if matches!(run.plan, Plan::Asked) {
                self.tokens.set(id, |token| token.state = TokenState::Ready);
                return Ok(());
            }
            self.start_round(id)?;
        }
    }

    fn start_round(&mut self, id: TokenId) -> Result<(), IllegalEvent> {
        let Some(token) = self.tokens.get(id) else {
            return Err(IllegalEvent::NotInFlight { token: id });
        };
        let place = token.place;
        let region = self.graph.region(place).cloned().unwrap_or_default();
        let Some(Container {
            kind: Kind::Loop(run),
            ..
        }) = self.frames.containers.get_mut(&id)
        else {
            return Ok(());
        };
        let is_over = match &run.plan {
            Plan::Items(items) => usize::try_from(run.next).is_ok_and(|next| next >= items.len()),
            Plan::Times(count) => run.next >= *count,
            Plan::Asked => false,
        };
        if is_over {
            return Ok(());
        }
        let index = run.next;
        run.next += 1;
        let name = run.mark(index);
        let scope = self.scope_inside(id, &name);
        let frame = self.frames.add(Frame {
            owner: id,
            part: Part::Body,
            index,
            live: 0,
            region: region.body,
            scope,
            exits: Vec::new(),
            ends: Vec::new(),
        });
        self.begin(frame, &region.entries);
        Ok(())
    }

    /// Puts a token on each of the places where a frame begins.
    pub(super) fn begin(&mut self, frame: FrameId, entries: &[Place]) {
        let mut unsettled = Vec::new();
        for &entry in entries {
            self.arrive(entry, Some(frame), None, &mut unsettled);
        }
        self.settle_joins(unsettled);
        if self.frames.get(frame).is_some_and(|frame| frame.live == 0) {
            self.frames.emptied.push(frame);
        }
    }

    pub(super) fn finish_loop(&mut self, id: TokenId, times: Times) -> Result<(), IllegalEvent> {
        let Some(container) = self.frames.containers.remove(&id) else {
            return Ok(());
        };
        let Some(token) = self.tokens.get(id) else {
            return Ok(());
        };
        let place = token.place;
        let after = self
            .graph
            .region(place)
            .map(|region| region.after.clone())
            .unwrap_or_default();
        let mut output = Map::new();
        if let Kind::Loop(run) = container.kind {
            let kind = match run.plan {
                Plan::Items(_) => "for",
                Plan::Times(_) => "repeat",
                Plan::Asked => "while",
            };
            output.insert("loop_type".to_owned(), kind.into());
            output.insert("iterations".to_owned(), run.next.into());
            if self.graph.collects_results(place) {
                let results: Vec<Value> = run.results.into_values().collect();
                output.insert("results".to_owned(), results.into());
            }
            output.insert("broken".to_owned(), run.is_broken.into());
        }
        let exits = with_edges(container.exits, after);
        self.leave(
            id,
            StepStatus::Success,
            output,
            exits,
            Times {
                started_at: container.started_at,
                ..times
            },
        )
    }

    /// Several branches are to run under a rule of their own.
    pub(super) fn open_group(
        &mut self,
        id: TokenId,
        entries: Vec<Place>,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let Some(fan_out) = self
            .tokens
            .get(id)
            .and_then(|token| self.graph.options(token.place).fan_out.clone())
        else {
            return Ok(());
        };
        let branches = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let group = Group {
            regions: self.graph.branches(&entries),
            entries,
            next: 0,
            need: fan_out.need.unwrap_or(branches).min(branches),
            at_once: fan_out.at_once,
            aggregation: fan_out.aggregation,
            ended: Vec::new(),
            results: BTreeMap::new(),
            failed: 0,
        };
        self.open(id, Kind::Group(group), times);
        self.next_branches(id, times)
    }

    /// Starts as many branches as may run; the fan-out ends when enough of them have ended.
    pub(super) fn next_branches(&mut self, id: TokenId, times: Times) -> Result<(), IllegalEvent> {
        loop {
            let Some(Container {
                kind: Kind::Group(group),
                frames,
                ..
            }) = self.frames.containers.get_mut(&id)
            else {
                return Ok(());
            };
            let ended = u32::try_from(group.ended.len()).unwrap_or(u32::MAX);
            if ended >= group.need {
                return self.finish_group(id, times);
            }
            let running = u32::try_from(frames.len()).unwrap_or(u32::MAX);
            if group.next >= group.len() || running >= group.at_once {
                return Ok(());
            }
            let index = group.next;
            group.next += 1;
            let nth = usize::try_from(index).unwrap_or(usize::MAX);
            let (entry, region) = (
                group.entries.get(nth).copied(),
                group.regions.get(nth).cloned().unwrap_or_default(),
            );
            let scope = self.scope_inside(id, &Group::mark(index));
            let frame = self.frames.add(Frame {
                owner: id,
                part: Part::Body,
                index,
                live: 0,
                region,
                scope,
                exits: Vec::new(),
                ends: Vec::new(),
            });
            self.begin(frame, entry.as_slice());
        }
    }

    fn finish_group(&mut self, id: TokenId, times: Times) -> Result<(), IllegalEvent> {
        let losers: Vec<FrameId> = self
            .frames
            .containers
            .get(&id)
            .map(|container| container.frames.iter().copied().collect())
            .unwrap_or_default();
        for loser in losers {
            self.cancel_frame(loser);
        }
        let Some(container) = self.frames.containers.remove(&id) else {
            return Ok(());
        };
        let mut output = Map::new();
        if let Kind::Group(group) = &container.kind {
            output.insert("result".to_owned(), group.aggregate());
        }
        self.leave(
            id,
            StepStatus::Joined,
            output,
            container.exits,
            Times {
                started_at: container.started_at,
                ..times
            },
        )
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
        let slash = if around.is_empty() { "" } else { "/" };
        let node = &token.node;
        if token.visit > 1 {
            format!("{around}{slash}{node}@{}[{own}]", token.visit).into()
        } else {
            format!("{around}{slash}{node}[{own}]").into()
        }
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

fn rounds_are_known(rounds: &Rounds) -> bool {
    matches!(rounds, Rounds::Items(_) | Rounds::Times(_))
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
