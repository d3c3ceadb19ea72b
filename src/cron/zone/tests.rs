//! The rules for changes of clocks: by hand where a user would look, and against a plain walk through all minutes.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use proptest::prelude::*;

use crate::cron::Schedule;
use crate::ids::Timestamp;

fn fires(expression: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
    let schedule = Schedule::parse(expression, Some(zone)).unwrap();
    let end: Timestamp = until.parse().unwrap();
    let local = |fire: Timestamp| {
        let local = fire.with_timezone(&schedule.zone());
        local.format("%d %H:%M %:z").to_string()
    };
    std::iter::successors(schedule.next_after(from.parse().unwrap()), |last| {
        schedule.next_after(*last)
    })
    .take_while(|fire| *fire < end)
    .map(local)
    .collect()
}

/// The night in which Berlin's clocks skip 02:00 to 03:00.
fn in_spring(expression: &str) -> Vec<String> {
    fires(
        expression,
        "Europe/Berlin",
        "2026-03-28T23:30:00Z",
        "2026-03-29T03:30:00Z",
    )
}

/// The night in which Berlin's clocks show 02:00 to 03:00 twice.
fn in_autumn(expression: &str) -> Vec<String> {
    fires(
        expression,
        "Europe/Berlin",
        "2026-10-24T22:30:00Z",
        "2026-10-25T03:30:00Z",
    )
}

#[test]
fn a_time_of_day_in_a_gap_fires_once_at_its_end() {
    assert_eq!(in_spring("30 2 * * *"), ["29 03:00 +02:00"]);
    assert_eq!(
        in_spring("0,15,30 2,3 * * *"),
        ["29 03:00 +02:00", "29 03:15 +02:00", "29 03:30 +02:00"]
    );
    assert_eq!(in_spring("30 2 29 3 * 0 2026"), ["29 03:00 +02:00"]);
    // Each step of hours is a time of day: none is lost.
    assert_eq!(
        in_spring("0 */2 * * *"),
        ["29 03:00 +02:00", "29 04:00 +02:00"]
    );
}

#[test]
fn a_time_of_day_in_a_fold_fires_the_first_time_only() {
    assert_eq!(in_autumn("30 2 * * *"), ["25 02:30 +02:00"]);
    assert_eq!(
        in_autumn("0 */2 * * *"),
        ["25 02:00 +02:00", "25 04:00 +01:00"]
    );
    let second_pass = "2026-10-25T01:10:00Z";
    let rest = fires(
        "0,30 2,3 * * *",
        "Europe/Berlin",
        second_pass,
        "2026-10-25T03:00:00Z",
    );
    assert_eq!(rest, ["25 03:00 +01:00", "25 03:30 +01:00"]);
}

#[test]
fn a_repeating_rule_goes_on_with_the_time_that_passes() {
    assert_eq!(
        in_spring("30 * * * *"),
        ["29 01:30 +01:00", "29 03:30 +02:00", "29 04:30 +02:00"]
    );
    assert_eq!(
        in_autumn("30 * * * *"),
        [
            "25 01:30 +02:00",
            "25 02:30 +02:00",
            "25 02:30 +01:00",
            "25 03:30 +01:00"
        ]
    );
    assert_eq!(in_autumn("*/15 * * * *").len(), 19);
    assert_eq!(in_spring("*/15 * * * *").len(), 15);
}

#[test]
fn a_repeating_rule_makes_up_for_a_gap_only_where_the_wait_would_be_longer() {
    // The whole hour is left out.
    assert_eq!(in_spring("*/20 2 * * *"), ["29 03:00 +02:00"]);
    // The half hour of Lord Howe is no whole interval.
    let hourly = fires(
        "0 * * * *",
        "Australia/Lord_Howe",
        "2026-10-03T14:00:00Z",
        "2026-10-03T17:00:00Z",
    );
    assert_eq!(
        hourly,
        ["04 01:00 +10:30", "04 02:30 +11:00", "04 03:00 +11:00"]
    );
    let quarters = fires(
        "*/15 * * * *",
        "Australia/Lord_Howe",
        "2026-10-03T15:10:00Z",
        "2026-10-03T15:50:00Z",
    );
    assert_eq!(
        quarters,
        ["04 01:45 +10:30", "04 02:30 +11:00", "04 02:45 +11:00"]
    );
}

#[test]
fn the_day_that_apia_skipped_is_not_lost() {
    let days = |expression| {
        fires(
            expression,
            "Pacific/Apia",
            "2011-12-29T10:00:00Z",
            "2012-01-01T09:00:00Z",
        )
    };
    assert_eq!(days("0 9 30 12 *"), ["31 00:00 +14:00"]);
    assert_eq!(
        days("0 9 * * *"),
        [
            "29 09:00 -10:00",
            "31 00:00 +14:00",
            "31 09:00 +14:00",
            "01 09:00 +14:00"
        ]
    );
    // 71 hours lie between, without the two ends.
    assert_eq!(days("0 * * * *").len(), 70);
}

/// A zone, and the middle of three days in which its clocks change.
const CHANGES: [(&str, &str); 11] = [
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    // At midnight.
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("America/Sao_Paulo", "2018-02-18T02:00:00Z"),
    // Winter is the exception there.
    ("Africa/Casablanca", "2026-02-15T02:00:00Z"),
    ("Europe/Dublin", "2026-10-25T01:00:00Z"),
];

/// What each minute of the window shows, in order.
fn minutes(zone: Tz, middle: Timestamp) -> Vec<(Timestamp, NaiveDateTime)> {
    (-2160..2160)
        .map(|minute| middle + TimeDelta::minutes(minute))
        .map(|instant| (instant, instant.with_timezone(&zone).naive_local()))
        .collect()
}

/// The times that the expression names on a calendar, without any zone.
fn named(expression: &str, from: NaiveDateTime, until: NaiveDateTime) -> BTreeSet<NaiveDateTime> {
    let schedule = Schedule::parse(expression, None).unwrap();
    let first = schedule.next_after((from - TimeDelta::seconds(1)).and_utc());
    std::iter::successors(first, |last| schedule.next_after(*last))
        .map(|time| time.naive_utc())
        .take_while(|time| *time <= until)
        .collect()
}

fn field(high: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (1..=high / 2).prop_map(|step| format!("*/{step}")),
        (0..=high).prop_map(|value| value.to_string()),
        (0..=high, 0..=high).prop_map(|(one, other)| format!("{one},{other}")),
        (0..=high, 0..=high).prop_map(|(low, high)| format!("{low}-{high}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Each named time has its instant: the first at which a clock shows it or a later one. Nothing else fires.
    #[test]
    fn times_of_day_are_never_lost_or_doubled(
        minute in (0_u32..60).prop_map(|value| value.to_string()),
        hour in prop_oneof![(0_u32..24).prop_map(|value| value.to_string()), Just("*/2".to_owned()), Just("0-3".to_owned())],
        change in 0..CHANGES.len(),
        start in 0_usize..4320,
    ) {
        let (zone, middle) = CHANGES[change];
        let minutes = minutes(Tz::from_str(zone).unwrap(), middle.parse().unwrap());
        let expression = format!("{minute} {hour} * * *");
        let expected: BTreeSet<Timestamp> = named(&expression, minutes[0].1, minutes[4319].1)
            .into_iter()
            .filter_map(|time| minutes.iter().find(|(_, local)| *local >= time))
            .map(|(instant, _)| *instant)
            .collect();
        let schedule = Schedule::parse(&expression, Some(zone)).unwrap();
        let mut last = minutes[start].0;
        for wanted in expected.range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded)) {
            let next = schedule.next_after(last).unwrap();
            prop_assert_eq!(next, *wanted, "{} in {} after {}", expression, zone, last);
            last = next;
        }
    }

    /// Each instant whose clock shows a named time fires. What fires besides lies at the end of a gap.
    #[test]
    fn a_repeating_rule_fires_at_each_instant_that_shows_its_time(
        minute in field(59),
        hour in field(23),
        change in 0..CHANGES.len(),
        start in 0_usize..2000,
    ) {
        let (zone, middle) = CHANGES[change];
        prop_assume!(hour == "*" || minute.contains('*'));
        let minutes = minutes(Tz::from_str(zone).unwrap(), middle.parse().unwrap());
        let expression = format!("{minute} {hour} * * *");
        let named = named(&expression, minutes[0].1 - TimeDelta::days(1), minutes[4319].1);
        let shown: BTreeSet<Timestamp> = minutes
            .iter()
            .filter(|(_, local)| named.contains(local))
            .map(|(instant, _)| *instant)
            .collect();
        let ends_of_gaps: BTreeSet<Timestamp> = minutes
            .windows(2)
            .filter(|pair| pair[1].1 - pair[0].1 > TimeDelta::minutes(1))
            .map(|pair| pair[1].0)
            .collect();
        let schedule = Schedule::parse(&expression, Some(zone)).unwrap();
        let from = minutes[start].0;
        let fired: BTreeSet<Timestamp> = std::iter::successors(schedule.next_after(from), |last| schedule.next_after(*last))
            .take_while(|fire| *fire <= minutes[4319].0)
            .collect();
        let after: BTreeSet<Timestamp> = shown.into_iter().filter(|instant| *instant > from).collect();
        prop_assert!(fired.is_superset(&after), "{} in {}: {:?}", expression, zone, after.difference(&fired).next());
        for extra in fired.difference(&after) {
            prop_assert!(ends_of_gaps.contains(extra), "{} in {} at {}", expression, zone, extra);
        }
        // The longest wait of a calendar without changes, plus what a fold repeats, at most.
        let longest = named.iter().zip(named.iter().skip(1)).map(|(one, next)| *next - *one).max();
        if let Some(longest) = longest {
            let times: Vec<&Timestamp> = fired.iter().collect();
            for pair in times.windows(2) {
                let wait = *pair[1] - *pair[0];
                prop_assert!(wait <= longest + TimeDelta::hours(1), "{} in {}: {} {}", expression, zone, pair[0], pair[1]);
            }
        }
    }

    #[test]
    fn the_next_fire_is_always_later(
        minute in field(59),
        hour in field(23),
        day in prop_oneof![Just("*"), Just("1,31"), Just("L"), Just("29")],
        weekday in prop_oneof![Just("*"), Just("5"), Just("L0"), Just("sat-mon")],
        change in 0..CHANGES.len(),
        seconds in -200_000_i64..200_000,
        nanoseconds in 0_u32..1_000_000_000,
    ) {
        let (zone, middle) = CHANGES[change];
        let expression = format!("{minute} {hour} {day} * {weekday}");
        let Ok(schedule) = Schedule::parse(&expression, Some(zone)) else { return Ok(()); };
        let middle: Timestamp = middle.parse().unwrap();
        let from = DateTime::from_timestamp(middle.timestamp() + seconds, nanoseconds).unwrap();
        let next = schedule.next_after(from).unwrap();
        prop_assert!(next > from, "{} in {}: {} after {}", expression, zone, next, from);
        // The same from anywhere before it: nothing lies between.
        let between = from + (next - from) / 2;
        if between > from && between < next {
            prop_assert_eq!(schedule.next_after(between), Some(next), "{} in {}", expression, zone);
        }
    }
}
