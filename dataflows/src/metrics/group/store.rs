//! Groups by key: a hash table of numbers over chunks of words.
//!
//! Promises: a group keeps its number and its place until it is removed; growth copies no groups,
//! and does not look at them. Numbers of removed groups are given out again.
//! Limits: 2^32 groups.
//!
//! ```text
//! group = window:16|live:1|dirty:1  start  key*  (low high)*  shown       words of 64 bits
//! low, high = halves of a sum of 128 bits; shown = the hash of the rows last published, 0 = none
//! ```

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::super::multiset::Multiset;
use super::super::plan::{Node, Order};
use super::super::value::GroupKey;
use crate::index::Index;

/// Groups a chunk.
const CHUNK: usize = 1024;
/// Words before the keys.
const HEAD: usize = 2;
/// There is a group of this number.
const LIVE: i64 = 1 << 16;
/// It changed since it was last published.
const DIRTY: i64 = 1 << 17;

/// The groups of one node by key.
pub struct Store {
    keys: usize,
    sums: usize,
    orders: Vec<Order>,
    chunks: Vec<Vec<i64>>,
    /// By number; empty where groups have no multisets.
    sets: Vec<Box<[Multiset]>>,
    /// Numbers that were ever given out.
    numbers: usize,
    index: Index,
    free: Vec<u32>,
}

/// One group.
pub struct Group<'a> {
    words: &'a mut [i64],
    keys: usize,
    /// Its multisets.
    pub sets: &'a mut [Multiset],
}

/// Bytes of a group of so many keys and sums, without its multisets.
pub const fn bytes(keys: usize, sums: usize) -> usize {
    stride(keys, sums) * size_of::<i64>()
}

const fn stride(keys: usize, sums: usize) -> usize {
    HEAD + keys + 2 * sums + 1
}

impl Store {
    /// No groups.
    pub fn new(node: &Node) -> Self {
        Store {
            keys: node.keys.len(),
            sums: node.adds.len(),
            orders: node.sets.iter().map(|s| s.order).collect(),
            chunks: Vec::new(),
            sets: Vec::new(),
            numbers: 0,
            index: Index::default(),
            free: Vec::new(),
        }
    }

    fn stride(&self) -> usize {
        stride(self.keys, self.sums)
    }

    fn new_sets(&self) -> Box<[Multiset]> {
        self.orders.iter().map(|order| Multiset::new(*order)).collect()
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The number of a key's group, made if need be, and whether it was.
    pub fn find_or_add(&mut self, key: &GroupKey) -> (u32, bool) {
        let half = half(key.window, key.start, &key.keys);
        let stride = self.stride();
        let same = |number: u32| {
            let words = words(&self.chunks, stride, number);
            (words[0] as u16, words[1]) == (key.window, key.start)
                && words[HEAD..][..key.keys.len()] == key.keys[..]
        };
        let next = || u32::try_from(self.numbers).expect("fewer than 2^32 groups");
        let number = self.free.last().copied().unwrap_or_else(next);
        if let Some(number) = self.index.find_or_add(half, number, same) {
            return (number, false);
        }
        if self.free.pop().is_none() {
            self.make_room();
        }
        let sets = self.new_sets();
        if let Some(place) = self.sets.get_mut(number as usize) {
            *place = sets;
        }
        let at = number as usize;
        let words = &mut self.chunks[at / CHUNK][at % CHUNK * stride..][..stride];
        words.fill(0);
        (words[0], words[1]) = (i64::from(key.window) | LIVE, key.start);
        words[HEAD..][..key.keys.len()].copy_from_slice(&key.keys);
        (number, true)
    }

    /// The words of the next number that was never given out.
    fn make_room(&mut self) {
        let stride = self.stride();
        if self.numbers.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK * stride));
        }
        let chunk = self.chunks.last_mut().expect("one was just made");
        chunk.resize(chunk.len() + stride, 0);
        if !self.orders.is_empty() {
            self.sets.push(Box::default());
        }
        self.numbers += 1;
    }

    /// A group, if there is one of this number.
    pub fn get_mut(&mut self, number: u32) -> Option<Group<'_>> {
        let (at, stride) = (number as usize, self.stride());
        let words = self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK * stride..)?;
        let words = words.get_mut(..stride).filter(|words| words[0] & LIVE != 0)?;
        let sets = self.sets.get_mut(at).map_or(&mut [][..], |sets| sets);
        Some(Group { words, keys: self.keys, sets })
    }

    /// Empties a group; what was shown of it is remembered.
    pub fn reset(&mut self, number: u32) {
        let sets = self.new_sets();
        let Some(group) = self.get_mut(number) else { return };
        group.sets.iter_mut().zip(sets).for_each(|(old, new)| *old = new);
        let (from, to) = (HEAD + group.keys, group.words.len() - 1);
        group.words[from..to].fill(0);
    }

    /// Removes a group; its key.
    pub fn remove(&mut self, number: u32) -> Option<GroupKey> {
        let group = self.get_mut(number)?;
        let key = group.key();
        group.words[0] = 0;
        if let Some(sets) = self.sets.get_mut(number as usize) {
            *sets = Box::default();
        }
        let half = half(key.window, key.start, &key.keys);
        self.index.remove(half, number);
        self.free.push(number);
        Some(key)
    }

    /// The multisets of each group that has any, in the order of numbers.
    pub fn sets(&self) -> impl Iterator<Item = &[Multiset]> {
        self.sets.iter().filter(|sets| !sets.is_empty()).map(|sets| &**sets)
    }
}

impl Group<'_> {
    /// Its key.
    pub fn key(&self) -> GroupKey {
        let keys = self.words[HEAD..][..self.keys].iter().copied().collect();
        GroupKey { window: self.words[0] as u16, start: self.words[1], keys }
    }

    /// A sum.
    pub fn sum(&self, n: usize) -> i128 {
        let at = HEAD + self.keys + 2 * n;
        i128::from(self.words[at + 1]) << 64 | i128::from(self.words[at] as u64)
    }

    /// Adds to a sum.
    pub fn add(&mut self, n: usize, more: i128) {
        let (at, sum) = (HEAD + self.keys + 2 * n, self.sum(n).wrapping_add(more));
        (self.words[at], self.words[at + 1]) = (sum as i64, (sum >> 64) as i64);
    }

    /// Whether it holds nothing any more.
    pub fn is_gone(&mut self) -> bool {
        let sums = &self.words[HEAD + self.keys..self.words.len() - 1];
        sums.iter().all(|word| *word == 0) && self.sets.iter_mut().all(|s| s.distinct() == 0)
    }

    /// Says whether it changed since it was last published; whether it had.
    pub fn set_dirty(&mut self, dirty: bool) -> bool {
        let before = self.words[0];
        self.words[0] = if dirty { before | DIRTY } else { before & !DIRTY };
        before & DIRTY != 0
    }

    /// The hash of the rows last published, 0 = none were.
    pub fn shown(&mut self) -> &mut i64 {
        let last = self.words.len() - 1;
        &mut self.words[last]
    }
}

fn words(chunks: &[Vec<i64>], stride: usize, number: u32) -> &[i64] {
    let at = number as usize;
    &chunks[at / CHUNK][at % CHUNK * stride..][..stride]
}

fn half(window: u16, start: i64, keys: &[i64]) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write_u16(window);
    hasher.write_i64(start);
    keys.iter().for_each(|key| hasher.write_i64(*key));
    hasher.finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(keys: usize, sums: usize, orders: Vec<Order>) -> Store {
        let (chunks, sets, free) = (Vec::new(), Vec::new(), Vec::new());
        let index = Index::default();
        Store { keys, sums, orders, chunks, sets, numbers: 0, index, free }
    }

    #[test]
    fn numbers_stay_until_removed_and_are_given_out_again() {
        let key =
            |n: i64| GroupKey { window: 3, start: n % 7, keys: [n, -n].into_iter().collect() };
        let mut store = store(2, 1, vec![Order::Value]);
        let sum = |store: &mut Store, n: u32| store.get_mut(n).map(|g| (g.key(), g.sum(0)));
        for n in 0..3000 {
            assert_eq!(store.find_or_add(&key(n)), (n as u32, true));
            store.get_mut(n as u32).expect("made").add(0, n.into());
        }
        assert_eq!(store.find_or_add(&key(1999)), (1999, false));
        assert_eq!((store.remove(1999), store.remove(1999)), (Some(key(1999)), None));
        assert_eq!((sum(&mut store, 1999), store.len()), (None, 2999));
        assert_eq!(store.find_or_add(&key(5000)), (1999, true));
        assert_eq!(sum(&mut store, 1999), Some((key(5000), 0)));
        for n in (0..3000).filter(|n| *n != 1999) {
            assert_eq!(sum(&mut store, n), Some((key(n.into()), n.into())));
        }
        assert_eq!(store.find_or_add(&key(1999)), (3000, true));
        assert_eq!(store.sets().count(), 3001);
    }

    #[test]
    fn sums_are_wide_and_a_reset_group_remembers_what_was_shown() {
        let key = GroupKey { window: 0, start: i64::MIN, keys: [7].into_iter().collect() };
        let mut store = store(1, 2, Vec::new());
        let (number, _) = store.find_or_add(&key);
        let mut group = store.get_mut(number).expect("made");
        assert!(group.is_gone() && !group.set_dirty(true));
        for more in [i128::MAX, -5, i128::from(i64::MIN)] {
            let was = group.sum(1);
            group.add(1, more);
            assert_eq!(group.sum(1), was.wrapping_add(more));
        }
        *group.shown() = 9;
        assert_eq!((group.sum(0), group.is_gone()), (0, false));
        store.reset(number);
        let mut group = store.get_mut(number).expect("still there");
        assert!(group.is_gone() && group.set_dirty(false));
        assert_eq!((*group.shown(), group.key()), (9, key));
    }
}
