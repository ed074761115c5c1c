//! The groups of one node that are held: found by key, changed, retired, shown.
//!
//! Promises: a group leaves memory when it holds nothing and nothing is shown of it; a window's
//! groups are empty from when `now` has passed the window's end and `retain`.
//! Limits: what was shown is not remembered, only that any metric showed something. Of a group that
//! changed all rows are shown again, changed or not, and so is that a metric has none of it: who
//! holds them sees that.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use super::super::changes::Changes;
use super::super::multiset::Multiset;
use super::super::plan::{MetricPlan, Node};
use super::super::update::{Member, Updates, slides};
use super::super::value::{GroupKey, NULL};
use super::super::words::{start, window};
use super::rows::show;
use super::store::Store;

/// So many groups are looked up at a time.
const AHEAD: usize = 64;

/// Room for so many changed groups is kept.
const ROOM: usize = 1 << 14;

/// The groups of one node on one worker.
pub struct Live {
    /// All of them.
    pub groups: Store,
    /// Groups that changed since they were last published.
    dirty: Vec<u32>,
    /// Where windows retire: the groups by (window, start).
    starts: BTreeMap<(u16, i64), FxHashSet<u32>>,
    /// The groups of the entries that are being taken up; in between only their room.
    numbers: Vec<Option<u32>>,
}

impl Live {
    /// No groups.
    pub fn new(node: &Node) -> Self {
        let (dirty, starts, numbers) = (Vec::new(), BTreeMap::new(), Vec::new());
        Live { groups: Store::new(node), dirty, starts, numbers }
    }

    /// Takes changes up, but for those of buckets.
    pub fn take(&mut self, node: &Node, updates: &Updates, now: i64) {
        let width = self.groups.form().width();
        let mut numbers = std::mem::take(&mut self.numbers);
        let (mut halves, mut likely) = ([0; AHEAD], [None; AHEAD]);
        // In steps, so that none of the look-ups waits for another's memory.
        for some in updates.words.chunks(AHEAD * width) {
            let some = || some.chunks_exact(width);
            for (half, entry) in halves.iter_mut().zip(some()).filter(|(_, e)| !slides(e)) {
                *half = self.groups.near(entry);
            }
            for ((likely, half), entry) in likely.iter_mut().zip(halves).zip(some()) {
                *likely = if slides(entry) { None } else { self.groups.likely(half) };
            }
            let found = halves.into_iter().zip(likely).zip(some());
            numbers.extend(found.map(|((half, likely), entry)| {
                let skipped = slides(entry) || retired(node, entry[0], now);
                (!skipped).then(|| self.add(node, entry, half, likely))
            }));
        }
        self.take_members(&updates.members, &numbers);
        numbers.clear();
        numbers.shrink_to(4 * ROOM);
        self.numbers = numbers;
    }

    /// Adds an entry of this half to its group, which is made if need be; the group's number.
    #[inline]
    fn add(&mut self, node: &Node, entry: &[i64], half: u32, likely: Option<u32>) -> u32 {
        let likely = likely.filter(|number| self.groups.is(*number, entry));
        let number = likely.unwrap_or_else(|| self.find_or_add(node, half, entry));
        if let Some(mut group) = self.groups.get_mut(number) {
            group.add(entry);
            if !group.set_dirty(true) {
                self.dirty.push(number);
            }
        }
        number
    }

    /// What comes into multisets of the groups of these numbers. Sets lie behind pointers: they are
    /// brought near one step at a time.
    fn take_members(&mut self, members: &[Member], numbers: &[Option<u32>]) {
        for some in members.chunks(AHEAD) {
            let of = || some.iter().filter_map(|m| numbers[m.entry as usize].map(|n| (n, m)));
            of().for_each(|(number, _)| self.groups.near_sets(number));
            of().for_each(|(number, member)| self.groups.near_set(number, member.set));
            let set = |(number, member): (u32, &Member)| {
                self.groups.sets_of(number).get(usize::from(member.set))
            };
            of().filter_map(set).for_each(Multiset::near);
            for (number, member) in of() {
                if let Some(group) = self.groups.get_mut(number) {
                    let set = &mut group.sets[member.set as usize];
                    set.update(member.value, member.with, member.diff);
                }
            }
        }
    }

    fn find_or_add(&mut self, node: &Node, half: u32, entry: &[i64]) -> u32 {
        let (number, new) = self.groups.find_or_add(half, entry);
        if new && node.retain.is_some() {
            let (window, start) = (window(entry[0]), start(entry[0]));
            if start != NULL {
                self.starts.entry((window, start)).or_default().insert(number);
            }
        }
        number
    }

    fn remove(&mut self, number: u32) {
        let Some(key) = self.groups.remove(number) else { return };
        if let Some(numbers) = self.starts.get_mut(&(key.window, key.start)) {
            numbers.remove(&number);
        }
    }

    /// Windows whose time is over leave memory; what was published of them is taken back. Whether
    /// there were any.
    pub fn retire(&mut self, node: &Node, now: i64) -> bool {
        let Some(retain) = node.retain else { return false };
        let mut moved = false;
        for (w, window) in node.windows.iter().enumerate().filter(|(_, w)| !w.slides()) {
            let w = w as u16;
            // Ends ascend with starts: the first window that stays ends the search.
            while let Some((&(_, start), _)) =
                self.starts.range((w, i64::MIN)..(w, i64::MAX)).next()
                && now >= window.end(start).saturating_add(retain)
            {
                for number in self.starts.remove(&(w, start)).into_iter().flatten() {
                    self.groups.reset(number);
                    let group = self.groups.get_mut(number);
                    if group.is_some_and(|mut g| !g.set_dirty(true)) {
                        self.dirty.push(number);
                    }
                }
                moved = true;
            }
        }
        moved
    }

    /// Without anyone to be shown to, groups that are empty and were never shown leave memory.
    pub fn forget(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.retain(|number| {
            let group = self.groups.get_mut(*number);
            let gone = group.is_some_and(|g| !g.is_shown() && g.is_gone());
            if gone {
                self.remove(*number);
            }
            !gone
        });
        self.dirty = dirty;
    }

    /// Which of the changed groups hold rows and did not (1), or held some and do not (-1), when
    /// this was last asked; groups that hold nothing leave memory. At most so many are looked at;
    /// how many were.
    pub fn crossed(&mut self, most: usize, mut give: impl FnMut(&GroupKey, i64)) -> usize {
        let mut dirty = std::mem::take(&mut self.dirty);
        let looked = most.min(dirty.len());
        for number in dirty.drain(dirty.len() - looked..) {
            let Some(mut group) = self.groups.get_mut(number) else { continue };
            group.set_dirty(false);
            let (holds, gone) = (group.sum(0) > 0, group.is_gone());
            if group.set_shown(holds) != holds {
                give(&group.key(), if holds { 1 } else { -1 });
            }
            if gone {
                self.remove(number);
            }
        }
        dirty.shrink_to(ROOM);
        self.dirty = dirty;
        looked
    }

    /// The rows of changed groups; groups that hold nothing leave memory.
    pub fn publish(&mut self, node: &Node, metrics: &[MetricPlan], changes: &mut Changes) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            let Some(mut group) = self.groups.get_mut(number) else { continue };
            group.set_dirty(false);
            let (gone, was_shown, mut shows) = (group.is_gone(), group.is_shown(), false);
            if gone && !was_shown {
                self.remove(number);
                continue;
            }
            let mut key = group.key();
            let window = key.window;
            for metric in &node.metrics {
                let plan = &metrics[usize::from(*metric)];
                let Some(own) = plan.window_of(window, &key.keys) else { continue };
                key.window = own;
                let has_rows = !gone && show(*metric, plan, &mut group, &key, changes);
                if was_shown && !has_rows {
                    changes.part(*metric, &plan.layout).push(&key, &[]);
                }
                shows |= has_rows;
            }
            group.set_shown(shows);
            if gone {
                self.remove(number);
            }
        }
        // Of all groups, as after a restart, there is no list again soon.
        dirty.shrink_to(ROOM);
        self.dirty = dirty;
    }
}

/// Whether the window of a head has left `retain`.
fn retired(node: &Node, head: i64, now: i64) -> bool {
    let Some(retain) = node.retain else { return false };
    let (window, start) = (node.windows.get(usize::from(window(head))), start(head));
    window
        .is_some_and(|w| start != NULL && !w.slides() && now >= w.end(start).saturating_add(retain))
}
