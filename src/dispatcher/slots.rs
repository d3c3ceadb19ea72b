//! Slots: room for one running execution each. A parked execution holds none.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All slots of a worker.
#[derive(Clone, Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
}

/// One slot; free again when dropped.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// `count` free slots.
    pub fn new(count: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
        }
    }

    /// Takes all free slots. Their number is the size of the next claim; those that it does not fill are dropped.
    pub fn take_free(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        while let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            slots.push(Slot { _permit: permit });
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_that_a_claim_does_not_fill_are_free_again() {
        let slots = Slots::new(3);
        let mut taken = slots.take_free();
        assert_eq!(taken.len(), 3);
        assert!(slots.take_free().is_empty());
        taken.truncate(1);
        assert_eq!(slots.take_free().len(), 2);
    }
}
