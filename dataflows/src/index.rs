//! Numbers by hash: a hash table whose entries are numbers of things that lie elsewhere, each with
//! half of its hash.
//!
//! Promises: growing does not look at the things; finding looks only at those whose half is equal.
//! Limits: 2^32 numbers. Halves should differ in all bits: nothing else of the hash is known.

use hashbrown::HashTable;

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Index(HashTable<Entry>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    half: u32,
    number: u32,
}

/// Spreads half a hash over the bits that the table looks at.
#[inline]
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Index {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.0.capacity() * (1 + size_of::<Entry>())
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.0.reserve(more, |e| spread(e.half));
    }

    /// The number of this half for which `same` holds.
    #[inline]
    pub fn find(&self, half: u32, same: impl Fn(u32) -> bool) -> Option<u32> {
        let same = |e: &Entry| e.half == half && same(e.number);
        self.0.find(spread(half), same).map(|e| e.number)
    }

    /// Adds a number that is not there.
    #[inline]
    pub fn add(&mut self, half: u32, number: u32) {
        self.0.insert_unique(spread(half), Entry { half, number }, |e| spread(e.half));
    }

    /// Removes a number.
    pub fn remove(&mut self, half: u32, number: u32) {
        if let Ok(entry) = self.0.find_entry(spread(half), |e| e.number == number) {
            entry.remove();
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
        (0..1000).for_each(|n| index.add(n / 10, n));
        let find = |index: &Index, n: u32| index.find(n / 10, |m| m == n);
        assert!((0..1000).all(|n| find(&index, n) == Some(n)));
        (0..1000).filter(|n| n % 3 == 0).for_each(|n| index.remove(n / 10, n));
        assert!((0..1000).all(|n| find(&index, n) == (n % 3 != 0).then_some(n)));
        assert_eq!(index.len(), 666);
        assert!(index.bytes() >= 9 * index.len());
    }
}
