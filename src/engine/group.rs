//! Fan-outs with a rule of their own: their branches begin, end, and are summed up.
//!
//! ```text
//! success ─► branches, up to `at_once` at a time ─► as many ended as are needed ─► the others are cancelled, on
//! ```

use serde_json::Map;

use crate::engine::frame::{Container, Exit, Frame, FrameId, Group, Kind, Part};
use crate::engine::graph::Place;
use crate::engine::{Faulty, IllegalEvent, Machine, StepStatus, Times, TokenId};

/// The most branches with a rule of their own behind one node: each keeps a set of nodes while it runs.
const MOST_BRANCHES: usize = 1_000;

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
        if entries.len() > MOST_BRANCHES {
            let message = format!(
                "{} branches with a rule of their own start here; at most {MOST_BRANCHES} may",
                entries.len()
            );
            return self.fail(id, Faulty::permanent("ConfigurationError", message), times);
        }
        let group = Group::new(&self.graph, entries, Some(&fan_out));
        // Where branches meet at once there is none to wait for.
        let meetings: Vec<Exit> = group
            .entries
            .iter()
            .zip(&group.regions)
            .filter(|(_, region)| region.is_none())
            .map(|(to, _)| Exit {
                to: *to,
                error: None,
            })
            .collect();
        self.open(id, Kind::Group(group), times);
        if let Some(container) = self.frames.containers.get_mut(&id) {
            container.leave_by(meetings);
        }
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
            if running >= group.at_once {
                return Ok(());
            }
            let Some((index, entry, region)) = group.take_next() else {
                return Ok(());
            };
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
            self.begin(frame, &[entry], None);
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
