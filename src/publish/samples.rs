//! Metrics and changes for the tests of this module, of HTTP and of telemetry.

use std::sync::Arc;

use dataflows::metrics::changes::Changes;
use dataflows::metrics::declare::{Expr, Fact, Join, Key, Kind, Measure, Metric, Output, Ties};
use dataflows::metrics::declare::{Shape, Time, Window};
use dataflows::metrics::packed::RowLayout;
use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{Change, GroupKey, NULL, Value};
use dataflows::symbol::intern;
use dataflows::time::{HOUR, SECOND};

use super::{Frontier, Progress, Published};

impl Published {
    /// Shows an epoch of these changes.
    pub fn show(&self, frontier: Frontier, progress: Arc<Progress>, changes: Vec<Change>) {
        self.apply(frontier, progress, self.packed(changes));
    }

    /// Changes as workers give them.
    pub fn packed(&self, list: Vec<Change>) -> Changes {
        let layouts: Vec<_> = self.schemas().iter().map(|s| Arc::new(RowLayout::of(s))).collect();
        let mut changes = Changes::default();
        for Change { metric, key, rows } in list {
            changes.part(metric, &layouts[usize::from(metric)]).push(&key, &rows);
        }
        changes
    }
}

/// A measure without a filter.
pub fn measure(name: &str, kind: Kind) -> Measure {
    Measure { name: name.into(), returned: None, kind, filter: Vec::new() }
}

/// A measure that returns a column beside its value.
pub fn returning(returned: &str, name: &str, kind: Kind) -> Measure {
    Measure { returned: Some(returned.into()), ..measure(name, kind) }
}

/// A metric over arrivals with the usual settings.
pub fn metric(name: &str, keys: &[&str], measures: Vec<Measure>, windows: Vec<Window>) -> Metric {
    let key = |name: &&str| Key {
        name: (*name).into(),
        expr: Expr::from_name(name).expect("a known name"),
    };
    Metric {
        name: name.into(),
        meaning: "what it means".into(),
        fact: Fact::Arrivals([true, true, false]),
        join: Join::Newest,
        filter: Vec::new(),
        keys: keys.iter().map(key).collect(),
        distinct: Vec::new(),
        measures,
        windows,
        retain: None,
        ties: Ties::First,
        keep_empty: false,
        export: 100,
        limit: None,
        output: Output::default(),
    }
}

/// Windows that slide over arrivals.
pub fn sliding(sizes: &[i64]) -> Vec<Window> {
    let shape = |size: &i64| Shape::Sliding { size: *size, every: 10 * SECOND };
    sizes.iter().map(|size| Window { time: Time::Arrival, shape: shape(size) }).collect()
}

/// Arrivals by country and category in the last five minutes and hour, alone.
pub fn popularity() -> Published {
    let count = vec![measure("count", Kind::Count)];
    let windows = sliding(&[300 * SECOND, HOUR]);
    let keys = &["country", "category"];
    Published::new(vec![Schema::of(&metric("category_popularity", keys, count, windows))])
}

/// A group of texts with one row of values; without values it is gone.
pub fn row(metric: u16, window: u16, keys: &[Option<&str>], values: &[Value]) -> Change {
    let cell = |key: Option<&str>| key.map_or(NULL, |key| intern(key).cell());
    let key = GroupKey { window, start: NULL, keys: keys.iter().copied().map(cell).collect() };
    let row = values.iter().copied().collect();
    Change { metric, key, rows: if values.is_empty() { Vec::new() } else { vec![row] } }
}

/// A change of [`popularity`] in its first window; 0 = the group is gone.
pub fn change(country: Option<&str>, category: &str, count: i64) -> Change {
    let values = [Value::Int(count.into())];
    let values = if count == 0 { &[][..] } else { &values[..] };
    row(0, 0, &[country, Some(category)], values)
}

/// An epoch at 2018-03-04T05:06:07Z.
pub fn at(epoch: u64) -> Frontier {
    Frontier { run: 1, epoch, now: 1_520_139_967_000_000, ended: false }
}
