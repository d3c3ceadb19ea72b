//! The ends of an execution that its engine does not bring about: somebody has ended it, or it cannot be run.

use super::Ended;
use super::session::{Look, News, Sent, Session};
use crate::engine::Machine;
use crate::host::log_entry::LogEntry;
use crate::host::state_json::{Published, View};
use crate::host::status::{self, Disposition as HostDisposition, HostStatus};
use crate::ids::NodeId;
use crate::store::claim::HostWrite;
use crate::telemetry::Event;
use crate::writer::{Disposition, Publish};

impl Session {
    /// Takes an execution that somebody has ended off the run queue, with what it had done in its row.
    /// `news` holds what is not yet recorded of that. Without a machine (it cannot be restored) a view is all that there is;
    /// without a view the row stays as it is.
    pub(super) async fn settle(
        &mut self,
        (machine, view): (Option<&Machine>, Option<&View>),
        write: &HostWrite,
        mut news: News,
    ) -> Ended {
        let mut write = write.clone();
        if let Some(machine) = machine {
            news.waits.withdraw(machine);
        }
        let claimed = self.claimed.host.as_ref();
        let current_node = match machine {
            Some(machine) => machine.current_node().cloned(),
            None => claimed.and_then(|host| host.current_node_id.as_deref().map(NodeId::from)),
        };
        let retry_count = match machine {
            Some(machine) => machine.retry_count(),
            None => claimed.map_or(0, |host| u32::try_from(host.retry_count).unwrap_or(0)),
        };
        loop {
            news.publish = view.map(|view| {
                let published = Published {
                    status: &write.status,
                    current_node_id: current_node.as_ref(),
                    error_message: write.error_message.as_deref(),
                    retry_count,
                    next_retry_at: None,
                };
                Publish {
                    status: write.status.clone(),
                    current_node_id: current_node.as_ref().map(|node| node.as_str().to_owned()),
                    execution_state: Some(self.state_text(view, &published)),
                    error_message: write.error_message.clone(),
                    retry_count: i32::try_from(retry_count).unwrap_or(i32::MAX),
                    next_retry_at: None,
                }
            });
            news.checkpoint = machine.and_then(|machine| self.checkpoint_text(machine, true));
            match self.send(news, Disposition::Finish).await {
                Sent::Committed => {
                    let id = self.claimed.execution_id;
                    self.tools.telemetry.emit(Event::ExecutionStopped {
                        id,
                        status: write.status,
                    });
                    return Ended::Done;
                }
                Sent::LeaseLost | Sent::Refused(_) => return Ended::LeaseLost,
                Sent::HostChanged => match self.look().await {
                    Look::Gone => return Ended::LeaseLost,
                    Look::Host(newer) => {
                        // Steps and log are in.
                        news = News::default();
                        if !is_over(&newer) {
                            return self.give_back().await;
                        }
                        write = newer;
                    }
                },
            }
        }
    }

    /// Fails an execution that cannot be run at all, with a message for its owner.
    pub(super) async fn fail_unrun(&mut self, view: Option<&View>, message: &str) -> Ended {
        let mut view = view;
        loop {
            let now = self.now();
            let retry_count = self
                .claimed
                .host
                .as_ref()
                .map_or(0, |host| host.retry_count);
            let published = Published {
                status: "failed",
                current_node_id: None,
                error_message: Some(message),
                retry_count: u32::try_from(retry_count).unwrap_or(0),
                next_retry_at: None,
            };
            let publish = Publish {
                status: "failed".to_owned(),
                current_node_id: None,
                execution_state: view.map(|view| self.state_text(view, &published)),
                error_message: Some(message.replace('\0', "\u{fffd}")),
                retry_count,
                next_retry_at: None,
            };
            let closing_log = vec![LogEntry::failed_permanently(None, message, now)];
            let news = News {
                closing_log,
                publish: Some(publish),
                ..News::default()
            };
            match self.send(news, Disposition::Finish).await {
                Sent::Committed => {
                    self.tools.telemetry.emit(Event::ExecutionFailed {
                        id: self.claimed.execution_id,
                        name: self.name.clone(),
                        error: message.to_owned(),
                    });
                    return Ended::Done;
                }
                Sent::LeaseLost => return Ended::LeaseLost,
                // The state cannot be stored either: leave it, and say the rest.
                Sent::Refused(_) if view.is_some() => view = None,
                Sent::Refused(refusal) => {
                    let error = format!(
                        "execution {} cannot be failed: {refusal}",
                        self.claimed.execution_id
                    );
                    self.tools.telemetry.emit(Event::WorkerError { error });
                    return Ended::LeaseLost;
                }
                Sent::HostChanged => match self.look().await {
                    Look::Gone => return Ended::LeaseLost,
                    Look::Host(write) if is_over(&write) => {
                        return self.settle((None, view), &write, News::default()).await;
                    }
                    Look::Host(_) => {}
                },
            }
        }
    }
}

/// What the host row asks for.
pub(super) fn disposition_of(write: &HostWrite) -> HostDisposition {
    status::disposition(
        &HostStatus::parse(&write.status),
        write.is_completed,
        write.has_next_retry,
    )
}

/// Whether somebody has ended the execution.
pub(super) fn is_over(write: &HostWrite) -> bool {
    matches!(
        disposition_of(write),
        HostDisposition::Final | HostDisposition::Unknown
    )
}
