//! What a metric shows of a group.

use smallvec::SmallVec;

use super::super::changes::Changes;
use super::super::plan::{MetricPlan, Show};
use super::super::value::{GroupKey, Value, Values};
use super::store::Group;

/// The rows of one group.
type Rows = SmallVec<[Values; 1]>;

/// Adds what the metric of a number shows of a group that is not gone; whether there was anything.
#[inline]
pub fn show(
    number: u16,
    metric: &MetricPlan,
    group: &mut Group<'_>,
    key: &GroupKey,
    changes: &mut Changes,
) -> bool {
    let rows = metric.within.as_ref().and_then(|within| within.rows);
    if rows.is_some_and(|rows| group.sum(rows) == 0) {
        return false;
    }
    if metric.only_sums {
        // As most do: one row, with no values in between.
        let sum = |n: usize| match metric.shows[n] {
            Show::Add { add, seen } => (group.sum(add), group.sum(seen) != 0),
            _ => (0, false),
        };
        let seen = metric.schema.metric.keep_empty || (0..metric.shows.len()).any(|n| sum(n).1);
        if seen {
            changes.part(number, &metric.layout).push_row(key, |n| Value::Int(sum(n).0));
        }
        return seen;
    }
    let rows = rows_of(metric, group);
    if !rows.is_empty() {
        changes.part(number, &metric.layout).push(key, &rows);
    }
    !rows.is_empty()
}

/// What a metric shows of a group: usually one row; more where `top` or tied winners are shown.
fn rows_of(metric: &MetricPlan, group: &mut Group<'_>) -> Rows {
    let mut seen = metric.schema.metric.keep_empty;
    if !metric.shows.iter().any(Show::has_winners) {
        let mut row = Values::new();
        for show in &metric.shows {
            let (value, had) = single(show, group);
            seen |= had;
            row.push(value);
        }
        return if seen { Rows::from_iter([row]) } else { Rows::new() };
    }
    // Columns, and whether each has one value for all rows.
    let mut columns: Vec<(Vec<Value>, bool)> = Vec::new();
    let mut height = 1;
    for show in &metric.shows {
        let winners = match show {
            Show::Top { set, k } => group.sets[*set].top(*k, metric.all_ties),
            Show::Argmax { set } => group.sets[*set].argmax(metric.all_ties),
            _ => {
                let (value, had) = single(show, group);
                seen |= had;
                columns.push((vec![value], true));
                continue;
            }
        };
        seen |= !winners.is_empty();
        height = height.max(winners.len());
        let (first, second) = winners.into_iter().unzip();
        columns.extend([(first, false), (second, false)]);
    }
    if !seen {
        return Rows::new();
    }
    let row = |r: usize| {
        let cell = |(column, single): &(Vec<Value>, bool)| {
            column.get(if *single { 0 } else { r }).copied().unwrap_or(Value::Null)
        };
        columns.iter().map(cell).collect()
    };
    (0..height).map(row).collect()
}

/// A measure of one value, and whether it saw anything but nulls.
fn single(show: &Show, group: &mut Group<'_>) -> (Value, bool) {
    match *show {
        Show::Add { add, seen } => (Value::Int(group.sum(add)), group.sum(seen) != 0),
        Show::Ratio { over, under, seen } => {
            let (over, under) = (group.sum(over), group.sum(under));
            (quotient(over, under), group.sum(seen) != 0)
        }
        Show::Distinct { set } => {
            let n = group.sets[set].distinct();
            (Value::Int(n as i128), n > 0)
        }
        Show::Quantile { set, num, den, interpolated } => {
            let values = group.sets[set].values();
            let value = values.map_or(Value::Null, |v| v.quantile(num, den, interpolated));
            (value, value != Value::Null)
        }
        Show::Min { set } | Show::Max { set } => {
            let least = matches!(show, Show::Min { .. });
            let value = group.sets[set]
                .values()
                .map_or(Value::Null, |v| if least { v.min() } else { v.max() });
            (value, value != Value::Null)
        }
        Show::Top { .. } | Show::Argmax { .. } => (Value::Null, false),
    }
}

/// A quotient, whose second number is positive; nothing is divided by zero.
fn quotient(over: i128, under: i128) -> Value {
    match under {
        0 => Value::Null,
        1.. => Value::Ratio(over, under),
        _ => Value::Ratio(over.wrapping_neg(), under.saturating_neg()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of sums of degrees both may be negative: a share was printed with the wrong sign.
    #[test]
    fn what_a_quotient_is_of_is_positive() {
        let ratio = |n, d| Value::Ratio(n, d);
        let all = [(5, 3), (-5, 3), (5, -3), (-5, -3), (0, -1)].map(|(n, d)| quotient(n, d));
        assert_eq!(all, [ratio(5, 3), ratio(-5, 3), ratio(-5, 3), ratio(5, 3), ratio(0, 1)]);
        assert_eq!(quotient(7, 0), Value::Null);
    }
}
