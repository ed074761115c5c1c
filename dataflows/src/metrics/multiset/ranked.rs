//! The greatest of many, with what comes with it.
//!
//! Promises: the answer is that of all that was added. Only the greatest are in order: what is
//! below them is appended to, and put together when the greatest are gone, and now and then so that
//! it does not outgrow what is held: to [`FEW`] or twice as many.
//! Limits: values of equal rank are never parted: of many that are tied all are in order.

use super::sorted::Sorted;

/// A value, and what comes with it.
type Key = (i64, i64);

/// So many keys are put in order when there are none.
const KEEP: usize = 64;

/// Entries of a list of the rest.
const LIST: usize = 256;

/// So many changes need not be put together.
const FEW: usize = 1024;

/// If there are so many, those below the first [`KEEP`] go to the rest.
const MOST: usize = 256;

/// Values with what comes with them, and counts.
#[derive(Debug, Default)]
pub struct Ranked {
    top: Sorted<Key>,
    /// How many keys may be in `top` before some are put aside; more where many are tied.
    most: usize,
    /// How many keys came in since that was looked at.
    added: usize,
    /// What is less than all values in `top`.
    rest: Option<Box<Rest>>,
    /// The sum of all counts.
    total: i64,
}

/// What came once, in eight bytes, as nearly all has: counts of followers, and texts. Compared as
/// the key is: `value:32|with:32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Once(u64);

impl Once {
    fn of(((value, with), diff): (Key, i64)) -> Option<Self> {
        let (value, with): (u32, u32) = (value.try_into().ok()?, with.try_into().ok()?);
        (diff == 1).then_some(Once(u64::from(value) << u32::BITS | u64::from(with)))
    }

    fn change(self) -> (Key, i64) {
        (((self.0 >> u32::BITS) as i64, i64::from(self.0 as u32)), 1)
    }
}

/// A change in twelve bytes, as most others are: what comes with a value is mostly a text.
#[derive(Clone, Copy, Debug)]
struct Short {
    /// `value:56|diff:8`, least first.
    change: [u32; 2],
    with: u32,
}

impl Short {
    fn of(((value, with), diff): (Key, i64)) -> Option<Self> {
        let (with, diff) = (with.try_into().ok()?, i8::try_from(diff).ok()?);
        let change = (value << 8) as u64 | u64::from(diff as u8);
        let change = [change as u32, (change >> 32) as u32];
        let short = Short { change, with };
        (short.value() == value).then_some(short)
    }

    fn value(self) -> i64 {
        (u64::from(self.change[1]) << 32 | u64::from(self.change[0])) as i64 >> 8
    }

    fn change(self) -> (Key, i64) {
        ((self.value(), self.with.into()), (self.change[0] as i8).into())
    }
}

/// Entries in lists of [`LIST`]: as they get more none is moved.
#[derive(Debug)]
struct Pile<T>(Vec<Vec<T>>);

impl<T> Default for Pile<T> {
    fn default() -> Self {
        Pile(Vec::new())
    }
}

impl<T> Pile<T> {
    fn push(&mut self, entry: T) {
        match self.0.last_mut() {
            Some(list) if list.len() < LIST => list.push(entry),
            // The first list grows; where there is one there will be more.
            last => {
                let mut list = Vec::with_capacity(if last.is_some() { LIST } else { 0 });
                list.push(entry);
                self.0.push(list);
            }
        }
    }

    fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.0).into_iter().flatten()
    }
}

/// Changes in no order.
#[derive(Debug)]
struct Rest {
    /// All values are less than this one.
    below: i64,
    once: Pile<Once>,
    short: Pile<Short>,
    /// Those that are neither.
    long: Pile<(Key, i64)>,
    /// Changes of all three.
    len: usize,
    /// They are put together when there are so many.
    until: usize,
}

impl Ranked {
    /// Adds to the count of a value with what comes with it.
    pub fn add(&mut self, key: Key, diff: i64) {
        self.total += diff;
        if let Some(rest) = &mut self.rest
            && key.0 < rest.below
        {
            return rest.add(key, diff);
        }
        self.top.add(key, diff);
        // Looked at now and then: counting takes longer the more there are.
        self.added += 1;
        if self.added >= KEEP {
            self.added = 0;
            if self.top.held() > self.most.max(MOST) {
                self.part();
            }
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Entries held: keys, and changes that wait to become some.
    pub fn held(&self) -> usize {
        self.top.held() + self.rest.as_ref().map_or(0, |rest| rest.len)
    }

    /// The greatest value, and all that comes with it.
    pub fn greatest(&mut self) -> Option<(i64, impl Iterator<Item = i64>)> {
        if self.top.settled().last().is_none() {
            self.refill();
        }
        let top = self.top.settled();
        let ((value, _), _) = top.last()?;
        Some((value, top.from((value, i64::MIN)).map(|((_, with), _)| with)))
    }

    /// Puts all but the greatest aside.
    fn part(&mut self) {
        let keys = self.top.take();
        let (first, below) = greatest_of(&keys, KEEP);
        self.keep(&keys[first..]);
        if first > 0 {
            let rest = self.rest.get_or_insert_with(|| Box::new(Rest::new(below, &[])));
            rest.below = below;
            keys[..first].iter().for_each(|(key, count)| rest.add(*key, *count));
        }
    }

    /// Takes the greatest of the rest back: a part of them, so that it is not done for each.
    fn refill(&mut self) {
        let Some(mut rest) = self.rest.take() else { return };
        let keys = rest.together();
        let (first, below) = greatest_of(&keys, KEEP.max(keys.len() / 16));
        self.keep(&keys[first..]);
        if first > 0 {
            self.rest = Some(Box::new(Rest::new(below, &keys[..first])));
        }
    }

    /// Puts keys into `top`, where as many again may come in.
    fn keep(&mut self, keys: &[(Key, i64)]) {
        self.most = 2 * keys.len();
        keys.iter().for_each(|(key, count)| self.top.add(*key, *count));
    }
}

/// Where the `count` greatest begin in keys that ascend, with all whose value is that of the least
/// of them; and that value.
fn greatest_of(keys: &[(Key, i64)], count: usize) -> (usize, i64) {
    let least = keys.get(keys.len().saturating_sub(count)).map_or(i64::MIN, |((v, _), _)| *v);
    (keys.partition_point(|((value, _), _)| *value < least), least)
}

impl Rest {
    fn new(below: i64, keys: &[(Key, i64)]) -> Self {
        let until = FEW.max(2 * keys.len());
        let (once, short, long) = (Pile::default(), Pile::default(), Pile::default());
        let mut rest = Rest { below, once, short, long, len: 0, until };
        keys.iter().for_each(|key| rest.push(*key));
        rest
    }

    fn add(&mut self, key: Key, diff: i64) {
        if self.len >= self.until {
            let keys = self.together();
            self.until = FEW.max(2 * keys.len());
            self.len = 0;
            keys.into_iter().for_each(|(key, count)| self.push((key, count)));
        }
        self.push((key, diff));
    }

    fn push(&mut self, change: (Key, i64)) {
        self.len += 1;
        match (Once::of(change), Short::of(change)) {
            (Some(once), _) => self.once.push(once),
            (None, Some(short)) => self.short.push(short),
            (None, None) => self.long.push(change),
        }
    }

    /// Takes everything, in order, each key once.
    fn together(&mut self) -> Vec<(Key, i64)> {
        // Most are numbers, in order up to where they were put together the last time.
        let mut once: Vec<Once> = self.once.take().collect();
        once.sort();
        let mut keys = Vec::with_capacity(self.len);
        keys.extend(once.into_iter().map(Once::change));
        let first = keys.len();
        keys.extend(self.short.take().map(Short::change));
        keys.extend(self.long.take());
        keys[first..].sort_unstable_by_key(|change| change.0);
        // Two lists in order, one behind the other: this sort looks at each change but once.
        keys.sort_by_key(|change| change.0);
        keys.dedup_by(|b, a| {
            let same = a.0 == b.0;
            a.1 += if same { b.1 } else { 0 };
            same
        });
        keys.retain(|(_, count)| *count != 0);
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn the_greatest_is_that_of_a_map(
            values in 1i64..2000,
            ascending in any::<bool>(),
            steps in prop::collection::vec((any::<[u16; 2]>(), 0u8..8), 0..3000),
            removals in 0u8..7,
        ) {
            let (mut ranked, mut map) = (Ranked::default(), BTreeMap::new());
            let mut all: Vec<Key> = Vec::new();
            for (n, ([a, b], kind)) in steps.into_iter().enumerate() {
                let key = if kind < removals && !all.is_empty() {
                    // The last ones are the greatest, if they ascend.
                    let back = if b % 2 == 0 { usize::from(a) } else { usize::from(a) % 4 };
                    let last = all.len() - 1;
                    (all.remove(last - back.min(last)), -1)
                } else {
                    let value = if ascending { n as i64 } else { i64::from(a) } % values;
                    // Some are not short.
                    all.push((value, [0, 1, i64::MIN, 1 << 32][usize::from(b % 4)]));
                    (all[all.len() - 1], 1)
                };
                ranked.add(key.0, key.1);
                let count = map.entry(key.0).or_insert(0);
                *count += key.1;
                if *count == 0 {
                    map.remove(&key.0);
                }
                prop_assert_eq!(ranked.is_empty(), map.is_empty());
                prop_assert!(ranked.held() >= map.len());
                if kind % 4 == 0 {
                    let greatest = map.last_key_value().map(|(key, _)| key.0);
                    let tied = map.keys().filter(|key| Some(key.0) == greatest).map(|key| key.1);
                    let found = ranked.greatest().map(|(value, with)| (value, with.collect()));
                    let right = greatest.map(|value| (value, tied.collect::<Vec<_>>()));
                    prop_assert_eq!(found, right);
                }
            }
            let most = MOST + KEEP + FEW.max(2 * map.len());
            prop_assert!(ranked.held() <= most, "{} of {}", ranked.held(), map.len());
        }
    }

    #[test]
    fn what_is_not_short_is_kept_as_it_is() {
        let most = (1 << 55) - 1;
        let changes = [
            ((5, 1), 1 << 7),
            ((-5, 1), i64::from(i8::MIN)),
            ((most, i64::from(u32::MAX)), i64::from(i8::MAX)),
            ((-1 - most, 0), -1),
            ((most + 1, 1), 1),
            ((5, 1 << 32), 1),
            ((i64::MIN, -1), i64::MIN),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let short = Short::of(change).map(Short::change);
            assert_eq!(short, (1..=3).contains(&n).then_some(change));
            assert!(Once::of(change).is_none());
        }
        let most = i64::from(u32::MAX);
        for once in [((0, most), 1), ((most, 0), 1)] {
            assert_eq!(Once::of(once).map(Once::change), Some(once));
        }
        let others =
            [((most + 1, 0), 1), ((-1, 0), 1), ((0, i64::MIN), 1), ((0, 0), 2), ((0, 0), -1)];
        assert!(others.into_iter().all(|change| Once::of(change).is_none()));
        let mut rest = Rest::new(i64::MAX, &changes);
        rest.add((9, 9), 1);
        assert_eq!((rest.len, rest.together().len()), (8, 8));
    }

    #[test]
    fn the_greatest_may_leave_one_by_one_and_may_all_be_tied() {
        for values in [100_000, 1] {
            let mut ranked = Ranked::default();
            (0..100_000).for_each(|n| ranked.add((n % values, n), 1));
            for n in (0..100_000).rev() {
                if n % 100 == 99 || values > 1 {
                    let (value, mut with) = ranked.greatest().expect("some are left");
                    assert_eq!(
                        (value, with.next()),
                        (n % values, Some(if values > 1 { n } else { 0 }))
                    );
                }
                ranked.add((n % values, n), -1);
            }
            assert!(ranked.is_empty() && ranked.greatest().is_none());
        }
    }
}
