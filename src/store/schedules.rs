//! Reading the schedules that are due, and moving them on together with the executions that they start.
//!
//! [`Store::fire_schedules`] is one statement: either a schedule has its next time and its executions are there, or
//! neither. It names the version that was read, so whoever comes second changes nothing.

use chrono::NaiveDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Store, StoreError, sql};
use crate::config::Missed;
use crate::ids::{ExecutionId, ScheduleId, Timestamp, WorkflowId};

/// What happens to a fire while the last execution of its schedule is not finished.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Overlap {
    /// It starts beside it.
    #[default]
    Allow,
    /// It is dropped.
    Skip,
    /// It waits for its end.
    Queue,
}

/// A schedule that has to be looked at.
#[derive(Clone, Debug)]
pub struct DueSchedule {
    /// `workflowschedule.id`.
    pub id: ScheduleId,
    /// What the write must name.
    pub version: i64,
    /// The workflow that it starts.
    pub workflow_id: WorkflowId,
    /// Its name, for messages.
    pub workflow_name: String,
    /// One that is not active is not started.
    pub workflow_is_active: bool,
    /// `cron_expression`.
    pub expression: String,
    /// An IANA name; `None` is UTC.
    pub time_zone: Option<String>,
    /// `next_run_at`; `None` if it was never computed.
    pub next_run_at: Option<Timestamp>,
    /// Whether `next_run_at` is to be computed from now on, whatever it says.
    pub is_to_plan: bool,
    /// Its overlap policy.
    pub overlap: Overlap,
    /// Its policy for missed times; `None`: the worker's.
    pub missed: Option<Missed>,
    /// Its bound on caught up times; `None`: the worker's.
    pub max_catch_up: Option<usize>,
    /// The most fires that wait.
    pub max_queued: usize,
    /// What its owner adds to `execution_data`, as JSON text.
    pub input: Option<String>,
    /// Fires that wait for the end of the last execution, oldest first.
    pub waiting: Vec<Timestamp>,
    /// Why the last fire was skipped, if it was.
    pub skip_reason: Option<String>,
    /// Whether the last execution is still in the run queue.
    pub is_open: bool,
}

/// What a look at the schedules has found.
#[derive(Clone, Debug)]
pub struct ScheduleLook {
    /// Those that are due.
    pub due: Vec<DueSchedule>,
    /// When the next one is; `None`: none.
    pub next_due_at: Option<Timestamp>,
    /// The moment of the look, on the database's clock.
    pub looked_at: Timestamp,
}

/// An execution to be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewExecution {
    /// `workflowexecution.id`.
    pub id: ExecutionId,
    /// Its name, `exec-…`.
    pub name: String,
    /// `execution_data`, as JSON text.
    pub input: String,
}

/// What becomes of a schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScheduleMove {
    /// Which.
    pub id: ScheduleId,
    /// The version that was read.
    pub version: i64,
    /// When it is due next; `None`: never.
    pub next_run_at: Option<Timestamp>,
    /// What it starts, oldest first.
    pub executions: Vec<NewExecution>,
    /// The fires that wait from now on.
    pub waiting: Vec<Timestamp>,
    /// How many fires were skipped.
    pub skipped: i32,
    /// Why.
    pub skip_reason: Option<String>,
    /// What is wrong with it.
    pub error: Option<String>,
}

impl Store {
    /// Up to `limit` schedules that have to be looked at, and when the next one has to be.
    pub async fn load_due_schedules(&self, limit: i64) -> Result<ScheduleLook, StoreError> {
        let rows = self.query(&sql::LOAD_DUE_SCHEDULES, &[&limit]).await?;
        let first = rows
            .first()
            .ok_or_else(|| StoreError::Unavailable("no answer".to_owned()))?;
        let mut due = Vec::new();
        for row in &rows {
            if let Some(id) = row.try_get::<_, Option<Uuid>>("schedule_id")? {
                due.push(due_from(ScheduleId(id), row)?);
            }
        }
        Ok(ScheduleLook {
            due,
            next_due_at: first.try_get("next_due_at")?,
            looked_at: first.try_get("looked_at")?,
        })
    }

    /// Moves schedules on and starts their executions, in one transaction. Returns those that were moved; another
    /// worker was faster with the rest, or somebody holds a lock on their rows.
    pub async fn fire_schedules(
        &self,
        moves: &[ScheduleMove],
    ) -> Result<Vec<ScheduleId>, StoreError> {
        let columns = Columns::of(moves);
        let rows = self
            .query(
                &sql::FIRE_SCHEDULES,
                &[
                    &columns.id,
                    &columns.version,
                    &columns.next_run_at,
                    &columns.waiting,
                    &columns.error,
                    &columns.skipped,
                    &columns.skip_reason,
                    &columns.last_execution,
                    &columns.of_schedule,
                    &columns.execution,
                    &columns.name,
                    &columns.input,
                ],
            )
            .await?;
        rows.iter()
            .map(|row| Ok(ScheduleId(row.try_get("schedule_id")?)))
            .collect()
    }
}

fn due_from(id: ScheduleId, row: &Row) -> Result<DueSchedule, StoreError> {
    let bound = |column: &str| -> Result<Option<usize>, StoreError> {
        let value: Option<i32> = row.try_get(column)?;
        Ok(value.map(|value| usize::try_from(value).unwrap_or(0)))
    };
    Ok(DueSchedule {
        id,
        version: row.try_get("version")?,
        workflow_id: WorkflowId(row.try_get("workflow_id")?),
        workflow_name: row.try_get("workflow_name")?,
        workflow_is_active: row.try_get("workflow_is_active")?,
        expression: row.try_get("cron_expression")?,
        time_zone: row.try_get("time_zone")?,
        next_run_at: row.try_get("next_run_at")?,
        is_to_plan: row.try_get("is_to_plan")?,
        // A CHECK allows these words only.
        overlap: match row.try_get("overlap")? {
            "skip" => Overlap::Skip,
            "queue" => Overlap::Queue,
            _ => Overlap::Allow,
        },
        missed: row
            .try_get::<_, Option<&str>>("missed")?
            .and_then(Missed::parse),
        max_catch_up: bound("max_catch_up")?,
        max_queued: bound("max_queued")?.unwrap_or(0),
        input: row.try_get("input")?,
        waiting: row.try_get("waiting")?,
        skip_reason: row.try_get("skip_reason")?,
        is_open: row.try_get("is_open")?,
    })
}

/// `$1 …` of `fire_schedules.sql`.
#[derive(Default)]
struct Columns {
    id: Vec<Uuid>,
    version: Vec<i64>,
    next_run_at: Vec<Option<NaiveDateTime>>,
    waiting: Vec<String>,
    error: Vec<Option<String>>,
    skipped: Vec<i32>,
    skip_reason: Vec<Option<String>>,
    last_execution: Vec<Option<Uuid>>,
    of_schedule: Vec<Uuid>,
    execution: Vec<Uuid>,
    name: Vec<String>,
    input: Vec<String>,
}

impl Columns {
    fn of(moves: &[ScheduleMove]) -> Self {
        let mut columns = Self::default();
        for one in moves {
            columns.push(one);
        }
        columns
    }

    fn push(&mut self, one: &ScheduleMove) {
        self.id.push(one.id.0);
        self.version.push(one.version);
        self.next_run_at
            .push(one.next_run_at.map(|at| at.naive_utc()));
        self.waiting.push(array_literal(&one.waiting));
        self.error.push(one.error.clone());
        self.skipped.push(one.skipped);
        self.skip_reason.push(one.skip_reason.clone());
        self.last_execution
            .push(one.executions.last().map(|execution| execution.id.0));
        for execution in &one.executions {
            self.of_schedule.push(one.id.0);
            self.execution.push(execution.id.0);
            self.name.push(execution.name.clone());
            self.input.push(execution.input.clone());
        }
    }
}

/// An array of times as PostgreSQL reads it: arrays of different lengths cannot be elements of a parameter.
fn array_literal(times: &[Timestamp]) -> String {
    let times: Vec<String> = times
        .iter()
        .map(|at| format!("\"{}\"", at.to_rfc3339()))
        .collect();
    format!("{{{}}}", times.join(","))
}
