//! Groups folded into series.

use dataflows::metrics::declare::Kind;
use dataflows::metrics::value::Value;
use rustc_hash::FxHashMap;

use super::label::Column;
use crate::publish::{Row, print};

/// One family of gauges.
pub struct Family {
    pub name: String,
    pub help: String,
    /// The column of its value.
    pub value: usize,
    /// The column of what is returned beside it; a label.
    pub returned: Option<usize>,
    /// Values of several groups can be added.
    pub additive: bool,
    /// A group without a value would change what several come to: one that is divided by 0.
    pub nulls_count: bool,
}

/// Whether the values of two groups add up to the value of both.
pub fn additive(kind: Kind) -> bool {
    matches!(kind, Kind::Count | Kind::CountOf(_) | Kind::Sum(_))
}

/// What the groups of one series come to.
#[derive(Clone, Copy, Debug)]
pub struct Acc {
    groups: u32,
    sum: i128,
    /// The value if there is one group.
    one: Value,
}

impl Acc {
    const EMPTY: Acc = Acc { groups: 0, sum: 0, one: Value::Null };

    fn add(&mut self, value: Value) {
        self.groups = self.groups.saturating_add(1);
        if value != Value::Null {
            self.one = value;
        }
        if let Value::Int(n) = value {
            self.sum = self.sum.saturating_add(n);
        }
    }

    fn merge(&mut self, other: Acc) {
        self.groups = self.groups.saturating_add(other.groups);
        self.sum = self.sum.saturating_add(other.sum);
        self.one = other.one;
    }

    /// The series' value; none of several groups that cannot be added.
    pub fn shown(&self, additive: bool) -> Option<Value> {
        match (additive, self.groups) {
            (true, _) => Some(Value::Int(self.sum)),
            (false, 1) if self.one != Value::Null => Some(self.one),
            (false, _) => None,
        }
    }
}

/// So many possible series are counted in place: some MiB for the time of a scrape.
const DENSE: u128 = 1 << 17;

/// The series of a family.
pub struct Folded {
    pub columns: Vec<Column>,
    value: usize,
    additive: bool,
    nulls_count: bool,
    /// By window and the places of the labels, as one number.
    series: FxHashMap<(u16, u128), Acc>,
}

impl Folded {
    /// No series yet.
    pub fn new(family: &Family, columns: Vec<Column>) -> Self {
        let Family { value, additive, nulls_count, .. } = *family;
        Folded { columns, value, additive, nulls_count, series: FxHashMap::default() }
    }

    /// Adds rows of a metric with so many windows. Where groups have several rows (`many`), a
    /// family without a returned label takes the first of each.
    pub fn add<'a>(&mut self, rows: impl Iterator<Item = Row<'a>>, windows: u16, many: bool) {
        let windows = windows.max(1);
        // Few possible series are counted in place, which is several times faster.
        let sizes: Vec<usize> = self.columns.iter().map(|c| c.size() as usize).collect();
        let sizes_wide = self.columns.iter().map(Column::size);
        let size = sizes_wide.fold(u128::from(windows), u128::saturating_mul);
        let size = if size <= DENSE { size as usize } else { 0 };
        let mut dense = vec![Acc::EMPTY; size];
        let first_only = many && self.columns.len() == rows_keys(&self.columns);
        let mut before: Option<Row<'a>> = None;
        for row in rows {
            let same = |b: &Row<'_>| {
                b.window() == row.window() && b.start() == row.start() && b.keys() == row.keys()
            };
            if first_only && before.as_ref().is_some_and(same) {
                continue;
            }
            if first_only {
                before = Some(row);
            }
            let value = match row.int(self.value) {
                Some(n) => Value::Int(n.into()),
                None => row.value(self.value),
            };
            if value == Value::Null && !self.nulls_count {
                continue;
            }
            let window = row.window();
            if size > 0 && window < windows {
                let places = self.columns.iter().zip(&sizes);
                let place = places.fold(0, |at, (c, size)| at * size + c.place(&row) as usize);
                dense[place * usize::from(windows) + usize::from(window)].add(value);
            } else {
                let place = self.columns.iter().fold(0u128, |at, column| {
                    at.saturating_mul(column.size()).saturating_add(column.place(&row).into())
                });
                self.series.entry((window, place)).or_insert(Acc::EMPTY).add(value);
            }
        }
        for (at, acc) in dense.into_iter().enumerate().filter(|(_, acc)| acc.groups > 0) {
            let window = at % usize::from(windows);
            self.series.insert((window as u16, at as u128 / u128::from(windows)), acc);
        }
        let additive = self.additive;
        self.series.retain(|_, acc| acc.shown(additive).is_some());
    }

    /// Keeps at most so many series; the least are folded into `other` of their window. Says how
    /// many were folded or left out.
    pub fn bound(&mut self, room: usize, windows: usize) -> u64 {
        if self.series.len() <= room {
            return 0;
        }
        if room < windows {
            // Not even `other` of each window fits: none is better than some that do not add up.
            let all = self.series.len() as u64;
            self.series.clear();
            return all;
        }
        let keep = room - windows;
        let mut all: Vec<((u16, u128), Acc)> = self.series.drain().collect();
        // `other` of everything, place 0, is what the rest is folded into.
        let worth = |acc: &Acc| acc.shown(self.additive).unwrap_or(Value::Null);
        all.sort_unstable_by(|a, b| {
            let other = (b.0.1 == 0).cmp(&(a.0.1 == 0));
            other.then(print::order(worth(&b.1), worth(&a.1))).then(a.0.cmp(&b.0))
        });
        let others = all.iter().take_while(|s| s.0.1 == 0).count();
        let rest = all.split_off(all.len().min(keep.max(others)));
        self.series.extend(all);
        let folded = rest.len() as u64;
        for ((window, _), acc) in rest {
            if self.additive {
                self.series.entry((window, 0)).or_insert(Acc::EMPTY).merge(acc);
            }
        }
        folded
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// The series: window, the labels' texts, what it comes to.
    pub fn iter(&self) -> impl Iterator<Item = (u16, Vec<String>, &Acc)> {
        self.series.iter().map(|((window, place), acc)| {
            let mut labels = Vec::with_capacity(self.columns.len());
            let mut at = *place;
            for column in self.columns.iter().rev() {
                labels.push(column.text(at % column.size()));
                at /= column.size();
            }
            labels.reverse();
            (*window, labels, acc)
        })
    }
}

/// How many of the labels are keys.
fn rows_keys(columns: &[Column]) -> usize {
    columns.iter().filter(|c| c.is_key()).count()
}
