//! Changes of an epoch on their way into tables.
//!
//! Promises: what tables show does not depend on how many threads put it there.

use std::panic::resume_unwind;

use dataflows::metrics::changes::{Changes, Take};
use dataflows::metrics::value::{GroupKey, Values};

use super::Table;

/// So many changes, as after a restart, are worth a thread for each list of them.
const MANY: usize = 10_000;

/// Sets the rows of changes in tables.
struct Setting<'a>(&'a mut [Table]);

impl Take for Setting<'_> {
    fn looks_ahead(&self) -> bool {
        // Nothing is looked for in lists.
        !self.0.iter().all(Table::is_list)
    }

    fn near(&self, metric: u16, key: &GroupKey) {
        self.0.get(usize::from(metric)).into_iter().for_each(|table| table.near(key));
    }

    fn take(&mut self, metric: u16, key: &GroupKey, rows: &[Values]) {
        if let Some(table) = self.0.get_mut(usize::from(metric)) {
            table.set(key, rows);
        }
    }
}

/// The same, and remembers which groups had other rows.
struct Differing<'a> {
    to: Setting<'a>,
    seen: Changes,
}

impl Take for &mut Differing<'_> {
    fn looks_ahead(&self) -> bool {
        self.to.looks_ahead()
    }

    fn near(&self, metric: u16, key: &GroupKey) {
        self.to.near(metric, key);
    }

    fn take(&mut self, metric: u16, key: &GroupKey, rows: &[Values]) {
        let table = self.to.0.get(usize::from(metric));
        // A list is empty to begin with.
        if table.is_some_and(|table| table.is_list() || table.get(key) != rows) {
            self.seen.push(metric, key, rows);
            self.to.take(metric, key, rows);
        }
    }
}

/// Takes a list of changes up; those of groups whose rows are other ones now.
pub(super) fn differing(changes: Changes, tables: &mut [Table]) -> Changes {
    let mut differing = Differing { to: Setting(tables), seen: Changes::default() };
    changes.take_each(&mut differing);
    differing.seen
}

/// Takes lists of changes up, of which no two have a group in common. Where tables are empty and
/// there is much to do each list has a thread of its own.
pub(super) fn take_all(tables: &mut [Table], lists: Vec<Changes>) {
    let many = lists.iter().map(Changes::len).sum::<usize>() > MANY;
    let is_empty = tables.iter().all(|table| table.groups() == 0);
    if !(is_empty && many || tables.iter().all(Table::is_list)) {
        return lists.into_iter().for_each(|changes| changes.take_each(Setting(tables)));
    }
    let count = lists.len();
    let empty = || tables.iter().map(|table| table.empty_like(count)).collect();
    let shares: Vec<(Changes, Vec<Table>)> = lists.into_iter().map(|l| (l, empty())).collect();
    let parts: Vec<Vec<Table>> = std::thread::scope(|scope| {
        let share = |(changes, mut tables): (Changes, Vec<Table>)| {
            scope.spawn(move || {
                changes.take_each(Setting(&mut tables));
                tables
            })
        };
        let threads: Vec<_> = shares.into_iter().map(share).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|e| resume_unwind(e)))
            .collect()
    });
    let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
    for table in tables {
        table.absorb(parts.iter_mut().filter_map(Iterator::next).collect());
    }
}
