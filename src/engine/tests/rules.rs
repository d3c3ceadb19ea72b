//! Each rule by an example.

use serde_json::json;

use super::script::{Script, Wanted, at, object, run, script};
use crate::engine::{
    Event, FailureKind, IllegalEvent, LastFailure, NodeResult, Origin, State, StepStatus, TokenId,
    WaitReason,
};

const PERMANENT: FailureKind = FailureKind::Permanent;
const RETRYABLE: FailureKind = FailureKind::Retryable;

#[test]
fn a_chain_runs_node_by_node_and_completes_once() {
    let script = script("a>b b>c")
        .start()
        .expects([run("a")])
        .finishes("a")
        .expects([run("b")])
        .finishes("b")
        .expects([run("c")])
        .finishes("c")
        .is(&State::Completed)
        .expects([Wanted::Complete])
        .expects([]);
    assert_eq!(script.recorded(), ["a", "b", "c"]);
    assert_eq!(
        script.steps.iter().map(|step| step.seq).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(*script.last_step().output, object(&json!({"from": "c"})));
    assert_eq!(script.last_step().node_type, "map");
}

#[test]
fn an_empty_graph_completes_at_once() {
    script("")
        .start()
        .expects([Wanted::Complete])
        .is(&State::Completed);
}

#[test]
fn nothing_is_asked_for_before_the_start() {
    script("a>b")
        .expects([])
        .is(&State::Running {
            in_flight: 0,
            runnable: 1,
        })
        .start()
        .expects([run("a")]);
}

#[test]
fn branches_run_side_by_side_and_may_be_of_any_length() {
    script("t>a t>b a>a2 a2>end b>end")
        .start()
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b")])
        .is(&State::Running {
            in_flight: 2,
            runnable: 0,
        })
        .finishes("b")
        .expects([])
        .finishes("a")
        .expects([run("a2")])
        .finishes("a2")
        .expects([run("end")])
        .finishes("end")
        .expects([Wanted::Complete]);
}

#[test]
fn a_join_does_not_wait_for_a_branch_that_ends() {
    script("t>a t>b a>end:yes b>end")
        .start()
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b")])
        .finishes("b")
        .expects([])
        .decides("a", "no")
        .expects([run("end")])
        .finishes("end")
        .expects([Wanted::Complete]);
}

#[test]
fn a_join_does_not_wait_for_a_branch_that_took_another_way() {
    script("t>a t>b a>end:yes a>other:no b>end other>last")
        .start()
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b")])
        .finishes("b")
        .decides("a", "no")
        .expects([run("end"), run("other")]);
}

#[test]
fn a_join_waits_for_another_join_on_its_way() {
    script("t>a t>b t>c a>j b>j j>k c>k")
        .start()
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b"), run("c")])
        .finishes("c")
        .expects([])
        .finishes("a")
        .expects([])
        .finishes("b")
        .expects([run("j")])
        .finishes("j")
        .expects([run("k")]);
}

#[test]
fn a_node_that_decides_takes_its_branch_and_the_edges_without_one() {
    script("a>yes:true a>no:false a>always")
        .start()
        .expects([run("a")])
        .decides("a", "true")
        .expects([run("yes"), run("always")]);
}

#[test]
fn a_node_that_does_not_decide_takes_all_edges() {
    script("a>yes:true a>no:false")
        .start()
        .expects([run("a")])
        .finishes("a")
        .expects([run("yes"), run("no")]);
}

#[test]
fn a_path_without_a_matching_edge_ends_there() {
    script("a>b:true")
        .start()
        .expects([run("a")])
        .decides("a", "false")
        .expects([Wanted::Complete]);
}

#[test]
fn two_branches_to_one_node_are_one_token() {
    let script = script("a>b:true a>b:false")
        .start()
        .expects([run("a")])
        .finishes("a")
        .expects([run("b")]);
    assert_eq!(script.last_run(), ("b".into(), 1, 1, None));
}

#[test]
fn a_retryable_failure_waits_and_is_tried_again() {
    let script = script("a>b")
        .start()
        .expects([run("a")])
        .fails("a", RETRYABLE)
        .expects([])
        .is(&State::Waiting {
            until: Some(at(1)),
            reason: WaitReason::Retry,
        });
    assert_eq!(script.last_step().status, StepStatus::Failed);
    assert_eq!(script.last_step().error.as_deref(), Some("no"));
    assert_eq!(
        script.machine.last_failure(),
        Some(LastFailure {
            node: &"a".into(),
            message: "Node a failed: no",
            retry_at: Some(at(1)),
            retry: 1,
            max_retries: 3
        })
    );
    let script = script.passes(1).expects([run("a")]);
    assert_eq!(script.last_run(), ("a".into(), 1, 2, None));
    let script = script.finishes("a").expects([run("b")]);
    assert_eq!(script.machine.last_failure(), None);
    assert_eq!(script.machine.retry_count(), 1);
    assert_eq!(script.last_step().attempt, 2);
}

#[test]
fn the_fourth_failure_is_final() {
    let script = script("a>b")
        .start()
        .expects([run("a")])
        .fails("a", RETRYABLE)
        .passes(1)
        .expects([run("a")])
        .fails("a", RETRYABLE)
        .passes(2)
        .expects([run("a")])
        .fails("a", RETRYABLE)
        .passes(4)
        .expects([run("a")])
        .fails("a", RETRYABLE)
        .expects([Wanted::Fail("Node a failed: no".to_owned())])
        .is(&State::Failed {
            node: "a".into(),
            message: "Node a failed: no".to_owned(),
        })
        .expects([]);
    assert_eq!(script.machine.next_deadline(), None);
    let failure = script.machine.last_failure().unwrap();
    assert_eq!(
        (failure.retry_at, failure.retry, failure.max_retries),
        (None, 3, 3)
    );
    assert_eq!(failure.message, "Node a failed: no");
}

#[test]
fn the_execution_has_one_budget_of_retries() {
    script("t>a t>b")
        .start()
        .expects([run("t")])
        .fails("t", RETRYABLE)
        .passes(1)
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b")])
        .fails("a", RETRYABLE)
        .fails("b", RETRYABLE)
        .passes(2)
        .expects([run("a")])
        .fails("a", RETRYABLE)
        .expects([Wanted::Fail("Node a failed: no".to_owned())]);
}

#[test]
fn other_branches_go_on_while_a_failed_node_waits() {
    script("t>a t>b b>c a>end c>end")
        .start()
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b")])
        .fails("a", RETRYABLE)
        .finishes("b")
        .expects([run("c")])
        .finishes("c")
        .expects([])
        .passes(1)
        .expects([run("a")])
        .finishes("a")
        .expects([run("end")]);
}

#[test]
fn a_permanent_failure_ends_the_execution_at_once() {
    let script = script("t>a t>b b>c")
        .start()
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b")])
        .fails("a", PERMANENT)
        .expects([Wanted::Fail("Node a failed: no".to_owned())])
        // An answer that was already on its way is recorded, and leads to nothing.
        .finishes("b")
        .expects([]);
    assert_eq!(script.recorded(), ["t", "a", "b"]);
    assert_eq!(script.machine.current_node(), Some(&"a".into()));
}

#[test]
fn a_sleeping_node_finishes_at_its_time_with_its_output() {
    let output = object(&json!({"slept": true}));
    let script = script("a>b")
        .start()
        .expects([run("a")])
        .ends(
            "a",
            NodeResult::SleepUntil {
                at: at(10),
                output: output.clone(),
            },
        )
        .is(&State::Waiting {
            until: Some(at(10)),
            reason: WaitReason::Sleep,
        })
        .passes(9)
        .expects([]);
    assert_eq!(script.steps.len(), 0);
    let script = script.passes(1).expects([run("b")]);
    let step = script.last_step();
    assert_eq!(
        (step.started_at, step.finished_at, &step.output),
        (at(0), at(10), &output.into())
    );
}

#[test]
fn a_sleep_that_is_over_finishes_at_once() {
    script("a>b")
        .start()
        .expects([run("a")])
        .ends(
            "a",
            NodeResult::SleepUntil {
                at: at(-5),
                output: object(&json!({})),
            },
        )
        .expects([run("b")]);
}

#[test]
fn a_node_that_is_not_finished_is_run_again_and_knows_since_when() {
    let script = script("a>b")
        .start()
        .expects([run("a")])
        .ends("a", NodeResult::RecheckAt { at: at(5) })
        .is(&State::Waiting {
            until: Some(at(5)),
            reason: WaitReason::Recheck,
        })
        .passes(5)
        .expects([run("a")])
        .ends("a", NodeResult::RecheckAt { at: at(10) })
        .passes(5)
        .expects([run("a")]);
    assert_eq!(script.last_run(), ("a".into(), 1, 1, Some(at(0))));
    let script = script.finishes("a").expects([run("b")]);
    assert_eq!(
        (
            script.last_step().started_at,
            script.last_step().finished_at
        ),
        (at(0), at(10))
    );
}

#[test]
fn the_nearest_deadline_comes_first() {
    let script = script("t>a t>b")
        .start()
        .expects([run("t")])
        .finishes("t")
        .expects([run("a"), run("b")])
        .ends(
            "a",
            NodeResult::SleepUntil {
                at: at(60),
                output: object(&json!({})),
            },
        )
        .fails("b", RETRYABLE);
    assert_eq!(script.machine.next_deadline(), Some(at(1)));
}

#[test]
fn an_execution_can_start_in_the_middle_with_retries_used() {
    let origin = Origin {
        start_at: Some("j".into()),
        retry_count: 3,
    };
    let graph = script("t>a t>b a>j b>j j>k").machine.graph().clone();
    Script::on(graph, None, &origin)
        .start()
        .expects([run("j")])
        .finishes("j")
        .expects([run("k")])
        .fails("k", RETRYABLE)
        .expects([Wanted::Fail("Node k failed: no".to_owned())]);
}

#[test]
fn an_answer_counts_once_and_only_for_a_node_in_flight() {
    let mut script = script("a>b").start().expects([run("a")]);
    let answer = |token| Event::NodeFinished {
        token,
        result: NodeResult::Success {
            output: object(&json!({})),
            branch: None,
        },
        started_at: at(0),
    };
    let token = script.machine.in_flight().next().unwrap().0;
    assert_eq!(
        script.machine.apply(Event::Start, at(0)),
        Err(IllegalEvent::AlreadyStarted)
    );
    assert!(script.machine.apply(answer(token), at(0)).is_ok());
    assert_eq!(
        script.machine.apply(answer(token), at(0)),
        Err(IllegalEvent::NotInFlight { token })
    );
    let unknown = TokenId(99);
    assert_eq!(
        script.machine.apply(answer(unknown), at(0)),
        Err(IllegalEvent::NotInFlight { token: unknown })
    );
    script.expects([run("b")]);
}

#[test]
fn no_event_comes_before_the_start() {
    let mut script = script("a>b");
    assert_eq!(
        script.machine.apply(Event::DeadlinePassed, at(0)),
        Err(IllegalEvent::NotStarted)
    );
}

#[test]
fn a_time_out_is_tried_again_and_worded_as_the_contract_has_it() {
    let script = script("a>b").start().expects([run("a")]).ends(
        "a",
        NodeResult::failure(
            FailureKind::TimedOut,
            "TimeoutError",
            "timed out after 3 seconds",
        ),
    );
    let failure = script.machine.last_failure().unwrap();
    assert_eq!(failure.message, "Node a timed out after 3 seconds");
    assert_eq!(failure.retry_at, Some(at(1)));
}

#[test]
fn new_data_brings_a_waiting_node_its_recheck_at_once() {
    script("a>b")
        .start()
        .expects([run("a")])
        .ends("a", NodeResult::RecheckAt { at: at(3_600) })
        .expects([])
        .happens(Event::DataChanged)
        .expects([run("a")])
        .finishes("a")
        .expects([run("b")]);
}
