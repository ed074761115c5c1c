//! Result rows as text: tab-separated, comma-separated, JSON, and aligned for people.
//!
//! Promises: equal rows give equal bytes, whatever order they came in; a file is there whole or
//! not at all.

mod answers;
mod cell;
mod file;
mod json;
mod order;
mod published;
#[cfg(test)]
mod tests;

use std::borrow::{Borrow, Cow};
use std::io::{self, Write};

use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{Cells, NULL, Value, Values};
use dataflows::record::Type;

pub use answers::{catalogue, csv_to_table, csv_to_tsv, outline};
pub use file::{check, extension};
pub use json::write_json;
pub use published::{Prepared, rows};

use cell::Shown;
use file::Part;

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
    /// The window's start, microseconds; [`NULL`] where the metric has no windows.
    pub start: i64,
    /// The window's end, exclusive, microseconds; [`NULL`] where the metric has no windows.
    pub end: i64,
    /// The group keys.
    pub keys: Cells,
    /// The columns of the measures.
    pub values: Values,
}

/// A printed column: its name and where its cells come from.
struct Column<'a> {
    name: &'a str,
    from: From,
}

/// Where a printed cell comes from.
#[derive(Clone, Copy)]
enum From {
    Window,
    Start,
    End,
    Key(usize),
    Value(usize),
}

/// How the rows of a schema are printed.
struct Printer<'a> {
    schema: &'a Schema,
    columns: Vec<Column<'a>>,
    labels: Vec<String>,
    quotients: Vec<bool>,
    /// Which columns of measures hold integers as they are.
    plain: Vec<bool>,
}

impl<'a> Printer<'a> {
    fn new(schema: &'a Schema) -> Self {
        let keys = schema.keys.iter().enumerate();
        let keys = keys.map(|(i, f)| Column { name: &f.name, from: From::Key(i) });
        let values = schema.values.iter().enumerate();
        let values = values.map(|(i, f)| Column { name: &f.name, from: From::Value(i) });
        let edges = [("window", From::Window), ("start", From::Start), ("end", From::End)];
        let edges = edges.map(|(name, from)| Column { name, from });
        let windows = !schema.windows.is_empty();
        let edges = edges.into_iter().filter(|_| windows);
        let all: Vec<Column<'a>> = edges.chain(keys).chain(values).collect();
        let columns = match &schema.metric.output.columns {
            None => all,
            Some(names) => {
                let find = |name: &String| all.iter().find(|c| c.name == name);
                let column = |c: &Column<'a>| Column { name: c.name, from: c.from };
                names.iter().filter_map(find).map(column).collect()
            }
        };
        let labels =
            schema.windows.iter().map(dataflows::metrics::declare::Window::label).collect();
        let quotients = schema.quotients();
        let integers = schema.values.iter().map(|f| f.ty == Type::Int);
        let plain = integers.zip(&quotients).map(|(integer, quotient)| integer && !quotient);
        let plain = plain.collect();
        Printer { schema, columns, labels, quotients, plain }
    }

    /// One cell of a row.
    fn cell<'r>(&'r self, row: &'r Row, from: From) -> Shown<'r> {
        let output = &self.schema.metric.output;
        let time = output.time.as_deref();
        match from {
            From::Window => match self.labels.get(usize::from(row.window)) {
                Some(label) => Shown::Text(Cow::Borrowed(label)),
                None => Shown::Null,
            },
            From::Start => self.edge(row.start),
            From::End => self.edge(row.end),
            From::Key(i) => {
                let ty = self.schema.keys[i].ty;
                let cell = row.keys.get(i).copied().unwrap_or(NULL);
                cell::show(Value::from_cell(cell, ty), ty, None, time)
            }
            From::Value(i) => {
                let value = row.values.get(i).copied().unwrap_or(Value::Null);
                let decimals = output.decimals.filter(|_| self.quotients[i]);
                cell::show(value, self.schema.values[i].ty, decimals, time)
            }
        }
    }

    /// An edge of a window.
    fn edge(&self, at: i64) -> Shown<'static> {
        let time = self.schema.metric.output.time.as_deref();
        cell::show(Value::from_cell(at, Type::Time), Type::Time, None, time)
    }

    /// The line of names, if there is one.
    fn header(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        let names = self.columns.iter().map(|c| Shown::Text(Cow::Borrowed(c.name)));
        if self.schema.metric.output.header { line(format, names, out) } else { Ok(()) }
    }

    /// Lines of separated cells, in the order the rows are given.
    fn lines<R: Borrow<Row>>(
        &self,
        rows: impl Iterator<Item = R>,
        format: Format,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let between = separator(format);
        // The rows of a window follow each other: its edges are made once.
        let mut edges = [None, None];
        for row in rows {
            let row = row.borrow();
            for (n, column) in self.columns.iter().enumerate() {
                if n > 0 {
                    out.write_all(between)?;
                }
                if let From::Value(i) = column.from
                    && let Some(Value::Int(v)) = row.values.get(i)
                    && self.plain[i]
                {
                    out.write_all(itoa::Buffer::new().format(*v).as_bytes())?;
                    continue;
                }
                let (edge, at) = match column.from {
                    From::Start => (&mut edges[0], row.start),
                    From::End => (&mut edges[1], row.end),
                    from => {
                        put(&self.cell(row, from), format, out)?;
                        continue;
                    }
                };
                match edge {
                    Some((was, shown)) if *was == at => put(shown, format, out)?,
                    _ => put(&edge.insert((at, self.edge(at))).1, format, out)?,
                }
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Writes the rows, in the order they are given.
pub fn write(schema: &Schema, rows: &[Row], format: Format, out: &mut dyn Write) -> io::Result<()> {
    let printer = Printer::new(schema);
    match format {
        Format::Json => write_json(schema, rows, None, out),
        Format::Tsv | Format::Csv => {
            printer.header(format, out)?;
            printer.lines(rows.iter(), format, out)
        }
        Format::Table => {
            let cells = |row: &Row| -> Vec<String> {
                printer.columns.iter().map(|c| printer.cell(row, c.from).plain()).collect()
            };
            let names = printer.columns.iter().map(|c| c.name.to_string()).collect();
            let lines: Vec<Vec<String>> = rows.iter().map(cells).collect();
            out.write_all(answers::align(names, &lines).as_bytes())
        }
    }
}

/// Writes one line of separated cells.
fn line<'a>(
    format: Format,
    cells: impl Iterator<Item = Shown<'a>>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for (i, cell) in cells.enumerate() {
        if i > 0 {
            out.write_all(separator(format))?;
        }
        put(&cell, format, out)?;
    }
    out.write_all(b"\n")
}

/// What stands between cells.
fn separator(format: Format) -> &'static [u8] {
    if format == Format::Csv { b"," } else { b"\t" }
}

/// Writes one cell, quoted or escaped where the format asks for it.
fn put(cell: &Shown<'_>, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match cell {
        Shown::Null => Ok(()),
        Shown::Number(text) => out.write_all(text.as_bytes()),
        Shown::Text(text) if format == Format::Csv => out.write_all(cell::csv(text).as_bytes()),
        Shown::Text(text) => out.write_all(cell::tsv(text).as_bytes()),
    }
}
