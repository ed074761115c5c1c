//! The rows of one metric, packed, in a hash table whose snapshots cost next to nothing.
//!
//! Promises: a clone is a consistent picture that later changes do not touch; cloning costs one
//! reference count per [`LOAD`] groups, and a writer copies only those buckets that it changes
//! while a clone of them lives. A group costs four or eight bytes a cell, not the size of its
//! [`Values`].
//! Growing and shrinking move one bucket at a time (linear hashing), so no change ever waits for
//! the whole table to be moved.
//! Limits: memory is bounded by the groups that the dataflow keeps.

mod placed;

use std::hash::Hasher;
use std::sync::Arc;

use dataflows::metrics::changes::Part;
use dataflows::metrics::packed::{GroupRows, Packed, Row, RowLayout};
use dataflows::metrics::schema::Schema;
#[cfg(test)]
use dataflows::metrics::value::{GroupKey, Values};
use rustc_hash::FxHasher;
use smallvec::SmallVec;

/// Groups a bucket holds on average before the table grows.
const LOAD: usize = 16;
/// So many changes are brought near before they are taken up.
const AHEAD: usize = 32;

/// The rows of a metric.
#[derive(Clone, Debug)]
pub struct Table {
    layout: Arc<RowLayout>,
    buckets: Vec<Arc<Packed>>,
    /// Buckets at the start of this round of growing; a power of two.
    base: usize,
    /// The bucket that is divided next.
    split: usize,
    groups: usize,
    rows: usize,
    /// Buckets hold what was set one after the other, not by hash.
    listed: bool,
}

impl Table {
    /// An empty table for the rows of a metric.
    pub fn new(schema: &Schema) -> Self {
        Table {
            layout: Arc::new(RowLayout::of(schema)),
            buckets: vec![Arc::default()],
            base: 1,
            split: 0,
            groups: 0,
            rows: 0,
            listed: false,
        }
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Bytes held, about: buckets grow by a quarter.
    pub fn bytes(&self) -> usize {
        let slots = self.rows * self.layout.bytes() * 9 / 8;
        slots + self.buckets.len() * (size_of::<Arc<Packed>>() + size_of::<Packed>())
    }

    /// Is told how many groups are about to be set: an empty table need not grow step by step.
    pub fn expect(&mut self, groups: usize) {
        if self.groups == 0 && groups > LOAD {
            let buckets = groups.div_ceil(LOAD);
            self.base = 1 << buckets.ilog2();
            self.split = buckets - self.base;
            self.buckets = vec![Arc::default(); buckets];
        }
    }

    /// Is told that each group is set once and is then only read in [`Table::rows`], until
    /// [`Table::sort_out`]: nothing is looked for. An empty table takes it to heart.
    pub fn list(&mut self) {
        if self.groups == 0 {
            (self.listed, self.buckets) = (true, Vec::new());
        }
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        self.listed
    }

    /// An empty table of the same metric with as many buckets, for one of so many parts of what is
    /// to come; of one that is no list.
    pub fn empty_like(&self, parts: usize) -> Table {
        let layout = Arc::clone(&self.layout);
        // More than there will be in nearly all of them.
        let slots = (LOAD * 3 / 2).div_ceil(parts);
        let bucket = || Arc::new(Packed::with_room(&layout, slots));
        let buckets = self.buckets.iter().map(|_| bucket()).collect();
        Table { layout, buckets, groups: 0, rows: 0, ..*self }
    }

    /// Takes in the groups of tables like it, none of which has another's. Buckets get as much room
    /// as they need: those that grow step by step leave gaps of all sizes behind.
    pub fn absorb(&mut self, parts: Vec<Table>) {
        self.groups += parts.iter().map(|part| part.groups).sum::<usize>();
        self.rows += parts.iter().map(|part| part.rows).sum::<usize>();
        let layout = &*self.layout;
        // The parts are let go together: what is made anew would else lie scattered in their gaps.
        for (n, bucket) in self.buckets.iter_mut().enumerate() {
            let own = std::mem::take(bucket);
            let all = parts.iter().map(|part| &part.buckets[n]).chain([&own]);
            let all: SmallVec<[&Arc<Packed>; 4]> = all.filter(|b| !b.is_empty()).collect();
            let slots = all.iter().map(|part| part.slots(layout)).sum();
            let mut one = Packed::with_room(layout, slots);
            all.into_iter().for_each(|part| one.extend(part.all(layout)));
            *bucket = Arc::new(one);
        }
    }

    /// Ends what [`Table::list`] began.
    pub fn sort_out(&mut self) {
        if !std::mem::take(&mut self.listed) {
            return;
        }
        let lists = std::mem::take(&mut self.buckets);
        let groups = std::mem::take(&mut self.groups);
        (self.base, self.split, self.buckets) = (1, 0, vec![Arc::default()]);
        self.expect(groups);
        self.groups = groups;
        lists.iter().for_each(|list| self.deal(list));
    }

    /// Replaces the rows of a group; none = it is gone.
    #[cfg(test)]
    pub fn set(&mut self, key: &GroupKey, rows: &[Values]) {
        let mut changes = Part::new(&self.layout);
        changes.push(key, rows);
        self.take(changes);
    }

    /// Takes changes up: replaces the rows of each group; one that has none is gone.
    pub fn take(&mut self, changes: Part) {
        if self.listed {
            for block in changes.into_blocks() {
                let (groups, rows) = block.into_rows(&self.layout);
                self.groups += groups;
                self.rows += rows.slots(&self.layout);
                self.buckets.push(Arc::new(rows));
            }
            return;
        }
        let layout = Arc::clone(&self.layout);
        for block in changes.into_blocks() {
            self.put_all(block.groups(&layout), |_, _| ());
        }
    }

    /// The same; the changes of groups that had other rows.
    pub fn take_differing(&mut self, changes: Part) -> Part {
        let layout = Arc::clone(&self.layout);
        let mut differing = Part::new(&layout);
        if self.listed {
            // It is empty to begin with.
            changes.groups().filter(|g| g.count > 0).for_each(|group| differing.copy(group));
            self.take(changes);
            return differing;
        }
        for block in changes.into_blocks() {
            self.put_all(block.groups(&layout), |group, was| {
                if !group.is_same(was) {
                    differing.copy(group);
                }
            });
        }
        differing
    }

    /// Puts groups in place of what they were, and shows both before. In steps, so that none of
    /// the look-ups waits for another's memory.
    fn put_all<'c>(
        &mut self,
        mut groups: impl Iterator<Item = GroupRows<'c>>,
        mut seen: impl FnMut(GroupRows<'_>, GroupRows<'_>),
    ) {
        loop {
            let some: SmallVec<[GroupRows<'_>; AHEAD]> = groups.by_ref().take(AHEAD).collect();
            if some.is_empty() {
                return;
            }
            some.iter().for_each(|g| self.buckets[self.place(hash(g.key_words()))].near());
            some.into_iter().for_each(|group| self.put(group, &mut seen));
        }
    }

    /// Replaces the rows of a group; none = it is gone.
    fn put(&mut self, group: GroupRows<'_>, seen: &mut impl FnMut(GroupRows<'_>, GroupRows<'_>)) {
        let key = group.key_words();
        let place = self.place(hash(key));
        let (layout, bucket) = (&*self.layout, &mut self.buckets[place]);
        let was = bucket.find(layout, key);
        seen(group, was);
        if group.is_same(was) {
            return;
        }
        let (first, count) = (was.first, was.count);
        let bucket = Arc::make_mut(bucket);
        self.rows = self.rows + group.count - count;
        if count == group.count {
            bucket.replace(first, group);
            return;
        }
        bucket.remove(layout, first, count);
        if group.count > 0 {
            bucket.reserve_little(layout, group.count, LOAD / 2);
            bucket.extend(group);
        }
        if count == 0 {
            self.groups += 1;
            if self.groups > self.buckets.len() * LOAD {
                self.grow();
            }
        } else if group.count == 0 {
            self.groups -= 1;
            if self.buckets.len() > 1 && self.groups * 4 < self.buckets.len() * LOAD {
                self.shrink();
            }
        }
    }

    /// Every row, in no order but that rows of one group follow each other as they are shown.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> + Clone {
        self.buckets.iter().flat_map(|bucket| bucket.rows(&self.layout))
    }

    /// The rows of one group; of a table that is no list.
    #[cfg(test)]
    pub fn get(&self, key: &GroupKey) -> Vec<Values> {
        let mut changes = Part::new(&self.layout);
        changes.push(key, &[]);
        let found = changes
            .groups()
            .map(|group| group.key_words())
            .flat_map(|key| self.buckets[self.place(hash(key))].find(&self.layout, key).rows());
        found.map(|row| row.values()).collect()
    }

    fn place(&self, hash: usize) -> usize {
        let place = hash & (self.base - 1);
        if place < self.split { hash & (2 * self.base - 1) } else { place }
    }

    fn grow(&mut self) {
        let from = self.split;
        let old = std::mem::take(&mut self.buckets[from]);
        self.buckets.push(Arc::default());
        self.split += 1;
        if self.split == self.base {
            (self.base, self.split) = (self.base * 2, 0);
        }
        self.deal(&old);
    }

    fn shrink(&mut self) {
        if self.split == 0 {
            (self.base, self.split) = (self.base / 2, self.base / 2);
        }
        self.split -= 1;
        if let Some(last) = self.buckets.pop() {
            self.deal(&last);
        }
    }

    /// Puts the slots of a bucket where they belong now.
    fn deal(&mut self, from: &Packed) {
        let layout = Arc::clone(&self.layout);
        for row in from.rows(&layout) {
            let row = row.alone();
            let place = self.place(hash(row.key_words()));
            let to = Arc::make_mut(&mut self.buckets[place]);
            to.reserve_little(&layout, 1, LOAD / 2);
            to.extend(row);
        }
    }
}

fn hash(key: &[u32]) -> usize {
    let mut hasher = FxHasher::default();
    key.iter().for_each(|word| hasher.write_u32(*word));
    hasher.finish() as usize
}

#[cfg(test)]
mod tests {
    use dataflows::metrics::declare::Kind;
    use dataflows::metrics::value::{NULL, Value};

    use super::super::samples::{measure, metric};
    use super::*;

    #[test]
    fn what_comes_in_parts_is_as_if_it_had_come_at_once() {
        let count = vec![measure("count", Kind::Count)];
        let schema = Schema::of(&metric("m", &["age"], count, Vec::new()));
        let key = |age: i64| GroupKey { window: 0, start: NULL, keys: [age][..].into() };
        let rows = |age: i64| {
            let count = if age % 7 == 0 { i128::MAX } else { age.into() };
            vec![Values::from_iter([Value::Int(count)]); age as usize % 3]
        };
        let (mut table, mut other) = (Table::new(&schema), Table::new(&schema));
        table.expect(1000);
        let mut parts = [2, 3, 4].map(|parts| table.empty_like(parts)).to_vec();
        for age in 0..1000 {
            parts[age as usize % 2].set(&key(age), &rows(age));
            other.set(&key(age), &rows(age));
        }
        table.absorb(parts);
        assert_eq!(table.groups(), other.groups());
        assert!((0..1000).all(|age| table.get(&key(age)) == rows(age)));
        assert!(table.buckets.iter().all(|bucket| bucket.is_tight()));
        assert_eq!(table.rows().count(), other.rows().count());
    }

    /// A feed said of groups that they had gone which a metric never had.
    #[test]
    fn of_what_a_list_never_had_nothing_goes() {
        let schema = Schema::of(&metric("m", &["age"], vec![measure("n", Kind::Count)], vec![]));
        let mut table = Table::new(&schema);
        table.list();
        let key = |age: i64| GroupKey { window: 0, start: NULL, keys: [age][..].into() };
        let mut changes = Part::new(&table.layout);
        changes.push(&key(1), &[]);
        changes.push(&key(2), &[Values::from_iter([Value::Int(5)])]);
        assert_eq!((changes.len(), changes.with_rows()), (2, 1));
        let differing = table.take_differing(changes);
        let keys: Vec<GroupKey> = differing.groups().map(|group| group.key()).collect();
        assert_eq!((keys, table.groups(), table.rows().count()), (vec![key(2)], 1, 1));
    }
}
