use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::expr::{ErrorKind, ExprError, Language, Limits, Position, Scope, evaluate};

fn scope() -> Scope {
    let Value::Object(data) = json!({
        "value": 12, "price": 2.5, "name": "Ann", "status": "a", "done": false, "nothing": null, "type": "order",
        "items": [{"n": 3, "ok": true}, {"n": 1, "ok": false}, {"n": 2, "ok": true}],
        "numbers": [3, 1, 2], "empty": [], "user": {"name": "Bob", "items": [1], "tags": ["x", "y"]},
        "quote": "it's \"so\"\n{}", "http-1_output": {"status": 200}, "sum": 5
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

fn try_python(source: &str) -> Result<Value, ExprError> {
    evaluate(Language::Python, source, &scope(), &Limits::default())
}

fn python(source: &str) -> Value {
    try_python(source).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn error(source: &str) -> ExprError {
    try_python(source).expect_err(source)
}

fn all(cases: &[(&str, Value)]) {
    for (source, expected) in cases {
        assert_eq!(&python(source), expected, "{source}");
    }
}

#[test]
fn conditions_as_people_type_them() {
    all(&[
        ("value > 10", json!(true)),
        ("input.value > 10", json!(true)),
        ("input['value'] > 10", json!(true)),
        ("data.user.name == 'Bob'", json!(true)),
        ("data['user']['tags'][-1]", json!("y")),
        ("len(items) > 0", json!(true)),
        ("nothing is None", json!(true)),
        ("value is not None", json!(true)),
        ("status in ['a', 'b'] and not done", json!(true)),
        ("status not in ('a', 'b')", json!(false)),
        ("'name' in user", json!(true)),
        ("'An' in name", json!(true)),
        ("1 < value <= 12 < 13", json!(true)),
        ("1 < value < 5 < 1/0", json!(false)),
        ("not value or name", json!("Ann")),
        ("'big' if value > 10 else 'small'", json!("big")),
        ("user.get('missing', 5)", json!(5)),
        ("return value > 10;", json!(true)),
        ("input['http-1_output'].status == 200", json!(true)),
        ("limit", json!(11)),
        ("value", json!(12)),
        ("variables.value", json!(99)),
        ("item.n", json!(7)),
        ("true and not false and null is None", json!(true)),
    ]);
}

#[test]
fn a_key_hides_a_builtin_unless_it_is_called() {
    all(&[
        ("type == 'order'", json!(true)),
        ("type(value) == int", json!(true)),
        ("sum + 1", json!(6)),
        ("sum(numbers)", json!(6)),
        ("user.items", json!([1])),
        ("len(user.items())", json!(3)),
    ]);
}

#[test]
fn placeholders_stand_for_values_and_in_quotes_for_text() {
    all(&[
        ("${value} > 5", json!(true)),
        ("${data.name} == 'Ann'", json!(true)),
        ("'${name}' == 'Ann'", json!(true)),
        ("\"${input.user.name}!\"", json!("Bob!")),
        ("${user.tags.1}", json!("y")),
        ("'${quote}' == quote", json!(true)),
        ("f'${value}'", json!("$12")),
        ("${http-1_output.status}", json!(200)),
    ]);
    let error = error("${user.age} > 5");
    assert_eq!(error.kind, ErrorKind::MissingValue);
    assert_eq!(
        error.message,
        "${user.age} names no value of the execution's data"
    );
}

#[test]
fn numbers_count_as_in_python() {
    all(&[
        ("2 ** 10", json!(1024)),
        ("-2 ** 2", json!(-4)),
        ("2 ** -1", json!(0.5)),
        ("7 / 2", json!(3.5)),
        ("7 // 2", json!(3)),
        ("-7 // 2", json!(-4)),
        ("-7 % 3", json!(2)),
        ("7.5 % -2", json!(-0.5)),
        ("1 + 2 * 3 - 4", json!(3)),
        ("(1 + 2) * 3", json!(9)),
        ("1_000 + 0xff + 0b11", json!(1258)),
        (
            "round(2.5), round(3.5), round(2.345, 1)",
            json!([2, 4, 2.3]),
        ),
        ("1 == 1.0 == True", json!(true)),
        ("int('42') + int(3.9) + float('0.5')", json!(45.5)),
        (
            "abs(-3), max(1, 5, 3), min(numbers), sum([0.5, 1])",
            json!([3, 5, 1, 1.5]),
        ),
        ("6 & 3 | 8 ^ 1, 1 << 4, ~5", json!([11, 16, -6])),
        ("divmod(-7, 2)", json!([-4, 1])),
        ("2 ** 63", json!(9_223_372_036_854_775_808_u64)),
        ("1e3", json!(1000.0)),
    ]);
}

#[test]
fn texts_have_their_methods() {
    all(&[
        ("name.lower() + name.upper()", json!("annANN")),
        ("' a b '.strip().split(' ')", json!(["a", "b"])),
        ("','.join(str(n) for n in numbers)", json!("3,1,2")),
        (
            "name.startswith('A') and name.endswith(('x', 'n'))",
            json!(true),
        ),
        ("name.replace('n', 'm').find('m')", json!(1)),
        (
            "name[0] + name[-1] + name[::-1] + name[1:]",
            json!("AnnnAnn"),
        ),
        ("'ab' * 3", json!("ababab")),
        ("'it\\'s' \" fine\\n\"", json!("it's fine\n")),
        ("r'\\d'", json!("\\d")),
        ("len('héé😀')", json!(4)),
        ("'a-b-c'.rsplit('-', 1)", json!(["a-b", "c"])),
        (
            "'7'.zfill(3) + '-7'.zfill(4) + 'x'.center(3, '*')",
            json!("007-007*x*"),
        ),
        (
            "'hello world'.title(), 'hELLO'.capitalize()",
            json!(["Hello World", "Hello"]),
        ),
        (
            "'12'.isdigit(), ''.isdigit(), 'aB'.islower()",
            json!([true, false, false]),
        ),
    ]);
}

#[test]
fn f_strings_format() {
    all(&[
        (
            "f'{name} is {value:>4} {price:.2f}'",
            json!("Ann is   12 2.50"),
        ),
        ("f'{user[\"name\"]!r} {{x}} {1 + 1}'", json!("'Bob' {x} 2")),
        (
            "f'{1234567.891:,.1f} {0.25:.0%} {255:#>6x} {-5:05d}'",
            json!("1,234,567.9 25% ####ff -0005"),
        ),
        (
            "f'{numbers} {nothing} {done} {1.0} {1e20} {0.00001}'",
            json!("[3, 1, 2] None False 1.0 1e+20 1e-05"),
        ),
        ("f'{name:*^7}'", json!("**Ann**")),
        ("f\"{user.name}{'!'}\"", json!("Bob!")),
        (
            "str({'a': [1, 'x', (2,)], 'b': None})",
            json!("{'a': [1, 'x', (2,)], 'b': None}"),
        ),
    ]);
}

#[test]
fn comprehensions_and_functions_over_lists() {
    all(&[
        ("[i['n'] * 2 for i in items if i.ok]", json!([6, 4])),
        (
            "{k: v for k, v in [('a', 1), ('b', 2)]}",
            json!({"a": 1, "b": 2}),
        ),
        ("sum(i.n for i in items)", json!(6)),
        (
            "any(i.n > 2 for i in items), all(i.ok for i in items)",
            json!([true, false]),
        ),
        (
            "sorted(numbers), sorted(numbers, reverse=True)",
            json!([[1, 2, 3], [3, 2, 1]]),
        ),
        (
            "[i.n for i in sorted(items, key=lambda i: i.n)]",
            json!([1, 2, 3]),
        ),
        ("max(items, key=lambda i: i['n']).n", json!(3)),
        ("max([], default=0)", json!(0)),
        (
            "list(map(lambda n: n + 1, numbers)), list(filter(lambda n: n > 1, numbers))",
            json!([[4, 2, 3], [3, 2]]),
        ),
        (
            "[(a, b) for a in range(2) for b in 'xy']",
            json!([[0, "x"], [0, "y"], [1, "x"], [1, "y"]]),
        ),
        (
            "list(enumerate(numbers, 1))[0], list(zip([1, 2], 'ab'))",
            json!([[1, 3], [[1, "a"], [2, "b"]]]),
        ),
        (
            "next((i for i in items if i.n == 2), None)",
            json!({"n": 2, "ok": true}),
        ),
        (
            "numbers[1:], numbers[:-1], numbers[5:], numbers[::2]",
            json!([[1, 2], [3, 1], [], [3, 2]]),
        ),
        ("set(numbers) & {1, 2, 9}", json!([1, 2])),
        ("len({1, 1.0, True})", json!(1)),
        (
            "list(user.keys()), list(reversed(numbers))",
            json!([["name", "items", "tags"], [2, 1, 3]]),
        ),
        ("dict(a=1)", json!({"a": 1})),
        ("(lambda items: items.n)(item)", json!(7)),
        ("{**user, 'x': 1}.x", json!(1)),
        ("[*numbers, *empty]", json!([3, 1, 2])),
        ("numbers + [4]", json!([3, 1, 2, 4])),
        (
            "[1, 2] == [1, 2.0] and (1,) != [1] and {'a': 1} == {'a': 1}",
            json!(true),
        ),
        ("[1, 2] < [1, 3]", json!(true)),
        (
            "isinstance(value, int), isinstance(name, (int, str)), isinstance(done, int)",
            json!([true, true, true]),
        ),
        (
            "(lambda f, n: f(f, n))(lambda f, n: 1 if n < 2 else n * f(f, n - 1), 5)",
            json!(120),
        ),
    ]);
}

#[test]
fn errors_say_what_python_says_and_where() {
    for (source, message) in [
        (
            "nobody > 1",
            "NameError: name 'nobody' is not defined (at column 1)",
        ),
        (
            "1 + name",
            "TypeError: unsupported operand type(s) for +: 'int' and 'str' (at column 1)",
        ),
        (
            "value > name",
            "TypeError: '>' not supported between instances of 'int' and 'str' (at column 1)",
        ),
        (
            "value + user.age",
            "AttributeError: 'dict' object has no attribute 'age' (at column 9)",
        ),
        (
            "numbers[9]",
            "IndexError: list index out of range (at column 1)",
        ),
        ("1 / 0", "ZeroDivisionError: division by zero (at column 1)"),
        (
            "value()",
            "TypeError: 'int' object is not callable (at column 1)",
        ),
        (
            "name.frob()",
            "AttributeError: 'str' object has no attribute 'frob' (at column 1)",
        ),
        (
            "2 ** 200",
            "OverflowError: the result is an integer with more than 64 bits, which JSON readers cannot hold",
        ),
        (
            "user.keys()",
            "TypeError: the result is dict_keys(['name', 'items', 'tags']), which JSON cannot hold",
        ),
        (
            "'${name}' + user.age",
            "AttributeError: 'dict' object has no attribute 'age' (at column 13)",
        ),
        (
            "lambda x: x",
            "TypeError: the result is a function, not a value",
        ),
        (
            "float('inf')",
            "ValueError: the result is inf, which JSON cannot hold",
        ),
        (
            "f'{nobody}'",
            "NameError: name 'nobody' is not defined (at column 4)",
        ),
    ] {
        assert_eq!(error(source).to_string(), message, "{source}");
    }
    assert_eq!(
        error("1 +\n  nobody").position,
        Some(Position { line: 2, column: 3 })
    );
}

#[test]
fn syntax_errors_say_what_the_parser_says_and_help_those_who_think_in_another_language() {
    for (source, message) in [
        (
            "value >",
            "syntax error: expected an expression (at column 8)",
        ),
        (
            "a && b",
            "syntax error: expected an expression; Python says 'and' (at column 4)",
        ),
        (
            "a = 5",
            "syntax error: unexpected token at the end of an expression; to compare, write == (at column 3)",
        ),
        (
            "import os",
            "syntax error: expected an identifier, but found a keyword `import` that cannot be used here (at column 1)",
        ),
        (
            "'abc",
            "syntax error: missing closing quote in string literal (at column 1)",
        ),
        (
            "a${name}",
            "syntax error: ${name} touches a word; write a space or an operator between them (at column 2)",
        ),
        (
            "${value",
            "syntax error: ${ without a closing } (at column 1)",
        ),
    ] {
        assert_eq!(error(source).to_string(), message, "{source}");
    }
}

#[test]
fn nothing_reaches_outside() {
    for source in [
        "__import__('os')",
        "open('/etc/passwd')",
        "eval('1')",
        "exec('1')",
        "globals()",
        "().__class__.__bases__[0].__subclasses__()",
        "name.__class__",
        "getattr(name, '__class__')",
        "breakpoint()",
        "(lambda: 0).__globals__",
        "'{0.__class__}'.format(name)",
    ] {
        assert_eq!(error(source).kind, ErrorKind::Runtime, "{source}");
    }
}

#[test]
fn anything_but_one_expression_is_a_syntax_error() {
    for source in [
        "import os",
        "from os import path",
        "def f(): pass",
        "while True: pass",
        "for x in numbers: x",
        "x = 1",
        "del name",
        "1; 2",
        "1\n2",
        "value) + (1",
        "yield 1",
        "*numbers",
        "\\",
        "'\\",
        "`value`",
        "[x async for x in numbers]",
        "b'${name}' ${",
    ] {
        assert_eq!(error(source).kind, ErrorKind::Syntax, "{source}");
    }
}

#[test]
fn white_space_and_comments_stand_where_python_allows_them() {
    all(&[
        (" value == 12 # x", json!(true)),
        ("(user) # a.b\n .name", json!("Bob")),
        ("'a' if(user).name else 0", json!("a")),
        ("not user.tags if'name' in user else 0", json!(false)),
        ("# ${gone}\n 1", json!(1)),
        ("value\n  > 1", json!(true)),
        ("return(value)", json!(12)),
    ]);
}

#[test]
fn time_is_bounded() {
    let limits = Limits {
        time: Duration::from_millis(50),
        ..Limits::default()
    };
    let source = "all(n >= 0 for n in range(10 ** 18))";
    let error = evaluate(Language::Python, source, &scope(), &limits).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Timeout, "it ran longer than 50 ms")
    );
}

#[test]
fn a_huge_value_is_refused_before_it_is_made() {
    for source in ["'x' * 10 ** 12", "[0] * 10 ** 12", "10 ** 10 ** 10"] {
        let error = error(source);
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Memory, "it used more than 64 MiB of memory"),
            "{source}"
        );
    }
}

#[test]
fn depth_is_bounded_in_source_and_at_run_time() {
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(300), close.repeat(300));
    for source in [
        nested("(", ")"),
        nested("[", "]"),
        nested("-", ""),
        nested("1+", ""),
        nested("x", ".a"),
        "(lambda f: f(f))(lambda f: f(f))".to_owned(),
        "(lambda f: f(f))(lambda f: [f(f) for x in [1]])".to_owned(),
    ] {
        let error = error(&source);
        assert_eq!(
            error.kind,
            ErrorKind::Depth,
            "{}: {error}",
            source.get(..20).unwrap_or(&source)
        );
    }
    assert_eq!(
        python(&format!("{}1{}", "(".repeat(100), ")".repeat(100))),
        json!(1)
    );
    assert_eq!(python(&["1"; 80].join("+")), json!(80));
    assert_eq!(python(&["value > 1"; 150].join(" and ")), json!(true));
}

#[test]
fn a_result_that_json_cannot_hold_is_an_error() {
    all(&[
        ("(1, [2, (3,)])", json!([1, [2, [3]]])),
        (
            "{1: 'a', None: 'b', 1.5: 'c'}",
            json!({"1": "a", "null": "b", "1.5": "c"}),
        ),
        ("print('x')", json!(null)),
    ]);
    for source in [
        "2 ** 64",
        "-2 ** 64",
        "float('nan')",
        "[float('inf')]",
        "b'a'",
        "int",
        "len",
        "...",
        "{(1, 2): 3}",
        "Exception('x')",
    ] {
        assert_eq!(error(source).kind, ErrorKind::Runtime, "{source}");
    }
}

#[test]
fn a_result_beyond_its_limit_is_refused() {
    let error = error("'x' * 2000000");
    assert_eq!(
        (error.kind, error.message.as_str()),
        (
            ErrorKind::TooLarge,
            "the result is larger than 1048576 bytes"
        )
    );
}
