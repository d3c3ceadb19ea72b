//! What a runner takes up in this process, and what is left behind at its end.

use std::sync::Arc;

use super::Slot;
use crate::ids::{ExecutionId, Fence, Timestamp};
use crate::runner::interrupt::Running;
use crate::wake::{Cause, Waker};

/// What a runner takes up here. Given back when it is dropped, also by a panic.
pub(super) struct Place {
    pub(super) lease: (ExecutionId, Fence),
    pub(super) running: Arc<Running>,
    pub(super) slot: Option<Slot>,
    pub(super) waker: Arc<Waker>,
    /// Until when the execution was parked.
    pub(super) until: Option<Timestamp>,
    /// The limits that it counted under.
    pub(super) limit_keys: Vec<String>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let (execution, fence) = self.lease;
        self.running.leave(execution, fence, self.until);
        self.running.free(std::mem::take(&mut self.limit_keys));
        drop(self.slot.take());
        self.waker.raise(Cause::Capacity);
    }
}
