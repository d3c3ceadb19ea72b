//! What a runner takes up in this process beside its slot, and what is left behind at its end.

use std::sync::Arc;

use crate::ids::{ExecutionId, Fence, Timestamp};
use crate::runner::interrupt::Running;
use crate::wake::{Cause, Waker};

/// What a runner takes up here. Given back when it is dropped, also by a panic.
pub(super) struct Place {
    pub(super) lease: (ExecutionId, Fence),
    pub(super) running: Arc<Running>,
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
        // Its slot and its hold are free by now: they are the runner's, which is dropped before this.
        self.waker.raise(Cause::Capacity);
    }
}
