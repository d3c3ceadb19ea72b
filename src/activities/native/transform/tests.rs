use proptest::prelude::*;
use serde_json::{Value, json};

use super::filter::Filter;
use super::map::Map;
use super::merge::Merge;
use super::reduce::Reduce;
use super::split::Split;
use crate::activities::native::testing::{context, done, evaluator, run};
use crate::activities::{Activity, Failure, Outcome};

fn data() -> Value {
    json!({
        "items": [{"n": 3, "name": "c"}, {"n": 1, "name": "a"}, {"n": 2, "name": "b"}],
        "numbers": [3, 1, 2], "empty": [], "rate": 10, "text": "input.numbers", "user": {"name": "Ann", "age": 7},
        "p0_output": {"a": 1, "in": {"x": 1, "l": [1]}}, "p-1_output": {"b": 2, "in": {"y": 2, "l": [2]}},
        "t_output": {"result": [1, 2]}
    })
}

fn activity(node_type: &str) -> Box<dyn Activity> {
    let expressions = evaluator();
    match node_type {
        "map" => Box::new(Map { expressions }),
        "filter" => Box::new(Filter { expressions }),
        "reduce" => Box::new(Reduce { expressions }),
        "merge" => Box::new(Merge { expressions }),
        "split" => Box::new(Split { expressions }),
        other => panic!("{other}"),
    }
}

async fn transform(node_type: &str, config: Value) -> Result<Outcome, Failure> {
    run(&*activity(node_type), config, &context(data())).await
}

async fn all(node_type: &str, cases: Vec<(Value, Value)>) {
    for (config, expected) in cases {
        let (output, branch) = done(transform(node_type, config.clone()).await);
        assert_eq!((output, branch), (expected, None), "{config}");
    }
}

async fn all_fail(node_type: &str, cases: Vec<(Value, &str)>) {
    for (config, expected) in cases {
        let failure = transform(node_type, config.clone()).await.unwrap_err();
        assert_eq!(failure.message, expected, "{config}");
        assert_eq!(failure.kind, crate::activities::FailureKind::Permanent);
    }
}

#[tokio::test]
async fn the_builders_examples_are_computed() {
    let numbers = "input.numbers";
    all(
        "map",
        vec![(
            json!({"map_expression": "item * 2", "input_array": numbers}),
            json!({"result": [6, 2, 4], "count": 3}),
        )],
    )
    .await;
    all(
        "filter",
        vec![(
            json!({"filter_condition": "item.n > 1", "input_array": "input.items"}),
            json!({"result": [{"n": 3, "name": "c"}, {"n": 2, "name": "b"}], "count": 2, "total": 3}),
        )],
    )
    .await;
    let sum = json!({"reduce_function": "(acc, item) => acc + item", "initial_value": "0", "input_array": numbers});
    all("reduce", vec![(sum, json!({"result": 6, "count": 3}))]).await;
    all(
        "merge",
        vec![(
            json!({"merge_strategy": "shallow", "input_sources": ["input.user", "input.p0_output.in"]}),
            json!({"result": {"name": "Ann", "age": 7, "x": 1, "l": [1]}, "strategy": "shallow", "sources": 2}),
        )],
    )
    .await;
}

#[tokio::test]
async fn a_list_is_named_by_a_path_an_expression_or_itself() {
    let of = |input: Value| json!({"map_expression": "item", "input_array": input});
    let result = |items: Value| json!({"count": items.as_array().unwrap().len(), "result": items});
    all(
        "map",
        vec![
            (of(json!("numbers")), result(json!([3, 1, 2]))),
            (of(json!("{{ input.numbers }}")), result(json!([3, 1, 2]))),
            (of(json!("t.output.result")), result(json!([1, 2]))),
            (of(json!("gone ?? []")), result(json!([]))),
            (of(json!("['a', 'b']")), result(json!(["a", "b"]))),
            (of(json!("input.numbers.slice(1)")), result(json!([1, 2]))),
            (of(json!([1, {"a": 2}])), result(json!([1, {"a": 2}]))),
            (of(json!("empty")), result(json!([]))),
            (
                json!({"map_expression": "item.n"}),
                result(json!([3, 1, 2])),
            ),
            (
                json!({"map_expression": "{{ item.n }}", "input_array": null}),
                result(json!([3, 1, 2])),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn each_language_can_select() {
    let config = |language: &str, condition: &str| json!({"filter_condition": condition, "condition_type": language});
    let expected = json!({"result": [{"n": 3, "name": "c"}], "count": 1, "total": 3});
    for (language, condition) in [
        ("javascript", "({ n }) => n > 2"),
        ("jsonpath", "$.item[?@ == 3]"),
    ] {
        let (output, _) = done(transform("filter", config(language, condition)).await);
        assert_eq!(output, expected, "{language}");
    }
}

#[tokio::test]
async fn an_initial_value_is_json_in_a_text_or_any_other_value() {
    let of = |initial: Value| json!({"reduce_function": "[acc, item].flat()", "initial_value": initial, "input_array": "numbers"});
    let result = |value: Value| json!({"result": value, "count": 3});
    all(
        "reduce",
        vec![
            (of(json!("[]")), result(json!([3, 1, 2]))),
            (of(json!("\"x\"")), result(json!(["x", 3, 1, 2]))),
            (of(json!(7)), result(json!([7, 3, 1, 2]))),
            (of(json!("null")), result(json!([null, 3, 1, 2]))),
            (of(json!("")), result(json!([3, 1, 2]))),
            (of(json!(null)), result(json!([3, 1, 2]))),
        ],
    )
    .await;
}

#[tokio::test]
async fn sources_are_paths_node_ids_expressions_or_values() {
    let of = |strategy: Value, sources: Value| json!({"merge_strategy": strategy, "input_sources": sources});
    let result = |strategy: &str, count: usize, value: Value| json!({"result": value, "strategy": strategy, "sources": count});
    let deep = json!({"a": 1, "in": {"x": 1, "l": [2], "y": 2}, "b": 2});
    let shallow = json!({"a": 1, "in": {"y": 2, "l": [2]}, "b": 2});
    all(
        "merge",
        vec![
            (
                of(json!("deep"), json!(["p0", "p-1"])),
                result("deep", 2, deep.clone()),
            ),
            (
                of(json!(null), json!(["p0.output", "nodes.p-1.output"])),
                result("deep", 2, deep.clone()),
            ),
            (
                of(json!("deep"), json!("[\"p0\", \"p-1\"]")),
                result("deep", 2, deep),
            ),
            (
                of(json!("shallow"), json!(["p0", "p-1"])),
                result("shallow", 2, shallow),
            ),
            (
                of(
                    json!("array"),
                    json!(["numbers", "rate", "text", {"k": 1}, [[5]]]),
                ),
                result(
                    "array",
                    5,
                    json!([3, 1, 2, 10, "input.numbers", {"k": 1}, [5]]),
                ),
            ),
            (
                of(
                    json!("deep"),
                    json!(["p9 ?? null", "{ total: rate * 2 }", "user ?? {}"]),
                ),
                result("deep", 3, json!({"total": 20, "name": "Ann", "age": 7})),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_split_takes_parts_by_key_size_or_condition() {
    let of = |strategy: Value, config: Value, input: Value| json!({"split_strategy": strategy, "split_config": config, "input_array": input});
    all(
        "split",
        vec![
            (
                of(json!(null), json!({"keys": ["name"]}), json!("user")),
                json!({"result": {"name": "Ann"}, "strategy": "by_key", "count": 1, "rest": {"age": 7}}),
            ),
            (
                of(json!("by_key"), json!("{\"keys\": [\"rate\", \"empty\"]}"), json!(null)),
                json!({"result": {"rate": 10, "empty": []}, "strategy": "by_key", "count": 2}),
            ),
            (
                of(json!("by_size"), json!({"size": 2}), json!("numbers")),
                json!({"result": [[3, 1], [2]], "strategy": "by_size", "count": 2, "total": 3}),
            ),
            (
                of(json!("by_size"), json!({"size": "5"}), json!("numbers")),
                json!({"result": [[3, 1, 2]], "strategy": "by_size", "count": 1, "total": 3}),
            ),
            (
                of(json!("by_size"), json!({"size": 5}), json!("empty")),
                json!({"result": [], "strategy": "by_size", "count": 0, "total": 0}),
            ),
            (
                of(json!("by_condition"), json!("{{ item > 1 }}"), json!("numbers")),
                json!({
                    "result": {"matched": [3, 2], "unmatched": [1]}, "strategy": "by_condition", "count": 2, "total": 3
                }),
            ),
            (
                json!({"split_strategy": "by_condition", "split_config": {"condition": "x => x.n > 9"}}),
                json!({
                    "result": {"matched": [], "unmatched": data()["items"]}, "strategy": "by_condition", "count": 2,
                    "total": 3
                }),
            ),
            (
                json!({"split_strategy": "by_size", "split_config": {"size": 1}, "input": "t.result"}),
                json!({"result": [[1], [2]], "strategy": "by_size", "count": 2, "total": 2}),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_in_the_data_is_never_an_expression() {
    // `text` holds what would be a path, and stays a text.
    let config = json!({"input_sources": ["text", "text"], "merge_strategy": "array"});
    let (output, _) = done(transform("merge", config).await);
    assert_eq!(output["result"], json!(["input.numbers", "input.numbers"]));
}

#[tokio::test]
async fn a_list_that_is_none_is_named() {
    let allowed = "it must be a list, or a path or expression that gives one, such as input.items";
    let of = |input: Value| json!({"map_expression": "item", "input_array": input});
    all_fail(
        "map",
        vec![
            (json!({}), "map_expression is required"),
            (
                of(json!("input.itms")),
                "input_array: input.itms names no value: input has no \"itms\"; there is \"items\", \"numbers\", \"empty\", \
                 \"rate\", \"text\", \"user\", \"p0_output\", \"p-1_output\", 1 more",
            ),
            (
                of(json!("user")),
                &format!("input_array \"user\" is {{\"name\":\"Ann\",\"age\":7}}; {allowed}"),
            ),
            (of(json!(5)), &format!("input_array is 5; {allowed}")),
            (
                of(json!("input.user.map(x => x)")),
                "input_array \"input.user.map(x => x)\": TypeError: not a function (at column 16)",
            ),
        ],
    )
    .await;
    let failure = run(
        &*activity("map"),
        json!({"map_expression": "item"}),
        &context(json!({"a": 1})),
    )
    .await
    .unwrap_err();
    assert_eq!(
        failure.message,
        "input_array is not set, so it is input.items; input.items names no value: input has no \"items\"; \
         there is \"a\""
    );
}

#[tokio::test]
async fn a_bad_expression_is_named_with_the_item_it_met() {
    let failure = transform(
        "map",
        json!({"map_expression": "item.a.b", "input_array": [{"a": {"b": 1}}, {"a": null}]}),
    )
    .await
    .unwrap_err();
    assert_eq!(
        failure,
        Failure::permanent(
            "map_expression \"item.a.b\": at item 1, {\"a\":null}: TypeError: cannot read property 'b' of null (at column 1)"
        )
        .of_type("ExpressionError")
    );
    let language =
        "condition_type: unknown language \"perl\"; allowed are javascript, python, jsonpath";
    for (node_type, config) in [
        (
            "filter",
            json!({"filter_condition": "1", "condition_type": "perl"}),
        ),
        (
            "merge",
            json!({"input_sources": ["user"], "condition_type": "perl"}),
        ),
        (
            "split",
            json!({"split_strategy": "by_size", "split_config": {"size": 1}, "condition_type": "perl"}),
        ),
    ] {
        all_fail(node_type, vec![(config, language)]).await;
    }
    all_fail("filter", vec![(json!({}), "filter_condition is required")]).await;
    all_fail(
        "reduce",
        vec![
            (json!({}), "reduce_function is required"),
            (
                json!({"reduce_function": "acc", "initial_value": "zero"}),
                "initial_value is \"zero\"; it must be JSON, such as 0, [], {} or \"text\" in double quotes",
            ),
            (
                json!({"reduce_function": "acc", "input_array": []}),
                "the list is empty and initial_value is not set, so there is no result",
            ),
            (
                json!({"reduce_function": "$.acc", "condition_type": "jsonpath"}),
                "condition_type is \"jsonpath\"; it must be javascript or python",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn bad_sources_and_strategies_are_named() {
    let list = "a list of paths, node ids or expressions, such as [\"input.a\", \"node_id\"]";
    all_fail(
        "merge",
        vec![
            (json!({}), &format!("input_sources is required: {list}")),
            (
                json!({"input_sources": []}),
                &format!("input_sources is []; it must be {list}"),
            ),
            (
                json!({"input_sources": "user"}),
                &format!("input_sources is \"user\"; it must be {list}"),
            ),
            (
                json!({"input_sources": ["user", 5]}),
                "input_sources[1] is 5; it must be a path, the id of a node, an expression, an object or a list",
            ),
            (
                json!({"input_sources": ["user", "p0.out"]}),
                "input_sources[1]: p0.out names no value: p0 has no \"out\"; there is \"a\", \"in\"",
            ),
            (
                json!({"input_sources": ["user", "numbers"]}),
                "the value of input_sources[1] is [3,1,2]; it must be an object; to collect other values, use \
                 merge_strategy array",
            ),
            (
                json!({"input_sources": ["user"], "condition_type": "jsonpath"}),
                "condition_type is \"jsonpath\"; it must be javascript or python",
            ),
            (
                json!({"input_sources": ["user"], "merge_strategy": "zip"}),
                "merge_strategy is \"zip\"; it must be deep, shallow or array",
            ),
        ],
    )
    .await;
    let context = context(json!({"big": "x".repeat(1 << 20)}));
    let config = json!({"input_sources": vec!["big"; 20], "merge_strategy": "array"});
    let failure = run(&*activity("merge"), config, &context)
        .await
        .unwrap_err();
    assert_eq!(
        failure.message,
        "input_sources come to more than 10485760 bytes"
    );
}

#[tokio::test]
async fn a_bad_split_is_named() {
    let keys = "an object {\"keys\": [\"a\", \"b\"]} with the names of entries";
    let size = "an object {\"size\": 10} with a whole number from 1";
    let condition = "a condition such as item.x > 1, or an object {\"condition\": \"item.x > 1\"}";
    let by = |strategy: &str, config: Value| json!({"split_strategy": strategy, "split_config": config, "input_array": "numbers"});
    let mut cases = vec![
        (json!({}), format!("split_config is required: {keys}")),
        (
            json!({"split_strategy": "by_luck", "split_config": {}}),
            "split_strategy is \"by_luck\"; it must be by_key, by_size or by_condition".to_owned(),
        ),
        (
            by("by_key", json!({"keys": ["a"]})),
            "input_array \"numbers\" is [3,1,2]; it must be an object, to be split by key".to_owned(),
        ),
        (
            json!({"split_config": {"keys": ["nmae"]}, "input_array": "user"}),
            "split_config.keys has \"nmae\", which the input has not; its keys are [\"name\",\"age\"]".to_owned(),
        ),
        (
            by("by_size", json!(null)),
            format!("split_config is required: {size}"),
        ),
        (
            by("by_condition", json!({"size": 5})),
            format!("split_config is required: {condition}"),
        ),
        (
            by("by_condition", json!(5)),
            format!("split_config is 5; it must be {condition}"),
        ),
    ];
    for wrong in [
        json!({"size": 2}),
        json!({"keys": []}),
        json!({"keys": [1]}),
        json!("a, b"),
    ] {
        cases.push((
            by("by_key", wrong.clone()),
            format!("split_config is {wrong}; it must be {keys}"),
        ));
    }
    for wrong in [
        json!({"size": 0}),
        json!({"size": 1.5}),
        json!({"size": -1}),
        json!({"size": "x"}),
        json!({}),
        json!(10),
    ] {
        cases.push((
            by("by_size", wrong.clone()),
            format!("split_config is {wrong}; it must be {size}"),
        ));
    }
    let cases = cases
        .iter()
        .map(|(config, text)| (config.clone(), text.as_str()));
    all_fail("split", cases.collect()).await;
}

/// The result of a node over a list of numbers.
fn result(node_type: &str, mut config: Value, items: &[i32]) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    config["input_array"] = items.into();
    let work = transform(node_type, config);
    done(runtime.block_on(work)).0["result"].clone()
}

fn numbers(value: &Value) -> Vec<i32> {
    serde_json::from_value(value.clone()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parts_by_size_put_together_are_the_list(items in prop::collection::vec(any::<i32>(), 0..30), size in 1..9_usize) {
        let config = json!({"split_strategy": "by_size", "split_config": {"size": size}});
        let parts = result("split", config, &items);
        let parts: Vec<Vec<i32>> = serde_json::from_value(parts).unwrap();
        prop_assert_eq!(parts.len(), items.len().div_ceil(size));
        prop_assert!(parts.iter().rev().skip(1).all(|part| part.len() == size));
        prop_assert_eq!(parts.concat(), items);
    }

    #[test]
    fn a_list_is_computed_as_rust_would(items in prop::collection::vec(-1000..1000_i32, 1..30), limit in -1000..1000_i32) {
        let (above, others): (Vec<i32>, Vec<i32>) = items.iter().partition(|item| **item > limit);
        let condition = format!("item > {limit}");
        let parts = result("split", json!({"split_strategy": "by_condition", "split_config": condition}), &items);
        prop_assert_eq!(numbers(&parts["matched"]), above.clone());
        prop_assert_eq!(numbers(&parts["unmatched"]), others);
        prop_assert_eq!(numbers(&result("filter", json!({"filter_condition": condition}), &items)), above);
        let doubled: Vec<i32> = items.iter().map(|item| item * 2).collect();
        prop_assert_eq!(numbers(&result("map", json!({"map_expression": "item * 2"}), &items)), doubled);
        let sum: i32 = items.iter().sum();
        prop_assert_eq!(result("reduce", json!({"reduce_function": "(a, b) => a + b"}), &items), json!(sum));
    }
}
