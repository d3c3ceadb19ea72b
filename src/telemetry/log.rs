//! Event → log line. The lines that operators of the old worker look for keep their wording and symbols.

use tracing::{debug, error, info, warn};
use tracing_subscriber::EnvFilter;

use super::Event;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Sends log lines to standard output. To be called once per process; a second call changes nothing.
pub fn init(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_unreadable| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false);
    let installed = match format {
        LogFormat::Human => lines.compact().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if let Err(error) = installed {
        debug!("logging was set up before: {error}");
    }
}

/// Writes the line of an event.
pub(super) fn write(event: &Event) {
    match event {
        Event::WorkerStarted { .. }
        | Event::WorkerStopped
        | Event::DrainStarted { .. }
        | Event::Listening
        | Event::PollingOnly
        | Event::ListenerLost { .. }
        | Event::DatabaseLost { .. }
        | Event::DatabaseBack { .. }
        | Event::MailsDropped { .. }
        | Event::MailOff { .. }
        | Event::WorkerError { .. } => of_the_service(event),
        Event::ExecutionStarted { .. }
        | Event::NodeStarted { .. }
        | Event::NodeCompleted { .. }
        | Event::NodeFailed { .. }
        | Event::ExecutionCompleted { .. }
        | Event::ExecutionFailed { .. }
        | Event::ExecutionTimedOut { .. }
        | Event::RetryScheduled { .. }
        | Event::Retrying { .. }
        | Event::SignalProcessed { .. }
        | Event::ExecutionStopped { .. }
        | Event::MailFailed { .. }
        | Event::LeaseLost { .. } => of_an_execution(event),
        Event::DeclaredDead
        | Event::HeartbeatFailed { .. }
        | Event::Rescued { .. }
        | Event::WorkersBuried { .. }
        | Event::Repaired { .. }
        | Event::MissedWakeup { .. }
        | Event::LeftAlone { .. }
        | Event::Pruned { .. }
        | Event::PruningFailed { .. } => of_the_fleet(event),
        Event::SchedulesTriggered { .. }
        | Event::ScheduleFailed { .. }
        | Event::ScheduleSkipped { .. } => of_schedules(event),
        Event::ActivityHostStarted { .. }
        | Event::ActivityHostReady { .. }
        | Event::ActivityHostLost { .. }
        | Event::ActivityHostLine { .. } => of_the_activity_host(event),
    }
}

fn of_the_service(event: &Event) {
    match event {
        Event::WorkerStarted { poll_interval } => {
            info!(
                "🚀 Workflow worker started (poll_interval={:?}s)",
                poll_interval.as_secs_f64()
            );
        }
        Event::DrainStarted { running, grace } => {
            info!(
                running,
                "stopping: no more claims; {running} running execution(s) have {grace:?} to finish their nodes"
            );
        }
        Event::WorkerStopped => info!("✅ Workflow worker stopped"),
        Event::Listening => {
            info!("listening: notifications arrive, executions start within milliseconds");
        }
        Event::PollingOnly => warn!(
            "LISTEN is accepted but notifications do not arrive (a pooler in transaction mode?): running on polling \
             alone; give a direct connection in WORKFLOW_WORKER_LISTEN_URL"
        ),
        Event::ListenerLost { error } => {
            warn!("the listener's connection is lost, polling until it is back: {error}");
        }
        Event::DatabaseLost { part, error } => warn!(part, "❌ Worker error: {part}: {error}"),
        Event::DatabaseBack { part } => info!(part, "{part}: the database answers again"),
        Event::MailsDropped { at_most } => {
            warn!("at most {at_most} mail(s) at the end of executions are not sent");
        }
        Event::MailOff { variable } => {
            warn!("no mails at the end of executions: {variable} is not set");
        }
        Event::WorkerError { error } => error!("❌ Worker error: {error}"),
        other => debug!("{other:?}"),
    }
}

fn of_an_execution(event: &Event) {
    match event {
        Event::ExecutionStarted { id, name } => {
            info!(execution.id = %id, "▶️  Execution started: {name}");
        }
        Event::NodeStarted { id, node, attempt } => {
            info!(execution.id = %id, attempt, "📍 Executing node: {node}");
        }
        Event::NodeCompleted { id, node } => {
            info!(execution.id = %id, "✅ Node {node} completed successfully");
        }
        Event::NodeFailed { id, node, error } => {
            warn!(execution.id = %id, "❌ Node {node} failed: {error}");
        }
        Event::ExecutionCompleted { id, name } => {
            info!(execution.id = %id, "✅ Execution completed: {name}");
        }
        Event::ExecutionFailed { id, name, error } => {
            warn!(execution.id = %id, "❌ Execution failed: {name}: {error}");
        }
        Event::ExecutionTimedOut { id } => {
            warn!(execution.id = %id, "⏱️  Workflow execution {id} timed out");
        }
        Event::RetryScheduled {
            id,
            retry,
            max_retries,
            error,
        } => {
            warn!(execution.id = %id, "retry {retry}/{max_retries} scheduled: {error}");
        }
        Event::Retrying { id, name } => info!(execution.id = %id, "🔄 Retrying execution: {name}"),
        Event::SignalProcessed { id, name } => {
            info!(execution.id = %id, "📨 Processed signal for execution: {name}");
        }
        Event::ExecutionStopped { id, status } => {
            info!(execution.id = %id, "execution {id} was set to {status}; its runner has stopped");
        }
        Event::MailFailed { id, error } => {
            warn!(execution.id = %id, "the mail at the end of execution {id} is not sent: {error}");
        }
        Event::LeaseLost { id } => {
            warn!(execution.id = %id, "the lease of execution {id} is lost; what ran under it is stopped");
        }
        other => debug!("{other:?}"),
    }
}

fn of_the_fleet(event: &Event) {
    match event {
        Event::DeclaredDead => {
            warn!(
                "other workers have declared this one dead and run what it held; going on under a new identity"
            );
        }
        Event::HeartbeatFailed { running } => {
            warn!(
                running,
                "no heartbeat for the length of a lease: {running} running execution(s) are stopped"
            );
        }
        Event::Rescued { executions } => info!(
            executions,
            "{executions} execution(s) of dead workers are due again"
        ),
        Event::WorkersBuried { names } => {
            info!("dead workers taken off the list: {}", names.join(", "));
        }
        Event::Repaired { executions } => {
            warn!(
                executions,
                "{executions} runnable execution(s) had no place in the run queue (triggers off?); added"
            );
        }
        Event::MissedWakeup { executions } => {
            warn!(
                executions,
                "only the poll found {executions} due execution(s): a notification was missed"
            );
        }
        Event::LeftAlone {
            executions,
            max_age,
        } => warn!(
            executions,
            "{executions} running execution(s) started more than {max_age:?} ago, before this worker knew them, and are \
             left alone; see `workflow-worker adopt --help`"
        ),
        Event::Pruned { rows, bytes } => info!(
            rows,
            bytes, "retention: {rows} row(s) of old history removed, about {bytes} bytes"
        ),
        Event::PruningFailed { problem } => warn!("retention: {problem}"),
        other => debug!("{other:?}"),
    }
}

fn of_schedules(event: &Event) {
    match event {
        Event::SchedulesTriggered { executions } => {
            info!(executions, "📅 Triggered {executions} scheduled executions");
        }
        Event::ScheduleFailed {
            id,
            workflow,
            error,
        } => {
            warn!(
                schedule.id = %id,
                "schedule {id} of workflow {workflow:?}: {error}"
            );
        }
        Event::ScheduleSkipped {
            id,
            workflow,
            reason,
        } => {
            warn!(schedule.id = %id, "schedule {id} of workflow {workflow:?} skips: {reason}");
        }
        other => debug!("{other:?}"),
    }
}

fn of_the_activity_host(event: &Event) {
    match event {
        Event::ActivityHostStarted { pid } => {
            info!(pid, "the activity host is started");
        }
        Event::ActivityHostReady { types: Some(types) } => {
            info!("the activity host is ready; it serves {}", types.join(", "));
        }
        Event::ActivityHostReady { types: None } => info!("the activity host is ready"),
        Event::ActivityHostLost { error, restart_in } => {
            warn!("the activity host is lost: {error}; it is started again in {restart_in:?}");
        }
        Event::ActivityHostLine {
            line,
            is_stderr: false,
        } => info!("activity host: {line}"),
        Event::ActivityHostLine {
            line,
            is_stderr: true,
        } => warn!("activity host: {line}"),
        other => debug!("{other:?}"),
    }
}
