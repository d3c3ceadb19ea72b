//! What is recorded of a visit.

use std::sync::Arc;

use serde_json::Map;

use crate::engine::frame::Exit;
use crate::engine::graph::Place;
use crate::engine::{Ended, IllegalEvent, Machine, Step, StepStatus, Times, TokenId};
use crate::ids::Visit;

impl Machine {
    pub(super) fn record(
        &mut self,
        id: TokenId,
        status: StepStatus,
        ended: Ended,
        times: Times,
    ) -> Result<i32, IllegalEvent> {
        let token = self
            .tokens
            .get(id)
            .ok_or(IllegalEvent::NotInFlight { token: id })?;
        let scope = token
            .frame
            .and_then(|frame| self.frames.get(frame))
            .map(|frame| Arc::clone(&frame.scope))
            .unwrap_or_default();
        self.seq = self.seq.checked_add(1).ok_or(IllegalEvent::TooManySteps)?;
        self.steps.push(Step {
            seq: self.seq,
            node: token.node.clone(),
            node_type: self.graph.at(token.place).node_type.to_string(),
            visit: token.visit,
            attempt: token.attempt,
            status,
            output: Arc::new(ended.output),
            error: ended.error,
            started_at: times.started_at,
            finished_at: times.now,
            scope,
            is_end: false,
        });
        Ok(self.seq)
    }

    /// Records what ends a visit. If no edge goes on inside its frame, it is (part of) the result of that.
    pub(super) fn record_end(
        &mut self,
        id: TokenId,
        status: StepStatus,
        ended: Ended,
        exits: &[Exit],
        times: Times,
    ) -> Result<(), IllegalEvent> {
        self.record(id, status, ended, times)?;
        let frame = self.tokens.get(id).and_then(|token| token.frame);
        if let Some(frame) = frame.and_then(|frame| self.frames.live.get_mut(&frame))
            && let Some(step) = self.steps.last_mut()
            && !exits.iter().any(|exit| frame.region.contains(exit.to.0))
        {
            step.is_end = true;
            frame
                .ends
                .push((step.node.clone(), Arc::clone(&step.output)));
        }
        Ok(())
    }

    /// Records that a `catch` had nothing to catch.
    pub(super) fn record_skipped(
        &mut self,
        owner: TokenId,
        place: Place,
        times: Times,
    ) -> Result<(), IllegalEvent> {
        let visit = self.next_visit(place);
        self.record(owner, StepStatus::Skipped, Ended::with(Map::new()), times)?;
        let node = self.graph.at(place);
        if let Some(step) = self.steps.last_mut() {
            step.node = node.id.clone();
            step.node_type = node.node_type.to_string();
            step.visit = visit;
            step.attempt = 1;
            step.started_at = times.now;
        }
        Ok(())
    }

    pub(super) fn next_visit(&mut self, place: Place) -> Visit {
        let visit = self.visits.entry(place).or_default();
        *visit = visit.saturating_add(1);
        *visit
    }
}
