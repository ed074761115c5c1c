//! The rows of one metric, packed, in a hash table whose snapshots cost next to nothing.
//!
//! Promises: a clone is a consistent picture that later changes do not touch; cloning costs one
//! reference count per [`LOAD`] groups, and a writer copies only those buckets that it changes
//! while a clone of them lives. A group costs four or eight bytes a cell, not the size of its
//! [`Values`].
//! Growing and shrinking move one bucket at a time (linear hashing), so no change ever waits for
//! the whole table to be moved.
//! Limits: memory is bounded by the groups that the dataflow keeps.

mod slot;

use std::hash::Hasher;
use std::sync::Arc;

use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{Cells, GroupKey, NULL, Value, Values};
use dataflows::symbol::Sym;
use rustc_hash::FxHasher;

use slot::{Form, Layout, WIDE, get, put};

/// Groups a bucket holds on average before the table grows.
const LOAD: usize = 16;
/// Slots a bucket of a list holds.
const LISTED: usize = 1024;

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Slots; those of one group stand together, in the order to be shown.
    words: Vec<u32>,
    /// Values that a cell cannot hold, by slot and column.
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
            listed: false,
        }
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups
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

    /// An empty list for rows of the same metric.
    pub fn empty_list(&self) -> Table {
        let (layout, buckets) = (Arc::clone(&self.layout), Vec::new());
        Table { layout, buckets, base: 1, split: 0, groups: 0, listed: true }
    }

    /// Appends another list of the same metric, which has none of this one's groups.
    pub fn append_list(&mut self, other: Table) {
        self.groups += other.groups;
        self.buckets.extend(other.buckets);
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
        let first = list.append(layout, &layout.key(key), rows.len());
        rows.iter().enumerate().for_each(|(n, row)| list.write(layout, first + n, row));
        self.groups += usize::from(!rows.is_empty());
    }

    /// Reads where a group's rows are looked for, so that the processor has them at hand soon.
    pub fn near(&self, key: &GroupKey) {
        if !self.listed {
            let place = self.place(hash(&self.layout.key(key)));
            std::hint::black_box(self.buckets[place].words.first().copied());
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
        if count != rows.len() {
            bucket.remove(&layout, first, count);
        }
        let first = if count == rows.len() {
            bucket.wide.retain(|w| !(first..first + count).contains(&w.0));
            first
        } else {
            bucket.append(&layout, key, rows.len())
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
            let wide = from.wide.iter().filter(|w| w.0 == slot);
            to.wide.extend(wide.map(|w| (new, w.1, w.2)));
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

    fn append(&mut self, layout: &Layout, key: &[u32], rows: usize) -> usize {
        let first = self.words.len() / layout.stride;
        self.reserve(rows * layout.stride);
        for _ in 0..rows {
            self.words.extend_from_slice(key);
            self.words.resize(self.words.len() + layout.stride - layout.head, 0);
        }
        first
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
                self.wide.push((slot, n, value));
            }
        }
    }
}

impl<'a> Row<'a> {
    fn words(&self) -> &'a [u32] {
        &self.bucket.words[self.slot * self.layout.stride..][..self.layout.stride]
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
                let wide = self.bucket.wide.iter().find(|w| w.0 == self.slot && w.1 == n);
                wide.map_or(Value::Null, |w| w.2)
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
