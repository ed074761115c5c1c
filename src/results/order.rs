//! The order in which rows are shown: windows as they are declared and by start, then the first
//! measure descending (nulls last), then the keys, as the API has them.

use dataflows::metrics::schema::Schema;
use rustc_hash::FxHashMap;

use crate::publish::rank::Ranking;
use crate::publish::{Row, Table};

/// The rows of each window, windows in their order, rows in none.
pub fn windows(table: &Table) -> Vec<Vec<Row<'_>>> {
    let mut places: FxHashMap<(u16, i64), usize> = FxHashMap::default();
    let mut windows: Vec<((u16, i64), Vec<Row<'_>>)> = Vec::new();
    let mut at = 0;
    for row in table.rows() {
        let window = (row.window(), row.start());
        // Most rows follow one of their window.
        if windows.get(at).is_none_or(|w| w.0 != window) {
            at = *places.entry(window).or_insert(windows.len());
            if at == windows.len() {
                windows.push((window, Vec::new()));
            }
        }
        windows[at].1.push(row);
    }
    windows.sort_unstable_by_key(|(window, _)| *window);
    windows.into_iter().map(|(_, rows)| rows).collect()
}

/// Puts the rows of a window into their order and leaves the first `limit` (none: those that the
/// metric's `limit` allows). Rows of one group that are equal in the first measure keep their
/// order.
pub fn order(
    schema: &Schema,
    ranking: &Ranking<'_>,
    rows: &mut Vec<Row<'_>>,
    limit: Option<usize>,
) {
    ranking.sort(rows);
    rows.truncate(limit.or(schema.metric.limit).unwrap_or(usize::MAX));
}
