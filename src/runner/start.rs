//! How a node is started: all side by side; one at a time while the execution is debugged; not at all, but with the
//! result that was given for it, in test mode.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::drive::{Drive, Hold};
use super::perform::{Call, Performed};
use super::waits::perform_checked;
use crate::activities::{Context, Node};
use crate::engine::{Command, Event as EngineEvent, FailureKind, GraphNode, NodeResult};
use crate::host::log_entry::{Level, LogEntry};
use crate::host::mocks::{MOCK_RESULTS, Mocks};
use crate::ids::{self, Visit};
use crate::telemetry::Event;

impl Drive {
    /// Starts the nodes that the engine wants run, unless no new ones are to start.
    pub(super) fn start_queued(&mut self) {
        if !matches!(self.hold, Hold::No) || self.session.interrupts.drain.is_cancelled() {
            return;
        }
        if self.session.is_debugged {
            // `ending` has seen that this run may start one.
            if self.in_flight.is_empty()
                && let Some(command) = self.queued.pop_front()
            {
                self.start(command);
            }
            return;
        }
        for command in std::mem::take(&mut self.queued) {
            self.start(command);
        }
    }

    fn start(&mut self, command: Command) {
        let acts = self.acts(&command);
        let Command::RunNode {
            token,
            node,
            visit,
            attempt,
            waiting_since,
            round,
            locals,
            scope,
        } = command
        else {
            // `ending` has seen Complete and Fail before this.
            return;
        };
        let graph = Arc::clone(&self.graph);
        let Some(spec) = graph.graph.node(&node) else {
            // The engine's tokens are on nodes of this graph.
            return;
        };
        let id = self.session.claimed.execution_id;
        let now = self.session.now();
        self.has_started = true;
        self.current_node = Some(node.clone());
        self.report.announce();
        let cancel = CancellationToken::new();
        if let Some(result) = self.mocked(spec, visit) {
            let event = EngineEvent::NodeFinished {
                token,
                result,
                started_at: now,
            };
            self.report.log(LogEntry::mocked(&node, now));
            let performed = Performed { event, child: None };
            let work = std::future::ready(performed);
            self.in_flight.start(token, work, false, cancel);
            return;
        }
        // A re-check is not a new start for the people who read the log.
        if waiting_since.is_none() {
            self.report.log(LogEntry::executing(&node, now));
            let node = node.clone();
            let event = Event::NodeStarted { id, node, attempt };
            self.session.tools.telemetry.emit(event);
        }
        let call = Call {
            token,
            node: Node {
                id: node.clone(),
                node_type: Arc::clone(&spec.node_type),
                config: Arc::clone(&spec.config),
            },
            context: Context {
                execution_id: id,
                visit,
                attempt,
                idempotency_key: ids::idempotency_key(id, &node, visit),
                data: self.view.data_in(&scope),
                trigger_data: Arc::clone(self.view.trigger_data()),
                variables: self.view.variables_in(&scope),
                locals: Arc::new(locals),
                round,
                depth: self.session.claimed.depth,
                now,
                waiting_since,
                cancelled: cancel.clone(),
            },
            limit: self.session.tools.node_timeout,
        };
        let tools = Arc::clone(&self.session.tools);
        let work = perform_checked(tools, call);
        self.in_flight.start(token, work, acts, cancel);
    }

    /// In test mode: how the node ends without being run. Mocks that cannot be read fail the node: nothing is run for real
    /// that was to be mocked.
    fn mocked(&self, node: &GraphNode, visit: Visit) -> Option<NodeResult> {
        match Mocks::read(self.view.data()) {
            Ok(mocks) => mocks.and_then(|mocks| mocks.result_of(node, visit)),
            Err(problem) => Some(NodeResult::failure(
                FailureKind::Permanent,
                "ConfigurationError",
                problem,
            )),
        }
    }

    /// At the beginning of an execution in test mode: says which mocks belong to no node. (A sub-workflow gets those of
    /// its parent as well, so there it means nothing.)
    pub(super) fn warn_of_unknown_mocks(&mut self) {
        if self.session.is_input_recorded || self.session.claimed.depth > 0 {
            return;
        }
        let Ok(Some(mocks)) = Mocks::read(self.view.data()) else {
            return;
        };
        let unknown = mocks.unknown(&self.graph.graph);
        if !unknown.is_empty() {
            let text = format!(
                "{MOCK_RESULTS} has results for nodes that the workflow does not have: {}",
                unknown.join(", ")
            );
            let now = self.session.now();
            self.report
                .log(LogEntry::new("system", Level::Warning, &text, now));
        }
    }
}
