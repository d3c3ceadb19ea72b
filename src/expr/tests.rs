use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::*;

fn scope() -> Scope {
    let Value::Object(data) = json!({
        "value": 12, "name": "Ann", "items": [{"n": 3}, {"n": 1}], "empty": [], "quote": "it's \"so\"\n\\",
        "data": {"inner": 1}, "Math": "mine", "class": "c", "__proto__": {"polluted": true},
        "http-1_output": {"status": 200}
    }) else {
        unreachable!()
    };
    let Value::Object(variables) =
        json!({"workflow": {"limit": 10, "value": 99}, "loop": {"limit": 11}})
    else {
        unreachable!()
    };
    Scope {
        data: Arc::new(data),
        variables: Arc::new(variables),
        extra: vec![("item".to_owned(), json!({"n": 7}))],
    }
}

fn try_js(source: &str) -> Result<Value, ExprError> {
    evaluate(Language::JavaScript, source, &scope(), &Limits::default())
}

fn js(source: &str) -> Value {
    try_js(source).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn all(cases: &[(&str, Value)]) {
    for (source, expected) in cases {
        assert_eq!(&js(source), expected, "{source}");
    }
}

#[test]
fn conditions_as_people_type_them() {
    all(&[
        ("input.value > 10", json!(true)),
        ("data.value > 10 && value < 20", json!(true)),
        ("input.missing > 10", json!(false)),
        ("input.items.map(i => i.n).sort()", json!([1, 3])),
        ("items.reduce((acc, i) => acc + i.n, 0)", json!(4)),
        ("return value > 10;", json!(true)),
        ("value ; ", json!(12)),
        ("{ total: value * 2 }", json!({"total": 24})),
        ("item.n", json!(7)),
        ("limit", json!(11)),
        ("variables.value", json!(99)),
        ("variables['limit']", json!(11)),
        ("input['http-1_output'].status", json!(200)),
        ("input.data.inner", json!(1)),
        ("Math.max(1, 2)", json!(2)),
        ("input.Math + input.class", json!("minec")),
        ("Object.keys(input).length", json!(10)),
        ("input.items === data.items", json!(true)),
        ("value // the value\n + 1", json!(13)),
        ("undefined", json!(null)),
        ("NaN", json!(null)),
        ("new Date(0)", json!("1970-01-01T00:00:00.000Z")),
        ("name?.first ?? 'none'", json!("none")),
        ("JSON.stringify({a: 1, b: [2]}, ['a'])", json!("{\"a\":1}")),
        ("[3, , 1, 10].sort()", json!([1, 10, 3, null])),
        (
            "[1, [2, [3]]].flat().concat([4]).join('-')",
            json!("1-2-3-4"),
        ),
        ("[1, 2].flatMap(x => [x, x])", json!([1, 1, 2, 2])),
        ("'a1b2'.replace(/\\d/g, '').split('')", json!(["a", "b"])),
    ]);
}

#[test]
fn placeholders_stand_for_values_and_in_quotes_for_text() {
    all(&[
        ("${value} > 5", json!(true)),
        ("${data.name} == 'Ann'", json!(true)),
        ("'${name}' == \"${input.name}\"", json!(true)),
        (
            "'${quote}' === quote && \"${quote}\" === quote",
            json!(true),
        ),
        ("${items.1.n} + ${data.inner}", json!(2)),
        ("`${value} ${input.name}`", json!("12 Ann")),
        ("'${items}'", json!("[{\"n\":3},{\"n\":1}]")),
        ("${limit} + ${item.n}", json!(18)),
        ("${http-1_output.status}", json!(200)),
        ("1 // ${gone}", json!(1)),
    ]);
    let error = try_js("${user.age} > 5").unwrap_err();
    assert_eq!(error.kind, ErrorKind::MissingValue);
    assert_eq!(
        error.to_string(),
        "${user.age} names no value of the execution's data"
    );
    assert_eq!(error.excerpt, "${user.age} > 5");
}

#[test]
fn errors_say_what_the_engine_says_and_where() {
    for (source, kind, message) in [
        (
            "foo",
            ErrorKind::Runtime,
            "ReferenceError: foo is not defined (at column 1)",
        ),
        (
            "value ===\n\n foo",
            ErrorKind::Runtime,
            "ReferenceError: foo is not defined (at line 3, column 2)",
        ),
        (
            "name.a.b",
            ErrorKind::Runtime,
            "TypeError: cannot read property 'b' of undefined (at column 1)",
        ),
        (
            "1 +",
            ErrorKind::Syntax,
            "syntax error: the expression ends too early",
        ),
        (
            "1 + * 2",
            ErrorKind::Syntax,
            "syntax error: unexpected token in expression: '*' (at column 5)",
        ),
        (
            "${value",
            ErrorKind::Syntax,
            "syntax error: ${ without a closing }",
        ),
        (
            "(() => { throw {a: 1} })()",
            ErrorKind::Runtime,
            "it threw {\"a\":1}",
        ),
        (" ", ErrorKind::Syntax, "the expression is empty"),
        (";", ErrorKind::Syntax, "the expression is empty"),
    ] {
        let error = try_js(source).expect_err(source);
        assert_eq!(
            (error.kind, error.to_string().as_str()),
            (kind, message),
            "{source}"
        );
    }
}

#[test]
fn what_json_cannot_hold_is_an_error() {
    for (source, kind, message) in [
        (
            "10n",
            ErrorKind::Runtime,
            "the result is a BigInt, which JSON cannot hold; use Number(…)",
        ),
        (
            "1/0",
            ErrorKind::Runtime,
            "the result is infinite, which JSON cannot hold",
        ),
        (
            "x => 1",
            ErrorKind::Runtime,
            "the result is a function, not a value",
        ),
        (
            "(async () => 1)()",
            ErrorKind::Runtime,
            "the result is a promise; expressions cannot wait",
        ),
        (
            "Symbol.iterator",
            ErrorKind::Runtime,
            "the result is a symbol, which JSON cannot hold",
        ),
    ] {
        let error = try_js(source).expect_err(source);
        assert_eq!(
            (error.kind, error.message.as_str()),
            (kind, message),
            "{source}"
        );
    }
}

#[test]
fn nothing_reaches_outside() {
    for name in [
        "std",
        "os",
        "require",
        "process",
        "setTimeout",
        "fetch",
        "XMLHttpRequest",
        "console",
        "Proxy",
    ] {
        assert_eq!(js(&format!("typeof {name}")), json!("undefined"), "{name}");
    }
    try_js("import('fs')").unwrap_err();
    assert_eq!(js("Object.keys(globalThis)"), json!([]));
}

#[test]
fn an_evaluation_leaves_nothing_behind() {
    assert_eq!(
        js("(Object.prototype.leak = 1, globalThis.leak2 = 2, ({}).leak)"),
        json!(1)
    );
    assert_eq!(
        js("[typeof ({}).leak, typeof leak2]"),
        json!(["undefined", "undefined"])
    );
    assert_eq!(js("[({}).polluted, input.polluted]"), json!([null, null]));
    assert_eq!(js("(input.value = 5, input.items.push(1), 0)"), json!(0));
    assert_eq!(js("[input.value, input.items.length]"), json!([12, 2]));
}

#[test]
fn endless_work_ends_at_the_time_limit() {
    let limits = Limits {
        time: Duration::from_millis(50),
        ..Limits::default()
    };
    for source in [
        "(() => { while (true) {} })()",
        "(() => { try { for (;;); } catch { return 1 } finally { for (;;); } })()",
        "/^(a+)+$/.test('a'.repeat(40) + 'b')",
        "({ toJSON() { for (;;); } })",
        "(() => { const a = []; a.length = 4294967295; return { a } })()",
        "JSON.stringify(new Array(4294967295))",
        "new Array(4294967295).indexOf(1)",
        "[new Array(4294967295)].flat()",
        "[1].flatMap(() => new Array(4294967295))",
    ] {
        let error = evaluate(Language::JavaScript, source, &scope(), &limits).expect_err(source);
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Timeout, "it ran longer than 50 ms"),
            "{source}"
        );
    }
}

#[test]
fn methods_that_look_at_no_clock_refuse_what_would_take_minutes() {
    for source in [
        "join()",
        "reverse()",
        "sort()",
        "concat([1])",
        "slice(0)",
        "copyWithin(1, 0)",
        "unshift(1)",
        "shift()",
        "splice(0, 1)",
        "toString()",
        "toSorted()",
        "toLocaleString()",
    ] {
        let error = try_js(&format!("new Array(4294967290).{source}")).expect_err(source);
        assert!(
            error
                .message
                .contains("an array of 4294967290 places is too long"),
            "{source}: {error}"
        );
    }
    for source in [
        "[].concat(new Array(4294967290))",
        "Array.prototype.join.call({ length: 9e15 })",
        "'a'.repeat(3e7).indexOf('a'.repeat(1e6) + 'b')",
        "/(?=(a+))*b/.test('a'.repeat(2e6))",
    ] {
        assert_eq!(
            try_js(source).expect_err(source).kind,
            ErrorKind::Runtime,
            "{source}"
        );
    }
}

#[test]
fn a_memory_bomb_ends_at_the_memory_limit() {
    let limits = Limits {
        memory_bytes: 8 << 20,
        time: Duration::from_secs(60),
        ..Limits::default()
    };
    for source in [
        "'x'.repeat(1e9)",
        "(() => { const a = []; for (;;) a.push('x' + a.length) })()",
        "(() => { let s = 'x'; for (;;) s += s })()",
        "Array.from({ length: 4294967295 })",
        "new Array(4294967295).fill(0)",
    ] {
        let error = evaluate(Language::JavaScript, source, &scope(), &limits).expect_err(source);
        let message = "it used more than 8 MiB of memory";
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Memory, message),
            "{source}"
        );
    }
    // One that hides the error has gained nothing.
    let source = "(() => { try { for (let a = [];;) a.push(new Array(1e4).fill(1)) } catch { return 1 } })()";
    assert_eq!(
        evaluate(Language::JavaScript, source, &scope(), &limits).unwrap(),
        json!(1)
    );
}

#[test]
fn bottomless_recursion_is_an_error() {
    for source in [
        "(function f() { return f() + 1 })()",
        "JSON.parse('['.repeat(1e5))",
        "(() => { let o = []; for (let i = 0; i < 1e5; i++) o = [o]; return o })()",
    ] {
        assert_eq!(
            try_js(source).expect_err(source).kind,
            ErrorKind::Depth,
            "{source}"
        );
    }
}

#[test]
fn source_and_result_have_a_longest_length() {
    let error = try_js(&format!("'{}'", "x".repeat(70_000))).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (
            ErrorKind::TooLarge,
            "the expression has 70002 bytes; at most 65536 are allowed"
        )
    );
    assert_eq!(error.excerpt.chars().count(), 201);
    let error = try_js("'x'.repeat(2e6)").unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (
            ErrorKind::TooLarge,
            "the result is larger than 1048576 bytes"
        )
    );
}

#[test]
fn data_that_is_not_mentioned_is_not_converted() {
    let mut scope = scope();
    // Converted, this would break the memory limit.
    let big = Value::from(vec![json!("x".repeat(100)); 10_000]);
    Arc::make_mut(&mut scope.data).insert("big".to_owned(), big);
    let limits = Limits {
        memory_bytes: 1 << 20,
        ..Limits::default()
    };
    let value = evaluate(Language::JavaScript, "input.value + value", &scope, &limits);
    assert_eq!(value.unwrap(), json!(24));
    let error = evaluate(Language::JavaScript, "input.big.length", &scope, &limits).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Memory);
}

#[test]
fn truth_is_that_of_the_language() {
    for (value, in_javascript, in_python) in [
        (json!(null), false, false),
        (json!(0), false, false),
        (json!(-0.0), false, false),
        (json!(""), false, false),
        (json!("false"), true, true),
        (json!([]), true, false),
        (json!({}), true, false),
        (json!([0]), true, true),
        (json!(0.1), true, true),
    ] {
        assert_eq!(
            is_truthy(Language::JavaScript, &value),
            in_javascript,
            "{value}"
        );
        assert_eq!(is_truthy(Language::Python, &value), in_python, "{value}");
        assert_eq!(is_truthy(Language::JsonPath, &value), in_python, "{value}");
    }
}

#[test]
fn languages_have_their_names() {
    for (text, language) in [
        ("javascript", Language::JavaScript),
        ("JS", Language::JavaScript),
        ("py", Language::Python),
        ("python", Language::Python),
        ("jsonpath", Language::JsonPath),
    ] {
        assert_eq!(text.parse::<Language>(), Ok(language));
    }
    let error = "perl".parse::<Language>().unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnknownLanguage);
    assert_eq!(
        error.to_string(),
        "unknown language \"perl\"; allowed are javascript, python, jsonpath"
    );
}

fn jsonpath(source: &str) -> Result<Value, ExprError> {
    evaluate(Language::JsonPath, source, &scope(), &Limits::default())
}

#[test]
fn a_jsonpath_gives_null_a_value_or_an_array() {
    for (source, expected) in [
        ("$.gone", json!(null)),
        ("$.value", json!(12)),
        ("$['name']", json!("Ann")),
        ("$.items[*].n", json!([3, 1])),
        ("$.items[?@.n > 2].n", json!(3)),
        ("$.items[?@.n > $.value]", json!(null)),
        ("$..status", json!(200)),
        ("$.item.n", json!(7)),
        ("$.empty", json!([])),
        ("$.items[?match(@.n, 'x')]", json!(null)),
    ] {
        assert_eq!(
            jsonpath(source).unwrap_or_else(|error| panic!("{source}: {error}")),
            expected,
            "{source}"
        );
    }
}

#[test]
fn a_bad_jsonpath_says_where() {
    let error = jsonpath("items[0]").unwrap_err();
    assert_eq!(
        error.to_string(),
        "a JSONPath starts with $, such as $.items[0].name"
    );
    let error = jsonpath("$.items[?@.n >").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Syntax);
    assert!(error.position.is_some());
}

#[test]
fn a_jsonpath_that_grows_without_bound_is_refused() {
    let row = json!({"a": {"b": {"c": {"d": [1, 2, 3, 4, 5, 6, 7, 8, 9]}}}});
    let data = json!({"rows": vec![row; 1_000]});
    let scope = Scope {
        data: Arc::new(data.as_object().unwrap().clone()),
        ..Scope::default()
    };
    for source in [
        "$..*..*..*..*..*",
        "$.rows[?$..d]",
        "$.rows[*,*,*,*][*,*,*,*][*,*,*,*][*,*,*,*][*,*,*,*]",
    ] {
        let error =
            evaluate(Language::JsonPath, source, &scope, &Limits::default()).expect_err(source);
        assert_eq!(error.kind, ErrorKind::TooLarge, "{source}");
    }
    let value = evaluate(
        Language::JsonPath,
        "$.rows[?@.a.b.c.d[0] == 1].a.b.c.d[8]",
        &scope,
        &Limits::default(),
    );
    assert_eq!(value.unwrap().as_array().map(Vec::len), Some(1_000));
}
