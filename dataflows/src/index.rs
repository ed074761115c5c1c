//! Numbers by hash: a hash table whose entries are numbers of things that lie elsewhere, each with
//! half of its hash.
//!
//! Promises: growing does not look at the things, and moves a 16th of the entries at a time: the
//! table is 16 small ones, which grow by a seventh to a quarter each at a fill of their own, evenly
//! one after the other. Finding looks only at things whose half is equal.
//! Limits: 2^32 - 1 numbers. Halves should differ in their upper bits, nothing else of the hash is
//! known: many that are equal, or neighbours, are looked at one after the other. The least table
//! takes some kilobytes.
//! An own table because of these halves, and because it can be brought near ahead: look-ups that
//! are independent then wait for memory together. The entries of a small table ascend, with gaps
//! (ordered linear probing: Amble and Knuth, "Ordered hash tables", 1974), so that it grows in one
//! pass, and a number that is not there is missed early.

use prefetch_index::prefetch_index;

/// Small tables, as a power of two.
const PARTS: u32 = 4;

/// So much room there is at least behind the last places, for what is displaced from them.
const SPARE: usize = 64;

/// Bytes of an entry, on average: a small table is between six and eight tenths full.
pub const ENTRY: usize = 11;

/// With fewer places a small table doubles.
const FEW: usize = 512;

/// The fill at which the first of the small tables grows, and by how much more the next one is
/// filled before; of [`FULL`].
const FIRST: usize = 182;
const MORE: usize = 2;
const FULL: usize = 256;

/// A place without a number; greater than all entries.
const EMPTY: u64 = u64::MAX;

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Index {
    parts: [Part; 1 << PARTS],
}

/// One of the small tables.
#[derive(Clone, Debug, Default)]
struct Part {
    /// `half:32|number:32`, halves ascending but for the empty places. Each lies at the place of
    /// its half or behind it, with no empty place in between; there is an empty one at the end.
    entries: Vec<u64>,
    /// Places of halves.
    places: usize,
    len: usize,
}

#[inline]
fn entry(half: u32, number: u32) -> u64 {
    u64::from(half) << 32 | u64::from(number)
}

#[inline]
fn half(entry: u64) -> u32 {
    (entry >> 32) as u32
}

/// The place of a half among so many: that of smaller halves is not behind it.
#[inline]
fn place(half: u32, places: usize) -> usize {
    ((u64::from(half << PARTS) * places as u64) >> 32) as usize
}

/// Which of the small tables a half is in.
#[inline]
fn part_of(half: u32) -> usize {
    (half >> (u32::BITS - PARTS)) as usize
}

/// The fill at which a small table grows, of [`FULL`]. Each has one of its own, for they fill
/// alike: if all grew at once, whoever waits would wait for the whole table.
fn fill(part: usize) -> usize {
    FIRST + MORE * part
}

/// How many places a small table gets that needs so many: with what is behind them as many as an
/// allocator gives without rounding up (jemalloc: four sizes between a power of two and the next).
fn steps_to(needed: usize) -> usize {
    if needed <= FEW {
        return needed.next_power_of_two();
    }
    let all = needed + SPARE;
    all.next_multiple_of(1 << (all.ilog2() - 2)) - SPARE
}

impl Index {
    #[inline]
    fn part(&self, half: u32) -> &Part {
        &self.parts[part_of(half)]
    }

    #[inline]
    fn part_mut(&mut self, half: u32) -> &mut Part {
        &mut self.parts[part_of(half)]
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len).sum()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.entries.capacity() * size_of::<u64>()).sum()
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        // Lengths differ by the square root of what they are on average.
        let each = more / self.parts.len();
        let each = each + 4 * each.isqrt();
        self.parts.iter_mut().enumerate().for_each(|(part, table)| table.grow(part, each));
    }

    /// Asks the processor for where a half is looked for.
    #[inline]
    pub fn near(&self, half: u32) {
        let part = self.part(half);
        prefetch_index(&part.entries, place(half, part.places));
    }

    /// A number of this half, if there is any: most likely the one that is looked for.
    #[inline]
    pub fn likely(&self, half: u32) -> Option<u32> {
        self.find(half, |_| true)
    }

    /// The number of this half for which `same` holds.
    #[inline]
    pub fn find(&self, half: u32, same: impl Fn(u32) -> bool) -> Option<u32> {
        self.part(half).find(half, same).ok()
    }

    /// The number of this half for which `same` holds; if there is none, `number` is added.
    #[inline]
    pub fn find_or_add(
        &mut self,
        half: u32,
        number: u32,
        same: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let part = self.part_mut(half);
        match part.find(half, same) {
            Ok(number) => Some(number),
            Err(at) => {
                part.insert(at, entry(half, number));
                None
            }
        }
    }

    /// Removes a number.
    pub fn remove(&mut self, half: u32, number: u32) {
        let part = self.part_mut(half);
        // Numbers of one half are in no order.
        let Ok(_) = part.find(half, |n| n == number) else { return };
        part.remove(entry(half, number));
    }
}

impl Part {
    /// The number; or the place where it would come in.
    #[inline]
    fn find(&self, half: u32, same: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let from = place(half, self.places);
        let rest = self.entries.get(from..).unwrap_or_default();
        for (n, entry) in rest.iter().enumerate() {
            if self::half(*entry) > half || *entry == EMPTY {
                return Err(from + n);
            }
            if self::half(*entry) == half && same(*entry as u32) {
                return Ok(*entry as u32);
            }
        }
        Err(self.entries.len())
    }

    /// Puts an entry at its place, and moves those from there on up to the next empty one.
    fn insert(&mut self, at: usize, entry: u64) {
        let part = part_of(half(entry));
        if (self.len + 1) * FULL > self.places * fill(part) {
            self.grow(part, 1);
            if let Err(at) = self.find(half(entry), |_| false) {
                self.insert(at, entry);
            }
            return;
        }
        let end = self.entries.len();
        let gap = self.entries.iter().skip(at).position(|e| *e == EMPTY).map_or(end, |n| at + n);
        // The last one stays empty. What finds no room behind the last places needs no more places.
        if gap + 1 >= end {
            let more = SPARE.max((end - self.places) / 2);
            self.entries.reserve_exact(more);
            self.entries.resize(end + more, EMPTY);
        }
        self.entries.copy_within(at..gap, at + 1);
        self.entries[at] = entry;
        self.len += 1;
    }

    /// Makes room for so many more.
    fn grow(&mut self, part: usize, more: usize) {
        let needed = (self.len + more) * FULL / fill(part) + 8;
        let places = steps_to(needed).max(self.places);
        let mut entries = vec![EMPTY; places + SPARE];
        let mut next = 0;
        for entry in self.entries.iter().filter(|entry| **entry != EMPTY) {
            let at = place(half(*entry), places).max(next);
            if at + 1 >= entries.len() {
                entries.resize(at + SPARE, EMPTY);
            }
            entries[at] = *entry;
            next = at + 1;
        }
        (self.entries, self.places) = (entries, places);
    }

    /// Takes an entry out; those behind it that are not at their own place move up.
    fn remove(&mut self, entry: u64) {
        let from = place(half(entry), self.places);
        let Some(at) = self.entries.iter().skip(from).position(|e| *e == entry) else { return };
        let (mut at, places) = (from + at, self.places);
        while let Some(next) = self.entries.get(at + 1)
            && *next != EMPTY
            && place(half(*next), places) <= at
        {
            self.entries[at] = *next;
            at += 1;
        }
        self.entries[at] = EMPTY;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Index {
        /// Whether what [`Part`] promises holds.
        fn holds(&self) -> bool {
            self.parts.iter().all(|part| {
                let held = part.entries.iter().filter(|e| **e != EMPTY);
                let in_place = part.entries.iter().enumerate().all(|(at, entry)| {
                    let from = place(half(*entry), part.places);
                    *entry == EMPTY || part.entries[from..=at].iter().all(|e| *e != EMPTY)
                });
                held.clone().is_sorted_by_key(|e| half(*e))
                    && held.count() == part.len
                    && in_place
                    && part.entries.last().is_none_or(|last| *last == EMPTY)
            })
        }
    }

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
        assert!(index.bytes() >= 8 * index.len() && index.holds());
    }

    #[test]
    fn many_halves_of_one_place_take_no_more_room() {
        for half in [u32::MAX, 0x0FFF_FFFF, 0x7FFF_FFF0, 0] {
            let mut index = Index::default();
            for n in 0..2000 {
                assert!(index.find_or_add(half, n, |m| m == n).is_none());
            }
            assert!(index.bytes() < 200_000 && index.holds(), "{half:x}: {}", index.bytes());
            assert!((0..2000).all(|n| index.find(half, |m| m == n) == Some(n)));
            (0..2000).for_each(|n| index.remove(half, n));
            assert!(index.len() == 0 && index.holds());
        }
    }

    #[test]
    fn an_entry_costs_ten_to_thirteen_bytes() {
        let mut index = Index::default();
        for n in 0..200_000_u32 {
            assert!(index.find_or_add(n.wrapping_mul(0x9E37_79B9), n, |m| m == n).is_none());
            let each = index.bytes() as f64 / f64::from(n + 1);
            assert!(n < 20_000 || (9.9..13.0).contains(&each), "{n}: {each}");
        }
        assert!(index.holds());
    }

    #[test]
    fn small_tables_do_not_grow_together() {
        let mut index = Index::default();
        let sizes = |index: &Index| index.parts.each_ref().map(|part| part.places);
        let (mut before, mut most) = (sizes(&index), 0);
        for n in 0..400_000_u32 {
            index.find_or_add(n.wrapping_mul(0x9E37_79B9), n, |_| false);
            if n > 20_000 && n.is_multiple_of(n / 100) {
                let now = sizes(&index);
                most = most.max(before.iter().zip(&now).filter(|(a, b)| a != b).count());
                before = now;
            } else if n <= 20_000 {
                before = sizes(&index);
            }
        }
        assert!((1..=3).contains(&most), "{most} of them within a hundredth more entries");
    }

    proptest! {
        #[test]
        fn it_is_a_map(
            // Halves at both ends and few in between, so that many are equal or neighbours.
            steps in prop::collection::vec((any::<bool>(), 0u32..40, 0u32..4), 0..400),
            spare in 0usize..100,
        ) {
            let half = |n: u32| match n % 4 {
                0 => u32::MAX - n / 8,
                1 => n / 8,
                2 => (n / 8) << 29 | 0x0FFF_FFFF,
                _ => n.wrapping_mul(0x9E37_79B9),
            };
            let mut index = Index::default();
            index.reserve(spare);
            let mut right = std::collections::BTreeSet::new();
            for (add, n, more) in steps {
                let (half, number) = (half(n), n * 4 + more);
                if add {
                    let found = index.find_or_add(half, number, |m| m == number);
                    prop_assert_eq!(found.is_none(), right.insert((half, number)));
                } else {
                    index.remove(half, number);
                    right.remove(&(half, number));
                }
                prop_assert!(index.holds());
                prop_assert_eq!(index.len(), right.len());
                let any = right.iter().any(|r| r.0 == half);
                prop_assert_eq!(index.likely(half).is_some(), any);
                index.near(half);
            }
            for n in 0..160 {
                let half = half(n / 4);
                let there = right.contains(&(half, n)).then_some(n);
                prop_assert_eq!(index.find(half, |m| m == n), there);
            }
        }
    }
}
