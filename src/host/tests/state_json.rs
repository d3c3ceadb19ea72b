//! What the screens get, and what is taken over from others.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::engine::{Edge, Graph, GraphNode, Step, StepStatus};
use crate::host::state_json::{HostState, Identity, Published, View, read};
use crate::ids::{NodeId, Timestamp, WorkflowId};

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn view(trigger_data: &Value) -> View {
    let identity = Identity {
        execution_name: "exec-b0cf04fcf544".to_owned(),
        workflow_id: WorkflowId("541b26d0-a399-4e6e-8ce5-bf0705d8dd2f".parse().unwrap()),
        workflow_version: 1,
        started_at: time("2026-11-23T14:02:34.702022Z"),
    };
    View::new(&identity, object(trigger_data))
}

fn step(node: &str, output: &Value) -> Step {
    Step {
        seq: 1,
        node: node.into(),
        node_type: "map".to_owned(),
        visit: 1,
        attempt: 1,
        status: StepStatus::Success,
        output: object(output).into(),
        error: None,
        started_at: time("2026-11-23T14:02:35Z"),
        finished_at: time("2026-11-23T14:02:35.007999Z"),
        scope: "".into(),
        is_end: false,
    }
}

fn failed(node: &str, output: &Value) -> Step {
    Step {
        status: StepStatus::Failed,
        error: Some("HTTP 500".to_owned()),
        ..step(node, output)
    }
}

const RUNNING: Published<'static> = Published {
    status: "running",
    current_node_id: None,
    error_message: None,
    retry_count: 0,
    next_retry_at: None,
};

fn shown(view: &View, published: &Published<'_>) -> Value {
    serde_json::from_str(&view.to_json(published)).unwrap()
}

/// The recorded case 'trigger → HTTP request', with what the recording worker lost put right: the last node is among
/// the results, and each output there has its node's type.
#[test]
fn a_completed_execution_reads_as_recorded_from_the_platform() {
    let mut view = view(&json!({}));
    view.apply(&Step {
        node_type: "trigger".to_owned(),
        started_at: time("2026-11-23T14:02:35.747040Z"),
        finished_at: time("2026-11-23T14:02:35.754043Z"),
        ..step("t", &json!({}))
    });
    view.apply(&Step {
        node_type: "http_request".to_owned(),
        started_at: time("2026-11-23T14:02:36.772000Z"),
        finished_at: time("2026-11-23T14:02:36.783000Z"),
        ..step(
            "h",
            &json!({"status_code": 200, "body": "{\"ok\": true}", "json": {"ok": true}}),
        )
    });
    let published = Published {
        status: "completed",
        current_node_id: Some(&"h".into()),
        ..RUNNING
    };
    let expected = concat!(
        r#"{"execution_id":"exec-b0cf04fcf544","workflow_id":"541b26d0-a399-4e6e-8ce5-bf0705d8dd2f","#,
        r#""workflow_version":1,"status":"completed","current_node_id":"h","completed_node_ids":["t","h"],"#,
        r#""node_results":{"t":{"node_id":"t","status":"success","output":{"node_type":"trigger"},"error":null,"#,
        r#""started_at":"2026-11-23T14:02:35.747040","completed_at":"2026-11-23T14:02:35.754043","duration_ms":7},"#,
        r#""h":{"node_id":"h","status":"success","output":{"status_code":200,"body":"{\"ok\": true}","#,
        r#""json":{"ok":true},"node_type":"http_request"},"error":null,"#,
        r#""started_at":"2026-11-23T14:02:36.772000","completed_at":"2026-11-23T14:02:36.783000","duration_ms":11}},"#,
        r#""execution_data":{"t_output":{},"h_output":{"status_code":200,"body":"{\"ok\": true}","json":{"ok":true}}},"#,
        r#""started_at":"2026-11-23T14:02:34.702022","error_message":null,"retry_count":0,"next_retry_at":null}"#,
    );
    assert_eq!(view.to_json(&published), expected);
}

#[test]
fn a_new_execution_shows_its_trigger_data() {
    let view = view(&json!({"trigger_type": "manual", "n": 1.5}));
    let json = shown(&view, &RUNNING);
    assert_eq!(
        json["execution_data"],
        json!({"trigger_type": "manual", "n": 1.5})
    );
    assert_eq!(
        (&json["node_results"], &json["completed_node_ids"]),
        (&json!({}), &json!([]))
    );
}

#[test]
fn a_failure_is_among_the_completed_only_when_it_is_final() {
    let mut view = view(&json!({}));
    view.apply(&failed("a", &json!({"status_code": 500})));
    let retrying = Published {
        status: "failed",
        error_message: Some("Node a failed: \"HTTP 500\""),
        retry_count: 1,
        next_retry_at: Some(time("2026-11-23T14:02:36Z")),
        ..RUNNING
    };
    let json = shown(&view, &retrying);
    assert_eq!(json["completed_node_ids"], json!([]));
    assert_eq!(json["node_results"]["a"]["status"], "failed");
    assert_eq!(json["node_results"]["a"]["error"], "HTTP 500");
    assert_eq!(
        json["node_results"]["a"]["output"],
        json!({"status_code": 500, "node_type": "map"})
    );
    assert_eq!(json["execution_data"], json!({}));
    assert_eq!(json["next_retry_at"], "2026-11-23T14:02:36.000000");
    assert_eq!(
        (&json["error_message"], &json["retry_count"]),
        (&json!("Node a failed: \"HTTP 500\""), &json!(1))
    );

    let json = shown(
        &view,
        &Published {
            next_retry_at: None,
            ..retrying
        },
    );
    assert_eq!(json["completed_node_ids"], json!(["a"]));

    view.apply(&step("b", &json!({})));
    view.apply(&step("a", &json!({"ok": true})));
    let json = shown(&view, &RUNNING);
    assert_eq!(json["completed_node_ids"], json!(["b", "a"]));
    let results: Vec<_> = json["node_results"].as_object().unwrap().keys().collect();
    assert_eq!(results, ["a", "b"]);
    assert_eq!(json["node_results"]["a"]["status"], "success");
    assert_eq!(json["execution_data"]["a_output"], json!({"ok": true}));
}

#[test]
fn an_output_keeps_its_own_node_type_and_odd_names_are_escaped() {
    let mut view = view(&json!({"\"k\"": null}));
    view.apply(&step("n\"1\\", &json!({"node_type": "mine", "s": "}"})));
    let json = shown(&view, &RUNNING);
    assert_eq!(
        json["node_results"]["n\"1\\"]["output"],
        json!({"node_type": "mine", "s": "}"})
    );
    assert_eq!(json["execution_data"]["n\"1\\_output"]["s"], "}");
    assert_eq!(json["completed_node_ids"], json!(["n\"1\\"]));
}

#[test]
fn a_step_that_seems_to_end_before_it_began_took_no_time() {
    let mut view = view(&json!({}));
    view.apply(&Step {
        finished_at: time("2026-11-23T14:02:34Z"),
        ..step("a", &json!({}))
    });
    assert_eq!(
        shown(&view, &RUNNING)["node_results"]["a"]["duration_ms"],
        json!(0)
    );
}

#[test]
fn nodes_see_the_data_and_the_variables() {
    let mut view = view(&json!({"n": 1}));
    let variable = |name: &str, value: i32, scope: Value| {
        let output = json!({"variable_name": name, "value": value, "scope": scope});
        Step {
            node_type: "set_variable".to_owned(),
            ..step("v", &output)
        }
    };
    view.apply(&variable("x", 1, json!("workflow")));
    view.apply(&variable("y", 2, json!("loop")));
    view.apply(&variable("x", 3, json!(null)));
    assert_eq!(
        *view.variables_in(""),
        object(&json!({"workflow": {"x": 3}, "loop": {"y": 2}}))
    );
    assert_eq!(view.data()["n"], 1);
    assert_eq!(view.data()["v_output"]["value"], 3);
    assert_eq!(**view.trigger_data(), object(&json!({"n": 1})));
}

#[test]
fn what_others_write_on_purpose_is_taken_over_and_our_outputs_are_kept() {
    let mut view = view(&json!({"n": 1, "m": 1}));
    view.apply(&step("a", &json!({"right": true})));
    let theirs = object(&json!({"n": 2, "test_mode": true, "a_output": {"right": false}}));
    assert!(view.merge_host(&theirs));
    assert!(!view.merge_host(&theirs));
    let expected = json!({"n": 2, "m": 1, "a_output": {"right": true}, "test_mode": true});
    assert_eq!(shown(&view, &RUNNING)["execution_data"], expected);
    assert_eq!(**view.data(), object(&expected));
}

fn recorded_result(node: &str, status: &str) -> Value {
    json!({"node_id": node, "status": status, "output": {}, "error": null,
           "started_at": "2026-11-23T14:02:35.747040", "completed_at": "2026-11-23T14:02:35", "duration_ms": 7})
}

fn earlier() -> HostState {
    let state = json!({
        "status": "running",
        "completed_node_ids": ["t", 5, "a", "b"],
        "node_results": {
            "b": recorded_result("b", "success"),
            "t": recorded_result("t", "success"),
            "a": recorded_result("a", "failed"),
            "no_output": {"node_id": "x", "status": "success", "started_at": "2026-11-23T14:02:35"},
            "list": {"node_id": "x", "status": "success", "output": [], "started_at": "2026-11-23T14:02:35"},
            "zone": {"node_id": "x", "status": "success", "output": {}, "started_at": "2026-11-23T14:02:35.0Z"},
            "half": {"node_id": "x", "status": "success", "output": {}, "duration_ms": 1.5,
                     "started_at": "2026-11-23T14:02:35"},
            "text": "x"},
        "execution_data": {"n": 1, "t_output": {}, "b_output": {"k": 1}, "t_parallel_result": {},
                           "_fan_in_queue": ["y"], "other_output": 1}});
    read(Some(&state.to_string())).unwrap()
}

#[test]
fn nothing_disappears_when_an_execution_changes_hands() {
    let mut view = view(&json!({"n": 1}));
    view.adopt(&earlier());
    view.apply(&step("b", &json!({"k": 2})));
    let json = shown(&view, &RUNNING);
    assert_eq!(json["completed_node_ids"], json!(["t", "a", "b"]));
    let results = json["node_results"].as_object().unwrap();
    assert_eq!(results.keys().collect::<Vec<_>>(), ["b", "t", "a"]);
    assert_eq!(results["t"], recorded_result("t", "success"));
    assert_eq!(results["b"]["output"]["k"], 2);
    assert_eq!(json["execution_data"]["other_output"], 1);
    assert_eq!(json["execution_data"]["b_output"], json!({"k": 2}));
}

#[test]
fn the_trigger_data_of_an_adopted_execution_is_what_no_node_left() {
    let node = |id: &str| GraphNode {
        id: id.into(),
        node_type: "map".into(),
        config: std::sync::Arc::default(),
    };
    let edges = vec![Edge {
        from: "t".into(),
        to: "b".into(),
        branch: None,
    }];
    let graph = Graph::new(vec![node("t"), node("b")], edges, None).unwrap();
    assert_eq!(
        earlier().trigger_data(&graph),
        object(&json!({"n": 1, "other_output": 1}))
    );
}

#[test]
fn a_replay_takes_over_what_the_nodes_that_run_again_have_not_left() {
    let again = HashSet::from([NodeId::from("a"), NodeId::from("b")]);
    let before = earlier().without(&again);
    assert_eq!(before.completed_node_ids, [NodeId::from("t")]);
    assert!(!before.execution_data.contains_key("b_output"));
    assert_eq!(before.execution_data["n"], 1);
    let mut view = view(&json!({}));
    view.adopt(&before);
    assert_eq!(
        shown(&view, &RUNNING)["node_results"],
        json!({"t": recorded_result("t", "success")})
    );
}

#[test]
fn a_removed_debug_flag_is_gone_and_a_replay_is_told_by_its_marker() {
    let mut view = view(&json!({"n": 1, "debug_mode": true}));
    assert!(view.merge_host(&object(&json!({"n": 2}))));
    assert_eq!(Value::Object((**view.data()).clone()), json!({"n": 2}));
    let id = "541b26d0-a399-4e6e-8ce5-bf0705d8dd2f";
    let marked =
        json!({"trigger_type": "replay", "original_execution_id": id, "replay_from_node": "b"});
    view.merge_host(&object(&marked));
    assert_eq!(Value::Object((**view.data()).clone()), json!({"n": 2}));
    let replay = |data: Value| {
        let text = json!({ "execution_data": data }).to_string();
        read(Some(&text)).unwrap().replay()
    };
    assert_eq!(
        replay(marked),
        Ok(Some((id.parse().unwrap(), Some("b".into()))))
    );
    assert_eq!(replay(json!({"trigger_type": "replay"})), Ok(None));
    assert_eq!(
        replay(json!({"trigger_type": "replay", "original_execution_id": 7})),
        Err("original_execution_id is 7; it must be the id (a UUID) of an execution".to_owned())
    );
}

#[test]
fn a_time_limit_is_a_number_of_seconds() {
    let limit = |state: Value| read(Some(&state.to_string())).unwrap().time_limit();
    assert_eq!(limit(json!({})), Ok(None));
    assert_eq!(limit(json!({"timeout_seconds": null})), Ok(Some(None)));
    let half = Some(std::time::Duration::from_millis(500));
    assert_eq!(limit(json!({"timeout_seconds": 0.5})), Ok(Some(half)));
    assert_eq!(
        limit(json!({"timeout_seconds": 0})),
        Err("execution_state: timeout_seconds is 0; it must be more than 0".to_owned())
    );
    assert!(limit(json!({"timeout_seconds": "soon"})).is_err());
}

#[test]
fn an_absent_state_is_empty() {
    for text in [
        None,
        Some("null"),
        Some("{}"),
        Some(r#"{"execution_data":null,"node_results":[],"completed_node_ids":{}}"#),
    ] {
        assert_eq!(read(text).unwrap(), HostState::default());
    }
}

#[test]
fn a_state_that_cannot_be_taken_over_is_an_error_that_says_why() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for (text, expected) in [
        ("[1]", "execution_state must be an object, found an array"),
        (
            r#"{"execution_data":"x"}"#,
            "execution_state.execution_data must be an object, found text",
        ),
        (
            r#"{"execution_data":{"n":1e999}}"#,
            "execution_state cannot be read: number out of range",
        ),
        (
            r#"{"execution_data":"\ud800"}"#,
            "execution_state cannot be read: ",
        ),
        (
            &deep,
            "execution_state cannot be read: recursion limit exceeded",
        ),
        ("", "execution_state cannot be read: EOF"),
    ] {
        let error = read(Some(text)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
