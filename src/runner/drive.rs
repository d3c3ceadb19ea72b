//! The loop of one execution: commands out, events in, records between.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Ended;
use super::graphs::StoredGraph;
use super::in_flight::InFlight;
use super::report::Report;
use super::session::Session;
use super::waits::Waits;
use crate::clock;
use crate::engine::{Command, Event as EngineEvent, Machine};
use crate::host::state_json::View;
use crate::ids::{NodeId, Timestamp};
use crate::store::claim::HostWrite;

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
    /// It has taken as long as it may.
    TimedOut(Duration),
    /// Nothing can be done before that time, or before somebody writes the row.
    Park(Option<Timestamp>),
    /// It is debugged, and the step is done.
    Paused,
    /// The worker stops.
    Release,
}

/// A running execution.
pub(super) struct Drive {
    pub(super) session: Session,
    pub(super) machine: Machine,
    pub(super) view: View,
    pub(super) graph: Arc<StoredGraph>,
    /// The nodes that run. They go on while this records or looks.
    pub(super) in_flight: InFlight,
    /// What the engine wants done and is not begun yet.
    pub(super) queued: VecDeque<Command>,
    pub(super) hold: Hold,
    /// What is done and not yet recorded.
    pub(super) report: Report,
    /// What is awaited from outside.
    pub(super) waits: Waits,
    /// The node that the screens mark: the last that was started, or is about to be.
    pub(super) current_node: Option<NodeId>,
    /// Whether this run has started a node.
    pub(super) has_started: bool,
    /// Whether something was recorded, or is about to be, in this run.
    pub(super) has_done: bool,
    /// What ran was cancelled because the execution ends, so this run cannot go on.
    pub(super) is_cut_short: bool,
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
            in_flight: InFlight::default(),
            queued: VecDeque::new(),
            hold: Hold::No,
            current_node,
            has_started: false,
            has_done: false,
            is_cut_short: false,
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
                None if self.is_to_record() => self.record().await,
                None if self.session.slot.is_left() => self.wait_for_slot().await,
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

    /// Whether what is done is to be recorded before anything else happens: always after a node that can be seen from
    /// outside, and before one starts. Nodes that only compute are recorded together with what follows them, within
    /// `RECORD_AFTER`.
    fn is_to_record(&self) -> bool {
        if self.waits.news.is_urgent() {
            return true;
        }
        if !self.report.has_steps() {
            return false;
        }
        if self.report.has_acted {
            return true;
        }
        if self.queued.is_empty() {
            return self.report.is_ripe() || self.in_flight.any_acts();
        }
        self.report.is_ripe() || self.queued.iter().any(|command| self.acts(command))
    }

    pub(super) fn acts(&self, command: &Command) -> bool {
        let Command::RunNode { node, .. } = command else {
            return true;
        };
        let node_type = self.graph.graph.node(node).map(|node| &node.node_type);
        node_type
            .and_then(|node_type| self.session.tools.registry.get(node_type))
            .is_some_and(|activity| activity.acts())
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
        if self.is_cut_short || self.session.is_out_of_time() {
            return Some(self.cut_short());
        }
        if !self.in_flight.is_empty() {
            return None;
        }
        if self.is_step_done() {
            return Some(Ending::Paused);
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

    /// Its time is over. Should somebody have moved that end meanwhile, it is taken up afresh, since what ran is cancelled.
    fn cut_short(&mut self) -> Ending {
        self.abandon();
        self.is_cut_short = true;
        match self.session.time.limit() {
            Some(limit) if self.session.is_out_of_time() => Ending::TimedOut(limit),
            Some(_) | None => Ending::Release,
        }
    }

    /// Whether it is debugged, and this run has done what one `running` is for: it has started a node that has ended, or
    /// something that a node waited for has come. A node that waits itself, alone, is not done.
    fn is_step_done(&self) -> bool {
        // Unless the step was cancelled, and is done again elsewhere.
        let is_cancelled = self.session.interrupts.hurry.is_cancelled();
        let has_others = self.has_started && !self.queued.is_empty() && !is_cancelled;
        self.session.is_debugged && (self.has_done || has_others)
    }

    /// Waits for whatever comes next, unless something has come in place.
    async fn wait(&mut self) -> Result<(), Ended> {
        if self.in_flight.has_ended() {
            self.take_ended();
            return Ok(());
        }
        if self.in_flight.is_empty() {
            // A deadline has passed just now: the engine has new commands.
            return Ok(());
        }
        // While it is paused no time ends.
        let deadline = (!matches!(self.hold, Hold::Parked))
            .then(|| {
                let ends = self.session.deadline();
                self.machine.next_deadline().into_iter().chain(ends).min()
            })
            .flatten()
            .map(|at| self.session.tools.clock.instant_of(at));
        let write_by = self.report.write_by();
        let drain = self.session.interrupts.drain.clone();
        let hurry = self.session.interrupts.hurry.clone();
        let is_draining = drain.is_cancelled();
        tokio::select! {
            () = self.in_flight.wait() => {
                self.take_ended();
                Ok(())
            }
            () = clock::until(deadline), if deadline.is_some() => {
                self.pass_deadline().await;
                Ok(())
            }
            () = clock::until(write_by), if write_by.is_some() => self.record().await,
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

    /// Tells the engine of all that has ended by now, so that it shares the commit.
    fn take_ended(&mut self) {
        while let Some((performed, acts)) = self.in_flight.next_ended() {
            self.report.has_acted |= acts;
            self.note_waits(&performed);
            self.apply(performed.event);
        }
    }

    /// Cancels what is in flight. What it would have brought is not recorded; its tokens stay where they are, so that
    /// it runs again if the execution goes on.
    pub(super) fn abandon(&mut self) {
        self.in_flight.stop_all();
    }

    /// Somebody has ended the execution: what is not yet recorded goes with the record that takes it off the run queue.
    pub(super) async fn settle_over(&mut self, write: &HostWrite) -> Ended {
        let mut news = self.report.take_unrecorded();
        news.waits = std::mem::take(&mut self.waits.news);
        // It may be its first record: a retry goes on from it, on the same graph.
        news.graph = self.graph_to_record();
        news.input = self.input_to_record();
        self.session
            .settle((Some(&self.machine), Some(&self.view)), write, news)
            .await
    }
}
