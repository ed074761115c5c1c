//! The published results as rows and as files.

use std::path::Path;

use dataflows::metrics::value::NULL;

use super::{Format, Row, extension, order, write_file};
use crate::cli::Failure;
use crate::publish::{Published, Reading, edges};

/// The rows of a reading, in the order in which they are printed, at most `limit` a window (none:
/// as many as the metric's `limit` allows).
pub fn rows(reading: &Reading, limit: Option<usize>) -> Vec<Row> {
    let schema = reading.schema();
    let edges = |window: u16, start: i64| match schema.windows.get(usize::from(window)) {
        Some(w) => edges::edges(w, start, reading.frontier, reading.ended),
        None => (NULL, NULL),
    };
    let row = |row: crate::publish::Row<'_>| {
        let (start, end) = edges(row.window(), row.start());
        let (keys, values) = (row.keys().iter().copied().collect(), row.values());
        Row { window: row.window(), start, end, keys, values }
    };
    let mut rows: Vec<Row> = reading.table.rows().map(row).collect();
    order(schema, &mut rows, limit);
    rows
}

/// Writes `DIR/<metric>.<format>` for every metric.
pub fn write_all(published: &Published, dir: &Path, format: Format) -> Result<(), Failure> {
    for reading in published.read_all().readings {
        let schema = reading.schema();
        write_file(dir, schema, &rows(&reading, None), format).map_err(|error| {
            let name = format!("{}.{}", schema.name, extension(format));
            Failure::io(format_args!("writing {}", dir.join(name).display()), &error)
        })?;
    }
    Ok(())
}
