//! Loops that run: their rounds begin, end, and are summed up.
//!
//! ```text
//! Iterate ─► rounds, up to `at_once` at a time ─► all ended, or a break ─► its step, then on
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::container::with_edges;
use crate::engine::frame::{Container, Frame, Kind, LoopRun, Part, Plan};
use crate::engine::graph::Place;
use crate::engine::options;
use crate::engine::token::TokenState;
use crate::engine::{Ended, Faulty, IllegalEvent, Machine, Rounds, StepStatus, Times, TokenId};

/// How many rounds run at a time if a loop says `parallel` and no limit.
const PARALLEL_ROUNDS: u32 = 10;

/// The most that a limit may name.
const MOST_AT_ONCE: f64 = 10_000.0;

impl Machine {
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

    pub(super) fn open_loop(
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

    /// Starts as many rounds as may run; the loop ends, or is asked again, when none is left.
    pub(super) fn next_rounds(&mut self, id: TokenId, times: Times) -> Result<(), IllegalEvent> {
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

    pub(super) fn start_round(&mut self, id: TokenId) -> Result<(), IllegalEvent> {
        let Some(token) = self.tokens.get(id) else {
            return Err(IllegalEvent::NotInFlight { token: id });
        };
        let place = token.place;
        let graph = Arc::clone(&self.graph);
        let Some(region) = graph.region(place) else {
            return Ok(());
        };
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
            region: Arc::clone(&region.body),
            scope,
            exits: Vec::new(),
            ends: Vec::new(),
        });
        self.begin(frame, &region.entries, None);
        Ok(())
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
}

fn rounds_are_known(rounds: &Rounds) -> bool {
    matches!(rounds, Rounds::Items(_) | Rounds::Times(_))
}
