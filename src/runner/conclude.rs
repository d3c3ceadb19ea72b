//! The last record of a run: what becomes of the execution, in one commit with what is not recorded yet.
//!
//! It is sent without a slot ([`super::slots`]). If somebody has written the row meanwhile and the run goes on, it waits for
//! one before it starts a node.

use super::Ended;
use super::drive::{Drive, Ending, Hold};
use crate::clock;
use crate::engine::{State, WaitReason};
use crate::host::log_entry::{LogEntry, execution_timed_out};
use crate::ids::{NodeId, Timestamp};
use crate::telemetry::Event;
use crate::writer::Disposition;

/// How a run is closed.
struct Closing {
    disposition: Disposition,
    status: &'static str,
    error: Option<String>,
    /// What tells of it, once it is in.
    told: Option<(LogEntry, Event)>,
    ended: Ended,
}

impl Drive {
    /// Ends this run in one record. `Ok`: somebody has written the row meanwhile, and the loop goes on with that.
    pub(super) async fn conclude(&mut self, ending: &Ending) -> Result<(), Ended> {
        let closing = self.closing(ending);
        let is_in = self
            .send(
                closing.disposition,
                closing.status,
                closing.error,
                closing.told,
            )
            .await?;
        if is_in {
            if matches!(ending, Ending::TimedOut(_)) {
                let id = self.session.claimed.execution_id;
                self.session
                    .tools
                    .telemetry
                    .emit(Event::ExecutionTimedOut { id });
            }
            return Err(closing.ended);
        }
        Ok(())
    }

    /// The run goes on although it has left its slot: there are nodes to start, and it waits for room. What happens
    /// meanwhile is seen to first.
    pub(super) async fn wait_for_slot(&mut self) -> Result<(), Ended> {
        if self.queued.is_empty() {
            // A deadline has passed just now: the engine has new commands.
            return Ok(());
        }
        let clock = &self.session.tools.clock;
        let deadline = self.session.deadline().map(|at| clock.instant_of(at));
        let write_by = self.report.write_by();
        let drain = self.session.interrupts.drain.clone();
        let hurry = self.session.interrupts.hurry.clone();
        tokio::select! {
            () = self.session.slot.take_again() => Ok(()),
            () = clock::until(write_by), if write_by.is_some() => self.record().await,
            Ok(()) = self.session.interrupts.seen.changed() => self.look_if_news().await,
            // The loop sees what these mean.
            () = clock::until(deadline), if deadline.is_some() => Ok(()),
            () = drain.cancelled() => Ok(()),
            () = hurry.cancelled() => Ok(()),
        }
    }

    fn closing(&self, ending: &Ending) -> Closing {
        let now = self.session.now();
        let id = self.session.claimed.execution_id;
        let name = self.session.name.clone();
        match ending {
            Ending::Completed => Closing {
                disposition: Disposition::Finish,
                status: "completed",
                error: None,
                told: Some((
                    LogEntry::execution_completed(now),
                    Event::ExecutionCompleted { id, name },
                )),
                ended: Ended::Done,
            },
            Ending::Failed { node, message } => self.failing(node.as_ref(), message.clone()),
            Ending::TimedOut(limit) => {
                let node = self.current_node.clone();
                self.failing(node.as_ref(), execution_timed_out(*limit))
            }
            Ending::Park(until) => self.parking(*until),
            Ending::Paused => Closing {
                disposition: Disposition::Park(None),
                status: "paused",
                error: None,
                told: Some((
                    LogEntry::paused(self.current_node.as_ref(), now),
                    Event::ExecutionStopped {
                        id,
                        status: "paused".to_owned(),
                    },
                )),
                ended: Ended::Parked { until: None },
            },
            Ending::Release => Closing {
                disposition: Disposition::Release,
                status: "running",
                error: None,
                told: None,
                ended: Ended::Drained,
            },
        }
    }

    fn failing(&self, node: Option<&NodeId>, message: String) -> Closing {
        let closing = LogEntry::failed_permanently(node, &message, self.session.now());
        let event = Event::ExecutionFailed {
            id: self.session.claimed.execution_id,
            name: self.session.name.clone(),
            error: message.clone(),
        };
        Closing {
            disposition: Disposition::Finish,
            status: "failed",
            error: Some(message),
            told: Some((closing, event)),
            ended: Ended::Done,
        }
    }

    /// `until`: the engine's next time. The end of the execution's own time may be nearer; then somebody takes it up for
    /// that. While it is paused no time ends.
    fn parking(&self, until: Option<Timestamp>) -> Closing {
        let status = match self.machine.state() {
            State::Waiting {
                reason: WaitReason::Signal,
                ..
            } => "waiting_for_signal",
            State::Waiting {
                reason: WaitReason::Retry,
                ..
            } if until.is_some() => "failed",
            State::Waiting { .. }
            | State::Running { .. }
            | State::Completed
            | State::Failed { .. } => "running",
        };
        let last_failure = self.machine.last_failure();
        let error = last_failure
            .filter(|_| status == "failed")
            .map(|failure| failure.message.to_owned());
        let deadline = self
            .session
            .deadline()
            .filter(|_| !matches!(self.hold, Hold::Parked));
        let until = until.into_iter().chain(deadline).min();
        Closing {
            disposition: Disposition::Park(until),
            status,
            error,
            told: None,
            ended: Ended::Parked { until },
        }
    }

    /// Ends an execution that its parent no longer wants.
    pub(super) async fn terminate(&mut self, reason: &str) -> Ended {
        let message = format!("Execution terminated: {reason}");
        self.hold = Hold::No;
        self.is_cut_short = true;
        loop {
            let now = self.session.now();
            let (id, name) = (self.session.claimed.execution_id, self.session.name.clone());
            let closing = (
                LogEntry::terminated(self.current_node.as_ref(), reason, now),
                Event::ExecutionFailed {
                    id,
                    name,
                    error: message.clone(),
                },
            );
            let error = Some(message.clone());
            match self
                .send(Disposition::Finish, "failed", error, Some(closing))
                .await
            {
                Ok(true) => return Ended::Done,
                Err(ended) => return ended,
                Ok(false) => {
                    if let Hold::Over(write) = &self.hold {
                        let write = write.clone();
                        return self.settle_over(&write).await;
                    }
                    self.hold = Hold::No;
                }
            }
        }
    }
}
