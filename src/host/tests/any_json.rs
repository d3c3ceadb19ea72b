//! Whatever stands in the platform's columns, it is read or refused, and what we write is whole.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::engine::{Step, StepStatus};
use crate::host::graph_json::{NodeRow, parse};
use crate::host::state_json::{Identity, Published, View, read};
use crate::host::without_nul;
use crate::ids::{Timestamp, WorkflowId};

/// A key that means something here, or any text.
fn key() -> impl Strategy<Value = String> {
    let known = [
        "nodes",
        "edges",
        "node_id",
        "id",
        "node_type",
        "type",
        "config",
        "data",
        "next",
        "from",
        "to",
        "branch",
        "entry_node_id",
        "execution_data",
        "node_results",
        "completed_node_ids",
        "status",
        "output",
        "started_at",
        "a",
    ];
    prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

pub(in crate::host) fn value() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        key().prop_map(Value::from),
        Just(json!("2026-01-05T00:52:44.123456")),
    ];
    plain.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..6)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((key(), value()), 0..5).prop_map(|members| members.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn any_workflow_is_read_or_refused_with_a_message(config in value(), row in value()) {
        let row = NodeRow { node_id: "r".to_owned(), node_type: "map".to_owned(), config: Some(row.to_string()) };
        if let Err(error) = parse(&config.to_string(), &[row]) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let row = NodeRow { node_id: text.clone(), node_type: text.clone(), config: Some(text.clone()) };
        let is_json = serde_json::from_str::<Value>(&text).is_ok();
        prop_assert!(is_json || (parse(&text, &[]).is_err() && parse("null", &[row]).is_err() && read(Some(&text)).is_err()));
    }

    #[test]
    fn any_view_is_json_that_says_what_was_put_in(data in object(), output in object(), node in key(), old in value()) {
        let identity = Identity {
            execution_name: "exec-1".to_owned(),
            workflow_id: WorkflowId(uuid::Uuid::nil()),
            workflow_version: 1,
            started_at: Timestamp::UNIX_EPOCH,
        };
        let mut view = View::new(&identity, data);
        if let Ok(state) = read(Some(&old.to_string())) {
            view.adopt(&state);
        }
        view.apply(&Step {
            seq: 1,
            node: node.as_str().into(),
            node_type: "map".to_owned(),
            visit: 1,
            attempt: 1,
            status: StepStatus::Success,
            output: output.clone().into(),
            error: None,
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            scope: "".into(),
            is_end: false,
        });
        let published =
            Published { status: "running", current_node_id: None, error_message: None, retry_count: 0, next_retry_at: None };
        let text = view.to_json(&published);
        let json: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&json["execution_data"], &serde_json::from_str::<Value>(&Value::Object((**view.data()).clone()).to_string()).unwrap());
        let mut shown = serde_json::from_str::<Value>(&Value::Object(output).to_string()).unwrap();
        if let Some(output) = shown.as_object_mut() {
            output.entry("node_type").or_insert_with(|| "map".into());
        }
        prop_assert_eq!(&json["node_results"][&node]["output"], &shown);
        let clean = without_nul(text);
        prop_assert!(serde_json::from_str::<Value>(&clean).is_ok());
        prop_assert_eq!(&without_nul(clean.clone()), &clean);
    }
}
