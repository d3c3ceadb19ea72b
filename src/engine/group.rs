//! Fan-outs with a rule of their own: their branches begin, end, and are summed up.
//!
//! ```text
//! success ─► branches, up to `at_once` at a time ─► as many ended as are needed ─► the others are cancelled, on
//! ```

use std::collections::BTreeMap;

use serde_json::Map;

use crate::engine::frame::{Container, Frame, FrameId, Group, Kind, Part};
use crate::engine::graph::Place;
use crate::engine::{IllegalEvent, Machine, StepStatus, Times, TokenId};

impl Machine {
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

    pub(super) fn finish_group(&mut self, id: TokenId, times: Times) -> Result<(), IllegalEvent> {
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
}
