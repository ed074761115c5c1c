//! Changes of an epoch on their way into tables.
//!
//! Promises: what tables show does not depend on how many threads put it there.

use std::panic::resume_unwind;

use dataflows::metrics::changes::Changes;

use super::Table;

/// So many changes, as after a restart, are worth a thread for each list of them.
const MANY: usize = 10_000;

/// Takes a list of changes up.
fn take(changes: Changes, tables: &mut [Table]) {
    for (metric, part) in changes.into_parts() {
        if let Some(table) = tables.get_mut(metric) {
            table.take(part);
        }
    }
}

/// The same; those of groups whose rows are other ones now.
pub(super) fn differing(changes: Changes, tables: &mut [Table]) -> Changes {
    let parts = changes.into_parts();
    let differing = parts.filter_map(|(metric, part)| {
        let table = tables.get_mut(metric)?;
        Some((metric, table.take_differing(part)))
    });
    differing.collect()
}

/// Takes lists of changes up, of which no two have a group in common. Where tables are empty and
/// there is much to do each list has a thread of its own.
pub(super) fn take_all(tables: &mut [Table], lists: Vec<Changes>) {
    let many = lists.iter().map(Changes::len).sum::<usize>() > MANY;
    let is_empty = tables.iter().all(|table| table.groups() == 0);
    // Lists are handed over as they are.
    if !(is_empty && many) || tables.iter().all(Table::is_list) {
        return lists.into_iter().for_each(|changes| take(changes, tables));
    }
    let count = lists.len();
    let empty = || tables.iter().map(|table| table.empty_like(count)).collect();
    let shares: Vec<(Changes, Vec<Table>)> = lists.into_iter().map(|l| (l, empty())).collect();
    let parts: Vec<Vec<Table>> = std::thread::scope(|scope| {
        let share = |(changes, mut tables): (Changes, Vec<Table>)| {
            scope.spawn(move || {
                take(changes, &mut tables);
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
