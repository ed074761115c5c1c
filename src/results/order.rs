//! The order in which rows are shown: windows as they are declared and by start, then the first
//! measure descending (nulls last), then the keys by the bytes they are printed with.

use std::borrow::Cow;
use std::cmp::Ordering;

use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{NULL, Value};
use dataflows::record::Type;

use super::{Row, cell};

/// Puts rows into the order they are shown in, and leaves of each window the first `limit`
/// (none: those that the metric's `limit` allows). Rows of one group that are equal in the first
/// measure keep their order.
pub fn order(schema: &Schema, rows: &mut Vec<Row>, limit: Option<usize>) {
    let rank = schema.rank();
    let value = |row: &Row| row.values.get(rank).copied().unwrap_or(Value::Null);
    rows.sort_by(|a, b| {
        (a.window, a.start)
            .cmp(&(b.window, b.start))
            .then_with(|| compare(value(b), value(a)))
            .then_with(|| keys(schema, a, b))
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

fn keys(schema: &Schema, a: &Row, b: &Row) -> Ordering {
    for (i, field) in schema.keys.iter().enumerate() {
        let cell = |row: &Row| row.keys.get(i).copied().unwrap_or(NULL);
        let (x, y) = (cell(a), cell(b));
        if x != y {
            let (x, y) = (text(x, field.ty), text(y, field.ty));
            match x.as_bytes().cmp(y.as_bytes()) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
    }
    Ordering::Equal
}

/// A key as it is printed; null is empty.
fn text(cell: i64, ty: Type) -> Cow<'static, str> {
    match cell::show(Value::from_cell(cell, ty), ty, None, None) {
        cell::Shown::Text(text) => text,
        shown => shown.plain().into(),
    }
}

/// Values by size; null is less than any.
pub fn compare(a: Value, b: Value) -> Ordering {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.cmp(&b),
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Text(_), _) => Ordering::Less,
        (_, Value::Text(_)) => Ordering::Greater,
        (Value::Int(a), Value::Int(b)) => a.cmp(&b),
        (a, b) => {
            let fraction = |v| match v {
                Value::Ratio(n, d) => (n, d),
                Value::Int(n) => (n, 1),
                Value::Null | Value::Text(_) => (0, 1),
            };
            let ((an, ad), (bn, bd)) = (fraction(a), fraction(b));
            match (an.checked_mul(bd), bn.checked_mul(ad)) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => (an as f64 / ad as f64).total_cmp(&(bn as f64 / bd as f64)),
            }
        }
    }
}
