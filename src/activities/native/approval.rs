//! `human_approval` and `wait_for_signal`: both wait, without a slot, until somebody answers.

use std::time::Duration;

use serde_json::Value;

use super::config;
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{
    Activity, Context, Failure, Node, Object, Outcome, Running, SignalWait, Spec,
};
use crate::ids::Timestamp;

/// How long an approval waits unless its node says otherwise: an hour.
const DEFAULT_SECONDS: f64 = 3_600.0;
/// The longest wait: ten years.
const LONGEST_SECONDS: f64 = 315_360_000.0;
/// The most options.
const MOST_OPTIONS: usize = 100;

static APPROVAL: Spec = Spec {
    about: "Asks people, waits for their answer, and takes the branch of that name.",
    keys: &[
        Key::new("approval_message", Holds::Text, "what is asked").or(&["message"]),
        Key::new(
            "approval_options",
            Holds::List,
            "what may be answered; default approve, reject",
        )
        .or(&["options"]),
        Key::new(
            "timeout_seconds",
            Holds::Number,
            "then the branch timeout is taken if an edge has it, else the node fails; default 3600",
        ),
    ],
    branches: &["*", "timeout"],
    timeout: Timeout::Own,
    acts: false,
};

/// Asks for an approval.
#[derive(Clone, Copy, Debug)]
pub struct HumanApproval;

impl Activity for HumanApproval {
    fn spec(&self) -> &'static Spec {
        &APPROVAL
    }

    fn check(&self, node: &Node) -> Result<(), Failure> {
        options(node)?;
        config::number(&node.config, "timeout_seconds", 0.0, LONGEST_SECONDS).map(drop)
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let options = options(node)?;
            let message = match config::text(&node.config, "approval_message")? {
                Some(message) => message,
                None => config::text(&node.config, "message")?.unwrap_or("Approval required"),
            };
            let seconds = config::number(&node.config, "timeout_seconds", 0.0, LONGEST_SECONDS)?
                .unwrap_or(DEFAULT_SECONDS);
            let mut request = Object::new();
            request.insert("node_id".to_owned(), node.id.as_str().into());
            request.insert("message".to_owned(), message.into());
            request.insert("options".to_owned(), options.clone().into());
            request.insert("timeout_seconds".to_owned(), shown_seconds(seconds));
            Ok(Outcome::AwaitSignal {
                wait: SignalWait {
                    signal_type: "human_approval".to_owned(),
                    request: Some(request),
                    options,
                    correlation_id: None,
                },
                until: after(context.now, seconds),
            })
        })
    }
}

/// A whole number of seconds without a fraction, as the platform writes it.
fn shown_seconds(seconds: f64) -> Value {
    match format!("{seconds}").parse::<u64>() {
        Ok(whole) => whole.into(),
        Err(_) => seconds.into(),
    }
}

fn options(node: &Node) -> Result<Vec<String>, Failure> {
    let Some((key, value)) = config::first_of(&node.config, &["approval_options", "options"])
    else {
        return Ok(vec!["approve".to_owned(), "reject".to_owned()]);
    };
    let wrong = || config::wrong(key, value, "a list of texts, each given once, at least one");
    let texts: Vec<String> = match value {
        // A form field may hold them as one text.
        Value::String(text) => text
            .split(',')
            .map(|option| option.trim().to_owned())
            .collect(),
        Value::Array(options) => options
            .iter()
            .map(|option| option.as_str().map(|text| text.trim().to_owned()))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    let mut known: Vec<String> = texts.iter().map(|option| option.to_lowercase()).collect();
    known.sort_unstable();
    known.dedup();
    let is_good = !texts.is_empty()
        && texts.len() <= MOST_OPTIONS
        && known.len() == texts.len()
        && texts.iter().all(|option| !option.is_empty());
    if is_good { Ok(texts) } else { Err(wrong()) }
}

/// What may be answered to an approval.
///
/// # Errors
/// A permanent failure if its options are no list of texts.
pub fn answers(node: &Node) -> Result<Vec<String>, Failure> {
    options(node)
}

static SIGNAL: Spec = Spec {
    about: "Waits for a signal of a type; its data is the output.",
    keys: &[
        Key::new(
            "signal_type",
            Holds::Text,
            "workflowsignal.signal_type, at most 100 characters",
        )
        .required(),
        Key::new(
            "correlation_id",
            Holds::Text,
            "only a signal whose data has this correlation_id is meant; default: any",
        ),
        Key::new(
            "timeout_seconds",
            Holds::Number,
            "then the branch timeout is taken if an edge has it, else the node fails; default: it waits for ever",
        ),
    ],
    branches: &["timeout"],
    timeout: Timeout::Own,
    acts: false,
};

/// Waits for a signal.
#[derive(Clone, Copy, Debug)]
pub struct WaitForSignal;

impl Activity for WaitForSignal {
    fn spec(&self) -> &'static Spec {
        &SIGNAL
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let signal_type = config::text(&node.config, "signal_type")?
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .ok_or_else(|| {
                    Failure::permanent("signal_type is required: which signal to wait for")
                })?;
            if signal_type.chars().count() > 100 {
                return Err(config::wrong(
                    "signal_type",
                    &signal_type.into(),
                    "at most 100 characters",
                ));
            }
            let seconds = config::number(&node.config, "timeout_seconds", 0.0, LONGEST_SECONDS)?;
            Ok(Outcome::AwaitSignal {
                wait: SignalWait {
                    signal_type: signal_type.to_owned(),
                    request: None,
                    options: Vec::new(),
                    correlation_id: config::text(&node.config, "correlation_id")?
                        .map(str::to_owned),
                },
                until: seconds.and_then(|seconds| after(context.now, seconds)),
            })
        })
    }
}

/// That many seconds later.
pub(super) fn after(now: Timestamp, seconds: f64) -> Option<Timestamp> {
    let wait = Duration::try_from_secs_f64(seconds).ok()?;
    now.checked_add_signed(chrono::TimeDelta::from_std(wait).ok()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{context, run};
    use super::*;

    #[tokio::test]
    async fn an_approval_asks_with_its_options_for_an_hour() {
        let context = context(json!({}));
        let Ok(Outcome::AwaitSignal { wait, until }) =
            run(&HumanApproval, json!({"approval_message": "ok?"}), &context).await
        else {
            panic!("it does not wait");
        };
        assert_eq!(wait.options, ["approve", "reject"]);
        assert_eq!(
            Value::Object(wait.request.unwrap()),
            json!({"node_id": "n1", "message": "ok?", "options": ["approve", "reject"], "timeout_seconds": 3600})
        );
        assert_eq!(until.unwrap() - context.now, chrono::TimeDelta::hours(1));
    }

    #[tokio::test]
    async fn wrong_options_are_named() {
        for options in [
            json!([]),
            json!(["a", "A"]),
            json!([1]),
            json!({"a": 1}),
            json!("a,,b"),
        ] {
            let failure = run(
                &HumanApproval,
                json!({"approval_options": options}),
                &context(json!({})),
            )
            .await
            .unwrap_err();
            assert!(
                failure
                    .message
                    .ends_with("it must be a list of texts, each given once, at least one"),
                "{}",
                failure.message
            );
        }
        let failure = run(
            &HumanApproval,
            json!({"timeout_seconds": "soon"}),
            &context(json!({})),
        )
        .await
        .unwrap_err();
        assert_eq!(
            failure.message,
            "timeout_seconds is \"soon\"; it must be a number from 0 to 315360000"
        );
    }

    #[tokio::test]
    async fn a_signal_is_waited_for_by_its_type_without_end() {
        let Ok(Outcome::AwaitSignal { wait, until }) = run(
            &WaitForSignal,
            json!({"signal_type": " paid "}),
            &context(json!({})),
        )
        .await
        else {
            panic!("it does not wait");
        };
        assert_eq!(
            (wait.signal_type.as_str(), until, wait.request),
            ("paid", None, None)
        );
        let failure = run(&WaitForSignal, json!({}), &context(json!({})))
            .await
            .unwrap_err();
        assert_eq!(
            failure.message,
            "signal_type is required: which signal to wait for"
        );
    }
}
