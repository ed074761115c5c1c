//! Result rows as text: tab-separated, comma-separated, JSON, and aligned for people.
//!
//! Promises: equal rows give equal bytes, whatever order they came in; a file is there whole or
//! not at all.

mod answers;
mod cell;
mod file;
mod json;
mod lines;
mod order;
mod printer;
mod published;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{Cells, Values};

pub use answers::{catalogue, csv_to_table, csv_to_tsv, outline};
pub use file::{check, extension};
use json::write_json;
pub use published::{Prepared, rows};

use file::Part;
use lines::Lines;
use printer::Printer;

/// Rows whose lines are made at a time.
const CHUNK: usize = 16 << 10;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Tab-separated; within a text tab, line end, carriage return and backslash are `\t`, `\n`,
    /// `\r`, `\\`.
    Tsv,
    /// Comma-separated, quoted where needed (RFC 4180, lines end in `\n`).
    Csv,
    /// `{metric, windows: [{window, start, end, rows: [{...}]}]}`, as the API has it.
    Json,
    /// Aligned columns.
    Table,
}

/// One row of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The place of its window in the metric's list; 0 where it has none.
    pub window: u16,
    /// The window's start, microseconds; [`NULL`](dataflows::metrics::value::NULL) where the metric
    /// has no windows.
    pub start: i64,
    /// The window's end, exclusive, microseconds; likewise.
    pub end: i64,
    /// The group keys.
    pub keys: Cells,
    /// The columns of the measures.
    pub values: Values,
}

/// Writes the rows, in the order they are given.
pub fn write(schema: &Schema, rows: &[Row], format: Format, out: &mut dyn Write) -> io::Result<()> {
    let printer = Printer::new(schema);
    match format {
        Format::Json => write_json(schema, rows, out),
        Format::Tsv | Format::Csv => {
            printer.header(format, out)?;
            let mut lines = Vec::new();
            rows.chunks(CHUNK).try_for_each(|rows| {
                lines.clear();
                Lines::new(&printer, format).append(rows.iter(), &mut lines);
                out.write_all(&lines)
            })
        }
        Format::Table => {
            let cells = |row: &Row| -> Vec<String> {
                printer.columns.iter().map(|c| printer.cell(&row, c.from).plain()).collect()
            };
            let names = printer.columns.iter().map(|c| c.name.to_string()).collect();
            let lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
            out.write_all(answers::align(names, &lines).as_bytes())
        }
    }
}
