//! Where branches come together.
//!
//! Tokens that come to a join are one token, which fires when no other live token can still reach the node. Only tokens
//! of the same frame count: what runs inside a node of the frame is that node's token, and no other frame leads in. Asking
//! that of each join after each move would cost joins × tokens; instead each waiting join watches one token that
//! blocks it, and is looked at again only when that token is gone. What a token cannot reach, its successors cannot
//! reach either, so nothing else can change the answer.
//!
//! With its loops passed as a whole the graph has no cycle, so of the tokens that wait there is always one that no
//! other waiting token blocks: no two joins wait for each other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::engine::frame::{Caught, Exit, FrameId, Kind, Part};
use crate::engine::graph::Place;
use crate::engine::token::{Token, TokenState};
use crate::engine::{Machine, TokenId};

/// A join: a node, in a frame or in none.
pub(super) type Join = (Option<FrameId>, Place);

/// The joins that wait.
#[derive(Debug, Default)]
pub(super) struct Joins {
    /// The token that waits at a node.
    waiting: HashMap<Join, TokenId>,
    /// The joins that each token blocks, as far as they watch it.
    watching: HashMap<TokenId, Vec<Join>>,
}

impl Joins {
    /// Takes in a token that waited when the checkpoint was made; it watches nothing yet.
    pub(super) fn restore(&mut self, join: Join, token: TokenId) {
        self.waiting.insert(join, token);
    }

    /// These frames are gone, and with them all that waited there.
    pub(super) fn forget(&mut self, frames: &BTreeSet<FrameId>) {
        let is_gone = |join: &Join| join.0.is_some_and(|frame| frames.contains(&frame));
        self.waiting.retain(|join, _| !is_gone(join));
        for joins in self.watching.values_mut() {
            joins.retain(|join| !is_gone(join));
        }
    }

    /// A token is gone together with all that it could block.
    pub(super) fn unwatch(&mut self, token: TokenId) {
        self.watching.remove(&token);
    }
}

impl Machine {
    /// A token goes on: it is gone, and one stands wherever it leads. What leads out of its frame is kept until the frame
    /// ends.
    pub(super) fn pass(&mut self, gone: TokenId, mut exits: Vec<Exit>) {
        let Some((frame, error)) = self
            .tokens
            .get(gone)
            .map(|token| (token.frame, token.error.clone()))
        else {
            return;
        };
        let around = self.loops_around(frame);
        // Back to a loop that it runs in: the round has ended.
        exits.retain(|exit| !around.contains(&exit.to));
        self.keep_off_catches(frame, &mut exits);
        let mut unsettled = self.joins.watching.remove(&gone).unwrap_or_default();
        for exit in exits {
            let error = exit.error.or_else(|| error.clone());
            self.arrive(exit.to, frame, error, &mut unsettled);
        }
        self.tokens.remove(gone);
        self.frames.count_out(frame);
        self.settle_joins(unsettled);
    }

    /// The nodes of the loops that a frame is a round of, or runs inside of.
    pub(super) fn loops_around(&self, frame: Option<FrameId>) -> Vec<Place> {
        let mut around = Vec::new();
        let mut at = frame;
        while let Some(frame) = at.and_then(|id| self.frames.get(id)) {
            let Some(owner) = self.tokens.get(frame.owner) else {
                break;
            };
            if self.graph.at(owner.place).is_loop() {
                around.push(owner.place);
            }
            at = owner.frame;
        }
        around
    }

    /// In what a `try` tries, an edge to its `catch` is the way on only where there is no other.
    fn keep_off_catches(&self, frame: Option<FrameId>, exits: &mut Vec<Exit>) {
        let owner = frame
            .and_then(|id| self.frames.get(id))
            .filter(|frame| frame.part == Part::Body)
            .map(|frame| frame.owner);
        let Some(owner) = owner else {
            return;
        };
        let is_try = matches!(
            self.frames.containers.get(&owner).map(|owner| &owner.kind),
            Some(Kind::Try(_))
        );
        let region = self
            .tokens
            .get(owner)
            .and_then(|token| self.graph.region(token.place));
        if let Some(region) = region.filter(|_| is_try) {
            let is_catch = |exit: &Exit| region.catches.contains(&exit.to);
            if exits.iter().any(|exit| !is_catch(exit)) {
                exits.retain(|exit| !is_catch(exit));
            }
        }
    }

    /// A token comes to a node along an edge, or would leave its frame.
    pub(super) fn arrive(
        &mut self,
        target: Place,
        frame: Option<FrameId>,
        error: Option<Arc<Caught>>,
        unsettled: &mut Vec<Join>,
    ) {
        if let Some(around) = frame.and_then(|id| self.frames.live.get_mut(&id))
            && !around.region.contains(target.0)
        {
            around.exits.push(Exit { to: target, error });
            return;
        }
        let join = (frame, target);
        if !self.graph.is_join(target) {
            self.enter(join, TokenState::Ready, error);
        } else if let Some(waiting) = self.joins.waiting.get(&join) {
            self.tokens.set(*waiting, |token| {
                token.error = token.error.take().or(error);
            });
        } else {
            let token = self.enter(join, TokenState::Joining, error);
            self.joins.waiting.insert(join, token);
            unsettled.push(join);
        }
    }

    /// Looks at all joins that wait; after a restore none watches a token.
    pub(super) fn settle_all(&mut self) {
        self.joins.watching.clear();
        let mut waiting: Vec<Join> = self.joins.waiting.keys().copied().collect();
        waiting.sort_unstable();
        self.settle_joins(waiting);
    }

    pub(super) fn settle_joins(&mut self, joins: Vec<Join>) {
        for join in joins {
            self.settle(join);
        }
    }

    /// A new token in a node, the node's next visit.
    pub(super) fn enter(
        &mut self,
        (frame, place): Join,
        state: TokenState,
        error: Option<Arc<Caught>>,
    ) -> TokenId {
        let visit = self.next_visit(place);
        self.frames.count_in(frame);
        self.tokens.add(Token {
            place,
            node: self.graph.at(place).id.clone(),
            visit,
            attempt: 1,
            waiting_since: None,
            failure: None,
            frame,
            error,
            used: 0,
            forgiven: 0,
            state,
        })
    }

    fn settle(&mut self, join: Join) {
        let Some(&waiting) = self.joins.waiting.get(&join) else {
            return;
        };
        let blocker = self.tokens.iter().find(|(id, token)| {
            *id != waiting && token.frame == join.0 && self.graph.reaches(token.place, join.1)
        });
        if let Some((blocker, _)) = blocker {
            self.joins.watching.entry(blocker).or_default().push(join);
        } else {
            self.joins.waiting.remove(&join);
            self.tokens
                .set(waiting, |token| token.state = TokenState::Ready);
        }
    }
}
