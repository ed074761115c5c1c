//! What travels from rows to groups: the changes of the groups of a node. Those of one group that
//! follow each other closely within an epoch are summed before they are exchanged; what comes into
//! multisets travels row by row.
//!
//! Promises: all changes of a group go to the one worker that owns it.
//! Limits: of a node with more than some thousand groups some come several times in an epoch, and
//! those behind the first 2^20 that a worker owns as often as they change; so do many of a node in
//! an epoch with many more groups than those before it, and all of it in the epochs after one in
//! which few changes met. They add up to the same, which may be nothing.

mod measured;

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::declare::{Shape, Time, Window};
use super::expr::Nth;
use super::plan::{Node, Plan, Set};
use super::value::NULL;
use super::words::{HEAD, WINDOWS, Words, equal, hash, head, window};
use crate::time::floor;
pub use measured::Came;
use measured::{Measured, One, member};

/// The window number of updates that feed all windows of a node that slide over arrivals; their
/// start is the bucket.
pub const SLIDING: u16 = WINDOWS as u16;

/// Whether an entry feeds the windows that slide.
#[inline]
pub(super) fn slides(entry: &[i64]) -> bool {
    window(entry[0]) == SLIDING
}

/// Groups of a node that a change is looked for among, as powers of two: at least, and at first,
/// which takes some kilobytes a node.
const LATELY: RangeInclusive<u32> = 6..=12;

/// Bits of the number of an entry that is looked for. Those above are of the hash: another group's
/// entry is seldom read.
const NUMBER: u32 = 20;

/// Where fewer than one change in so many finds the entry of its group, none is looked for
/// ([`RESTS`]).
const SELDOM: u32 = 6;

/// So many drains without a look; or with few entries in a row, until fewer are looked among.
const RESTS: u32 = 16;

/// Changes of the groups of one node that one worker owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updates {
    /// The worker.
    pub to: u64,
    /// The node.
    pub node: u16,
    /// Entries, one after the other, as [`super::words`] has them; of those that slide the window
    /// is [`SLIDING`] and the start is the bucket.
    pub words: Vec<i64>,
    /// What their multisets gain and lose.
    pub members: Vec<Member>,
}

/// A multiset gains (or loses) a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The number of the group's entry.
    pub entry: u32,
    /// Which multiset of the group.
    pub set: u16,
    /// The value.
    pub value: i64,
    /// What is kept with it.
    pub with: i64,
    /// How many more.
    pub diff: i64,
}

/// Puts the changes of one epoch together by group.
pub struct Combine {
    nodes: Vec<Changed>,
    measured: Measured,
    /// The entries that the rows at hand went to.
    given: Vec<Given>,
}

/// An entry that a row went to: the worker that owns its group, its number, and the row's.
type Given = (usize, u32, usize);

/// What changed of one node.
struct Changed {
    words: Words,
    /// What tells its keys from the same of other nodes, so that not all of them have one owner.
    seed: u64,
    /// By the worker that owns the groups.
    parts: Vec<Part>,
    /// By hash, which entry of its part may be that of a group: `tag:12|number:20`, the tag of
    /// other bits of the hash. Nothing is wrong with one of an earlier epoch: an entry is what its
    /// words say. It is as long as the groups of an epoch need: many nodes' are to stay near.
    lately: Vec<u32>,
    /// How many changes there were since the last drain, and how many of them found their entry.
    tried: u32,
    found: u32,
    /// For so many more drains no entry is looked for.
    rests: u32,
    /// In so many drains a quarter of `lately` was enough.
    few: u32,
}

/// What changed of the groups that one worker owns.
#[derive(Default)]
struct Part {
    updates: Updates,
    entries: u32,
    /// Room for the words and members of an epoch like the last ones.
    usual: (usize, usize),
}

impl Combine {
    /// Nothing has changed of the groups of these nodes.
    pub fn new(plan: &Plan, workers: usize) -> Self {
        Combine::of(plan.nodes.iter(), workers)
    }

    /// The same of the groups that rows go to first ([`Node::first`]).
    pub fn of_rows(plan: &Plan, workers: usize) -> Self {
        Combine::of(plan.nodes.iter().map(Node::first), workers)
    }

    fn of<'a>(nodes: impl Iterator<Item = &'a Node>, workers: usize) -> Self {
        let changed = |(n, node): (usize, &Node)| {
            let part = |to| {
                let updates = Updates { to: to as u64, node: n as u16, ..Updates::default() };
                Part { updates, ..Part::default() }
            };
            let seed = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            Changed::new(Words::of(node), seed, (0..workers).map(part).collect())
        };
        let nodes = nodes.enumerate().map(changed).collect();
        Combine { nodes, measured: Measured::default(), given: Vec::new() }
    }

    /// Rows came or went, whose cells are among these.
    pub fn rows(&mut self, n: usize, node: &Node, cells: &[i64], rows: &[Came]) {
        let changed = &mut self.nodes[n];
        self.measured.filter(node, cells, rows).measure(node, &changed.words, cells);
        self.given.clear();
        let (placing, has_sets) = (Placing::of(node), !node.sets.is_empty());
        for (r, row) in self.measured.rows().iter().enumerate() {
            let one = self.measured.one(r, &changed.words);
            placing.each(row.cells(cells), row.bucket, |window, start| {
                let (owner, number) = changed.add(one, head(window, start), row.diff);
                if has_sets {
                    self.given.push((owner, number, r));
                }
            });
        }
        changed.add_members(&node.sets, cells, self.measured.rows(), &self.given);
    }

    /// A row of these cells came (`diff` > 0) or went; `bucket` is that of its arrival, if it has
    /// one.
    pub fn row(&mut self, n: usize, node: &Node, cells: &[i64], bucket: i64, diff: i64) {
        self.rows(n, node, cells, &[Came { at: 0, bucket, diff }]);
    }

    /// The same for a row that has passed the filter and whose window is known: one that is not
    /// rolled up from another, or it would count twice.
    pub fn placed(&mut self, n: usize, node: &Node, cells: &[i64], at: (u16, i64), diff: i64) {
        debug_assert!(node.roll_ups.get(usize::from(at.0)).is_none_or(Option::is_none));
        let (changed, row) = (&mut self.nodes[n], [Came { at: 0, bucket: NULL, diff }]);
        self.measured.take(&row).measure(node, &changed.words, cells);
        let one = self.measured.one(0, &changed.words);
        let (owner, number) = changed.add(one, head(at.0, at.1), diff);
        changed.add_members(&node.sets, cells, &row, &[(owner, number, 0)]);
    }

    /// Takes everything.
    pub fn drain(&mut self, give: impl FnMut(Updates)) {
        self.nodes.iter_mut().for_each(Changed::judge);
        let parts = self.nodes.iter_mut().flat_map(|node| &mut node.parts);
        parts.filter(|part| part.entries > 0).map(Part::take).for_each(give);
    }
}

impl Changed {
    fn new(words: Words, seed: u64, parts: Vec<Part>) -> Self {
        Changed { words, seed, parts, lately: Vec::new(), tried: 0, found: 0, rests: 0, few: 0 }
    }

    /// A row that gives this came into the window of a head or went out of it: who owns its
    /// group, and the number of that one's entry.
    #[inline]
    fn add(&mut self, row: One<'_>, head: i64, diff: i64) -> (usize, u32) {
        let keys = row.hash.wrapping_add(self.seed);
        // Of all windows the same worker has a group: those that slide, and those that are rolled
        // up from another, are fed by one entry.
        let owner = ((u128::from(keys) * self.parts.len() as u128) >> u64::BITS) as usize;
        let part = &mut self.parts[owner];
        let number = if self.rests > 0 {
            part.add_entry(&self.words, head, row.keys)
        } else {
            if self.lately.is_empty() {
                self.lately = vec![0; 1 << LATELY.end()];
            }
            let hash = hash(&[head, keys as i64]);
            let at = (hash >> (u64::BITS - *LATELY.end())) as usize & (self.lately.len() - 1);
            let place = &mut self.lately[at];
            let tag = hash as u32 & ((1 << (u32::BITS - NUMBER)) - 1);
            let (number, found) = part.entry(&self.words, (place, tag), head, row.keys);
            self.tried += 1;
            self.found += u32::from(found);
            number
        };
        let entry = &mut part.updates.words[number as usize * self.words.width()..];
        self.words.add_all(entry, row.sums, diff);
        (owner, number)
    }

    /// What the rows put into multisets of the groups whose entries they went to.
    fn add_members(&mut self, sets: &[Set], cells: &[i64], rows: &[Came], given: &[Given]) {
        for (set, of) in (0..).zip(sets) {
            for (owner, entry, row) in given {
                let row = &rows[*row];
                if let Some((value, with)) = member(of, row.cells(cells)) {
                    let member = Member { entry: *entry, set, value, with, diff: row.diff };
                    self.parts[*owner].updates.members.push(member);
                }
            }
        }
    }

    /// Decides among how many entries one is looked for, and whether any is: the place of each
    /// waits for memory.
    fn judge(&mut self) {
        // Four places an entry: few of them meet.
        let places = (4 * (self.tried - self.found)).next_power_of_two();
        let places = places.clamp(1 << LATELY.start(), 1 << LATELY.end()) as usize;
        // Among fewer they may not have been found for that.
        let among_all = self.lately.len() == 1 << LATELY.end();
        let seldom = self.tried >= 1 << LATELY.end() && self.found < self.tried / SELDOM;
        self.rests = match self.rests {
            0 if seldom && among_all => RESTS,
            rests => rests.saturating_sub(1),
        };
        let enough = self.tried > 0 && places * 4 <= self.lately.len();
        self.few = if enough { self.few + 1 } else { 0 };
        if self.few == RESTS || self.tried > 0 && places > self.lately.len() {
            self.lately = vec![0; places];
        }
        (self.tried, self.found) = (0, 0);
    }
}

impl Part {
    /// The entry of a group: the one at `place`, or if that is another's one made anew; and whether
    /// it was there.
    #[inline]
    fn entry(
        &mut self,
        words: &Words,
        (place, tag): (&mut u32, u32),
        head: i64,
        keys: &[i64],
    ) -> (u32, bool) {
        let (list, width) = (&self.updates.words, words.width());
        let number = *place & ((1 << NUMBER) - 1);
        if *place >> NUMBER == tag {
            let held = list.get(number as usize * width..).and_then(|w| w.get(..width));
            if held.is_some_and(|e| e[0] == head && equal(&words.key(e)[HEAD..], keys)) {
                return (number, true);
            }
        }
        let number = self.add_entry(words, head, keys);
        if number >> NUMBER == 0 {
            *place = tag << NUMBER | number;
        }
        (number, false)
    }

    /// A new entry.
    #[inline]
    fn add_entry(&mut self, words: &Words, head: i64, keys: &[i64]) -> u32 {
        let list = &mut self.updates.words;
        if list.capacity() == 0 {
            list.reserve_exact(self.usual.0);
            self.updates.members.reserve_exact(self.usual.1);
        }
        let from = list.len();
        list.push(head);
        list.extend_from_slice(keys);
        list.resize(from + words.width(), 0);
        let number = self.entries;
        self.entries = number.checked_add(1).expect("fewer than 2^32 groups an epoch");
        number
    }

    /// What changed; from here on nothing has.
    fn take(&mut self) -> Updates {
        let Updates { to, node, .. } = self.updates;
        self.entries = 0;
        // An epoch is like those before, more or less.
        let room = |len: usize, usual: usize| (len + len / 8).max(usual - usual / 8);
        let (words, members) = self.usual;
        self.usual =
            (room(self.updates.words.len(), words), room(self.updates.members.len(), members));
        std::mem::replace(&mut self.updates, Updates { to, node, ..Updates::default() })
    }
}

/// Where the rows of a node are placed: in its windows without those that are rolled up from
/// others; in those that slide over arrivals once ([`SLIDING`]).
pub struct Placing<'a> {
    /// There are no windows.
    everywhere: bool,
    slides: bool,
    others: SmallVec<[(u16, &'a Window); 4]>,
    event: Option<Nth>,
}

impl<'a> Placing<'a> {
    /// That of a node.
    pub fn of(node: &'a Node) -> Self {
        let windows = node.windows.iter().zip(&node.roll_ups).zip(0..);
        let others = windows.filter(|((window, from), _)| from.is_none() && !window.slides());
        Placing {
            everywhere: node.windows.is_empty(),
            slides: node.sliding().next().is_some(),
            others: others.map(|((window, _), number)| (number, window)).collect(),
            event: node.event,
        }
    }

    /// The windows that hold a row, as (window, start); for those that slide the bucket.
    #[inline]
    pub fn each(&self, cells: &[i64], bucket: i64, mut each: impl FnMut(u16, i64)) {
        if self.everywhere {
            return each(0, NULL);
        }
        if self.slides {
            each(SLIDING, bucket);
        }
        let event = self.event.map_or(NULL, |e| cells[e]);
        for (number, window) in &self.others {
            let t = if window.time == Time::Event { event } else { bucket };
            if t == NULL {
                continue;
            }
            match window.shape {
                // Most are so: one holds a row.
                Shape::Tumbling { size } => each(*number, floor(t, size)),
                _ => window.starts(t).for_each(|start| each(*number, start)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Order;
    use super::super::words::Form;
    use super::*;

    fn changed(workers: u64) -> Changed {
        let words = Words::new([(Form::Long, 0)], [false]);
        let updates = |to| Updates { to, ..Updates::default() };
        let part = |to| Part { updates: updates(to), ..Part::default() };
        Changed::new(words, 7, (0..workers).map(part).collect())
    }

    /// A row of one key came, which is also its member of a multiset.
    fn add(changed: &mut Changed, key: i64) {
        let (keys, row) = ([key], [Came { at: 0, bucket: NULL, diff: 1 }]);
        let one = One { keys: &keys, hash: hash(&keys), sums: &[1] };
        let (owner, number) = changed.add(one, head(0, NULL), 1);
        let set = Set { order: Order::Value, value: 0, with: None, filter: Vec::new() };
        changed.add_members(&[set], &keys, &row, &[(owner, number, 0)]);
    }

    #[test]
    fn changes_of_a_group_are_one_entry() {
        for workers in [1, 4] {
            let mut changed = changed(workers);
            for _ in 0..2 {
                (0..999).for_each(|n| add(&mut changed, n % 3));
                let all: Vec<Updates> = changed.parts.iter_mut().map(Part::take).collect();
                let mut words =
                    all.iter().flat_map(|u| u.words.chunks_exact(3)).collect::<Vec<_>>();
                words.sort_unstable();
                let head = head(0, NULL);
                assert_eq!(words, [[head, 0, 333], [head, 1, 333], [head, 2, 333]]);
                assert_eq!(all.iter().map(|u| u.members.len()).sum::<usize>(), 999);
            }
        }
    }

    #[test]
    fn where_changes_seldom_meet_none_is_looked_for_for_a_while() {
        let mut changed = changed(1);
        let mut drain = |keys: &mut dyn Iterator<Item = i64>| {
            keys.for_each(|key| add(&mut changed, key));
            changed.judge();
            let words = changed.parts[0].take().words;
            let sum = |key| words.chunks_exact(3).filter(|e| e[1] == key).map(|e| e[2]).sum();
            (words.len() / 3, [0, 1, 2].map(sum))
        };
        let few = || (0..999).map(|n| n % 3);
        assert_eq!(drain(&mut few()), (3, [333; 3]));
        assert_eq!(drain(&mut (0..5000)), (5000, [1; 3]));
        (0..RESTS).for_each(|_| assert_eq!(drain(&mut few()), (999, [333; 3])));
        assert_eq!(drain(&mut few()), (3, [333; 3]));
        // Few for long are looked for among few, which changes nothing; then among many again.
        (0..2 * RESTS).for_each(|_| assert_eq!(drain(&mut few()), (3, [333; 3])));
        let mut many = (0..20_000).map(|n| n % 500);
        drain(&mut many.clone());
        assert!(drain(&mut many).0 < 600);
    }

    #[test]
    fn groups_beyond_those_that_are_found_again_are_right() {
        let (mut changed, last) = (changed(1), (1 << NUMBER) + 1);
        let keys = || (0..=last).chain([0, last, last - 1, last]);
        keys().for_each(|key| add(&mut changed, key));
        let Updates { words, members, .. } = changed.parts[0].take();
        let entry = |n: usize| &words[n * 3..][..3];
        assert!(members.iter().all(|m| entry(m.entry as usize)[HEAD] == m.value));
        assert!(members.iter().map(|m| m.value).eq(keys()));
        let sum = |key| words.chunks_exact(3).filter(|e| e[1] == key).map(|e| e[2]).sum::<i64>();
        assert_eq!([0, 1, last - 1, last].map(sum), [2, 1, 2, 3]);
        assert_eq!(words.chunks_exact(3).map(|e| e[2]).sum::<i64>(), last + 5);
    }
}
