//! Programs in processes of their own: what they are given, what bounds them, and that nothing of them is left.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;
use workflow_worker::activities::native::code::{Code, Language};
use workflow_worker::activities::{Activity, Context, Failure, FailureKind, Node, Outcome};
use workflow_worker::config::Config;
use workflow_worker::ids::{ExecutionId, NodeId};

use crate::support::wait::{SOON, wait_until};

/// Programs whose temporary directories have a place of their own.
struct Programs {
    code: Code,
    temporary: PathBuf,
}

impl Programs {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let config = Config::from_env(|name| match name {
            "DATABASE_URL" => Some("postgresql://u:p@h/db".to_owned()),
            _ => settings
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned()),
        })
        .unwrap();
        let temporary = std::env::temp_dir().join(format!("code-test-{}", Uuid::new_v4()));
        std::fs::create_dir(&temporary).unwrap();
        let code = Code::new(config.code)
            .with_binary(PathBuf::from(env!("CARGO_BIN_EXE_workflow-worker")))
            .with_temporary(temporary.clone());
        Self { code, temporary }
    }

    async fn run(&self, config: Value, data: Value) -> Result<Value, Failure> {
        let node = node(&config);
        match self.code.run(&node, &context(&data)).await? {
            Outcome::Done { output, .. } => Ok(Value::Object(output)),
            other => panic!("{other:?}"),
        }
    }

    async fn output(&self, language: &str, code: &str) -> Value {
        self.run(json!({"language": language, "code": code}), example())
            .await
            .unwrap_or_else(|failure| panic!("{code}: {failure:?}"))
    }

    async fn result(&self, language: &str, code: &str) -> Value {
        self.output(language, code).await["result"].clone()
    }

    async fn failure(&self, language: &str, code: &str) -> Failure {
        let config = json!({"language": language, "code": code});
        match self.run(config, example()).await {
            Err(failure) => failure,
            Ok(output) => panic!("{code}: {output}"),
        }
    }

    async fn fails(&self, language: &str, code: &str, message: &str, kind: FailureKind) {
        let failure = self.failure(language, code).await;
        assert!(failure.message.contains(message), "{code}: {failure:?}");
        assert_eq!(failure.kind, kind, "{code}: {failure:?}");
        self.nothing_is_left().await;
    }

    /// Neither a directory nor a process that has its working directory there.
    async fn nothing_is_left(&self) {
        wait_until("directory and processes to be gone", SOON, async || {
            let left: Vec<_> = std::fs::read_dir(&self.temporary).unwrap().collect();
            let running = running_in(&self.temporary);
            if left.is_empty() && running.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}, {running:?}"))
            }
        })
        .await;
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.temporary).ok();
    }
}

fn example() -> Value {
    json!({"amount": 3, "names": ["é", "日本"]})
}

fn node(config: &Value) -> Node {
    Node {
        id: NodeId::from("n1"),
        node_type: Arc::from("code"),
        config: Arc::new(config.as_object().unwrap().clone()),
    }
}

fn context(data: &Value) -> Context {
    Context {
        execution_id: ExecutionId(Uuid::nil()),
        visit: 1,
        attempt: 1,
        idempotency_key: "00000000:n1:1".to_owned(),
        data: Arc::new(data.as_object().unwrap().clone()),
        trigger_data: Arc::default(),
        variables: Arc::new(
            json!({"workflow": {"limit": 10}})
                .as_object()
                .unwrap()
                .clone(),
        ),
        locals: Arc::new(vec![("error".to_owned(), json!({"message": "boom"}))]),
        round: 0,
        depth: 0,
        now: "2026-01-05T12:00:00Z".parse().unwrap(),
        waiting_since: None,
        cancelled: tokio_util::sync::CancellationToken::new(),
    }
}

/// The processes whose working directory is below a directory, deleted or not.
fn running_in(directory: &Path) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            std::fs::read_link(entry.path().join("cwd"))
                .is_ok_and(|place| place.starts_with(directory))
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn python_finds_its_result() {
    let programs = Programs::new();
    for (source, expected) in [
        ("result = input['amount'] * 2", json!(6)),
        (
            "output = {'first': data['names'][0]}",
            json!({"first": "é"}),
        ),
        ("x = 2\nx ** 3", json!(8)),
        ("variables['limit'] + len(error['message'])", json!(14)),
        ("def main(input):\n    return input['amount'] + 1", json!(4)),
        ("def run():\n    return [1, (2, 3)]", json!([1, [2, 3]])),
        ("async def main(input):\n    return 'later'", json!("later")),
        (
            "calls = []\ndef main():\n    calls.append(1)\nmain()\nresult = calls",
            json!([1]),
        ),
        (
            "seen = []\ndef main(x=None):\n    seen.append(x)\n    return seen\nif __name__ == '__main__':\n    main('own')",
            json!(null),
        ),
        (
            "import json\nprint('é')\nprint(json.dumps({'a': 'ö'}, ensure_ascii=False))",
            json!({"a": "ö"}),
        ),
        (
            "import datetime, decimal\nresult = [datetime.date(2026, 1, 2), decimal.Decimal('1.50'), {3}]",
            json!(["2026-01-02", "1.50", [3]]),
        ),
        ("import sys\nresult = 1\nsys.exit()", json!(1)),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nresult = P(3).x",
            json!(3),
        ),
        ("pass", json!(null)),
    ] {
        assert_eq!(
            programs.result("python", source).await,
            expected,
            "{source}"
        );
    }
    let output = programs
        .output(
            "python",
            "import sys\nprint('é')\nprint('bad', file=sys.stderr)\nresult = {'a': 1}",
        )
        .await;
    assert_eq!(output["stdout"], json!("é\n"));
    assert_eq!(output["stderr"], json!("bad\n"));
    assert_eq!(output["output_data"], json!({"a": 1}));
    assert_eq!(output["exit_code"], json!(0));
    assert!(output["memory_mb"].as_f64().unwrap() > 1.0, "{output}");
    programs.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_says_what_went_wrong_in_the_users_lines() {
    let programs = Programs::new();
    let failure = programs
        .failure(
            "python",
            "print('before')\ndef f():\n    return missing\n\nf()",
        )
        .await;
    assert_eq!(
        failure.message,
        "code: NameError: name 'missing' is not defined (line 3)"
    );
    assert_eq!(
        (failure.kind, failure.error_type),
        (FailureKind::Retryable, "CodeError".into())
    );
    assert_eq!(failure.output["stdout"], json!("before\n"));
    assert_eq!(failure.output["exit_code"], json!(1));
    let trace = failure.output["stderr"].as_str().unwrap();
    assert!(
        trace.contains("File \"code.py\", line 5, in <module>\n    f()"),
        "{trace}"
    );
    assert!(!trace.contains("prelude"), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn python_that_fails_is_permanent_only_if_it_must_fail_again() {
    let programs = Programs::new();
    let retryable = FailureKind::Retryable;
    let permanent = FailureKind::Permanent;
    for (source, message, kind) in [
        (
            "x = 1\nif x\n  y",
            "code: SyntaxError: expected ':' (line 2, column 5)",
            permanent,
        ),
        (
            "return 1",
            "'return' outside function; set `result` instead (line 1, column 1)",
            permanent,
        ),
        (
            "a\0b",
            "code: SyntaxError: source code string cannot contain null bytes",
            permanent,
        ),
        (
            "result = lambda: 1",
            "the result is not JSON: TypeError: JSON cannot hold a value of type function",
            permanent,
        ),
        (
            "result = float('nan')",
            "the result is not JSON: ValueError",
            permanent,
        ),
        (
            "import sys\nsys.exit(3)",
            "code: it ended with exit code 3",
            retryable,
        ),
        (
            "import sys\nsys.exit('no luck')",
            "code: it ended with exit code 1: no luck",
            retryable,
        ),
        (
            "import os\nos._exit(7)",
            "code: it ended with exit code 7",
            retryable,
        ),
        (
            "eval('1 +')",
            "code: SyntaxError: invalid syntax",
            retryable,
        ),
        (
            "import ctypes\nctypes.string_at(0)",
            "code: signal 11 ended it",
            retryable,
        ),
        (
            "import not_there",
            "ModuleNotFoundError: No module named 'not_there' (line 1)",
            retryable,
        ),
    ] {
        programs.fails("python", source, message, kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bash_reads_its_input_and_writes_its_result() {
    let programs = Programs::new();
    for (source, expected) in [
        ("cat", example()),
        ("cat \"$INPUT_FILE\" > \"$RESULT_FILE\"; echo 1", example()),
        ("echo first\necho '[1, 2]'", json!([1, 2])),
        ("echo hello", json!(null)),
        ("grep -c boom \"$SCOPE_FILE\"", json!(1)),
        (
            "for i in 1 2 3; do\r\n  n=$((n + i))\r\ndone\r\necho $n",
            json!(6),
        ),
    ] {
        assert_eq!(programs.result("bash", source).await, expected, "{source}");
    }
    for (source, message, kind) in [
        (
            "echo no >&2; exit 3",
            "code: it ended with exit code 3: no",
            FailureKind::Retryable,
        ),
        (
            "if true; then",
            "code: it cannot be read: ../code.sh: line 2: syntax error",
            FailureKind::Permanent,
        ),
        (
            "echo '{' > $RESULT_FILE",
            "the result is not JSON: $RESULT_FILE",
            FailureKind::Permanent,
        ),
        (
            "command-that-is-not-there",
            "command not found",
            FailureKind::Retryable,
        ),
    ] {
        programs.fails("bash", source, message, kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_is_javascript_without_types() {
    let programs = Programs::new();
    for (source, expected) in [
        (
            "const n: number = input.amount as number;\nreturn n * 2",
            json!(6),
        ),
        (
            "enum Size { Small = 1, Large }\ninterface A { b: string }\nconst result: Size = Size.Large",
            json!(2),
        ),
        (
            "class P { constructor(readonly x: number) {} }\nnew P(4).x",
            json!(4),
        ),
        (
            "const f = async <T,>(x: T): Promise<T> => x;\nawait f<string>('é')",
            json!("é"),
        ),
    ] {
        assert_eq!(
            programs.result("typescript", source).await,
            expected,
            "{source}"
        );
    }
    for (source, message, kind) in [
        (
            "const a: number = 1;\nlet x: = 4;",
            "code: syntax error: Unexpected token (at line 2, column 8)",
            FailureKind::Permanent,
        ),
        (
            "interface A {\n  b: string\n}\n\nconst a: A = missing;",
            "missing is not defined (at line 5, column 14)",
            FailureKind::Retryable,
        ),
        (
            "import fs from 'fs';\nfs.x()",
            "import and export are not available in a program (at column 1)",
            FailureKind::Permanent,
        ),
    ] {
        programs.fails("typescript", source, message, kind).await;
    }
    let deep = format!("let x = {}1{}", "(".repeat(200_000), ")".repeat(200_000));
    programs
        .fails(
            "typescript",
            &deep,
            "code: it nests too deeply",
            FailureKind::Permanent,
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bound_holds() {
    let programs = Programs::with(&[
        ("CODE_EXECUTION_TIMEOUT", "1"),
        ("WORKFLOW_CODE_MEMORY_MB", "256"),
        ("WORKFLOW_CODE_OUTPUT_KB", "64"),
        ("WORKFLOW_CODE_PROCESSES", "20"),
    ]);
    let late = "timed out after 1 seconds";
    for (language, source) in [
        ("python", "while True: pass"),
        (
            "python",
            "import time, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)",
        ),
        ("bash", "trap '' TERM INT HUP; while :; do :; done"),
        ("bash", "sleep 60"),
    ] {
        programs
            .fails(language, source, late, FailureKind::TimedOut)
            .await;
    }
    let permanent = FailureKind::Permanent;
    for (language, source, message) in [
        (
            "python",
            "x = bytearray(1 << 30)",
            "MemoryError: it used more than 256 MiB of memory (line 1)",
        ),
        (
            "python",
            "while True: print('x' * 1000)",
            "it printed more than 64 KiB",
        ),
        ("bash", "yes >&2", "it printed more than 64 KiB"),
        (
            "python",
            "result = 'x' * 100000",
            "the result is larger than 64 KiB",
        ),
        (
            "bash",
            "for i in $(seq 40); do sleep 50 & done; wait",
            "processes",
        ),
    ] {
        programs.fails(language, source, message, permanent).await;
    }
    let failure = programs
        .failure("python", "while True: print('x' * 1000)")
        .await;
    let kept = failure.output["stdout"].as_str().unwrap().len();
    assert_eq!(kept, 64 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_over_all_processes() {
    let programs = Programs::with(&[
        ("CODE_EXECUTION_TIMEOUT", "20"),
        ("WORKFLOW_CODE_MEMORY_MB", "200"),
    ]);
    let source = "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n        x = bytearray(100 << 20)\n        time.sleep(60)\ntime.sleep(60)";
    programs
        .fails(
            "python",
            source,
            "it used more than 200 MiB of memory",
            FailureKind::Permanent,
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_is_ended() {
    let programs = Programs::with(&[("CODE_EXECUTION_TIMEOUT", "5")]);
    let failure = programs
        .failure("bash", "b() { b | b & }; b; sleep 60")
        .await;
    assert_ne!(failure.error_type, "ActivityError", "{failure:?}");
    programs.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_leaves_running_is_ended() {
    let programs = Programs::new();
    for source in [
        "sleep 600 & echo 1",
        "setsid sleep 600 & sleep 0.1; echo 1",
        "(setsid bash -c 'sleep 600 & sleep 600' >/dev/null 2>&1 &) ; sleep 0.1; echo 1",
    ] {
        assert_eq!(programs.result("bash", source).await, json!(1));
        assert!(running_in(&programs.temporary).is_empty(), "{source}");
    }
    programs.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_a_program_has_locked_is_removed() {
    let programs = Programs::new();
    let source = "mkdir -p a/b; touch a/b/c; ln -s / a/root; chmod 0 a/b; chmod 500 a; echo 1";
    assert_eq!(programs.result("bash", source).await, json!(1));
    assert_eq!(std::fs::read_dir(&programs.temporary).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_nobody_waits_for_is_ended() {
    let programs = Programs::new();
    let config = json!({"language": "bash", "code": "setsid sleep 600 & sleep 600"});
    let run = programs.run(config, example());
    tokio::select! {
        result = run => panic!("{result:?}"),
        () = wait_until("the program to run", SOON, async || {
            match running_in(&programs.temporary).len() {
                0..2 => Err("it does not".to_owned()),
                _ => Ok(()),
            }
        }) => {}
    }
    programs.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_sees_no_environment_but_its_own() {
    let programs = Programs::new();
    let ours = "import os\nresult = [name for name in os.environ if 'CARGO' in name]";
    assert_eq!(programs.result("python", ours).await, json!([]));
    let output = programs.output("bash", "compgen -e").await;
    let mut names: Vec<&str> = output["stdout"].as_str().unwrap().lines().collect();
    // Those that the shell sets itself.
    names.retain(|name| !["OLDPWD", "PWD", "SHLVL", "_"].contains(name));
    let given = [
        "HOME",
        "INPUT_FILE",
        "LANG",
        "PATH",
        "RESULT_FILE",
        "SCOPE_FILE",
        "TMPDIR",
    ];
    assert_eq!(names, given);
    let found = programs
        .result(
            "bash",
            "for p in $PPID self; do tr '\\0' '\\n' < /proc/$p/environ; done | grep -c CARGO; true",
        )
        .await;
    assert_eq!(found, json!(0));
    // Ours has them.
    assert!(std::env::vars_os().any(|(name, _)| name.to_string_lossy().contains("CARGO")));
    let place = programs
        .output("bash", "pwd; echo $HOME; echo $TMPDIR; ls -A | wc -l")
        .await;
    let lines: Vec<&str> = place["stdout"].as_str().unwrap().lines().collect();
    assert!(
        lines[0].starts_with(programs.temporary.to_str().unwrap()),
        "{lines:?}"
    );
    assert_eq!(lines[1..3], [lines[0], lines[0]]);
    assert_eq!(lines[3].trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_input_and_unicode_arrive_whole() {
    let programs = Programs::new();
    let text = "é".repeat(2_500_000);
    for (language, source) in [
        ("python", "len(input['text'])"),
        ("bash", "wc -m < $INPUT_FILE"),
    ] {
        let config = json!({"language": language, "code": source});
        let output = programs.run(config, json!({"text": text})).await.unwrap();
        let count = output["result"].as_u64().unwrap();
        assert!(
            (2_500_000..2_500_020).contains(&count),
            "{language}: {count}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn input_data_and_handlers_of_other_nodes() {
    let programs = Programs::new();
    let config =
        json!({"language": "python", "code": "[input['amount'], data]", "input_data": {"a": 1}});
    let output = programs.run(config, example()).await.unwrap();
    assert_eq!(output["result"], json!([3, {"a": 1}]));
    let node = node(&json!({}));
    let output = programs
        .code
        .run_text(
            &node,
            &context(&example()),
            Language::Python,
            "error_handler",
            "error['message']",
        )
        .await;
    assert_eq!(output.unwrap()["result"], json!("boom"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_network_nothing_can_be_reached() {
    let programs = Programs::with(&[("WORKFLOW_CODE_NETWORK", "false")]);
    let source =
        "import os\nresult = os.listdir('/sys/class/net') and open('/proc/net/dev').read()";
    let config = json!({"language": "python", "code": source});
    match programs.run(config, example()).await {
        Ok(output) => {
            let devices = output["result"].as_str().unwrap().lines().skip(2).count();
            assert_eq!(devices, 1, "{output}");
        }
        // Where there are no namespaces, it says so and runs nothing.
        Err(failure) => {
            assert!(
                failure.message.contains("WORKFLOW_CODE_NETWORK"),
                "{failure:?}"
            );
            assert_eq!(failure.kind, FailureKind::Permanent);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_are_namespaces_the_worker_is_out_of_sight() {
    let programs = Programs::new();
    let ours = std::fs::read_link("/proc/self/ns/user").unwrap();
    let source = format!(
        "readlink /proc/self/ns/user; cat /proc/{}/environ | wc -c",
        std::process::id()
    );
    let output = programs.output("bash", &source).await;
    let lines: Vec<&str> = output["stdout"].as_str().unwrap().lines().collect();
    if lines[0] != ours.to_str().unwrap() {
        assert_eq!(lines[1].trim(), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn if_the_host_is_killed_so_is_the_program() {
    let programs = Programs::new();
    let config = json!({"language": "bash", "code": "exec sleep 600"});
    let kill_host = async {
        wait_until("the program to run", SOON, async || {
            let running = running_in(&programs.temporary);
            let stat = running
                .first()
                .and_then(|id| std::fs::read_to_string(format!("/proc/{id}/stat")).ok())
                .filter(|stat| stat.contains("(sleep)"))
                .ok_or_else(|| format!("{running:?}"))?;
            let parent = stat.split_whitespace().nth(3).unwrap();
            let killed = std::process::Command::new("kill")
                .args(["-9", parent])
                .status();
            assert!(killed.unwrap().success());
            Ok::<(), String>(())
        })
        .await;
    };
    let (result, ()) = tokio::join!(programs.run(config, example()), kill_host);
    let failure = result.unwrap_err();
    assert_eq!(
        (failure.kind, failure.error_type.clone()),
        (FailureKind::Retryable, "ActivityError".into()),
        "{failure:?}"
    );
    programs.nothing_is_left().await;
}
