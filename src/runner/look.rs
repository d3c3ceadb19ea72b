//! What a running execution takes over from its host row when somebody else has written it.

use std::time::Duration;

use super::Ended;
use super::drive::{Drive, Hold};
use super::session::Look;
use super::settle::{disposition_of, is_over};
use crate::engine::Event as EngineEvent;
use crate::host::log_entry::{Level, LogEntry};
use crate::host::state_json;
use crate::host::status::Disposition as HostDisposition;

impl Drive {
    /// Looks at the host row if the dispatcher has seen something there that this runner does not know.
    pub(super) async fn look_if_news(&mut self) -> Result<(), Ended> {
        let is_news = self
            .session
            .interrupts
            .seen
            .borrow_and_update()
            .as_ref()
            .is_some_and(|seen| {
                seen.host_version != self.session.host_version
                    || seen.status.as_deref() != Some(self.session.host_status.as_str())
            });
        if !is_news {
            return Ok(());
        }
        self.look().await?;
        if matches!(self.hold, Hold::No | Hold::Parked) {
            // A node may run for long: what was overwritten is shown meanwhile.
            self.report.announce();
        }
        Ok(())
    }

    /// Takes over what somebody else has written: status, and new keys in `execution_data`.
    pub(super) async fn look(&mut self) -> Result<(), Ended> {
        let Look::Host(write) = self.session.look().await else {
            self.abandon();
            return Err(Ended::LeaseLost);
        };
        self.report.show();
        if let Some(reason) = write.cancel_reason {
            self.hold = Hold::Cancelled(reason);
            return Ok(());
        }
        if is_over(&write) {
            self.hold = Hold::Over(Box::new(write));
            return Ok(());
        }
        // A state that cannot be read is not taken over; the next record replaces it by ours.
        if let Ok(state) = state_json::read(write.execution_state.as_deref()) {
            if let Err(problem) = self.session.take_over(&state) {
                let text = format!("What was written is not taken over: {problem}");
                let now = self.session.now();
                self.report
                    .log(LogEntry::new("system", Level::Warning, &text, now));
                self.report.write_within(Duration::ZERO);
            }
            let is_new = self.view.merge_host(&state.execution_data);
            if is_new {
                self.apply(EngineEvent::DataChanged);
            }
        }
        // Perhaps it was a signal, or the end of a child.
        self.waits.may_be_answered = true;
        self.hold = match disposition_of(&write) {
            HostDisposition::Paused => Hold::Parked,
            HostDisposition::Waiting
            | HostDisposition::Runnable
            | HostDisposition::RetryDue
            | HostDisposition::Final
            | HostDisposition::Unknown => Hold::No,
        };
        Ok(())
    }
}
