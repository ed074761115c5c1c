//! The rows of one metric, packed, in a hash table whose snapshots cost next to nothing.
//!
//! Promises: a clone is a consistent picture that later changes do not touch; cloning costs one
//! reference count per [`LOAD`] groups, and a writer copies only those buckets that it changes
//! while a clone of them lives. A group costs 8 bytes a cell, not the size of its [`Values`].
//! Growing and shrinking move one bucket at a time (linear hashing), so no change ever waits for
//! the whole table to be moved.
//! Limits: memory is bounded by the groups that the dataflow keeps.

use std::hash::Hasher;
use std::sync::Arc;

use dataflows::metrics::declare::Kind;
use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{GroupKey, NULL, Value, Values};
use dataflows::record::Type;
use dataflows::symbol::Sym;
use rustc_hash::FxHasher;

/// Groups a bucket holds on average before the table grows.
const LOAD: usize = 12;
/// Slots a bucket of a list holds.
const LISTED: usize = 1024;
/// The cell that says: this value stands in the bucket's list of wide ones.
const WIDE: i64 = NULL + 1;

/// How one value column lies in a slot.
#[derive(Clone, Copy, Debug)]
struct Col {
    at: usize,
    text: bool,
    /// Numerator and denominator stand in two cells; a denominator of 0 marks a plain value.
    pair: bool,
}

/// How a slot lies in a bucket: window, start, keys, values.
#[derive(Debug)]
struct Layout {
    head: usize,
    cols: Vec<Col>,
    stride: usize,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Slots; those of one group stand together, in the order to be shown.
    cells: Vec<i64>,
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
        let mut pairs = Vec::new();
        for m in &schema.metric.measures {
            if m.returned.is_some() {
                pairs.push(false);
            }
            pairs.push(match m.kind {
                Kind::Mean(_) | Kind::Ratio(..) => true,
                Kind::Quantile { interpolated, .. } => interpolated,
                _ => false,
            });
        }
        let head = 2 + schema.keys.len();
        let mut stride = head;
        let mut cols = Vec::with_capacity(schema.values.len());
        for (n, field) in schema.values.iter().enumerate() {
            let pair = pairs.get(n).copied().unwrap_or(false);
            cols.push(Col { at: stride, text: field.ty == Type::Text, pair });
            stride += 1 + usize::from(pair);
        }
        Table {
            layout: Arc::new(Layout { head, cols, stride }),
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
            self.base = (groups / LOAD).next_power_of_two();
            self.split = 0;
            self.buckets = vec![Arc::default(); self.base];
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
        if self.buckets.last().is_none_or(|list| list.cells.len() >= most) {
            let cells = Vec::with_capacity(most + rows.len() * layout.stride);
            self.buckets.push(Arc::new(Bucket { cells, wide: Vec::new() }));
        }
        let Some(list) = self.buckets.last_mut().map(Arc::make_mut) else { return };
        let first = list.append(layout, key, rows.len());
        rows.iter().enumerate().for_each(|(n, row)| list.write(layout, first + n, row));
        self.groups += usize::from(!rows.is_empty());
    }

    /// Replaces the rows of a group; none = it is gone.
    pub fn set(&mut self, key: &GroupKey, rows: &[Values]) {
        if self.listed {
            return self.add_to_list(key, rows);
        }
        let layout = Arc::clone(&self.layout);
        let hash = hash(i64::from(key.window), key.start, &key.keys);
        let place = self.place(hash);
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
            let slots = 0..bucket.cells.len() / layout.stride;
            slots.map(move |slot| Row { layout, bucket, slot })
        })
    }

    /// The rows of one group; of a table that is no list.
    pub fn get(&self, key: &GroupKey) -> Vec<Values> {
        let hash = hash(i64::from(key.window), key.start, &key.keys);
        let bucket = &self.buckets[self.place(hash)];
        let (first, count) = bucket.find(&self.layout, key);
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
        for (slot, cells) in from.cells.chunks_exact(layout.stride).enumerate() {
            let place = self.place(hash(cells[0], cells[1], &cells[2..layout.head]));
            let to = Arc::make_mut(&mut self.buckets[place]);
            let new = to.cells.len() / layout.stride;
            to.reserve(layout.stride);
            to.cells.extend_from_slice(cells);
            let wide = from.wide.iter().filter(|w| w.0 == slot);
            to.wide.extend(wide.map(|w| (new, w.1, w.2)));
        }
    }
}

impl Bucket {
    /// The first slot of a group and how many it has.
    fn find(&self, layout: &Layout, key: &GroupKey) -> (usize, usize) {
        let same = |c: &[i64]| {
            c[0] == i64::from(key.window) && c[1] == key.start && c[2..layout.head] == key.keys[..]
        };
        let mut slots = self.cells.chunks_exact(layout.stride);
        let Some(first) = slots.position(same) else { return (0, 0) };
        (first, 1 + slots.take_while(|c| same(c)).count())
    }

    /// Grows by little, since buckets are many and small.
    fn reserve(&mut self, cells: usize) {
        if self.cells.capacity() - self.cells.len() < cells {
            let some = if self.cells.is_empty() { 4 * cells } else { self.cells.len() / 4 };
            self.cells.reserve_exact(cells.max(some));
        }
    }

    fn remove(&mut self, layout: &Layout, first: usize, count: usize) {
        self.cells.drain(first * layout.stride..(first + count) * layout.stride);
        self.wide.retain(|w| !(first..first + count).contains(&w.0));
        for wide in self.wide.iter_mut().filter(|w| w.0 > first) {
            wide.0 -= count;
        }
    }

    fn append(&mut self, layout: &Layout, key: &GroupKey, rows: usize) -> usize {
        let first = self.cells.len() / layout.stride;
        self.reserve(rows * layout.stride);
        for _ in 0..rows {
            self.cells.extend([i64::from(key.window), key.start]);
            self.cells.extend_from_slice(&key.keys);
            self.cells.resize(self.cells.len() + layout.stride - layout.head, NULL);
        }
        first
    }

    fn write(&mut self, layout: &Layout, slot: usize, row: &[Value]) {
        let cells = &mut self.cells[slot * layout.stride..][..layout.stride];
        for (n, col) in layout.cols.iter().enumerate() {
            let value = row.get(n).copied().unwrap_or(Value::Null);
            let (cell, den) = pack(value, *col);
            cells[col.at] = cell;
            if col.pair {
                cells[col.at + 1] = den;
            }
            if cell == WIDE && den == 0 {
                self.wide.push((slot, n, value));
            }
        }
    }
}

/// A value as a cell, and its denominator where it has one.
fn pack(value: Value, col: Col) -> (i64, i64) {
    let plain = |v: i128| i64::try_from(v).ok().filter(|v| *v > WIDE);
    match value {
        Value::Null => (NULL, 0),
        Value::Int(v) if !col.text => (plain(v).unwrap_or(WIDE), 0),
        Value::Text(s) if col.text => (s.cell(), 0),
        Value::Ratio(n, d) if col.pair => match (i64::try_from(n), i64::try_from(d)) {
            (Ok(n), Ok(d)) if d > 0 => (n, d),
            _ => (WIDE, 0),
        },
        _ => (WIDE, 0),
    }
}

fn hash(window: i64, start: i64, keys: &[i64]) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write_i64(window);
    hasher.write_i64(start);
    for key in keys {
        hasher.write_i64(*key);
    }
    hasher.finish() as usize
}

impl<'a> Row<'a> {
    fn cells(&self) -> &'a [i64] {
        &self.bucket.cells[self.slot * self.layout.stride..][..self.layout.stride]
    }

    /// The place of its window in the metric's list.
    pub fn window(&self) -> u16 {
        self.cells()[0] as u16
    }

    /// The start of its window; [`NULL`] where it follows from `now` or there is none.
    pub fn start(&self) -> i64 {
        self.cells()[1]
    }

    /// The group keys.
    pub fn keys(&self) -> &'a [i64] {
        &self.cells()[2..self.layout.head]
    }

    /// The value of a column.
    pub fn value(&self, n: usize) -> Value {
        let col = self.layout.cols[n];
        let cells = self.cells();
        match cells[col.at] {
            cell if col.pair && cells[col.at + 1] > 0 => {
                Value::Ratio(cell.into(), cells[col.at + 1].into())
            }
            NULL => Value::Null,
            WIDE => {
                let wide = self.bucket.wide.iter().find(|w| w.0 == self.slot && w.1 == n);
                wide.map_or(Value::Null, |w| w.2)
            }
            cell if col.text => Value::Text(Sym::from_cell(cell)),
            cell => Value::Int(cell.into()),
        }
    }

    /// The value of a column if it is a plain 64-bit integer: the quick way to most of them.
    pub fn int(&self, n: usize) -> Option<i64> {
        let col = self.layout.cols[n];
        let cell = self.cells()[col.at];
        (cell > WIDE && !col.text && (!col.pair || self.cells()[col.at + 1] == 0)).then_some(cell)
    }

    /// All values, in order.
    pub fn values(&self) -> Values {
        (0..self.layout.cols.len()).map(|n| self.value(n)).collect()
    }
}
