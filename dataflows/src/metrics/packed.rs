//! Rows packed into words of 32 bits, as they come from workers and lie in tables.
//!
//! Promises: what is packed is read as it was. A row costs four or eight bytes a cell, not the size
//! of its [`Values`].

mod slot;

use prefetch_index::prefetch_index;

use super::value::{Cells, GroupKey, NULL, Value, Values};
use crate::symbol::Sym;
pub use slot::RowLayout;
use slot::{Form, WIDE, get, put};

/// Packed rows of one metric in slots; those of one group stand together, in the order to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    words: Vec<u32>,
    /// Values that a cell cannot hold, in the order of slots and columns.
    wide: Vec<(usize, usize, Value)>,
}

/// One row of a group.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    layout: &'a RowLayout,
    packed: &'a Packed,
    slot: usize,
}

/// Some rows of a group that stand together, or the group of none: then the first slot has its key.
#[derive(Clone, Copy)]
pub struct GroupRows<'a> {
    /// How they are packed.
    pub layout: &'a RowLayout,
    /// Where.
    pub packed: &'a Packed,
    /// The first slot.
    pub first: usize,
    /// How many rows there are.
    pub count: usize,
}

impl Packed {
    /// None, with room for so many slots.
    pub fn with_room(layout: &RowLayout, slots: usize) -> Self {
        Packed { words: Vec::with_capacity(slots * layout.stride), wide: Vec::new() }
    }

    /// Rows that are packed so, each with its place; places are 0 to `count`, each once.
    ///
    /// Panics if a place is beyond them.
    pub fn placed<'a>(
        layout: &RowLayout,
        count: usize,
        rows: impl Iterator<Item = (usize, Row<'a>)>,
    ) -> Self {
        let mut words = vec![0; count * layout.stride];
        let mut wide = Vec::new();
        for (place, row) in rows {
            words[place * layout.stride..][..layout.stride].copy_from_slice(row.words());
            wide.extend(row.wide().iter().map(|w| (place, w.1, w.2)));
        }
        wide.sort_unstable_by_key(|wide| (wide.0, wide.1));
        Packed { words, wide }
    }

    /// How many slots there are.
    #[inline]
    pub fn slots(&self, layout: &RowLayout) -> usize {
        self.words.len() / layout.stride
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether there is no room that is not used.
    pub fn is_tight(&self) -> bool {
        self.words.len() == self.words.capacity()
    }

    /// Asks the processor for the first words.
    #[inline]
    pub fn near(&self) {
        prefetch_index(&self.words, 0);
    }

    /// Makes room for so many more slots; of few at first, and little more each time.
    pub fn reserve_little(&mut self, layout: &RowLayout, slots: usize, first: usize) {
        let words = slots * layout.stride;
        if self.words.capacity() - self.words.len() < words {
            let some = if self.words.is_empty() { first * words } else { self.words.len() / 4 };
            self.words.reserve_exact(words.max(some));
        }
    }

    /// The rows of the group of these words of a key.
    pub fn find<'a>(&'a self, layout: &'a RowLayout, key: &[u32]) -> GroupRows<'a> {
        let mut slots = self.words.chunks_exact(layout.stride);
        let (first, count) = match slots.position(|words| words.starts_with(key)) {
            Some(first) => (first, 1 + slots.take_while(|words| words.starts_with(key)).count()),
            None => (0, 0),
        };
        GroupRows { layout, packed: self, first, count }
    }

    /// Takes some slots out.
    pub fn remove(&mut self, layout: &RowLayout, first: usize, count: usize) {
        self.words.drain(first * layout.stride..(first + count) * layout.stride);
        self.wide.retain(|w| !(first..first + count).contains(&w.0));
        for wide in self.wide.iter_mut().filter(|w| w.0 > first) {
            wide.0 -= count;
        }
    }

    /// Adds the rows of a group, or a slot of its key if there are none.
    #[inline]
    pub fn add(&mut self, layout: &RowLayout, key: &GroupKey, rows: &[Values]) {
        let first = self.add_key(layout, key, rows.len().max(1));
        for (n, row) in rows.iter().enumerate() {
            self.write(layout, first + n, |col| row.get(col).copied().unwrap_or(Value::Null));
        }
    }

    /// Adds the row of a group, of these values by column.
    #[inline]
    pub fn add_row(&mut self, layout: &RowLayout, key: &GroupKey, value: impl Fn(usize) -> Value) {
        let slot = self.add_key(layout, key, 1);
        self.write(layout, slot, value);
    }

    /// Adds slots of a key; the first one.
    #[inline]
    fn add_key(&mut self, layout: &RowLayout, key: &GroupKey, slots: usize) -> usize {
        let from = self.words.len();
        self.words.resize(from + slots * layout.stride, 0);
        let new = self.words[from..].chunks_exact_mut(layout.stride);
        new.for_each(|slot| layout.write_key(key, slot));
        from / layout.stride
    }

    #[inline]
    fn write(&mut self, layout: &RowLayout, slot: usize, value: impl Fn(usize) -> Value) {
        let words = &mut self.words[slot * layout.stride..][..layout.stride];
        for (n, col) in layout.cols.iter().enumerate() {
            let value = value(n);
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

    /// Adds rows that are packed alike.
    pub fn extend(&mut self, rows: GroupRows<'_>) {
        let first = self.slots(rows.layout);
        self.words.extend_from_slice(rows.words());
        self.wide.extend(rows.wide().map(|(n, col, value)| (first + n, col, value)));
    }

    /// Puts rows that are packed alike in place of as many others.
    pub fn replace(&mut self, first: usize, rows: GroupRows<'_>) {
        let at = first * rows.layout.stride;
        self.words[at..][..rows.words().len()].copy_from_slice(rows.words());
        if rows.packed.wide.is_empty() && self.wide.is_empty() {
            return;
        }
        self.wide.retain(|w| !(first..first + rows.count).contains(&w.0));
        let place = self.wide.partition_point(|w| w.0 < first);
        let new = rows.wide().map(|(n, col, value)| (first + n, col, value));
        self.wide.splice(place..place, new);
    }

    /// A row.
    #[inline]
    pub fn row<'a>(&'a self, layout: &'a RowLayout, slot: usize) -> Row<'a> {
        Row { layout, packed: self, slot }
    }

    /// All slots as if they were rows of one group.
    pub fn all<'a>(&'a self, layout: &'a RowLayout) -> GroupRows<'a> {
        GroupRows { layout, packed: self, first: 0, count: self.slots(layout) }
    }

    /// All slots as rows.
    pub fn rows<'a>(&'a self, layout: &'a RowLayout) -> impl Iterator<Item = Row<'a>> + Clone {
        (0..self.slots(layout)).map(move |slot| self.row(layout, slot))
    }

    /// Those values of some slots that a cell cannot hold.
    fn wide_of(&self, first: usize, count: usize) -> &[(usize, usize, Value)] {
        let place = |slot: usize| self.wide.partition_point(|wide| wide.0 < slot);
        if self.wide.is_empty() { &[] } else { &self.wide[place(first)..place(first + count)] }
    }
}

impl<'a> GroupRows<'a> {
    /// The words of its key.
    #[inline]
    pub fn key_words(&self) -> &'a [u32] {
        &self.packed.words[self.first * self.layout.stride..][..self.layout.head]
    }

    /// Its key.
    pub fn key(&self) -> GroupKey {
        let row = self.packed.row(self.layout, self.first);
        GroupKey { window: row.window(), start: row.start(), keys: row.keys() }
    }

    /// Its rows.
    pub fn rows(self) -> impl Iterator<Item = Row<'a>> {
        (self.first..self.first + self.count).map(move |slot| self.packed.row(self.layout, slot))
    }

    /// Whether rows that are packed alike are the same.
    pub fn is_same(&self, other: GroupRows<'_>) -> bool {
        self.words() == other.words() && self.wide().eq(other.wide())
    }

    fn words(&self) -> &'a [u32] {
        let stride = self.layout.stride;
        &self.packed.words[self.first * stride..(self.first + self.count) * stride]
    }

    /// Values that a cell cannot hold: of which of the rows, and of which column.
    fn wide(self) -> impl Iterator<Item = (usize, usize, Value)> + use<'a> {
        let wide = self.packed.wide_of(self.first, self.count).iter();
        wide.map(move |(slot, col, value)| (slot - self.first, *col, *value))
    }
}

impl<'a> Row<'a> {
    /// The row as if it were all of its group.
    pub fn alone(self) -> GroupRows<'a> {
        GroupRows { layout: self.layout, packed: self.packed, first: self.slot, count: 1 }
    }

    #[inline]
    fn words(&self) -> &'a [u32] {
        &self.packed.words[self.slot * self.layout.stride..][..self.layout.stride]
    }

    fn wide(&self) -> &'a [(usize, usize, Value)] {
        self.packed.wide_of(self.slot, 1)
    }

    /// Asks the processor for it.
    #[inline]
    pub fn near(&self) {
        prefetch_index(&self.packed.words, self.slot * self.layout.stride);
    }

    /// The place of its window in the metric's list.
    #[inline]
    pub fn window(&self) -> u16 {
        self.layout.window_of(self.words())
    }

    /// The start of its window; [`NULL`] where it follows from `now` or there is none.
    #[inline]
    pub fn start(&self) -> i64 {
        self.layout.start_of(self.words())
    }

    /// The group keys.
    pub fn keys(&self) -> Cells {
        self.each_key().collect()
    }

    /// The same, one by one.
    #[inline]
    pub fn each_key(self) -> impl Iterator<Item = i64> + 'a {
        self.layout.keys.iter().map(move |col| col.read(self.words()))
    }

    /// One of them.
    #[inline]
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
                let wide = self.wide().iter().find(|wide| wide.1 == n);
                wide.map_or(Value::Null, |wide| wide.2)
            }
            cell if col.form == Form::Text => Value::Text(Sym::from_cell(cell)),
            cell => Value::Int(cell.into()),
        }
    }

    /// The value of a column if it is a plain integer: the quick way to most of them.
    #[inline]
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
