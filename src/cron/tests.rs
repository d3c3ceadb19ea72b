use std::str::FromStr;

use chrono::{NaiveDateTime, TimeDelta};

use super::*;

const FIRES: &str = include_str!("../../tests/cron/fires.tsv");
const CHANGED: &str = include_str!("../../tests/cron/changed.tsv");
const REFUSED: &str = include_str!("../../tests/cron/refused.tsv");

fn at(text: &str) -> Timestamp {
    NaiveDateTime::from_str(text).unwrap().and_utc()
}

fn utc(expression: &str) -> Schedule {
    Schedule::parse(expression, None).unwrap_or_else(|error| panic!("{error}"))
}

/// As the tables write it.
fn answer(expression: &str, from: &str, times: usize) -> String {
    let Ok(schedule) = Schedule::parse(expression, None) else {
        return "refused".to_owned();
    };
    let mut found = Vec::new();
    let mut last = at(from);
    for _ in 0..times {
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
        let fields: Vec<String> = line.split('\t').map(|text| text.replace("\\t", "\t")).collect();
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
    let mut wrong = Vec::new();
    let rows = rows::<3>(FIRES);
    for [expression, from, times] in &rows {
        let t0=std::time::Instant::now();
        let ours = answer(expression, from, 4);
        let d=t0.elapsed(); if d.as_millis()>15 { println!("SLOW {d:?} {expression} {from} {:?}", Schedule::parse(expression,None).map(|s|s.finder.crates())); }
        if !agrees(&ours, times) {
            wrong.push(format!("{expression} | {from}\n  croniter {times}\n  ours     {ours}"));
        }
    }
    assert!(rows.len() > 3000, "{}", rows.len());
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn where_releases_of_croniter_differ_the_documented_one_is_followed() {
    let mut wrong = Vec::new();
    for [expression, from, old, new, expected] in rows::<5>(CHANGED) {
        let ours = answer(&expression, &from, 4);
        if !agrees(&ours, &expected) {
            wrong.push(format!("{expression} | {from}\n  old  {old}\n  new  {new}\n  ours {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_croniter_refuses_is_refused() {
    let accepted: Vec<String> = rows::<1>(REFUSED)
        .into_iter()
        .filter(|[expression]| Schedule::parse(expression, None).is_ok())
        .map(|[expression]| expression)
        .collect();
    assert!(accepted.is_empty(), "{}", accepted.join("\n"));
}
