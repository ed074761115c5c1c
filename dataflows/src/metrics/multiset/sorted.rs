//! Keys with counts in their order: a list of short sorted lists.
//!
//! Promises: a change costs a search and the move of at most [`MOST`] entries; an entry costs
//! little more than its own bytes, where a B-tree of the same has half as many again.
//! Limits: beyond some million keys the list of lists itself takes time to move.

/// Entries a list holds at most.
const MOST: usize = 256;

/// Keys with counts that are not 0.
#[derive(Debug)]
pub struct Sorted<K> {
    /// The first key of each list.
    firsts: Vec<K>,
    /// None is empty.
    lists: Vec<Vec<(K, i64)>>,
    len: usize,
}

impl<K> Default for Sorted<K> {
    fn default() -> Self {
        Sorted { firsts: Vec::new(), lists: Vec::new(), len: 0 }
    }
}

impl<K: Copy + Ord> Sorted<K> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds to the count of a key.
    pub fn add(&mut self, key: K, diff: i64) {
        let l = self.list(key);
        let Some(list) = self.lists.get_mut(l) else {
            if diff != 0 {
                self.firsts.push(key);
                self.lists.push(vec![(key, diff)]);
                self.len = 1;
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
        self.len += 1;
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
        self.len -= 1;
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

    /// The count of a key, 0 if it is not there.
    pub fn count(&self, key: K) -> i64 {
        let list = self.lists.get(self.list(key)).map_or(&[][..], |list| list);
        list.binary_search_by(|e| e.0.cmp(&key)).map_or(0, |n| list[n].1)
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
                if n % 97 != 0 {
                    continue;
                }
                let owned = |e: (&i64, &i64)| (*e.0, *e.1);
                prop_assert_eq!(list.len(), map.len());
                prop_assert_eq!(list.first(), map.first_key_value().map(owned));
                prop_assert_eq!(list.last(), map.last_key_value().map(owned));
                prop_assert_eq!(list.before(key), map.range(..key).next_back().map(owned));
                prop_assert_eq!(list.count(key), map.get(&key).copied().unwrap_or(0));
                prop_assert!(list.from(key).eq(map.range(key..).map(owned)));
                prop_assert!(list.lists.iter().all(|l| (1..=MOST).contains(&l.len())));
            }
            prop_assert_eq!((list.len(), list.lists.len()), (0, 0));
        }
    }
}
