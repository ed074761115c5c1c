//! Arrivals of pins: how many came of each index in each bucket, for as long as a window may
//! still hold them.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::metrics::group::size::hashed;

/// Entries of a slot that lie in the table itself.
const INLINE: usize = 2;

/// Counts by bucket, ascending.
pub type Counts = SmallVec<[(i64, u32); INLINE]>;

/// Bytes of a slot that has any arrivals, about.
pub const FIRST: usize = hashed(size_of::<(u32, Counts)>());
/// Bytes of each of its buckets, about.
pub const FURTHER: usize = 2 * size_of::<u32>();

/// The arrivals of one worker's slots.
#[derive(Default)]
pub struct Arrivals {
    slots: FxHashMap<u32, Counts>,
    buckets: BTreeMap<i64, Vec<u32>>,
    entries: usize,
}

impl Arrivals {
    /// What is held of a slot.
    pub fn of(&self, slot: u32) -> Counts {
        self.slots.get(&slot).cloned().unwrap_or_default()
    }

    /// So many more arrivals of a slot in a bucket.
    pub fn add(&mut self, slot: u32, bucket: i64, n: u32) {
        let counts = self.slots.entry(slot).or_default();
        match counts.binary_search_by_key(&bucket, |c| c.0) {
            Ok(at) => counts[at].1 += n,
            Err(at) => {
                counts.insert(at, (bucket, n));
                self.entries += 1;
                self.buckets.entry(bucket).or_default().push(slot);
            }
        }
    }

    /// Drops buckets before `oldest`.
    pub fn retire(&mut self, oldest: i64) {
        while let Some(entry) = self.buckets.first_entry()
            && *entry.key() < oldest
        {
            let (bucket, slots) = entry.remove_entry();
            self.entries -= slots.len();
            for slot in slots {
                if let Some(counts) = self.slots.get_mut(&slot) {
                    counts.retain(|c| c.0 != bucket);
                    if counts.is_empty() {
                        self.slots.remove(&slot);
                    }
                }
            }
        }
    }

    /// Entries held: (slot, bucket).
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> usize {
        let spilt = self.entries.saturating_sub(self.slots.len() * INLINE);
        self.slots.len() * FIRST + self.entries * FURTHER + spilt * size_of::<(i64, u32)>()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_retires() {
        let mut a = Arrivals::default();
        for (slot, bucket) in [(1, 10), (1, 0), (2, 10), (1, 10)] {
            a.add(slot, bucket, 1);
        }
        assert_eq!(a.of(1).as_slice(), [(0, 1), (10, 2)]);
        a.retire(10);
        assert_eq!((a.of(1).as_slice(), a.len()), ([(10, 2)].as_slice(), 2));
        a.retire(11);
        assert!(a.is_empty() && a.buckets.is_empty());
    }
}
