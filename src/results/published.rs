//! The published results as rows and as files.

use std::io::{self, Write};
use std::path::Path;
use std::thread;

use dataflows::metrics::value::NULL;

use super::order::{order, windows};
use super::{Format, Part, Printer, Row, extension, write};
use crate::cli::Failure;
use crate::publish::{self, Published, Reading, edges};

/// Rows whose lines one thread makes at a time.
const CHUNK: usize = 16 << 10;

/// The rows of a reading, in the order in which they are printed, at most `limit` a window (none:
/// as many as the metric's `limit` allows).
pub fn rows(reading: &Reading, limit: Option<usize>) -> Vec<Row> {
    let mut windows = windows(&reading.table);
    windows.iter_mut().for_each(|rows| order(reading.schema(), rows, limit));
    windows.into_iter().flatten().map(|r| row(reading, r)).collect()
}

fn row(reading: &Reading, row: publish::Row<'_>) -> Row {
    let (start, end) = match reading.schema().windows.get(usize::from(row.window())) {
        Some(w) => edges::edges(w, row.start(), reading.frontier, reading.ended),
        None => (NULL, NULL),
    };
    let (keys, values) = (row.keys().iter().copied().collect(), row.values());
    Row { window: row.window(), start, end, keys, values }
}

/// The files of all metrics, written but not yet under their names.
#[derive(Debug)]
pub struct Prepared(Vec<Part>);

impl Prepared {
    /// Writes what is to be `DIR/<metric>.<format>` for every metric.
    pub fn write(published: &Published, dir: &Path, format: Format) -> Result<Self, Failure> {
        let part = |reading: Reading| {
            let name = format!("{}.{}", reading.schema().name, extension(format));
            let part = Part::write(dir, &name, |out| write_reading(&reading, format, out));
            part.map_err(|error| {
                Failure::io(format_args!("writing {}", dir.join(&name).display()), &error)
            })
        };
        published.read_all().readings.into_iter().map(part).collect::<Result<_, _>>().map(Prepared)
    }

    /// Gives the files their names.
    pub fn rename(self) -> Result<(), Failure> {
        for part in self.0 {
            let path = part.path().display().to_string();
            part.rename().map_err(|e| Failure::io(format_args!("writing {path}"), &e))?;
        }
        Ok(())
    }
}

/// Writes the rows of a reading in their order; where they are many, on all cores.
fn write_reading(reading: &Reading, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let schema = reading.schema();
    if matches!(format, Format::Json | Format::Table) {
        return write(schema, &rows(reading, None), format, out);
    }
    let printer = Printer::new(schema);
    printer.header(format, out)?;
    let lines = |rows: Vec<publish::Row<'_>>| {
        let mut lines = Vec::new();
        let rows = rows.into_iter().map(|r| row(reading, r));
        printer.lines(rows, format, &mut lines).map(|()| lines)
    };
    let mut windows = windows(&reading.table);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = windows.len().div_ceil(cores).max(1);
    on_cores(windows.chunks_mut(share), |windows| {
        windows.iter_mut().for_each(|rows| order(schema, rows, None));
    });
    let mut rows = windows.into_iter().flatten();
    loop {
        let chunks = (0..cores).map(|_| rows.by_ref().take(CHUNK).collect::<Vec<_>>());
        let chunks: Vec<_> = chunks.filter(|rows| !rows.is_empty()).collect();
        if chunks.is_empty() {
            return Ok(());
        }
        for lines in on_cores(chunks.into_iter(), lines) {
            out.write_all(&lines?)?;
        }
    }
}

/// Does the work for each, all at once, the first in this thread; the answers in order.
fn on_cores<T: Send, R: Send>(
    mut each: impl Iterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let work = &work;
    thread::scope(|scope| {
        let first = each.next();
        let others: Vec<_> = each.map(|item| scope.spawn(move || work(item))).collect();
        let first = first.map(work);
        let others = others.into_iter().map(|t| t.join().expect("what is done does not panic"));
        first.into_iter().chain(others).collect()
    })
}
