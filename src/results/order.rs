//! The order in which rows are shown: windows as they are declared and by start, then the first
//! measure descending (nulls last), then the keys, as the API has them.

use dataflows::metrics::schema::Schema;

use crate::publish::{Row, answer};

/// Puts rows into the order they are shown in, and leaves of each window the first `limit`
/// (none: those that the metric's `limit` allows). Rows of one group that are equal in the first
/// measure keep their order.
pub fn order(schema: &Schema, rows: &mut Vec<Row<'_>>, limit: Option<usize>) {
    let by_rank = answer::by_rank(schema);
    let window = |row: &Row<'_>| (row.window(), row.start());
    rows.sort_by(|a, b| window(a).cmp(&window(b)).then_with(|| by_rank(a, b)));
    let Some(limit) = limit.or(schema.metric.limit) else { return };
    let (mut here, mut shown) = (None, 0);
    rows.retain(|row| {
        if here != Some(window(row)) {
            (here, shown) = (Some(window(row)), 0);
        }
        shown += 1;
        shown <= limit
    });
}
