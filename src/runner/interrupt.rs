//! What reaches a running execution from outside: somebody wrote its row, its lease is lost, the worker drains.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ids::{ExecutionId, Fence, Timestamp};
use crate::store::claim::Held;

/// What the dispatcher has seen of a running execution's rows. The runner compares it with what it knows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    /// `run_queue.host_version`.
    pub host_version: i32,
    /// `workflowexecution.status`; `None` if the row is gone.
    pub status: Option<String>,
}

/// A runner's end of the line.
#[derive(Debug)]
pub struct Interrupts {
    /// The last that was seen; `None` before the first look.
    pub seen: watch::Receiver<Option<Seen>>,
    /// Cancelled when the lease is lost: the runner stops at once and writes nothing.
    pub lost: CancellationToken,
    /// Cancelled when the worker drains: no new nodes, hand back.
    pub drain: CancellationToken,
    /// Cancelled when the grace period is over: running nodes are cancelled too.
    pub hurry: CancellationToken,
}

struct Entry {
    fence: Fence,
    seen: watch::Sender<Option<Seen>>,
    lost: CancellationToken,
    /// Not in the last answer of the database. The second time the lease is lost: the first answer may be older than
    /// the claim.
    is_missing: bool,
}

/// The executions that run in this process. Runners come and go; the dispatcher looks.
#[derive(Default)]
pub struct Running {
    entries: Mutex<HashMap<ExecutionId, Entry>>,
    /// The nearest time until which an execution was parked since the dispatcher last asked.
    nearest: Mutex<Option<Timestamp>>,
    /// The limits under which executions have ended here since the dispatcher last asked: there may be room.
    freed: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("len", &self.len()).finish()
    }
}

impl Running {
    /// How many.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Adds an execution. `void` belongs to the identity under which it was claimed.
    pub fn enter(
        &self,
        execution: ExecutionId,
        fence: Fence,
        void: &CancellationToken,
        (drain, hurry): (&CancellationToken, &CancellationToken),
    ) -> Interrupts {
        let (sender, seen) = watch::channel(None);
        let lost = void.child_token();
        self.lock().insert(
            execution,
            Entry {
                fence,
                seen: sender,
                lost: lost.clone(),
                is_missing: false,
            },
        );
        Interrupts {
            seen,
            lost,
            drain: drain.clone(),
            hurry: hurry.clone(),
        }
    }

    /// Removes an execution, unless it has been claimed again meanwhile; it was parked `until` then.
    pub fn leave(&self, execution: ExecutionId, fence: Fence, until: Option<Timestamp>) {
        if let Some(until) = until {
            let mut nearest = self.nearest.lock().unwrap_or_else(PoisonError::into_inner);
            *nearest = Some(nearest.map_or(until, |earlier| earlier.min(until)));
        }
        let mut entries = self.lock();
        if entries
            .get(&execution)
            .is_some_and(|entry| entry.fence == fence)
        {
            entries.remove(&execution);
        }
    }

    /// The nearest time until which an execution was parked since the last call.
    pub fn take_nearest(&self) -> Option<Timestamp> {
        self.nearest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Notes that an execution under these limits has left its places.
    pub fn free(&self, limit_keys: impl IntoIterator<Item = String>) {
        let mut freed = self.freed.lock().unwrap_or_else(PoisonError::into_inner);
        freed.extend(limit_keys);
    }

    /// The limits under which places were left since the last call.
    pub fn take_freed(&self) -> Vec<String> {
        let mut freed = self.freed.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *freed).into_iter().collect()
    }

    /// Hands out what the database says of the executions that the worker holds. Returns those that it holds and that
    /// do not run here.
    pub fn compare(&self, held: Vec<Held>) -> Vec<(ExecutionId, Fence)> {
        let mut entries = self.lock();
        let mut held: HashMap<ExecutionId, Held> = held
            .into_iter()
            .map(|held| (held.execution_id, held))
            .collect();
        for (execution, entry) in entries.iter_mut() {
            match held.remove(execution) {
                Some(row) if row.fence == entry.fence => {
                    entry.is_missing = false;
                    let seen = Seen {
                        host_version: row.host_version,
                        status: row.status,
                    };
                    entry.seen.send_if_modified(|last| {
                        let is_new = last.as_ref() != Some(&seen);
                        *last = Some(seen);
                        is_new
                    });
                }
                _ if entry.is_missing => entry.lost.cancel(),
                _ => entry.is_missing = true,
            }
        }
        held.into_values()
            .map(|row| (row.execution_id, row.fence))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ExecutionId, Entry>> {
        // A panic while it was held left the map whole: each change is one call.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
