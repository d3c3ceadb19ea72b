//! One expression, evaluated for each item of a list, in one engine.
//!
//! The expression sees the scope and, for the item, `item`, `index` (from 0) and `items` (the whole list); in a
//! reduction also `acc`, the value so far. If its value is a function, such as `item => item * 2`, `(acc, item) =>
//! acc + item` or Python's `lambda item: item * 2`, that is called with `item`, `index`, `items`, in a reduction with
//! `acc` before them, as the methods of JavaScript's arrays do.
//!
//! The limits hold for the list as a whole: its time, and what all results have together.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{ErrorKind, ExprError};
use super::limits::Limits;
use super::scope::Scope;
use super::{Language, check_source, javascript, jsonpath, python};

/// The names that an expression sees for its item.
pub(super) const NAMES: [&str; 4] = ["acc", "item", "index", "items"];

/// What is done with the values of the expression.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Task {
    /// A list of them is the result.
    Map,
    /// A list is the result that says for each item whether the value counts as true in its language.
    Test,
    /// Each is the next item's `acc`; the last is the result. Without an initial value the first item is that, and the
    /// evaluation starts at the second.
    Reduce(Option<Value>),
}

/// The items, and what to do with them.
#[derive(Clone, Debug)]
pub struct Over {
    /// The items.
    pub items: Arc<Vec<Value>>,
    /// What to do.
    pub task: Task,
}

impl Over {
    /// The first value of `acc`, and the items for which the expression is evaluated, with their index.
    ///
    /// # Errors
    /// If there is no first value.
    pub(super) fn start(&self) -> Result<(Value, usize), ExprError> {
        match &self.task {
            Task::Reduce(None) => match self.items.first() {
                Some(first) => Ok((first.clone(), 1)),
                None => Err(ExprError::new(
                    ErrorKind::Runtime,
                    "an empty list without an initial value cannot be reduced",
                    "",
                )),
            },
            Task::Reduce(Some(initial)) => Ok((initial.clone(), 0)),
            Task::Map | Task::Test => Ok((Value::Null, 0)),
        }
    }

    /// The names that the expression sees for its item, in the order of a function's parameters.
    pub(super) fn names(&self) -> &'static [&'static str] {
        let [_, names @ ..] = &NAMES;
        match self.task {
            Task::Reduce(_) => &NAMES,
            Task::Map | Task::Test => names,
        }
    }
}

/// The values of all results together, bounded.
#[derive(Debug)]
pub(super) struct Results {
    values: Vec<Value>,
    room: usize,
}

impl Results {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            values: Vec::new(),
            room: limits.result_bytes,
        }
    }

    /// Adds a value whose JSON text has so many bytes. False if there is no room.
    pub(super) fn push(&mut self, value: Value, bytes: usize) -> bool {
        let room = self.room.checked_sub(bytes.saturating_add(1));
        self.values.push(value);
        self.room = room.unwrap_or(0);
        room.is_some()
    }

    pub(super) fn into_value(self) -> Value {
        Value::Array(self.values)
    }
}

/// Evaluates an expression for each item of a list; see [`Task`] for the result.
///
/// # Errors
/// The first error ends it; [`ExprError::item`] says which item it was about.
pub fn evaluate(
    language: Language,
    source: &str,
    scope: &Scope,
    over: &Over,
    limits: &Limits,
) -> Result<Value, ExprError> {
    check_source(source, limits)?;
    let result = match language {
        Language::JavaScript => javascript::over::evaluate(source, scope, over, limits),
        Language::Python => python::over::evaluate(source, scope, over, limits),
        Language::JsonPath => jsonpath::evaluate_over(source, scope, over, limits),
    };
    result.map_err(|error| error.with_source(source))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    const JS: Language = Language::JavaScript;
    const PYTHON: Language = Language::Python;

    fn scope() -> Scope {
        let data = json!({"rate": 10, "item": "hidden", "items": ["hidden"], "acc": "data's"});
        Scope {
            data: Arc::new(data.as_object().unwrap().clone()),
            ..Scope::default()
        }
    }

    fn over(items: &Value, task: Task) -> Over {
        Over {
            items: Arc::new(items.as_array().unwrap().clone()),
            task,
        }
    }

    fn run(
        language: Language,
        source: &str,
        items: &Value,
        task: Task,
    ) -> Result<Value, ExprError> {
        let over = over(items, task);
        evaluate(language, source, &scope(), &over, &Limits::default())
    }

    fn all(language: Language, task: &Task, items: &Value, cases: &[(&str, Value)]) {
        for (source, expected) in cases {
            let value = run(language, source, items, task.clone());
            let value = value.unwrap_or_else(|error| panic!("{source}: {error}"));
            assert_eq!(&value, expected, "{source}");
        }
    }

    #[test]
    fn an_expression_sees_its_item_its_index_the_list_and_the_scope() {
        let items = json!([1, 2, 3]);
        all(
            JS,
            &Task::Map,
            &items,
            &[
                ("item * 2", json!([2, 4, 6])),
                ("item * rate + index", json!([10, 21, 32])),
                ("items.length - index", json!([3, 2, 1])),
                ("items[index] === item", json!([true, true, true])),
                ("input.item", json!(["hidden", "hidden", "hidden"])),
                ("acc", json!(["data's", "data's", "data's"])),
                ("return { n: item };", json!([{"n": 1}, {"n": 2}, {"n": 3}])),
                ("item > 1 ? item : undefined", json!([null, 2, 3])),
                ("'<${item}>'", json!(["<1>", "<2>", "<3>"])),
                ("${item} + ${rate}", json!([11, 12, 13])),
                ("`<${item}>`", json!(["<1>", "<2>", "<3>"])),
            ],
        );
        all(
            PYTHON,
            &Task::Map,
            &items,
            &[
                ("item * 2", json!([2, 4, 6])),
                ("item * rate + index", json!([10, 21, 32])),
                ("len(items) - index", json!([3, 2, 1])),
                ("acc", json!(["data's", "data's", "data's"])),
                ("{'n': item}", json!([{"n": 1}, {"n": 2}, {"n": 3}])),
                ("f'<{item}>'", json!(["<1>", "<2>", "<3>"])),
                ("'<${item}>'", json!(["<1>", "<2>", "<3>"])),
            ],
        );
    }

    #[test]
    fn a_function_is_called_as_the_methods_of_arrays_call_it() {
        let items = json!([1, 2, 3]);
        all(
            JS,
            &Task::Map,
            &items,
            &[
                ("x => x * 2", json!([2, 4, 6])),
                (
                    "(x, i, all) => [x, i, all.length]",
                    json!([[1, 0, 3], [2, 1, 3], [3, 2, 3]]),
                ),
                (
                    "function (x) { const y = x * rate; return y; }",
                    json!([10, 20, 30]),
                ),
                ("x => '${item}' + x", json!(["11", "22", "33"])),
                ("String", json!(["1", "2", "3"])),
            ],
        );
        all(
            PYTHON,
            &Task::Map,
            &items,
            &[
                ("lambda x: x * 2", json!([2, 4, 6])),
                ("lambda x, i: x * rate + i", json!([10, 21, 32])),
                ("lambda *all: len(all[2])", json!([3, 3, 3])),
                ("lambda: 1", json!([1, 1, 1])),
            ],
        );
        let sum = Task::Reduce(Some(json!(100)));
        all(
            JS,
            &sum,
            &items,
            &[
                ("(acc, item) => acc + item", json!(106)),
                ("(a, x, i, all) => a + x * i + all.length", json!(117)),
                ("acc + item", json!(106)),
                ("acc + '${item}'", json!("100123")),
                ("${acc} + ${item}", json!(106)),
            ],
        );
        all(
            PYTHON,
            &sum,
            &items,
            &[
                ("lambda acc, item: acc + item", json!(106)),
                ("acc + item * index", json!(108)),
                ("${acc} + ${item}", json!(106)),
            ],
        );
    }

    #[test]
    fn a_test_asks_for_the_languages_own_truth() {
        let items = json!([0, 1, "", "x", [], {}, null]);
        let flags = json!([false, true, false, true, true, true, false]);
        all(
            JS,
            &Task::Test,
            &items,
            &[("item", flags.clone()), ("x => x", flags)],
        );
        let flags = json!([false, true, false, true, false, false, false]);
        all(PYTHON, &Task::Test, &items, &[("item", flags)]);
        let items = json!([{"n": 1, "ok": true}, {"n": 5}]);
        all(
            Language::JsonPath,
            &Task::Test,
            &items,
            &[
                ("$.item.ok", json!([true, false])),
                ("$.item[?@ > 3]", json!([false, true])),
            ],
        );
        all(
            Language::JsonPath,
            &Task::Map,
            &items,
            &[("$.item.n", json!([1, 5]))],
        );
    }

    #[test]
    fn a_reduction_starts_at_the_initial_value_or_at_the_first_item() {
        for (language, source) in [(JS, "acc - item"), (PYTHON, "acc - item")] {
            for (items, initial, expected) in [
                (json!([10, 1, 2]), None, json!(7)),
                (json!([10, 1, 2]), Some(json!(0)), json!(-13)),
                (json!([5]), None, json!(5)),
                (json!([]), Some(json!("x")), json!("x")),
            ] {
                let value = run(language, source, &items, Task::Reduce(initial));
                assert_eq!(value.unwrap(), expected, "{language:?} {items}");
            }
            let error = run(language, source, &json!([]), Task::Reduce(None)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "an empty list without an initial value cannot be reduced"
            );
        }
        let error = run(
            Language::JsonPath,
            "$.item",
            &json!([1]),
            Task::Reduce(None),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "a JSONPath selects and cannot combine; use javascript or python"
        );
    }

    #[test]
    fn what_a_reduction_collects_keeps_its_form_between_the_items() {
        let seen = Task::Reduce(Some(json!([])));
        let items = json!(["a", "b", "a"]);
        all(
            JS,
            &seen,
            &items,
            &[
                (
                    "(acc, x) => acc.includes(x) ? acc : [...acc, x]",
                    json!(["a", "b"]),
                ),
                (
                    "(acc, x) => { acc.push(x); return acc; }",
                    json!(["a", "b", "a"]),
                ),
                ("new Set([...acc, item])", json!({})),
            ],
        );
        all(
            PYTHON,
            &seen,
            &items,
            &[("acc + [item]", json!(["a", "b", "a"]))],
        );
    }

    #[test]
    fn an_error_names_its_item() {
        let items = json!([{"a": {"b": 1}}, {"a": null}, {}]);
        for (language, source, message) in [
            (
                JS,
                "item.a.b",
                "TypeError: cannot read property 'b' of null (at column 1)",
            ),
            (
                PYTHON,
                "item.a.b",
                "AttributeError: 'NoneType' object has no attribute 'b' (at column 1)",
            ),
            (
                JS,
                "item.a ? 1 : x => x(1)",
                "TypeError: not a function (at column 19)",
            ),
            (
                JS,
                "index ? Promise.resolve() : 1",
                "the result is a promise; expressions cannot wait",
            ),
            (
                JS,
                "index ? (() => () => 1) : 1",
                "the result is a function, not a value",
            ),
        ] {
            let error = run(language, source, &items, Task::Map).unwrap_err();
            assert_eq!(
                (error.item, error.to_string(), error.excerpt.as_str()),
                (Some(1), message.to_owned(), source)
            );
        }
        let error = run(JS, "item +", &items, Task::Map).unwrap_err();
        assert_eq!(
            (error.item, error.kind),
            (None, ErrorKind::Syntax),
            "what cannot be read is about no item"
        );
    }

    #[test]
    fn the_limits_hold_for_the_list_as_a_whole() {
        let items = json!((0..100_000).collect::<Vec<_>>());
        let limits = Limits {
            time: Duration::from_millis(30),
            ..Limits::default()
        };
        let slow = "(() => { let s = 0; for (let i = 0; i < 20000; i++) s += i; return s; })()";
        for (language, source) in [
            (JS, slow),
            (JS, "'${items}'"),
            (PYTHON, "sum([i for i in range(2000)])"),
        ] {
            let over = over(&items, Task::Test);
            let error = evaluate(language, source, &scope(), &over, &limits).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Timeout, "{source}: {error}");
        }
        let limits = Limits {
            result_bytes: 1000,
            ..Limits::default()
        };
        for (language, source) in [
            (JS, "'abcde'"),
            (PYTHON, "'abcde'"),
            (Language::JsonPath, "$.item"),
        ] {
            let over = over(&items, Task::Map);
            let error = evaluate(language, source, &scope(), &over, &limits).unwrap_err();
            assert_eq!(error.kind, ErrorKind::TooLarge, "{source}: {error}");
        }
    }

    #[test]
    fn ten_thousand_items_take_one_engine() {
        let items: Vec<Value> = (0..10_000)
            .map(|n| json!({"n": n, "name": "x".repeat(50)}))
            .collect();
        let items = Value::Array(items);
        let limits = Limits::default().for_list();
        for (language, source) in [
            (JS, "({ ...item, m: item.n * rate })"),
            (JS, "item => item.n"),
            (JS, "items.length"),
            (JS, "'${item.name}' + index"),
            (PYTHON, "item.n * rate"),
            (Language::JsonPath, "$.item.n"),
        ] {
            let over = over(&items, Task::Map);
            let value = evaluate(language, source, &scope(), &over, &limits);
            let value = value.unwrap_or_else(|error| panic!("{source}: {error} {:?}", error.item));
            assert_eq!(value.as_array().map(Vec::len), Some(10_000));
        }
    }
}
