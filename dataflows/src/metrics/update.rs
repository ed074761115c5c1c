//! What travels from rows to groups: updates of group cells, summed by key within an epoch before
//! they are exchanged, so that a large epoch costs by distinct keys and not by records.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::declare::Time;
use super::expr::{Row, all};
use super::plan::{Add, Adds, Node, Set};
use super::value::{Cells, GroupKey, NULL};

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
    /// What changed.
    pub what: What,
}

/// What changed of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// These are added to its additive cells.
    Sums(Sums),
    /// A multiset gained (or lost) a value.
    Value {
        /// Which multiset.
        set: u16,
        /// The value.
        value: i64,
        /// What is kept with it.
        with: i64,
        /// How many more.
        diff: i64,
    },
}

impl Update {
    /// Which worker owns the group.
    pub fn route(&self) -> u64 {
        use std::hash::{Hash, Hasher};
        let mut h = rustc_hash::FxHasher::default();
        (self.node, &self.keys).hash(&mut h);
        let h = h.finish();
        h ^ (h >> 32)
    }
}

/// Sums updates of one epoch by group.
#[derive(Default)]
pub struct Combine {
    sums: Vec<FxHashMap<GroupKey, Sums>>,
    values: Vec<Update>,
}

impl Combine {
    /// For so many nodes.
    pub fn new(nodes: usize) -> Self {
        Combine { sums: (0..nodes).map(|_| FxHashMap::default()).collect(), values: Vec::new() }
    }

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
        self.group(n, node, row, GroupKey { window: at.0, start: at.1, keys }, diff);
    }

    fn group(&mut self, n: usize, node: &Node, row: &Row<'_>, key: GroupKey, diff: i64) {
        for (s, set) in node.sets.iter().enumerate() {
            if let Some((value, with)) = member(set, row) {
                self.values.push(Update {
                    node: n as u16,
                    window: key.window,
                    start: key.start,
                    keys: key.keys.clone(),
                    what: What::Value { set: s as u16, value, with, diff },
                });
            }
        }
        let sums =
            self.sums[n].entry(key).or_insert_with(|| SmallVec::from_elem(0, node.adds.len()));
        for (sum, add) in sums.iter_mut().zip(&node.adds) {
            *sum += i128::from(diff) * addend(add, row);
        }
    }

    /// Takes everything, each group's sums once.
    pub fn drain(&mut self, mut give: impl FnMut(Update)) {
        for (n, sums) in self.sums.iter_mut().enumerate() {
            for (key, sums) in sums.drain() {
                if sums.iter().any(|s| *s != 0) {
                    let GroupKey { window, start, keys } = key;
                    give(Update { node: n as u16, window, start, keys, what: What::Sums(sums) });
                }
            }
        }
        self.values.drain(..).for_each(give);
    }
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
