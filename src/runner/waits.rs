//! What the nodes of an execution await from outside: signals, and the ends of executions that they have started.
//!
//! A wait, the row that asks, and the child that is started are recorded in one commit. Before an execution parks it
//! looks once whether the answer is there already; whatever comes later raises `host_version`, so that the record that
//! parks it is refused and it looks again. No answer is missed, and none needs a poll.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Tools;
use super::answers::{answered, gone};
use super::drive::Drive;
use super::perform::{Call, Performed, perform};
use crate::engine::{
    Awaited, Event as EngineEvent, FailureKind, Machine, NodeResult, SignalWait, TokenId, Waiting,
};
use crate::host::log_entry::{Level, LogEntry};
use crate::host::mocks::{MOCK_RESULTS, TEST_MODE};
use crate::host::signals::{OpenWait, SignalRow, match_signals};
use crate::ids::{ExecutionId, WorkflowId};
use crate::store::StoreError;
use crate::store::children::ChildRow;
use crate::store::record::{NewChild, SignalRequest};
use crate::telemetry::Event;

/// How long to wait before another try to read the answers: at first, and at most.
const RETRY_WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// What is to be recorded of waits, beside the engine's checkpoint.
#[derive(Debug, Default)]
pub(super) struct WaitNews {
    pub(super) requests: Vec<SignalRequest>,
    pub(super) consumed: Vec<uuid::Uuid>,
    pub(super) children: Vec<NewChild>,
    pub(super) cancelled_children: Vec<ExecutionId>,
}

/// What is known of the waits of this run.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Not recorded yet.
    pub(super) news: WaitNews,
    /// Whether an answer may be there that has not been looked for.
    pub(super) may_be_answered: bool,
    /// By request: the last refusal that was told of what stands in the request's own row.
    refused: HashMap<uuid::Uuid, String>,
}

impl Waits {
    /// Those of an execution that has just been taken up.
    pub(super) fn unlooked() -> Self {
        Self {
            may_be_answered: true,
            ..Self::default()
        }
    }
}

impl WaitNews {
    /// Whether an execution is to be started whose end is waited for.
    pub(super) fn starts_awaited(&self) -> bool {
        self.children.iter().any(|child| child.is_awaited)
    }

    /// Whether others wait for this to be recorded.
    pub(super) fn is_urgent(&self) -> bool {
        !(self.requests.is_empty()
            && self.consumed.is_empty()
            && self.children.is_empty()
            && self.cancelled_children.is_empty())
    }

    /// An execution that ends asks nobody any more: its open requests are dealt with, and what was to be asked, or
    /// started and awaited, is not. (The record of its end tells the awaited children.)
    pub(super) fn withdraw(&mut self, machine: &Machine) {
        for waiting in machine.awaiting() {
            match &*waiting.wait {
                Awaited::Signal { wait, request_id } if wait.request.is_some() => {
                    let asked = self.requests.len();
                    self.requests.retain(|request| request.id != *request_id);
                    if self.requests.len() == asked && !self.consumed.contains(request_id) {
                        self.consumed.push(*request_id);
                    }
                }
                Awaited::Signal { .. } => {}
                Awaited::Child { id, .. } => {
                    self.children.retain(|child| child.id != ExecutionId(*id));
                }
            }
        }
    }
}

/// Runs a node, and sees to it that a workflow that it starts is there.
pub(super) async fn perform_checked(tools: Arc<Tools>, call: Call) -> Performed {
    let performed = perform(Arc::clone(&tools.registry), call).await;
    let Some((child, _)) = &performed.child else {
        return performed;
    };
    let wrong = match tools
        .store
        .load_workflow_facts(WorkflowId(child.workflow_id))
        .await
    {
        Ok(Some(facts)) if facts.is_active => return performed,
        Ok(Some(facts)) => NodeResult::failure(
            FailureKind::Permanent,
            "ConfigurationError",
            format!(
                "workflow_id is {}; the workflow \"{}\" is not active",
                child.workflow_id, facts.name
            ),
        ),
        Ok(None) => NodeResult::failure(
            FailureKind::Permanent,
            "ConfigurationError",
            format!(
                "workflow_id is {}; there is no such workflow",
                child.workflow_id
            ),
        ),
        Err(error) => NodeResult::failure(
            FailureKind::Retryable,
            "Error",
            format!("the workflow to start could not be looked up: {error}"),
        ),
    };
    let event = match performed.event {
        EngineEvent::NodeFinished {
            token, started_at, ..
        } => EngineEvent::NodeFinished {
            token,
            started_at,
            result: wrong,
        },
        other => other,
    };
    Performed { event, child: None }
}

impl Drive {
    /// Takes note of what a node that has ended asks of others, before the engine is told.
    pub(super) fn note_waits(&mut self, performed: &Performed) {
        let EngineEvent::NodeFinished { token, result, .. } = &performed.event else {
            return;
        };
        let now = self.session.now();
        let node = self
            .machine
            .in_flight()
            .find(|(id, _)| id == token)
            .map(|(_, node)| node.clone());
        let Some(node) = node else {
            return;
        };
        if let NodeResult::Await { wait, .. } = result {
            self.waits.may_be_answered = true;
            if let Awaited::Signal { wait, request_id } = wait {
                let entry = LogEntry::waiting_for_signal(Some(&node), &wait.signal_type, now);
                self.report.log(entry);
                if let Some(request) = &wait.request {
                    self.waits.news.requests.push(SignalRequest {
                        id: *request_id,
                        signal_type: wait.signal_type.clone(),
                        signal_data: self
                            .session
                            .json_text(Value::Object(request.clone()).to_string()),
                    });
                }
            }
        }
        if let Some((child, is_awaited)) = &performed.child {
            let mut input = child.input.clone();
            // What is tested does nothing for real in other workflows either.
            for key in [TEST_MODE, MOCK_RESULTS] {
                if let Some(value) = self.view.data().get(key) {
                    input.insert(key.to_owned(), value.clone());
                }
            }
            let input = Value::Object(input).to_string();
            self.waits.news.children.push(NewChild {
                id: ExecutionId(child.id),
                name: child.name.clone(),
                workflow_id: WorkflowId(child.workflow_id),
                input: self.session.json_text(input),
                visit: self.machine.visit_of(*token).unwrap_or(1),
                node,
                depth: self.session.claimed.depth.saturating_add(1),
                is_awaited: *is_awaited,
            });
        }
    }

    /// What a cancelled node awaited is no longer wanted.
    pub(super) fn retire(&mut self, awaited: &Awaited) {
        match awaited {
            Awaited::Signal { request_id, .. } => {
                let news = &mut self.waits.news;
                let asked = news.requests.len();
                news.requests.retain(|request| request.id != *request_id);
                if news.requests.len() == asked {
                    news.consumed.push(*request_id);
                }
            }
            Awaited::Child { id, .. } => {
                let (id, news) = (ExecutionId(*id), &mut self.waits.news);
                let started = news.children.len();
                news.children.retain(|child| child.id != id);
                if news.children.len() == started {
                    news.cancelled_children.push(id);
                }
            }
        }
    }

    /// Looks for answers to what is awaited, and tells the engine. `false`: none can be taken before what was asked is
    /// recorded.
    pub(super) async fn take_answers(&mut self) -> bool {
        self.waits.may_be_answered = false;
        let waiting: Vec<Waiting> = self.machine.awaiting().collect();
        if waiting.is_empty() {
            return true;
        }
        let (rows, ends) = self.load_answers(&waiting).await;
        let results = self.signals_taken(&waiting, &rows);
        let Some(results) = results else {
            self.waits.may_be_answered = true;
            return false;
        };
        let unrecorded: HashSet<ExecutionId> = self
            .waits
            .news
            .children
            .iter()
            .map(|child| child.id)
            .collect();
        let of_children = waiting.iter().filter_map(|wait| match &*wait.wait {
            Awaited::Child { id, name, output } => {
                let id = ExecutionId(*id);
                let result = match ends.get(&id) {
                    None if unrecorded.contains(&id) => return None,
                    None => gone(name, output),
                    Some(row) if row.is_final => self.child_ended(wait, row, output),
                    Some(_) => return None,
                };
                Some((wait.token, result))
            }
            Awaited::Signal { .. } => None,
        });
        let of_children: Vec<(TokenId, NodeResult)> = of_children.collect();
        for (token, result) in results.into_iter().chain(of_children) {
            // An answer before it may have cancelled this wait.
            if self.machine.awaiting().any(|wait| wait.token == token) {
                self.apply(EngineEvent::Answered { token, result });
            }
        }
        true
    }

    /// Reads what there is. Waits while the database is away.
    async fn load_answers(
        &self,
        waiting: &[Waiting],
    ) -> (Vec<SignalRow>, HashMap<ExecutionId, ChildRow>) {
        let store = &self.session.tools.store;
        let children: Vec<ExecutionId> = waiting
            .iter()
            .filter_map(|wait| match &*wait.wait {
                Awaited::Child { id, .. } => Some(ExecutionId(*id)),
                Awaited::Signal { .. } => None,
            })
            .collect();
        let has_signals = children.len() < waiting.len();
        let mut wait = RETRY_WAIT.0;
        loop {
            let loaded: Result<_, StoreError> = async {
                let rows = if has_signals {
                    store
                        .load_signals(self.session.claimed.execution_id)
                        .await?
                } else {
                    Vec::new()
                };
                let ends = if children.is_empty() {
                    HashMap::new()
                } else {
                    store.load_children(&children).await?
                };
                Ok((rows, ends))
            }
            .await;
            match loaded {
                Ok(loaded) => return loaded,
                Err(error) => {
                    tracing::debug!("execution {}: {error}", self.session.claimed.execution_id);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_WAIT.1);
                }
            }
        }
    }

    /// The results of waits that signals have ended; `None` if a request must be recorded before its answer is taken.
    fn signals_taken(
        &mut self,
        waiting: &[Waiting],
        rows: &[SignalRow],
    ) -> Option<Vec<(TokenId, NodeResult)>> {
        let asked: Vec<(&Waiting, &SignalWait, uuid::Uuid)> = waiting
            .iter()
            .filter_map(|waiting| match &*waiting.wait {
                Awaited::Signal { wait, request_id } => Some((waiting, wait, *request_id)),
                Awaited::Child { .. } => None,
            })
            .collect();
        let open: Vec<OpenWait<'_>> = asked
            .iter()
            .map(|(waiting, wait, request_id)| OpenWait {
                node: waiting.node.clone(),
                request_id: *request_id,
                since: waiting.since,
                wait,
                refused: self.waits.refused.get(request_id).cloned(),
            })
            .collect();
        let matched = match_signals(&open, rows);
        let is_unasked = |id: uuid::Uuid| {
            let requests = &self.waits.news.requests;
            requests.iter().any(|request| request.id == id)
        };
        let needs_record = matched.answers.iter().any(|answer| {
            let request = asked.get(answer.wait).map(|(.., request_id)| *request_id);
            request.is_some_and(is_unasked)
        });
        if needs_record {
            return None;
        }
        let now = self.session.now();
        for refusal in matched.refusals {
            let Some((waiting, _, request_id)) = asked.get(refusal.wait) else {
                continue;
            };
            let entry = LogEntry::new(waiting.node.as_str(), Level::Warning, &refusal.text, now);
            self.report.log(entry);
            match refusal.consumed {
                Some(id) => self.waits.news.consumed.push(id),
                None => {
                    self.waits.refused.insert(*request_id, refusal.text);
                    // Nothing else may make this known.
                    self.report.write_within(Duration::ZERO);
                }
            }
        }
        self.waits.news.consumed.extend(matched.late);
        let mut results = Vec::new();
        for answer in matched.answers {
            let Some((waiting, wait, request_id)) = asked.get(answer.wait) else {
                continue;
            };
            let (id, name) = (self.session.claimed.execution_id, self.session.name.clone());
            self.report.say(
                LogEntry::signal_received(Some(&waiting.node), &answer.signal_type, now),
                Event::SignalProcessed { id, name },
            );
            self.waits.news.consumed.extend(&answer.consumed);
            results.push((waiting.token, answered(wait, *request_id, answer)));
        }
        Some(results)
    }
}
