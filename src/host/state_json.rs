//! The published view: what the screens show of one execution, as JSON in `workflowexecution.execution_state`.
//!
//! The engine's truth is elsewhere; this is derived from the recorded steps and may be written at any time. What the
//! API's parser demands holds for each text that [`View::to_json`] makes: all keys are there, each output is an object,
//! times have six digits and no zone, durations are whole milliseconds (contract: `db-api-details.md` 3.1).
//!
//! A node that failed stands in `node_results` at once, and among the `completed_node_ids` (which is where the canvas
//! looks) only when the failure is final; a later success takes its place. `node_results` keeps the order of the
//! first records.
//!
//! The view is written again and again while nodes end, so each output is turned into text once, and the text is shared by
//! `node_results` and `execution_data`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::engine::{Step, StepStatus};
use crate::host::iso_time;
use crate::host::json_text::{json_text, push_member, push_text, text_or_null};
use crate::host::rounds::parallel_round;
use crate::ids::{NodeId, Timestamp, WorkflowId};

pub use crate::host::host_state::{BadState, DEBUG_MODE, HostState, read, replay_marker};

type Object = Map<String, Value>;

/// What never changes of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The column `execution_id`: `exec-…`.
    pub execution_name: String,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// Its version when the execution was made.
    pub workflow_version: i32,
    /// The column `started_at`.
    pub started_at: Timestamp,
}

/// What changes of an execution beside its steps; the same as in the row's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published<'a> {
    /// The status.
    pub status: &'a str,
    /// A node that runs, waits or has failed.
    pub current_node_id: Option<&'a NodeId>,
    /// What went wrong.
    pub error_message: Option<&'a str>,
    /// Retries so far.
    pub retry_count: u32,
    /// When the next one is.
    pub next_retry_at: Option<Timestamp>,
}

impl Published<'_> {
    fn is_final_failure(&self) -> bool {
        self.status == "failed" && self.next_retry_at.is_none()
    }
}

/// What the screens show of one execution.
#[derive(Debug)]
pub struct View {
    /// The members before `status`.
    head: String,
    started_at: String,
    trigger_data: Arc<Object>,
    pub(super) data: Arc<Object>,
    /// The values of `data` as JSON.
    data_texts: HashMap<String, Arc<str>>,
    /// The keys of `data` that our own steps wrote.
    own_outputs: HashSet<String>,
    pub(super) variables: Arc<Object>,
    /// By scope: what steps of rounds that run side by side have left, which the other rounds must not see.
    pub(super) rounds: BTreeMap<Arc<str>, Object>,
    results: Vec<ResultText>,
    places: HashMap<NodeId, usize>,
    completed: Vec<NodeId>,
    completed_set: HashSet<NodeId>,
}

/// A member of `node_results`, in pieces so that the output's text can be shared.
#[derive(Debug)]
struct ResultText {
    node: NodeId,
    is_failed: bool,
    head: String,
    output: Arc<str>,
    /// A member to add to the output here, which the timeline shows.
    node_type: Option<String>,
    tail: String,
}

impl View {
    /// The view of an execution that has done nothing. `trigger_data` is what it was started with.
    pub fn new(identity: &Identity, trigger_data: Object) -> Self {
        let head = format!(
            r#"{{"execution_id":{},"workflow_id":"{}","workflow_version":{},"status":"#,
            json_text(&identity.execution_name),
            identity.workflow_id,
            identity.workflow_version
        );
        let data_texts = trigger_data
            .iter()
            .map(|(key, value)| (key.clone(), value.to_string().into()))
            .collect();
        let trigger_data = Arc::new(trigger_data);
        Self {
            head,
            started_at: iso_time(identity.started_at),
            data: Arc::clone(&trigger_data),
            trigger_data,
            data_texts,
            own_outputs: HashSet::new(),
            variables: Arc::default(),
            rounds: BTreeMap::new(),
            results: Vec::new(),
            places: HashMap::new(),
            completed: Vec::new(),
            completed_set: HashSet::new(),
        }
    }

    /// Shows on what an earlier worker left: data, results and completed nodes that the view does not have yet.
    pub fn adopt(&mut self, state: &HostState) {
        for (key, value) in &state.execution_data {
            if !self.data.contains_key(key) {
                self.set_data(key.clone(), value.clone(), value.to_string().into());
            }
        }
        for result in &state.node_results {
            if !self.places.contains_key(&result.node) {
                self.put_result(ResultText {
                    node: result.node.clone(),
                    is_failed: result.status == StepStatus::Failed.as_str(),
                    head: String::new(),
                    output: Arc::clone(&result.text),
                    node_type: None,
                    tail: String::new(),
                });
            }
        }
        for node in &state.completed_node_ids {
            self.complete(node);
        }
    }

    /// Shows a recorded step.
    pub fn apply(&mut self, step: &Step) {
        match step.status {
            // The loop's own step, at its end, is what is shown of it.
            StepStatus::Opened => {}
            StepStatus::Joined => {
                let result = step.output.get("result").cloned().unwrap_or_default();
                self.set_own(step, "_parallel_result", result);
            }
            StepStatus::Skipped | StepStatus::Failed => {
                let text: Arc<str> = Value::Object((*step.output).clone()).to_string().into();
                self.put_result(result_text(step, text));
            }
            StepStatus::Success | StepStatus::Continued => {
                let output = Value::Object((*step.output).clone());
                let text = self.set_own(step, "_output", output);
                self.complete(&step.node);
                if step.node_type == "set_variable" {
                    self.set_variable(step);
                }
                if let (Some(signal), Some(data)) = (
                    step.output.get("signal_type").and_then(Value::as_str),
                    step.output.get("signal_data"),
                ) {
                    self.set_signal(signal, data.clone());
                }
                self.leave_rounds(step);
                self.put_result(result_text(step, text));
            }
        }
    }

    /// Puts what a step has left into the data; its text comes back.
    fn set_own(&mut self, step: &Step, ending: &str, value: Value) -> Arc<str> {
        let key = format!("{}{ending}", step.node);
        let text: Arc<str> = value.to_string().into();
        if let Some(round) = parallel_round(&step.scope) {
            let round = self.rounds.entry(round.into()).or_default();
            round.insert(key.clone(), value.clone());
        }
        self.own_outputs.insert(key.clone());
        self.set_data(key, value, Arc::clone(&text));
        text
    }

    /// A signal has ended a wait: its data can be read by its name.
    fn set_signal(&mut self, signal: &str, data: Value) {
        let key = format!("signal_{signal}");
        let text = data.to_string().into();
        self.own_outputs.insert(key.clone());
        self.set_data(key, data, text);
    }

    /// Takes over what others wrote into `execution_data` on purpose, such as `test_mode` or a signal: keys that are new
    /// or changed, apart from the outputs of our own steps, and from what marks a replay. Of what is gone only the flag
    /// `debug_mode` is taken away. Whether there was anything.
    pub fn merge_host(&mut self, execution_data: &Object) -> bool {
        let mut has_changed = false;
        if !execution_data.contains_key(DEBUG_MODE) && self.data.contains_key(DEBUG_MODE) {
            Arc::make_mut(&mut self.data).remove(DEBUG_MODE);
            self.data_texts.remove(DEBUG_MODE);
        }
        let marker = replay_marker(execution_data);
        for (key, value) in execution_data {
            let is_its_own = self.own_outputs.contains(key) || marker.contains(&key.as_str());
            if !is_its_own && self.data.get(key) != Some(value) {
                self.set_data(key.clone(), value.clone(), value.to_string().into());
                has_changed = true;
            }
        }
        has_changed
    }

    /// `execution_data`: the trigger data at its top level, and the outputs.
    pub fn data(&self) -> &Arc<Object> {
        &self.data
    }

    /// What the execution was started with.
    pub fn trigger_data(&self) -> &Arc<Object> {
        &self.trigger_data
    }

    /// The column's JSON, with the keys and in the order in which the platform writes them.
    pub fn to_json(&self, published: &Published<'_>) -> String {
        let mut json = String::with_capacity(self.expected_len());
        json.push_str(&self.head);
        push_text(&mut json, published.status);
        push_member(
            &mut json,
            "current_node_id",
            &text_or_null(published.current_node_id.map(NodeId::as_str)),
        );
        self.push_completed(&mut json, published.is_final_failure());
        self.push_results(&mut json);
        self.push_data(&mut json);
        push_member(&mut json, "started_at", &json_text(&self.started_at));
        push_member(
            &mut json,
            "error_message",
            &text_or_null(published.error_message),
        );
        push_member(&mut json, "retry_count", &published.retry_count.to_string());
        push_member(
            &mut json,
            "next_retry_at",
            &text_or_null(published.next_retry_at.map(iso_time).as_deref()),
        );
        json.push('}');
        json
    }

    fn push_completed(&self, json: &mut String, with_failed: bool) {
        let failed = self
            .results
            .iter()
            .filter(|result| {
                with_failed && result.is_failed && !self.completed_set.contains(&result.node)
            })
            .map(|result| &result.node);
        json.push_str(r#","completed_node_ids":["#);
        let mut separator = "";
        for node in self.completed.iter().chain(failed) {
            json.push_str(separator);
            push_text(json, node.as_str());
            separator = ",";
        }
        json.push(']');
    }

    fn push_results(&self, json: &mut String) {
        json.push_str(r#","node_results":{"#);
        let mut separator = "";
        for result in &self.results {
            json.push_str(separator);
            push_text(json, result.node.as_str());
            json.push(':');
            json.push_str(&result.head);
            match (&result.node_type, result.output.strip_suffix('}')) {
                (Some(node_type), Some(open)) => {
                    json.push_str(open);
                    json.push_str(if open == "{" {
                        r#""node_type":"#
                    } else {
                        r#","node_type":"#
                    });
                    json.push_str(node_type);
                    json.push('}');
                }
                (None, _) | (_, None) => json.push_str(&result.output),
            }
            json.push_str(&result.tail);
            separator = ",";
        }
        json.push('}');
    }

    fn push_data(&self, json: &mut String) {
        json.push_str(r#","execution_data":{"#);
        let mut separator = "";
        for (key, value) in self.data.iter() {
            json.push_str(separator);
            push_text(json, key);
            json.push(':');
            match self.data_texts.get(key) {
                Some(text) => json.push_str(text),
                None => json.push_str(&value.to_string()),
            }
            separator = ",";
        }
        json.push('}');
    }

    fn expected_len(&self) -> usize {
        const AROUND_A_RESULT: usize = 250;
        const AROUND_ALL: usize = 500;
        let data: usize = self
            .data_texts
            .iter()
            .map(|(key, text)| key.len() + text.len())
            .sum();
        let results: usize = self
            .results
            .iter()
            .map(|result| result.output.len() + AROUND_A_RESULT)
            .sum();
        data + results + AROUND_ALL
    }

    fn set_data(&mut self, key: String, value: Value, text: Arc<str>) {
        self.data_texts.insert(key.clone(), text);
        Arc::make_mut(&mut self.data).insert(key, value);
    }

    fn put_result(&mut self, result: ResultText) {
        match self
            .places
            .get(&result.node)
            .and_then(|place| self.results.get_mut(*place))
        {
            Some(former) => *former = result,
            None => {
                self.places.insert(result.node.clone(), self.results.len());
                self.results.push(result);
            }
        }
    }

    fn complete(&mut self, node: &NodeId) {
        if self.completed_set.insert(node.clone()) {
            self.completed.push(node.clone());
        }
    }
}

fn result_text(step: &Step, output: Arc<str>) -> ResultText {
    let duration = (step.finished_at - step.started_at)
        .num_milliseconds()
        .max(0);
    ResultText {
        node: step.node.clone(),
        is_failed: matches!(step.status, StepStatus::Failed | StepStatus::Continued),
        head: format!(
            r#"{{"node_id":{},"status":"{}","output":"#,
            json_text(step.node.as_str()),
            shown_status(step.status)
        ),
        output,
        node_type: (!step.output.contains_key("node_type")).then(|| json_text(&step.node_type)),
        tail: format!(
            r#","error":{},"started_at":"{}","completed_at":"{}","duration_ms":{duration}}}"#,
            text_or_null(step.error.as_deref()),
            iso_time(step.started_at),
            iso_time(step.finished_at)
        ),
    }
}

/// `node_results[*].status`: the screens know four words.
fn shown_status(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Success | StepStatus::Opened | StepStatus::Joined => "success",
        StepStatus::Failed | StepStatus::Continued => "failed",
        StepStatus::Skipped => "skipped",
    }
}
