//! Who holds what: the heartbeat of this worker, and the rescue of what dead workers held.
//!
//! A worker is alive while its heartbeat is fresh. When the others have declared it dead, or when it could not prove
//! its life for the length of the lease, its identity is void: what runs under it is stopped (a late write would be
//! refused by its fence anyway), and it goes on under a fresh one. Rescue needs no leader: whoever sees a death first
//! makes the executions due again, a bounded number per round, and the others find nothing left to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock;
use crate::store::workers::{Hearing, Heartbeat as Answer, Identity, Vitals, WorkerRow};
use crate::store::{Store, StoreError};
use crate::telemetry::{Event, Telemetry};

/// Executions that one rescue makes due; the next round takes the rest.
const RESCUE_LIMIT: i64 = 500;

/// What the heartbeat tells of the rest of the worker. Written by the dispatcher.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Slots in use.
    pub running: AtomicUsize,
    /// Executions under a lease: those that run, and those whose last record is not committed yet.
    pub held: AtomicUsize,
    /// Whether it has stopped claiming.
    pub is_draining: AtomicBool,
}

/// The heartbeat's parts.
#[derive(Debug)]
pub struct Heartbeat {
    /// A store of its own with one connection, so that it never waits behind other work.
    pub store: Store,
    /// What this worker says of itself; the id is that of the identity in force.
    pub row: WorkerRow,
    /// The identity in force, for everybody else.
    pub identity: watch::Sender<Identity>,
    /// What the listener can do.
    pub hearing: watch::Receiver<Hearing>,
    /// What the dispatcher does.
    pub pulse: Arc<Pulse>,
    /// How often.
    pub interval: Duration,
    /// For how long an answer is good.
    pub lease: Duration,
    /// Where events go.
    pub telemetry: Telemetry,
}

/// What the heartbeat knows between two beats.
#[derive(Debug)]
struct Outlook {
    /// The lease runs out at this time unless a beat is answered.
    good_until: Instant,
    is_outage_reported: bool,
}

impl Heartbeat {
    /// Registers this process. To be done before anything is claimed.
    pub async fn register(&self) -> Result<(), StoreError> {
        self.store.register(&self.row, None).await
    }

    /// Beats until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut outlook = Outlook {
            good_until: clock::monotonic() + self.lease,
            is_outage_reported: false,
        };
        loop {
            tokio::select! {
                biased;
                // Whatever is cut off here is made good by taking the worker off the list.
                () = stop.cancelled() => return,
                () = self.turn(&mut outlook) => {}
            }
        }
    }

    async fn turn(&mut self, outlook: &mut Outlook) {
        // A new presence key is news to the others: then at once.
        tokio::select! {
            () = tokio::time::sleep(self.interval) => {}
            Ok(()) = self.hearing.changed() => {}
        }
        let sent = clock::monotonic();
        match self.beat().await {
            Ok(answer) => {
                if std::mem::take(&mut outlook.is_outage_reported) {
                    self.telemetry
                        .emit(Event::DatabaseBack { part: "heartbeat" });
                }
                if self.take(answer).await {
                    outlook.good_until = sent + self.lease;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut outlook.is_outage_reported, true) {
                    let error = error.to_string();
                    self.telemetry.emit(Event::DatabaseLost {
                        part: "heartbeat",
                        error,
                    });
                }
                self.expire(outlook.good_until);
            }
        }
    }

    async fn beat(&self) -> Result<Answer, StoreError> {
        let presence_key = match &*self.hearing.borrow() {
            Hearing::Listening { presence_key } => *presence_key,
            Hearing::Connecting | Hearing::PollingOnly => None,
        };
        let vitals = Vitals {
            running: i32::try_from(self.pulse.running.load(Ordering::Relaxed)).unwrap_or(i32::MAX),
            is_listening: matches!(&*self.hearing.borrow(), Hearing::Listening { .. }),
            presence_key,
            is_draining: self.pulse.is_draining.load(Ordering::Relaxed),
        };
        self.store.heartbeat(self.row.id, vitals).await
    }

    /// Acts on an answer. Returns whether this worker is registered, under the old identity or a fresh one.
    async fn take(&mut self, answer: Answer) -> bool {
        let is_void = self.identity.borrow().void.is_cancelled();
        if !answer.is_registered || is_void {
            if !answer.is_registered {
                self.telemetry.emit(Event::DeclaredDead);
            }
            self.identity.borrow().void.cancel();
            if let Err(error) = self.take_fresh_identity().await {
                self.telemetry.emit(Event::DatabaseLost {
                    part: "heartbeat",
                    error: error.to_string(),
                });
                return false;
            }
        }
        if !answer.dead.is_empty()
            && let Err(error) = self.rescue(&answer.dead).await
        {
            // The next beat names them again.
            tracing::debug!("rescue: {error}");
        }
        true
    }

    async fn take_fresh_identity(&mut self) -> Result<(), StoreError> {
        let fresh = Identity::fresh();
        let row = WorkerRow {
            id: fresh.id,
            ..self.row.clone()
        };
        self.store.register(&row, None).await?;
        let old = std::mem::replace(&mut self.row, row).id;
        self.identity.send_replace(fresh);
        // What the old identity may still hold (its rows were not yet rescued) is due again at once.
        self.store.deregister(old).await.map(drop)
    }

    /// After the length of the lease without an answer, others may run what this worker runs.
    fn expire(&self, good_until: Instant) {
        let identity = self.identity.borrow();
        if clock::monotonic() >= good_until && !identity.void.is_cancelled() {
            identity.void.cancel();
            let running = self.pulse.held.load(Ordering::Relaxed);
            self.telemetry.emit(Event::HeartbeatFailed { running });
        }
    }

    async fn rescue(&self, dead: &[Uuid]) -> Result<(), StoreError> {
        let executions = self.store.rescue(dead, RESCUE_LIMIT).await?;
        if executions > 0 {
            self.telemetry.emit(Event::Rescued { executions });
        }
        if executions < RESCUE_LIMIT {
            let names = self.store.bury(dead).await?;
            if !names.is_empty() {
                self.telemetry.emit(Event::WorkersBuried { names });
            }
        }
        Ok(())
    }
}
