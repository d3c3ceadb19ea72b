//! `split`: parts of an object or a list.
//!
//! | `split_strategy` | `split_config` | result |
//! | --- | --- | --- |
//! | `by_key` (the default) | `{"keys": ["a", "b"]}` | an object with these entries of an object |
//! | `by_size` | `{"size": 10}` | a list of lists with so many items, the last with what is left |
//! | `by_condition` | `{"condition": "item.x > 1"}`, or the condition itself | `matched` and `unmatched`, two lists |
//!
//! What is split stands in `input_array` (or `input`). Without it that is `input.items`, by key the whole data; `rest`
//! has the other entries of an object that was named.

use serde_json::Value;

use super::{INPUT, LANGUAGE_KEY, Work, done};
use crate::activities::native::config;
use crate::activities::native::evaluator::{Evaluator, Expression, language};
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Object, Outcome, Running, Spec};
use crate::expr::template::unwrapped;

const CONFIG: &str = "split_config";

/// The keys of what is split.
const INPUTS: [&str; 2] = [INPUT, "input"];

/// Takes an object or a list apart.
#[derive(Clone, Debug)]
pub struct Split {
    /// Evaluates its expressions.
    pub expressions: Evaluator,
}

static SPEC: Spec = Spec {
    about: "Takes an object apart by its keys, or a list by size or by a condition.",
    keys: &[
        Key::new(
            CONFIG,
            Holds::Expression,
            "{\"keys\": [\"a\", \"b\"]}, {\"size\": 10} or {\"condition\": \"item.x > 1\"}, by the strategy",
        )
        .required(),
        Key::new(
            "split_strategy",
            Holds::Choice(&["by_key", "by_size", "by_condition"]),
            "default by_key",
        ),
        Key::new(
            INPUT,
            Holds::Expression,
            "what is split: a path or expression, or the value itself; default input.items, by_key all data",
        )
        .or(&["input"]),
        LANGUAGE_KEY,
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

impl Activity for Split {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let work = Work {
                evaluator: &self.expressions,
                node,
                context,
            };
            match config::text(&node.config, "split_strategy")? {
                None | Some("by_key") => by_key(work).await,
                Some("by_size") => by_size(work).await,
                Some("by_condition") => by_condition(work).await,
                Some(other) => Err(config::wrong(
                    "split_strategy",
                    &other.into(),
                    "by_key, by_size or by_condition",
                )),
            }
        })
    }
}

async fn by_key(work: Work<'_>) -> Result<Outcome, Failure> {
    let allowed = "an object {\"keys\": [\"a\", \"b\"]} with the names of entries";
    let settings = settings(&work.node.config, allowed)?;
    let keys = config::value(&settings, "keys")
        .and_then(Value::as_array)
        .and_then(|keys| keys.iter().map(Value::as_str).collect::<Option<Vec<_>>>())
        .filter(|keys| !keys.is_empty())
        .ok_or_else(|| config::wrong(CONFIG, &settings.clone().into(), allowed))?;
    let language = language(&work.node.config)?;
    let (mut rest, is_named) = match work.input(&INPUTS, language).await? {
        Some((_, Value::Object(entries))) => (entries, true),
        Some((what, other)) => {
            return Err(config::wrong(
                &what,
                &other,
                "an object, to be split by key",
            ));
        }
        None => ((*work.context.data).clone(), false),
    };
    let mut parts = Object::new();
    for key in &keys {
        let Some(value) = rest.get(*key) else {
            return Err(Failure::permanent(format!(
                "{CONFIG}.keys has {key:?}, which the input has not; its keys are {}",
                config::shown(&rest.keys().cloned().collect())
            )));
        };
        parts.insert((*key).to_owned(), value.clone());
    }
    let count = parts.len();
    let mut more = vec![("strategy", "by_key".into()), ("count", count.into())];
    if is_named {
        rest.retain(|key, _| !parts.contains_key(key));
        more.push(("rest", rest.into()));
    }
    Ok(done(parts.into(), &more))
}

async fn by_size(work: Work<'_>) -> Result<Outcome, Failure> {
    let allowed = "an object {\"size\": 10} with a whole number from 1";
    let settings = settings(&work.node.config, allowed)?;
    let size = match config::value(&settings, "size") {
        Some(Value::Number(number)) => number.as_u64().and_then(|size| size.try_into().ok()),
        Some(Value::String(text)) => text.trim().parse::<usize>().ok(),
        _ => None,
    };
    let size = size
        .filter(|size| *size > 0)
        .ok_or_else(|| config::wrong(CONFIG, &settings.into(), allowed))?;
    let items = work.list(&INPUTS, language(&work.node.config)?).await?;
    let parts: Vec<Value> = items.chunks(size).map(Value::from).collect();
    let count = parts.len();
    Ok(done(
        parts.into(),
        &[
            ("strategy", "by_size".into()),
            ("count", count.into()),
            ("total", items.len().into()),
        ],
    ))
}

async fn by_condition(work: Work<'_>) -> Result<Outcome, Failure> {
    let allowed = "a condition such as item.x > 1, or an object {\"condition\": \"item.x > 1\"}";
    let required = || Failure::permanent(format!("{CONFIG} is required: {allowed}"));
    let source = match config::value(&work.node.config, CONFIG).ok_or_else(required)? {
        Value::String(text) => match serde_json::from_str::<Object>(text) {
            Ok(settings) => condition(&settings).ok_or_else(required)?,
            Err(_no_object) => text.clone(),
        },
        Value::Object(settings) => condition(settings).ok_or_else(required)?,
        other => return Err(config::wrong(CONFIG, other, allowed)),
    };
    let language = language(&work.node.config)?;
    let expression = Expression {
        key: CONFIG,
        source: unwrapped(&source).unwrap_or(&source).to_owned(),
        language,
    };
    let items = work.list(&INPUTS, language).await?;
    let total = items.len();
    let (matched, unmatched) = work.partition(&expression, items).await?;
    let mut parts = Object::new();
    parts.insert("matched".to_owned(), matched.into());
    parts.insert("unmatched".to_owned(), unmatched.into());
    Ok(done(
        parts.into(),
        &[
            ("strategy", "by_condition".into()),
            ("count", 2.into()),
            ("total", total.into()),
        ],
    ))
}

fn condition(settings: &Object) -> Option<String> {
    let condition = config::value(settings, "condition")?.as_str()?;
    Some(condition.to_owned())
}

/// `split_config`, an object or a text that holds one as JSON.
fn settings(config: &Object, allowed: &str) -> Result<Object, Failure> {
    match config::value(config, CONFIG) {
        None => Err(Failure::permanent(format!(
            "{CONFIG} is required: {allowed}"
        ))),
        Some(Value::Object(settings)) => Ok(settings.clone()),
        Some(value) => value
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| config::wrong(CONFIG, value, allowed)),
    }
}
