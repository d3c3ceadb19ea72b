//! `merge`: one object or list made of several values.
//!
//! `input_sources` names the values, each by a path, the id of a node, or an expression; an object or a list stands for
//! itself. `merge_strategy`:
//!
//! | strategy | result |
//! | --- | --- |
//! | `deep` (the default) | one object; where both sides have an object under a key, these are merged, else the later wins |
//! | `shallow` | one object; under each key the value of the last source that has it |
//! | `array` | one list; the items of lists, and what is no list as an item |
//!
//! In `deep` and `shallow` a source that is `null` adds nothing, and lists are values like any other.

use serde_json::Value;

use super::{COMBINING_LANGUAGE_KEY, Work, combining, done};
use crate::activities::native::config;
use crate::activities::native::evaluator::{Evaluator, language};
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Failure, Node, Object, Running, Spec};
use crate::expr::{Language, json_fits};

const SOURCES: &str = "input_sources";

/// What all sources together may have as JSON: as much as an answer of `http_request`.
const MAX_BYTES: usize = 10 << 20;

/// How values become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum MergeStrategy {
    Deep,
    Shallow,
    Array,
}

/// Makes one object or list of several values.
#[derive(Clone, Debug)]
pub struct Merge {
    /// Evaluates its expressions.
    pub expressions: Evaluator,
}

static SPEC: Spec = Spec {
    about: "Makes one object or list of several values.",
    keys: &[
        Key::new(
            SOURCES,
            Holds::Expression,
            "list of paths, node ids or expressions",
        )
        .required(),
        Key::new(
            "merge_strategy",
            Holds::Choice(&["deep", "shallow", "array"]),
            "default deep",
        ),
        COMBINING_LANGUAGE_KEY,
    ],
    branches: &[],
    timeout: Timeout::Node,
    acts: false,
};

impl Activity for Merge {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, node: &Node) -> Result<(), Failure> {
        strategy(&node.config)?;
        combining(language(&node.config)?)?;
        sources(&node.config).map(drop)
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            let work = Work {
                evaluator: &self.expressions,
                node,
                context,
            };
            let strategy = strategy(&node.config)?;
            let language = combining(language(&node.config)?)?;
            let sources = sources(&node.config)?;
            let mut values = Vec::with_capacity(sources.len());
            let mut room = MAX_BYTES;
            for (index, source) in sources.iter().enumerate() {
                let key = format!("{SOURCES}[{index}]");
                let value = source_value(work, &key, source, language).await?;
                if !json_fits(&value, &mut room) {
                    return Err(Failure::permanent(format!(
                        "{SOURCES} come to more than {MAX_BYTES} bytes"
                    )));
                }
                values.push(value);
            }
            let count = values.len();
            let result = merge(strategy, values)?;
            let name = match strategy {
                MergeStrategy::Deep => "deep",
                MergeStrategy::Shallow => "shallow",
                MergeStrategy::Array => "array",
            };
            Ok(done(
                result,
                &[("strategy", name.into()), ("sources", count.into())],
            ))
        })
    }
}

/// Reads `merge_strategy`.
fn strategy(config: &Object) -> Result<MergeStrategy, Failure> {
    match config::text(config, "merge_strategy")? {
        None | Some("deep") => Ok(MergeStrategy::Deep),
        Some("shallow") => Ok(MergeStrategy::Shallow),
        Some("array") => Ok(MergeStrategy::Array),
        Some(other) => Err(config::wrong(
            "merge_strategy",
            &other.into(),
            "deep, shallow or array",
        )),
    }
}

/// The sources as they were written: a list, or a text that holds one as JSON.
fn sources(config: &Object) -> Result<Vec<Value>, Failure> {
    let allowed = "a list of paths, node ids or expressions, such as [\"input.a\", \"node_id\"]";
    let value = config::value(config, SOURCES)
        .ok_or_else(|| Failure::permanent(format!("{SOURCES} is required: {allowed}")))?;
    let list = match value {
        Value::Array(list) => Some(list.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    };
    list.filter(|list| !list.is_empty())
        .ok_or_else(|| config::wrong(SOURCES, value, allowed))
}

async fn source_value(
    work: Work<'_>,
    key: &str,
    source: &Value,
    language: Language,
) -> Result<Value, Failure> {
    match source {
        Value::String(text) => work.named(key, text, language).await,
        Value::Object(_) | Value::Array(_) => Ok(source.clone()),
        other => Err(config::wrong(
            key,
            other,
            "a path, the id of a node, an expression, an object or a list",
        )),
    }
}

fn merge(strategy: MergeStrategy, values: Vec<Value>) -> Result<Value, Failure> {
    if strategy == MergeStrategy::Array {
        let mut merged = Vec::new();
        for value in values {
            match value {
                Value::Array(items) => merged.extend(items),
                other => merged.push(other),
            }
        }
        return Ok(merged.into());
    }
    let mut merged = Object::new();
    for (index, value) in values.into_iter().enumerate() {
        match (value, strategy) {
            (Value::Null, _) => {}
            (Value::Object(entries), MergeStrategy::Deep) => merge_deep(&mut merged, entries),
            (Value::Object(entries), _) => merged.extend(entries),
            (other, _) => {
                return Err(config::wrong(
                    &format!("the value of {SOURCES}[{index}]"),
                    &other,
                    "an object; to collect other values, use merge_strategy array",
                ));
            }
        }
    }
    Ok(merged.into())
}

fn merge_deep(into: &mut Object, from: Object) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge_deep(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod laws {
    use proptest::prelude::*;

    use super::*;

    /// Objects with few keys, so that they meet.
    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            (0..5_i32).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                entries(inner),
            ]
        });
        entries(value)
    }

    fn entries(value: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-d]", value, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    fn of(strategy: MergeStrategy, values: &[&Value]) -> Value {
        merge(
            strategy,
            values.iter().map(|value| (*value).clone()).collect(),
        )
        .unwrap()
    }

    proptest! {
        #[test]
        fn merging_objects_in_steps_is_merging_them_at_once(a in object(), b in object(), c in object()) {
            for strategy in [MergeStrategy::Deep, MergeStrategy::Shallow] {
                let at_once = of(strategy, &[&a, &b, &c]);
                prop_assert_eq!(&of(strategy, &[&of(strategy, &[&a, &b]), &c]), &at_once);
            }
            let right = of(MergeStrategy::Shallow, &[&a, &of(MergeStrategy::Shallow, &[&b, &c])]);
            prop_assert_eq!(right, of(MergeStrategy::Shallow, &[&a, &b, &c]));
        }

        #[test]
        fn merging_with_itself_or_with_nothing_changes_nothing(a in object()) {
            for strategy in [MergeStrategy::Deep, MergeStrategy::Shallow] {
                let nothing = Value::Object(Object::new());
                for values in [vec![&a, &a], vec![&a, &nothing], vec![&nothing, &a], vec![&a, &Value::Null]] {
                    prop_assert_eq!(&of(strategy, &values), &a);
                }
            }
        }

        #[test]
        fn every_key_has_the_value_of_its_last_source(a in object(), b in object()) {
            let merged = of(MergeStrategy::Shallow, &[&a, &b]);
            let deep = of(MergeStrategy::Deep, &[&a, &b]);
            for (key, value) in merged.as_object().unwrap() {
                prop_assert_eq!(value, b.get(key).or_else(|| a.get(key)).unwrap());
            }
            let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            prop_assert_eq!(keys(&merged), keys(&deep));
        }

        #[test]
        fn lists_are_put_one_after_the_other(a in prop::collection::vec(object(), 0..4), b in object()) {
            let list = Value::Array(a.clone());
            let merged = of(MergeStrategy::Array, &[&list, &b, &list]);
            let expected: Vec<Value> = a.iter().cloned().chain([b]).chain(a.clone()).collect();
            prop_assert_eq!(merged, Value::Array(expected));
        }
    }
}
