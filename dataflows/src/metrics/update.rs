//! What travels from rows to groups: the changes of each group, put together within an epoch before
//! they are exchanged, so that a large epoch costs by distinct groups and not by records.

use std::hash::{Hash, Hasher};

use hashbrown::HashTable;
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::declare::Time;
use super::expr::{Row, all};
use super::plan::{Add, Adds, Node, Set};
use super::value::{Cells, NULL};

/// Sums of a group's additive cells.
pub type Sums = SmallVec<[i128; 1]>;

/// The window number of updates that feed all windows of a node that slide over arrivals; their
/// start is the bucket.
pub const SLIDING: u16 = u16::MAX;

/// A change of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The node.
    pub node: u16,
    /// The window, or [`SLIDING`].
    pub window: u16,
    /// The window's start, or the bucket.
    pub start: i64,
    /// The group keys.
    pub keys: Cells,
    /// What is added to its additive cells.
    pub sums: Sums,
    /// What its multisets gain and lose, each value once, in order.
    pub members: Vec<Member>,
}

/// A multiset gains (or loses) a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which multiset of the group.
    pub set: u16,
    /// The value.
    pub value: i64,
    /// What is kept with it.
    pub with: i64,
    /// How many more.
    pub diff: i64,
}

impl Update {
    /// Which worker owns the group.
    pub fn route(&self) -> u64 {
        let mut h = FxHasher::default();
        (self.node, &self.keys).hash(&mut h);
        let h = h.finish();
        h ^ (h >> 32)
    }

    fn hash(&self) -> u64 {
        hash(self.node, (self.window, self.start), &self.keys)
    }

    /// Whether it changes nothing.
    fn is_nothing(&self) -> bool {
        self.members.is_empty() && self.sums.iter().all(|s| *s == 0)
    }
}

/// Puts the changes of one epoch together by group.
#[derive(Default)]
pub struct Combine {
    updates: Vec<Update>,
    /// Places in `updates`.
    places: HashTable<u32>,
}

impl Combine {
    /// A row of a node came (`diff` > 0) or went; `bucket` is that of its arrival, if it has one.
    pub fn row(&mut self, n: usize, node: &Node, row: &Row<'_>, bucket: i64, diff: i64) {
        if all(&node.filter, row) {
            placements(node, row, bucket, |window, start| {
                self.placed(n, node, row, (window, start), diff);
            });
        }
    }

    /// The same for a row that has passed the filter and whose window is known.
    pub fn placed(&mut self, n: usize, node: &Node, row: &Row<'_>, at: (u16, i64), diff: i64) {
        let keys: Cells = node.keys.iter().map(|k| k.eval(row)).collect();
        let update = self.update(n as u16, at, keys, node.adds.len());
        for (sum, add) in update.sums.iter_mut().zip(&node.adds) {
            *sum += i128::from(diff) * addend(add, row);
        }
        for (s, set) in node.sets.iter().enumerate() {
            if let Some((value, with)) = member(set, row) {
                update.members.push(Member { set: s as u16, value, with, diff });
            }
        }
    }

    /// The update of a group, made if need be.
    fn update(&mut self, node: u16, at: (u16, i64), keys: Cells, adds: usize) -> &mut Update {
        let updates = &mut self.updates;
        let same = |place: &u32| {
            let u = &updates[*place as usize];
            (u.node, u.window, u.start) == (node, at.0, at.1) && u.keys == keys
        };
        let hash = hash(node, at, &keys);
        let place = match self.places.find(hash, same) {
            Some(place) => *place,
            None => {
                let (window, start) = at;
                let sums = SmallVec::from_elem(0, adds);
                let place = updates.len() as u32;
                updates.push(Update { node, window, start, keys, sums, members: Vec::new() });
                self.places.insert_unique(hash, place, |place| updates[*place as usize].hash());
                place
            }
        };
        &mut updates[place as usize]
    }

    /// Takes everything, each group once.
    pub fn drain(&mut self, give: impl FnMut(Update)) {
        self.places.clear();
        let updates = self.updates.drain(..).map(|mut update| {
            consolidate(&mut update.members);
            update
        });
        updates.filter(|u| !u.is_nothing()).for_each(give);
    }
}

fn hash(node: u16, at: (u16, i64), keys: &[i64]) -> u64 {
    let mut hasher = FxHasher::default();
    (node, at, keys).hash(&mut hasher);
    hasher.finish()
}

/// Sorts the members and sums up what is equal.
fn consolidate(members: &mut Vec<Member>) {
    members.sort_unstable_by_key(|m| (m.set, m.value, m.with));
    members.dedup_by(|b, a| {
        let same = (a.set, a.value, a.with) == (b.set, b.value, b.with);
        a.diff += if same { b.diff } else { 0 };
        same
    });
    members.retain(|m| m.diff != 0);
}

/// The windows of a node that hold a row, as (window, start); for those that slide over arrivals
/// once ([`SLIDING`], bucket).
pub fn placements(node: &Node, row: &Row<'_>, bucket: i64, mut each: impl FnMut(u16, i64)) {
    if node.windows.is_empty() {
        return each(0, NULL);
    }
    if node.windows.iter().any(|w| node.slides(w)) {
        each(SLIDING, bucket);
    }
    let event = node.event.as_ref().map_or(NULL, |e| e.eval(row));
    for (w, window) in node.windows.iter().enumerate().filter(|(_, w)| !node.slides(w)) {
        let t = if window.time == Time::Event { event } else { bucket };
        if t != NULL {
            window.starts(t).for_each(|start| each(w as u16, start));
        }
    }
}

/// What a row adds to an additive cell.
#[inline]
fn addend(add: &Add, row: &Row<'_>) -> i128 {
    if !all(&add.filter, row) {
        return 0;
    }
    match &add.what {
        Adds::Rows => 1,
        Adds::Values(ex) => i128::from(ex.eval(row) != NULL),
        Adds::Sum(ex) => match ex.eval(row) {
            NULL => 0,
            v => v.into(),
        },
    }
}

/// What a row puts into a multiset, if anything.
#[inline]
fn member(set: &Set, row: &Row<'_>) -> Option<(i64, i64)> {
    let value = set.value.eval(row);
    if value == NULL || !all(&set.filter, row) {
        return None;
    }
    match &set.with {
        None => Some((value, NULL)),
        Some(with) => match with.eval(row) {
            NULL => None,
            with => Some((value, with)),
        },
    }
}
