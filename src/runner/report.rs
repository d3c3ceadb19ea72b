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

/// A published state larger than this is written at most once per [`PUBLISH_INTERVAL`] while the execution runs, and
/// always when it stops.
const LARGE_STATE_BYTES: usize = 64 * 1024;
/// The largest published state. What is far larger would hold up the records of all other executions, and PostgreSQL
/// takes no value above 1 GiB.
const MAX_STATE_BYTES: usize = 64 << 20;
/// See [`LARGE_STATE_BYTES`]: the view is never staler than a second.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(900);

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
    published_at: Option<Instant>,
    published_bytes: usize,
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
            published_at: None,
            published_bytes: 0,
        }
    }

    pub(super) fn add(&mut self, step: Step) {
        // A map with text keys always has a JSON form.
        let output =
            serde_json::to_string(&step.output).unwrap_or_else(|_impossible| "{}".to_owned());
        self.step_bytes += output.len();
        self.steps.push((step, output));
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
        let by = clock::monotonic() + limit;
        self.write_by = Some(self.write_by.map_or(by, |earlier| earlier.min(by)));
    }
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
        if let Some(state) = &publish.execution_state
            && state.len() > MAX_STATE_BYTES
        {
            let message = format!(
                "the data of the execution have grown to {} MiB, and at most {} MiB can be stored",
                state.len() >> 20,
                MAX_STATE_BYTES >> 20
            );
            return Err(self.session.fail_unrun(None, &message).await);
        }
        let published_bytes = publish.execution_state.as_ref().map(String::len);
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
            publish: Some(publish),
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
            match published_bytes {
                Some(bytes) => {
                    self.report.published_at = Some(clock::monotonic());
                    self.report.published_bytes = bytes;
                }
                None => self.report.write_within(PUBLISH_INTERVAL),
            }
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

    fn publish(&self, disposition: Disposition, status: &str, error: Option<String>) -> Publish {
        // While it is paused the row keeps saying so, whatever is recorded.
        let status = match (&self.hold, disposition) {
            (Hold::No, _) => status.to_owned(),
            (Hold::Parked | Hold::Over(_) | Hold::Cancelled(_), _) => {
                self.session.host_status.clone()
            }
        };
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
        let is_throttled = disposition == Disposition::Hold
            && self.report.published_bytes > LARGE_STATE_BYTES
            && self
                .report
                .published_at
                .is_some_and(|at| clock::monotonic() < at + PUBLISH_INTERVAL);
        let execution_state =
            (!is_throttled).then(|| self.session.state_text(&self.view, &published));
        Publish {
            status,
            current_node_id: self
                .current_node
                .as_ref()
                .map(|node| node.as_str().to_owned()),
            execution_state,
            error_message: error.map(|error| error.replace('\0', "\u{fffd}")),
            retry_count: i32::try_from(self.machine.retry_count()).unwrap_or(i32::MAX),
            next_retry_at: next_retry_at.map(|at| at.naive_utc()),
        }
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
