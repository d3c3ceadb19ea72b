//! Everything worth knowing, once: the parts emit [`Event`]s; log lines, metrics and tests are listeners.

mod event;
mod log;

use std::sync::Arc;

use tokio::sync::broadcast;

pub use event::Event;
pub use log::{LogFormat, init};

/// Where events go. Cheap to clone. Without a subscriber an event costs its log line.
#[derive(Clone, Debug)]
pub struct Telemetry {
    subscribers: broadcast::Sender<Arc<Event>>,
}

impl Default for Telemetry {
    fn default() -> Self {
        // A subscriber that falls more than this far behind loses the oldest events, and is told so.
        Self {
            subscribers: broadcast::Sender::new(4_096),
        }
    }
}

impl Telemetry {
    /// Logs an event and hands it to whoever has subscribed.
    pub fn emit(&self, event: Event) {
        log::write(&event);
        if self.subscribers.receiver_count() > 0 {
            // An error means that the last subscriber has just gone.
            drop(self.subscribers.send(Arc::new(event)));
        }
    }

    /// All events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.subscribers.subscribe()
    }
}
