//! Making the work of many executions durable in one statement.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Store, StoreError, sql};
use crate::engine::Step;
use crate::host::log_entry::LogEntry;
use crate::ids::{ExecutionId, Fence, Timestamp, WorkerId};

/// What is to be made durable of one execution, in one commit.
#[derive(Clone, Debug)]
pub struct Record {
    /// Whose lease it is.
    pub worker: WorkerId,
    /// Which execution.
    pub execution_id: ExecutionId,
    /// The fence in force.
    pub fence: Fence,
    /// The revision that this record follows; it makes the next.
    pub revision: i32,
    /// The last write of somebody else to the host row that the runner has seen.
    pub host_version: i32,
    /// The status that the runner believes to be in the host row.
    pub host_status: String,
    /// The engine's state.
    pub checkpoint: Option<String>,
    /// The graph, with its source if it may not be stored yet. Only in the first record.
    pub graph: Option<(Vec<u8>, Option<String>)>,
    /// seq 0, as JSON text. Only in the first record.
    pub input: Option<(String, Timestamp)>,
    /// What was done, with each output as JSON text.
    pub steps: Vec<(Step, String)>,
    /// Rows for `executionlog`.
    pub log: Vec<LogEntry>,
    /// Rows that tell of the disposition: written only if it takes effect.
    pub closing_log: Vec<LogEntry>,
    /// What the screens show; `None` leaves the host row.
    pub publish: Option<Publish>,
    /// What becomes of the lease.
    pub disposition: Disposition,
}

/// The columns of the host row.
#[derive(Clone, Debug)]
pub struct Publish {
    /// `status`.
    pub status: String,
    /// `current_node_id`.
    pub current_node_id: Option<String>,
    /// `execution_state` as text; `None` leaves it.
    pub execution_state: Option<String>,
    /// `error_message`.
    pub error_message: Option<String>,
    /// `retry_count`.
    pub retry_count: i32,
    /// `next_retry_at`, UTC.
    pub next_retry_at: Option<NaiveDateTime>,
}

/// What becomes of the lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// The runner goes on.
    Hold,
    /// The execution waits, without a slot: until that time, or until somebody writes its row.
    Park(Option<Timestamp>),
    /// It is handed back and due at once.
    Release,
    /// It leaves the run queue.
    Finish,
}

impl Disposition {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Park(_) => "park",
            Self::Release => "release",
            Self::Finish => "finish",
        }
    }
}

/// What became of a record. None of these is an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recorded {
    /// All of it is in.
    Committed,
    /// Steps, checkpoint and log are in; but somebody else has written the host row, so that it and the lease are as
    /// they were. The runner looks at the row and sends another record.
    HostChanged,
    /// The lease is no longer current. Nothing was written, and nothing ever will be under it.
    Stale,
    /// Another transaction has locked the host row, or it is gone. Nothing was written.
    Blocked,
}

#[derive(Default)]
struct Columns {
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
}

#[derive(Default)]
struct LogColumns {
    execution_id: Vec<Uuid>,
    node_id: Vec<String>,
    level: Vec<&'static str>,
    message: Vec<String>,
    logged_at: Vec<NaiveDateTime>,
    is_closing: Vec<bool>,
}

impl Columns {
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
}

impl StepColumns {
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
    }

    fn push(&mut self, execution: Uuid, step: &Step, output: &str) {
        self.execution_id.push(execution);
        self.seq.push(step.seq);
        self.node_id.push(step.node.as_str().to_owned());
        self.node_type.push(step.node_type.clone());
        self.visit
            .push(i32::try_from(step.visit).unwrap_or(i32::MAX));
        self.attempt
            .push(i32::try_from(step.attempt).unwrap_or(i32::MAX));
        self.status.push(step.status.as_str());
        self.output.push(output.to_owned());
        self.error.push(step.error.as_deref().map(without_nul));
        self.started_at.push(step.started_at);
        self.finished_at.push(step.finished_at);
    }
}

impl LogColumns {
    fn push(&mut self, execution: Uuid, entry: &LogEntry, is_closing: bool) {
        self.execution_id.push(execution);
        self.node_id.push(entry.node_id.clone());
        self.level.push(entry.level.as_str());
        self.message.push(entry.message.clone());
        self.logged_at.push(entry.timestamp.naive_utc());
        self.is_closing.push(is_closing);
    }
}

/// Text columns cannot hold the character NUL.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Store {
    /// Makes records durable in one commit. All must be of one worker. The answers are in the order of the records.
    pub async fn record(
        &self,
        worker: WorkerId,
        records: &[Record],
    ) -> Result<Vec<Recorded>, StoreError> {
        let mut columns = Columns::default();
        for record in records {
            columns.push(record);
        }
        let Columns { steps, log, .. } = &columns;
        let rows = self
            .query(
                &sql::RECORD,
                &[
                    &worker.0,
                    &columns.execution_id,
                    &columns.fence,
                    &columns.revision,
                    &columns.host_version,
                    &columns.host_status,
                    &columns.checkpoint,
                    &columns.graph_hash,
                    &columns.disposition,
                    &columns.run_at,
                    &columns.status,
                    &columns.current_node_id,
                    &columns.execution_state,
                    &columns.error_message,
                    &columns.retry_count,
                    &columns.next_retry_at,
                    &steps.execution_id,
                    &steps.seq,
                    &steps.node_id,
                    &steps.node_type,
                    &steps.visit,
                    &steps.attempt,
                    &steps.status,
                    &steps.output,
                    &steps.error,
                    &steps.started_at,
                    &steps.finished_at,
                    &log.execution_id,
                    &log.node_id,
                    &log.level,
                    &log.message,
                    &log.logged_at,
                    &log.is_closing,
                    &columns.graph_hashes,
                    &columns.graph_sources,
                ],
            )
            .await?;
        let answers = answers(&rows)?;
        Ok(records
            .iter()
            .map(|record| {
                answers
                    .get(&record.execution_id.0)
                    .copied()
                    .unwrap_or(Recorded::Stale)
            })
            .collect())
    }

    /// Which of these records are in, after the answer to their commit was lost, and whether their lease is still held.
    pub async fn was_recorded(
        &self,
        worker: WorkerId,
        records: &[Record],
    ) -> Result<HashMap<ExecutionId, bool>, StoreError> {
        let ids: Vec<Uuid> = records.iter().map(|record| record.execution_id.0).collect();
        let fences: Vec<i64> = records.iter().map(|record| record.fence.0).collect();
        let revisions: Vec<i32> = records.iter().map(|record| record.revision + 1).collect();
        let rows = self
            .query(&sql::WAS_RECORDED, &[&worker.0, &ids, &fences, &revisions])
            .await?;
        rows.iter()
            .map(|row| {
                Ok((
                    ExecutionId(row.try_get("execution_id")?),
                    row.try_get("is_held")?,
                ))
            })
            .collect()
    }
}

fn answers(rows: &[Row]) -> Result<HashMap<Uuid, Recorded>, StoreError> {
    let mut answers = HashMap::with_capacity(rows.len());
    for row in rows {
        let answer = if row.try_get("is_recorded")? {
            if row.try_get("is_current")? {
                Recorded::Committed
            } else {
                Recorded::HostChanged
            }
        } else if row.try_get("host_row_is_locked_or_gone")? {
            Recorded::Blocked
        } else {
            Recorded::Stale
        };
        answers.insert(row.try_get("execution_id")?, answer);
    }
    Ok(answers)
}
