//! The dialect against croniter's own answers; what is refused and how; time zones stand in `zone/tests.rs`.

use std::str::FromStr;

use chrono::NaiveDateTime;

use super::*;

/// Made by `scripts/cron-golden`, which says what is in them.
const FIRES: &str = include_str!("../../tests/cron/fires.tsv");
const CHANGED: &str = include_str!("../../tests/cron/changed.tsv");
const REFUSED: &str = include_str!("../../tests/cron/refused.tsv");

/// How many times an answer has at most.
const TIMES: usize = 4;

fn at(text: &str) -> Timestamp {
    NaiveDateTime::from_str(text).unwrap().and_utc()
}

fn utc(expression: &str) -> Schedule {
    Schedule::parse(expression, None).unwrap_or_else(|error| panic!("{error}"))
}

/// As the tables write it.
fn answer(expression: &str, from: &str) -> String {
    let Ok(schedule) = Schedule::parse(expression, None) else {
        return "refused".to_owned();
    };
    let mut found = Vec::new();
    let mut last = at(from);
    for _ in 0..TIMES {
        let Some(next) = schedule.next_after(last) else {
            found.push("end".to_owned());
            break;
        };
        assert!(next > last, "{expression} {last} {next}");
        found.push(next.format("%Y-%m-%dT%H:%M:%S").to_string());
        last = next;
    }
    found.join(" ")
}

fn rows<const N: usize>(table: &str) -> Vec<[String; N]> {
    let row = |line: &str| {
        let fields: Vec<String> = line
            .split('\t')
            .map(|text| text.replace("\\t", "\t"))
            .collect();
        fields.try_into().unwrap()
    };
    table.lines().map(row).collect()
}

/// An expression that never fires is refused where croniter finds out only when it is asked for a time.
fn agrees(ours: &str, croniters: &str) -> bool {
    ours == croniters || (ours == "refused" && croniters == "end")
}

#[test]
fn fires_at_the_times_of_croniter() {
    let rows = rows::<3>(FIRES);
    assert!(rows.len() > 3000, "{}", rows.len());
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|[expression, from, times]| {
            let ours = answer(expression, from);
            (!agrees(&ours, times))
                .then(|| format!("{expression} | {from}\n  croniter {times}\n  ours     {ours}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn where_releases_of_croniter_differ_the_documented_one_is_followed() {
    let rows = rows::<5>(CHANGED);
    assert!(rows.len() > 100, "{}", rows.len());
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|[expression, from, _, _, expected]| {
            let ours = answer(expression, from);
            (!agrees(&ours, expected))
                .then(|| format!("{expression} | {from}\n  expected {expected}\n  ours     {ours}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_croniter_refuses_is_refused() {
    let rows = rows::<1>(REFUSED);
    assert!(rows.len() > 500, "{}", rows.len());
    let accepted: Vec<&str> = rows
        .iter()
        .filter(|[expression]| Schedule::parse(expression, None).is_ok())
        .map(|[expression]| expression.as_str())
        .collect();
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
}

#[test]
fn a_refusal_names_the_field_the_value_and_what_would_be_right() {
    for (expression, parts) in [
        ("0 25 * * *", &["field 2", "hour", "25", "0 to 23"][..]),
        (
            "0 0 * * MON-FRY",
            &["field 5", "day of week", "fry", "SUN to SAT"],
        ),
        ("0 0 * * 5L", &["field 5", "5l", "L5"]),
        ("0 0 * * L", &["field 5", "L5"]),
        ("0 0 * * 1-5#2", &["field 5", "MON-FRI#2"]),
        ("0 0 * * 5#6", &["field 5", "#6", "1st to a 5th"]),
        ("0 0 * * 5#2,1", &["field 5", "mixed"]),
        ("0 0 15W * *", &["field 3", "15w", "not supported"]),
        (
            "0 0 0 * *",
            &["field 3", "day of month", "0 is out of range", "1 to 31"],
        ),
        ("*/0 * * * *", &["field 1", "step 0"]),
        ("*/x * * * *", &["field 1", "\"x\"", "whole number"]),
        ("1,,2 * * * *", &["field 1", "missing"]),
        ("H * * * *", &["field 1", "write the time"]),
        ("? * * * *", &["field 1", "write *"]),
        ("0 0 1,? * *", &["field 3", "stands alone"]),
        (
            "0 0 1 1 * 0 1969",
            &["field 7", "year", "1969", "1970 to 2099"],
        ),
        (
            "* * * *",
            &["4 of the fields", "first five, six or all seven"],
        ),
        ("", &["empty", "five fields"]),
        ("@reboot", &["@reboot", "@hourly"]),
        ("@every 5m", &["no such short form", "@hourly"]),
        ("0 0 30 2 *", &["never fires", "\"30\"", "\"2\""]),
        ("0 0 29 2 * 0 2023", &["never fires", "\"29\"", "\"2023\""]),
        (
            "0 0 15 * 5#2",
            &[
                "never fires",
                "\"15\"",
                "5#2",
                "write * as the day of month",
            ],
        ),
    ] {
        let error = Schedule::parse(expression, None).unwrap_err().to_string();
        for part in [format!("{expression:?}").as_str()].iter().chain(parts) {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
    }
    let error = Schedule::parse("* * * * *", Some("Mars/Olympus"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Mars/Olympus") && error.contains("Europe/Berlin"),
        "{error}"
    );
}

#[test]
fn the_crate_cron_finds_the_times_unless_a_day_needs_l_or_an_order() {
    for (expression, crates) in [
        ("*/15 22-4 * * FRI-MON", &["cron"][..]),
        ("0 0 13 * 5", &["cron", "cron"]),
        ("0 0 1 1 * 30 2030", &["cron"]),
        ("0 0 L * *", &["croner"]),
        ("0 0 L * 5", &["croner", "cron"]),
        ("0 0 * * 5#2", &["croner"]),
        ("0 0 * * L5", &["croner"]),
    ] {
        assert_eq!(utc(expression).finder.crates(), crates, "{expression}");
    }
}

#[test]
fn an_instant_between_seconds_or_beyond_all_times_has_a_plain_answer() {
    let schedule = utc("* * * * * *");
    let half = at("2026-01-01T00:00:00") + TimeDelta::milliseconds(500);
    assert_eq!(schedule.next_after(half), Some(at("2026-01-01T00:00:01")));
    for zone in ["UTC", "Pacific/Kiritimati", "America/Adak"] {
        let schedule = Schedule::parse("* * * * *", Some(zone)).unwrap();
        assert_eq!(schedule.next_after(Timestamp::MAX_UTC), None);
        assert!(schedule.next_after(Timestamp::MIN_UTC).is_some());
    }
    assert_eq!(
        schedule.next_after(Timestamp::MIN_UTC),
        Some(at("1970-01-01T00:00:00"))
    );
    assert_eq!(
        utc("0 0 1 1 * 0 2030").next_after(at("2030-01-01T00:00:00")),
        None
    );
}

#[test]
fn an_explanation_says_what_it_means_and_what_others_would_read_differently() {
    let explain = |expression, zone| {
        let explanation = Schedule::parse(expression, zone).unwrap().explain();
        format!(
            "{} | {}",
            explanation.meaning,
            explanation.notes.join(" | ")
        )
    };
    for (expression, parts) in [
        (
            "0 9 * * mon-fri",
            &["At 09:00, on Monday, Tuesday, Wednesday, Thursday, and Friday (in UTC) | "][..],
        ),
        ("*/15 * * * *", &["every 15 minutes"]),
        ("*/7 * * * *", &["every 7 minutes", "begins anew each hour"]),
        (
            "0 0 13 * 5",
            &["on day 13 or Friday", "either is enough", "1 is Monday"],
        ),
        ("0 0 */2 * 1", &["Vixie's cron wants both"]),
        (
            "0 0 1-10 * 5#2",
            &["on the 2nd Friday of the month", "has no say"],
        ),
        ("0 0 * * 0 30", &["00:00:30", "seconds first"]),
        (
            "0 0 1 1 * 0 2030",
            &["in year 2030", "seventh, \"2030\", the year"],
        ),
        ("0 0 L * *", &["the last day of the month"]),
        ("0 0 31 * *", &["months without that day"]),
        ("0 0 * * mon-mon", &["goes once round"]),
        ("0 0 1,31 * *", &["croniter before 6.1"]),
        ("0 0 */3 * *", &["croniter before 6.1"]),
        ("59/5 * * * *", &["59 only", "*/5"]),
        ("0 0 1 dec/2 *", &["12 only", "*/2"]),
    ] {
        let text = explain(expression, None);
        for part in parts {
            assert!(
                text.contains(part),
                "{expression}: {part} is missing in: {text}"
            );
        }
    }
    assert!(!explain("0 0 1,29-31 * *", None).contains("croniter before"));
    assert!(
        explain("0 9 * * *", None).ends_with("| "),
        "nothing is odd about it"
    );
    assert!(explain("0 2 * * *", Some("Europe/Berlin")).contains("fires the first time only"));
    assert!(explain("0 * * * *", Some("Europe/Berlin")).contains("really passes"));
}
