//! The end: no more claims; running nodes, and last records that are not committed yet, have the grace period; the rest is
//! handed back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Agenda, Dispatcher};
use crate::runner::Ended;
use crate::runner::interrupt::Running;
use crate::telemetry::Event;

/// After the grace period, how long runners have to hand back what they hold.
const HAND_BACK_LIMIT: Duration = Duration::from_secs(2);
/// While the worker drains, how often it looks at what was done to the rows of what still runs.
const DRAIN_LOOK_INTERVAL: Duration = Duration::from_millis(500);

impl Dispatcher {
    pub(super) async fn stop(
        &self,
        mut tasks: JoinSet<Ended>,
        agenda: &mut Agenda,
        running: &Running,
        (drain, hurry): (&CancellationToken, &CancellationToken),
    ) {
        self.pulse.is_draining.store(true, Ordering::Relaxed);
        let grace = self.settings.grace_period;
        self.telemetry.emit(Event::DrainStarted {
            running: running.len(),
            grace,
        });
        drain.cancel();
        let over = tokio::time::sleep(grace);
        tokio::pin!(over);
        loop {
            tokio::select! {
                ended = tasks.join_next() => {
                    self.tell_pulse(running);
                    self.admit_at_end(running).await;
                    if ended.is_none() {
                        return;
                    }
                }
                () = &mut over => break,
                () = tokio::time::sleep(DRAIN_LOOK_INTERVAL) => {
                    // A terminate still cancels, and what is held but not run here is still handed back.
                    if let Err(error) = self.look_at_interrupts(agenda, running).await {
                        tracing::debug!("while draining: {error}");
                    }
                }
            }
        }
        hurry.cancel();
        let rest = async { while tasks.join_next().await.is_some() {} };
        // Who has not handed back by then loses its lease with the worker's row.
        drop(tokio::time::timeout(HAND_BACK_LIMIT, rest).await);
        self.admit_at_end(running).await;
    }

    /// What waits for the places that were left may go on elsewhere. If the database is away, the others' polls find it.
    async fn admit_at_end(&self, running: &Running) {
        if let Err(error) = self.admit_freed(running, false).await {
            tracing::debug!("while draining: {error}");
        }
    }
}

/// Lets work end, for [`HAND_BACK_LIMIT`] at most if the stop comes meanwhile. `None`: it was cut off.
pub(super) async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    stop: &CancellationToken,
) -> Option<T> {
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => Some(result),
        () = stop.cancelled() => tokio::time::timeout(HAND_BACK_LIMIT, work).await.ok(),
    }
}
