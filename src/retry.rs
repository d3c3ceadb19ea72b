//! Attempts → delay. Policy as data; the caller brings the count.

use std::time::Duration;

/// When a failed execution is tried again. The contract's rule: the n-th retry, counted from 0, waits
/// `base × multiplier^n`, at most `cap`; after `max_retries` of them the failure is final.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RetryPolicy {
    /// Retries after the first attempt (`WORKFLOW_MAX_RETRIES`).
    pub max_retries: u32,
    /// The wait before the first retry.
    pub base: Duration,
    /// `WORKFLOW_RETRY_BACKOFF_MULTIPLIER`, at least 1.
    pub multiplier: f64,
    /// The longest wait.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 3,
            base: Duration::from_secs(1),
            multiplier: 2.0,
            cap: Duration::from_secs(3600),
        }
    }
}

impl RetryPolicy {
    /// The wait before the next retry when `retries_so_far` have been used, or `None` when the failure is final.
    pub fn next_delay(&self, retries_so_far: u32) -> Option<Duration> {
        if retries_so_far >= self.max_retries {
            return None;
        }
        let factor = self.multiplier.powf(f64::from(retries_so_far));
        let seconds = self.base.as_secs_f64() * factor;
        // An overflow to infinity, or a multiplier that is not a number, ends at the cap.
        Some(Duration::try_from_secs_f64(seconds).map_or(self.cap, |delay| delay.min(self.cap)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_waits_one_two_four_seconds_and_gives_up() {
        let policy = RetryPolicy::default();
        let delays: Vec<_> = (0..4).map(|n| policy.next_delay(n)).collect();
        assert_eq!(
            delays,
            [
                Some(Duration::from_secs(1)),
                Some(Duration::from_secs(2)),
                Some(Duration::from_secs(4)),
                None
            ]
        );
    }

    #[test]
    fn a_long_wait_ends_at_the_cap() {
        let policy = RetryPolicy {
            max_retries: u32::MAX,
            multiplier: 10.0,
            ..RetryPolicy::default()
        };
        assert_eq!(policy.next_delay(4), Some(Duration::from_secs(3600)));
        assert_eq!(policy.next_delay(4_000), Some(Duration::from_secs(3600)));
    }
}
