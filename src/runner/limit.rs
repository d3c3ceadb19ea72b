//! How long a whole execution may take.
//!
//! Its own `timeout_seconds` goes before its workflow's, that before `WORKFLOW_TIMEOUT_SECONDS`. The time counts on the
//! database's clock from `run_queue.timed_from`, which is moved by as long as the execution was paused.

use std::time::Duration;

use chrono::TimeDelta;

use crate::ids::Timestamp;

/// The limit of one execution.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLimit {
    /// Its own. It is kept in the checkpoint, because the platform's rewrite of the state loses it.
    own: Option<Duration>,
    /// Its workflow's, or the setting.
    general: Option<Duration>,
    /// From when it counts.
    from: Timestamp,
}

impl TimeLimit {
    /// No limit yet.
    pub(super) fn from(from: Timestamp) -> Self {
        Self {
            own: None,
            general: None,
            from,
        }
    }

    pub(super) fn set_own(&mut self, own: Option<Duration>) {
        self.own = own;
    }

    pub(super) fn set_general(&mut self, general: Option<Duration>) {
        self.general = general;
    }

    pub(super) fn set_from(&mut self, from: Timestamp) {
        self.from = from;
    }

    pub(super) fn own(&self) -> Option<Duration> {
        self.own
    }

    /// The limit in force.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.own.or(self.general)
    }

    /// When it is reached; `None` also if no calendar goes that far.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let limit = TimeDelta::from_std(self.limit()?).ok()?;
        self.from.checked_add_signed(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_limit_counts_from_when_the_execution_was_put_in() {
        let from = Timestamp::UNIX_EPOCH;
        let after = |millis| Some(from + TimeDelta::milliseconds(millis));
        let mut time = TimeLimit::from(from);
        assert_eq!(time.deadline(), None);
        time.set_general(Some(Duration::from_secs(5)));
        assert_eq!(time.deadline(), after(5_000));
        time.set_own(Some(Duration::from_millis(1_500)));
        assert_eq!(time.deadline(), after(1_500));
        time.set_from(from + TimeDelta::seconds(1));
        assert_eq!(time.deadline(), after(2_500));
        time.set_own(Some(Duration::MAX));
        assert_eq!(time.deadline(), None);
    }
}
