//! How the platform's API reads and rewrites `execution_state`: a model of its Python parser, as strict where that is
//! strict (a violation is a 500 on the user's screen), as forgetful where that is forgetful.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The state as the API holds it between reading and writing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) execution_id: String,
    pub(crate) workflow_id: Uuid,
    pub(crate) workflow_version: i64,
    pub(crate) status: String,
    pub(crate) current_node_id: Option<String>,
    pub(crate) completed_node_ids: Vec<String>,
    pub(crate) node_results: Vec<(String, NodeResult)>,
    pub(crate) execution_data: Map<String, Value>,
    pub(crate) started_at: NaiveDateTime,
    pub(crate) error_message: Option<String>,
    pub(crate) retry_count: i64,
    pub(crate) next_retry_at: Option<NaiveDateTime>,
}

/// One value of `node_results`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeResult {
    pub(crate) node_id: String,
    pub(crate) status: String,
    pub(crate) output: Map<String, Value>,
    pub(crate) error: Option<String>,
    pub(crate) started_at: NaiveDateTime,
    pub(crate) completed_at: Option<NaiveDateTime>,
    pub(crate) duration_ms: i64,
}

/// Fails the test where the API would answer with an error for this state.
pub(crate) fn assert_api_can_read(state: &Value) -> State {
    State::parse(state)
        .unwrap_or_else(|error| panic!("the API cannot read the state: {error}\n{state:#}"))
}

impl State {
    /// Reads it; the error is what Python would raise about.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        let object = Object::of("execution_state", value)?;
        let node_results = object.object_or_empty("node_results")?;
        Ok(Self {
            execution_id: object.text("execution_id")?,
            workflow_id: object.uuid("workflow_id")?,
            workflow_version: object.integer("workflow_version")?,
            status: object.text("status")?,
            current_node_id: object.text_or_null("current_node_id")?,
            completed_node_ids: object.texts_or_empty("completed_node_ids")?,
            node_results: node_results
                .iter()
                .map(|(node, result)| Ok((node.clone(), NodeResult::parse(node, result)?)))
                .collect::<Result<_, String>>()?,
            execution_data: object.object_or_empty("execution_data")?,
            started_at: object.time("started_at")?,
            error_message: object.text_or_null("error_message")?,
            retry_count: object.integer_or("retry_count", 0)?,
            next_retry_at: object.time_or_null("next_retry_at")?,
        })
    }

    /// Writes it: these keys in this order, and nothing of what else there was.
    pub(crate) fn to_value(&self) -> Value {
        let node_results: Map<String, Value> = self
            .node_results
            .iter()
            .map(|(node, result)| (node.clone(), result.to_value()))
            .collect();
        json!({
            "execution_id": self.execution_id,
            "workflow_id": self.workflow_id,
            "workflow_version": self.workflow_version,
            "status": self.status,
            "current_node_id": self.current_node_id,
            "completed_node_ids": self.completed_node_ids,
            "node_results": node_results,
            "execution_data": self.execution_data,
            "started_at": isoformat(self.started_at),
            "error_message": self.error_message,
            "retry_count": self.retry_count,
            "next_retry_at": self.next_retry_at.map(isoformat),
        })
    }

    /// The result of a node.
    pub(crate) fn result(&self, node: &str) -> Option<&NodeResult> {
        self.node_results
            .iter()
            .find(|(name, _)| name == node)
            .map(|(_, result)| result)
    }
}

impl NodeResult {
    fn parse(node: &str, value: &Value) -> Result<Self, String> {
        let object = Object::of(&format!("node_results[{node:?}]"), value)?;
        Ok(Self {
            node_id: object.text("node_id")?,
            status: object.text("status")?,
            output: object.object_or_empty("output")?,
            error: object.text_or_null("error")?,
            started_at: object.time("started_at")?,
            completed_at: object.time_or_null("completed_at")?,
            duration_ms: object.integer_or("duration_ms", 0)?,
        })
    }

    fn to_value(&self) -> Value {
        json!({
            "node_id": self.node_id,
            "status": self.status,
            "output": self.output,
            "error": self.error,
            "started_at": isoformat(self.started_at),
            "completed_at": self.completed_at.map(isoformat),
            "duration_ms": self.duration_ms,
        })
    }
}

/// Python's `datetime.isoformat()`: microseconds, or no fraction when they are zero.
pub(crate) fn isoformat(time: NaiveDateTime) -> String {
    let fraction = if time.and_utc().timestamp_subsec_micros() == 0 {
        ""
    } else {
        "%.6f"
    };
    time.format(&format!("%Y-%m-%dT%H:%M:%S{fraction}"))
        .to_string()
}

/// What Python 3.10's `datetime.fromisoformat` takes and what is a naive time: no `Z`, no offset, a fraction of 3 or 6
/// digits or none.
pub(crate) fn fromisoformat(text: &str) -> Option<NaiveDateTime> {
    let (date, time) = text.split_once('T')?;
    let fraction = match time.len() {
        8 => "",
        12 => "%.3f",
        15 => "%.6f",
        _ => return None,
    };
    if date.len() != 10 {
        return None;
    }
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    let time = NaiveTime::parse_from_str(time, &format!("%H:%M:%S{fraction}")).ok()?;
    Some(date.and_time(time))
}

/// A JSON object, and where it stands.
struct Object<'a> {
    place: String,
    keys: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    fn of(place: &str, value: &'a Value) -> Result<Self, String> {
        let keys = value
            .as_object()
            .ok_or_else(|| format!("{place} is {value}, not an object"))?;
        Ok(Self {
            place: place.to_owned(),
            keys,
        })
    }

    fn wrong<T>(&self, key: &str, right: &str) -> Result<T, String> {
        match self.keys.get(key) {
            Some(value) => Err(format!("{}.{key} is {value}, not {right}", self.place)),
            None => Err(format!(
                "{}.{key} is missing, should be {right}",
                self.place
            )),
        }
    }

    fn text(&self, key: &str) -> Result<String, String> {
        let text = self.keys.get(key).and_then(Value::as_str);
        text.map_or_else(|| self.wrong(key, "a string"), |text| Ok(text.to_owned()))
    }

    fn text_or_null(&self, key: &str) -> Result<Option<String>, String> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.text(key).map(Some),
        }
    }

    fn uuid(&self, key: &str) -> Result<Uuid, String> {
        self.text(key)?
            .parse()
            .or_else(|_| self.wrong(key, "a UUID"))
    }

    fn integer(&self, key: &str) -> Result<i64, String> {
        let number = self.keys.get(key).and_then(Value::as_i64);
        number.map_or_else(|| self.wrong(key, "an integer"), Ok)
    }

    fn integer_or(&self, key: &str, missing: i64) -> Result<i64, String> {
        if self.keys.contains_key(key) {
            self.integer(key)
        } else {
            Ok(missing)
        }
    }

    fn time(&self, key: &str) -> Result<NaiveDateTime, String> {
        let right = "a time such as 2026-01-05T00:52:44.123456, without Z or offset";
        fromisoformat(&self.text(key)?).map_or_else(|| self.wrong(key, right), Ok)
    }

    fn time_or_null(&self, key: &str) -> Result<Option<NaiveDateTime>, String> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.time(key).map(Some),
        }
    }

    /// Missing is empty; null, a list or a scalar is wrong.
    fn object_or_empty(&self, key: &str) -> Result<Map<String, Value>, String> {
        match self.keys.get(key) {
            None => Ok(Map::new()),
            Some(Value::Object(object)) => Ok(object.clone()),
            Some(_) => self.wrong(key, "an object"),
        }
    }

    fn texts_or_empty(&self, key: &str) -> Result<Vec<String>, String> {
        let Some(value) = self.keys.get(key) else {
            return Ok(Vec::new());
        };
        let texts = value.as_array().and_then(|items| {
            items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        });
        texts.map_or_else(|| self.wrong(key, "a list of strings"), Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable_state() -> Value {
        json!({
            "execution_id": "exec-0123456789ab",
            "workflow_id": "8c3c1b9e-6a0b-4b52-a9a5-0a4f0b2f9d11",
            "workflow_version": 1,
            "status": "running",
            "current_node_id": "b",
            "completed_node_ids": ["a"],
            "node_results": {"a": {"node_id": "a", "status": "success", "output": {}, "error": null,
                "started_at": "2026-01-05T00:52:44.123456", "completed_at": "2026-01-05T00:52:45", "duration_ms": 876}},
            "execution_data": {"a_output": {}},
            "started_at": "2026-01-05T00:52:44.123456",
            "error_message": null,
            "retry_count": 0,
            "next_retry_at": null,
        })
    }

    #[test]
    fn a_state_of_known_keys_survives_the_api_unchanged() {
        let state = readable_state();
        let read = assert_api_can_read(&state);
        assert_eq!(read.result("a").map(|result| result.duration_ms), Some(876));
        assert_eq!(
            read.to_value().to_string(),
            state.to_string(),
            "order included"
        );
    }

    #[test]
    fn what_python_would_raise_about_is_refused() {
        for (pointer, value) in [
            ("/execution_id", Value::Null),
            ("/workflow_id", json!("not-a-uuid")),
            ("/workflow_version", json!(1.5)),
            ("/status", Value::Null),
            ("/current_node_id", json!(7)),
            ("/completed_node_ids", Value::Null),
            ("/completed_node_ids/0", json!(1)),
            ("/node_results", json!([])),
            ("/node_results/a", Value::Null),
            ("/node_results/a/output", json!([1])),
            ("/node_results/a/output", Value::Null),
            ("/node_results/a/error", json!({"message": "no"})),
            ("/node_results/a/duration_ms", json!(1.5)),
            ("/node_results/a/duration_ms", Value::Null),
            (
                "/node_results/a/started_at",
                json!("2026-01-05T00:52:44.123456Z"),
            ),
            (
                "/node_results/a/completed_at",
                json!("2026-01-05T00:52:44+00:00"),
            ),
            ("/execution_data", Value::Null),
            ("/started_at", json!("2026-01-05T00:52:44.1")),
            ("/started_at", json!("2026-01-05")),
            ("/error_message", json!({})),
            ("/retry_count", Value::Null),
            ("/next_retry_at", json!(0)),
        ] {
            let mut state = readable_state();
            *state.pointer_mut(pointer).unwrap() = value.clone();
            let error =
                State::parse(&state).expect_err(&format!("{pointer} = {value} was accepted"));
            let key = pointer
                .split('/')
                .find(|part| error.contains(part) && !part.is_empty());
            assert!(key.is_some(), "{pointer}: {error}");
        }
        for key in [
            "execution_id",
            "workflow_id",
            "workflow_version",
            "status",
            "started_at",
        ] {
            let mut state = readable_state();
            state.as_object_mut().unwrap().remove(key);
            assert!(
                State::parse(&state).is_err_and(|error| error.contains(key)),
                "{key}"
            );
        }
    }

    #[test]
    fn times_are_written_and_read_as_python_does() {
        for text in [
            "2026-01-05T00:52:44.123456",
            "2026-01-05T00:52:44",
            "2026-01-05T00:52:44.100000",
        ] {
            assert_eq!(isoformat(fromisoformat(text).unwrap()), text);
        }
        assert_eq!(
            isoformat(fromisoformat("2026-01-05T00:52:44.120").unwrap()),
            "2026-01-05T00:52:44.120000"
        );
    }
}
