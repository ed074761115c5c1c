//! Groups by key: a hash table of numbers over chunks of words.
//!
//! Promises: a group keeps its number and its place until it is removed; growth copies no groups,
//! and does not look at them. Numbers of removed groups are given out again.
//! Limits: 2^32 - 1 groups.
//!
//! ```text
//! group = an entry, as super::super::words has it; its flags are LIVE, DIRTY, SHOWN
//! ```

use prefetch_index::prefetch_index;

use super::super::multiset::Multiset;
use super::super::plan::{Node, Order};
use super::super::value::GroupKey;
use super::super::words::{FLAGS, Words, equal, hash_of_key, start, window};
use crate::index::Index;

/// Groups a chunk.
const CHUNK: usize = 1024;
/// There is a group of this number.
const LIVE: i64 = FLAGS[0];
/// It changed since it was last published, or given on.
const DIRTY: i64 = FLAGS[1];
/// Some metric's rows of it are published; or, of a distinct row, that it is there was given on.
const SHOWN: i64 = FLAGS[2];
const ALL_FLAGS: i64 = LIVE | DIRTY | SHOWN;

/// The groups of one node by key.
pub struct Store {
    form: Words,
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
    form: &'a Words,
    /// Its multisets.
    pub sets: &'a mut [Multiset],
}

/// Bytes of a group, without its multisets.
pub fn bytes(node: &Node) -> usize {
    Words::of(node).width() * size_of::<i64>()
}

impl Store {
    /// No groups.
    pub fn new(node: &Node) -> Self {
        Store {
            form: Words::of(node),
            orders: node.sets.iter().map(|s| s.order).collect(),
            chunks: Vec::new(),
            sets: Vec::new(),
            numbers: 0,
            index: Index::default(),
            free: Vec::new(),
        }
    }

    /// How its entries lie.
    pub fn form(&self) -> &Words {
        &self.form
    }

    fn new_sets(&self) -> Box<[Multiset]> {
        self.orders.iter().map(|order| Multiset::new(*order)).collect()
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Half of the hash of an entry's key, by which its group is found; the processor is asked for
    /// where that is looked for.
    #[inline]
    pub fn near(&self, entry: &[i64]) -> u32 {
        let half = half(self.form.key(entry));
        self.index.near(half);
        half
    }

    /// The group that an entry of this half is most likely of, if there is any; the processor is
    /// asked for its first words and its last.
    #[inline]
    pub fn likely(&self, half: u32) -> Option<u32> {
        let number = self.index.likely(half)?;
        let (at, width) = (number as usize, self.form.width());
        let (chunk, first) = (&self.chunks[at / CHUNK], at % CHUNK * width);
        prefetch_index(chunk, first);
        prefetch_index(chunk, first + width - 1);
        Some(number)
    }

    /// Asks the processor for where the multisets of a group are found.
    #[inline]
    pub fn near_sets(&self, number: u32) {
        prefetch_index(&self.sets, number as usize);
    }

    /// The same for one of the multisets.
    #[inline]
    pub fn near_set(&self, number: u32, set: u16) {
        // Its first line and its last; a third, if there is one, is waited for.
        let sets = self.sets_of(number);
        [0, 1].iter().for_each(|n| prefetch_index(sets, usize::from(set) + n));
    }

    /// The multisets of a group.
    #[inline]
    pub fn sets_of(&self, number: u32) -> &[Multiset] {
        self.sets.get(number as usize).map_or(&[], |sets| sets)
    }

    /// Whether an entry is of a group.
    #[inline]
    pub fn is(&self, number: u32, entry: &[i64]) -> bool {
        is(words(&self.chunks, self.form.width(), number), self.form.key(entry))
    }

    /// The number of the group that an entry of this half is of, made without sums if need be, and
    /// whether it was.
    pub fn find_or_add(&mut self, half: u32, entry: &[i64]) -> (u32, bool) {
        let key = self.form.key(entry);
        let stride = self.form.width();
        let same = |number: u32| is(words(&self.chunks, stride, number), key);
        let next = || u32::try_from(self.numbers).ok().filter(|number| *number != u32::MAX);
        let number = self.free.last().copied().or_else(next);
        let number = number.expect("fewer than 2^32 - 1 groups");
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
        words[..key.len()].copy_from_slice(key);
        words[0] |= LIVE;
        (number, true)
    }

    /// The words of the next number that was never given out.
    fn make_room(&mut self) {
        let stride = self.form.width();
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

    /// How many chunks there are.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The groups of a chunk, each an entry of its key and its sums.
    pub fn entries(&self, chunk: usize) -> impl Iterator<Item = &[i64]> {
        let all = self.chunks[chunk].chunks_exact(self.form.width());
        all.filter(|group| group[0] & LIVE != 0)
    }

    /// A group, if there is one of this number.
    #[inline]
    pub fn get_mut(&mut self, number: u32) -> Option<Group<'_>> {
        let (at, stride) = (number as usize, self.form.width());
        let words = self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK * stride..)?;
        let words = words.get_mut(..stride).filter(|words| words[0] & LIVE != 0)?;
        let sets = self.sets.get_mut(at).map_or(&mut [][..], |sets| sets);
        Some(Group { words, form: &self.form, sets })
    }

    /// Empties a group; what was shown of it is remembered.
    pub fn reset(&mut self, number: u32) {
        let sets = self.new_sets();
        let Some(group) = self.get_mut(number) else { return };
        group.sets.iter_mut().zip(sets).for_each(|(old, new)| *old = new);
        group.form.sums_mut(group.words).fill(0);
    }

    /// Removes a group; its key.
    pub fn remove(&mut self, number: u32) -> Option<GroupKey> {
        let group = self.get_mut(number)?;
        let key = group.key();
        group.words[0] &= !ALL_FLAGS;
        let half = half(group.form.key(group.words));
        if let Some(sets) = self.sets.get_mut(number as usize) {
            *sets = Box::default();
        }
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
        let head = self.words[0];
        GroupKey { window: window(head), start: start(head), keys: self.form.keys(self.words) }
    }

    /// A sum.
    pub fn sum(&self, n: usize) -> i128 {
        self.form.sum(self.words, n)
    }

    /// Adds the sums of an entry.
    #[inline]
    pub fn add(&mut self, entry: &[i64]) {
        self.form.merge(self.words, entry, false);
    }

    /// Whether it holds nothing any more.
    pub fn is_gone(&self) -> bool {
        // Hardly ever: rows are the first of what is counted.
        let [rows, others @ ..] = self.form.sums(self.words) else { return true };
        *rows == 0
            && others.iter().all(|word| *word == 0)
            && self.sets.iter().all(Multiset::is_empty)
    }

    /// Says whether it changed since it was last published; whether it had.
    pub fn set_dirty(&mut self, dirty: bool) -> bool {
        self.set(DIRTY, dirty)
    }

    /// Whether any metric's rows of it are published.
    pub fn is_shown(&self) -> bool {
        self.words[0] & SHOWN != 0
    }

    /// Says whether any metric's rows of it are published; whether any were.
    pub fn set_shown(&mut self, shown: bool) -> bool {
        self.set(SHOWN, shown)
    }

    fn set(&mut self, flag: i64, to: bool) -> bool {
        let before = self.words[0];
        self.words[0] = if to { before | flag } else { before & !flag };
        before & flag != 0
    }
}

fn words(chunks: &[Vec<i64>], stride: usize, number: u32) -> &[i64] {
    let at = number as usize;
    &chunks[at / CHUNK][at % CHUNK * stride..][..stride]
}

/// Whether the words of a group begin with a key, which is all that tells it from others.
#[inline]
fn is(words: &[i64], key: &[i64]) -> bool {
    words[0] & !ALL_FLAGS == key[0] && equal(&words[1..key.len()], &key[1..])
}

/// Half of a key's hash. Those of one start and one list of keys in several windows are neighbours.
#[inline]
fn half(key: &[i64]) -> u32 {
    (hash_of_key(key) >> 32) as u32 & !7 | u32::from(window(key[0])) & 7
}

#[cfg(test)]
mod tests {
    use super::super::super::value::NULL;
    use super::super::super::words::{Form, head};
    use super::*;

    fn store(keys: usize, wide: &[bool], orders: Vec<Order>) -> Store {
        let (chunks, sets, free) = (Vec::new(), Vec::new(), Vec::new());
        let form = Words::new((0..keys).map(|n| (Form::Long, n)), wide.iter().copied());
        Store { form, orders, chunks, sets, numbers: 0, index: Index::default(), free }
    }

    fn find_or_add(store: &mut Store, entry: &[i64]) -> (u32, bool) {
        let half = store.near(entry);
        let (likely, found) = (store.likely(half), store.find_or_add(half, entry));
        assert!(
            found.1 || likely.is_some_and(|number| !store.is(number, entry) || number == found.0)
        );
        found
    }

    #[test]
    fn numbers_stay_until_removed_and_are_given_out_again() {
        let entry = |n: i64| [head(3, n % 7 * 1000), n, -n, n];
        let key = |n: i64| GroupKey { window: 3, start: n % 7 * 1000, keys: [n, -n][..].into() };
        let mut store = store(2, &[false], vec![Order::Value]);
        let sum = |store: &mut Store, n: u32| store.get_mut(n).map(|g| (g.key(), g.sum(0)));
        for n in 0..3000 {
            assert_eq!(find_or_add(&mut store, &entry(n)), (n as u32, true));
            store.get_mut(n as u32).expect("made").add(&entry(n));
        }
        assert_eq!(find_or_add(&mut store, &entry(1999)), (1999, false));
        assert_eq!((store.remove(1999), store.remove(1999)), (Some(key(1999)), None));
        assert_eq!((sum(&mut store, 1999), store.len()), (None, 2999));
        assert_eq!(find_or_add(&mut store, &entry(5000)), (1999, true));
        assert_eq!(sum(&mut store, 1999), Some((key(5000), 0)));
        for n in (0..3000).filter(|n| *n != 1999) {
            assert_eq!(sum(&mut store, n), Some((key(n.into()), n.into())));
        }
        assert_eq!(find_or_add(&mut store, &entry(1999)), (3000, true));
        assert_eq!(store.sets().count(), 3001);
    }

    #[test]
    fn a_reset_group_remembers_that_it_was_shown() {
        let entry = [head(6, NULL), 7, 1, 5, 0];
        let mut store = store(1, &[false, true], Vec::new());
        let (number, _) = find_or_add(&mut store, &entry);
        let mut group = store.get_mut(number).expect("made");
        assert!(group.is_gone() && !group.set_dirty(true));
        group.add(&entry);
        assert!(!group.set_shown(true) && group.set_dirty(true));
        assert_eq!(find_or_add(&mut store, &entry), (number, false));
        let group = store.get_mut(number).expect("still there");
        assert_eq!((group.sum(0), group.sum(1), group.is_gone()), (1, 5, false));
        store.reset(number);
        let mut group = store.get_mut(number).expect("still there");
        assert!(group.is_gone() && group.set_dirty(false));
        let key = GroupKey { window: 6, start: NULL, keys: [7][..].into() };
        assert_eq!((group.is_shown(), group.key()), (true, key));
        assert!(group.set_shown(false) && !group.is_shown());
    }
}
