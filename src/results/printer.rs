//! The columns of a metric's rows, and their cells as text.

use std::borrow::Cow;
use std::io::{self, Write};

use dataflows::metrics::declare::Window;
use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{NULL, Value};
use dataflows::record::Type;

use super::cell::{self, Shown};
use super::{Format, Row};

/// A row that can be printed.
pub(super) trait Printed {
    /// Asks the processor for it, if that is worth it.
    fn near(&self) {}
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
    quotients: Vec<bool>,
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
        Printer { schema, columns, labels, quotients }
    }

    /// Which keys are texts.
    pub(super) fn texts(&self) -> Vec<usize> {
        let keys = self.schema.keys.iter().enumerate();
        keys.filter(|(_, key)| key.ty == Type::Text).map(|(n, _)| n).collect()
    }

    /// Whether a column of measures holds integers as they are.
    pub(super) fn is_plain(&self, value: usize) -> bool {
        self.schema.values[value].ty == Type::Int && !self.quotients[value]
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
            line.extend((n > 0).then(|| cell::separator(format)));
            cell::put_text(column.name, format, &mut line);
        }
        line.push(b'\n');
        out.write_all(&line)
    }
}
