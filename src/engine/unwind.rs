//! The ways out of what runs: an error, `break`, `continue`, a branch that is no longer needed.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::engine::event::Awaited;
use crate::engine::frame::{Container, FrameId, Kind, Raised, result_of};
use crate::engine::{IllegalEvent, Machine, Times, TokenId};
use crate::ids::NodeId;

/// A token that was cancelled: its work is to be stopped, and what it awaits is no longer wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// Which.
    pub token: TokenId,
    /// Where it was.
    pub node: NodeId,
    /// What it awaited.
    pub awaited: Option<Arc<Awaited>>,
}

impl Machine {
    /// The tokens that were cancelled since the last call.
    pub fn take_dropped(&mut self) -> Vec<Dropped> {
        std::mem::take(&mut self.dropped)
    }

    /// Something leaves `frame` and what is around it, until it is handled. An error must be one that is handled.
    pub(super) fn raise(
        &mut self,
        frame: Option<FrameId>,
        raised: Raised,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let mut at = frame;
        while let Some(id) = at {
            let Some((owner, part)) = self.frames.get(id).map(|frame| (frame.owner, frame.part))
            else {
                return Ok(());
            };
            let around = self.tokens.get(owner).and_then(|token| token.frame);
            let Some(container) = self.frames.containers.get_mut(&owner) else {
                return Ok(());
            };
            match (&mut container.kind, &raised) {
                (Kind::Try(_), _) => {
                    if self.handles(owner, part, &raised) {
                        self.cancel_frame(id);
                        self.handle(owner, part, raised)?;
                        return Ok(());
                    }
                }
                (Kind::Loop(_), Raised::Break(target)) if *target == owner => {
                    return self.break_loop(owner, id, times);
                }
                (Kind::Loop(_), Raised::Continue(target)) if *target == owner => {
                    let Some(frame) = self.cancel_frame(id) else {
                        return Ok(());
                    };
                    return self.frame_ended(frame, times);
                }
                (Kind::Group(group), Raised::Error(_)) if group.can_spare_one() => {
                    group.failed += 1;
                    self.cancel_frame(id);
                    return self.next_branches(owner, times);
                }
                (Kind::Loop(_) | Kind::Group(_), _) => {}
            }
            at = around;
        }
        Ok(())
    }

    fn handles(&self, owner: TokenId, part: crate::engine::frame::Part, raised: &Raised) -> bool {
        use crate::engine::frame::Part;
        let Some(place) = self.tokens.get(owner).map(|token| token.place) else {
            return false;
        };
        let has_last = self
            .graph
            .region(place)
            .is_some_and(|region| !region.finallies.is_empty());
        match (part, raised) {
            (Part::Finally, _) => false,
            (Part::Body, Raised::Error(error)) => {
                has_last || self.catch_for(place, error).is_some()
            }
            (Part::Body | Part::Catch, _) => has_last,
        }
    }

    fn break_loop(
        &mut self,
        owner: TokenId,
        frame: FrameId,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let all: Vec<FrameId> = self
            .frames
            .containers
            .get(&owner)
            .map(|container| container.frames.iter().copied().collect())
            .unwrap_or_default();
        let mut last = None;
        for id in all {
            let cancelled = self.cancel_frame(id);
            if id == frame {
                last = cancelled;
            }
        }
        if let Some(Container {
            kind: Kind::Loop(run),
            exits: _,
            ..
        }) = self.frames.containers.get_mut(&owner)
        {
            run.is_broken = true;
            if let Some(last) = &last {
                run.results.insert(last.index, result_of(&last.ends));
            }
        }
        if let (Some(container), Some(last)) = (self.frames.containers.get_mut(&owner), last) {
            container.leave_by(last.exits);
        }
        self.finish_loop(owner, times)
    }

    /// Takes all tokens out of a frame and out of all frames inside it, and ends it.
    pub(super) fn cancel_frame(&mut self, id: FrameId) -> Option<crate::engine::frame::Frame> {
        let mut inside = BTreeSet::from([id]);
        loop {
            let deeper: Vec<FrameId> = self
                .frames
                .live
                .iter()
                .filter(|(frame, _)| !inside.contains(frame))
                .filter(|(_, frame)| {
                    self.tokens
                        .get(frame.owner)
                        .and_then(|token| token.frame)
                        .is_some_and(|around| inside.contains(&around))
                })
                .map(|(frame, _)| *frame)
                .collect();
            if deeper.is_empty() {
                break;
            }
            inside.extend(deeper);
        }
        let gone: Vec<TokenId> = self
            .tokens
            .iter()
            .filter(|(_, token)| token.frame.is_some_and(|frame| inside.contains(&frame)))
            .map(|(id, _)| id)
            .collect();
        for token in gone {
            self.drop_token(token);
        }
        self.joins.forget(&inside);
        let mut cancelled = None;
        for frame in inside {
            let removed = self.frames.remove(frame);
            if frame == id {
                cancelled = removed;
            }
        }
        cancelled
    }

    fn drop_token(&mut self, id: TokenId) {
        self.frames.containers.remove(&id);
        self.joins.unwatch(id);
        if let Some(token) = self.tokens.remove(id) {
            self.budget_used = self.budget_used.saturating_sub(token.used);
            let awaited = token.state.awaited().map(|(wait, _)| Arc::clone(wait));
            if self.failed == Some(id) {
                self.failed = None;
            }
            self.dropped.push(Dropped {
                token: id,
                node: token.node,
                awaited,
            });
        }
    }

    /// The loop that a `break` or `continue` means: the nearest, or the one of that name (its node's id, or its own
    /// `loop_label`).
    pub(super) fn loop_named(&self, id: TokenId, label: &str) -> Option<TokenId> {
        let mut at = self.tokens.get(id)?.frame;
        while let Some(frame) = at.and_then(|id| self.frames.get(id)) {
            let token = self.tokens.get(frame.owner)?;
            let kind = self
                .frames
                .containers
                .get(&frame.owner)
                .map(|owner| &owner.kind);
            if matches!(kind, Some(Kind::Loop(_))) {
                let own = self.graph.at(token.place).config.get("loop_label");
                if label.is_empty()
                    || token.node.as_str() == label
                    || own.and_then(Value::as_str).map(str::trim) == Some(label)
                {
                    return Some(frame.owner);
                }
            }
            at = token.frame;
        }
        None
    }
}
