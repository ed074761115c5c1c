//! The order in which rows are shown: windows as they are declared and by start, then the first
//! measure descending (nulls last), then the keys, as the API has them.
//!
//! Promises: the rows of a window lie side by side before they are put in order and printed: where
//! there are many, nobody waits for each of them twice.
//! Limits: while they are printed the rows of a metric are held a second time.

use dataflows::metrics::schema::Schema;
use rustc_hash::FxHashMap;

use crate::publish::Table;
use crate::publish::rank::Ranking;

/// The rows of a table, those of each window together, windows in their order.
pub struct Windows {
    table: Table,
    /// The places of rows in `table`.
    rows: Vec<usize>,
    /// Where those of each window end.
    ends: Vec<usize>,
}

impl Windows {
    /// Those of a table, the rows of a window in no order.
    pub fn of(table: &Table) -> Self {
        let mut numbers: FxHashMap<(u16, i64), u32> = FxHashMap::default();
        // Windows as they are met, with how many rows they have; and the window of each row.
        let mut met: Vec<((u16, i64), usize)> = Vec::new();
        let (mut of, mut at) = (Vec::new(), 0_u32);
        for row in table.rows() {
            let window = (row.window(), row.start());
            // Many rows follow one of their window.
            if met.get(at as usize).is_none_or(|(last, _)| *last != window) {
                at = *numbers.entry(window).or_insert(met.len() as u32);
                if at as usize == met.len() {
                    met.push((window, 0));
                }
            }
            met[at as usize].1 += 1;
            of.push(at);
        }
        let mut order: Vec<usize> = (0..met.len()).collect();
        order.sort_unstable_by_key(|n| met[*n].0);
        // Where the next row of each window goes.
        let (mut next, mut ends, mut end) = (vec![0; met.len()], Vec::with_capacity(met.len()), 0);
        for n in order {
            next[n] = end;
            end += met[n].1;
            ends.push(end);
        }
        let place = |at: u32| {
            let next = &mut next[at as usize];
            *next += 1;
            *next - 1
        };
        Windows { table: table.placed(of.into_iter().map(place)), rows: (0..end).collect(), ends }
    }

    /// How many rows there are, and windows.
    pub fn len(&self) -> (usize, usize) {
        (self.rows.len(), self.ends.len())
    }

    /// The places of each window's rows, and the table that they are in.
    pub fn each(&mut self) -> (&Table, impl Iterator<Item = &mut [usize]>) {
        let (mut rest, mut begin) = (&mut self.rows[..], 0);
        let each = self.ends.iter().map(move |end| {
            let (window, behind) = std::mem::take(&mut rest).split_at_mut(end - begin);
            (rest, begin) = (behind, *end);
            window
        });
        (&self.table, each)
    }
}

/// Puts a window's rows in order. Those of one group that are equal in the first measure keep
/// theirs.
pub fn sort(table: &Table, ranking: &Ranking<'_>, rows: &mut [usize]) {
    ranking.sort_by(rows, |place| table.at(*place));
}

/// The rows of a window that are shown, of all in order: as many as the metric's `limit` allows.
pub fn first_of<'w>(schema: &Schema, rows: &'w [usize]) -> &'w [usize] {
    &rows[..rows.len().min(schema.metric.limit.unwrap_or(usize::MAX))]
}
