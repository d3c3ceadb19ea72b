//! What becomes of a schedule at a moment (pure): which times fire, which wait, which are dropped, and when it is due next.
//!
//! | what was read | what fires | next |
//! | --- | --- | --- |
//! | no `next_run_at`, or to be planned anew | nothing | first time after now |
//! | `next_run_at` after now | what waits, if the execution before it has ended | as it is |
//! | `next_run_at` passed | by the policy for missed times, then by the one for overlap | first time after now |
//! | `next_run_at` passed, workflow not active | nothing | first time after now |
//! | an expression or zone that cannot be read | nothing, with the error | never |
//!
//! A time on which the worker is late by a moment is no other case than one that was missed: with nothing else passed
//! since, each policy fires it once.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::TimeDelta;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::config::{Missed, ScheduleConfig};
use crate::cron::Schedule;
use crate::host::iso_time;
use crate::ids::{ExecutionId, Timestamp};
use crate::store::schedules::{DueSchedule, NewExecution, Overlap, ScheduleMove};

/// The times that are to fire by the policy for missed times, and what else is known.
#[derive(Default)]
struct Times {
    fires: Vec<Timestamp>,
    next: Option<Timestamp>,
    /// Why times were dropped, if some were.
    dropped: Option<String>,
}

/// What becomes of `due` at `now`.
pub(super) fn decide(due: &DueSchedule, now: Timestamp, defaults: &ScheduleConfig) -> ScheduleMove {
    // The parsers of expressions are others' work, and one schedule must not end the scheduler.
    let times = catch_unwind(AssertUnwindSafe(|| times(due, now, defaults)))
        .unwrap_or_else(|_panic| Err("it cannot be evaluated".to_owned()));
    let times = match times {
        Ok(times) => times,
        Err(problem) => return failed(due, &problem),
    };
    if times.fires.is_empty() && times.next.is_none() && times.dropped.is_none() {
        return failed(due, &format!("it has no time after {}", iso_time(now)));
    }
    let moved = arrange(due, times, defaults);
    match moved {
        Ok(moved) => moved,
        Err(problem) => failed(due, &problem),
    }
}

/// Without a next time, and with the reason.
fn failed(due: &DueSchedule, problem: &str) -> ScheduleMove {
    let zone = due.time_zone.as_deref().unwrap_or("UTC");
    ScheduleMove {
        id: due.id,
        version: due.version,
        next_run_at: None,
        executions: Vec::new(),
        waiting: Vec::new(),
        skipped: 0,
        skip_reason: None,
        error: Some(
            format!(
                "cron_expression {:?} in time_zone {zone:?}: {problem}; it does not fire until it is changed",
                due.expression
            )
            // A text column takes all but this.
            .replace('\0', "\u{fffd}"),
        ),
    }
}

fn times(due: &DueSchedule, now: Timestamp, defaults: &ScheduleConfig) -> Result<Times, String> {
    let schedule = Schedule::parse(&due.expression, due.time_zone.as_deref())
        .map_err(|error| error.to_string())?;
    let first = match due.next_run_at {
        Some(at) if !due.is_to_plan => at,
        _ => {
            return Ok(Times {
                next: schedule.next_after(now),
                ..Times::default()
            });
        }
    };
    if first > now {
        return Ok(Times {
            next: Some(first),
            ..Times::default()
        });
    }
    let mut times = match due.missed.unwrap_or(defaults.missed) {
        Missed::Coalesce => Times {
            fires: vec![first],
            ..Times::default()
        },
        Missed::CatchUp => {
            let bound = due.max_catch_up.unwrap_or(defaults.max_catch_up);
            Times {
                fires: caught_up(&schedule, first, now, bound),
                ..Times::default()
            }
        }
        Missed::Skip => within_grace(&schedule, first, now, defaults),
    };
    times.next = schedule.next_after(now);
    Ok(times)
}

/// The first `bound` times up to `now`, and one more that stands for the rest, if there is a rest.
fn caught_up(
    schedule: &Schedule,
    first: Timestamp,
    now: Timestamp,
    bound: usize,
) -> Vec<Timestamp> {
    let mut fires = vec![first];
    let mut last = first;
    while fires.len() <= bound {
        match schedule.next_after(last) {
            // A time that does not go on would never end.
            Some(at) if at <= now && at > last => {
                fires.push(at);
                last = at;
            }
            _ => break,
        }
    }
    fires
}

/// The first time that is late by no more than the grace, if there is one.
fn within_grace(
    schedule: &Schedule,
    first: Timestamp,
    now: Timestamp,
    defaults: &ScheduleConfig,
) -> Times {
    let grace = TimeDelta::from_std(defaults.grace).unwrap_or(TimeDelta::MAX);
    let earliest = now.checked_sub_signed(grace).unwrap_or(first);
    if first >= earliest {
        return Times {
            fires: vec![first],
            ..Times::default()
        };
    }
    let in_time = schedule
        .next_after(earliest - TimeDelta::microseconds(1))
        .filter(|at| *at <= now);
    Times {
        fires: in_time.into_iter().collect(),
        dropped: Some(format!(
            "the time {} was missed by more than {:?} (missed: skip)",
            iso_time(first),
            defaults.grace
        )),
        ..Times::default()
    }
}

/// What the policy for overlaps makes of it.
fn arrange(
    due: &DueSchedule,
    times: Times,
    defaults: &ScheduleConfig,
) -> Result<ScheduleMove, String> {
    let mut skipped = usize::from(times.dropped.is_some());
    let mut skip_reason = times.dropped;
    let mut fires = times.fires;
    let mut waiting = due.waiting.clone();
    if !due.workflow_is_active {
        fires.clear();
        waiting.clear();
        skipped = 0;
        skip_reason = None;
    }
    match due.overlap {
        Overlap::Allow => waiting.clear(),
        Overlap::Skip => {
            waiting.clear();
            let start = usize::from(!due.is_open).min(fires.len());
            if fires.len() > start {
                skipped += fires.len() - start;
                skip_reason = Some("the execution before has not ended (overlap: skip)".to_owned());
                fires.truncate(start);
            }
        }
        Overlap::Queue => {
            waiting.append(&mut fires);
            if !due.is_open && !waiting.is_empty() {
                fires.push(waiting.remove(0));
            }
            if waiting.len() > due.max_queued {
                skipped += waiting.len() - due.max_queued;
                skip_reason = Some(format!(
                    "{} fires wait already (overlap: queue)",
                    due.max_queued
                ));
                waiting.truncate(due.max_queued);
            }
        }
    }
    // Where fires may come late one by one, each says for which time it stands.
    let tells_time =
        due.overlap == Overlap::Queue || due.missed.unwrap_or(defaults.missed) == Missed::CatchUp;
    let executions = fires
        .into_iter()
        .map(|at| execution(due, tells_time.then_some(at)))
        .collect::<Result<_, _>>()?;
    Ok(ScheduleMove {
        id: due.id,
        version: due.version,
        next_run_at: times.next,
        executions,
        waiting,
        skipped: i32::try_from(skipped).unwrap_or(i32::MAX),
        skip_reason,
        error: times
            .next
            .is_none()
            .then(|| format!("cron_expression {:?} has no further time", due.expression)),
    })
}

/// An execution with the platform's three keys, and what the owner has added.
fn execution(due: &DueSchedule, at: Option<Timestamp>) -> Result<NewExecution, String> {
    let mut data = Map::new();
    data.insert("trigger_type".to_owned(), Value::from("schedule"));
    data.insert("schedule_id".to_owned(), Value::from(due.id.to_string()));
    data.insert(
        "cron_expression".to_owned(),
        Value::from(due.expression.as_str()),
    );
    if let Some(at) = at {
        data.insert("scheduled_at".to_owned(), Value::from(iso_time(at)));
    }
    if let Some(input) = &due.input {
        let input: Map<String, Value> = serde_json::from_str(input)
            .map_err(|error| format!("its input cannot be read: {error}"))?;
        for (key, value) in input {
            data.entry(key).or_insert(value);
        }
    }
    let id = Uuid::new_v4();
    let name = id.simple().to_string();
    Ok(NewExecution {
        id: ExecutionId(id),
        name: format!("exec-{}", name.get(20..).unwrap_or(&name)),
        input: Value::Object(data).to_string(),
    })
}
