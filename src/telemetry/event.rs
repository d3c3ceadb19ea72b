//! The events, each with what identifies it.

use std::time::Duration;

use crate::ids::{Attempt, ExecutionId, NodeId, ScheduleId};

/// Something worth knowing. Its wording is in `log.rs`.
#[derive(Clone, Debug)]
pub enum Event {
    /// The worker is up and claims.
    WorkerStarted {
        /// How often it polls.
        poll_interval: Duration,
    },
    /// A first termination signal came: no more claims, running nodes may end.
    DrainStarted {
        /// Executions that run.
        running: usize,
        /// How long their nodes may take.
        grace: Duration,
    },
    /// The worker has stopped.
    WorkerStopped,
    /// Notifications arrive.
    Listening,
    /// Notifications do not arrive; the worker polls.
    PollingOnly,
    /// The listener's connection is lost; it reconnects.
    ListenerLost {
        /// Why.
        error: String,
    },
    /// The database does not answer a part of the worker; said once per outage.
    DatabaseLost {
        /// Which part.
        part: &'static str,
        /// Why.
        error: String,
    },
    /// The database answers again.
    DatabaseBack {
        /// Which part.
        part: &'static str,
    },
    /// An execution was claimed for the first time.
    ExecutionStarted {
        /// Its id.
        id: ExecutionId,
        /// Its name, `exec-…`.
        name: String,
    },
    /// A node starts.
    NodeStarted {
        /// The execution.
        id: ExecutionId,
        /// The node.
        node: NodeId,
        /// The n-th try.
        attempt: Attempt,
    },
    /// A node's step is recorded.
    NodeCompleted {
        /// The execution.
        id: ExecutionId,
        /// The node.
        node: NodeId,
    },
    /// An attempt of a node failed, and that is recorded.
    NodeFailed {
        /// The execution.
        id: ExecutionId,
        /// The node.
        node: NodeId,
        /// Why.
        error: String,
    },
    /// An execution has come to its end, and that is recorded.
    ExecutionCompleted {
        /// Its id.
        id: ExecutionId,
        /// Its name.
        name: String,
    },
    /// An execution has failed for good, and that is recorded.
    ExecutionFailed {
        /// Its id.
        id: ExecutionId,
        /// Its name.
        name: String,
        /// Why.
        error: String,
    },
    /// An execution has taken as long as it may, and that is recorded. Follows `ExecutionFailed`.
    ExecutionTimedOut {
        /// Its id.
        id: ExecutionId,
    },
    /// An execution will be tried again.
    RetryScheduled {
        /// Its id.
        id: ExecutionId,
        /// The n-th retry.
        retry: u32,
        /// Of how many.
        max_retries: u32,
        /// Why.
        error: String,
    },
    /// An execution whose retry was due is taken up.
    Retrying {
        /// Its id.
        id: ExecutionId,
        /// Its name.
        name: String,
    },
    /// A signal has ended a wait.
    SignalProcessed {
        /// The execution's id.
        id: ExecutionId,
        /// Its name.
        name: String,
    },
    /// An execution was paused or terminated by somebody, and its runner has stopped.
    ExecutionStopped {
        /// Its id.
        id: ExecutionId,
        /// What the host row says.
        status: String,
    },
    /// A lease is no longer ours; what ran under it was stopped and not recorded.
    LeaseLost {
        /// The execution.
        id: ExecutionId,
    },
    /// The others have declared this worker dead; it goes on under a new identity.
    DeclaredDead,
    /// The heartbeat failed for the length of the lease: what runs is stopped, because others may run it by now.
    HeartbeatFailed {
        /// Executions that were stopped.
        running: usize,
    },
    /// Executions of dead workers are due again.
    Rescued {
        /// How many.
        executions: i64,
    },
    /// Dead workers were taken off the list.
    WorkersBuried {
        /// Their names.
        names: Vec<String>,
    },
    /// Runnable host rows had no place in the run queue and got one.
    Repaired {
        /// How many.
        executions: usize,
    },
    /// Only the poll found work that a notification should have announced.
    MissedWakeup {
        /// How many executions.
        executions: usize,
    },
    /// Running rows that are too old to be taken on by surprise.
    LeftAlone {
        /// How many.
        executions: i64,
        /// The limit.
        max_age: Duration,
    },
    /// A round of retention has removed old history.
    Pruned {
        /// Rows of all tables.
        rows: i64,
        /// About how many bytes they took.
        bytes: i64,
    },
    /// A round of retention could not do all that it should.
    PruningFailed {
        /// Why, and what would help.
        problem: String,
    },
    /// The mail at the end of an execution could not be sent, and is given up.
    MailFailed {
        /// The execution.
        id: ExecutionId,
        /// Why.
        error: String,
    },
    /// Mails at the end of executions were not sent, because too many waited or the worker stopped.
    MailsDropped {
        /// How many, at most.
        at_most: u64,
    },
    /// Mail is half configured, so none is sent at the end of executions.
    MailOff {
        /// The variable that is missing.
        variable: &'static str,
    },
    /// Schedules have fired.
    SchedulesTriggered {
        /// How many executions they have started.
        executions: usize,
    },
    /// Something is wrong with a schedule.
    ScheduleFailed {
        /// Which.
        id: ScheduleId,
        /// The name of its workflow.
        workflow: String,
        /// What, and what becomes of it.
        error: String,
    },
    /// A schedule drops fires by one of its policies. Said once, until it fires again.
    ScheduleSkipped {
        /// Which.
        id: ScheduleId,
        /// The name of its workflow.
        workflow: String,
        /// Why.
        reason: String,
    },
    /// A part of the worker met what it cannot go on with.
    WorkerError {
        /// What.
        error: String,
    },
    /// The worker has started its activity host.
    ActivityHostStarted {
        /// Its process id.
        pid: u32,
    },
    /// The activity host that the worker started answers.
    ActivityHostReady {
        /// The node types that it serves, if it says so.
        types: Option<Vec<String>>,
    },
    /// The activity host that the worker started has ended or does not answer; it is started again.
    ActivityHostLost {
        /// Why.
        error: String,
        /// When.
        restart_in: Duration,
    },
    /// The activity host that the worker started has printed a line.
    ActivityHostLine {
        /// The line, cut if it is long.
        line: String,
        /// Whether it came on standard error.
        is_stderr: bool,
    },
}
