//! What the dispatcher knows between two wake-ups.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::shortcut::Shortcut;
use super::vigil::{Streak, Vigil};
use crate::ids::{ExecutionId, Fence};

/// The first wait after a database error; doubled up to the poll interval.
pub(super) const FIRST_ERROR_WAIT: Duration = Duration::from_millis(50);

/// What the dispatcher knows between two wake-ups.
pub(super) struct Agenda {
    pub(super) next_poll: Instant,
    pub(super) next_repair: Instant,
    /// When the next timed execution comes due, as far as is known here. (What other workers park is learned from
    /// them or from the poll.)
    pub(super) next_due: Option<Instant>,
    /// When the next start under a limited rate will be possible, as far as is known here.
    pub(super) next_opening: Option<Instant>,
    /// The limit after which the sweep over those that are waited for goes on.
    pub(super) sweep_after: String,
    /// What was claimed counts under limits, since the last clean-up.
    pub(super) has_met_limits: bool,
    /// There was more to do than free slots.
    pub(super) has_backlog: bool,
    /// Claims in a row that found less than was due.
    pub(super) fruitless: u32,
    /// Where the next claim begins.
    pub(super) shortcut: Shortcut,
    /// What the last look has claimed.
    pub(super) claimed: usize,
    /// How this worker learns of new executions.
    pub(super) vigil: Vigil,
    pub(super) streak: Streak,
    pub(super) error_wait: Duration,
    pub(super) is_outage_reported: bool,
    /// Held under our name at the last look, but not run here.
    pub(super) unaccounted: HashSet<(ExecutionId, Fence)>,
}

impl Agenda {
    /// Nothing is known yet: look at everything now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next_poll: now,
            next_repair: now,
            next_due: None,
            next_opening: None,
            sweep_after: String::new(),
            has_met_limits: false,
            has_backlog: false,
            fruitless: 0,
            shortcut: Shortcut::default(),
            claimed: 0,
            vigil: Vigil::Deaf,
            streak: Streak::new(now),
            error_wait: FIRST_ERROR_WAIT,
            is_outage_reported: false,
            unaccounted: HashSet::new(),
        }
    }

    /// Looks at the run queue by then.
    pub(super) fn look_by(&mut self, at: Instant) {
        self.next_due = Some(self.next_due.map_or(at, |due| due.min(at)));
    }
}

impl std::fmt::Debug for Agenda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agenda")
            .field("has_backlog", &self.has_backlog)
            .finish_non_exhaustive()
    }
}
