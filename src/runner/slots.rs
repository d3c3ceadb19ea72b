//! Slots: room for one execution that runs nodes each; and how many executions a worker may hold in all.
//!
//! An execution is held from its claim until its last record is committed. Before that record is sent it leaves its slot,
//! so that another one can be claimed and run while the commit waits for the disk.
//!
//! Invariants:
//! * Whoever starts a node has a slot. So never more executions run nodes than there are slots.
//! * Whoever is held has a hold, from before its claim to its runner's end. So never more are held than slots and
//!   [`MAX_SETTLING`] together: what waits in one worker cannot be taken by another.
//! * A slot is left first and then it is asked whether somebody waits for one; the dispatcher says that it waits first and
//!   then looks for free ones. So one of the two sees the other, and no free slot is overlooked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::wake::{Cause, Waker};

/// How many executions without a slot may be held beside those that have one.
///
/// Measured with nodes that take no time: with ten slots 8 bring half of what 64 bring, and 128 or 512 bring no more; with
/// 200 slots the number does not matter.
pub const MAX_SETTLING: usize = 64;

/// All slots of a worker. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Slots {
    count: usize,
    free: Arc<Semaphore>,
    /// One for each execution that may be held.
    holds: Arc<Semaphore>,
    /// Whether the dispatcher wants to be woken when a slot is left. Written by it alone.
    is_awaited: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

/// What one execution takes up: a hold, and a slot while it runs nodes. Both are free again when this is dropped.
#[derive(Debug)]
pub struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    _hold: OwnedSemaphorePermit,
    slots: Slots,
}

impl Slots {
    /// `count` free slots. `waker` is told when one is left and somebody waits for that.
    pub fn new(count: usize, waker: Arc<Waker>) -> Self {
        Self {
            count,
            free: Arc::new(Semaphore::new(count)),
            holds: Arc::new(Semaphore::new(count.saturating_add(MAX_SETTLING))),
            is_awaited: Arc::default(),
            waker,
        }
    }

    /// Takes all free slots, unless too many executions are held. Their number is the size of the next claim; those that
    /// it does not fill are dropped.
    pub fn take_free(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        while let Ok(permit) = Arc::clone(&self.free).try_acquire_owned()
            && let Ok(hold) = Arc::clone(&self.holds).try_acquire_owned()
        {
            slots.push(Slot {
                permit: Some(permit),
                _hold: hold,
                slots: self.clone(),
            });
        }
        slots
    }

    /// How many are taken.
    pub fn in_use(&self) -> usize {
        self.count.saturating_sub(self.free.available_permits())
    }

    /// Says whether [`Cause::Capacity`] is to be raised when a slot is left. To be said before a look for free ones.
    pub fn set_awaited(&self, is_awaited: bool) {
        self.is_awaited.store(is_awaited, Ordering::SeqCst);
    }
}

impl Slot {
    /// Leaves the slot: no node runs, and none is started from here on.
    pub fn leave(&mut self) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        drop(permit);
        // Not before: see the head of this file.
        if self.slots.is_awaited.load(Ordering::SeqCst) {
            self.slots.waker.raise(Cause::Capacity);
        }
    }

    /// Whether it was left.
    pub fn is_left(&self) -> bool {
        self.permit.is_none()
    }

    /// Waits for a slot after all. Who waits here goes before what is not claimed yet. May be dropped: then nothing is
    /// taken.
    pub async fn take_again(&mut self) {
        if self.is_left() {
            // It is never closed.
            self.permit = Arc::clone(&self.slots.free).acquire_owned().await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    fn slots(count: usize) -> (Slots, Arc<Waker>) {
        let waker = Arc::<Waker>::default();
        (Slots::new(count, Arc::clone(&waker)), waker)
    }

    async fn is_woken(waker: &Waker) -> bool {
        let causes = waker.wait(clock::monotonic()).await;
        causes.contains(Cause::Capacity)
    }

    #[test]
    fn slots_that_a_claim_does_not_fill_are_free_again() {
        let (slots, _) = slots(3);
        let mut taken = slots.take_free();
        assert_eq!((taken.len(), slots.in_use()), (3, 3));
        assert!(slots.take_free().is_empty());
        taken.truncate(1);
        assert_eq!(slots.in_use(), 1);
        assert_eq!(slots.take_free().len(), 2);
    }

    #[test]
    fn a_slot_that_was_left_is_free_although_its_execution_is_still_held() {
        let (slots, _) = slots(1);
        let mut held = slots.take_free();
        held[0].leave();
        assert_eq!((slots.in_use(), slots.take_free().len()), (0, 1));
    }

    #[test]
    fn never_more_are_held_than_slots_and_those_in_settlement_together() {
        for count in [1, 10, 200] {
            let (slots, _) = slots(count);
            let mut held = Vec::new();
            loop {
                let mut taken = slots.take_free();
                if taken.is_empty() {
                    break;
                }
                taken.iter_mut().for_each(Slot::leave);
                held.append(&mut taken);
            }
            assert_eq!(held.len(), count + MAX_SETTLING);
            assert_eq!(slots.in_use(), 0, "the slots are free, and nobody may come");
            held.pop();
            assert_eq!(slots.take_free().len(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_after_all_waits_for_a_slot_and_goes_before_the_next_claim() {
        let (slots, _) = slots(1);
        let mut first = slots.take_free().remove(0);
        first.leave();
        let mut second = slots.take_free().remove(0);
        {
            let again = first.take_again();
            tokio::pin!(again);
            let early = tokio::time::timeout(Duration::from_secs(1), &mut again).await;
            assert!(early.is_err(), "the other one runs");
            second.leave();
            assert!(slots.take_free().is_empty(), "it is promised");
            again.await;
        }
        assert!(!first.is_left() && second.is_left());
        assert_eq!(slots.in_use(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_for_a_slot_that_is_given_up_takes_none() {
        let (slots, _) = slots(1);
        let mut first = slots.take_free().remove(0);
        first.leave();
        let second = slots.take_free();
        drop(tokio::time::timeout(Duration::from_secs(1), first.take_again()).await);
        drop(second);
        assert_eq!(slots.take_free().len(), 1);
    }

    #[tokio::test]
    async fn the_dispatcher_is_woken_by_a_slot_that_is_left_only_if_it_waits_for_one() {
        let (slots, waker) = slots(2);
        let mut taken = slots.take_free();
        taken[0].leave();
        assert!(!is_woken(&waker).await);
        slots.set_awaited(true);
        taken[1].leave();
        assert!(is_woken(&waker).await);
        taken[1].leave();
        assert!(!is_woken(&waker).await, "it was left before");
    }
}
