//! Test mode: results that are given instead of running nodes (pure).
//!
//! `execution_data.test_mode` switches it on, `execution_data.mock_results` holds the results by node id. What is wrong
//! with them fails the node that it is about, with a text that says what is right; nothing runs for real instead.

use serde_json::{Map, Value};

use crate::engine::{FailureKind, Graph, GraphNode, NodeResult};
use crate::ids::Visit;

type Object = Map<String, Value>;

/// The key that switches it on.
pub const TEST_MODE: &str = "test_mode";
/// The key of the results.
pub const MOCK_RESULTS: &str = "mock_results";

/// The type of a failure that a mock asks for and does not name.
const MOCKED_ERROR: &str = "MockedError";
/// Node types that reach nothing outside, and so run in `mock_only` as well.
const COMPUTING: [&str; 22] = [
    "trigger",
    "condition",
    "if",
    "switch",
    "loop",
    "for",
    "while",
    "repeat",
    "break",
    "continue",
    "try",
    "catch",
    "finally",
    "delay",
    "wait",
    "set_variable",
    "get_variable",
    "map",
    "filter",
    "reduce",
    "merge",
    "split",
];

/// The mocks of an execution in test mode.
#[derive(Clone, Copy, Debug)]
pub struct Mocks<'a> {
    results: Option<&'a Object>,
    /// Nothing that reaches the world outside runs without a mock.
    is_only: bool,
}

impl<'a> Mocks<'a> {
    /// Those in an execution's data; `None` if it is not in test mode.
    ///
    /// # Errors
    /// A text for the author of the data.
    pub fn read(data: &'a Object) -> Result<Option<Self>, String> {
        let mode = data.get(TEST_MODE).unwrap_or(&Value::Null);
        let word = mode
            .as_str()
            .map(|text| text.trim().to_ascii_lowercase())
            .unwrap_or_default();
        let is_only = match (mode, word.as_str()) {
            (Value::Null | Value::Bool(false), _) | (Value::String(_), "" | "false") => {
                return Ok(None);
            }
            (Value::Bool(true), _) | (Value::String(_), "true") => false,
            (Value::String(_), "mock_only") => true,
            (other, _) => {
                return Err(format!(
                    "{TEST_MODE} is {other}; it must be true, false or \"mock_only\""
                ));
            }
        };
        match data.get(MOCK_RESULTS) {
            None | Some(Value::Null) => Ok(Some(Self {
                results: None,
                is_only,
            })),
            Some(Value::Object(results)) => Ok(Some(Self {
                results: Some(results),
                is_only,
            })),
            Some(other) => Err(format!(
                "{MOCK_RESULTS} is {other}; it must be an object: node id to result"
            )),
        }
    }

    /// The ids that are no node of the graph: slips of the pen, perhaps.
    pub fn unknown(&self, graph: &Graph) -> Vec<&'a str> {
        self.results
            .into_iter()
            .flatten()
            .map(|(id, _)| id.as_str())
            .filter(|id| graph.node(&(*id).into()).is_none())
            .collect()
    }

    /// How a node ends that is not run; `None`: it is run.
    pub fn result_of(&self, node: &GraphNode, visit: Visit) -> Option<NodeResult> {
        let id = node.id.as_str();
        let given = self.results.and_then(|results| results.get(id));
        let mock = match given {
            Some(Value::Array(visits)) => {
                let nth = usize::try_from(visit.saturating_sub(1)).unwrap_or(usize::MAX);
                match visits.get(nth).or(visits.last()) {
                    Some(mock) => mock,
                    None => {
                        return Some(wrong(
                            id,
                            "is an empty list; it must have a result for each visit, the last one for all further",
                        ));
                    }
                }
            }
            Some(mock) => mock,
            None => &Value::Null,
        };
        if mock.is_null() {
            let is_outside = !COMPUTING.contains(&&*node.node_type);
            return (self.is_only && is_outside).then(|| {
                let message = format!(
                    "{TEST_MODE} is \"mock_only\", and {MOCK_RESULTS} has nothing for this node"
                );
                NodeResult::failure(FailureKind::Permanent, "ConfigurationError", message)
            });
        }
        if node.is_loop() || matches!(&*node.node_type, "try" | "break" | "continue") {
            let what = format!(
                "is given, but a node of type {} steers others and cannot be mocked; mock the nodes inside",
                node.node_type
            );
            return Some(wrong(id, &what));
        }
        Some(result(node, mock))
    }
}

fn wrong(id: &str, what: &str) -> NodeResult {
    NodeResult::failure(
        FailureKind::Permanent,
        "ConfigurationError",
        format!("{MOCK_RESULTS}.{id} {what}"),
    )
}

/// `{output, branch}` and `{error, output}` are told from an output by having no other keys.
fn result(node: &GraphNode, mock: &Value) -> NodeResult {
    let parts = mock.as_object().filter(|parts| {
        !parts.is_empty()
            && parts
                .keys()
                .all(|key| matches!(key.as_str(), "output" | "branch" | "error"))
    });
    let output = match parts {
        Some(parts) => parts.get("output").unwrap_or(&Value::Null),
        None => mock,
    };
    let output = match output {
        Value::Object(output) => output.clone(),
        Value::Null => Object::new(),
        other => Object::from_iter([("result".to_owned(), other.clone())]),
    };
    let part = |key: &str| {
        parts
            .and_then(|parts| parts.get(key))
            .filter(|value| !value.is_null())
    };
    if let Some(error) = part("error") {
        return failure(node, error, output);
    }
    let branch = match part("branch") {
        Some(Value::String(branch)) => Some(branch.clone()),
        Some(Value::Bool(branch)) => Some(branch.to_string()),
        Some(other) => {
            return wrong(
                node.id.as_str(),
                &format!("has the branch {other}; it must be a text"),
            );
        }
        None if node.decides() => ["branch", "decision"]
            .iter()
            .find_map(|key| output.get(*key).and_then(Value::as_str))
            .map(str::to_owned),
        None => None,
    };
    if branch.is_none() && node.decides() {
        let what = format!(
            "names no branch; a node of type {} must choose one: {{\"output\": …, \"branch\": …}}",
            node.node_type
        );
        return wrong(node.id.as_str(), &what);
    }
    NodeResult::Success { output, branch }
}

fn failure(node: &GraphNode, error: &Value, output: Object) -> NodeResult {
    let text = |key: &str| error.get(key).and_then(Value::as_str);
    let Some(message) = error.as_str().or_else(|| text("message")) else {
        let what = format!(
            "has the error {error}; it must be a text, or an object with message, type and retryable"
        );
        return wrong(node.id.as_str(), &what);
    };
    let is_retryable = error.get("retryable").and_then(Value::as_bool) == Some(true);
    NodeResult::Failure {
        kind: if is_retryable {
            FailureKind::Retryable
        } else {
            FailureKind::Permanent
        },
        message: message.to_owned(),
        output,
        error_type: text("type").unwrap_or(MOCKED_ERROR).into(),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::needless_pass_by_value,
        reason = "builders whose arguments are written in place"
    )]

    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn node(node_type: &str) -> GraphNode {
        GraphNode {
            id: "n".into(),
            node_type: node_type.into(),
            config: Arc::default(),
        }
    }

    fn of(node_type: &str, mode: Value, mock: Value, visit: Visit) -> Option<NodeResult> {
        let data = json!({"test_mode": mode, "mock_results": {"n": mock}});
        let mocks = Mocks::read(data.as_object().unwrap()).unwrap();
        mocks?.result_of(&node(node_type), visit)
    }

    fn success(output: Value, branch: Option<&str>) -> Option<NodeResult> {
        Some(NodeResult::Success {
            output: output.as_object().unwrap().clone(),
            branch: branch.map(str::to_owned),
        })
    }

    fn message(result: Option<NodeResult>) -> String {
        match result {
            Some(NodeResult::Failure { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_test_mode_nothing_is_mocked() {
        for mode in [json!(null), json!(false), json!("false"), json!("")] {
            assert_eq!(of("http_request", mode, json!({"a": 1}), 1), None);
        }
        for (data, expected) in [
            (
                json!({"test_mode": "yes"}),
                "test_mode is \"yes\"; it must be true",
            ),
            (
                json!({"test_mode": true, "mock_results": [1]}),
                "mock_results is [1]; it must be an object",
            ),
        ] {
            let error = Mocks::read(data.as_object().unwrap()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_mock_is_an_output_or_has_its_parts() {
        let mock = |mock: Value| of("http_request", json!(true), mock, 1);
        assert_eq!(mock(json!({"a": 1})), success(json!({"a": 1}), None));
        assert_eq!(mock(json!({})), success(json!({}), None));
        assert_eq!(mock(json!(7)), success(json!({"result": 7}), None));
        assert_eq!(
            mock(json!({"output": [1, 2]})),
            success(json!({"result": [1, 2]}), None)
        );
        assert_eq!(
            mock(json!({"error": null, "status": "x"})),
            success(json!({"error": null, "status": "x"}), None)
        );
        assert_eq!(message(mock(json!({"error": "no"}))), "no");
        let failing = mock(json!({"error": {"message": "m", "type": "T", "retryable": true}}));
        assert!(matches!(
            failing,
            Some(NodeResult::Failure { kind: FailureKind::Retryable, ref error_type, .. }) if &**error_type == "T"
        ));
        assert_eq!(mock(json!(null)), None, "it runs");
    }

    #[test]
    fn what_decides_must_say_how_and_what_steers_cannot_be_mocked() {
        let mock = |mock: Value| of("condition", json!(true), mock, 1);
        assert_eq!(
            mock(json!({"output": {"x": 1}, "branch": "true"})),
            success(json!({"x": 1}), Some("true"))
        );
        assert_eq!(
            mock(json!({"branch": "false"})),
            success(json!({}), Some("false"))
        );
        let decided = of(
            "human_approval",
            json!(true),
            json!({"decision": "approve", "by": "x"}),
            1,
        );
        assert_eq!(
            decided,
            success(json!({"decision": "approve", "by": "x"}), Some("approve"))
        );
        assert!(message(mock(json!({"x": 1}))).contains("names no branch"));
        assert!(message(of("for", json!(true), json!({}), 1)).contains("cannot be mocked"));
    }

    #[test]
    fn a_list_is_by_visit_and_its_last_one_is_for_all_further() {
        let list = json!([{"a": 1}, null, {"a": 3}]);
        let visit = |nth| of("http_request", json!(true), list.clone(), nth);
        assert_eq!(visit(1), success(json!({"a": 1}), None));
        assert_eq!(visit(2), None);
        assert_eq!(visit(3), success(json!({"a": 3}), None));
        assert_eq!(visit(9), success(json!({"a": 3}), None));
        assert!(message(of("code", json!(true), json!([]), 1)).contains("empty list"));
    }

    #[test]
    fn in_mock_only_nothing_reaches_the_world_without_a_mock() {
        let only = |node_type: &str| of(node_type, json!("mock_only"), json!(null), 1);
        for computing in ["trigger", "map", "split", "if", "delay"] {
            assert_eq!(only(computing), None, "{computing}");
        }
        for outside in [
            "http_request",
            "code",
            "agent",
            "human_approval",
            "sub_workflow",
        ] {
            assert!(
                message(only(outside)).contains("has nothing for this node"),
                "{outside}"
            );
        }
    }
}
