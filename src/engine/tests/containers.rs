//! Loops, `try`, and branches with a rule of their own.

use std::sync::Arc;

use serde_json::{Value, json};

use super::script::{Script, Wanted, graph_with, object, run, script};
use crate::engine::{
    Awaited, Edge, Event, FailureKind, Graph, NodeResult, Origin, Rounds, SignalWait, Step,
    StepStatus,
};

fn on(edges: &str, configs: &[(&str, Value)]) -> Script {
    Script::on(
        Arc::new(graph_with(edges, configs)),
        None,
        &Origin::default(),
    )
    .start()
}

fn items(values: &Value) -> NodeResult {
    NodeResult::Iterate(Rounds::Items(values.as_array().unwrap().clone()))
}

fn times(count: u32) -> NodeResult {
    NodeResult::Iterate(Rounds::Times(count))
}

fn next(goes_on: bool) -> NodeResult {
    NodeResult::Iterate(Rounds::Next(goes_on))
}

impl Script {
    /// The output of the last step that a node ended with.
    fn output(&self, node: &str) -> Value {
        let step = self
            .steps
            .iter()
            .rev()
            .find(|step| step.node.as_str() == node && step.status != StepStatus::Opened);
        Value::Object((*step.unwrap().output).clone())
    }

    fn local(&self, name: &str) -> Value {
        let Some(crate::engine::Command::RunNode { locals, .. }) = self.commands.last() else {
            panic!("no node was to be run");
        };
        let found = locals.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    fn statuses(&self, node: &str) -> Vec<&str> {
        let of_node = |step: &&Step| step.node.as_str() == node;
        self.steps
            .iter()
            .filter(of_node)
            .map(|step| step.status.as_str())
            .collect()
    }
}

#[test]
fn a_loop_without_labels_runs_all_that_follows_once_for_each_item() {
    let mut script = on("t>loop loop>a a>b", &[])
        .expects([run("t")])
        .finishes("t")
        .expects([run("loop")])
        .ends("loop", items(&json!(["x", "y"])));
    for (index, item) in ["x", "y"].into_iter().enumerate() {
        script = script.expects([run("a")]);
        assert_eq!(script.local("item"), json!(item));
        assert_eq!(script.local("index"), json!(index));
        assert_eq!(script.local("loop")["total"], 2);
        script = script.finishes("a").expects([run("b")]).finishes("b");
    }
    let script = script.expects([Wanted::Complete]);
    assert_eq!(script.recorded(), ["t", "loop", "a", "b", "a", "b", "loop"]);
    assert_eq!(
        script.output("loop"),
        json!({"loop_type": "for", "iterations": 2, "results": [{"from": "b"}, {"from": "b"}], "broken": false})
    );
    assert_eq!(&*script.steps[4].scope, "loop[1]");
    assert!(script.steps[3].is_end && !script.steps[2].is_end);
}

#[test]
fn a_path_back_makes_the_body_and_the_other_edges_are_taken_at_the_end() {
    on("loop>a a>loop loop>after", &[])
        .expects([run("loop")])
        .ends("loop", times(2))
        .expects([run("a")])
        .finishes("a")
        .expects([run("a")])
        .finishes("a")
        .expects([run("after")])
        .finishes("after")
        .expects([Wanted::Complete]);
}

#[test]
fn an_edge_out_of_the_body_is_taken_once_the_loop_has_ended() {
    on("loop>a a>loop a>after", &[])
        .expects([run("loop")])
        .ends("loop", times(2))
        .expects([run("a")])
        .finishes("a")
        .expects([run("a")])
        .finishes("a")
        .expects([run("after")])
        .finishes("after")
        .expects([Wanted::Complete]);
}

#[test]
fn labels_decide_what_the_body_is() {
    on("loop>a:body a>log loop>b:done", &[])
        .expects([run("loop")])
        .ends("loop", times(2))
        .expects([run("a")])
        .finishes("a")
        .expects([run("log")])
        .finishes("log")
        .expects([run("a")])
        .finishes("a")
        .expects([run("log")])
        .finishes("log")
        .expects([run("b")])
        .finishes("b")
        .expects([Wanted::Complete]);
}

#[test]
fn a_while_loop_is_asked_before_each_round() {
    let script = on("loop>a:body loop>b:done", &[])
        .expects([run("loop")])
        .ends("loop", next(true))
        .expects([run("a")])
        .finishes("a")
        .expects([run("loop")])
        .ends("loop", next(true))
        .restarts()
        .expects([run("a")])
        .finishes("a")
        .restarts()
        .expects([run("loop")])
        .ends("loop", next(false))
        .expects([run("b")])
        .finishes("b")
        .expects([Wanted::Complete]);
    assert_eq!(script.output("loop")["iterations"], 2);
    assert_eq!(script.output("loop")["results"][1], json!({"from": "a"}));
}

#[test]
fn loops_without_anything_to_do_end_at_once() {
    for rounds in [items(&json!([])), times(0), next(false)] {
        on("loop>a:body loop>b:done", &[])
            .expects([run("loop")])
            .ends("loop", rounds)
            .expects([run("b")]);
    }
    // A body without nodes is done as often as it is told.
    let script = on("t>loop", &[])
        .expects([run("t")])
        .finishes("t")
        .expects([run("loop")])
        .ends("loop", times(10_000))
        .expects([Wanted::Complete]);
    assert_eq!(script.output("loop")["iterations"], 10_000);
}

#[test]
fn too_many_rounds_fail_with_the_number_and_the_setting() {
    on("loop>a", &[])
        .expects([run("loop")])
        .ends("loop", times(10_001))
        .expects([Wanted::Fail(
            "Node loop failed: the loop is to run 10001 times; at most 10000 are allowed \
             (WORKFLOW_MAX_LOOP_ITERATIONS)"
                .to_owned(),
        )]);
}

#[test]
fn nested_loops_have_their_own_rounds_and_names() {
    let edges = "loop1>a a>loop2 loop2>b b>loop2 loop2>c c>loop1 loop1>d";
    let configs = [("loop2", json!({"loop_variable": "inner"}))];
    let mut script = on(edges, &configs)
        .expects([run("loop1")])
        .ends("loop1", items(&json!([1, 2])));
    for outer in 1..=2 {
        script = script
            .expects([run("a")])
            .finishes("a")
            .expects([run("loop2")])
            .ends("loop2", items(&json!(["p", "q"])));
        for inner in ["p", "q"] {
            script = script.expects([run("b")]);
            assert_eq!(script.local("inner"), json!(inner));
            assert_eq!(script.local("item"), json!(outer));
            script = script.restarts().expects([run("b")]).finishes("b");
        }
        script = script.expects([run("c")]).finishes("c");
    }
    let script = script
        .expects([run("d")])
        .finishes("d")
        .expects([Wanted::Complete]);
    let last_b = script.steps.iter().rfind(|step| step.node.as_str() == "b");
    assert_eq!(&*last_b.unwrap().scope, "loop1[1]/loop2@2[1]");
    assert_eq!(
        script.output("loop1")["results"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn break_and_continue_leave_the_loop_and_the_round() {
    let edges = "loop>a a>continue:skip a>break:stop a>b:go loop>after:done";
    let script = on(edges, &[("loop", json!({"loop_label": "rows"}))])
        .expects([run("loop")])
        .ends("loop", items(&json!([1, 2, 3, 4])))
        .expects([run("a")])
        .decides("a", "skip")
        .expects([run("continue")])
        .finishes("continue")
        .expects([run("a")])
        .decides("a", "go")
        .expects([run("b")])
        .finishes("b")
        .expects([run("a")])
        .decides("a", "stop")
        .expects([run("break")])
        .ends(
            "break",
            NodeResult::Success {
                output: object(&json!({"loop_label": "rows"})),
                branch: None,
            },
        )
        .expects([run("after")])
        .finishes("after")
        .expects([Wanted::Complete]);
    assert_eq!(
        script.output("loop"),
        json!({"loop_type": "for", "iterations": 3, "results": [null, {"from": "b"}, null], "broken": true})
    );
}

#[test]
fn break_outside_of_a_loop_fails() {
    on("a>break", &[])
        .expects([run("a")])
        .finishes("a")
        .expects([run("break")])
        .finishes("break")
        .expects([Wanted::Fail(
            "Node break failed: break stands in no loop".to_owned(),
        )]);
}

#[test]
fn rounds_run_side_by_side_up_to_the_limit_and_results_keep_their_order() {
    let configs = [("loop", json!({"parallel": true, "parallel_limit": 2}))];
    let script = on("loop>a", &configs)
        .expects([run("loop")])
        .ends("loop", items(&json!([1, 2, 3])));
    // Both run; the script tells nodes of one name apart by their tokens.
    let mut script = script.expects([run("a"), run("a")]);
    let tokens: Vec<_> = script.machine.in_flight().map(|(token, _)| token).collect();
    let end = |script: Script, token, n: i32| {
        script.happens(Event::NodeFinished {
            token,
            result: NodeResult::Success {
                output: object(&json!({"n": n})),
                branch: None,
            },
            started_at: super::script::at(0),
        })
    };
    script = end(script, tokens[1], 2).expects([run("a")]);
    let third = script
        .machine
        .in_flight()
        .map(|(token, _)| token)
        .last()
        .unwrap();
    script = end(script, third, 3);
    script = end(script, tokens[0], 1).expects([Wanted::Complete]);
    assert_eq!(
        script.output("loop")["results"],
        json!([{"n": 1}, {"n": 2}, {"n": 3}])
    );
    assert_eq!(&*script.steps[1].scope, "loop[*1]");
}

#[test]
fn a_failed_round_goes_on_where_it_failed() {
    on("loop>a a>b", &[])
        .expects([run("loop")])
        .ends("loop", items(&json!([1, 2])))
        .expects([run("a")])
        .finishes("a")
        .expects([run("b")])
        .fails("b", FailureKind::Permanent)
        .expects([Wanted::Fail("Node b failed: no".to_owned())])
        .restarts()
        .expects([run("b")])
        .finishes("b")
        .expects([run("a")]);
}

/// As the builder saves it: one line without labels.
const LINE: &str = "t>try try>risky risky>catch catch>finally finally>after";

#[test]
fn an_error_goes_to_the_catch_and_on_through_finally() {
    let script = on(LINE, &[])
        .expects([run("t")])
        .finishes("t")
        .expects([run("try")])
        .finishes("try")
        .expects([run("risky")])
        .fails("risky", FailureKind::Permanent)
        .expects([run("catch")]);
    assert_eq!(script.local("error")["message"], "no");
    assert_eq!(script.local("error")["node_id"], "risky");
    let script = script
        .finishes("catch")
        .expects([run("finally")])
        .finishes("finally")
        .expects([run("after")]);
    assert_eq!(script.local("error")["type"], "Error");
    let script = script.finishes("after").expects([Wanted::Complete]);
    assert_eq!(script.output("try")["outcome"], "caught");
}

#[test]
fn without_an_error_the_catch_is_skipped() {
    let script = on(LINE, &[])
        .expects([run("t")])
        .finishes("t")
        .expects([run("try")])
        .finishes("try")
        .expects([run("risky")])
        .finishes("risky")
        .expects([run("finally")])
        .finishes("finally")
        .expects([run("after")])
        .finishes("after")
        .expects([Wanted::Complete]);
    assert_eq!(script.statuses("catch"), ["skipped"]);
    assert_eq!(
        script.output("try"),
        json!({"outcome": "success", "error": null, "result": {"from": "risky"}})
    );
}

#[test]
fn without_a_finally_what_follows_the_catch_runs_in_both_cases() {
    let begun = || {
        on("try>risky risky>catch catch>after", &[])
            .expects([run("try")])
            .finishes("try")
            .expects([run("risky")])
    };
    begun().finishes("risky").expects([run("after")]);
    begun()
        .fails("risky", FailureKind::Permanent)
        .expects([run("catch")])
        .finishes("catch")
        .expects([run("after")])
        .finishes("after")
        .expects([Wanted::Complete]);
}

#[test]
fn an_edge_to_the_catch_beside_another_is_for_errors_only() {
    on("try>risky risky>next risky>catch", &[])
        .expects([run("try")])
        .finishes("try")
        .expects([run("risky")])
        .finishes("risky")
        .expects([run("next")])
        .finishes("next")
        .expects([Wanted::Complete]);
}

#[test]
fn the_retries_come_first_and_are_given_back() {
    let mut script = on("try>risky risky>catch catch>after", &[])
        .expects([run("try")])
        .finishes("try");
    for wait in [1, 2, 4] {
        script = script
            .expects([run("risky")])
            .fails("risky", FailureKind::Retryable)
            .expects([])
            .passes(wait);
    }
    script = script
        .expects([run("risky")])
        .fails("risky", FailureKind::Retryable)
        .expects([run("catch")])
        .finishes("catch")
        .expects([run("after")])
        .fails("after", FailureKind::Retryable)
        .expects([])
        .passes(1)
        .expects([run("after")]);
    assert_eq!(script.machine.retry_count(), 4);
}

#[test]
fn a_catch_takes_the_errors_that_it_names() {
    let begun = |names: &str| {
        let configs = [("catch", json!({"error_type": names}))];
        on("try>risky risky>catch", &configs)
            .expects([run("try")])
            .finishes("try")
            .expects([run("risky")])
            .ends(
                "risky",
                NodeResult::failure(FailureKind::Permanent, "HTTPError", "HTTP 404: Not Found"),
            )
    };
    for names in [
        "",
        "any",
        "Exception",
        "HTTPError",
        "x, http",
        "map",
        "HTTP 404",
    ] {
        begun(names).expects([run("catch")]);
    }
    for names in ["TimeoutError", "HTTP 500"] {
        begun(names).expects([Wanted::Fail(
            "Node risky failed: HTTP 404: Not Found".to_owned(),
        )]);
    }
}

#[test]
fn finally_runs_also_when_nothing_catches_and_the_error_goes_on() {
    let script = on("try>risky risky>finally finally>after", &[])
        .expects([run("try")])
        .finishes("try")
        .expects([run("risky")])
        .fails("risky", FailureKind::Permanent)
        .restarts()
        .expects([run("finally")])
        .finishes("finally")
        .expects([Wanted::Fail("Node risky failed: no".to_owned())]);
    // A later retry tries again as a whole.
    script.restarts().expects([run("try")]);
}

#[test]
fn an_error_in_the_catch_goes_outwards_after_finally() {
    on(
        "try1>try2 try2>risky risky>catch2 catch2>finally2 finally2>catch1 catch1>after",
        &[],
    )
    .expects([run("try1")])
    .finishes("try1")
    .expects([run("try2")])
    .finishes("try2")
    .expects([run("risky")])
    .fails("risky", FailureKind::Permanent)
    .expects([run("catch2")])
    .fails("catch2", FailureKind::Permanent)
    .expects([run("finally2")])
    .finishes("finally2")
    .expects([run("catch1")])
    .restarts()
    .expects([run("catch1")])
    .finishes("catch1")
    .expects([run("after")])
    .finishes("after")
    .expects([Wanted::Complete]);
}

#[test]
fn a_break_out_of_a_try_runs_its_finally() {
    on("loop>try try>break break>finally loop>after:done", &[])
        .expects([run("loop")])
        .ends("loop", times(5))
        .expects([run("try")])
        .finishes("try")
        .expects([run("break")])
        .finishes("break")
        .expects([run("finally")])
        .finishes("finally")
        .expects([run("after")]);
}

#[test]
fn an_error_in_a_loop_inside_a_try_is_caught_and_the_loop_is_gone() {
    on("try>loop loop>a a>loop loop>catch catch>after", &[])
        .expects([run("try")])
        .finishes("try")
        .expects([run("loop")])
        .ends("loop", times(3))
        .expects([run("a")])
        .fails("a", FailureKind::Permanent)
        .expects([run("catch")])
        .restarts()
        .expects([run("catch")])
        .finishes("catch")
        .expects([run("after")])
        .finishes("after")
        .expects([Wanted::Complete]);
}

#[test]
fn a_node_may_continue_on_error() {
    let configs = [(
        "a",
        json!({"continue_on_error": true, "retries": 1, "retry_delay": 5}),
    )];
    let script = on("a>b", &configs)
        .expects([run("a")])
        .fails("a", FailureKind::Retryable)
        .expects([])
        .passes(4)
        .expects([])
        .passes(1)
        .expects([run("a")])
        .fails("a", FailureKind::Retryable)
        .expects([run("b")])
        .finishes("b")
        .expects([Wanted::Complete]);
    assert_eq!(script.statuses("a"), ["failed", "continued"]);
    assert_eq!(script.output("a")["error"]["message"], "no");
}

fn fan_out(config: Value) -> Script {
    on("f>a f>b f>c a>join b>join c>join", &[("f", config)])
        .expects([run("f")])
        .finishes("f")
}

#[test]
fn any_takes_the_first_branch_and_cancels_the_others() {
    let mut script = fan_out(json!({"parallel_wait_mode": "any", "parallel_aggregation": "first"}))
        .expects([run("a"), run("b"), run("c")])
        .finishes("b")
        .expects([run("join")]);
    let dropped: Vec<String> = script
        .machine
        .take_dropped()
        .into_iter()
        .map(|dropped| dropped.node.to_string())
        .collect();
    assert_eq!(dropped, ["a", "c"]);
    let script = script.finishes("join").expects([Wanted::Complete]);
    assert_eq!(script.statuses("f"), ["success", "joined"]);
    assert_eq!(script.output("f"), json!({"result": {"from": "b"}}));
}

#[test]
fn n_of_m_needs_so_many_and_can_spare_the_rest() {
    let config = json!({"parallel_wait_mode": "n_of_m", "parallel_wait_n": 2, "parallel_aggregation": "array"});
    let script = fan_out(config.clone())
        .expects([run("a"), run("b"), run("c")])
        .fails("a", FailureKind::Permanent)
        .expects([])
        .finishes("c")
        .restarts()
        .expects([run("b")])
        .finishes("b")
        .expects([run("join")]);
    assert_eq!(
        script.output("f"),
        json!({"result": [{"from": "b"}, {"from": "c"}]})
    );
    fan_out(config)
        .expects([run("a"), run("b"), run("c")])
        .fails("a", FailureKind::Permanent)
        .fails("b", FailureKind::Permanent)
        .expects([Wanted::Fail("Node b failed: no".to_owned())]);
}

#[test]
fn branches_may_run_one_by_one() {
    let script = fan_out(json!({"sequential": true}))
        .expects([run("a")])
        .finishes("a")
        .expects([run("b")])
        .finishes("b")
        .restarts()
        .expects([run("c")])
        .finishes("c")
        .expects([run("join")])
        .finishes("join")
        .expects([Wanted::Complete]);
    assert_eq!(script.output("f"), json!({"result": {"from": "c"}}));
}

#[test]
fn a_cycle_that_only_starts_after_a_loop_is_refused() {
    let edges = "loop>a:body loop>b:done b>c c>loop";
    let edges: Vec<_> = edges.split_whitespace().map(super::script::edge).collect();
    let nodes = ["loop", "a", "b", "c"]
        .map(|id| super::script::node(id, if id == "loop" { "loop" } else { "map" }));
    let error = Graph::new(nodes.to_vec(), edges, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cycle without a loop node: loop → b → c → loop"
    );
}

#[test]
fn a_loop_at_the_end_of_its_body_repeats_what_came_before() {
    on("t>a a>loop loop>a loop>after", &[])
        .expects([run("t")])
        .finishes("t")
        .expects([run("a")])
        .finishes("a")
        .expects([run("loop")])
        .ends("loop", times(1))
        .expects([run("a")])
        .finishes("a")
        .expects([run("after")])
        .finishes("after")
        .expects([Wanted::Complete]);
}

#[test]
fn a_script_without_containers_writes_the_plain_checkpoint() {
    let plain = script("a>b")
        .start()
        .machine
        .checkpoint()
        .to_json()
        .unwrap();
    assert!(plain.starts_with(r#"{"v":1"#), "{plain}");
}

#[test]
fn hostile_graphs_are_refused_in_reasonable_time() {
    let chain = |node_type: &str, count: usize| {
        let nodes: Vec<_> = (0..count)
            .map(|n| super::script::node(&n.to_string(), node_type))
            .collect();
        let edges = (1..count).map(|n| Edge {
            from: (n - 1).to_string().as_str().into(),
            to: n.to_string().as_str().into(),
            branch: None,
        });
        Graph::new(nodes, edges.collect(), None)
    };
    assert!(chain("try", 60).is_ok() && chain("loop", 500).is_ok());
    let tangled = chain("try", 2_000).unwrap_err().to_string();
    assert!(tangled.contains("label its edges"), "{tangled}");
    let many = chain("loop", 20_000).unwrap_err().to_string();
    assert!(
        many.starts_with("20000 loops and tries among 39999 nodes"),
        "{many}"
    );
}

#[test]
fn where_branches_meet_at_once_is_no_branch() {
    let configs = [("f", json!({"parallel_wait_mode": "any"}))];
    on("f>a f>m a>m", &configs)
        .expects([run("f")])
        .finishes("f")
        .expects([run("a")])
        .finishes("a")
        .expects([run("m")])
        .finishes("m")
        .expects([Wanted::Complete]);
}

#[test]
fn a_node_that_continues_on_error_keeps_its_rule_for_branches() {
    let configs = [(
        "f",
        json!({"parallel_wait_mode": "any", "continue_on_error": true}),
    )];
    let script = on("f>a f>b", &configs)
        .expects([run("f")])
        .fails("f", FailureKind::Permanent)
        .expects([run("a"), run("b")])
        .finishes("a")
        .expects([Wanted::Complete]);
    assert_eq!(script.statuses("f"), ["continued", "joined"]);
}

#[test]
fn retries_of_what_an_error_cancels_are_given_back() {
    let script = on("try>a try>b a>catch b>catch catch>z", &[])
        .expects([run("try")])
        .finishes("try")
        .expects([run("a"), run("b")])
        .fails("a", FailureKind::Retryable)
        .fails("b", FailureKind::Permanent)
        .expects([run("catch")])
        .finishes("catch");
    let mut script = script.expects([run("z")]);
    for wait in [1, 2, 4] {
        script = script
            .fails("z", FailureKind::Retryable)
            .expects([])
            .passes(wait)
            .expects([run("z")]);
    }
}

#[test]
fn who_was_asked_is_asked_again_when_a_failed_execution_goes_on() {
    let wait = Awaited::Signal {
        wait: SignalWait {
            signal_type: "human_approval".to_owned(),
            request: None,
            options: Vec::new(),
            correlation_id: None,
        },
        request_id: crate::ids::derived_uuid("r"),
    };
    let script = on("t>w t>f", &[])
        .expects([run("t")])
        .finishes("t")
        .expects([run("w"), run("f")])
        .ends("w", NodeResult::Await { wait, until: None })
        .fails("f", FailureKind::Permanent)
        .expects([Wanted::Fail("Node f failed: no".to_owned())])
        .restarts()
        .expects([run("w"), run("f")]);
    assert_eq!(script.machine.awaiting().count(), 0);
}
