//! The published results as rows and as files.

use std::io::{self, Write};
use std::path::Path;
use std::thread;

use dataflows::metrics::value::NULL;

use super::{Format, Printer, Row, extension, order, write, write_file};
use crate::cli::Failure;
use crate::publish::{self, Published, Reading, edges};

/// Rows whose lines one thread makes at a time.
const PART: usize = 16 << 10;

/// The rows of a reading, in the order in which they are printed, at most `limit` a window (none:
/// as many as the metric's `limit` allows).
pub fn rows(reading: &Reading, limit: Option<usize>) -> Vec<Row> {
    ordered(reading, limit).into_iter().map(|r| row(reading, r)).collect()
}

fn ordered(reading: &Reading, limit: Option<usize>) -> Vec<publish::Row<'_>> {
    let mut rows = Vec::with_capacity(reading.table.groups());
    rows.extend(reading.table.rows());
    order(reading.schema(), &mut rows, limit);
    rows
}

fn row(reading: &Reading, row: publish::Row<'_>) -> Row {
    let (start, end) = match reading.schema().windows.get(usize::from(row.window())) {
        Some(w) => edges::edges(w, row.start(), reading.frontier, reading.ended),
        None => (NULL, NULL),
    };
    let (keys, values) = (row.keys().iter().copied().collect(), row.values());
    Row { window: row.window(), start, end, keys, values }
}

/// Writes `DIR/<metric>.<format>` for every metric.
pub fn write_all(published: &Published, dir: &Path, format: Format) -> Result<(), Failure> {
    for reading in published.read_all().readings {
        let name = format!("{}.{}", reading.schema().name, extension(format));
        write_file(dir, &name, |out| write_reading(&reading, format, out)).map_err(|error| {
            Failure::io(format_args!("writing {}", dir.join(name).display()), &error)
        })?;
    }
    Ok(())
}

/// Writes the rows of a reading in their order; lines of many rows are made on all cores.
fn write_reading(reading: &Reading, format: Format, out: &mut dyn Write) -> io::Result<()> {
    if matches!(format, Format::Json | Format::Table) {
        return write(reading.schema(), &rows(reading, None), format, out);
    }
    let printer = Printer::new(reading.schema());
    printer.header(format, out)?;
    let lines = |rows: &[publish::Row<'_>]| {
        let mut lines = Vec::with_capacity(rows.len() * 48);
        let rows = rows.iter().map(|r| row(reading, *r));
        printer.lines(rows, format, &mut lines).map(|()| lines)
    };
    let rows = ordered(reading, None);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for rows in rows.chunks(PART * cores) {
        let parts: Vec<io::Result<Vec<u8>>> = thread::scope(|scope| {
            let (first, others) = rows.split_at(rows.len().min(PART));
            let others = others.chunks(PART).map(|rows| scope.spawn(move || lines(rows)));
            let others: Vec<_> = others.collect();
            let others = others.into_iter().map(|t| t.join().expect("making lines does not panic"));
            [lines(first)].into_iter().chain(others).collect()
        });
        for part in parts {
            out.write_all(&part?)?;
        }
    }
    Ok(())
}
