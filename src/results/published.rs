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
const PART: usize = 16 << 10;

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

/// Writes the rows of a reading in their order; lines of many rows are made on all cores.
fn write_reading(reading: &Reading, format: Format, out: &mut dyn Write) -> io::Result<()> {
    if matches!(format, Format::Json | Format::Table) {
        return write(reading.schema(), &rows(reading, None), format, out);
    }
    let printer = Printer::new(reading.schema());
    printer.header(format, out)?;
    let lines = |windows: &mut [Vec<publish::Row<'_>>]| {
        windows.iter_mut().for_each(|rows| order(reading.schema(), rows, None));
        let rows = windows.iter().flatten().map(|r| row(reading, *r));
        let mut lines = Vec::new();
        printer.lines(rows, format, &mut lines).map(|()| lines)
    };
    let mut windows = windows(&reading.table);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut rest = &mut windows[..];
    while !rest.is_empty() {
        let mut parts = Vec::with_capacity(cores);
        while parts.len() < cores && !rest.is_empty() {
            let len = part(rest);
            let (part, others) = rest.split_at_mut(len);
            parts.push(part);
            rest = others;
        }
        let made: Vec<io::Result<Vec<u8>>> = thread::scope(|scope| {
            let mut parts = parts.into_iter();
            let first = parts.next();
            let others: Vec<_> = parts.map(|part| scope.spawn(|| lines(part))).collect();
            let first = first.map(lines);
            let others = others.into_iter().map(|t| t.join().expect("making lines does not panic"));
            first.into_iter().chain(others).collect()
        });
        for lines in made {
            out.write_all(&lines?)?;
        }
    }
    Ok(())
}

/// How many windows at the front have [`PART`] rows together: all, if there are fewer.
fn part(windows: &[Vec<publish::Row<'_>>]) -> usize {
    let mut rows = 0;
    let enough = windows.iter().position(|window| {
        rows += window.len();
        rows >= PART
    });
    enough.map_or(windows.len(), |n| n + 1)
}
