//! What any node may say of its retries, its time and its branches, beside what its type needs.

use std::time::Duration;

use serde_json::{Map, Value};

/// The most retries that a node may ask for.
const MOST_RETRIES: f64 = 1_000.0;
/// The longest `retry_delay` and `timeout_seconds`: ten years.
const LONGEST_SECONDS: f64 = 315_360_000.0;
/// The most branches at a time that a limit may name.
const MOST_BRANCHES: f64 = 10_000.0;

/// What a node's configuration says of how it is run. The same keys on every node type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeOptions {
    /// `retries`: how often a failed attempt is tried again, instead of as often as the execution's budget allows.
    pub retries: Option<u32>,
    /// `retry_delay`: seconds before the first retry; later ones wait longer by the retry policy's multiplier.
    pub retry_delay: Option<Duration>,
    /// `continue_on_error`: when its retries are used up, the execution goes on as if it had succeeded, with the error in
    /// its output.
    pub continue_on_error: bool,
    /// `timeout_seconds`: how long an attempt may take.
    pub timeout: Option<Duration>,
    /// How the branches behind it run; `None` if it says nothing of that.
    pub fan_out: Option<FanOut>,
}

/// How the branches behind a node run.
#[derive(Clone, Debug, PartialEq)]
pub struct FanOut {
    /// How many branches must end well before it goes on; the others are cancelled then. `None`: all.
    pub need: Option<u32>,
    /// How many run at a time.
    pub at_once: u32,
    /// What `<node>_parallel_result` becomes.
    pub aggregation: Aggregation,
}

/// What becomes of the results of several branches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregation {
    /// One object of all their members; the later branch wins.
    #[default]
    Merge,
    /// A list, in the order of the branches.
    Array,
    /// The result of the branch that ended first.
    First,
    /// The result of the branch that ended last.
    Last,
}

impl NodeOptions {
    /// Reads them. Absent, `null` and empty texts count as not set.
    ///
    /// # Errors
    /// A text for the node's author: key, value, what is allowed.
    pub fn read(config: &Map<String, Value>) -> Result<Self, String> {
        Ok(Self {
            retries: whole(config, "retries", 0.0, MOST_RETRIES)?,
            retry_delay: seconds(config, "retry_delay", 0.0)?,
            continue_on_error: flag(config, "continue_on_error")?.unwrap_or(false),
            timeout: seconds(config, "timeout_seconds", 0.0)?,
            fan_out: FanOut::read(config)?,
        })
    }
}

impl FanOut {
    fn read(config: &Map<String, Value>) -> Result<Option<Self>, String> {
        let is_parallel = flag(config, "parallel")?;
        let is_sequential = flag(config, "sequential")?;
        let limit = whole(config, "parallel_limit", 1.0, MOST_BRANCHES)?;
        let n = whole(config, "parallel_wait_n", 1.0, MOST_BRANCHES)?;
        let mode = word(config, "parallel_wait_mode", &["all", "any", "n_of_m"])?;
        let aggregation = word(
            config,
            "parallel_aggregation",
            &["merge", "array", "first", "last"],
        )?;
        let need = match mode {
            Some("any") => Some(1),
            Some("n_of_m") => Some(n.ok_or("parallel_wait_mode is \"n_of_m\"; it needs parallel_wait_n, the number of branches to wait for")?),
            Some(_) | None => None,
        };
        let one_by_one = is_sequential == Some(true) || is_parallel == Some(false);
        if !one_by_one && limit.is_none() && mode.is_none() && aggregation.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            need,
            at_once: if one_by_one {
                1
            } else {
                limit.unwrap_or(u32::MAX)
            },
            aggregation: match aggregation {
                Some("array") => Aggregation::Array,
                Some("first") => Aggregation::First,
                Some("last") => Aggregation::Last,
                Some(_) | None => Aggregation::Merge,
            },
        }))
    }
}

fn set<'a>(config: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    config
        .get(key)
        .filter(|value| !value.is_null() && value.as_str() != Some(""))
}

fn number(
    config: &Map<String, Value>,
    key: &str,
    (least, most): (f64, f64),
    what: &str,
) -> Result<Option<f64>, String> {
    let Some(value) = set(config, key) else {
        return Ok(None);
    };
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_f64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(format!(
            "{key} is {value}; it must be {what} from {least} to {most}"
        )),
    }
}

/// A whole number, or a text that holds one.
pub(super) fn whole(
    config: &Map<String, Value>,
    key: &str,
    least: f64,
    most: f64,
) -> Result<Option<u32>, String> {
    let Some(number) = number(config, key, (least, most), "a whole number")? else {
        return Ok(None);
    };
    if number.fract() != 0.0 {
        return Err(format!("{key} is {number}; it must be a whole number"));
    }
    Ok(format!("{number:.0}").parse().ok())
}

fn seconds(config: &Map<String, Value>, key: &str, least: f64) -> Result<Option<Duration>, String> {
    let number = number(config, key, (least, LONGEST_SECONDS), "a number of seconds")?;
    Ok(number.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
}

/// `timeout_seconds` of a whole execution, as a graph or a state says it; `None` if it says nothing.
///
/// # Errors
/// A text for its author: value, what is allowed.
pub fn time_limit(object: &Map<String, Value>) -> Result<Option<Duration>, String> {
    match seconds(object, "timeout_seconds", 0.0)? {
        Some(limit) if limit.is_zero() => {
            Err("timeout_seconds is 0; it must be more than 0".to_owned())
        }
        limit => Ok(limit),
    }
}

/// True or false, or the text of either.
pub(super) fn flag(config: &Map<String, Value>, key: &str) -> Result<Option<bool>, String> {
    match set(config, key) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(other) => Err(format!("{key} is {other}; it must be true or false")),
    }
}

fn word<'a>(
    config: &Map<String, Value>,
    key: &str,
    allowed: &[&'a str],
) -> Result<Option<&'a str>, String> {
    let Some(value) = set(config, key) else {
        return Ok(None);
    };
    let found = value.as_str().and_then(|text| {
        allowed
            .iter()
            .find(|word| word.eq_ignore_ascii_case(text.trim()))
    });
    match found {
        Some(word) => Ok(Some(word)),
        None => Err(format!(
            "{key} is {value}; it must be one of {}",
            allowed.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: &Value) -> Result<NodeOptions, String> {
        NodeOptions::read(config.as_object().unwrap())
    }

    #[test]
    fn numbers_may_be_texts_and_empty_fields_are_not_set() {
        let options = read(&json!({
            "retries": "2", "retry_delay": 0.5, "continue_on_error": "true", "timeout_seconds": null,
            "parallel": true, "parallel_wait_mode": ""
        }));
        assert_eq!(
            options,
            Ok(NodeOptions {
                retries: Some(2),
                retry_delay: Some(Duration::from_millis(500)),
                continue_on_error: true,
                timeout: None,
                fan_out: None,
            })
        );
    }

    #[test]
    fn how_branches_run_follows_from_any_of_its_keys() {
        let fan_out = |config: Value| read(&config).unwrap().fan_out.unwrap();
        let one_by_one = fan_out(json!({"sequential": true}));
        assert_eq!((one_by_one.at_once, one_by_one.need), (1, None));
        assert_eq!(fan_out(json!({"parallel": false})).at_once, 1);
        assert_eq!(fan_out(json!({"parallel_wait_mode": "any"})).need, Some(1));
        let two = fan_out(json!({"parallel_wait_mode": "N_of_M", "parallel_wait_n": "2"}));
        assert_eq!((two.need, two.at_once), (Some(2), u32::MAX));
        assert_eq!(
            fan_out(json!({"parallel_aggregation": "last"})).aggregation,
            Aggregation::Last
        );
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        let error = |config: Value| read(&config).unwrap_err();
        assert_eq!(
            error(json!({"retries": 1.5})),
            "retries is 1.5; it must be a whole number"
        );
        assert_eq!(
            error(json!({"timeout_seconds": "soon"})),
            "timeout_seconds is \"soon\"; it must be a number of seconds from 0 to 315360000"
        );
        assert_eq!(
            error(json!({"continue_on_error": 1})),
            "continue_on_error is 1; it must be true or false"
        );
        assert_eq!(
            error(json!({"parallel_wait_mode": "some"})),
            "parallel_wait_mode is \"some\"; it must be one of all, any, n_of_m"
        );
        assert!(
            error(json!({"parallel_wait_mode": "n_of_m"}))
                .ends_with("it needs parallel_wait_n, the number of branches to wait for")
        );
    }
}
