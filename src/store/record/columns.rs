//! Records as the arrays that `record.sql` takes: one element per execution, per step, per log row and so on.
//!
//! Every array of a group has the same length. What a text column cannot hold (NUL) is replaced here; JSON is passed on
//! as it came.

use chrono::NaiveDateTime;
use uuid::Uuid;

use super::super::Parameter;
use super::{Disposition, NewChild, Record, SignalRequest};
use crate::engine::Step;
use crate::host::log_entry::LogEntry;
use crate::ids::{self, Timestamp};

#[derive(Default)]
pub(in crate::store) struct Columns {
    execution_id: Vec<Uuid>,
    fence: Vec<i64>,
    revision: Vec<i32>,
    host_version: Vec<i32>,
    host_status: Vec<String>,
    checkpoint: Vec<Option<String>>,
    graph_hash: Vec<Option<Vec<u8>>>,
    disposition: Vec<&'static str>,
    run_at: Vec<Option<Timestamp>>,
    status: Vec<Option<String>>,
    current_node_id: Vec<Option<String>>,
    execution_state: Vec<Option<String>>,
    error_message: Vec<Option<String>>,
    retry_count: Vec<Option<i32>>,
    next_retry_at: Vec<Option<NaiveDateTime>>,
    steps: StepColumns,
    log: LogColumns,
    graph_hashes: Vec<Vec<u8>>,
    graph_sources: Vec<String>,
    requests: RequestColumns,
    /// Execution, signal.
    consumed: (Vec<Uuid>, Vec<Uuid>),
    children: ChildColumns,
    /// Execution, child.
    cancelled_children: (Vec<Uuid>, Vec<Uuid>),
}

#[derive(Default)]
struct StepColumns {
    execution_id: Vec<Uuid>,
    seq: Vec<i32>,
    node_id: Vec<String>,
    node_type: Vec<String>,
    visit: Vec<i32>,
    attempt: Vec<i32>,
    status: Vec<&'static str>,
    output: Vec<String>,
    error: Vec<Option<String>>,
    started_at: Vec<Timestamp>,
    finished_at: Vec<Timestamp>,
    scope: Vec<String>,
    is_end: Vec<bool>,
}

#[derive(Default)]
struct LogColumns {
    execution_id: Vec<Uuid>,
    id: Vec<Uuid>,
    node_id: Vec<String>,
    level: Vec<&'static str>,
    message: Vec<String>,
    logged_at: Vec<NaiveDateTime>,
    is_closing: Vec<bool>,
}

#[derive(Default)]
struct RequestColumns {
    execution_id: Vec<Uuid>,
    id: Vec<Uuid>,
    signal_type: Vec<String>,
    signal_data: Vec<String>,
}

#[derive(Default)]
struct ChildColumns {
    execution_id: Vec<Uuid>,
    id: Vec<Uuid>,
    name: Vec<String>,
    workflow_id: Vec<Uuid>,
    input: Vec<String>,
    node_id: Vec<String>,
    visit: Vec<i32>,
    depth: Vec<i32>,
    is_awaited: Vec<bool>,
}

impl Columns {
    pub(super) fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut columns = Self::default();
        for record in records {
            columns.push(record);
            columns.push_waits(record);
        }
        columns
    }

    /// `$1 …`, in the order of the function `record`.
    pub(in crate::store) fn parameters<'a>(&'a self, worker: &'a Uuid) -> Vec<Parameter<'a>> {
        let mut parameters: Vec<Parameter<'a>> = vec![worker];
        parameters.extend(self.of_executions());
        parameters.extend(self.steps.parameters());
        parameters.extend(self.log.parameters());
        parameters.extend([&self.graph_hashes as Parameter<'_>, &self.graph_sources]);
        parameters.extend(self.requests.parameters());
        parameters.extend([&self.consumed.0, &self.consumed.1].map(|ids| ids as Parameter<'_>));
        parameters.extend(self.children.parameters());
        let (executions, children) = &self.cancelled_children;
        parameters.extend([executions, children].map(|ids| ids as Parameter<'_>));
        parameters
    }

    fn of_executions(&self) -> [Parameter<'_>; 15] {
        [
            &self.execution_id,
            &self.fence,
            &self.revision,
            &self.host_version,
            &self.host_status,
            &self.checkpoint,
            &self.graph_hash,
            &self.disposition,
            &self.run_at,
            &self.status,
            &self.current_node_id,
            &self.execution_state,
            &self.error_message,
            &self.retry_count,
            &self.next_retry_at,
        ]
    }

    fn push(&mut self, record: &Record) {
        let execution = record.execution_id.0;
        self.execution_id.push(execution);
        self.fence.push(record.fence.0);
        self.revision.push(record.revision);
        self.host_version.push(record.host_version);
        self.host_status.push(record.host_status.clone());
        self.checkpoint.push(record.checkpoint.clone());
        self.graph_hash
            .push(record.graph.as_ref().map(|(hash, _)| hash.clone()));
        if let Some((hash, Some(source))) = &record.graph
            && !self.graph_hashes.contains(hash)
        {
            self.graph_hashes.push(hash.clone());
            self.graph_sources.push(source.clone());
        }
        self.disposition.push(record.disposition.as_str());
        self.run_at.push(match record.disposition {
            Disposition::Park(until) => until,
            Disposition::Hold | Disposition::Release | Disposition::Finish => None,
        });
        let publish = record.publish.as_ref();
        self.status
            .push(publish.map(|publish| publish.status.clone()));
        self.current_node_id
            .push(publish.and_then(|publish| publish.current_node_id.clone()));
        self.execution_state
            .push(publish.and_then(|publish| publish.execution_state.clone()));
        self.error_message
            .push(publish.and_then(|publish| publish.error_message.clone()));
        self.retry_count
            .push(publish.map(|publish| publish.retry_count));
        self.next_retry_at
            .push(publish.and_then(|publish| publish.next_retry_at));
        if let Some((input, at)) = &record.input {
            self.steps.push_input(execution, input, *at);
        }
        for (step, output) in &record.steps {
            self.steps.push(execution, step, output);
        }
        for entry in &record.log {
            self.log.push(execution, entry, false);
        }
        for entry in &record.closing_log {
            self.log.push(execution, entry, true);
        }
    }

    fn push_waits(&mut self, record: &Record) {
        let execution = record.execution_id.0;
        for request in &record.requests {
            self.requests.push(execution, request);
        }
        for signal in &record.consumed {
            self.consumed.0.push(execution);
            self.consumed.1.push(*signal);
        }
        for child in &record.children {
            self.children.push(execution, child);
        }
        for child in &record.cancelled_children {
            self.cancelled_children.0.push(execution);
            self.cancelled_children.1.push(child.0);
        }
    }
}

impl StepColumns {
    fn parameters(&self) -> [Parameter<'_>; 13] {
        [
            &self.execution_id,
            &self.seq,
            &self.node_id,
            &self.node_type,
            &self.visit,
            &self.attempt,
            &self.status,
            &self.output,
            &self.error,
            &self.started_at,
            &self.finished_at,
            &self.scope,
            &self.is_end,
        ]
    }

    fn push_input(&mut self, execution: Uuid, input: &str, at: Timestamp) {
        self.execution_id.push(execution);
        self.seq.push(0);
        self.node_id.push(String::new());
        self.node_type.push("input".to_owned());
        self.visit.push(0);
        self.attempt.push(0);
        self.status.push("input");
        self.output.push(input.to_owned());
        self.error.push(None);
        self.started_at.push(at);
        self.finished_at.push(at);
        self.scope.push(String::new());
        self.is_end.push(false);
    }

    fn push(&mut self, execution: Uuid, step: &Step, output: &str) {
        self.execution_id.push(execution);
        self.seq.push(step.seq);
        self.node_id.push(step.node.as_str().to_owned());
        self.node_type.push(step.node_type.clone());
        self.visit.push(integer(step.visit));
        self.attempt.push(integer(step.attempt));
        self.status.push(step.status.as_str());
        self.output.push(output.to_owned());
        self.error.push(step.error.as_deref().map(without_nul));
        self.started_at.push(step.started_at);
        self.finished_at.push(step.finished_at);
        self.scope.push(without_nul(&step.scope));
        self.is_end.push(step.is_end);
    }
}

impl LogColumns {
    fn parameters(&self) -> [Parameter<'_>; 7] {
        [
            &self.execution_id,
            &self.id,
            &self.node_id,
            &self.level,
            &self.message,
            &self.logged_at,
            &self.is_closing,
        ]
    }

    fn push(&mut self, execution: Uuid, entry: &LogEntry, is_closing: bool) {
        self.execution_id.push(execution);
        self.id.push(ids::uuid_at(entry.timestamp));
        self.node_id.push(entry.node_id.clone());
        self.level.push(entry.level.as_str());
        self.message.push(entry.message.clone());
        self.logged_at.push(entry.timestamp.naive_utc());
        self.is_closing.push(is_closing);
    }
}

impl RequestColumns {
    fn parameters(&self) -> [Parameter<'_>; 4] {
        [
            &self.execution_id,
            &self.id,
            &self.signal_type,
            &self.signal_data,
        ]
    }

    fn push(&mut self, execution: Uuid, request: &SignalRequest) {
        self.execution_id.push(execution);
        self.id.push(request.id);
        self.signal_type.push(without_nul(&request.signal_type));
        self.signal_data.push(request.signal_data.clone());
    }
}

impl ChildColumns {
    fn parameters(&self) -> [Parameter<'_>; 9] {
        [
            &self.execution_id,
            &self.id,
            &self.name,
            &self.workflow_id,
            &self.input,
            &self.node_id,
            &self.visit,
            &self.depth,
            &self.is_awaited,
        ]
    }

    fn push(&mut self, execution: Uuid, child: &NewChild) {
        self.execution_id.push(execution);
        self.id.push(child.id.0);
        self.name.push(child.name.clone());
        self.workflow_id.push(child.workflow_id.0);
        self.input.push(child.input.clone());
        self.node_id.push(child.node.as_str().to_owned());
        self.visit.push(integer(child.visit));
        self.depth.push(integer(child.depth));
        self.is_awaited.push(child.is_awaited);
    }
}

/// As the column holds it.
fn integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Text columns cannot hold the character NUL.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
