//! Numbers by hash: a hash table whose entries are numbers of things that lie elsewhere, each with
//! half of its hash.
//!
//! Promises: growing does not look at the things, and moves a 16th of the entries at a time: the
//! table is 16 small ones, which double one after the other as their lengths differ a little.
//! Finding looks only at things whose half is equal.
//! Limits: 2^32 numbers. Halves should differ in all bits: nothing else of the hash is known.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry::{Occupied, Vacant};

/// Small tables, as a power of two.
const PARTS: u32 = 4;

/// The table.
#[derive(Clone, Debug)]
pub struct Index {
    parts: [HashTable<Entry>; 1 << PARTS],
    len: usize,
}

impl Default for Index {
    fn default() -> Self {
        Index { parts: std::array::from_fn(|_| HashTable::new()), len: 0 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    half: u32,
    number: u32,
}

/// Spreads half a hash over the bits that a small table looks at: the lowest and the highest seven.
#[inline]
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Which of the small tables holds a hash: bits that these do not look at.
#[inline]
fn part(hash: u64) -> usize {
    (hash >> (57 - PARTS)) as usize % (1 << PARTS)
}

impl Index {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let slots: usize = self.parts.iter().map(HashTable::capacity).sum();
        slots * (1 + size_of::<Entry>())
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        // Lengths differ by the square root of what they are on average.
        let each = more / self.parts.len();
        let each = each + 4 * each.isqrt();
        self.parts.iter_mut().for_each(|part| part.reserve(each, |e| spread(e.half)));
    }

    /// The number of this half for which `same` holds.
    #[inline]
    pub fn find(&self, half: u32, same: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = spread(half);
        let same = |e: &Entry| e.half == half && same(e.number);
        self.parts[part(hash)].find(hash, same).map(|e| e.number)
    }

    /// The number of this half for which `same` holds; if there is none, `number` is added.
    #[inline]
    pub fn find_or_add(
        &mut self,
        half: u32,
        number: u32,
        same: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let same = |e: &Entry| e.half == half && same(e.number);
        let hash = spread(half);
        match self.parts[part(hash)].entry(hash, same, |e| spread(e.half)) {
            Occupied(entry) => Some(entry.get().number),
            Vacant(place) => {
                place.insert(Entry { half, number });
                self.len += 1;
                None
            }
        }
    }

    /// Removes a number.
    pub fn remove(&mut self, half: u32, number: u32) {
        let hash = spread(half);
        if let Ok(entry) = self.parts[part(hash)].find_entry(hash, |e| e.number == number) {
            entry.remove();
            self.len -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_halves_are_told_apart() {
        let mut index = Index::default();
        index.reserve(10);
        let add = |index: &mut Index, n: u32| index.find_or_add(n / 10, n, |m| m == n);
        assert!((0..1000).all(|n| add(&mut index, n).is_none()));
        assert!((0..1000).all(|n| add(&mut index, n) == Some(n)));
        let find = |index: &Index, n: u32| index.find(n / 10, |m| m == n);
        assert!((0..1000).all(|n| find(&index, n) == Some(n)));
        (0..1000).filter(|n| n % 3 == 0).for_each(|n| index.remove(n / 10, n));
        assert!((0..1000).all(|n| find(&index, n) == (n % 3 != 0).then_some(n)));
        assert_eq!(index.len(), 666);
        assert!(index.bytes() >= 9 * index.len());
    }
}
