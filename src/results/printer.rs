//! The cells of a metric's rows as text, and lines of them.
//!
//! Promises: rows that are held packed are printed as they lie; what a window's rows have in common
//! is made once.

use std::borrow::Cow;
use std::io::{self, Write};

use dataflows::metrics::declare::Window;
use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{NULL, Value};
use dataflows::record::Type;
use dataflows::symbol::Sym;
use smallvec::SmallVec;

use super::cell::{self, Shown};
use super::{Format, Row};

/// So many rows are brought near before they are printed.
const AHEAD: usize = 32;

/// The texts of some rows' keys, row by row.
type Texts = SmallVec<[&'static str; 2 * AHEAD]>;

/// A window, if there is one at hand, and its name and edges as text.
type Edges = (Option<(u16, i64)>, [Vec<u8>; 3]);

/// A row that can be printed.
pub(super) trait Printed {
    /// The place of its window in the metric's list, and where it starts, if it stands there.
    fn window(&self) -> (u16, i64);
    /// The edges of its window, microseconds; [`NULL`] where there is none.
    fn edges(&self) -> (i64, i64);
    /// A group key.
    fn key(&self, n: usize) -> i64;
    /// The value of a column.
    fn value(&self, n: usize) -> Value;
    /// The value of a column if it is a plain integer; none: [`Printed::value`] has it.
    fn int(&self, n: usize) -> Option<i64>;
}

impl Printed for &Row {
    fn window(&self) -> (u16, i64) {
        (self.window, self.start)
    }

    fn edges(&self) -> (i64, i64) {
        (self.start, self.end)
    }

    fn key(&self, n: usize) -> i64 {
        self.keys.get(n).copied().unwrap_or(NULL)
    }

    fn value(&self, n: usize) -> Value {
        self.values.get(n).copied().unwrap_or(Value::Null)
    }

    fn int(&self, n: usize) -> Option<i64> {
        if let Some(Value::Int(v)) = self.values.get(n) { i64::try_from(*v).ok() } else { None }
    }
}

/// A printed column: its name and where its cells come from.
pub(super) struct Column<'a> {
    pub(super) name: &'a str,
    pub(super) from: From,
}

/// Where a printed cell comes from.
#[derive(Clone, Copy)]
pub(super) enum From {
    Window,
    Start,
    End,
    Key(usize),
    Value(usize),
}

/// How the rows of a schema are printed.
pub(super) struct Printer<'a> {
    pub(super) schema: &'a Schema,
    pub(super) columns: Vec<Column<'a>>,
    labels: Vec<String>,
    /// Which keys are texts.
    texts: Vec<usize>,
    quotients: Vec<bool>,
    /// Which columns of measures hold integers as they are.
    plain: Vec<bool>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
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
        let labels = schema.windows.iter().map(Window::label).collect();
        let quotients = schema.quotients();
        let integers = schema.values.iter().map(|f| f.ty == Type::Int);
        let plain = integers.zip(&quotients).map(|(integer, quotient)| integer && !quotient);
        let plain = plain.collect();
        let texts = schema.keys.iter().enumerate().filter(|(_, key)| key.ty == Type::Text);
        let texts = texts.map(|(n, _)| n).collect();
        Printer { schema, columns, labels, texts, quotients, plain }
    }

    /// One cell of a row.
    pub(super) fn cell(&self, row: &impl Printed, from: From) -> Shown<'_> {
        let output = &self.schema.metric.output;
        let time = output.time.as_deref();
        match from {
            From::Window => match self.labels.get(usize::from(row.window().0)) {
                Some(label) => Shown::Text(Cow::Borrowed(label)),
                None => Shown::Null,
            },
            From::Start => self.edge(row.edges().0),
            From::End => self.edge(row.edges().1),
            From::Key(i) => {
                let ty = self.schema.keys[i].ty;
                cell::show(Value::from_cell(row.key(i), ty), ty, None, time)
            }
            From::Value(i) => {
                let decimals = output.decimals.filter(|_| self.quotients[i]);
                cell::show(row.value(i), self.schema.values[i].ty, decimals, time)
            }
        }
    }

    /// An edge of a window.
    fn edge(&self, at: i64) -> Shown<'static> {
        let time = self.schema.metric.output.time.as_deref();
        cell::show(Value::from_cell(at, Type::Time), Type::Time, None, time)
    }

    /// The line of names, if there is one.
    pub(super) fn header(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        if !self.schema.metric.output.header {
            return Ok(());
        }
        let mut line = Vec::new();
        for (n, column) in self.columns.iter().enumerate() {
            line.extend_from_slice(if n > 0 { separator(format) } else { b"" });
            text(column.name, format, &mut line);
        }
        line.push(b'\n');
        out.write_all(&line)
    }

    /// Appends lines of separated cells, in the order the rows are given.
    pub(super) fn lines<L: Printed>(
        &self,
        mut rows: impl Iterator<Item = L>,
        format: Format,
        out: &mut Vec<u8>,
    ) {
        // The rows of a window follow each other.
        let mut edges = Edges::default();
        loop {
            let some: SmallVec<[L; AHEAD]> = rows.by_ref().take(AHEAD).collect();
            if some.is_empty() {
                return;
            }
            let texts = self.texts_of(&some);
            let mut texts = texts.chunks(self.texts.len().max(1));
            for row in &some {
                self.line(row, texts.next().unwrap_or_default(), &mut edges, format, out);
            }
        }
    }

    /// The texts of rows' keys, none for null. Rows are read, then where their texts are, then
    /// these, so that none of them waits for another's memory.
    fn texts_of(&self, rows: &[impl Printed]) -> Texts {
        for row in rows {
            std::hint::black_box(row.window());
        }
        let text = |cell| if cell == NULL { "" } else { Sym::from_cell(cell).as_str() };
        let of = |row| self.texts.iter().map(move |n| text(Printed::key(row, *n)));
        let texts: Texts = rows.iter().flat_map(of).collect();
        for text in &texts {
            std::hint::black_box(text.as_bytes().first().copied());
        }
        texts
    }

    /// Appends the line of a row; `texts` are those of its keys.
    fn line(
        &self,
        row: &impl Printed,
        texts: &[&str],
        edges: &mut Edges,
        format: Format,
        out: &mut Vec<u8>,
    ) {
        if edges.0 != Some(row.window()) {
            self.make_edges(row, edges, format);
        }
        let from = out.len();
        for (n, column) in self.columns.iter().enumerate() {
            out.extend_from_slice(if n > 0 { separator(format) } else { b"" });
            match column.from {
                From::Window => out.extend_from_slice(&edges.1[0]),
                From::Start => out.extend_from_slice(&edges.1[1]),
                From::End => out.extend_from_slice(&edges.1[2]),
                From::Key(i) if let Some(n) = self.texts.iter().position(|text| *text == i) => {
                    text(texts[n], format, out);
                }
                From::Value(i)
                    if self.plain[i]
                        && let Some(value) = row.int(i) =>
                {
                    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
                }
                from => put(&self.cell(row, from), format, out),
            }
        }
        if out.len() == from && format == Format::Csv {
            // An empty line is no record to many readers.
            out.extend_from_slice(b"\"\"");
        }
        out.push(b'\n');
    }

    /// Makes the texts of a row's window.
    fn make_edges(&self, row: &impl Printed, edges: &mut Edges, format: Format) {
        edges.0 = Some(row.window());
        for (text, from) in edges.1.iter_mut().zip([From::Window, From::Start, From::End]) {
            text.clear();
            put(&self.cell(row, from), format, text);
        }
    }
}

/// What stands between cells.
fn separator(format: Format) -> &'static [u8] {
    if format == Format::Csv { b"," } else { b"\t" }
}

/// Appends one cell, quoted or escaped where the format asks for it.
fn put(cell: &Shown<'_>, format: Format, out: &mut Vec<u8>) {
    match cell {
        Shown::Null => {}
        Shown::Number(number) => out.extend_from_slice(number.as_bytes()),
        Shown::Text(shown) => text(shown, format, out),
    }
}

fn text(text: &str, format: Format, out: &mut Vec<u8>) {
    let text = if format == Format::Csv { cell::csv(text) } else { cell::tsv(text) };
    out.extend_from_slice(text.as_bytes());
}
