//! Arrivals of pins: how many came of each index in each bucket, for as long as a window may
//! still hold them.
//!
//! Promises: what was added of a slot is given back, whatever the order, until its bucket is
//! retired; growing moves nothing.
//! Limits: 2^32 - 1 arrivals of a slot in a bucket. Most slots have arrivals in one bucket, which
//! take 16 bytes; those of several lie in a hash table beside.

use std::collections::BTreeMap;

use prefetch_index::prefetch_index;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::metrics::group::size::hashed;
use crate::metrics::value::NULL;

/// Counts of a slot that lie in the hash table itself.
const INLINE: usize = 2;

/// A bucket, and how many arrived in it.
pub type Count = (i64, u32);
/// Counts by bucket, ascending.
pub type Counts = SmallVec<[Count; INLINE]>;

/// Slots a chunk.
const CHUNK: usize = 4096;

/// What is held of a slot without arrivals, or with some in several buckets. It is not zero: pages
/// of zeros that are read before they are written to cost the kernel twice, and stop all cores.
const NO_ONE: Count = (NULL, 0);

/// Bytes of a slot with arrivals, about.
pub const FIRST: usize = size_of::<Count>();
/// Bytes more of a slot with arrivals in several buckets, about.
pub const SEVERAL: usize = hashed(size_of::<(u32, Counts)>());
/// Bytes of each bucket of a slot, about.
pub const BUCKET: usize = 2 * size_of::<u32>();

/// Slots whose numbers follow each other.
#[derive(Default)]
struct Chunk {
    /// The arrivals of those that have them in one bucket, of the others none. Empty before the
    /// first arrival, and again after the last.
    slots: Vec<Count>,
    /// How many have arrivals in one bucket.
    live: usize,
}

/// The arrivals of one worker's slots.
#[derive(Default)]
pub struct Arrivals {
    chunks: Vec<Chunk>,
    /// The slots with arrivals in several buckets.
    several: FxHashMap<u32, Counts>,
    buckets: BTreeMap<i64, Vec<u32>>,
    entries: usize,
}

impl Arrivals {
    /// What is held of a slot.
    #[inline]
    pub fn of(&self, slot: u32) -> &[Count] {
        let chunk = self.chunks.get(slot as usize / CHUNK);
        match chunk.and_then(|chunk| chunk.slots.get(slot as usize % CHUNK)) {
            Some(only) if only.1 > 0 => std::slice::from_ref(only),
            _ => self.several.get(&slot).map_or(&[], |counts| counts),
        }
    }

    /// Asks the processor for what is held of a slot.
    #[inline]
    pub fn near(&self, slot: u32) {
        if let Some(chunk) = self.chunks.get(slot as usize / CHUNK) {
            prefetch_index(&chunk.slots, slot as usize % CHUNK);
        }
    }

    /// The chunk of a slot, made if need be.
    fn chunk(&mut self, slot: u32) -> &mut Chunk {
        let at = slot as usize / CHUNK;
        if self.chunks.len() <= at {
            self.chunks.resize_with(at + 1, Chunk::default);
        }
        let chunk = &mut self.chunks[at];
        if chunk.slots.is_empty() {
            chunk.slots = vec![NO_ONE; CHUNK];
        }
        chunk
    }

    /// So many more arrivals of a slot in a bucket.
    pub fn add(&mut self, slot: u32, bucket: i64, n: u32) {
        if let Some(counts) = self.several.get_mut(&slot) {
            match counts.binary_search_by_key(&bucket, |c| c.0) {
                Ok(at) => return counts[at].1 += n,
                Err(at) => counts.insert(at, (bucket, n)),
            }
        } else {
            let chunk = self.chunk(slot);
            let only = &mut chunk.slots[slot as usize % CHUNK];
            if only.1 == 0 {
                *only = (bucket, n);
                chunk.live += 1;
            } else if only.0 == bucket {
                return only.1 += n;
            } else {
                let mut counts = Counts::from_iter([*only, (bucket, n)]);
                counts.sort_unstable();
                *only = NO_ONE;
                chunk.live -= 1;
                self.several.insert(slot, counts);
            }
        }
        self.entries += 1;
        self.buckets.entry(bucket).or_default().push(slot);
    }

    /// Puts what came back from disk of a slot, over what came before it. Once all slots have
    /// theirs, [`Arrivals::index`] is due.
    pub fn set(&mut self, slot: u32, counts: Counts) {
        let only = match counts[..] {
            [only] => only,
            _ => NO_ONE,
        };
        let chunk = self.chunks.get(slot as usize / CHUNK);
        if only.1 > 0 || chunk.is_some_and(|chunk| !chunk.slots.is_empty()) {
            let chunk = self.chunk(slot);
            let place = &mut chunk.slots[slot as usize % CHUNK];
            chunk.live += usize::from(only.1 > 0);
            chunk.live -= usize::from(place.1 > 0);
            *place = only;
        }
        if counts.len() > 1 {
            self.several.insert(slot, counts);
        } else {
            self.several.remove(&slot);
        }
    }

    /// Finds out which of so many slots each bucket has.
    pub fn index(&mut self, slots: u32) {
        for slot in 0..slots {
            for (bucket, _) in Counts::from_slice(self.of(slot)) {
                self.entries += 1;
                self.buckets.entry(bucket).or_default().push(slot);
            }
        }
    }

    /// Drops buckets before `oldest`.
    pub fn retire(&mut self, oldest: i64) {
        let before = self.entries;
        while let Some(entry) = self.buckets.first_entry()
            && *entry.key() < oldest
        {
            let (bucket, slots) = entry.remove_entry();
            self.entries -= slots.len();
            for slot in slots {
                let mut counts = Counts::from_slice(self.of(slot));
                counts.retain(|c| c.0 != bucket);
                self.set(slot, counts);
            }
        }
        if self.entries < before {
            let empty = self.chunks.iter_mut().filter(|chunk| chunk.live == 0);
            empty.for_each(|chunk| chunk.slots = Vec::new());
        }
    }

    /// Entries held: (slot, bucket).
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> usize {
        let slots: usize = self.chunks.iter().map(|chunk| chunk.slots.len()).sum();
        let live: usize = self.chunks.iter().map(|chunk| chunk.live).sum();
        let spilt = (self.entries - live).saturating_sub(self.several.len() * INLINE);
        slots * FIRST
            + self.several.len() * SEVERAL
            + self.entries * BUCKET
            + spilt * size_of::<Count>()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Slots on both sides of a chunk's edge.
    const SLOTS: [u32; 4] = [0, 1, CHUNK as u32 - 1, CHUNK as u32];

    /// Holds arrivals to a plain map of (slot, bucket).
    fn check(arrivals: &Arrivals, plain: &BTreeMap<(u32, i64), u32>) {
        for slot in SLOTS {
            let want = plain.range((slot, i64::MIN)..=(slot, i64::MAX));
            assert!(arrivals.of(slot).iter().copied().eq(want.map(|((_, b), n)| (*b, *n))));
        }
        assert_eq!((arrivals.len(), arrivals.is_empty()), (plain.len(), plain.is_empty()));
        assert!(arrivals.bytes() >= plain.len() * BUCKET);
        let live = arrivals.chunks.iter().map(|chunk| chunk.live).sum::<usize>();
        let slots = SLOTS.iter().filter(|slot| !arrivals.of(**slot).is_empty()).count();
        assert_eq!(live + arrivals.several.len(), slots);
    }

    proptest! {
        #[test]
        fn arrivals_are_counted_until_retired(
            steps in prop::collection::vec((0..5_usize, 0..4_i64, 1..3_u32), 0..40),
        ) {
            let (mut arrivals, mut plain) = (Arrivals::default(), BTreeMap::new());
            for (step, bucket, n) in steps {
                if let Some(slot) = SLOTS.get(step) {
                    arrivals.add(*slot, bucket, n);
                    *plain.entry((*slot, bucket)).or_insert(0) += n;
                } else {
                    arrivals.retire(bucket);
                    plain.retain(|(_, b), _| *b >= bucket);
                }
                check(&arrivals, &plain);
            }
            // Taken back from disk, some slots twice.
            let mut back = Arrivals::default();
            back.set(SLOTS[0], Counts::from_iter([(7, 7), (8, 8)]));
            back.set(SLOTS[1], Counts::from_iter([(9, 9)]));
            SLOTS.iter().for_each(|slot| back.set(*slot, Counts::from_slice(arrivals.of(*slot))));
            back.index(SLOTS[3] + 1);
            check(&back, &plain);
            back.retire(i64::MAX);
            prop_assert!(back.is_empty() && back.several.is_empty() && back.buckets.is_empty());
            // What is retired takes its chunks along.
            let freed = back.chunks.iter().all(|chunk| chunk.slots.is_empty());
            prop_assert!(freed || plain.is_empty());
        }
    }
}
