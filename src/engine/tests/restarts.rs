//! What a checkpoint carries over a worker's death.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::script::{Script, Wanted, at, graph, graph_with, object, run, script};
use crate::engine::{
    Awaited, BadCheckpoint, Bounds, Checkpoint, FailureKind, History, Machine, NodeResult, Origin,
    State, StepStatus, WaitReason,
};
use crate::retry::RetryPolicy;

#[test]
fn what_had_failed_for_good_goes_on_with_all_its_retries() {
    let all = |mut script: Script| {
        for seconds in [1, 2, 4] {
            script = script
                .expects([run("a")])
                .fails("a", FailureKind::Retryable)
                .passes(seconds);
        }
        script
            .expects([run("a")])
            .fails("a", FailureKind::Retryable)
            .expects([Wanted::Fail("Node a failed: no".to_owned())])
    };
    let script = all(all(script("a>b").start()).restarts());
    assert_eq!(script.last_step().attempt, 8, "attempts are counted on");
}

#[test]
fn what_had_failed_for_good_goes_on_with_the_retries_of_its_node() {
    let graph = Arc::new(graph_with("a>b", &[("a", json!({ "retries": 1 }))]));
    let both = |script: Script| {
        script
            .expects([run("a")])
            .fails("a", FailureKind::Retryable)
            .passes(1)
            .expects([run("a")])
            .fails("a", FailureKind::Retryable)
            .expects([Wanted::Fail("Node a failed: no".to_owned())])
    };
    both(both(Script::on(graph, None, &Origin::default()).start()).restarts());
}

fn restored(
    edges: &str,
    checkpoint: Option<Checkpoint>,
    start_at: Option<&str>,
) -> Result<Machine, BadCheckpoint> {
    let origin = Origin {
        start_at: start_at.map(Into::into),
        ..Origin::default()
    };
    Machine::restore(
        Arc::new(graph(edges)),
        checkpoint,
        &origin,
        &History::default(),
        (RetryPolicy::default(), Bounds::default()),
    )
}

#[test]
fn a_node_in_flight_runs_again_as_the_same_attempt() {
    let script = script("a>b")
        .start()
        .expects([run("a")])
        .finishes("a")
        .expects([run("b")])
        .restarts();
    let script = script.expects([run("b")]);
    assert_eq!(script.last_run(), ("b".into(), 1, 1, None));
    let script = script.finishes("b").expects([Wanted::Complete]);
    assert_eq!(script.recorded(), ["a", "b"]);
    assert_eq!(script.last_step().seq, 2);
}

#[test]
fn a_join_goes_on_waiting_for_what_is_still_on_its_way() {
    script("t>a t>b a>end b>end")
        .start()
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b")])
        .finishes("a")
        .restarts()
        .expects([run("b")])
        .finishes("b")
        .restarts()
        .expects([run("end")]);
}

#[test]
fn a_sleep_ends_at_its_time_on_another_worker() {
    let output = object(&json!({"n": 1}));
    let mut script = script("a>b")
        .start()
        .expects([run("a")])
        .ends(
            "a",
            NodeResult::SleepUntil {
                at: at(5),
                output: output.clone(),
            },
        )
        .restarts()
        .is(&State::Waiting {
            until: Some(at(5)),
            reason: WaitReason::Sleep,
        });
    script.now = at(7);
    let script = script.restarts().expects([run("b")]);
    assert_eq!(*script.last_step().output, output);
    assert_eq!(
        (
            script.last_step().started_at,
            script.last_step().finished_at
        ),
        (at(0), at(7))
    );
}

#[test]
fn a_wait_for_a_retry_and_its_reason_survive() {
    let script = script("a>b")
        .start()
        .expects([run("a")])
        .fails("a", FailureKind::Retryable)
        .restarts();
    assert_eq!(script.machine.retry_count(), 1);
    assert_eq!(
        script.machine.last_failure().unwrap().message,
        "Node a failed: no"
    );
    let script = script.expects([]).passes(1).expects([run("a")]);
    assert_eq!(script.last_run(), ("a".into(), 1, 2, None));
}

#[test]
fn a_node_that_waits_knows_since_when() {
    let script = script("a>b")
        .start()
        .expects([run("a")])
        .ends("a", NodeResult::RecheckAt { at: at(3) })
        .restarts()
        .passes(3)
        .restarts()
        .expects([run("a")]);
    assert_eq!(script.last_run(), ("a".into(), 1, 1, Some(at(0))));
}

#[test]
fn a_failed_execution_goes_on_where_it_failed() {
    let script = script("t>a t>b a>c")
        .start()
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b")])
        .fails("a", FailureKind::Permanent)
        .expects([Wanted::Fail("Node a failed: no".to_owned())])
        .restarts()
        .expects([run("a"), run("b")])
        .finishes("b")
        .finishes("a")
        .expects([run("c")])
        .finishes("c")
        .expects([Wanted::Complete]);
    let a: Vec<_> = script
        .steps
        .iter()
        .filter(|step| step.node.as_str() == "a")
        .collect();
    assert_eq!((a[0].attempt, a[0].status), (1, StepStatus::Failed));
    assert_eq!((a[1].attempt, a[1].status), (2, StepStatus::Success));
}

#[test]
fn a_completed_execution_completes_again_and_runs_nothing() {
    script("a>b:x")
        .start()
        .expects([run("a")])
        .decides("a", "y")
        .expects([Wanted::Complete])
        .restarts()
        .is(&State::Completed)
        .expects([Wanted::Complete]);
}

#[test]
fn a_checkpoint_is_readable_and_follows_the_live_tokens() {
    let mut script = script("a>b b>c")
        .start()
        .expects([run("a")])
        .finishes("a")
        .expects([run("b")]);
    let json: Value =
        serde_json::from_str(&script.machine.checkpoint().to_json().unwrap()).unwrap();
    assert_eq!(
        json,
        json!({"v": 1, "seq": 1, "next": 3, "retries": 0,
               "tokens": [{"id": 2, "node": "b", "visit": 1, "attempt": 1, "state": "run"}]})
    );
    script = script.finishes("b");
    assert_eq!(script.machine.live_tokens(), 1);
}

#[test]
fn a_newer_version_of_any_shape_is_refused() {
    let error = Checkpoint::from_json(r#"{"v":3,"things":[]}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the checkpoint has version 3, this worker knows versions up to 2: it needs a newer worker"
    );
    let error = Checkpoint::from_json("[]").unwrap_err();
    assert!(matches!(error, BadCheckpoint::Unreadable(_)));
}

#[test]
fn a_checkpoint_of_another_graph_is_refused() {
    let checkpoint = script("a>b").machine.checkpoint();
    let error = restored("x>y", Some(checkpoint), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the checkpoint has a token at node "a", which is not in the graph"#
    );
}

#[test]
fn a_start_at_an_unknown_node_is_refused() {
    let error = restored("a>b", None, Some("c")).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the execution is to start at node "c", which is not in the graph"#
    );
}

#[test]
fn recorded_visits_are_counted_on() {
    let steps = script("a>b")
        .start()
        .expects([run("a")])
        .finishes("a")
        .steps;
    let history = History::from_steps(&steps);
    let graph = Arc::new(graph("a>b"));
    let machine = Machine::restore(
        graph,
        None,
        &Origin::default(),
        &history,
        (RetryPolicy::default(), Bounds::default()),
    )
    .unwrap();
    let script = Script {
        machine,
        steps: Vec::new(),
        ..script("a>b")
    }
    .start()
    .expects([run("a")]);
    assert_eq!(script.last_run(), ("a".into(), 2, 1, None));
    assert_eq!(script.finishes("a").last_step().seq, 2);
}

#[test]
fn a_retry_may_be_run_before_its_time() {
    let mut script = script("t>a t>b")
        .start()
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b")])
        .fails("a", FailureKind::Retryable)
        .fails("b", FailureKind::Retryable)
        .restarts()
        .expects([]);
    script.machine.retry_now(true);
    let mut script = script.expects([run("a")]);
    assert_eq!(script.last_run(), ("a".into(), 1, 2, None));
    script.machine.retry_now(false);
    let script = script.expects([run("b")]);
    assert_eq!(script.last_run(), ("b".into(), 1, 2, None));
}

#[test]
fn what_an_execution_had_asked_when_it_was_ended_from_outside_it_asks_afresh() {
    let wait = NodeResult::Await {
        wait: Awaited::Child {
            id: uuid::Uuid::nil(),
            name: "exec-0".to_owned(),
            output: Map::new(),
        },
        until: None,
    };
    let sleep = NodeResult::SleepUntil {
        at: at(50),
        output: Map::new(),
    };
    let script = script("t>a t>b")
        .start()
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b")])
        .ends("a", wait)
        .ends("b", sleep);
    let limit = Some(Duration::from_micros(1_500_001));
    let saved = script.machine.checkpoint().with_time_limit(limit);
    let saved = Checkpoint::from_json(&saved.asking_afresh().to_json().unwrap()).unwrap();
    assert_eq!(saved.time_limit(), Some(Duration::from_millis(1_501)));
    let graph = Arc::clone(script.machine.graph());
    let script = Script::on(graph, Some(saved), &Origin::default()).start();
    let script = script.expects([run("a")]);
    assert_eq!(script.last_run(), ("a".into(), 1, 2, None));
}
