//! A worker in the test's own process: its events can be waited for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use workflow_worker::config::Config;
use workflow_worker::telemetry::{Event, Telemetry};
use workflow_worker::worker::{StartError, Worker};

use super::flow::PATIENCE;

/// A poll that cannot explain anything that happens in a test.
pub(crate) const NO_POLL: (&str, &str) = ("WORKFLOW_WORKER_POLL_INTERVAL", "3600");

pub(crate) struct InProcess {
    stop: CancellationToken,
    task: JoinHandle<Result<(), StartError>>,
    events: broadcast::Receiver<Arc<Event>>,
}

/// A configuration for a database, with settings.
pub(crate) fn config(url: &str, settings: &[(&str, &str)]) -> Config {
    let mut values: HashMap<String, String> = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    values.insert("DATABASE_URL".to_owned(), url.to_owned());
    Config::from_env(|name| values.get(name).cloned()).unwrap()
}

impl InProcess {
    /// Starts a worker, and waits until it knows whether it hears.
    pub(crate) async fn start(url: &str, settings: &[(&str, &str)]) -> Self {
        let mut worker = Self::start_only(url, settings);
        worker
            .wait_for("the listener", |event| {
                matches!(event, Event::Listening | Event::PollingOnly)
            })
            .await;
        worker
    }

    /// Starts a worker without waiting.
    pub(crate) fn start_only(url: &str, settings: &[(&str, &str)]) -> Self {
        let telemetry = Telemetry::default();
        let events = telemetry.subscribe();
        let stop = CancellationToken::new();
        let worker = Worker::build(config(url, settings), telemetry).unwrap();
        let task = tokio::spawn(worker.run(stop.clone()));
        Self { stop, task, events }
    }

    /// Waits for an event, and returns it. Events before it are consumed.
    pub(crate) async fn wait_for(
        &mut self,
        what: &str,
        is_it: impl Fn(&Event) -> bool,
    ) -> Arc<Event> {
        let found = async {
            loop {
                match self.events.recv().await {
                    Ok(event) if is_it(&event) => return event,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => {
                        panic!("the worker ended before {what}")
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .unwrap_or_else(|_| panic!("no event within {PATIENCE:?}: {what}"))
    }

    /// The events that have come and were not waited for.
    pub(crate) fn events_so_far(&mut self) -> Vec<Arc<Event>> {
        let mut events = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            events.push(event);
        }
        events
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(40), self.task).await;
        ended.expect("the worker did not stop").unwrap().unwrap();
    }

    /// How it ended by itself.
    pub(crate) async fn ended(self) -> Result<(), StartError> {
        self.task.await.unwrap()
    }
}
