//! The only place that reads a clock.
//!
//! Times that the database records come from the database (`now()`); the process's clock is for waiting, for
//! durations, and for the times inside a node's result.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the module that the rule points to"
)]

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::TimeDelta;

use crate::ids::Timestamp;

/// The wall clock, in UTC.
pub fn now() -> Timestamp {
    chrono::Utc::now()
}

/// The monotonic clock: for deadlines and durations, never written anywhere.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Sleeps until then, for a branch of a `select!` whose guard sees to it that there is such a time.
pub async fn until(instant: Option<Instant>) {
    if let Some(instant) = instant {
        tokio::time::sleep_until(instant.into()).await;
    }
}

/// The database's clock, as seen from this process.
///
/// Times that are compared with the database's `now()` (when a delay ends, when a retry is due) are reckoned on its
/// clock, so that a process whose own clock is wrong is not early or late. Each heartbeat and each poll
/// brings a reading, of the middle of the time that the server worked on it; its error is at most half a round trip, and
/// most of the time far less.
#[derive(Debug, Default)]
pub struct DatabaseClock {
    /// The reading in force. Written by whoever got an answer with a time in it.
    best: Mutex<Option<Reading>>,
}

/// One look at the database's clock: what it showed at an instant of ours. Our wall clock plays no part in it, so it may
/// be set while the worker runs.
#[derive(Clone, Copy, Debug)]
struct Reading {
    showed: Timestamp,
    at: Instant,
    round_trip: Duration,
}

/// A reading is replaced by a worse one only when it is older than this: clocks drift by less than a millisecond in it.
const READING_HOLDS: Duration = Duration::from_secs(60);

impl DatabaseClock {
    /// Takes over a reading that was asked for at `asked_at` and has just arrived, unless a recent one had a shorter way:
    /// its error is at most half of that.
    pub fn observe(&self, showed: Timestamp, asked_at: Instant) {
        let round_trip = monotonic().saturating_duration_since(asked_at);
        let at = asked_at + round_trip / 2;
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = *best
            && round_trip > kept.round_trip
            && at.saturating_duration_since(kept.at) < READING_HOLDS
        {
            return;
        }
        *best = Some(Reading {
            showed,
            at,
            round_trip,
        });
    }

    /// What the database's clock shows now; our own before the first reading.
    pub fn now(&self) -> Timestamp {
        let best = *self.best.lock().unwrap_or_else(PoisonError::into_inner);
        match best {
            Some(reading) => {
                let since = monotonic().saturating_duration_since(reading.at);
                reading.showed + TimeDelta::from_std(since).unwrap_or_default()
            }
            None => now(),
        }
    }

    /// The instant of the monotonic clock at which the database's clock will show `at`; now, if that has passed.
    pub fn instant_of(&self, at: Timestamp) -> Instant {
        let wait = (at - self.now()).to_std().unwrap_or_default();
        monotonic() + wait.min(FAR_AWAY)
    }
}

/// Timers are set at most this far ahead (a month): far beyond any poll, and safe to add to an instant.
const FAR_AWAY: Duration = Duration::from_secs(31 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_came_a_long_way_does_not_replace_a_near_one() {
        let clock = DatabaseClock::default();
        let hour = TimeDelta::hours(1);
        clock.observe(now() + hour, monotonic());
        // Five seconds in a queue, on the way there or back.
        if let Some(long_ago) = monotonic().checked_sub(Duration::from_secs(5)) {
            clock.observe(now() + hour, long_ago);
        }
        let error = clock.now() - (now() + hour);
        assert!(error.abs() < TimeDelta::seconds(1), "{error}");
    }
}
