//! The statuses of a host row, and what they mean for us.
//!
//! `running` also means queued; there is no 'cancelled' (terminate writes `failed`). A failed row waits for a retry if
//! it has a `next_retry_at` **and no** `completed_at`: earlier workers left `next_retry_at` on rows that are final.

use std::fmt;

/// `workflowexecution.status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostStatus {
    /// To be run, or being run.
    Running,
    /// Ended well.
    Completed,
    /// Ended badly, or waits for a retry.
    Failed,
    /// Stopped by the user until resumed.
    Paused,
    /// Waits for a `workflowsignal` row.
    WaitingForSignal,
    /// None of the platform's.
    Other(String),
}

impl HostStatus {
    /// Reads the column; anything is a status.
    pub fn parse(text: &str) -> Self {
        match text {
            "running" => Self::Running,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "paused" => Self::Paused,
            "waiting_for_signal" => Self::WaitingForSignal,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The column's text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::WaitingForSignal => "waiting_for_signal",
            Self::Other(text) => text,
        }
    }
}

impl fmt::Display for HostStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to be done with a host row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Run it now.
    Runnable,
    /// Run it at `next_retry_at`.
    RetryDue,
    /// Leave it until it is resumed.
    Paused,
    /// Leave it until a signal comes.
    Waiting,
    /// It has ended.
    Final,
    /// Not ours to touch.
    Unknown,
}

/// What a row's status says, together with whether its `completed_at` and `next_retry_at` are set. A `running` row is
/// runnable even if `completed_at` is set: the platform's resume leaves it there.
pub fn disposition(
    status: &HostStatus,
    completed_at_is_set: bool,
    next_retry_at_is_set: bool,
) -> Disposition {
    match status {
        HostStatus::Running => Disposition::Runnable,
        HostStatus::Failed if next_retry_at_is_set && !completed_at_is_set => Disposition::RetryDue,
        HostStatus::Failed | HostStatus::Completed => Disposition::Final,
        HostStatus::Paused => Disposition::Paused,
        HostStatus::WaitingForSignal => Disposition::Waiting,
        HostStatus::Other(_) => Disposition::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_written_as_it_was_read() {
        for text in [
            "running",
            "completed",
            "failed",
            "paused",
            "waiting_for_signal",
            "",
            "Running",
        ] {
            assert_eq!(HostStatus::parse(text).as_str(), text);
        }
    }

    #[test]
    fn a_failed_row_with_a_stale_retry_time_is_final() {
        let of = |text, completed, retry| disposition(&HostStatus::parse(text), completed, retry);
        assert_eq!(of("failed", true, true), Disposition::Final);
        assert_eq!(of("failed", false, true), Disposition::RetryDue);
        assert_eq!(of("failed", false, false), Disposition::Final);
        assert_eq!(of("completed", true, true), Disposition::Final);
    }

    #[test]
    fn a_resumed_row_runs_although_it_had_ended() {
        assert_eq!(
            disposition(&HostStatus::Running, true, true),
            Disposition::Runnable
        );
        assert_eq!(
            disposition(&HostStatus::Paused, true, false),
            Disposition::Paused
        );
        assert_eq!(
            disposition(&HostStatus::WaitingForSignal, false, false),
            Disposition::Waiting
        );
        assert_eq!(
            disposition(&HostStatus::parse("cancelled"), true, false),
            Disposition::Unknown
        );
    }
}
