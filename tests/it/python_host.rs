//! The processes that evaluate Python: what an expression does to one of them, nobody else feels.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use workflow_worker::activities::native::evaluator::Evaluator;
use workflow_worker::activities::python::{Hosts, Unanswered};
use workflow_worker::activities::{Failure, FailureKind};
use workflow_worker::expr::{ErrorKind, ExprError, Language, Limits, Scope};

use crate::support::database::{Database, Variant};
use crate::support::flow::{chain, insert, insert_workflow, node, trigger};
use crate::support::process::{kill9, wait_until_gone};
use crate::support::wait::{SOON, wait_until};
use crate::support::worker::WorkerProcess;

fn hosts() -> Hosts {
    Hosts::default().with_binary(PathBuf::from(env!("CARGO_BIN_EXE_workflow-worker")))
}

fn scope(data: &Value) -> Scope {
    Scope {
        data: Arc::new(data.as_object().unwrap().clone()),
        ..Scope::default()
    }
}

async fn value(hosts: &Hosts, source: &str) -> Value {
    hosts
        .evaluate(source, &scope(&json!({"value": 12})), &Limits::default())
        .await
        .unwrap_or_else(|error| panic!("{source}: {error:?}"))
}

async fn error_within(hosts: &Hosts, source: &str, limits: &Limits) -> ExprError {
    match hosts
        .evaluate(source, &scope(&json!({"value": 12})), limits)
        .await
    {
        Err(Unanswered::Expression(error)) => error,
        other => panic!("{source}: {other:?}"),
    }
}

async fn error(hosts: &Hosts, source: &str) -> ExprError {
    error_within(hosts, source, &Limits::default()).await
}

/// The host that waits for work.
fn idle_host(hosts: &Hosts) -> u32 {
    let idle = hosts.idle();
    assert_eq!(idle.len(), 1, "{idle:?}");
    idle[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_used_again_and_remembers_nothing() {
    let hosts = hosts();
    assert_eq!(value(&hosts, "(seen := value) + 1").await, json!(13));
    let first = idle_host(&hosts);
    assert_eq!(
        error(&hosts, "seen").await.to_string(),
        "NameError: name 'seen' is not defined (at column 1)"
    );
    assert_eq!(value(&hosts, "input.value * 2").await, json!(24));
    assert_eq!(idle_host(&hosts), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_is_replaced_and_costs_nothing_while_idle() {
    let hosts = hosts();
    value(&hosts, "1").await;
    let first = idle_host(&hosts);
    kill9(first);
    wait_until_gone(first).await;
    assert_eq!(value(&hosts, "value").await, json!(12));
    assert_ne!(idle_host(&hosts), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_killed_while_idle_does_not_stay_a_zombie() {
    let hosts = hosts();
    value(&hosts, "1").await;
    let killed = idle_host(&hosts);
    kill9(killed);
    wait_until("it to be buried", SOON, async || {
        if Path::new(&format!("/proc/{killed}")).exists() {
            Err("it is there")
        } else {
            Ok(())
        }
    })
    .await;
    assert_eq!(hosts.idle(), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_bomb_costs_one_evaluation() {
    let hosts = hosts();
    let limits = Limits {
        time: Duration::from_secs(60),
        ..Limits::default()
    };
    for source in [
        "'x' * 10 ** 10",
        "[0] * 10 ** 12",
        "list(range(10 ** 10))",
        "['x' * 60000000 for i in range(1000)]",
        "'x'.zfill(10 ** 12)",
        "('x' * 1000000).replace('x', 'x' * 1000000)",
        "'x'.join('y' * 1000000 for i in range(1000))",
        "{i: [i] * 1000 for i in range(10 ** 9)}",
        "10 ** 10 ** 10",
    ] {
        let error = error_within(&hosts, source, &limits).await;
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Memory, "it used more than 64 MiB of memory"),
            "{source}"
        );
        assert_eq!(value(&hosts, "value").await, json!(12), "after {source}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_work_ends_at_the_time_limit() {
    let hosts = hosts();
    let limits = Limits {
        time: Duration::from_millis(50),
        ..Limits::default()
    };
    for source in [
        "any(x < 0 for x in range(10 ** 18))",
        "sum(range(10 ** 18))",
        "all(True for a in range(10**9) for b in range(10**9) if False)",
        "sorted(str(n) for n in range(10 ** 6))",
    ] {
        let error = error_within(&hosts, source, &limits).await;
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Timeout, "it ran longer than 50 ms"),
            "{source}"
        );
        assert_eq!(value(&hosts, "value").await, json!(12), "after {source}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nests_too_deeply_is_an_error_and_no_crash() {
    let hosts = hosts();
    let nested = |open: &str, close: &str| {
        let times = 60_000 / (open.len() + close.len());
        format!("{}1{}", open.repeat(times), close.repeat(times))
    };
    for source in [
        nested("(", ")"),
        nested("[", "]"),
        nested("-", ""),
        nested("not ", ""),
        nested("2**", ""),
        nested("lambda: ", ""),
        nested("1 if 1 else ", ""),
        nested("1+", ""),
        nested("", "+1"),
        nested("", ".a"),
        nested("", "[0]"),
        nested("", "()"),
        nested("f(", ")"),
        nested("f'{", "}'"),
        "(lambda f: f(f))(lambda f: f(f))".to_owned(),
        "(lambda f: f(f))(lambda f: [f(f) for x in [1]])".to_owned(),
    ] {
        let error = error(&hosts, &source).await;
        assert!(
            matches!(error.kind, ErrorKind::Depth | ErrorKind::Syntax),
            "{}: {error}",
            &source[..20]
        );
    }
    assert_eq!(value(&hosts, "value").await, json!(12));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_evaluations_run_at_once_and_only_the_bad_one_fails() {
    let hosts = hosts();
    let limits = Limits {
        time: Duration::from_secs(60),
        ..Limits::default()
    };
    let bomb = "[[n] * 1000 for n in range(10 ** 9)]";
    let (bad, good) = tokio::join!(
        error_within(&hosts, bomb, &limits),
        value(&hosts, "sum(range(1000))")
    );
    assert_eq!((bad.kind, good), (ErrorKind::Memory, json!(499_500)));
    idle_host(&hosts);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_host_ends() {
    let hosts = hosts().with_idle_time(Duration::from_millis(20));
    value(&hosts, "1").await;
    wait_until("no idle host", SOON, async || match hosts.idle() {
        idle if idle.is_empty() => Ok(()),
        idle => Err(format!("{idle:?}")),
    })
    .await;
    assert_eq!(value(&hosts, "value").await, json!(12));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_has_its_pipes_and_nothing_else() {
    let hosts = hosts();
    value(&hosts, "1").await;
    let host = PathBuf::from(format!("/proc/{}", idle_host(&hosts)));
    assert_eq!(
        std::fs::read_to_string(host.join("environ")).unwrap(),
        "MALLOC_ARENA_MAX=1\0"
    );
    assert_eq!(
        std::fs::read_link(host.join("cwd")).unwrap(),
        Path::new("/")
    );
    let descriptors: Vec<String> = std::fs::read_dir(host.join("fd"))
        .unwrap()
        .map(|entry| {
            std::fs::read_link(entry.unwrap().path())
                .unwrap()
                .display()
                .to_string()
        })
        .collect();
    assert!(
        descriptors.iter().all(|target| target.starts_with("pipe:")) && descriptors.len() == 3,
        "{descriptors:?}"
    );
    let limits = std::fs::read_to_string(host.join("limits")).unwrap();
    for limit in ["Max address space", "Max core file size", "Max open files"] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        assert!(!line.contains("unlimited"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_start_is_said_to_and_may_be_tried_again() {
    for (binary, why) in [
        ("/nowhere/workflow-worker", "No such file"),
        ("/bin/false", "exit status: 1"),
    ] {
        let hosts = Hosts::default().with_binary(PathBuf::from(binary));
        match hosts
            .evaluate("1", &Scope::default(), &Limits::default())
            .await
        {
            Err(Unanswered::Machine(error)) => {
                assert!(error.contains(binary) && error.contains(why), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A program that takes requests and does not answer them, and the file that it writes its process id to.
fn silent_host() -> (PathBuf, PathBuf) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (program, id) = (
        directory.join("silent-host"),
        directory.join("silent-host.pid"),
    );
    let script = format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", id.display());
    // Written by another process: a program cannot be run while a child of this one has it open for writing.
    let status = Command::new("sh")
        .args(["-c", "printf %s \"$1\" > \"$2\" && chmod +x \"$2\"", "sh"])
        .args([script.as_str(), program.to_str().unwrap()])
        .status();
    assert!(status.unwrap().success());
    (program, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_answer_is_killed() {
    let (program, id) = silent_host();
    let hosts = Hosts::default().with_binary(program);
    let limits = Limits {
        time: Duration::from_millis(50),
        ..Limits::default()
    };
    let error = error_within(&hosts, "1", &limits).await;
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Timeout, "it ran longer than 50 ms")
    );
    let id = std::fs::read_to_string(id).unwrap().trim().parse().unwrap();
    wait_until_gone(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_none_costs_one_evaluation_and_the_host() {
    let hosts = Hosts::default().with_binary(PathBuf::from("/usr/bin/yes"));
    let error = error(&hosts, "1").await;
    assert_eq!(error.kind, ErrorKind::Crashed);
    assert!(hosts.idle().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_an_expression_mentions_is_sent() {
    let hosts = hosts();
    let big = vec![json!("x".repeat(100)); 1_000_000];
    let scope = scope(&json!({"big": big, "value": 12, "n-1_output": {"status": 200}, "größe": 3}));
    for (source, expected) in [
        ("input.value + value", json!(24)),
        ("input['n-1_output'].status", json!(200)),
        ("${n-1_output.status} + ${data.value}", json!(212)),
    ] {
        let value = hosts.evaluate(source, &scope, &Limits::default()).await;
        assert_eq!(value.unwrap(), expected, "{source}");
    }
    match hosts.evaluate("len(big)", &scope, &Limits::default()).await {
        Err(Unanswered::Expression(error)) => assert_eq!(error.kind, ErrorKind::Memory),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_permanent_if_the_expression_is_to_blame_and_retryable_if_the_machine_is() {
    let evaluate = async |hosts: Hosts, source: &str| {
        let evaluator = Evaluator::new(Limits::default(), 1).with_python(hosts);
        evaluator
            .test(
                "expression",
                Language::Python,
                source,
                scope(&json!({"list": []})),
            )
            .await
    };
    assert_eq!(evaluate(hosts(), "list").await, Ok(false));
    assert_eq!(evaluate(hosts(), "[list]").await, Ok(true));
    let permanent = evaluate(hosts(), "1 +").await.unwrap_err();
    assert_eq!(
        permanent,
        Failure::permanent(
            "expression \"1 +\": syntax error: expected an expression (at column 4)"
        )
        .of_type("ExpressionError")
    );
    let nowhere = Hosts::default().with_binary(PathBuf::from("/nowhere/workflow-worker"));
    let retryable = evaluate(nowhere, "1").await.unwrap_err();
    assert_eq!(retryable.kind, FailureKind::Retryable);
}

/// The hosts that this worker has started.
fn hosts_of(worker: u32) -> Vec<u32> {
    let parent = format!(") S {worker} ");
    let running = format!(") R {worker} ");
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| {
            std::fs::read_to_string(format!("/proc/{id}/stat"))
                .is_ok_and(|stat| stat.contains(&parent) || stat.contains(&running))
        })
        .filter(|id| {
            std::fs::read_to_string(format!("/proc/{id}/cmdline"))
                .is_ok_and(|line| line.contains("python-host"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_gone_when_the_worker_is_killed_even_in_the_middle_of_an_evaluation() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let endless =
        json!({ "condition_type": "python", "expression": "all(n >= 0 for n in range(10 ** 18))" });
    let workflow = insert_workflow(
        &client,
        &chain(vec![trigger(), node("c", "condition", endless)]),
    )
    .await;
    let mut worker = WorkerProcess::spawn(
        &database.url(),
        &[("WORKFLOW_EXPRESSION_TIMEOUT_MS", "60000")],
    );
    insert(&client, workflow).await;
    let id = worker.id();
    let host = wait_until("a host", SOON, async || {
        hosts_of(id).first().copied().ok_or("none")
    })
    .await;
    worker.kill9();
    wait_until_gone(host).await;
}
