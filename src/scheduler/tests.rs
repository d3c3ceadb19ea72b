//! What becomes of a schedule at a moment.

use std::time::Duration;

use chrono::DateTime;
use serde_json::Value;
use uuid::Uuid;

use super::plan::decide;
use super::{MAX_EXECUTIONS, batches};
use crate::config::{Missed, ScheduleConfig};
use crate::ids::{ExecutionId, ScheduleId, Timestamp, WorkflowId};
use crate::store::schedules::{DueSchedule, NewExecution, Overlap, ScheduleMove};

const DEFAULTS: ScheduleConfig = ScheduleConfig {
    missed: Missed::Coalesce,
    max_catch_up: 10,
    grace: Duration::from_secs(30),
};

fn at(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

/// Every ten minutes, due at noon.
fn due() -> DueSchedule {
    DueSchedule {
        id: ScheduleId(Uuid::from_u128(7)),
        version: 3,
        workflow_id: WorkflowId(Uuid::from_u128(8)),
        workflow_name: "report".to_owned(),
        workflow_is_active: true,
        expression: "*/10 * * * *".to_owned(),
        time_zone: None,
        next_run_at: Some(at("2026-03-28T12:00:00Z")),
        is_to_plan: false,
        overlap: Overlap::Allow,
        missed: None,
        max_catch_up: None,
        max_queued: 100,
        input: None,
        waiting: Vec::new(),
        skip_reason: None,
        is_open: false,
    }
}

fn data(execution: &NewExecution) -> Value {
    serde_json::from_str(&execution.input).unwrap()
}

/// The times that its executions stand for.
fn scheduled_at(moved: &ScheduleMove) -> Vec<String> {
    moved
        .executions
        .iter()
        .map(|execution| data(execution)["scheduled_at"].as_str().unwrap()[11..19].to_owned())
        .collect()
}

const ON_TIME: &str = "2026-03-28T12:00:00.002Z";

#[test]
fn on_time_each_policy_fires_once_and_goes_on() {
    for missed in [Missed::Coalesce, Missed::CatchUp, Missed::Skip] {
        for overlap in [Overlap::Allow, Overlap::Skip, Overlap::Queue] {
            let due = DueSchedule {
                missed: Some(missed),
                overlap,
                ..due()
            };
            let moved = decide(&due, at(ON_TIME), &DEFAULTS);
            assert_eq!(moved.executions.len(), 1, "{missed:?} {overlap:?}");
            assert_eq!(moved.next_run_at, Some(at("2026-03-28T12:10:00Z")));
            assert_eq!(
                (moved.skipped, moved.skip_reason, moved.error),
                (0, None, None)
            );
            assert!(moved.waiting.is_empty());
            assert_eq!(moved.version, due.version);
        }
    }
}

#[test]
fn an_execution_has_the_platforms_keys_and_what_the_owner_adds() {
    let moved = decide(&due(), at(ON_TIME), &DEFAULTS);
    let expected = r#"{"trigger_type":"schedule","schedule_id":"00000000-0000-0000-0000-000000000007","cron_expression":"*/10 * * * *"}"#;
    assert_eq!(moved.executions[0].input, expected);
    assert!(moved.executions[0].name.starts_with("exec-"));
    assert_eq!(moved.executions[0].name.len(), 17);

    let with_input = DueSchedule {
        input: Some(r#"{"region": "eu", "trigger_type": "forged"}"#.to_owned()),
        ..due()
    };
    let moved = decide(&with_input, at(ON_TIME), &DEFAULTS);
    let data = data(&moved.executions[0]);
    assert_eq!(data["region"], "eu");
    assert_eq!(data["trigger_type"], "schedule");
}

#[test]
fn missed_times_become_one_fire_by_default() {
    let moved = decide(&due(), at("2026-03-28T12:35:00Z"), &DEFAULTS);
    assert_eq!(moved.executions.len(), 1);
    assert_eq!(moved.next_run_at, Some(at("2026-03-28T12:40:00Z")));
    assert_eq!(moved.skipped, 0);
}

#[test]
fn missed_times_are_caught_up_oldest_first_and_one_stands_for_what_exceeds_the_bound() {
    let catch_up = DueSchedule {
        missed: Some(Missed::CatchUp),
        ..due()
    };
    let moved = decide(&catch_up, at("2026-03-28T12:35:00Z"), &DEFAULTS);
    assert_eq!(
        scheduled_at(&moved),
        ["12:00:00", "12:10:00", "12:20:00", "12:30:00"]
    );
    let bounded = DueSchedule {
        max_catch_up: Some(2),
        ..catch_up
    };
    let moved = decide(&bounded, at("2026-03-28T12:35:00Z"), &DEFAULTS);
    assert_eq!(scheduled_at(&moved), ["12:00:00", "12:10:00", "12:20:00"]);
    // Years ago: as quick, and no more than that.
    let moved = decide(&bounded, at("2036-03-28T12:35:00Z"), &DEFAULTS);
    assert_eq!(moved.executions.len(), 3);
    assert_eq!(moved.next_run_at, Some(at("2036-03-28T12:40:00Z")));
}

#[test]
fn missed_times_are_skipped_but_for_one_within_the_grace() {
    let skip = DueSchedule {
        missed: Some(Missed::Skip),
        ..due()
    };
    let late = decide(&skip, at("2026-03-28T12:35:00Z"), &DEFAULTS);
    assert!(late.executions.is_empty());
    assert_eq!(late.skipped, 1);
    assert!(
        late.skip_reason.unwrap().contains("2026-03-28T12:00:00"),
        "names the time"
    );
    assert_eq!(late.next_run_at, Some(at("2026-03-28T12:40:00Z")));
    // 12:30 is late by 29 s.
    let in_time = decide(&skip, at("2026-03-28T12:30:29Z"), &DEFAULTS);
    assert_eq!((in_time.executions.len(), in_time.skipped), (1, 1));
    let on_the_edge = decide(&skip, at("2026-03-28T12:00:30Z"), &DEFAULTS);
    assert_eq!((on_the_edge.executions.len(), on_the_edge.skipped), (1, 0));
}

#[test]
fn the_workers_setting_holds_where_a_schedule_has_none() {
    let defaults = ScheduleConfig {
        missed: Missed::CatchUp,
        max_catch_up: 1,
        ..DEFAULTS
    };
    let moved = decide(&due(), at("2026-03-28T12:35:00Z"), &defaults);
    assert_eq!(scheduled_at(&moved), ["12:00:00", "12:10:00"]);
}

#[test]
fn while_the_last_execution_is_open_a_fire_is_skipped_or_waits() {
    let open = DueSchedule {
        is_open: true,
        ..due()
    };
    assert_eq!(
        decide(&open, at(ON_TIME), &DEFAULTS).executions.len(),
        1,
        "allowed"
    );
    let skip = DueSchedule {
        overlap: Overlap::Skip,
        ..open.clone()
    };
    let moved = decide(&skip, at(ON_TIME), &DEFAULTS);
    assert_eq!((moved.executions.len(), moved.skipped), (0, 1));
    assert!(moved.skip_reason.unwrap().contains("has not ended"));

    let queue = DueSchedule {
        overlap: Overlap::Queue,
        waiting: vec![at("2026-03-28T11:50:00Z")],
        ..open
    };
    let moved = decide(&queue, at(ON_TIME), &DEFAULTS);
    assert!(moved.executions.is_empty());
    assert_eq!(
        moved.waiting,
        [at("2026-03-28T11:50:00Z"), at("2026-03-28T12:00:00Z")]
    );
    // The end of the last one, at a time at which nothing is due.
    let ended = DueSchedule {
        is_open: false,
        waiting: moved.waiting,
        next_run_at: Some(at("2026-03-28T12:10:00Z")),
        ..queue
    };
    let moved = decide(&ended, at("2026-03-28T12:03:00Z"), &DEFAULTS);
    assert_eq!(scheduled_at(&moved), ["11:50:00"]);
    assert_eq!(moved.waiting, [at("2026-03-28T12:00:00Z")]);
    assert_eq!(moved.next_run_at, Some(at("2026-03-28T12:10:00Z")));
}

#[test]
fn fires_that_wait_have_a_bound() {
    let full = DueSchedule {
        overlap: Overlap::Queue,
        max_queued: 1,
        waiting: vec![at("2026-03-28T11:50:00Z")],
        is_open: true,
        ..due()
    };
    let moved = decide(&full, at(ON_TIME), &DEFAULTS);
    assert_eq!(moved.waiting, full.waiting);
    assert_eq!(moved.skipped, 1);
    assert!(moved.skip_reason.unwrap().contains("1 fires wait already"));
}

#[test]
fn caught_up_times_meet_the_policy_for_overlaps_as_well() {
    let skip = DueSchedule {
        missed: Some(Missed::CatchUp),
        overlap: Overlap::Skip,
        ..due()
    };
    let moved = decide(&skip, at("2026-03-28T12:35:00Z"), &DEFAULTS);
    assert_eq!(scheduled_at(&moved), ["12:00:00"]);
    assert_eq!(moved.skipped, 3);
    let queue = DueSchedule {
        overlap: Overlap::Queue,
        ..skip
    };
    let moved = decide(&queue, at("2026-03-28T12:35:00Z"), &DEFAULTS);
    assert_eq!(scheduled_at(&moved), ["12:00:00"]);
    assert_eq!(moved.waiting.len(), 3);
}

#[test]
fn nothing_fires_for_a_workflow_that_is_off_and_the_time_goes_on() {
    let off = DueSchedule {
        workflow_is_active: false,
        overlap: Overlap::Queue,
        waiting: vec![at("2026-03-28T11:50:00Z")],
        missed: Some(Missed::Skip),
        ..due()
    };
    let moved = decide(&off, at("2026-03-28T12:35:00Z"), &DEFAULTS);
    assert!(moved.executions.is_empty() && moved.waiting.is_empty());
    assert_eq!((moved.skipped, moved.skip_reason), (0, None));
    assert_eq!(moved.next_run_at, Some(at("2026-03-28T12:40:00Z")));
}

#[test]
fn a_time_that_was_never_computed_or_is_to_be_anew_is_computed_from_now() {
    let never = DueSchedule {
        next_run_at: None,
        ..due()
    };
    let anew = DueSchedule {
        is_to_plan: true,
        ..due()
    };
    for due in [never, anew] {
        let moved = decide(&due, at("2026-03-28T12:35:00Z"), &DEFAULTS);
        assert!(moved.executions.is_empty());
        assert_eq!(moved.next_run_at, Some(at("2026-03-28T12:40:00Z")));
    }
    let by_hand = DueSchedule {
        next_run_at: Some(at("2026-03-28T12:36:30Z")),
        ..due()
    };
    let moved = decide(&by_hand, at("2026-03-28T12:35:00Z"), &DEFAULTS);
    assert_eq!(moved.next_run_at, by_hand.next_run_at, "kept");
}

#[test]
fn what_cannot_be_read_fires_nothing_and_says_what_and_where() {
    let bad_expression = DueSchedule {
        expression: "61 * * * *".to_owned(),
        waiting: vec![at("2026-03-28T11:50:00Z")],
        ..due()
    };
    let bad_zone = DueSchedule {
        time_zone: Some("Mars/Olympus".to_owned()),
        ..due()
    };
    for (due, named) in [(bad_expression, "61 * * * *"), (bad_zone, "Mars/Olympus")] {
        let moved = decide(&due, at(ON_TIME), &DEFAULTS);
        assert_eq!(moved.next_run_at, None);
        assert!(moved.executions.is_empty() && moved.waiting.is_empty());
        let error = moved.error.unwrap();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_zone_moves_the_times_with_its_clock() {
    let noon = DueSchedule {
        expression: "0 12 * * *".to_owned(),
        time_zone: Some("Europe/Berlin".to_owned()),
        next_run_at: Some(at("2026-03-28T11:00:00Z")),
        ..due()
    };
    let moved = decide(&noon, at("2026-03-28T11:00:00.001Z"), &DEFAULTS);
    // The night between is an hour shorter.
    assert_eq!(moved.next_run_at, Some(at("2026-03-29T10:00:00Z")));
}

#[test]
fn a_batch_makes_a_bounded_number_of_executions() {
    let of = |executions: usize| {
        let made = decide(&due(), at(ON_TIME), &DEFAULTS).executions;
        let moved = ScheduleMove {
            executions: (0..executions)
                .map(|_| NewExecution {
                    id: ExecutionId(Uuid::new_v4()),
                    ..made[0].clone()
                })
                .collect(),
            ..decide(&due(), at(ON_TIME), &DEFAULTS)
        };
        (due(), moved)
    };
    let decided = [of(300), of(100), of(200), of(900), of(0), of(1)];
    let sizes: Vec<usize> = batches(&decided).map(<[_]>::len).collect();
    assert_eq!(sizes, [2, 1, 1, 2]);
    let largest = batches(&decided).map(|batch| {
        let sum: usize = batch.iter().map(|(_, moved)| moved.executions.len()).sum();
        if batch.len() == 1 { 0 } else { sum }
    });
    assert!(largest.max().unwrap() <= MAX_EXECUTIONS);
}
