//! The order in which rows are shown: windows as they are declared and by start, then the first
//! measure descending (nulls last), then the keys, as the API has them.

use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::Value;

use super::Row;
use crate::publish::answer::by_keys;
use crate::publish::print;

/// Puts rows into the order they are shown in, and leaves of each window the first `limit`
/// (none: those that the metric's `limit` allows). Rows of one group that are equal in the first
/// measure keep their order.
pub fn order(schema: &Schema, rows: &mut Vec<Row>, limit: Option<usize>) {
    let rank = schema.rank();
    let value = |row: &Row| row.values.get(rank).copied().unwrap_or(Value::Null);
    rows.sort_by(|a, b| {
        (a.window, a.start)
            .cmp(&(b.window, b.start))
            .then_with(|| print::order(value(b), value(a)))
            .then_with(|| by_keys(schema, &a.keys, &b.keys))
    });
    let Some(limit) = limit.or(schema.metric.limit) else { return };
    let (mut window, mut shown) = (None, 0);
    rows.retain(|row| {
        if window != Some((row.window, row.start)) {
            (window, shown) = (Some((row.window, row.start)), 0);
        }
        shown += 1;
        shown <= limit
    });
}
