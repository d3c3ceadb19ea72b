//! What a run has to tell the database: gathered by the loop, sent in one record.

use std::time::{Duration, Instant};

use super::Ended;
use super::drive::{Drive, Hold};
use super::session::{News, Sent};
use crate::clock;
use crate::engine::Step;
use crate::host::log_entry::LogEntry;
use crate::host::state_json::Published;
use crate::telemetry::Event;
use crate::writer::{Disposition, Publish};

/// The largest published state. What is far larger would hold up the records of all other executions, and PostgreSQL
/// takes no value above 1 GiB.
const MAX_STATE_BYTES: usize = 64 << 20;
/// How long the view may stay as it is while the execution runs: at least, and at most. The time grows with its size, or
/// the nodes of a long workflow would each cost as much as all before them. It is never staler than a second (what is left
/// of that is for the next commit), and exact whenever the execution stops.
const PUBLISH_AFTER: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_millis(800));
/// From this size on the view is written as rarely as may be.
const LARGE_STATE_BYTES: u32 = 64 * 1024;
/// When what makes no record by itself is recorded: nodes that only compute, and that a node has started and still runs
/// (then not before the view may be written). Shorter ones are announced with their result.
const RECORD_AFTER: Duration = Duration::from_millis(50);

/// So many steps, or bytes of their outputs, are recorded whatever comes next: a record stays small.
const MAX_GATHERED: (usize, usize) = (200, 256 * 1024);

/// What is done and not yet recorded.
#[derive(Debug)]
pub(super) struct Report {
    steps: Vec<(Step, String)>,
    /// The size of their outputs.
    step_bytes: usize,
    /// Whether one of them could be seen from outside.
    pub(super) has_acted: bool,
    log: Vec<LogEntry>,
    /// Emitted once what they tell of is recorded.
    events: Vec<Event>,
    /// When what is not yet written is to be written at the latest.
    write_by: Option<Instant>,
    is_graph_recorded: bool,
    /// Until then the row need not show more than it does; `None`: it is to show all with the next record.
    shown_until: Option<Instant>,
}

impl Report {
    pub(super) fn new(is_graph_recorded: bool) -> Self {
        Self {
            steps: Vec::new(),
            step_bytes: 0,
            has_acted: false,
            log: Vec::new(),
            events: Vec::new(),
            write_by: None,
            is_graph_recorded,
            shown_until: None,
        }
    }

    pub(super) fn add(&mut self, step: Step) {
        // A map with text keys always has a JSON form.
        let output =
            serde_json::to_string(&step.output).unwrap_or_else(|_impossible| "{}".to_owned());
        self.step_bytes += output.len();
        self.steps.push((step, output));
        self.write_within(RECORD_AFTER);
    }

    /// A node has started: the row is to show it, unless it ends soon or the view was written just now.
    pub(super) fn announce(&mut self) {
        let soon = clock::monotonic() + RECORD_AFTER;
        self.write_at(self.shown_until.map_or(soon, |until| until.max(soon)));
    }

    /// The row is to show everything with the next record: somebody has written it, so it may show what is over.
    pub(super) fn show(&mut self) {
        self.shown_until = None;
    }

    /// Whether there is enough for a record, or somebody waits to see it.
    pub(super) fn is_ripe(&self) -> bool {
        self.steps.len() >= MAX_GATHERED.0
            || self.step_bytes >= MAX_GATHERED.1
            || self.write_by.is_some_and(|by| by <= clock::monotonic())
    }

    fn take_steps(&mut self) -> Vec<(Step, String)> {
        self.step_bytes = 0;
        self.has_acted = false;
        std::mem::take(&mut self.steps)
    }

    pub(super) fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    pub(super) fn take_unrecorded(&mut self) -> News {
        News {
            steps: self.take_steps(),
            log: std::mem::take(&mut self.log),
            ..News::default()
        }
    }

    pub(super) fn log(&mut self, entry: LogEntry) {
        self.log.push(entry);
    }

    /// A log row, and the event that tells the same once it is recorded.
    pub(super) fn say(&mut self, entry: LogEntry, event: Event) {
        self.log.push(entry);
        self.events.push(event);
    }

    pub(super) fn write_by(&self) -> Option<Instant> {
        self.write_by
    }

    pub(super) fn write_within(&mut self, limit: Duration) {
        self.write_at(clock::monotonic() + limit);
    }

    fn write_at(&mut self, by: Instant) {
        self.write_by = Some(self.write_by.map_or(by, |earlier| earlier.min(by)));
    }

    /// Takes note of a record that is in. `shown`: the size of the view that it has written, if it has.
    fn note_recorded(&mut self, shown: Option<usize>) {
        match shown {
            Some(bytes) => self.shown_until = Some(clock::monotonic() + publish_after(bytes)),
            // The view follows with the first record that may show it, or else in a record of its own.
            None => self.write_by = self.shown_until.map(|until| until + RECORD_AFTER),
        }
    }
}

/// How long a view of that size may stay as it is.
fn publish_after(bytes: usize) -> Duration {
    let bytes =
        u32::try_from(bytes).map_or(LARGE_STATE_BYTES, |bytes| bytes.min(LARGE_STATE_BYTES));
    (PUBLISH_AFTER.1 * bytes / LARGE_STATE_BYTES).max(PUBLISH_AFTER.0)
}

impl Drive {
    /// Records what there is, and goes on.
    pub(super) async fn record(&mut self) -> Result<(), Ended> {
        self.send(Disposition::Hold, "running", None, None)
            .await
            .map(drop)
    }

    /// Sends a record. `true`: it was taken whole. `false`: somebody has written the row; what is done is recorded, the
    /// row was looked at, and the disposition did not take effect.
    pub(super) async fn send(
        &mut self,
        disposition: Disposition,
        status: &str,
        error: Option<String>,
        closing: Option<(LogEntry, Event)>,
    ) -> Result<bool, Ended> {
        if disposition == Disposition::Finish {
            self.waits.news.withdraw(&self.machine);
        }
        let (entry, closing_event) = closing.unzip();
        let publish = self.publish(disposition, status, error);
        let state = publish
            .as_ref()
            .and_then(|publish| publish.execution_state.as_ref());
        if let Some(state) = state
            && state.len() > MAX_STATE_BYTES
        {
            let message = format!(
                "the data of the execution have grown to {} MiB, and at most {} MiB can be stored",
                state.len() >> 20,
                MAX_STATE_BYTES >> 20
            );
            return Err(self.session.fail_unrun(None, &message).await);
        }
        let shown = state.map(String::len);
        let news = News {
            checkpoint: self.session.checkpoint_text(
                &self.machine,
                self.is_cut_short && disposition == Disposition::Finish,
            ),
            graph: self.graph_to_record(),
            input: self.input_to_record(),
            steps: self.report.take_steps(),
            log: std::mem::take(&mut self.report.log),
            closing_log: entry.into_iter().collect(),
            publish,
            waits: std::mem::take(&mut self.waits.news),
        };
        let brings_graph = matches!(&news.graph, Some((_, Some(_source))));
        let sent = self.session.send(news, disposition).await;
        self.in_flight.note_wait();
        match sent {
            Sent::Committed | Sent::HostChanged => {
                self.report.is_graph_recorded = true;
                if brings_graph {
                    self.graph.mark_stored();
                }
                self.session.is_input_recorded = true;
                for event in self.report.events.drain(..) {
                    self.session.tools.telemetry.emit(event);
                }
                self.report.write_by = None;
            }
            Sent::LeaseLost => return Err(Ended::LeaseLost),
            Sent::Refused(refusal) => {
                let message =
                    format!("the database refused what the execution has to store: {refusal}");
                return Err(self.session.fail_unrun(Some(&self.view), &message).await);
            }
        }
        if sent == Sent::Committed {
            self.report.note_recorded(shown);
            if let Some(event) = closing_event {
                self.session.tools.telemetry.emit(event);
            }
            return Ok(true);
        }
        self.look().await?;
        // The row shows none of this yet.
        self.report.write_within(Duration::ZERO);
        Ok(false)
    }

    /// What the row is to show; `None`: it may stay as it is for a while.
    fn publish(
        &self,
        disposition: Disposition,
        status: &str,
        error: Option<String>,
    ) -> Option<Publish> {
        // While it is paused the row keeps saying so, whatever is recorded.
        let status = match (&self.hold, disposition) {
            (Hold::No, _) => status.to_owned(),
            (Hold::Parked | Hold::Over(_) | Hold::Cancelled(_), _) => {
                self.session.host_status.clone()
            }
        };
        if disposition == Disposition::Hold
            && status == self.session.host_status
            && self
                .report
                .shown_until
                .is_some_and(|until| clock::monotonic() < until)
        {
            return None;
        }
        // Not when it is parked until: that may be the end of its time.
        let next_retry_at = match disposition {
            Disposition::Park(_) if status == "failed" => self.machine.next_deadline(),
            _ => None,
        };
        let published = Published {
            status: &status,
            current_node_id: self.current_node.as_ref(),
            error_message: error.as_deref(),
            retry_count: self.machine.retry_count(),
            next_retry_at,
        };
        let execution_state = self.session.state_text(&self.view, &published);
        Some(Publish {
            status,
            current_node_id: self
                .current_node
                .as_ref()
                .map(|node| node.as_str().to_owned()),
            execution_state: Some(execution_state),
            error_message: error.map(|error| error.replace('\0', "\u{fffd}")),
            retry_count: i32::try_from(self.machine.retry_count()).unwrap_or(i32::MAX),
            next_retry_at: next_retry_at.map(|at| at.naive_utc()),
        })
    }

    pub(super) fn graph_to_record(&self) -> Option<(Vec<u8>, Option<String>)> {
        (!self.report.is_graph_recorded)
            .then(|| (self.graph.hash.clone(), self.graph.source_to_store()))
    }

    pub(super) fn input_to_record(&self) -> Option<(String, crate::ids::Timestamp)> {
        if self.session.is_input_recorded {
            return None;
        }
        let input = serde_json::to_string(self.view.trigger_data().as_ref()).ok()?;
        Some((input, self.session.now()))
    }
}
