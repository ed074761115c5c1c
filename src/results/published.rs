//! The published results as rows and as files.

use std::io::{self, Write};
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use dataflows::metrics::value::{NULL, Value};

use super::lines::Lines;
use super::order::{Windows, first_of, sort};
use super::printer::{Printed, Printer};
use super::{CHUNK, Format, Part, Row, extension, write};
use crate::cli::Failure;
use crate::publish::answer::Wanted;
use crate::publish::rank::{Places, Ranking};
use crate::publish::{self, Published, Reading, edges};

/// The rows of a reading whose keys are these ([`Wanted`]), in the order in which they are printed,
/// at most `limit` a window (none: as many as the metric's `limit` allows).
pub fn rows(reading: &Reading, keys: &[(usize, String)], limit: Option<usize>) -> Vec<Row> {
    let mut windows = Windows::of(&reading.table);
    let mut places = Places::default();
    let ranking = Ranking::of(reading.schema(), reading.table.rows(), &mut places);
    let (table, windows) = windows.each();
    let wanted = Wanted::new(reading.schema(), keys);
    let most = limit.or(reading.schema().metric.limit).unwrap_or(usize::MAX);
    let shown = windows.flat_map(|rows| {
        sort(table, &ranking, rows);
        let rows = rows.iter().map(|place| table.at(*place));
        rows.filter(|row| wanted.holds(|n| row.key(n))).take(most)
    });
    shown.map(|shown| row(reading, shown)).collect()
}

fn edges_of(reading: &Reading, row: publish::Row<'_>) -> (i64, i64) {
    match reading.schema().windows.get(usize::from(row.window())) {
        Some(w) => edges::edges(w, row.start(), reading.frontier),
        None => (NULL, NULL),
    }
}

fn row(reading: &Reading, row: publish::Row<'_>) -> Row {
    let (start, end) = edges_of(reading, row);
    let (keys, values) = (row.keys(), row.values());
    Row { window: row.window(), start, end, keys, values }
}

/// The files of all metrics, written but not yet under their names.
#[derive(Debug)]
pub struct Prepared(Vec<Part>);

impl Prepared {
    /// Writes what is to be `DIR/<metric>.<format>` for every metric.
    pub fn write(published: &Published, dir: &Path, format: Format) -> Result<Self, Failure> {
        let mut places = Places::default();
        let part = |reading: Reading| {
            let name = format!("{}.{}", reading.schema().name, extension(format));
            let write = |out: &mut dyn Write| write_reading(&reading, format, &mut places, out);
            let part = Part::write(dir, &name, write);
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

/// Writes the rows of a reading in their order; lines of separated cells on all cores, with places
/// that other readings' texts may have found.
pub(super) fn write_reading(
    reading: &Reading,
    format: Format,
    places: &mut Places,
    out: &mut dyn Write,
) -> io::Result<()> {
    let schema = reading.schema();
    if matches!(format, Format::Json | Format::Table) {
        return write(schema, &rows(reading, &[], None), format, out);
    }
    let printer = Printer::new(schema);
    printer.header(format, out)?;
    // Both look at all rows, and neither needs the other.
    let (mut windows, ranking) = thread::scope(|scope| {
        let ranking = scope.spawn(|| Ranking::of(schema, reading.table.rows(), places));
        (Windows::of(&reading.table), ranking.join().unwrap_or_else(|e| resume_unwind(e)))
    });
    let (rows, count) = windows.len();
    let each = (count * CHUNK).div_ceil(rows.max(1)).max(1);
    let (table, windows) = windows.each();
    let mut windows: Vec<&mut [usize]> = windows.collect();
    let in_some = |some: &mut [&mut [usize]]| {
        some.iter_mut().for_each(|rows| sort(table, &ranking, rows));
    };
    in_order(windows.chunks_mut(each), in_some, |()| io::Result::Ok(()))?;
    let windows: Vec<_> = windows.into_iter().map(|rows| first_of(schema, rows)).collect();
    let lines = |parts: Vec<&[usize]>| {
        let mut lines = Vec::new();
        let rows = parts.into_iter().flatten();
        let rows = rows.map(|place| Shown { reading, row: table.at(*place) });
        Lines::new(&printer, format).append(rows, &mut lines);
        lines
    };
    in_order(parts(&windows), lines, |lines: Vec<u8>| out.write_all(&lines))
}

/// A row as it is published.
struct Shown<'r> {
    reading: &'r Reading,
    row: publish::Row<'r>,
}

impl Printed for Shown<'_> {
    fn near(&self) {
        self.row.near();
    }

    fn window(&self) -> (u16, i64) {
        (self.row.window(), self.row.start())
    }

    fn edges(&self) -> (i64, i64) {
        edges_of(self.reading, self.row)
    }

    fn key(&self, n: usize) -> i64 {
        self.row.key(n)
    }

    fn value(&self, n: usize) -> Value {
        self.row.value(n)
    }

    fn int(&self, n: usize) -> Option<i64> {
        self.row.int(n)
    }
}

/// Windows, in parts of about [`CHUNK`] rows: of many small ones, or of one.
fn parts<'w, T>(windows: &[&'w [T]]) -> impl Iterator<Item = Vec<&'w [T]>> {
    let mut pieces = windows.iter().flat_map(|rows| rows.chunks(CHUNK));
    std::iter::from_fn(move || {
        let (mut part, mut rows) = (Vec::new(), 0);
        while rows < CHUNK
            && let Some(piece) = pieces.next()
        {
            rows += piece.len();
            part.push(piece);
        }
        (!part.is_empty()).then_some(part)
    })
}

/// Does the work for each on all cores, and takes the answers in order until one is refused.
fn in_order<T: Send, R: Send, E>(
    each: impl Iterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let work = &work;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut shares: Vec<Vec<T>> = (0..cores).map(|_| Vec::new()).collect();
    each.enumerate().for_each(|(n, item)| shares[n % cores].push(item));
    thread::scope(|scope| {
        let answers = shares.into_iter().filter(|share| !share.is_empty()).map(|share| {
            // One answer may wait: memory does not depend on how many there are.
            let (give, answers) = crossbeam_channel::bounded(1);
            scope.spawn(move || share.into_iter().try_for_each(|item| give.send(work(item))));
            answers
        });
        let answers: Vec<_> = answers.collect();
        // Share after share has one answer more, or none any more.
        let mut next = answers.iter().cycle().map_while(|answers| answers.recv().ok());
        next.try_for_each(&mut take)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_all_rows_in_order() {
        for sizes in [vec![], vec![0, 0], vec![3; 20_000], vec![5 * CHUNK + 1, 0, 7]] {
            let mut next = 0..;
            let windows: Vec<Vec<usize>> =
                sizes.iter().map(|n| next.by_ref().take(*n).collect()).collect();
            let windows: Vec<&[usize]> = windows.iter().map(Vec::as_slice).collect();
            let parts: Vec<Vec<&[usize]>> = parts(&windows).collect();
            let rows = |part: &Vec<&[usize]>| part.iter().map(|piece| piece.len()).sum::<usize>();
            assert!(parts.iter().all(|part| rows(part) < 2 * CHUNK));
            let all: Vec<usize> = parts.concat().concat();
            assert!(all.iter().copied().eq(0..sizes.iter().sum()));
        }
    }

    #[test]
    fn answers_come_in_order_until_one_is_refused() {
        for items in [0, 1, 2, 3, 1000] {
            let mut taken = Vec::new();
            let done = in_order(
                0..items,
                |n| n * 2,
                |n| {
                    taken.push(n);
                    if n == 666 { Err(n) } else { Ok(()) }
                },
            );
            let last = items.min(334);
            assert_eq!(taken, (0..last).map(|n| n * 2).collect::<Vec<_>>());
            assert_eq!(done, if items > 333 { Err(666) } else { Ok(()) });
        }
    }
}
