//! The lease of one execution: what the runner believes of its rows, and the records that it sends.
//!
//! Everything that is written of an execution goes through [`Session::send`], which keeps revision, host version and
//! host status in step with the database. A record that gives the lease back is sent without a slot.

use std::sync::Arc;
use std::time::Duration;

use super::interrupt::Interrupts;
use super::limit::TimeLimit;
use super::slots::Slot;
use super::waits::WaitNews;
use super::{Ended, Tools};
use crate::engine::{Machine, Step};
use crate::host::log_entry::LogEntry;
use crate::host::state_json::{HostState, Identity, Published, View};
use crate::host::without_nul;
use crate::ids::{Timestamp, WorkerId};
use crate::store::claim::{Claimed, HostRow, HostWrite};
use crate::writer::{Disposition, Publish, Record, RecordError, Recorded};

/// How long a runner waits before it hands back what it could not load.
const GIVE_BACK_WAIT: Duration = Duration::from_millis(500);
/// How long to wait for a host row that somebody else has locked: at first, and at most.
const BLOCKED_WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// A last record of more bytes keeps its slot until it is committed: so what is held without a slot takes little memory.
const LARGE_RECORD_BYTES: usize = 64 * 1024;

/// One execution under its lease.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) tools: Arc<Tools>,
    worker: WorkerId,
    pub(super) claimed: Claimed,
    pub(super) interrupts: Interrupts,
    /// Left with the first record that gives the lease back.
    pub(super) slot: Slot,
    /// The execution's name, `exec-…`.
    pub(super) name: String,
    /// The status that we believe to be in the host row.
    pub(super) host_status: String,
    /// The last write of somebody else that we have seen.
    pub(super) host_version: i32,
    revision: i32,
    pub(super) is_input_recorded: bool,
    /// Somebody has written into `execution_data` since the last record.
    pub(super) has_new_data: bool,
    /// How long it may take.
    pub(super) time: TimeLimit,
    /// Whether each `running` runs one node only: the flag in the host row, as last seen.
    pub(super) is_debugged: bool,
}

/// What a record brings, beside what the session knows.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) checkpoint: Option<String>,
    pub(super) graph: Option<(Vec<u8>, Option<String>)>,
    pub(super) input: Option<(String, Timestamp)>,
    pub(super) steps: Vec<(Step, String)>,
    pub(super) log: Vec<LogEntry>,
    pub(super) closing_log: Vec<LogEntry>,
    pub(super) publish: Option<Publish>,
    pub(super) waits: WaitNews,
}

/// What became of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// It is in.
    Committed,
    /// Steps and log are in, host row and lease are as they were: look, and send again.
    HostChanged,
    /// There is nothing more to be done under this lease.
    LeaseLost,
    /// The database refuses the values.
    Refused(String),
}

/// What a look at the host row has shown.
#[derive(Clone, Debug)]
pub(super) enum Look {
    /// It is there.
    Host(HostWrite),
    /// Row or lease are gone.
    Gone,
}

impl Session {
    pub(super) fn new(
        tools: Arc<Tools>,
        worker: WorkerId,
        claimed: Claimed,
        host: &HostRow,
        interrupts: Interrupts,
        slot: Slot,
    ) -> Self {
        Self {
            tools,
            worker,
            interrupts,
            slot,
            name: host.execution_name.clone(),
            host_status: host.status.clone(),
            host_version: claimed.host_version,
            revision: claimed.revision,
            is_input_recorded: false,
            has_new_data: false,
            time: TimeLimit::from(claimed.timed_from),
            is_debugged: false,
            claimed,
        }
    }

    /// What the published view says of the execution itself.
    pub(super) fn identity(&self, host: &HostRow) -> Identity {
        Identity {
            execution_name: host.execution_name.clone(),
            workflow_id: host.workflow_id,
            workflow_version: host.workflow_version,
            started_at: host.started_at.and_utc(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.tools.clock.now()
    }

    /// Takes over what the host row's state says of how the execution is to run.
    pub(super) fn take_over(&mut self, state: &HostState) -> Result<(), String> {
        self.is_debugged = state.is_debugged();
        if let Some(own) = state.time_limit()? {
            self.time.set_own(own);
        }
        Ok(())
    }

    /// When it has taken as long as it may. While it is debugged people decide how long it takes.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.time.deadline().filter(|_| !self.is_debugged)
    }

    /// Whether it has.
    pub(super) fn is_out_of_time(&self) -> bool {
        self.deadline().is_some_and(|at| at <= self.now())
    }

    /// The engine's state as it is stored. `is_cut_short`: the execution ends, and not by what its nodes have done.
    pub(super) fn checkpoint_text(&self, machine: &Machine, is_cut_short: bool) -> Option<String> {
        let mut checkpoint = machine.checkpoint().with_time_limit(self.time.own());
        if is_cut_short {
            checkpoint = checkpoint.asking_afresh();
        }
        checkpoint.to_json().ok()
    }

    /// Makes a record durable. Waits while the database is away and while somebody else has locked the host row.
    pub(super) async fn send(&mut self, news: News, disposition: Disposition) -> Sent {
        let record = Arc::new(Record {
            revision: self.revision,
            host_version: self.host_version,
            host_status: self.host_status.clone(),
            checkpoint: news.checkpoint,
            graph: news.graph,
            input: news.input,
            steps: news.steps,
            log: news.log,
            closing_log: news.closing_log,
            publish: news.publish,
            disposition,
            requests: news.waits.requests,
            consumed: news.waits.consumed,
            ends_child: self.claimed.depth > 0 && disposition == Disposition::Finish,
            children: news.waits.children,
            cancelled_children: news.waits.cancelled_children,
            ..Record::new(self.worker, self.claimed.execution_id, self.claimed.fence)
        });
        if disposition != Disposition::Hold && record.bytes() <= LARGE_RECORD_BYTES {
            // No node runs any more: another execution may.
            self.slot.leave();
        }
        let mut wait = BLOCKED_WAIT.0;
        loop {
            match self.tools.writer.record(Arc::clone(&record)).await {
                Ok(Recorded::Committed) => {
                    self.revision += 1;
                    if let Some(publish) = &record.publish {
                        self.host_status.clone_from(&publish.status);
                    }
                    return Sent::Committed;
                }
                Ok(Recorded::HostChanged) => {
                    self.revision += 1;
                    return Sent::HostChanged;
                }
                Ok(Recorded::Stale) | Err(RecordError::Stopped) => return Sent::LeaseLost,
                Ok(Recorded::Blocked) => {
                    // Only whether it is there: what somebody writes into it meanwhile must show as unseen in the next
                    // record, or that would overwrite it.
                    if self.is_gone().await {
                        return Sent::LeaseLost;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        // Deregistering hands it back.
                        () = self.interrupts.hurry.cancelled() => return Sent::LeaseLost,
                    }
                    wait = (wait * 2).min(BLOCKED_WAIT.1);
                }
                Err(RecordError::Refused(message)) => return Sent::Refused(message),
            }
        }
    }

    /// Whether host row or lease are gone. While the database is away that is not known.
    async fn is_gone(&self) -> bool {
        let (execution, fence) = (self.claimed.execution_id, self.claimed.fence);
        matches!(
            self.tools.store.load_host_row(execution, fence).await,
            Ok(None)
        )
    }

    /// Reads what somebody else has written into the host row, and takes note of it. Waits while the database is away.
    pub(super) async fn look(&mut self) -> Look {
        let mut wait = BLOCKED_WAIT.0;
        loop {
            match self
                .tools
                .store
                .load_host_row(self.claimed.execution_id, self.claimed.fence)
                .await
            {
                Ok(Some(write)) => {
                    self.host_version = write.host_version;
                    self.time.set_from(write.timed_from);
                    self.host_status.clone_from(&write.status);
                    return Look::Host(write);
                }
                Ok(None) => return Look::Gone,
                Err(error) => {
                    tracing::debug!("execution {}: {error}", self.claimed.execution_id);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(BLOCKED_WAIT.1);
                }
            }
        }
    }

    /// A published view as the column can hold it.
    pub(super) fn state_text(&self, view: &View, published: &Published<'_>) -> String {
        self.json_text(view.to_json(published))
    }

    /// JSON as a column of the platform's can hold it.
    pub(super) fn json_text(&self, text: String) -> String {
        if self.tools.is_state_jsonb {
            without_nul(text)
        } else {
            text
        }
    }

    /// Parks an execution whose row says that it is to wait, and leaves the row as it is.
    pub(super) async fn park_as_found(&mut self) -> Ended {
        match self.send(News::default(), Disposition::Park(None)).await {
            Sent::Committed => Ended::Parked { until: None },
            // Resumed at this very moment, perhaps: the next claim looks afresh.
            Sent::HostChanged | Sent::Refused(_) => self.give_back().await,
            Sent::LeaseLost => Ended::LeaseLost,
        }
    }

    /// Hands an execution back that could not be taken up, for somebody to try again.
    pub(super) async fn give_back(&mut self) -> Ended {
        tokio::time::sleep(GIVE_BACK_WAIT).await;
        loop {
            match self.send(News::default(), Disposition::Release).await {
                Sent::Committed => return Ended::Drained,
                Sent::HostChanged => {
                    if matches!(self.look().await, Look::Gone) {
                        return Ended::LeaseLost;
                    }
                }
                Sent::LeaseLost | Sent::Refused(_) => return Ended::LeaseLost,
            }
        }
    }
}
