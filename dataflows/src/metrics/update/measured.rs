//! What rows give to their groups. Many rows are worked out together, column by column: what a node
//! asks of a row is looked at once for all of them.

use super::super::expr::all;
use super::super::plan::{Add, Adds, Node, Set};
use super::super::value::NULL;
use super::super::words::{Words, hash};

/// A row that came or went.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// Where its cells begin, among those of all rows.
    pub at: u32,
    /// That of its arrival; [`NULL`] if it has none.
    pub bucket: i64,
    /// How often it came (or, less than 0, went).
    pub diff: i64,
}

impl Came {
    /// Its cells, and those of the rows behind it.
    #[inline]
    pub fn cells<'a>(&self, all: &'a [i64]) -> &'a [i64] {
        &all[self.at as usize..]
    }
}

/// Rows of one node with what they give to each of their groups.
#[derive(Default)]
pub struct Measured {
    rows: Vec<Came>,
    /// The words of keys, row by row, and their hashes.
    keys: Vec<i64>,
    hashes: Vec<u64>,
    /// What is added, row by row.
    sums: Vec<i64>,
}

/// What one row gives.
#[derive(Clone, Copy)]
pub struct One<'a> {
    /// The words of its keys, and their hash.
    pub keys: &'a [i64],
    pub hash: u64,
    /// What is added.
    pub sums: &'a [i64],
}

impl Measured {
    /// Takes up some rows, in place of those before: such as pass the filter of a node.
    pub fn filter(&mut self, node: &Node, cells: &[i64], rows: &[Came]) -> &mut Self {
        self.take(rows);
        if !node.filter.is_empty() {
            self.rows.retain(|row| all(&node.filter, row.cells(cells)));
        }
        self
    }

    /// The same for rows that have passed it.
    pub fn take(&mut self, rows: &[Came]) -> &mut Self {
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self
    }

    /// Works out what they give.
    pub fn measure(&mut self, node: &Node, words: &Words, cells: &[i64]) {
        let count = self.rows.len();
        let (width, adds) = (words.key_width(), node.adds.len());
        self.keys.resize(count * width, 0);
        words.pack(cells, self.rows.iter().map(|row| row.at as usize), &mut self.keys);
        self.hashes.clear();
        match width {
            0 => self.hashes.resize(count, hash(&[])),
            _ => self.hashes.extend(self.keys.chunks_exact(width).map(hash)),
        }
        self.sums.resize(count * adds, 0);
        for (n, add) in node.adds.iter().enumerate() {
            let sums = self.sums.get_mut(n..).unwrap_or_default().iter_mut().step_by(adds);
            addends(add, cells, self.rows.iter().zip(sums));
        }
    }

    /// The rows.
    pub fn rows(&self) -> &[Came] {
        &self.rows
    }

    /// What one of them gives.
    #[inline]
    pub fn one(&self, n: usize, words: &Words) -> One<'_> {
        let (width, adds) = (words.key_width(), words.sums_count());
        One {
            keys: &self.keys[n * width..][..width],
            hash: self.hashes[n],
            sums: &self.sums[n * adds..][..adds],
        }
    }
}

/// What rows add to an additive cell.
fn addends<'a>(add: &Add, cells: &[i64], rows: impl Iterator<Item = (&'a Came, &'a mut i64)>) {
    let cell = |row: &Came, n: usize| cells[row.at as usize + n];
    let counts = |row: &Came| add.filter.is_empty() || all(&add.filter, row.cells(cells));
    match add.what {
        Adds::Rows => rows.for_each(|(row, sum)| *sum = i64::from(counts(row))),
        Adds::Values(n) => {
            rows.for_each(|(row, sum)| *sum = i64::from(cell(row, n) != NULL && counts(row)));
        }
        Adds::Sum(n) => rows.for_each(|(row, sum)| {
            *sum = match cell(row, n) {
                NULL => 0,
                _ if !counts(row) => 0,
                value => value,
            }
        }),
    }
}

/// What a row puts into a multiset, if anything: a value, and what is kept with it.
#[inline]
pub fn member(set: &Set, cells: &[i64]) -> Option<(i64, i64)> {
    let value = cells[set.value];
    if value == NULL || !all(&set.filter, cells) {
        return None;
    }
    match set.with {
        None => Some((value, NULL)),
        Some(with) => match cells[with] {
            NULL => None,
            with => Some((value, with)),
        },
    }
}
