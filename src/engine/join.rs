//! Where branches come together.
//!
//! Tokens that come to a join are one token, which fires when no other live token can still reach the node. Asking
//! that of each join after each move would cost joins × tokens; instead each waiting join watches one token that
//! blocks it, and is looked at again only when that token is gone. What a token cannot reach, its successors cannot
//! reach either, so nothing else can change the answer.
//!
//! Without the edges that close a loop the graph has no cycle, so of the tokens that wait there is always one that no
//! other waiting token blocks: no two joins wait for each other.

use std::collections::HashMap;

use crate::engine::graph::Place;
use crate::engine::token::{Token, TokenState};
use crate::engine::{Machine, TokenId};

/// The joins that wait.
#[derive(Debug, Default)]
pub(super) struct Joins {
    /// The token that waits at a node.
    waiting: HashMap<Place, TokenId>,
    /// The joins that each token blocks, as far as they watch it.
    watching: HashMap<TokenId, Vec<Place>>,
}

impl Joins {
    /// Takes in a token that waited when the checkpoint was made; it watches nothing yet.
    pub(super) fn restore(&mut self, place: Place, token: TokenId) {
        self.waiting.insert(place, token);
    }
}

impl Machine {
    /// A token moves along its edges: the one is gone, one stands at each target.
    pub(super) fn advance(&mut self, gone: TokenId, targets: Vec<Place>) {
        let mut unsettled = self.joins.watching.remove(&gone).unwrap_or_default();
        for target in targets {
            if !self.graph.is_join(target) {
                self.enter(target, TokenState::Ready);
            } else if !self.joins.waiting.contains_key(&target) {
                let token = self.enter(target, TokenState::Joining);
                self.joins.waiting.insert(target, token);
                unsettled.push(target);
            }
        }
        for join in unsettled {
            self.settle(join);
        }
    }

    /// Looks at all joins that wait; after a restore none watches a token.
    pub(super) fn settle_all(&mut self) {
        self.joins.watching.clear();
        let mut waiting: Vec<Place> = self.joins.waiting.keys().copied().collect();
        waiting.sort_unstable();
        for join in waiting {
            self.settle(join);
        }
    }

    /// A new token in a node, the node's next visit.
    pub(super) fn enter(&mut self, place: Place, state: TokenState) -> TokenId {
        let visit = self.visits.entry(place).or_default();
        *visit = visit.saturating_add(1);
        self.tokens.add(Token {
            place,
            node: self.graph.at(place).id.clone(),
            visit: *visit,
            attempt: 1,
            waiting_since: None,
            failure: None,
            state,
        })
    }

    fn settle(&mut self, join: Place) {
        let Some(&waiting) = self.joins.waiting.get(&join) else {
            return;
        };
        let blocker = self
            .tokens
            .iter()
            .find(|(id, token)| *id != waiting && self.graph.reaches(token.place, join));
        if let Some((blocker, _)) = blocker {
            self.joins.watching.entry(blocker).or_default().push(join);
        } else {
            self.joins.waiting.remove(&join);
            self.tokens
                .set(waiting, |token| token.state = TokenState::Ready);
        }
    }
}
