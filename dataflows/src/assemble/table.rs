//! The state of record: index to slot, in one open-addressing table over a chunked slab.
//!
//! Promises: a slot never moves and is never dropped; growth never copies slots.
//! Limits: 2^32 - 1 slots a worker.

use prefetch_index::prefetch_index;

use super::layout::{CHANGED, Header, Layout, MARKS, THERE, TOUCHED, array};
use super::version::Versions;
use crate::index::Index;
use crate::record::Stream;

/// Bytes of a chunk of slots at most: allocators give a power of two as it is, and round up what
/// is a little more by a quarter.
const CHUNK: usize = 512 << 10;

/// Bytes of a cache line.
const LINE: usize = 64;

/// So many slots are brought near at a time before they are worked on.
pub const AHEAD: usize = 64;

/// No slot: all have lesser numbers.
const NEW: u32 = u32::MAX;

/// The slots of one worker.
pub struct Table {
    stride: usize,
    /// Slots a chunk, and 2^64 divided by it, rounded up.
    each: u32,
    reciprocal: u64,
    chunks: Vec<Vec<u8>>,
    len: usize,
    index: Index,
    versions: Versions,
}

/// Spreads an index over 64 bits.
#[inline]
fn spread(index: u64) -> u64 {
    let h = (index ^ (index >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    h ^ (h >> 29)
}

/// Which of so many workers owns an index.
#[inline]
pub fn owner(index: u64, workers: u64) -> u64 {
    let spread = spread(index);
    if workers.is_power_of_two() { spread & (workers - 1) } else { spread % workers }
}

/// Half of an index's hash: other bits than those that decide the owner, which are the same for
/// all of a worker's.
#[inline]
fn half(index: u64) -> u32 {
    (spread(index) >> 20) as u32
}

/// The index of a slot.
#[inline]
pub fn index(slot: &[u8]) -> u64 {
    u64::from_le_bytes(array(slot, 0))
}

/// Marks a slot as touched; whether it was not.
#[inline]
pub fn touch(slot: &mut [u8]) -> bool {
    let marks = &mut slot[MARKS];
    std::mem::replace(marks, *marks | TOUCHED) & TOUCHED == 0
}

/// Marks a slot's side as there and as changed since the last cut; whether it is the slot's first
/// changed side, and whether this side was unchanged.
#[inline]
pub fn mark(slot: &mut [u8], stream: Stream) -> (bool, bool) {
    let marks = &mut slot[MARKS];
    let before = std::mem::replace(marks, *marks | stream.bit() << THERE | stream.bit());
    (before & CHANGED == 0, before & stream.bit() == 0)
}

/// Where a slot lies, by its stride, slots a chunk and the reciprocal of these.
#[inline]
fn place((stride, each, reciprocal): (usize, u32, u64), slot: u32) -> (usize, usize) {
    let chunk = ((u128::from(reciprocal) * u128::from(slot)) >> 64) as u32;
    (chunk as usize, (slot - chunk * each) as usize * stride)
}

impl Table {
    /// An empty table.
    pub fn new(layout: &Layout) -> Self {
        let each = (CHUNK / layout.stride).max(2) as u32;
        Table {
            stride: layout.stride,
            each,
            reciprocal: (u64::MAX / u64::from(each)).wrapping_add(1),
            chunks: Vec::new(),
            len: 0,
            index: Index::default(),
            versions: Versions::default(),
        }
    }

    /// Makes room for so many more slots in the index.
    pub fn reserve(&mut self, slots: usize) {
        self.index.reserve(slots);
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.chunks.len() * self.each as usize * self.stride
            + self.index.bytes()
            + self.versions.bytes()
    }

    /// The chunk of a slot, and where the slot begins in it. A product for a division (Lemire,
    /// Kaser and Kurz, "Faster remainder by direct computation", 2019: exact for all of 32 bits).
    #[inline]
    fn place(&self, slot: u32) -> (usize, usize) {
        place((self.stride, self.each, self.reciprocal), slot)
    }

    /// A slot's bytes.
    #[inline]
    pub fn slot(&self, slot: u32) -> &[u8] {
        let (chunk, at) = self.place(slot);
        &self.chunks[chunk][at..][..self.stride]
    }

    /// A slot's bytes, to be changed.
    #[inline]
    pub fn slot_mut(&mut self, slot: u32) -> &mut [u8] {
        self.slot_and_versions(slot).0
    }

    /// A slot's bytes, to be changed, and what its headers need.
    #[inline]
    pub fn slot_and_versions(&mut self, slot: u32) -> (&mut [u8], &mut Versions) {
        let (chunk, at) = self.place(slot);
        let bytes = &mut self.chunks[chunk][at..][..self.stride];
        (bytes, &mut self.versions)
    }

    /// The header of a slot's side, which begins at `side`.
    #[inline]
    pub fn header(&self, slot: u32, side: usize) -> Option<Header> {
        Header::read(&self.slot(slot)[side..], &self.versions)
    }

    /// Asks the processor for a slot: where one side changes, metrics look at all of them.
    #[inline]
    pub fn near(&self, slot: u32) {
        let (chunk, at) = self.place(slot);
        let (bytes, last) = (&self.chunks[chunk], at + self.stride - 1);
        let mut byte = at;
        while byte < last {
            prefetch_index(bytes, byte);
            byte += LINE;
        }
        prefetch_index(bytes, last);
    }

    /// The slots of some things of an index, made if need be. In steps, so that none of the
    /// look-ups waits for another's memory, and nobody for the slots that are looked at next.
    ///
    /// Panics if there are more than [`AHEAD`].
    pub fn find_or_add_all<'a, T>(
        &mut self,
        layout: &Layout,
        all: &[T],
        of: impl Fn(&T) -> u64,
        out: &'a mut [u32; AHEAD],
    ) -> &'a [u32] {
        let out = &mut out[..all.len()];
        let mut halves = [0; AHEAD];
        for (half, one) in halves.iter_mut().zip(all) {
            *half = self::half(of(one));
            self.index.near(*half);
        }
        for (slot, half) in out.iter_mut().zip(halves) {
            *slot = self.index.likely(half).inspect(|slot| self.near(*slot)).unwrap_or(NEW);
        }
        for (slot, one) in out.iter_mut().zip(all) {
            let index = of(one);
            if *slot == NEW || self.index_of(*slot) != index {
                *slot = self.find_or_add(layout, index);
            }
        }
        out
    }

    /// Marks a slot as not touched; its bytes.
    #[inline]
    pub fn settle(&mut self, slot: u32) -> &[u8] {
        let bytes = self.slot_mut(slot);
        bytes[MARKS] &= !TOUCHED;
        bytes
    }

    /// The sides changed since the last cut, a bit each; from here on none is.
    #[inline]
    pub fn take_marks(&mut self, slot: u32) -> u8 {
        let marks = &mut self.slot_mut(slot)[MARKS];
        std::mem::replace(marks, *marks & !CHANGED) & CHANGED
    }

    /// Marks a slot's side as there and as a cut holds it.
    pub fn mark_stored(&mut self, slot: u32, stream: Stream) {
        self.slot_mut(slot)[MARKS] |= stream.bit() << THERE;
    }

    /// The index of a slot.
    pub fn index_of(&self, slot: u32) -> u64 {
        index(self.slot(slot))
    }

    /// The slot of an index, if there is one.
    pub fn find(&self, index: u64) -> Option<u32> {
        self.index.find(half(index), |slot| self.index_of(slot) == index)
    }

    /// The slot of an index, made if need be.
    pub fn find_or_add(&mut self, layout: &Layout, index: u64) -> u32 {
        let slot = u32::try_from(self.len).ok().filter(|slot| *slot != NEW);
        let slot = slot.expect("fewer than 2^32 - 1 slots a worker");
        let (chunks, lie) = (&self.chunks, (self.stride, self.each, self.reciprocal));
        let same = |slot| {
            let (chunk, at) = place(lie, slot);
            self::index(&chunks[chunk][at..]) == index
        };
        if let Some(slot) = self.index.find_or_add(half(index), slot, same) {
            return slot;
        }
        if self.len.is_multiple_of(self.each as usize) {
            self.chunks.push(vec![0; self.each as usize * self.stride]);
        }
        self.len += 1;
        let bytes = self.slot_mut(slot);
        bytes[..8].copy_from_slice(&index.to_le_bytes());
        for stream in Stream::ALL {
            Header::clear(&mut bytes[layout.side(stream).offset..]);
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Kept;
    use super::*;
    use crate::record::Column;
    use crate::record::project::Form;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slots_of_many_are_those_of_one_by_one(
            indexes in prop::collection::vec(0u64..90, 0..300),
            steps in 1..=AHEAD,
        ) {
            let kept = Kept { column: Column::Age, form: Form::Present };
            let layout = Layout::new([kept]);
            let (mut many, mut one) = (Table::new(&layout), Table::new(&layout));
            for indexes in indexes.chunks(steps) {
                let mut out = [0; AHEAD];
                let slots = many.find_or_add_all(&layout, indexes, |n| *n, &mut out).to_vec();
                let right: Vec<u32> =
                    indexes.iter().map(|index| one.find_or_add(&layout, *index)).collect();
                prop_assert_eq!(slots, right);
            }
            prop_assert_eq!(many.len(), one.len());
        }

        #[test]
        fn a_slot_lies_where_a_division_says(columns in 0..30_usize, slots in any::<[u32; 8]>()) {
            let kept = Column::ALL.iter().cycle().take(columns);
            let kept = kept.map(|column| Kept { column: *column, form: Form::Present });
            let table = Table::new(&Layout::new(kept));
            for near in slots {
                let first = near - near % table.each;
                for slot in [near, first, first.saturating_sub(1), u32::MAX] {
                    let place = ((slot / table.each) as usize, (slot % table.each) as usize);
                    prop_assert_eq!(table.place(slot), (place.0, place.1 * table.stride));
                }
            }
        }
    }
}
