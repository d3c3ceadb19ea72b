//! The loop of one execution: commands out, events in, records between.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Ended;
use super::graphs::StoredGraph;
use super::perform::{Call, Performed};
use super::report::Report;
use super::session::Session;
use super::waits::{Waits, perform_checked};
use crate::activities::{Context, Node};
use crate::engine::{Command, Event as EngineEvent, Machine, TokenId};
use crate::host::log_entry::LogEntry;
use crate::host::state_json::View;
use crate::ids::{self, NodeId, Timestamp};
use crate::store::claim::HostWrite;
use crate::telemetry::Event;

/// A node that has run for this long without anything else to record is announced by a record of its own. Shorter ones
/// are announced with their result.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(50);

/// Why no new nodes are started.
#[derive(Clone, Debug)]
pub(super) enum Hold {
    /// They are.
    No,
    /// The row says paused: nodes that run may end.
    Parked,
    /// The execution that started this one no longer wants it: what runs is cancelled.
    Cancelled(String),
    /// Somebody has ended the execution: what runs is cancelled.
    Over(Box<HostWrite>),
}

/// How this run of the execution ends.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// Everything is done.
    Completed,
    /// Failed for good.
    Failed {
        node: Option<NodeId>,
        message: String,
    },
    /// Nothing can be done before that time, or before somebody writes the row.
    Park(Option<Timestamp>),
    /// The worker stops.
    Release,
}

/// A node in flight.
pub(super) struct Task {
    abort: AbortHandle,
    /// Tells what the node may have set going.
    cancel: CancellationToken,
}

impl Task {
    pub(super) fn stop(&self) {
        self.cancel.cancel();
        self.abort.abort();
    }
}

/// A running execution.
pub(super) struct Drive {
    pub(super) session: Session,
    pub(super) machine: Machine,
    pub(super) view: View,
    pub(super) graph: Arc<StoredGraph>,
    /// Tasks of their own, so that they go on while this one records or looks; aborted when dropped.
    in_flight: JoinSet<Performed>,
    /// The same by token: how each is stopped alone.
    pub(super) tasks: HashMap<TokenId, Task>,
    /// What the engine wants done and is not begun yet.
    pub(super) queued: VecDeque<Command>,
    pub(super) hold: Hold,
    /// What is done and not yet recorded.
    pub(super) report: Report,
    /// What is awaited from outside.
    pub(super) waits: Waits,
    /// The node that the screens mark: the last that was started, or is about to be.
    pub(super) current_node: Option<NodeId>,
}

impl Drive {
    pub(super) fn new(
        session: Session,
        machine: Machine,
        view: View,
        graph: Arc<StoredGraph>,
    ) -> Self {
        let current_node = machine.current_node().cloned();
        Self {
            report: Report::new(session.claimed.graph_hash.is_some()),
            waits: Waits::unlooked(),
            session,
            machine,
            view,
            graph,
            in_flight: JoinSet::new(),
            tasks: HashMap::new(),
            queued: VecDeque::new(),
            hold: Hold::No,
            current_node,
        }
    }

    pub(super) async fn run(mut self) -> Ended {
        self.apply(EngineEvent::Start);
        if self.session.has_new_data {
            self.apply(EngineEvent::DataChanged);
        }
        loop {
            while let Some(command) = self.machine.next_command() {
                self.queued.push_back(command);
            }
            if let Hold::Over(write) = &self.hold {
                let write = write.clone();
                self.abandon();
                return self.settle_over(&write).await;
            }
            if let Hold::Cancelled(reason) = &self.hold {
                let reason = reason.clone();
                self.abandon();
                return self.terminate(&reason).await;
            }
            if self.waits.may_be_answered
                && !matches!(self.hold, Hold::Parked)
                && self.take_answers().await
            {
                // Perhaps the engine has new commands.
                continue;
            }
            let recorded = match self.ending().await {
                // An answer is there already that can be taken once its request is recorded.
                _ if self.waits.may_be_answered && !matches!(self.hold, Hold::Parked) => {
                    self.record().await
                }
                // Whether there is a child to wait for shows once it is recorded: its workflow may be gone by then.
                Some(_) if self.waits.news.starts_awaited() => {
                    self.waits.may_be_answered = true;
                    self.record().await
                }
                Some(ending) => self.conclude(&ending).await,
                // Before anything starts that builds on it.
                None if self.report.has_steps() || self.waits.news.is_urgent() => {
                    self.record().await
                }
                None => {
                    self.start_queued();
                    self.wait().await
                }
            };
            if let Err(ended) = recorded {
                return ended;
            }
        }
    }

    /// Whether this run ends here: everything is done, or nothing can be done now.
    async fn ending(&mut self) -> Option<Ending> {
        if matches!(self.hold, Hold::Parked) {
            return self.in_flight.is_empty().then_some(Ending::Park(None));
        }
        let end = self.queued.iter().find_map(|command| match command {
            Command::Complete => Some(Ending::Completed),
            Command::Fail { node, message } => Some(Ending::Failed {
                node: node.clone(),
                message: message.clone(),
            }),
            Command::RunNode { .. } => None,
        });
        if end.is_some() {
            self.abandon();
            return end;
        }
        if !self.in_flight.is_empty() {
            return None;
        }
        let interrupts = &self.session.interrupts;
        if interrupts.hurry.is_cancelled()
            || (interrupts.drain.is_cancelled() && !self.queued.is_empty())
        {
            return Some(Ending::Release);
        }
        if !self.queued.is_empty() {
            return None;
        }
        match self.machine.next_deadline() {
            Some(at) if at > self.session.now() => Some(Ending::Park(Some(at))),
            Some(_) => {
                self.pass_deadline().await;
                None
            }
            None if self.machine.awaiting().next().is_some() => Some(Ending::Park(None)),
            None => Some(Ending::Failed {
                node: None,
                message: "internal error: nothing is left to run and nothing to wait for"
                    .to_owned(),
            }),
        }
    }

    /// Waits for whatever comes next.
    async fn wait(&mut self) -> Result<(), Ended> {
        if self.in_flight.is_empty() {
            // A deadline has passed just now: the engine has new commands.
            return Ok(());
        }
        // While it is paused no time ends.
        let deadline = (!matches!(self.hold, Hold::Parked))
            .then(|| self.machine.next_deadline())
            .flatten()
            .map(|at| self.session.tools.clock.instant_of(at));
        let write_by = self.report.write_by();
        let drain = self.session.interrupts.drain.clone();
        let hurry = self.session.interrupts.hurry.clone();
        let is_draining = drain.is_cancelled();
        tokio::select! {
            Some(ended) = self.in_flight.join_next() => {
                self.take(ended);
                // Others that are ready by now share the commit.
                while let Some(ended) = self.in_flight.try_join_next() {
                    self.take(ended);
                }
                Ok(())
            }
            () = at(deadline), if deadline.is_some() => {
                self.pass_deadline().await;
                Ok(())
            }
            () = at(write_by), if write_by.is_some() => self.record().await,
            Ok(()) = self.session.interrupts.seen.changed() => self.look_if_news().await,
            () = drain.cancelled(), if !is_draining => Ok(()),
            () = hurry.cancelled() => {
                self.abandon();
                Ok(())
            }
        }
    }

    /// Something happens because its time has come. An answer that is there by now counts, although nobody has looked
    /// before: no worker may have been there, or nobody heard of it.
    async fn pass_deadline(&mut self) {
        let is_over = self.machine.has_waited_long_enough(self.session.now());
        // What was not asked yet is recorded first, and then it is looked again.
        if !is_over || self.take_answers().await {
            self.apply(EngineEvent::DeadlinePassed);
        }
    }

    fn take(&mut self, ended: Result<Performed, JoinError>) {
        match ended {
            Ok(performed) => {
                let EngineEvent::NodeFinished { token, .. } = &performed.event else {
                    return;
                };
                // Otherwise it was cancelled when it had just ended.
                if self.tasks.remove(token).is_some() {
                    self.note_waits(&performed);
                    self.apply(performed.event);
                }
            }
            Err(error) if error.is_cancelled() => {}
            // `perform` catches panics, so this is the runtime going down.
            Err(error) => tracing::debug!("a node's task ended without a result: {error}"),
        }
    }

    /// Starts the nodes that the engine wants run, unless no new ones are to start.
    fn start_queued(&mut self) {
        if !matches!(self.hold, Hold::No) || self.session.interrupts.drain.is_cancelled() {
            return;
        }
        for command in std::mem::take(&mut self.queued) {
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
                continue;
            };
            let Some(spec) = self.graph.graph.node(&node) else {
                // The engine's tokens are on nodes of this graph.
                continue;
            };
            let id = self.session.claimed.execution_id;
            let now = self.session.now();
            // A re-check is not a new start for the people who read the log.
            if waiting_since.is_none() {
                self.report.log(LogEntry::executing(&node, now));
                self.session.tools.telemetry.emit(Event::NodeStarted {
                    id,
                    node: node.clone(),
                    attempt,
                });
            }
            self.report.write_within(ANNOUNCE_AFTER);
            self.current_node = Some(node.clone());
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
                    cancelled: CancellationToken::new(),
                },
                limit: self.session.tools.node_timeout,
            };
            let cancel = call.context.cancelled.clone();
            let abort = self
                .in_flight
                .spawn(perform_checked(Arc::clone(&self.session.tools), call));
            self.tasks.insert(token, Task { abort, cancel });
        }
    }

    /// Cancels what is in flight. What it would have brought is not recorded; its tokens stay where they are, so that
    /// it runs again if the execution goes on.
    pub(super) fn abandon(&mut self) {
        for task in self.tasks.values() {
            task.stop();
        }
        self.tasks.clear();
        self.in_flight = JoinSet::new();
    }

    /// Somebody has ended the execution: what is not yet recorded goes with the record that takes it off the run queue.
    pub(super) async fn settle_over(&mut self, write: &HostWrite) -> Ended {
        let mut news = self.report.take_unrecorded();
        news.waits = std::mem::take(&mut self.waits.news);
        self.session
            .settle(Some((&self.machine, &self.view)), write, news)
            .await
    }
}

/// Sleeps until then; the guard of the branch sees to it that there is such a time.
async fn at(instant: Option<Instant>) {
    if let Some(instant) = instant {
        tokio::time::sleep_until(instant.into()).await;
    }
}
