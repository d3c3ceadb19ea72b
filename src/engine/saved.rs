//! Open nodes and frames in a checkpoint.
//!
//! What the graph and the recorded steps say is not saved again: regions, scopes, a loop's items, the results of what has
//! ended. So a checkpoint inside round 10,000 is as small as one inside round 1.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::checkpoint::{BadCheckpoint, History};
use crate::engine::frame::{
    Attempted, Caught, Container, Exit, Frame, FrameId, Group, Kind, LoopRun, Part, Plan, Raised,
    result_of,
};
use crate::engine::graph::Place;
use crate::engine::{Machine, TokenId};
use crate::ids::{NodeId, Timestamp};

/// An open node, as saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedContainer {
    token: TokenId,
    started_at: Timestamp,
    kind: SavedKind,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exits: Vec<SavedExit>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedKind {
    Loop {
        /// For so many rounds; else for the items of step `opened`, else asked before each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        times: Option<u32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opened: Option<i32>,
        next: u32,
        at_once: u32,
    },
    Group {
        entries: Vec<NodeId>,
        next: u32,
        ended: Vec<u32>,
        failed: u32,
    },
    Try {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caught: Option<Arc<Caught>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pending: Option<Raised>,
        /// The part whose result it has.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        result: Value,
    },
}

/// A frame, as saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedFrame {
    id: FrameId,
    token: TokenId,
    part: Part,
    index: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exits: Vec<SavedExit>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SavedExit {
    to: NodeId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Arc<Caught>>,
}

impl Machine {
    /// The open nodes and their frames, those around others first.
    pub(super) fn saved_frames(&self) -> (Vec<SavedContainer>, Vec<SavedFrame>) {
        let open = self
            .frames
            .containers
            .iter()
            .map(|(token, container)| SavedContainer {
                token: *token,
                started_at: container.started_at,
                kind: self.saved_kind(&container.kind),
                exits: self.saved_exits(&container.exits),
            });
        let frames = self.frames.live.iter().map(|(id, frame)| SavedFrame {
            id: *id,
            token: frame.owner,
            part: frame.part,
            index: frame.index,
            exits: self.saved_exits(&frame.exits),
        });
        (open.collect(), frames.collect())
    }

    fn saved_kind(&self, kind: &Kind) -> SavedKind {
        match kind {
            Kind::Loop(run) => SavedKind::Loop {
                times: match &run.plan {
                    Plan::Times(times) => Some(*times),
                    Plan::Items(_) | Plan::Asked => None,
                },
                opened: run.opened,
                next: run.next,
                at_once: run.at_once,
            },
            Kind::Group(group) => SavedKind::Group {
                entries: group
                    .entries
                    .iter()
                    .map(|place| self.graph.at(*place).id.clone())
                    .collect(),
                next: group.next,
                ended: group.ended.clone(),
                failed: group.failed,
            },
            Kind::Try(attempted) => SavedKind::Try {
                caught: attempted.caught.clone(),
                pending: attempted.pending.clone(),
                result: attempted.result.clone(),
            },
        }
    }

    fn saved_exits(&self, exits: &[Exit]) -> Vec<SavedExit> {
        exits
            .iter()
            .map(|exit| SavedExit {
                to: self.graph.at(exit.to).id.clone(),
                error: exit.error.clone(),
            })
            .collect()
    }

    /// Puts back what was open. The tokens are there by now.
    pub(super) fn put_frames_back(
        &mut self,
        open: Vec<SavedContainer>,
        frames: Vec<SavedFrame>,
        history: &History,
    ) -> Result<(), BadCheckpoint> {
        for saved in open {
            let exits = self.exits_of(saved.exits)?;
            let kind = self.kind_of(saved.token, saved.kind, history)?;
            let container = Container {
                kind,
                started_at: saved.started_at,
                frames: BTreeSet::new(),
                exits,
            };
            self.frames.containers.insert(saved.token, container);
        }
        // An inner frame is younger than the one around it, so that scopes can be made in this order.
        for saved in frames {
            self.put_frame_back(saved, history)?;
        }
        let of_tokens: Vec<Option<FrameId>> =
            self.tokens.iter().map(|(_, token)| token.frame).collect();
        for frame in of_tokens {
            self.frames.count_in(frame);
        }
        // The results of rounds and branches that have ended are found by their scopes, which are known only now.
        let owners: Vec<TokenId> = self.frames.containers.keys().copied().collect();
        for owner in owners {
            self.recover_results(owner, history);
        }
        // A frame may have been left by its last token in the very moment that was recorded.
        let empty = self.frames.live.iter().filter(|(_, frame)| frame.live == 0);
        self.frames.emptied = empty.map(|(id, _)| *id).collect();
        Ok(())
    }

    fn put_frame_back(
        &mut self,
        saved: SavedFrame,
        history: &History,
    ) -> Result<(), BadCheckpoint> {
        let place = self.tokens.get(saved.token).map(|token| token.place);
        let region = place.and_then(|place| self.graph.region(place));
        let (region, name) = match (self.kind_at(saved.token), saved.part) {
            (Some(Kind::Group(group)), _) => (
                usize::try_from(saved.index)
                    .ok()
                    .and_then(|index| group.regions.get(index))
                    .cloned()
                    .flatten(),
                Group::mark(saved.index),
            ),
            (Some(Kind::Loop(run)), _) => (
                region.map(|region| Arc::clone(&region.body)),
                run.mark(saved.index),
            ),
            (_, Part::Body) => (
                region.map(|region| Arc::clone(&region.body)),
                "body".to_owned(),
            ),
            (_, Part::Catch) => (
                region.map(|region| Arc::clone(&region.catch_path)),
                "catch".to_owned(),
            ),
            (_, Part::Finally) => (
                region.map(|region| Arc::clone(&region.finally_path)),
                "finally".to_owned(),
            ),
        };
        let scope = self.scope_inside(saved.token, &name);
        let frame = Frame {
            owner: saved.token,
            part: saved.part,
            index: saved.index,
            live: 0,
            region: region.unwrap_or_default(),
            ends: history.ends.get(&scope).cloned().unwrap_or_default(),
            scope,
            exits: self.exits_of(saved.exits)?,
        };
        if let Some(container) = self.frames.containers.get_mut(&frame.owner) {
            container.frames.insert(saved.id);
        }
        self.frames.live.insert(saved.id, frame);
        Ok(())
    }

    fn kind_at(&self, token: TokenId) -> Option<&Kind> {
        self.frames
            .containers
            .get(&token)
            .map(|container| &container.kind)
    }

    fn kind_of(
        &self,
        token: TokenId,
        saved: SavedKind,
        history: &History,
    ) -> Result<Kind, BadCheckpoint> {
        Ok(match saved {
            SavedKind::Loop {
                times,
                opened,
                next,
                at_once,
            } => {
                let items = opened
                    .and_then(|seq| history.opened.get(&seq))
                    .and_then(|output| output.get("items"))
                    .and_then(Value::as_array);
                let plan = match (times, opened, items) {
                    (Some(times), ..) => Plan::Times(times),
                    (None, Some(_), Some(items)) => Plan::Items(Arc::new(items.clone())),
                    (None, Some(seq), None) => return Err(BadCheckpoint::LostItems { seq }),
                    (None, None, _) => Plan::Asked,
                };
                Kind::Loop(LoopRun {
                    plan,
                    opened,
                    next,
                    at_once,
                    results: BTreeMap::new(),
                    is_broken: false,
                })
            }
            SavedKind::Group {
                entries,
                next,
                ended,
                failed,
            } => {
                let entries = self.places_of(entries)?;
                let place = self.tokens.get(token).map(|token| token.place);
                let fan_out = place.and_then(|place| self.graph.options(place).fan_out.clone());
                let mut group = Group::new(&self.graph, entries, fan_out.as_ref());
                group.next = next;
                group.ended = ended;
                group.failed = failed;
                Kind::Group(group)
            }
            SavedKind::Try {
                caught,
                pending,
                result,
            } => Kind::Try(Attempted {
                caught,
                pending,
                result,
            }),
        })
    }

    fn recover_results(&mut self, owner: TokenId, history: &History) {
        let ended: Vec<(u32, String)> = match self.kind_at(owner) {
            Some(Kind::Loop(run)) => {
                let running: BTreeSet<u32> = self
                    .frames
                    .live
                    .values()
                    .filter(|frame| frame.owner == owner)
                    .map(|frame| frame.index)
                    .collect();
                (0..run.next)
                    .filter(|index| !running.contains(index))
                    .map(|index| (index, run.mark(index)))
                    .collect()
            }
            Some(Kind::Group(group)) => group
                .ended
                .iter()
                .map(|index| (*index, Group::mark(*index)))
                .collect(),
            Some(Kind::Try(_)) | None => return,
        };
        let results: BTreeMap<u32, Value> = ended
            .into_iter()
            .map(|(index, name)| {
                let ends = history.ends.get(&self.scope_inside(owner, &name));
                (index, ends.map(result_of).unwrap_or_default())
            })
            .collect();
        let collects = self
            .tokens
            .get(owner)
            .is_some_and(|token| self.graph.collects_results(token.place));
        match self
            .frames
            .containers
            .get_mut(&owner)
            .map(|container| &mut container.kind)
        {
            Some(Kind::Loop(run)) if collects => run.results = results,
            Some(Kind::Group(group)) => group.results = results,
            Some(Kind::Loop(_) | Kind::Try(_)) | None => {}
        }
    }

    fn exits_of(&self, saved: Vec<SavedExit>) -> Result<Vec<Exit>, BadCheckpoint> {
        saved
            .into_iter()
            .map(|exit| {
                let to = self
                    .graph
                    .place(&exit.to)
                    .ok_or(BadCheckpoint::UnknownNode { node: exit.to })?;
                Ok(Exit {
                    to,
                    error: exit.error,
                })
            })
            .collect()
    }

    fn places_of(&self, nodes: Vec<NodeId>) -> Result<Vec<Place>, BadCheckpoint> {
        nodes
            .into_iter()
            .map(|node| {
                self.graph
                    .place(&node)
                    .ok_or(BadCheckpoint::UnknownNode { node })
            })
            .collect()
    }
}
