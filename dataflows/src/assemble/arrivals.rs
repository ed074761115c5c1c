//! Arrivals of pins: how many came of each index in each bucket, for as long as a window may
//! still hold them.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Counts by bucket, ascending.
pub type Counts = SmallVec<[(i64, u32); 2]>;

/// Slots a chunk.
const CHUNK: usize = 4096;

/// Bytes of a slot, about.
pub const FIRST: usize = size_of::<Only>();
/// Bytes of each of its buckets, about.
pub const FURTHER: usize = 2 * size_of::<u32>();

/// What most slots have: the arrivals of one bucket.
#[derive(Clone, Copy, Default)]
struct Only {
    bucket: i64,
    /// 0 = none, or there are several buckets.
    n: u32,
}

/// Slots whose numbers follow each other.
#[derive(Default)]
struct Chunk {
    /// Empty where none has any.
    slots: Vec<Only>,
    /// How many have one bucket.
    live: usize,
}

/// The arrivals of one worker's slots.
#[derive(Default)]
pub struct Arrivals {
    chunks: Vec<Chunk>,
    /// The slots that have several buckets.
    several: FxHashMap<u32, Counts>,
    buckets: BTreeMap<i64, Vec<u32>>,
    entries: usize,
}

impl Arrivals {
    /// What is held of a slot.
    pub fn of(&self, slot: u32) -> Counts {
        match self.only(slot) {
            Some(only) => Counts::from_iter([(only.bucket, only.n)]),
            None if self.several.is_empty() => Counts::new(),
            None => self.several.get(&slot).cloned().unwrap_or_default(),
        }
    }

    fn only(&self, slot: u32) -> Option<Only> {
        let chunk = self.chunks.get(slot as usize / CHUNK)?;
        chunk.slots.get(slot as usize % CHUNK).copied().filter(|only| only.n > 0)
    }

    /// Puts the arrivals of a slot that has one bucket, or none.
    fn put(&mut self, slot: u32, only: Only) {
        let at = slot as usize / CHUNK;
        if self.chunks.len() <= at {
            self.chunks.resize_with(at + 1, Chunk::default);
        }
        let chunk = &mut self.chunks[at];
        if chunk.slots.is_empty() && only.n == 0 {
            return;
        }
        if chunk.slots.is_empty() {
            chunk.slots = vec![Only::default(); CHUNK];
        }
        let place = &mut chunk.slots[slot as usize % CHUNK];
        chunk.live += usize::from(only.n > 0);
        chunk.live -= usize::from(place.n > 0);
        *place = only;
        if chunk.live == 0 {
            chunk.slots = Vec::new();
        }
    }

    /// So many more arrivals of a slot in a bucket.
    pub fn add(&mut self, slot: u32, bucket: i64, n: u32) {
        let mut counts = self.of(slot);
        let at = counts.binary_search_by_key(&bucket, |c| c.0);
        match at {
            Ok(at) => counts[at].1 += n,
            Err(at) => {
                counts.insert(at, (bucket, n));
                self.entries += 1;
                self.buckets.entry(bucket).or_default().push(slot);
            }
        }
        self.set(slot, counts);
    }

    /// Puts what came back from disk of a slot, over what came before it; the buckets follow with
    /// [`Arrivals::restored`].
    pub fn restore(&mut self, slot: u32, counts: Counts) {
        self.set(slot, counts);
    }

    /// All slots below `slots` have come back.
    pub fn restored(&mut self, slots: u32) {
        for slot in 0..slots {
            for (bucket, _) in self.of(slot) {
                self.entries += 1;
                self.buckets.entry(bucket).or_default().push(slot);
            }
        }
    }

    fn set(&mut self, slot: u32, counts: Counts) {
        let only = match counts[..] {
            [(bucket, n)] => Only { bucket, n },
            _ => Only::default(),
        };
        self.put(slot, only);
        if counts.len() > 1 {
            self.several.insert(slot, counts);
        } else if !self.several.is_empty() {
            self.several.remove(&slot);
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
                let mut counts = self.of(slot);
                counts.retain(|c| c.0 != bucket);
                self.set(slot, counts);
            }
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
        slots * FIRST
            + self.entries * FURTHER
            + self.several.len() * size_of::<(u32, Counts)>()
            + (self.entries - live) * size_of::<(i64, u32)>()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
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
        assert!(a.several.is_empty() && a.chunks.iter().all(|chunk| chunk.slots.is_empty()));
    }
}
