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
mod slot;

use std::hash::Hasher;
use std::sync::Arc;

use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{Cells, GroupKey, NULL, Value, Values};
use dataflows::symbol::Sym;
use prefetch_index::prefetch_index;
use rustc_hash::FxHasher;
use smallvec::SmallVec;

use slot::{Form, Layout, WIDE, get, put};

/// Groups a bucket holds on average before the table grows.
const LOAD: usize = 16;
/// Slots a bucket of a list holds.
const LISTED: usize = 1024;

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Slots; those of one group stand together, in the order to be shown.
    words: Vec<u32>,
    /// Values that a cell cannot hold, in the order of slots and columns.
    wide: Vec<(usize, usize, Value)>,
}

/// The rows of a metric.
#[derive(Clone, Debug)]
pub struct Table {
    layout: Arc<Layout>,
    buckets: Vec<Arc<Bucket>>,
    /// Buckets at the start of this round of growing; a power of two.
    base: usize,
    /// The bucket that is divided next.
    split: usize,
    groups: usize,
    rows: usize,
    /// Buckets hold what was set one after the other, not by hash.
    listed: bool,
}

/// One row of a group.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    layout: &'a Layout,
    bucket: &'a Bucket,
    slot: usize,
}

impl Table {
    /// An empty table for the rows of a metric.
    pub fn new(schema: &Schema) -> Self {
        Table {
            layout: Arc::new(Layout::of(schema)),
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
        let slots = self.rows * self.layout.stride * size_of::<u32>() * 9 / 8;
        slots + self.buckets.len() * (size_of::<Arc<Bucket>>() + size_of::<Bucket>())
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

    /// An empty table of the same metric, which is a list or has as many buckets, for one of so
    /// many parts of what is to come.
    pub fn empty_like(&self, parts: usize) -> Table {
        let layout = Arc::clone(&self.layout);
        // More than there will be in nearly all of them.
        let words = (LOAD * 3 / 2).div_ceil(parts) * layout.stride;
        let bucket = || Arc::new(Bucket { words: Vec::with_capacity(words), wide: Vec::new() });
        let buckets = if self.listed { 0 } else { self.buckets.len() };
        let buckets = std::iter::repeat_with(bucket).take(buckets).collect();
        Table { layout, buckets, groups: 0, rows: 0, ..*self }
    }

    /// Takes in the groups of tables like it, none of which has another's. Buckets get as much room
    /// as they need: those that grow step by step leave gaps of all sizes behind.
    pub fn absorb(&mut self, parts: Vec<Table>) {
        self.groups += parts.iter().map(|part| part.groups).sum::<usize>();
        self.rows += parts.iter().map(|part| part.rows).sum::<usize>();
        if self.listed {
            return parts.into_iter().for_each(|part| self.buckets.extend(part.buckets));
        }
        let stride = self.layout.stride;
        // The parts are let go together: what is made anew would else lie scattered in their gaps.
        for (n, bucket) in self.buckets.iter_mut().enumerate() {
            let own = std::mem::take(bucket);
            let all = parts.iter().map(|part| &part.buckets[n]).chain([&own]);
            let all: SmallVec<[&Arc<Bucket>; 4]> = all.filter(|b| !b.words.is_empty()).collect();
            let words = all.iter().map(|b| b.words.len()).sum();
            let mut one = Bucket { words: Vec::with_capacity(words), wide: Vec::new() };
            for part in all {
                let first = one.words.len() / stride;
                one.words.extend_from_slice(&part.words);
                one.wide.extend(part.wide.iter().map(|w| (first + w.0, w.1, w.2)));
            }
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

    fn add_to_list(&mut self, key: &GroupKey, rows: &[Values]) {
        let layout = &*self.layout;
        let most = LISTED * layout.stride;
        if self.buckets.last().is_none_or(|list| list.words.len() >= most) {
            let words = Vec::with_capacity(most + rows.len() * layout.stride);
            self.buckets.push(Arc::new(Bucket { words, wide: Vec::new() }));
        }
        let Some(list) = self.buckets.last_mut().map(Arc::make_mut) else { return };
        let first = list.append(layout, rows.len(), |slot| layout.write_key(key, slot));
        rows.iter().enumerate().for_each(|(n, row)| list.write(layout, first + n, row));
        self.groups += usize::from(!rows.is_empty());
        self.rows += rows.len();
    }

    /// Asks the processor for where a group's rows are looked for.
    pub fn near(&self, key: &GroupKey) {
        if !self.listed {
            let place = self.place(hash(&self.layout.key(key)));
            prefetch_index(&self.buckets[place].words, 0);
        }
    }

    /// Replaces the rows of a group; none = it is gone.
    pub fn set(&mut self, key: &GroupKey, rows: &[Values]) {
        if self.listed {
            return self.add_to_list(key, rows);
        }
        let layout = Arc::clone(&self.layout);
        let key = &layout.key(key);
        let place = self.place(hash(key));
        let bucket = Arc::make_mut(&mut self.buckets[place]);
        let (first, count) = bucket.find(&layout, key);
        self.rows = self.rows + rows.len() - count;
        if count != rows.len() {
            bucket.remove(&layout, first, count);
        }
        let first = if count == rows.len() {
            bucket.wide.retain(|w| !(first..first + count).contains(&w.0));
            first
        } else {
            bucket.append(&layout, rows.len(), |slot| slot[..layout.head].copy_from_slice(key))
        };
        for (n, row) in rows.iter().enumerate() {
            bucket.write(&layout, first + n, row);
        }
        match (count, rows.len()) {
            (0, 0) => {}
            (0, _) => {
                self.groups += 1;
                if self.groups > self.buckets.len() * LOAD {
                    self.grow();
                }
            }
            (_, 0) => {
                self.groups -= 1;
                if self.buckets.len() > 1 && self.groups * 4 < self.buckets.len() * LOAD {
                    self.shrink();
                }
            }
            _ => {}
        }
    }

    /// Every row, in no order but that rows of one group follow each other as they are shown.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> + Clone {
        let layout = &*self.layout;
        self.buckets.iter().flat_map(move |bucket| {
            let slots = 0..bucket.words.len() / layout.stride;
            slots.map(move |slot| Row { layout, bucket, slot })
        })
    }

    /// The rows of one group; of a table that is no list.
    pub fn get(&self, key: &GroupKey) -> Vec<Values> {
        let key = self.layout.key(key);
        let bucket = &self.buckets[self.place(hash(&key))];
        let (first, count) = bucket.find(&self.layout, &key);
        let layout = &*self.layout;
        (first..first + count).map(|slot| Row { layout, bucket, slot }.values()).collect()
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
    fn deal(&mut self, from: &Bucket) {
        let layout = Arc::clone(&self.layout);
        for (slot, words) in from.words.chunks_exact(layout.stride).enumerate() {
            let place = self.place(hash(&words[..layout.head]));
            let to = Arc::make_mut(&mut self.buckets[place]);
            let new = to.words.len() / layout.stride;
            to.reserve(layout.stride);
            to.words.extend_from_slice(words);
            to.wide.extend(from.wide_of(slot).iter().map(|w| (new, w.1, w.2)));
        }
    }
}

fn hash(key: &[u32]) -> usize {
    let mut hasher = FxHasher::default();
    key.iter().for_each(|word| hasher.write_u32(*word));
    hasher.finish() as usize
}

impl Bucket {
    /// The first slot of a group and how many it has.
    fn find(&self, layout: &Layout, key: &[u32]) -> (usize, usize) {
        let mut slots = self.words.chunks_exact(layout.stride);
        let Some(first) = slots.position(|words| words.starts_with(key)) else { return (0, 0) };
        (first, 1 + slots.take_while(|words| words.starts_with(key)).count())
    }

    /// Grows by little, since buckets are many and small.
    fn reserve(&mut self, words: usize) {
        if self.words.capacity() - self.words.len() < words {
            let some = if self.words.is_empty() { LOAD / 2 * words } else { self.words.len() / 4 };
            self.words.reserve_exact(words.max(some));
        }
    }

    fn remove(&mut self, layout: &Layout, first: usize, count: usize) {
        self.words.drain(first * layout.stride..(first + count) * layout.stride);
        self.wide.retain(|w| !(first..first + count).contains(&w.0));
        for wide in self.wide.iter_mut().filter(|w| w.0 > first) {
            wide.0 -= count;
        }
    }

    /// Slots for so many rows more, each of which is given its key; the first of them.
    fn append(&mut self, layout: &Layout, rows: usize, key: impl Fn(&mut [u32])) -> usize {
        let (from, words) = (self.words.len(), rows * layout.stride);
        self.reserve(words);
        self.words.resize(from + words, 0);
        self.words[from..].chunks_exact_mut(layout.stride).for_each(key);
        from / layout.stride
    }

    fn write(&mut self, layout: &Layout, slot: usize, row: &[Value]) {
        let words = &mut self.words[slot * layout.stride..][..layout.stride];
        for (n, col) in layout.cols.iter().enumerate() {
            let value = row.get(n).copied().unwrap_or(Value::Null);
            let (cell, den) = col.pack(value);
            col.write(words, cell);
            if col.form == Form::Pair {
                put(&mut words[col.at + 2..], den);
            }
            if cell == WIDE && den == 0 {
                let at = self.wide.partition_point(|w| (w.0, w.1) < (slot, n));
                self.wide.insert(at, (slot, n, value));
            }
        }
    }

    /// Those values of a slot that a cell cannot hold.
    fn wide_of(&self, slot: usize) -> &[(usize, usize, Value)] {
        let from = self.wide.partition_point(|wide| wide.0 < slot);
        let count = self.wide[from..].iter().take_while(|wide| wide.0 == slot).count();
        &self.wide[from..][..count]
    }
}

impl<'a> Row<'a> {
    fn words(&self) -> &'a [u32] {
        &self.bucket.words[self.slot * self.layout.stride..][..self.layout.stride]
    }

    /// Its place in a list made by [`Table::placed`].
    pub fn place(&self) -> usize {
        self.slot
    }

    /// The place of its window in the metric's list.
    pub fn window(&self) -> u16 {
        self.layout.window_of(self.words())
    }

    /// The start of its window; [`NULL`] where it follows from `now` or there is none.
    pub fn start(&self) -> i64 {
        self.layout.start_of(self.words())
    }

    /// The group keys.
    pub fn keys(&self) -> Cells {
        self.each_key().collect()
    }

    /// The same, one by one.
    pub fn each_key(self) -> impl Iterator<Item = i64> + 'a {
        self.layout.keys.iter().map(move |col| col.read(self.words()))
    }

    /// One of them.
    pub fn key(&self, n: usize) -> i64 {
        self.layout.keys[n].read(self.words())
    }

    /// The value of a column.
    pub fn value(&self, n: usize) -> Value {
        let (col, words) = (self.layout.cols[n], self.words());
        let den = if col.form == Form::Pair { get(&words[col.at + 2..]) } else { 0 };
        match col.read(words) {
            cell if den > 0 => Value::Ratio(cell.into(), den.into()),
            NULL => Value::Null,
            WIDE => {
                let wide = self.bucket.wide_of(self.slot).iter().find(|wide| wide.1 == n);
                wide.map_or(Value::Null, |wide| wide.2)
            }
            cell if col.form == Form::Text => Value::Text(Sym::from_cell(cell)),
            cell => Value::Int(cell.into()),
        }
    }

    /// The value of a column if it is a plain integer: the quick way to most of them.
    pub fn int(&self, n: usize) -> Option<i64> {
        let (col, words) = (self.layout.cols[n], self.words());
        let is_plain = match col.form {
            Form::Text => false,
            Form::Pair => get(&words[col.at + 2..]) == 0,
            Form::Short | Form::Long => true,
        };
        is_plain.then(|| col.read(words)).filter(|cell| *cell > WIDE)
    }

    /// All values, in order.
    pub fn values(&self) -> Values {
        (0..self.layout.cols.len()).map(|n| self.value(n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use dataflows::metrics::declare::Kind;

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
        assert!(table.buckets.iter().all(|b| b.words.len() == b.words.capacity()));
        assert_eq!(table.rows().count(), other.rows().count());
    }
}
