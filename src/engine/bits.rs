//! A set of nodes, one bit each.

/// A set of places of one graph.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bits(Box<[u64]>);

impl Bits {
    pub(super) fn for_len(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)].into_boxed_slice())
    }

    /// Whether it was new.
    pub(super) fn insert(&mut self, place: usize) -> bool {
        let mask = 1 << (place % 64);
        self.0.get_mut(place / 64).is_some_and(|word| {
            let is_new = *word & mask == 0;
            *word |= mask;
            is_new
        })
    }

    pub(super) fn remove(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word &= !(1 << (place % 64));
        }
    }

    pub(super) fn contains(&self, place: usize) -> bool {
        self.0
            .get(place / 64)
            .is_some_and(|word| word & (1 << (place % 64)) != 0)
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (word, others) in self.0.iter_mut().zip(&other.0) {
            *word |= others;
        }
    }

    pub(super) fn remove_all(&mut self, other: &Self) {
        for (word, others) in self.0.iter_mut().zip(&other.0) {
            *word &= !others;
        }
    }

    pub(super) fn keep_only(&mut self, other: &Self) {
        for (word, others) in self.0.iter_mut().zip(&other.0) {
            *word &= others;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}
