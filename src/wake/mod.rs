//! WHEN to look: many causes, one wake-up.
//!
//! Whoever learns that there may be work raises a [`Cause`]; the dispatcher waits for any of them, or until a time. A
//! cause that is raised while the dispatcher is busy is kept, so no wake-up is lost between looking and waiting.

pub mod listener;

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

/// Why the dispatcher looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Cause {
    /// A notification: there may be due executions.
    Notified = 1,
    /// A notification: somebody wrote the row of an execution that a worker holds.
    Interrupt = 2,
    /// A slot has become free, and there was more to do than slots.
    Capacity = 4,
    /// The listener has (re)connected: what was notified in the gap is lost.
    Reconnected = 8,
    /// The worker is to stop.
    Stop = 16,
    /// A notification: a limit was changed, and what waits for it may go on.
    Limits = 64,
}

/// A set of causes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Causes(u8);

impl Causes {
    /// Whether `cause` is among them.
    pub fn contains(self, cause: Cause) -> bool {
        self.0 & cause as u8 != 0
    }

    /// Whether there is none: the time has come that was waited for.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Where causes are raised and waited for. One dispatcher waits; any number raise.
#[derive(Debug, Default)]
pub struct Waker {
    /// The causes since the last wait, as bits. Raised by anyone, taken by the dispatcher.
    raised: AtomicU8,
    notify: Notify,
}

impl Waker {
    /// Raises a cause. Never blocks; raising it twice before the dispatcher looks is raising it once.
    pub fn raise(&self, cause: Cause) {
        self.raised.fetch_or(cause as u8, Ordering::AcqRel);
        self.notify.notify_one();
    }

    /// Waits for a cause, or until `until`. Takes all causes that have been raised.
    pub async fn wait(&self, until: Instant) -> Causes {
        loop {
            let raised = self.raised.swap(0, Ordering::AcqRel);
            if raised != 0 {
                return Causes(raised);
            }
            // `notify_one` leaves a permit when nobody waits, so a cause that is raised right here ends the wait at
            // once. A permit of a cause that was already taken leads to one empty turn.
            if tokio::time::timeout_at(until.into(), self.notify.notified())
                .await
                .is_err()
            {
                return Causes(self.raised.swap(0, Ordering::AcqRel));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[tokio::test]
    async fn a_cause_raised_before_the_wait_is_not_lost() {
        let waker = Waker::default();
        waker.raise(Cause::Notified);
        waker.raise(Cause::Interrupt);
        let causes = waker
            .wait(clock::monotonic() + Duration::from_secs(3_600))
            .await;
        assert!(causes.contains(Cause::Notified) && causes.contains(Cause::Interrupt));
        assert!(!causes.contains(Cause::Capacity));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_cause_the_wait_ends_at_its_time() {
        let waker = Waker::default();
        waker.raise(Cause::Notified);
        waker.wait(clock::monotonic()).await;
        assert!(
            waker
                .wait(clock::monotonic() + Duration::from_millis(5))
                .await
                .is_empty()
        );
    }
}
