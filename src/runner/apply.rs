//! Feeds what has happened to the engine, and takes note of what it records, cancels and schedules.

use super::drive::Drive;
use crate::engine::{Command, Event as EngineEvent, NodeResult, StepStatus};
use crate::host::log_entry::{Level, LogEntry};
use crate::ids::Timestamp;
use crate::telemetry::Event;

impl Drive {
    /// Feeds an event to the engine, and takes note of what it records.
    pub(super) fn apply(&mut self, event: EngineEvent) {
        let now = self.session.now();
        let id = self.session.claimed.execution_id;
        let retries_before = self.machine.retry_count();
        self.warn_of_unlabelled_edges(&event, now);
        let steps = match self.machine.apply(event, now) {
            Ok(steps) => steps,
            Err(illegal) => {
                let error = format!("execution {id}: {illegal}");
                self.session
                    .tools
                    .telemetry
                    .emit(Event::WorkerError { error });
                return;
            }
        };
        self.stop_dropped();
        self.has_done |= !steps.is_empty();
        for step in steps {
            self.view.apply(&step);
            let node = step.node.clone();
            self.current_node = Some(node.clone());
            match step.status {
                StepStatus::Opened | StepStatus::Joined | StepStatus::Skipped => {}
                StepStatus::Success => {
                    let entry = LogEntry::node_completed(&node, step.finished_at);
                    self.report.say(entry, Event::NodeCompleted { id, node });
                }
                StepStatus::Failed | StepStatus::Continued => {
                    let error = step.error.clone().unwrap_or_default();
                    let entry = LogEntry::node_failed(&node, &error, step.finished_at);
                    self.report
                        .say(entry, Event::NodeFailed { id, node, error });
                }
            }
            self.report.add(step);
        }
        // One of those that run or wait, if there are any: the canvas marks it.
        if let Some(node) = self.machine.current_node() {
            self.current_node = Some(node.clone());
        }
        if self.machine.retry_count() > retries_before
            && let Some(failure) = self.machine.last_failure()
        {
            let (retry, max_retries) = (failure.retry, failure.max_retries);
            let error = failure.message.to_owned();
            let entry =
                LogEntry::retry_scheduled(Some(failure.node), retry, max_retries, &error, now);
            self.report.say(
                entry,
                Event::RetryScheduled {
                    id,
                    retry,
                    max_retries,
                    error,
                },
            );
        }
    }

    /// The builder saves the two edges of a condition without labels; then both sides run, which is what the row says
    /// but hardly what was meant. Said at the node's first visit.
    pub(super) fn warn_of_unlabelled_edges(&mut self, event: &EngineEvent, now: Timestamp) {
        let EngineEvent::NodeFinished {
            token,
            result:
                NodeResult::Success {
                    branch: Some(branch),
                    ..
                },
            ..
        } = event
        else {
            return;
        };
        let Some((_, node)) = self.machine.in_flight().find(|(id, _)| id == token) else {
            return;
        };
        let unlabelled = self
            .graph
            .graph
            .edges_from(node)
            .filter(|(_, label)| label.is_none())
            .count();
        if unlabelled > 1 && !self.view.data().contains_key(&format!("{node}_output")) {
            let text = format!(
                "Node {node} chose the branch \"{branch}\", but {unlabelled} of its edges have no branch: they are all taken"
            );
            self.report
                .log(LogEntry::new(node.as_str(), Level::Warning, &text, now));
        }
    }

    /// Stops the nodes that the engine has cancelled.
    pub(super) fn stop_dropped(&mut self) {
        for dropped in self.machine.take_dropped() {
            self.in_flight.stop(dropped.token);
            if let Some(awaited) = &dropped.awaited {
                self.retire(awaited);
            }
            self.queued.retain(
                |command| !matches!(command, Command::RunNode { token, .. } if *token == dropped.token),
            );
        }
    }
}
