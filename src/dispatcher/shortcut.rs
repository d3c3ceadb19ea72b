//! Where a claim begins to look.
//!
//! While somebody holds an old snapshot (a dump, say), each row that has left the queue since then stays in the index, before
//! those that are due, and each claim has to pass it. So when a claim has taken long, the next ones begin where it has
//! found its first row. What has a place before that (it came with a higher priority) is found by the next claim from the
//! beginning.
//!
//! Invariants: the first claim after each poll begins at the beginning, and so does the one after a claim that did not fill its
//! slots. So nothing waits longer than a poll interval for this, and nobody sleeps on something that is due.

use chrono::NaiveDateTime;

use crate::store::claim::Front;

/// A claim from the beginning of the queue that took the database this long had to pass much.
const SLOW_MS: f64 = 20.0;

/// Where the next claim begins.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Shortcut {
    from: Option<NaiveDateTime>,
}

impl Shortcut {
    /// The place in the queue; `None`: the beginning.
    pub(super) fn from(self) -> Option<NaiveDateTime> {
        self.from
    }

    /// The next claim is to begin at the beginning.
    pub(super) fn forget(&mut self) {
        self.from = None;
    }

    /// Takes note of a claim, and says whether another one has to follow at once, because this one has not looked everywhere
    /// although it had room for more.
    pub(super) fn note(&mut self, front: Option<Front>, is_full: bool) -> bool {
        let was_taken = self.from.is_some();
        self.from = match front {
            Some(front) if is_full && (was_taken || front.took_ms >= SLOW_MS) => Some(front.place),
            _ => None,
        };
        was_taken && !is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(second: i64, took_ms: f64) -> Option<Front> {
        let place = chrono::DateTime::from_timestamp(second, 0).unwrap();
        Some(Front {
            place: place.naive_utc(),
            took_ms,
        })
    }

    #[test]
    fn a_claim_that_is_quick_is_followed_by_one_from_the_beginning() {
        let mut shortcut = Shortcut::default();
        assert!(!shortcut.note(front(1, SLOW_MS - 1.0), true));
        assert_eq!(shortcut.from(), None);
    }

    #[test]
    fn after_a_slow_one_claims_begin_where_the_last_has_begun_until_one_is_not_full() {
        let mut shortcut = Shortcut::default();
        assert!(!shortcut.note(front(1, SLOW_MS), true));
        assert_eq!(shortcut.from(), front(1, 0.0).map(|front| front.place));
        assert!(!shortcut.note(front(2, 0.5), true));
        assert_eq!(shortcut.from(), front(2, 0.0).map(|front| front.place));
        assert!(
            shortcut.note(front(3, 0.5), false),
            "the rest is to be looked at"
        );
        assert_eq!(shortcut.from(), None);
        assert!(!shortcut.note(None, false));
    }

    #[test]
    fn a_slow_claim_that_was_not_full_has_seen_everything() {
        let mut shortcut = Shortcut::default();
        assert!(!shortcut.note(front(1, SLOW_MS), false));
        assert_eq!(shortcut.from(), None);
    }

    #[test]
    fn what_finds_nothing_looks_everywhere_next() {
        let mut shortcut = Shortcut::default();
        shortcut.note(front(1, SLOW_MS), true);
        assert!(shortcut.note(None, false));
        shortcut.note(front(1, SLOW_MS), true);
        shortcut.forget();
        assert_eq!(shortcut.from(), None);
    }
}
