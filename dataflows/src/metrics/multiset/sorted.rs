//! Keys with counts in their order: a list of short sorted lists, and changes that wait.
//!
//! Promises: a change is put aside until there are many or somebody asks; then a few cost a search
//! and the move of at most [`MOST`] entries each, and many one pass over all entries. No more wait
//! than a quarter of what as many full lists would hold, or [`WORTH`]. An entry costs little more
//! than its own bytes, where a B-tree of the same has half as many again.
//! Limits: beyond some million keys the list of lists itself takes time to move.

use prefetch_index::prefetch_index;
use smallvec::SmallVec;

/// Entries a list holds at most.
const MOST: usize = 256;

/// Entries of a list that is made whole: it can take some more.
const FILLED: usize = 192;

/// So many changes may wait whatever there is; one list with fewer entries is changed at once.
const WORTH: usize = 64;

/// One pass over all entries costs about as much as so many times fewer changes one by one.
const PASS: usize = 16;

/// Keys with counts that are not 0.
#[derive(Debug)]
pub struct Sorted<K> {
    ordered: Lists<K>,
    /// Changes that are not in the lists; a pointer, as most have none.
    #[allow(clippy::box_collection, reason = "many are held, and few have changes that wait")]
    waiting: Option<Box<Vec<(K, i64)>>>,
}

/// What is in order. One list lies in no list of lists: of most groups there are few keys.
#[derive(Debug)]
pub struct Lists<K> {
    /// The first key of each list.
    firsts: SmallVec<[K; 1]>,
    /// None is empty.
    lists: SmallVec<[Vec<(K, i64)>; 1]>,
}

impl<K> Default for Sorted<K> {
    fn default() -> Self {
        Sorted { ordered: Lists::default(), waiting: None }
    }
}

impl<K> Default for Lists<K> {
    fn default() -> Self {
        Lists { firsts: SmallVec::new(), lists: SmallVec::new() }
    }
}

impl<K: Copy + Ord> Sorted<K> {
    /// Asks the processor for where a search begins, if a change would be made at once.
    #[inline]
    pub fn near(&self) {
        if let [list] = &self.ordered.lists[..]
            && list.len() < WORTH
        {
            prefetch_index(list, list.len() / 2);
        }
    }

    /// Adds to the count of a key.
    pub fn add(&mut self, key: K, diff: i64) {
        if self.waiting.is_none() && self.ordered.is_short() {
            return self.ordered.add(key, diff);
        }
        let waiting = self.waiting.get_or_insert_default();
        waiting.push((key, diff));
        // A quarter of about as many entries as there are.
        if waiting.len() >= WORTH.max(self.ordered.lists.len() * FILLED / 4) {
            self.settle();
        }
    }

    /// Everything that was added, in order.
    pub fn settled(&mut self) -> &Lists<K> {
        self.settle();
        &self.ordered
    }

    /// Everything that was added, in order; nothing is left.
    pub fn take(&mut self) -> Vec<(K, i64)> {
        self.settle();
        std::mem::take(&mut self.ordered).lists.concat()
    }

    /// Entries held, of which some may be the same key's.
    pub fn held(&self) -> usize {
        self.ordered.len() + self.waiting.as_ref().map_or(0, |waiting| waiting.len())
    }

    fn settle(&mut self) {
        let Some(mut waiting) = self.waiting.take() else { return };
        waiting.sort_unstable_by_key(|change| change.0);
        if waiting.len() * PASS < self.ordered.lists.len() * FILLED {
            waiting.into_iter().for_each(|(key, diff)| self.ordered.add(key, diff));
        } else {
            self.ordered.merge(*waiting);
        }
    }
}

impl<K: Copy + Ord> Lists<K> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    /// Whether there are so few that a change is soon made.
    fn is_short(&self) -> bool {
        match &self.lists[..] {
            [] => true,
            [list] => list.len() < WORTH,
            _ => false,
        }
    }

    /// Takes changes up, which come in the order of keys, in one pass. Lists are freed on the way.
    fn merge(&mut self, changes: Vec<(K, i64)>) {
        let old = std::mem::take(&mut self.lists);
        self.firsts.clear();
        let mut changes = changes.into_iter().peekable();
        for (key, count) in old.into_iter().flatten() {
            while let Some(change) = changes.next_if(|change| change.0 < key) {
                self.append(change);
            }
            self.append((key, count));
        }
        changes.for_each(|change| self.append(change));
        self.drop_last_if_gone();
        if let Some(last) = self.lists.last_mut() {
            last.shrink_to_fit();
        }
    }

    /// Adds to the last entry, if it is this key's, or puts one behind it.
    fn append(&mut self, (key, diff): (K, i64)) {
        if let Some(last) = self.lists.last_mut().and_then(|list| list.last_mut())
            && last.0 == key
        {
            last.1 += diff;
            return;
        }
        self.drop_last_if_gone();
        match self.lists.last_mut() {
            Some(list) if list.len() < FILLED => list.push((key, diff)),
            _ => {
                let mut list = Vec::with_capacity(FILLED);
                list.push((key, diff));
                self.firsts.push(key);
                self.lists.push(list);
            }
        }
    }

    /// Removes the last entry if its count has come to 0.
    fn drop_last_if_gone(&mut self) {
        let Some(list) = self.lists.last_mut() else { return };
        list.pop_if(|entry| entry.1 == 0);
        if list.is_empty() {
            self.firsts.pop();
            self.lists.pop();
        }
    }

    /// Adds to the count of a key.
    fn add(&mut self, key: K, diff: i64) {
        let l = self.list(key);
        let Some(list) = self.lists.get_mut(l) else {
            if diff != 0 {
                self.firsts.push(key);
                self.lists.push(vec![(key, diff)]);
            }
            return;
        };
        match list.binary_search_by(|e| e.0.cmp(&key)) {
            Ok(n) => {
                list[n].1 += diff;
                if list[n].1 == 0 {
                    self.remove(l, n);
                }
            }
            Err(n) if diff != 0 => self.insert((l, n), key, diff),
            Err(_) => {}
        }
    }

    fn insert(&mut self, (l, n): (usize, usize), key: K, count: i64) {
        let list = &mut self.lists[l];
        if list.len() == list.capacity() {
            list.reserve_exact((list.len() / 4).max(1));
        }
        list.insert(n, (key, count));
        self.firsts[l] = list[0].0;
        if list.len() > MOST {
            let upper = list.split_off(list.len() / 2);
            list.shrink_to_fit();
            self.firsts.insert(l + 1, upper[0].0);
            self.lists.insert(l + 1, upper);
        }
    }

    fn remove(&mut self, l: usize, n: usize) {
        let list = &mut self.lists[l];
        list.remove(n);
        let left = list.len();
        match list.first() {
            Some(first) => self.firsts[l] = first.0,
            None => {
                self.firsts.remove(l);
                self.lists.remove(l);
                return;
            }
        }
        // Two that are half empty become one, so that lists are not many and short.
        if self.lists.get(l + 1).is_some_and(|next| next.len() + left <= MOST / 2) {
            self.firsts.remove(l + 1);
            let next = self.lists.remove(l + 1);
            self.lists[l].extend(next);
        }
    }

    /// The list that holds a key or would.
    fn list(&self, key: K) -> usize {
        self.firsts.partition_point(|first| *first <= key).saturating_sub(1)
    }

    /// The least key with its count.
    pub fn first(&self) -> Option<(K, i64)> {
        self.lists.first()?.first().copied()
    }

    /// The greatest key with its count.
    pub fn last(&self) -> Option<(K, i64)> {
        self.lists.last()?.last().copied()
    }

    /// The entries from a key on, ascending.
    pub fn from(&self, key: K) -> impl Iterator<Item = (K, i64)> {
        let l = self.list(key);
        let n = self.lists.get(l).map_or(0, |list| list.partition_point(|e| e.0 < key));
        self.lists.iter().skip(l).flatten().skip(n).copied()
    }

    /// The greatest entry below a key.
    pub fn before(&self, key: K) -> Option<(K, i64)> {
        let l = self.list(key);
        let list = self.lists.get(l)?;
        match list.partition_point(|e| e.0 < key) {
            0 => self.lists.get(l.checked_sub(1)?)?.last().copied(),
            n => list.get(n - 1).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_an_ordered_map(
            changes in prop::collection::vec((0i64..900, -1i64..3), 0..3000),
            sorted in any::<bool>(),
            asked in 1_usize..1500,
        ) {
            let (mut map, mut list) = (BTreeMap::new(), Sorted::default());
            let mut changes = changes;
            if sorted {
                changes.sort_unstable();
            }
            let back: Vec<_> = changes.iter().map(|(key, diff)| (*key, -diff)).collect();
            for (n, (key, diff)) in changes.into_iter().chain(back).enumerate() {
                list.add(key, diff);
                let count = map.entry(key).or_insert(0);
                *count += diff;
                if *count == 0 {
                    map.remove(&key);
                }
                if n % asked != 0 {
                    continue;
                }
                let owned = |e: (&i64, &i64)| (*e.0, *e.1);
                let list = list.settled();
                prop_assert_eq!(list.len(), map.len());
                prop_assert_eq!(list.first(), map.first_key_value().map(owned));
                prop_assert_eq!(list.last(), map.last_key_value().map(owned));
                prop_assert_eq!(list.before(key), map.range(..key).next_back().map(owned));
                prop_assert!(list.from(key).eq(map.range(key..).map(owned)));
                prop_assert!(list.lists.iter().all(|l| (1..=MOST).contains(&l.len())));
                let firsts = list.lists.iter().map(|l| &l[0].0);
                prop_assert!(list.firsts.iter().eq(firsts));
            }
            prop_assert_eq!((list.settled().len(), list.settled().lists.len()), (0, 0));
        }
    }

    #[test]
    fn few_wait() {
        let mut list = Sorted::default();
        let random = |n: i64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64);
        for n in 0..100_000 {
            list.add(random(n), 1);
            let waiting = list.waiting.as_ref().map_or(0, |w| w.len());
            assert!(waiting <= WORTH.max(list.ordered.len() / 2), "{waiting}");
        }
        assert_eq!((list.settled().len(), list.held()), (100_000, 100_000));
    }
}
