//! Taking due executions, and looking at what was taken.

use std::sync::Arc;

use chrono::NaiveDateTime;
use serde_json::{Map, Value};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Store, StoreError, sql};
use crate::engine::{Step, StepStatus};
use crate::ids::{ExecutionId, Fence, NodeId, Timestamp, WorkerId, WorkflowId};

/// An execution under a lease.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// `workflowexecution.id`.
    pub execution_id: ExecutionId,
    /// What each write must name.
    pub fence: Fence,
    /// The last record that was committed.
    pub revision: i32,
    /// The last write of somebody else to the host row.
    pub host_version: i32,
    /// How often in a row its worker has died while holding it.
    pub rescues: i32,
    /// How long it has been due, in milliseconds.
    pub late_by_ms: f64,
    /// The graph it has started on; `None` before its first record.
    pub graph_hash: Option<Vec<u8>>,
    /// The engine's state, as stored; `None` before its first record.
    pub checkpoint: Option<String>,
    /// How many executions are above it: 0 if no other has started it.
    pub depth: u32,
    /// Why the execution that started it no longer wants it, if so: it is to be ended with this text.
    pub cancel_reason: Option<String>,
    /// From when its time-out counts.
    pub timed_from: Timestamp,
    /// What it replays.
    pub replay: Option<Replay>,
    /// The limits that it counts under while it runs.
    pub limit_keys: Vec<String>,
    /// The platform's row; `None` if it is gone.
    pub host: Option<HostRow>,
}

/// The execution that another one replays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replay {
    /// Which.
    pub original: ExecutionId,
    /// The node to begin with; `None`: from the beginning.
    pub from: Option<NodeId>,
}

/// The platform's row of an execution.
#[derive(Clone, Debug)]
pub struct HostRow {
    /// `workflow.id`.
    pub workflow_id: WorkflowId,
    /// `workflow_version`.
    pub workflow_version: i32,
    /// `execution_id`, the name `exec-…`.
    pub execution_name: String,
    /// `status`.
    pub status: String,
    /// `started_at`, UTC.
    pub started_at: NaiveDateTime,
    /// Whether `completed_at` is set.
    pub is_completed: bool,
    /// `current_node_id`.
    pub current_node_id: Option<String>,
    /// `execution_state` as text.
    pub execution_state: Option<String>,
    /// `retry_count`.
    pub retry_count: i32,
    /// Whether `next_retry_at` is set.
    pub has_next_retry: bool,
    /// Whether it has come.
    pub is_retry_due: bool,
    /// Names one version of the workflow's row; `None` if the workflow is gone.
    pub workflow_row_version: Option<String>,
}

/// What a claim has taken.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// What is to be run.
    pub claimed: Vec<Claimed>,
    /// How many were put to wait for a limit instead.
    pub held: usize,
    /// The first of `claimed`, and what it cost to find it.
    pub front: Option<Front>,
}

/// Where the queue begins: the place of the first row, and how long the database has worked until it had that.
#[derive(Clone, Copy, Debug)]
pub struct Front {
    pub place: NaiveDateTime,
    pub took_ms: f64,
}

/// What the run queue holds for later.
#[derive(Clone, Copy, Debug, Default)]
pub struct NextDue {
    /// Something is due now.
    pub is_due: bool,
    /// A new host row has no place in the run queue.
    pub is_missing: bool,
    /// When the next timed execution comes due.
    pub next_run_at: Option<Timestamp>,
    /// When the scheduler has to look next, if ever.
    pub next_schedule_at: Option<Timestamp>,
    /// The worker holds something.
    pub is_holding: bool,
    /// Something waits for a limit.
    pub is_limit_waited_for: bool,
    /// When the next start under a limited rate, for which something waits, will be possible.
    pub next_opening_at: Option<Timestamp>,
    /// Triggers are missing or disabled: only the poll sees what the platform does.
    pub triggers_are_off: bool,
}

/// What has become of an execution that the worker holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// Which.
    pub execution_id: ExecutionId,
    /// The fence in force.
    pub fence: Fence,
    /// The last write of somebody else to the host row.
    pub host_version: i32,
    /// `status`; `None` if the host row is gone.
    pub status: Option<String>,
}

/// What somebody else wrote into a host row.
#[derive(Clone, Debug)]
pub struct HostWrite {
    /// The version to name in the next record.
    pub host_version: i32,
    /// From when the time-out counts: later by as long as it was paused.
    pub timed_from: Timestamp,
    /// `status`.
    pub status: String,
    /// `execution_state` as text.
    pub execution_state: Option<String>,
    /// `error_message`.
    pub error_message: Option<String>,
    /// Whether `completed_at` is set.
    pub is_completed: bool,
    /// Whether `next_retry_at` is set.
    pub has_next_retry: bool,
    /// Why the execution that started it no longer wants it, if so: it is to be ended with this text.
    pub cancel_reason: Option<String>,
}

/// One recorded row of `workflow_worker.steps`.
#[derive(Clone, Debug)]
pub enum RecordedStep {
    /// seq 0: what the execution was started with.
    Input(Map<String, Value>),
    /// One attempt of one node.
    Step(Step),
}

impl Store {
    /// Claims up to `limit` due executions, and says what comes due next (without a look for rows that are missing).
    ///
    /// `on_taken` gets what was taken as soon as that is known, and also if what comes next cannot be said: then the error
    /// is only about that. `from`: the place in the queue to begin with, for both; `None`: the first.
    pub async fn claim(
        &self,
        worker: WorkerId,
        limit: usize,
        from: Option<NaiveDateTime>,
        on_taken: impl FnOnce(Taken),
    ) -> Result<NextDue, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut unreadable = None;
        let next = self
            .query_both(
                (&sql::CLAIM, &[&worker.0, &limit, &from]),
                (&sql::NEXT_DUE, &[&worker.0, &None::<f64>, &from]),
                |rows| match taken_from(rows) {
                    Ok(taken) => on_taken(taken),
                    Err(error) => unreadable = Some(error),
                },
            )
            .await?;
        match unreadable {
            Some(error) => Err(error),
            None => next_due_from(&next),
        }
    }

    /// Says whether anything is due, what comes due next, and whether a host row of the last `window_seconds` is missing
    /// in the run queue.
    pub async fn next_due(
        &self,
        worker: WorkerId,
        window_seconds: f64,
    ) -> Result<NextDue, StoreError> {
        next_due_from(
            &self
                .query(
                    &sql::NEXT_DUE,
                    &[&worker.0, &Some(window_seconds), &None::<NaiveDateTime>],
                )
                .await?,
        )
    }

    /// What the worker holds, with what has been done to it.
    pub async fn interrupts(&self, worker: WorkerId) -> Result<Vec<Held>, StoreError> {
        let rows = self.query(&sql::INTERRUPTS, &[&worker.0]).await?;
        rows.iter()
            .map(|row| {
                Ok(Held {
                    execution_id: ExecutionId(row.try_get("execution_id")?),
                    fence: Fence(row.try_get("fence")?),
                    host_version: row.try_get("host_version")?,
                    status: row.try_get("status")?,
                })
            })
            .collect()
    }

    /// The host row of an execution that is held under `fence`, or `None` if row or lease are gone.
    pub async fn load_host_row(
        &self,
        execution: ExecutionId,
        fence: Fence,
    ) -> Result<Option<HostWrite>, StoreError> {
        let rows = self
            .query(&sql::LOAD_HOST_ROW, &[&execution.0, &fence.0])
            .await?;
        rows.first()
            .map(|row| {
                Ok(HostWrite {
                    host_version: row.try_get("host_version")?,
                    timed_from: row.try_get("timed_from")?,
                    status: row.try_get("status")?,
                    execution_state: row.try_get("execution_state")?,
                    error_message: row.try_get("error_message")?,
                    is_completed: row.try_get("is_completed")?,
                    has_next_retry: row.try_get("has_next_retry")?,
                    cancel_reason: row.try_get("cancel_reason")?,
                })
            })
            .transpose()
    }

    /// What an execution has done, in order.
    pub async fn load_steps(
        &self,
        execution: ExecutionId,
    ) -> Result<Vec<RecordedStep>, StoreError> {
        let rows = self.query(&sql::LOAD_STEPS, &[&vec![execution.0]]).await?;
        rows.iter().map(step_from).collect()
    }

    /// Hands back executions that the worker holds without running them.
    pub async fn release(
        &self,
        worker: WorkerId,
        held: &[(ExecutionId, Fence)],
    ) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = held.iter().map(|(id, _)| id.0).collect();
        let fences: Vec<i64> = held.iter().map(|(_, fence)| fence.0).collect();
        self.query(&sql::RELEASE, &[&worker.0, &ids, &fences])
            .await
            .map(drop)
    }

    /// Removes what is kept of an execution whose host row is gone.
    pub async fn forget(&self, execution: ExecutionId, fence: Fence) -> Result<(), StoreError> {
        self.query(&sql::FORGET, &[&execution.0, &fence.0])
            .await
            .map(drop)
    }
}

fn taken_from(rows: &[Row]) -> Result<Taken, StoreError> {
    let mut taken = Taken::default();
    for row in rows {
        if row.try_get("is_claimed")? {
            if taken.front.is_none() {
                taken.front = Some(Front {
                    place: row.try_get("place")?,
                    took_ms: row.try_get("took_ms")?,
                });
            }
            taken.claimed.push(claimed_from(row)?);
        } else {
            taken.held += 1;
        }
    }
    Ok(taken)
}

fn claimed_from(row: &Row) -> Result<Claimed, StoreError> {
    let host = if row.try_get("host_row_exists")? {
        Some(HostRow {
            workflow_id: WorkflowId(row.try_get("workflow_id")?),
            workflow_version: row.try_get("workflow_version")?,
            execution_name: row.try_get("execution_name")?,
            status: row.try_get("status")?,
            started_at: row.try_get("started_at")?,
            is_completed: row.try_get("is_completed")?,
            current_node_id: row.try_get("current_node_id")?,
            execution_state: row.try_get("execution_state")?,
            retry_count: row.try_get("retry_count")?,
            has_next_retry: row.try_get("has_next_retry")?,
            is_retry_due: row.try_get("is_retry_due")?,
            workflow_row_version: row.try_get("workflow_row_version")?,
        })
    } else {
        None
    };
    Ok(Claimed {
        execution_id: ExecutionId(row.try_get("execution_id")?),
        fence: Fence(row.try_get("fence")?),
        revision: row.try_get("revision")?,
        host_version: row.try_get("host_version")?,
        rescues: row.try_get("rescues")?,
        late_by_ms: row.try_get("late_by_ms")?,
        graph_hash: row.try_get("graph_hash")?,
        checkpoint: row.try_get("checkpoint")?,
        depth: u32::try_from(row.try_get::<_, i32>("depth")?).unwrap_or(0),
        cancel_reason: row.try_get("cancel_reason")?,
        timed_from: row.try_get("timed_from")?,
        limit_keys: row
            .try_get::<_, Option<Vec<String>>>("limit_keys")?
            .unwrap_or_default(),
        replay: row
            .try_get::<_, Option<Uuid>>("replay_of")?
            .map(|original| -> Result<Replay, StoreError> {
                let from: Option<&str> = row.try_get("replay_from")?;
                Ok(Replay {
                    original: ExecutionId(original),
                    from: from.map(NodeId::from),
                })
            })
            .transpose()?,
        host,
    })
}

fn next_due_from(rows: &[Row]) -> Result<NextDue, StoreError> {
    let Some(row) = rows.first() else {
        return Ok(NextDue::default());
    };
    Ok(NextDue {
        is_due: row.try_get("is_due")?,
        is_missing: row.try_get("is_missing")?,
        next_run_at: row.try_get("next_run_at")?,
        next_schedule_at: row.try_get("next_schedule_at")?,
        is_holding: row.try_get("is_holding")?,
        is_limit_waited_for: row.try_get("is_limit_waited_for")?,
        next_opening_at: row.try_get("next_opening_at")?,
        triggers_are_off: row.try_get("triggers_are_off")?,
    })
}

fn step_from(row: &Row) -> Result<RecordedStep, StoreError> {
    let execution: Uuid = row.try_get("execution_id")?;
    let seq: i32 = row.try_get("seq")?;
    let unreadable = |what: &str| StoreError::Refused {
        code: "step".to_owned(),
        message: format!("step {seq} of execution {execution} cannot be read: {what}"),
    };
    let text: &str = row.try_get("output")?;
    let output: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| unreadable(&error.to_string()))?;
    let status = match row.try_get::<_, &str>("status")? {
        "input" => return Ok(RecordedStep::Input(output)),
        text => StepStatus::parse(text)
            .ok_or_else(|| unreadable(&format!("status {text:?} is not known to this version")))?,
    };
    let count = |column: &str| -> Result<u32, StoreError> {
        let value: i32 = row.try_get(column)?;
        u32::try_from(value).map_err(|_negative| unreadable(&format!("{column} is {value}")))
    };
    Ok(RecordedStep::Step(Step {
        seq,
        node: NodeId::from(row.try_get::<_, &str>("node_id")?),
        node_type: row.try_get("node_type")?,
        visit: count("visit")?,
        attempt: count("attempt")?,
        status,
        output: Arc::new(output),
        error: row.try_get("error")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
        scope: row.try_get::<_, &str>("scope")?.into(),
        is_end: row.try_get("is_end")?,
    }))
}
