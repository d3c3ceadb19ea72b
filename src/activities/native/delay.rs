//! `delay`, `wait`: until a number of seconds has passed, until a time, or until a condition holds.
//!
//! Nothing is held meanwhile: the activity says when it wants to be finished or looked at again. All waits count from
//! `context.now`, which the shell sets once per attempt.

use chrono::{DateTime, NaiveDateTime, TimeDelta};

use super::config;
use super::evaluator::{Evaluator, Expression};
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Object, Outcome, Running, Spec};
use crate::ids::Timestamp;

/// Ten years, in seconds.
const LONGEST_DELAY: f64 = 315_360_000.0;

/// How often a condition is looked at unless `check_interval_seconds` says otherwise.
const CHECK_INTERVAL: f64 = 1.0;

/// Waits.
#[derive(Clone, Debug)]
pub struct Delay {
    /// Evaluates the condition of `until_condition`.
    pub expressions: Evaluator,
}

static SPEC: Spec = Spec {
    about: "Waits, without a slot: some seconds, until a time, or until a condition holds.",
    keys: &[
        Key::new(
            "delay_type",
            Holds::Choice(&["seconds", "until_time", "until_condition"]),
            "default seconds",
        ),
        Key::new(
            "delay_seconds",
            Holds::Number,
            "for seconds: 0 to ten years",
        ),
        Key::new(
            "target_time",
            Holds::Text,
            "for until_time: ISO 8601, UTC unless it has an offset",
        ),
        Key::new(
            "condition_expression",
            Holds::Expression,
            "for until_condition",
        ),
        Key::new(
            "condition_type",
            Holds::Choice(&["javascript", "python", "jsonpath"]),
            "the expression's language; default javascript",
        ),
        Key::new(
            "check_interval_seconds",
            Holds::Number,
            "for until_condition: 0.1 to 3600; default 1",
        ),
        Key::new(
            "timeout_seconds",
            Holds::Number,
            "for until_condition: then the node fails; default never",
        ),
    ],
    branches: &[],
    timeout: Timeout::Own,
    acts: false,
};

impl Activity for Delay {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, node: &Node) -> Result<(), Failure> {
        let config = &node.config;
        match config::text(config, "delay_type")?.unwrap_or("seconds") {
            "seconds" => seconds(config).map(drop),
            "until_time" => target(config).map(drop),
            "until_condition" if config::value(config, "condition_expression").is_none() => {
                Err(Failure::permanent("condition_expression is required"))
            }
            "until_condition" => Ok(()),
            other => Err(unknown_type(other)),
        }
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            match config::text(&node.config, "delay_type")?.unwrap_or("seconds") {
                "seconds" => for_seconds(node, context),
                "until_time" => until_time(node, context),
                "until_condition" => self.until_condition(node, context).await,
                other => Err(unknown_type(other)),
            }
        })
    }
}

impl Delay {
    async fn until_condition(&self, node: &Node, context: &Context) -> Result<Outcome, Failure> {
        let condition = Expression::read(node, &["condition_expression"])?
            .ok_or_else(|| Failure::permanent("condition_expression is required"))?;
        let interval = config::number(&node.config, "check_interval_seconds", 0.1, 3600.0)?
            .unwrap_or(CHECK_INTERVAL);
        let patience = config::number(&node.config, "timeout_seconds", 0.0, LONGEST_DELAY)?;
        if condition.test(&self.expressions, node, context).await? {
            let mut output = output("until_condition");
            output.insert("condition_expression".to_owned(), condition.source.into());
            return Ok(Outcome::Done {
                output,
                branch: None,
            });
        }
        let next = later(context.now, interval)?;
        let Some(patience) = patience else {
            return Ok(Outcome::RecheckAt { at: next });
        };
        let deadline = later(context.waiting_since.unwrap_or(context.now), patience)?;
        if context.now >= deadline {
            return Err(Failure::permanent(format!(
                "condition \"{}\" was not met within {patience} seconds",
                condition.source
            ))
            .of_type("TimeoutError"));
        }
        Ok(Outcome::RecheckAt {
            at: next.min(deadline),
        })
    }
}

fn unknown_type(other: &str) -> Failure {
    config::wrong(
        "delay_type",
        &other.into(),
        "seconds, until_time or until_condition",
    )
}

fn seconds(config: &Object) -> Result<f64, Failure> {
    config::number(config, "delay_seconds", 0.0, LONGEST_DELAY)?
        .ok_or_else(|| Failure::permanent("delay_seconds is required"))
}

/// `target_time`, as it is written and as it is meant.
fn target(config: &Object) -> Result<(&str, Timestamp), Failure> {
    let text = config::text(config, "target_time")?
        .ok_or_else(|| Failure::permanent("target_time is required"))?;
    let target = parse_time(text).ok_or_else(|| {
        let allowed =
            "a time such as 2026-01-31T18:30, 2026-01-31T18:30:00Z or 2026-01-31T18:30:00+01:00";
        config::wrong("target_time", &text.into(), allowed)
    })?;
    Ok((text, target))
}

fn for_seconds(node: &Node, context: &Context) -> Result<Outcome, Failure> {
    let seconds = seconds(&node.config)?;
    let mut output = output("seconds");
    output.insert("delay_seconds".to_owned(), seconds_as_json(seconds));
    Ok(wait(context.now, later(context.now, seconds)?, output))
}

fn until_time(node: &Node, context: &Context) -> Result<Outcome, Failure> {
    let (text, target) = target(&node.config)?;
    let mut output = output("until_time");
    output.insert("target_time".to_owned(), text.into());
    Ok(wait(context.now, target, output))
}

/// Finished at once if there is nothing to wait for.
fn wait(now: Timestamp, at: Timestamp, output: Object) -> Outcome {
    if at <= now {
        Outcome::Done {
            output,
            branch: None,
        }
    } else {
        Outcome::SleepUntil { at, output }
    }
}

fn output(delay_type: &str) -> Object {
    let mut output = Object::new();
    output.insert("delay_type".to_owned(), delay_type.into());
    output.insert("completed".to_owned(), true.into());
    output
}

/// A whole number of seconds reads as one.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a whole number below 2^53, as just checked"
)]
fn seconds_as_json(seconds: f64) -> serde_json::Value {
    if seconds.fract() == 0.0 && seconds < LONGEST_DELAY {
        (seconds as i64).into()
    } else {
        seconds.into()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, and the bounds of the settings are far below"
)]
fn later(from: Timestamp, seconds: f64) -> Result<Timestamp, Failure> {
    let microseconds = (seconds * 1e6).round() as i64;
    from.checked_add_signed(TimeDelta::microseconds(microseconds))
        .ok_or_else(|| {
            Failure::permanent(format!(
                "{seconds} seconds from {from} is beyond the calendar"
            ))
        })
}

/// ISO 8601, seconds optional; without a zone it is UTC, as the builder's `datetime-local` field means it.
fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    for format in [
        "%Y-%m-%dT%H:%M%:z",
        "%Y-%m-%dT%H:%M:%S%.f%z",
        "%Y-%m-%d %H:%M:%S%.f%:z",
    ] {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Some(time.to_utc());
        }
    }
    let local = text.strip_suffix('Z').unwrap_or(text);
    [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
    ]
    .iter()
    .find_map(|format| NaiveDateTime::parse_from_str(local, format).ok())
    .map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{context, done, evaluator, run};
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    async fn delay(config: Value, context: &Context) -> Result<Outcome, Failure> {
        run(
            &Delay {
                expressions: evaluator(),
            },
            config,
            context,
        )
        .await
    }

    #[tokio::test]
    async fn seconds_end_exactly_that_much_later() {
        let context = context(json!({}));
        for (config, expected, shown) in [
            (
                json!({"delay_seconds": 90}),
                "2026-01-05T12:01:30Z",
                json!(90),
            ),
            (
                json!({"delay_seconds": "0.25"}),
                "2026-01-05T12:00:00.250Z",
                json!(0.25),
            ),
        ] {
            let Outcome::SleepUntil { at: until, output } = delay(config, &context).await.unwrap()
            else {
                panic!("it must sleep")
            };
            assert_eq!(until, at(expected));
            let expected =
                json!({"delay_type": "seconds", "completed": true, "delay_seconds": shown});
            assert_eq!(Value::Object(output), expected);
        }
    }

    #[tokio::test]
    async fn no_seconds_are_no_wait() {
        let (output, _) = done(delay(json!({"delay_seconds": 0}), &context(json!({}))).await);
        assert_eq!(output["completed"], json!(true));
    }

    #[tokio::test]
    async fn a_time_without_zone_is_utc() {
        let context = context(json!({}));
        for (text, expected) in [
            ("2026-01-05T18:30", "2026-01-05T18:30:00Z"),
            ("2026-01-05T18:30:15.5", "2026-01-05T18:30:15.5Z"),
            ("2026-01-05T18:30Z", "2026-01-05T18:30:00Z"),
            ("2026-01-05T18:30+01:00", "2026-01-05T17:30:00Z"),
            ("2026-01-05T18:30:00-0130", "2026-01-05T20:00:00Z"),
        ] {
            let config = json!({"delay_type": "until_time", "target_time": text});
            let Outcome::SleepUntil { at: until, .. } = delay(config, &context).await.unwrap()
            else {
                panic!("it must sleep")
            };
            assert_eq!(until, at(expected), "{text}");
        }
    }

    #[tokio::test]
    async fn a_time_in_the_past_is_no_wait() {
        let config = json!({"delay_type": "until_time", "target_time": "2025-01-01T00:00:00Z"});
        assert_eq!(
            done(delay(config, &context(json!({}))).await).0["delay_type"],
            json!("until_time")
        );
    }

    #[tokio::test]
    async fn a_condition_is_looked_at_again_until_it_holds() {
        let config = json!({
            "delay_type": "until_condition", "condition_expression": "input.ready", "check_interval_seconds": 5
        });
        let outcome = delay(config.clone(), &context(json!({"ready": false})))
            .await
            .unwrap();
        assert_eq!(
            outcome,
            Outcome::RecheckAt {
                at: at("2026-01-05T12:00:05Z")
            }
        );
        let (output, _) = done(delay(config, &context(json!({"ready": true}))).await);
        assert_eq!(output["completed"], json!(true));
    }

    #[tokio::test]
    async fn a_condition_that_never_holds_fails_at_its_time_limit_and_not_before() {
        let config = json!({
            "delay_type": "until_condition", "condition_expression": "false",
            "check_interval_seconds": 60, "timeout_seconds": 90
        });
        let mut context = context(json!({}));
        context.waiting_since = Some(at("2026-01-05T11:59:00Z"));
        let outcome = delay(config.clone(), &context).await.unwrap();
        assert_eq!(
            outcome,
            Outcome::RecheckAt {
                at: at("2026-01-05T12:00:30Z")
            }
        );
        context.now = at("2026-01-05T12:00:30Z");
        let failure = delay(config, &context).await.unwrap_err();
        assert_eq!(
            failure,
            Failure::permanent("condition \"false\" was not met within 90 seconds")
                .of_type("TimeoutError")
        );
    }

    #[tokio::test]
    async fn bad_settings_are_named() {
        for (config, expected) in [
            (json!({}), "delay_seconds is required"),
            (
                json!({"delay_seconds": -1}),
                "delay_seconds is -1; it must be a number from 0 to 315360000",
            ),
            (
                json!({"delay_seconds": "soon"}),
                "delay_seconds is \"soon\"; it must be a number from 0 to 315360000",
            ),
            (
                json!({"delay_type": "hours"}),
                "delay_type is \"hours\"; it must be seconds, until_time or until_condition",
            ),
            (
                json!({"delay_type": "until_time"}),
                "target_time is required",
            ),
            (
                json!({"delay_type": "until_condition"}),
                "condition_expression is required",
            ),
        ] {
            let failure = delay(config, &context(json!({}))).await.unwrap_err();
            assert_eq!(failure, Failure::permanent(expected));
        }
        let config = json!({"delay_type": "until_time", "target_time": "tomorrow"});
        let failure = delay(config, &context(json!({}))).await.unwrap_err();
        assert!(
            failure
                .message
                .starts_with("target_time is \"tomorrow\"; it must be a time such as")
        );
    }
}
