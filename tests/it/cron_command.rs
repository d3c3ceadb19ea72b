//! `workflow-worker cron explain` as its user meets it: without a database, without any setting.

use std::process::{Command, Output};

fn explain(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_workflow-worker"))
        .args(["cron", "explain"])
        .args(arguments)
        .env_clear()
        .output()
        .unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn it_says_what_is_meant_and_when_it_fires() {
    let output = explain(&[
        "0 9 * * mon",
        "--count",
        "2",
        "--from",
        "2026-11-24T12:00:00Z",
    ]);
    assert_eq!(
        lines(&output),
        [
            "At 09:00, on Monday (in UTC)",
            "  2026-11-30T09:00:00Z  Mon 2026-11-30 09:00:00 +00:00",
            "  2026-12-07T09:00:00Z  Mon 2026-12-07 09:00:00 +00:00",
        ]
    );
}

#[test]
fn the_example_of_the_documentation_is_what_it_prints() {
    let documentation = include_str!("../../docs/schedules.md");
    let example = documentation
        .split("```")
        .find(|block| block.trim().starts_with("$ workflow-worker cron"))
        .unwrap();
    let mut shown = example.trim().lines();
    let command = shown.next().unwrap();
    let expression = command.split('\'').nth(1).unwrap();
    let rest = command.split('\'').nth(2).unwrap();
    let arguments: Vec<&str> = [expression]
        .into_iter()
        .chain(rest.split_whitespace())
        .collect();
    assert_eq!(lines(&explain(&arguments)), shown.collect::<Vec<_>>());
}

#[test]
fn it_says_when_there_are_no_more_fires() {
    let output = explain(&["0 0 1 1 * 0 2030", "--from", "2026-01-01T00:00:00Z"]);
    let lines = lines(&output);
    assert!(lines[1].contains("2030-01-01T00:00:00Z"), "{lines:?}");
    assert!(lines[2].contains("no more"), "{lines:?}");
}

#[test]
fn programs_get_json() {
    let output = explain(&[
        "0 2 * * *",
        "--zone",
        "Europe/Berlin",
        "--from",
        "2026-03-28T12:00:00Z",
        "--count",
        "1",
        "--json",
    ]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["zone"], "Europe/Berlin");
    assert_eq!(answer["fires"][0]["utc"], "2026-03-29T01:00:00Z");
    assert_eq!(
        answer["fires"][0]["local"],
        "Sun 2026-03-29 03:00:00 +02:00"
    );
    assert!(
        answer["notes"][0]
            .as_str()
            .unwrap()
            .contains("clocks change"),
        "{answer}"
    );
}

#[test]
fn a_bad_expression_or_zone_is_exit_code_65_and_says_why() {
    for (arguments, part) in [
        (&["0 25 * * *"][..], "25 is out of range; 0 to 23"),
        (&["-5 * * * *"], "missing"),
        (&["0 0 30 2 *"], "never fires"),
        (
            &["0 0 * * *", "--zone", "Berlin"],
            "no time zone \"Berlin\"",
        ),
    ] {
        let output = explain(arguments);
        assert_eq!(output.status.code(), Some(65), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[test]
fn a_bad_argument_is_a_usage_error() {
    for arguments in [
        &["* * * * *", "--from", "soon"][..],
        &["* * * * *", "--count", "0"],
        &[],
    ] {
        let output = explain(arguments);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
    }
}
