//! Making the work of many executions durable in one statement.

mod columns;

use std::borrow::Borrow;
use std::collections::HashMap;

use chrono::NaiveDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Store, StoreError, sql};
use crate::engine::Step;
use crate::host::log_entry::LogEntry;
use crate::ids::{ExecutionId, Fence, NodeId, Timestamp, Visit, WorkerId, WorkflowId};
pub(super) use columns::Columns;

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
    /// What is asked of others: rows for `workflowsignal`. One that is there already stays as it is.
    pub requests: Vec<SignalRequest>,
    /// The signals of this execution that are dealt with from now on (`workflowsignal.id`), answered requests among them.
    pub consumed: Vec<Uuid>,
    /// Executions to be started. A workflow that is gone starts none, and `load_children` shows none then.
    pub children: Vec<NewChild>,
    /// Whether it ends an execution that another one has started: it may need the row of that one.
    pub ends_child: bool,
    /// Children of this execution that it no longer wants: they are told to end.
    pub cancelled_children: Vec<ExecutionId>,
}

impl Record {
    /// A record that says nothing and holds the lease: of a row that nobody else has written, status `running`.
    pub fn new(worker: WorkerId, execution_id: ExecutionId, fence: Fence) -> Self {
        Self {
            worker,
            execution_id,
            fence,
            revision: 0,
            host_version: 0,
            host_status: "running".to_owned(),
            checkpoint: None,
            graph: None,
            input: None,
            steps: Vec::new(),
            log: Vec::new(),
            closing_log: Vec::new(),
            publish: None,
            disposition: Disposition::Hold,
            requests: Vec::new(),
            consumed: Vec::new(),
            ends_child: false,
            children: Vec::new(),
            cancelled_children: Vec::new(),
        }
    }

    /// How many bytes of text and JSON it brings: what makes a record large.
    pub fn bytes(&self) -> usize {
        let state = self
            .publish
            .as_ref()
            .and_then(|publish| publish.execution_state.as_ref());
        let graph = self.graph.as_ref().and_then(|(_, source)| source.as_ref());
        state.map_or(0, String::len)
            + graph.map_or(0, String::len)
            + self.checkpoint.as_ref().map_or(0, String::len)
            + self.input.as_ref().map_or(0, |(input, _)| input.len())
            + self
                .steps
                .iter()
                .map(|(_, output)| output.len())
                .sum::<usize>()
            + self
                .log
                .iter()
                .map(|entry| entry.message.len())
                .sum::<usize>()
            + self
                .requests
                .iter()
                .map(|request| request.signal_data.len())
                .sum::<usize>()
            + self
                .children
                .iter()
                .map(|child| child.input.len())
                .sum::<usize>()
    }
}

/// A row for `workflowsignal` that asks somebody for an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignalRequest {
    /// `id`, made from the visit that asks, so that a repeated record asks once.
    pub id: Uuid,
    /// `signal_type`, at most 100 characters.
    pub signal_type: String,
    /// `signal_data` as JSON text; where the column is `jsonb`, without NUL.
    pub signal_data: String,
}

/// An execution to be started by a node of another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewChild {
    /// `workflowexecution.id`, made from the visit that starts it, so that a repeated record starts one.
    pub id: ExecutionId,
    /// `workflowexecution.execution_id`, `exec-…`.
    pub name: String,
    /// The workflow to run.
    pub workflow_id: WorkflowId,
    /// Its `execution_data`, a JSON object as text; where the column is `jsonb`, without NUL.
    pub input: String,
    /// The node that starts it …
    pub node: NodeId,
    /// … and the visit of that node.
    pub visit: Visit,
    /// How deep it is: the parent's depth and one.
    pub depth: u32,
    /// Whether its end wakes the parent, and the parent's end cancels it.
    pub is_awaited: bool,
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
    /// Another transaction has locked the host row, or it is gone; or has locked something else that the record needs,
    /// such as the place of its parent in the run queue. Nothing was written.
    Blocked,
}

impl Store {
    /// Makes records durable in one commit. All must be of one worker. The answers are in the order of the records.
    pub async fn record<R: Borrow<Record>>(
        &self,
        worker: WorkerId,
        records: &[R],
    ) -> Result<Vec<Recorded>, StoreError> {
        let columns = Columns::of(records.iter().map(Borrow::borrow));
        let rows = self
            .query(&sql::RECORD, &columns.parameters(&worker.0))
            .await?;
        let answers = answers(&rows)?;
        Ok(records
            .iter()
            .map(|record| {
                answers
                    .get(&record.borrow().execution_id.0)
                    .copied()
                    .unwrap_or(Recorded::Stale)
            })
            .collect())
    }

    /// Which of these records are in, after the answer to their commit was lost, and whether their lease is still held.
    pub async fn was_recorded<R: Borrow<Record>>(
        &self,
        worker: WorkerId,
        records: &[R],
    ) -> Result<HashMap<ExecutionId, bool>, StoreError> {
        let records: Vec<&Record> = records.iter().map(Borrow::borrow).collect();
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
        } else if row.try_get("is_blocked")? {
            Recorded::Blocked
        } else {
            Recorded::Stale
        };
        answers.insert(row.try_get("execution_id")?, answer);
    }
    Ok(answers)
}
