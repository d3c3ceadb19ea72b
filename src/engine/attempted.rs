//! A `try` that runs: its body, what runs after an error, and what runs in any case.
//!
//! ```text
//! body ──ends──────────────────────────► finally ─► its step, on
//!   └─error that a catch names─► catch ─► finally ─► its step, on
//!   └─any other error──────────────────► finally ─► the error goes on outwards
//! ```
//!
//! A body that ends well skips the catch: it goes on at the `finally`, or, if there is none, at what follows the catch,
//! unless the node before had another way to go.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::container::with_edges;
use crate::engine::frame::{
    Attempted, Caught, Container, Exit, Frame, FrameId, Kind, Part, Raised, result_of,
};
use crate::engine::graph::Place;
use crate::engine::region::Region;
use crate::engine::token::{FailureNote, TokenState};
use crate::engine::{Command, IllegalEvent, Machine, StepStatus, Times, TokenId};

/// Words of `error_type` that name every error.
const ANY_ERROR: [&str; 5] = ["*", "any", "all", "error", "exception"];

impl Machine {
    pub(super) fn open_try(&mut self, id: TokenId, times: Times) -> Result<(), IllegalEvent> {
        let region = self.region_of(id);
        self.open(id, Kind::Try(Attempted::default()), times);
        self.start_part(id, Part::Body, &region.entries, None)
    }

    fn region_of(&self, id: TokenId) -> Region {
        self.tokens
            .get(id)
            .and_then(|token| self.graph.region(token.place))
            .cloned()
            .unwrap_or_default()
    }

    fn attempted(&mut self, id: TokenId) -> Option<&mut Attempted> {
        match &mut self.frames.containers.get_mut(&id)?.kind {
            Kind::Try(attempted) => Some(attempted),
            Kind::Loop(_) | Kind::Group(_) => None,
        }
    }

    fn start_part(
        &mut self,
        id: TokenId,
        part: Part,
        entries: &[Place],
        error: Option<&Arc<Caught>>,
    ) -> Result<(), IllegalEvent> {
        let region = self.region_of(id);
        let (name, nodes) = match part {
            Part::Body => ("body", region.body),
            Part::Catch => ("catch", region.catch_path),
            Part::Finally => ("finally", region.finally_path),
        };
        let scope = self.scope_inside(id, name);
        let frame = self.frames.add(Frame {
            owner: id,
            part,
            index: 0,
            live: 0,
            region: nodes,
            scope,
            exits: Vec::new(),
            ends: Vec::new(),
        });
        self.begin(frame, entries, error);
        Ok(())
    }

    /// A part of a `try` has come to its end.
    pub(super) fn part_ended(&mut self, frame: &Frame, times: Times) -> Result<(), IllegalEvent> {
        let id = frame.owner;
        let region = self.region_of(id);
        let result = result_of(&frame.ends);
        let is_last = |exit: &Exit| region.finallies.contains(&exit.to);
        let is_catch = |exit: &Exit| region.catches.contains(&exit.to);
        let beyond: Vec<Exit> = frame
            .exits
            .iter()
            .filter(|exit| !(is_last(exit) || frame.part == Part::Body && is_catch(exit)))
            .cloned()
            .collect();
        if let Some(container) = self.frames.containers.get_mut(&id) {
            container.leave_by(beyond);
        }
        match frame.part {
            Part::Body | Part::Catch => {
                if let Some(attempted) = self.attempted(id) {
                    attempted.result = result;
                }
                if frame.part == Part::Body {
                    let skipped: Vec<Place> = if region.entries.is_empty() {
                        // There is nothing between the try and its catch.
                        region.catches.clone()
                    } else {
                        let exits = frame.exits.iter();
                        exits
                            .filter(|exit| is_catch(exit))
                            .map(|exit| exit.to)
                            .collect()
                    };
                    self.skip(id, &skipped, region.finallies.is_empty(), times)?;
                }
                if region.finallies.is_empty() {
                    return self.finish_try(id, times);
                }
                let error = self
                    .attempted(id)
                    .and_then(|attempted| attempted.caught.clone());
                self.start_part(id, Part::Finally, &region.finallies, error.as_ref())
            }
            Part::Finally => {
                match self
                    .attempted(id)
                    .and_then(|attempted| attempted.pending.take())
                {
                    None => self.finish_try(id, times),
                    Some(raised) => self.raise_again(id, raised, times),
                }
            }
        }
    }

    /// There was nothing to catch: what follows the catch runs all the same, unless a `finally` comes first.
    fn skip(
        &mut self,
        id: TokenId,
        catches: &[Place],
        goes_on: bool,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        for &catch in catches {
            self.record_skipped(id, catch, times)?;
            if goes_on {
                let onward: Vec<Exit> = self
                    .graph
                    .outgoing(catch)
                    .iter()
                    .filter(|edge| !edge.closes_loop)
                    .map(|edge| Exit {
                        to: edge.to,
                        error: None,
                    })
                    .collect();
                if let Some(container) = self.frames.containers.get_mut(&id) {
                    container.leave_by(onward);
                }
            }
        }
        Ok(())
    }

    fn finish_try(&mut self, id: TokenId, times: Times) -> Result<(), IllegalEvent> {
        let after = self.region_of(id).after;
        let Some(Container {
            kind: Kind::Try(attempted),
            started_at,
            mut exits,
            ..
        }) = self.frames.containers.remove(&id)
        else {
            return Ok(());
        };
        let mut output = Map::new();
        let outcome = if attempted.caught.is_some() {
            "caught"
        } else {
            "success"
        };
        output.insert("outcome".to_owned(), outcome.into());
        let error = attempted
            .caught
            .as_ref()
            .map_or(Value::Null, |caught| caught.to_value());
        output.insert("error".to_owned(), error);
        output.insert("result".to_owned(), attempted.result);
        exits = with_edges(exits, after);
        for exit in &mut exits {
            exit.error = exit.error.take().or_else(|| attempted.caught.clone());
        }
        self.leave(
            id,
            StepStatus::Success,
            output,
            exits,
            Times {
                started_at,
                ..times
            },
        )
    }

    /// After the last part: what was on its way out goes on. An error that nothing else handles fails the execution at
    /// the `try`, which is where a later retry begins again.
    fn raise_again(
        &mut self,
        id: TokenId,
        raised: Raised,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        self.frames.containers.remove(&id);
        let frame = self.tokens.get(id).and_then(|token| token.frame);
        if let Raised::Error(error) = &raised
            && !self.is_handled(frame, error)
        {
            let words = error.words.clone();
            let node = self.tokens.get(id).map(|token| token.node.clone());
            let seq = self.seq;
            self.tokens.set(id, |token| {
                token.state = TokenState::Failed;
                token.failure = Some(FailureNote {
                    seq,
                    message: words.clone(),
                    retry: None,
                    max: 0,
                });
            });
            if self.failed.is_none() {
                self.failed = Some(id);
                self.ending = Some(Command::Fail {
                    node,
                    message: words,
                });
            }
            return Ok(());
        }
        self.tokens.set(id, |token| token.state = TokenState::Open);
        let around = frame;
        self.raise(around, raised, times)?;
        // Unless the way out has taken it along already.
        if self.tokens.get(id).is_some() {
            self.pass(id, Vec::new());
        }
        Ok(())
    }

    /// Whether an error would be handled somewhere around, or at least something is to run before it ends the execution.
    pub(super) fn is_handled(&self, frame: Option<FrameId>, error: &Caught) -> bool {
        let mut at = frame;
        while let Some(frame) = at.and_then(|id| self.frames.get(id)) {
            let Some(token) = self.tokens.get(frame.owner) else {
                return false;
            };
            let region = self.graph.region(token.place);
            match self
                .frames
                .containers
                .get(&frame.owner)
                .map(|container| &container.kind)
            {
                Some(Kind::Try(_)) if frame.part != Part::Finally => {
                    let catches =
                        frame.part == Part::Body && self.catch_for(token.place, error).is_some();
                    if catches || region.is_some_and(|region| !region.finallies.is_empty()) {
                        return true;
                    }
                }
                Some(Kind::Group(group)) if group.can_spare_one() => return true,
                Some(Kind::Try(_) | Kind::Loop(_) | Kind::Group(_)) | None => {}
            }
            at = token.frame;
        }
        false
    }

    /// The first catch of a `try` that names this error.
    pub(super) fn catch_for(&self, place: Place, error: &Caught) -> Option<Place> {
        let region = self.graph.region(place)?;
        region.catches.iter().copied().find(|&catch| {
            let node = self.graph.at(catch);
            &*node.node_type != "catch" || names(node.config.get("error_type"), error)
        })
    }

    /// Runs the catch path of a `try` whose body has failed, or what runs in any case. Its frame is gone by now.
    pub(super) fn handle(
        &mut self,
        id: TokenId,
        part: Part,
        raised: Raised,
    ) -> Result<bool, IllegalEvent> {
        let region = self.region_of(id);
        let Some(place) = self.tokens.get(id).map(|token| token.place) else {
            return Ok(false);
        };
        if let (Part::Body, Raised::Error(error)) = (part, &raised)
            && let Some(catch) = self.catch_for(place, error)
        {
            if let Some(attempted) = self.attempted(id) {
                attempted.caught = Some(Arc::clone(error));
            }
            self.start_part(id, Part::Catch, &[catch], Some(error))?;
            return Ok(true);
        }
        if part != Part::Finally && !region.finallies.is_empty() {
            let error = match &raised {
                Raised::Error(error) => Some(Arc::clone(error)),
                Raised::Break(_) | Raised::Continue(_) => None,
            };
            if let Some(attempted) = self.attempted(id) {
                attempted.pending = Some(raised);
            }
            self.start_part(id, Part::Finally, &region.finallies, error.as_ref())?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// Whether `error_type` (names, comma-separated; not set: all) names the error: its type, with or without `Error` at the
/// end, its node's type, or the beginning of its message.
fn names(error_type: Option<&Value>, error: &Caught) -> bool {
    let Some(text) = error_type.and_then(Value::as_str) else {
        return true;
    };
    let mut wanted = text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .peekable();
    if wanted.peek().is_none() {
        return true;
    }
    let short = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.strip_suffix("error")
            .or_else(|| name.strip_suffix("exception"))
            .unwrap_or(&name)
            .to_owned()
    };
    let is_any = |name: &str| ANY_ERROR.iter().any(|any| any.eq_ignore_ascii_case(name));
    wanted.any(|name| {
        is_any(name)
            || short(name) == short(&error.error_type)
            || name.eq_ignore_ascii_case(&error.node_type)
            || error
                .message
                .to_ascii_lowercase()
                .starts_with(&name.to_ascii_lowercase())
    })
}
