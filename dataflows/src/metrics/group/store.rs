//! Groups by key: a hash table of numbers over chunks of groups.
//!
//! Promises: a group keeps its number and its place until it is removed; growth copies no groups,
//! and does not look at them. Numbers of removed groups are given out again.
//! Limits: 2^32 groups.

use std::hash::{Hash, Hasher};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::super::value::GroupKey;

/// Groups a chunk.
const CHUNK: usize = 1024;

/// A number with half of its key's hash.
#[derive(Clone, Copy)]
struct Entry {
    half: u32,
    number: u32,
}

/// Groups of type `T` by key.
pub struct Store<T> {
    chunks: Vec<Vec<Option<(GroupKey, T)>>>,
    index: HashTable<Entry>,
    free: Vec<u32>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Store { chunks: Vec::new(), index: HashTable::new(), free: Vec::new() }
    }
}

impl<T> Store<T> {
    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The number of a key's group, made if need be, and whether it was.
    pub fn find_or_add(&mut self, key: GroupKey, make: impl FnOnce() -> T) -> (u32, bool) {
        let half = half(&key);
        let chunks = &self.chunks;
        let same =
            |e: &Entry| e.half == half && group(chunks, e.number).is_some_and(|(k, _)| *k == key);
        if let Some(entry) = self.index.find(spread(half), same) {
            return (entry.number, false);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            if self.chunks.last().is_none_or(|c| c.len() == CHUNK) {
                self.chunks.push(Vec::with_capacity(CHUNK));
            }
            let at = self.chunks.len() - 1;
            self.chunks[at].push(None);
            u32::try_from(at * CHUNK + self.chunks[at].len() - 1).expect("fewer than 2^32 groups")
        });
        self.chunks[number as usize / CHUNK][number as usize % CHUNK] = Some((key, make()));
        self.index.insert_unique(spread(half), Entry { half, number }, |e| spread(e.half));
        (number, true)
    }

    /// A group, if there is one of this number.
    pub fn get_mut(&mut self, number: u32) -> Option<(&GroupKey, &mut T)> {
        let at = number as usize;
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)?.as_mut().map(|(k, t)| (&*k, t))
    }

    /// Removes a group; its key.
    pub fn remove(&mut self, number: u32) -> Option<GroupKey> {
        let at = number as usize;
        let (key, _) = self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)?.take()?;
        if let Ok(entry) = self.index.find_entry(spread(half(&key)), |e| e.number == number) {
            entry.remove();
        }
        self.free.push(number);
        Some(key)
    }

    /// Every group, in the order of numbers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flatten().map(|(_, t)| t)
    }
}

fn group<T>(chunks: &[Vec<Option<(GroupKey, T)>>], number: u32) -> Option<&(GroupKey, T)> {
    chunks[number as usize / CHUNK][number as usize % CHUNK].as_ref()
}

fn half(key: &GroupKey) -> u32 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    hasher.finish() as u32
}

/// What the table hashes by: all that is left of it lies in the entry.
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_until_removed_and_are_given_out_again() {
        let key = |n: i64| GroupKey { window: 0, start: n % 7, keys: [n].into_iter().collect() };
        let mut store = Store::default();
        for n in 0..3000 {
            assert_eq!(store.find_or_add(key(n), || n), (n as u32, true));
        }
        assert_eq!(store.find_or_add(key(1999), || 0), (1999, false));
        assert_eq!((store.remove(1999), store.remove(1999)), (Some(key(1999)), None));
        assert!(store.get_mut(1999).is_none() && store.len() == 2999);
        assert_eq!(store.find_or_add(key(5000), || 5), (1999, true));
        assert_eq!(store.get_mut(1999).map(|(k, t)| (k.clone(), *t)), Some((key(5000), 5)));
        let sum = (0..3000).sum::<i64>() - 1999 + 5;
        assert_eq!(store.iter().sum::<i64>(), sum);
        assert_eq!(store.find_or_add(key(1999), || 0), (3000, true));
    }
}
