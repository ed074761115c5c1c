//! The rows of a table in another order, one behind the other.
//!
//! Promises: who goes through them in that order goes through memory in it.

use std::sync::Arc;

use super::{Packed, Row, Table};

impl Table {
    /// A list of the same rows: the n-th of [`Table::rows`] lies at the n-th of these places, which
    /// are 0 to the number of rows, each once.
    ///
    /// Panics if a place is beyond them.
    pub fn placed(&self, places: impl IntoIterator<Item = usize>) -> Self {
        let rows = places.into_iter().zip(self.rows());
        let buckets = vec![Arc::new(Packed::placed(&self.layout, self.rows, rows))];
        let layout = Arc::clone(&self.layout);
        Table { layout, buckets, base: 1, split: 0, listed: true, ..*self }
    }

    /// The row at a place of a list made by [`Table::placed`].
    ///
    /// Panics where it is read, if there is none.
    pub fn at(&self, place: usize) -> Row<'_> {
        self.buckets[0].row(&self.layout, place)
    }
}

#[cfg(test)]
mod tests {
    use dataflows::metrics::declare::Kind;
    use dataflows::metrics::schema::Schema;
    use dataflows::metrics::value::{GroupKey, NULL, Value, Values};

    use super::super::super::samples::{measure, metric};
    use super::*;

    #[test]
    fn rows_are_the_same_in_another_order() {
        let count = vec![measure("count", Kind::Count)];
        let schema = Schema::of(&metric("m", &["age"], count, Vec::new()));
        let mut table = Table::new(&schema);
        for age in 0..1000 {
            let key = GroupKey { window: 0, start: NULL, keys: [age][..].into() };
            // Some do not fit into a cell, and some of these are set again.
            let row = |n: i64| {
                let count = if n % 3 == 0 { i128::MAX - i128::from(n) } else { n.into() };
                Values::from_iter([Value::Int(count)])
            };
            table.set(&key, &[row(age + 1), row(age)]);
            table.set(&key, &[row(age), row(age + 3)]);
        }
        let rows: Vec<(i64, Value)> = table.rows().map(|row| (row.key(0), row.value(0))).collect();
        let place = |n: usize| n * 7 % rows.len();
        let placed = table.placed((0..rows.len()).map(place));
        assert_eq!((rows.len(), placed.groups()), (2000, table.groups()));
        for (n, row) in rows.iter().enumerate() {
            let at = placed.at(place(n));
            assert_eq!((at.key(0), at.value(0)), *row);
        }
    }
}
