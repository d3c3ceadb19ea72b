use serde_json::json;

use super::super::testing::{context, done, node, object, run};
use super::testing::code;
use super::*;
use crate::activities::FailureKind;

async fn javascript(source: &str) -> Result<Outcome, Failure> {
    let config = json!({"language": "javascript", "code": source});
    run(
        &code(),
        config,
        &context(json!({"amount": 3, "names": ["é", "日本"]})),
    )
    .await
}

async fn result_of(source: &str) -> Value {
    done(javascript(source).await).0["result"].clone()
}

async fn failure_of(config: Value) -> Failure {
    run(&code(), config, &context(json!({}))).await.unwrap_err()
}

#[tokio::test]
async fn a_program_returns_or_sets_a_result_or_ends_with_one() {
    for (source, expected) in [
        ("return input.amount * 2", json!(6)),
        (
            "if (input.amount > 2) { return 'large' }\nreturn 'small'",
            json!("large"),
        ),
        ("if (false) { return 1 }\nconst output = 2", json!(2)),
        ("const result = input.amount + 1", json!(4)),
        (
            "let output; output = {a: 1}; console.log('x')",
            json!({"a": 1}),
        ),
        ("result = 5; output = 6", json!(5)),
        (
            "const list = [1]; list.push(2)\nlist.map(x => x * 2)",
            json!([2, 4]),
        ),
        (
            "function f(n) { return n < 2 ? 1 : n * f(n - 1) }\nf(5)",
            json!(120),
        ),
        (
            "({total: data.names.length, first: data.names[0]})",
            json!({"total": 2, "first": "é"}),
        ),
        ("if (input.amount) { 'yes' } else { 'no' }", json!("yes")),
        (
            "let total = 0; for (const n of [1, 2]) total += n",
            json!(3),
        ),
        ("const data = 1, input = 2; data + input", json!(3)),
        ("var nothing = 1", json!(null)),
        (
            "console.log('first'); console.log(JSON.stringify({a: 'é'}))",
            json!({"a": "é"}),
        ),
    ] {
        assert_eq!(result_of(source).await, expected, "{source}");
    }
}

#[tokio::test]
async fn promises_are_settled() {
    for (source, expected) in [
        ("await Promise.resolve(1)", json!(1)),
        ("const f = async (n) => n * 2; return await f(4)", json!(8)),
        ("return Promise.all([1, Promise.resolve(2)])", json!([1, 2])),
        ("const result = (async () => 'later')()", json!("later")),
        ("(async () => { await null; return 7 })()", json!(7)),
        (
            "let seen = []; Promise.resolve().then(() => seen.push(1)); await null; await null; result = seen",
            json!([1]),
        ),
    ] {
        assert_eq!(result_of(source).await, expected, "{source}");
    }
    let failure = javascript("await new Promise(() => {})").await.unwrap_err();
    assert_eq!(
        failure.message,
        "code: it waits for a promise that nothing settles"
    );
    let failure = javascript("await Promise.reject(new TypeError('no'))")
        .await
        .unwrap_err();
    assert_eq!(failure.message, "code: TypeError: no (at column 26)");
}

#[tokio::test]
async fn what_a_program_prints_is_kept() {
    let (output, _) = done(
        javascript(
            "console.log('é', 1, {a: [true]}); console.error(new Error('bad')); return {n: 1}",
        )
        .await,
    );
    assert_eq!(output["stdout"], json!("é 1 {\"a\":[true]}\n"));
    assert_eq!(output["stderr"], json!("Error: bad\n"));
    assert_eq!(output["result"], json!({"n": 1}));
    assert_eq!(output["output_data"], json!({"n": 1}));
    assert!(output["duration_ms"].is_u64());
    let failure = javascript("console.log('before'); null.x")
        .await
        .unwrap_err();
    assert_eq!(failure.output["stdout"], json!("before\n"));
}

#[tokio::test]
async fn an_exception_is_retryable_and_says_where() {
    let failure = javascript("const a = 1;\n\n  missing(a)")
        .await
        .unwrap_err();
    assert_eq!(
        failure.message,
        "code: ReferenceError: missing is not defined (at line 3, column 3)"
    );
    assert_eq!(
        (failure.kind, failure.error_type),
        (FailureKind::Retryable, "CodeError".into())
    );
    let failure = javascript("throw new Error('nö')").await.unwrap_err();
    assert_eq!(failure.message, "code: Error: nö (at column 11)");
    // Thrown by the program, not found by reading it.
    let failure = javascript("JSON.parse('{')").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Retryable);
    assert!(
        failure.message.starts_with("code: SyntaxError: "),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn bad_syntax_is_permanent_and_says_where() {
    for (source, message) in [
        ("const a = 1;\nconst b = ;", "(at line 2, column 11)"),
        ("function f( {", "syntax error"),
        ("return (", "syntax error"),
        ("import fs from 'fs'", "syntax error"),
    ] {
        let failure = javascript(source).await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.error_type),
            (FailureKind::Permanent, "CodeError".into())
        );
        assert!(
            failure.message.contains(message),
            "{source}: {}",
            failure.message
        );
    }
}

#[tokio::test]
async fn nothing_outside_is_in_reach() {
    for name in [
        "require",
        "process",
        "fetch",
        "setTimeout",
        "std",
        "os",
        "Deno",
    ] {
        assert_eq!(
            result_of(&format!("typeof {name}")).await,
            json!("undefined"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn each_bound_holds() {
    let within =
        |source: &str| json!({"language": "javascript", "code": source, "timeout_seconds": 0.3});
    for source in [
        "for (;;) {}",
        "while (true) { try { for (;;) {} } catch {} }",
        "(async () => { for (;;) await null })()",
        "function again() { Promise.resolve().then(again); Promise.resolve().then(again) }\nagain(); await new Promise(() => {})",
    ] {
        let failure = failure_of(within(source)).await;
        assert_eq!(failure.message, "timed out after 0.3 seconds", "{source}");
        assert_eq!(
            (failure.kind, failure.error_type),
            (FailureKind::TimedOut, "TimeoutError".into())
        );
    }
    for (source, message) in [
        (
            "const a = []; for (;;) a.push('x'.repeat(1000) + a.length)",
            "code: it used more than 128 MiB of memory",
        ),
        (
            "function f() { return f() }\nf()",
            "code: it recursed too deeply",
        ),
        (
            "for (;;) console.log('x'.repeat(1000))",
            "code: it printed more than 1048576 bytes",
        ),
        (
            "'x'.repeat(2000000)",
            "code: the result is larger than 1048576 bytes",
        ),
        (
            "return () => 1",
            "code: the result is a function, not a value",
        ),
    ] {
        let failure = javascript(source).await.unwrap_err();
        assert!(
            failure.message.starts_with(message),
            "{source}: {}",
            failure.message
        );
        assert_eq!(failure.error_type, "CodeError");
    }
}

#[tokio::test]
async fn a_program_that_nobody_waits_for_ends() {
    let code = code();
    let node = node(
        "code",
        json!({"language": "javascript", "code": "for (;;) {}"}),
    );
    let context = context(json!({}));
    for _ in 0..THREADS {
        let run = code.run(&node, &context);
        let waited = tokio::time::timeout(Duration::from_millis(50), run).await;
        assert!(waited.is_err());
    }
    // The last of them would hold its thread for half a minute.
    let freed = tokio::time::timeout(Duration::from_secs(10), async {
        while code.threads.available_permits() < THREADS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(freed.await.is_ok());
}

#[tokio::test]
async fn input_data_takes_the_place_of_data() {
    let config = json!({"language": "js", "code": "[input.amount, data.amount]", "input_data": {"amount": 9}});
    let (output, _) = done(run(&code(), config, &context(json!({"amount": 3}))).await);
    assert_eq!(output["result"], json!([3, 9]));
}

#[tokio::test]
async fn five_megabytes_of_input_are_read() {
    let text = "é".repeat(2_500_000);
    let config = json!({"language": "javascript", "code": "input.text.length"});
    let (output, _) = done(run(&code(), config, &context(json!({"text": text}))).await);
    assert_eq!(output["result"], json!(2_500_000));
}

#[tokio::test]
async fn the_code_of_other_nodes_sees_variables_and_what_their_place_adds() {
    let mut context = context(json!({"amount": 3}));
    context.variables = Arc::new(object(json!({"workflow": {"limit": 10}})));
    context.locals = Arc::new(vec![
        ("error".to_owned(), json!({"message": "boom"})),
        ("output".to_owned(), json!("given")),
    ]);
    let node = node("catch", json!({}));
    let run = |text: &'static str| {
        let (node, context) = (&node, &context);
        async move {
            code()
                .run_text(node, context, Language::JavaScript, "error_handler", text)
                .await
        }
    };
    let output = run("({said: error.message, limit: variables.limit, given: output})").await;
    let expected = json!({"said": "boom", "limit": 10, "given": "given"});
    assert_eq!(output.unwrap()["result"], expected);
    let failure = run("error.message.x.y").await.unwrap_err();
    assert!(
        failure.message.starts_with("error_handler: TypeError"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn json_is_its_own_result() {
    let (output, _) = done(
        run(
            &code(),
            json!({"language": "json", "code": "{\"a\": [1, 2.50]}"}),
            &context(json!({})),
        )
        .await,
    );
    assert_eq!(output["result"], json!({"a": [1, 2.5]}));
    assert_eq!(output["output_data"], output["result"]);
    let failure = failure_of(json!({"language": "json", "code": "{\"a\": }"})).await;
    assert_eq!(
        failure.message,
        "code: the result is not JSON: expected value at line 1 column 7"
    );
    assert_eq!(
        (failure.kind, failure.error_type),
        (FailureKind::Permanent, "CodeError".into())
    );
}

#[tokio::test]
async fn a_wrong_configuration_is_named() {
    for (config, message) in [
        (json!({}), "code is required"),
        (json!({"code": " "}), "code is required"),
        (json!({"code": 1}), "code is 1; it must be a text"),
        (
            json!({"code": "1", "language": "perl"}),
            "language is \"perl\"; it must be one of javascript, typescript, json, python, bash",
        ),
        (
            json!({"code": "1", "timeout_seconds": "soon"}),
            "timeout_seconds is \"soon\"; it must be a number from 0.1 to 604800",
        ),
        (
            json!({"code": "1", "runtime": "moon"}),
            "runtime is \"moon\"; it must be one of auto, local, e2b, wasmedge, bacalhau, cline_node, mcp_server",
        ),
        (
            json!({"code": "1", "runtime": "e2b"}),
            "runtime is \"e2b\", which this worker is not; a remote activity can run such nodes (WORKFLOW_ACTIVITY_URL)",
        ),
        (
            json!({"code": "1", "requirements": ["pandas"]}),
            "requirements is [\"pandas\"]: this worker installs no packages; a remote activity can run such nodes \
             (WORKFLOW_ACTIVITY_URL)",
        ),
    ] {
        assert_eq!(failure_of(config).await, Failure::permanent(message));
    }
    let long = format!("// {}", "x".repeat(SOURCE_BYTES));
    let failure = failure_of(json!({"code": long})).await;
    assert_eq!(
        failure.message,
        "code has 1048579 bytes; at most 1048576 are allowed"
    );
}

#[test]
fn only_packages_and_hosted_runtimes_are_for_others() {
    for config in [
        json!({}),
        json!({"runtime": "auto", "requirements": []}),
        json!({"runtime": null, "requirements": " "}),
        json!({"runtime": "moon"}),
    ] {
        assert_eq!(needs_remote(&object(config.clone())), None, "{config}");
    }
    for config in [
        json!({"runtime": "WasmEdge"}),
        json!({"requirements": "requests"}),
    ] {
        assert!(needs_remote(&object(config.clone())).is_some(), "{config}");
    }
}

#[tokio::test]
async fn a_forbidden_language_and_a_missing_interpreter_are_named() {
    let mut forbidden = code();
    forbidden.settings.languages.retain(|name| *name != "bash");
    let config = json!({"language": "bash", "code": "true"});
    let failure = run(&forbidden, config.clone(), &context(json!({})))
        .await
        .unwrap_err();
    assert_eq!(
        failure,
        Failure::permanent(
            "language is \"bash\"; this worker runs javascript, typescript, json, python only (WORKFLOW_CODE_LANGUAGES)"
        )
    );
    for (language, name) in [("bash", "bash"), ("python", "python3")] {
        let nowhere = code().with_path("/nowhere:relative");
        let config = json!({"language": language, "code": "1"});
        let failure = run(&nowhere, config, &context(json!({})))
            .await
            .unwrap_err();
        assert_eq!(
            failure,
            Failure::permanent(format!(
                "language is \"{language}\", which needs {name}, and this worker finds none in /nowhere:relative"
            ))
        );
    }
}
