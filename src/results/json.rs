//! Rows as JSON, with columns in their order: `{metric, windows: [{window, start, end, rows}]}`.

use std::io::{self, Write};

use dataflows::metrics::schema::Schema;

use super::Row;
use super::cell::Shown;
use super::printer::{From, Printer};

/// Writes the rows, in the order they are given, as one document.
pub fn write_json(schema: &Schema, rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let printer = Printer::new(schema);
    out.write_all(b"{\"metric\":")?;
    quoted(&schema.name, out)?;
    out.write_all(b",\"windows\":[")?;
    let same = |a: &Row, b: &Row| (a.window, a.start) == (b.window, b.start);
    for (i, window) in rows.chunk_by(same).enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        for (name, from) in
            [("{\"window\":", From::Window), (",\"start\":", From::Start), (",\"end\":", From::End)]
        {
            out.write_all(name.as_bytes())?;
            edge(&printer, &window[0], from, out)?;
        }
        out.write_all(b",\"rows\":[")?;
        for (i, row) in window.iter().enumerate() {
            out.write_all(if i > 0 { b"," } else { b"" })?;
            object(&printer, row, out)?;
        }
        out.write_all(b"]}")?;
    }
    out.write_all(b"]}\n")
}

/// A window's name or edge, which are null where the metric has none; always by RFC 3339.
fn edge(printer: &Printer<'_>, row: &Row, from: From, out: &mut dyn Write) -> io::Result<()> {
    let at = match from {
        From::Start => row.start,
        From::End => row.end,
        _ => return value(&printer.cell(&row, from), out),
    };
    match at {
        dataflows::metrics::value::NULL => out.write_all(b"null"),
        at => quoted(&crate::publish::print::rfc3339(at), out),
    }
}

/// A row as an object of its keys and measures.
fn object(printer: &Printer<'_>, row: &Row, out: &mut dyn Write) -> io::Result<()> {
    let columns = printer.columns.iter();
    let columns = columns.filter(|c| matches!(c.from, From::Key(_) | From::Value(_)));
    out.write_all(b"{")?;
    for (i, column) in columns.enumerate() {
        out.write_all(if i > 0 { b"," } else { b"" })?;
        quoted(column.name, out)?;
        out.write_all(b":")?;
        value(&printer.cell(&row, column.from), out)?;
    }
    out.write_all(b"}")
}

fn value(shown: &Shown<'_>, out: &mut dyn Write) -> io::Result<()> {
    match shown {
        Shown::Null => out.write_all(b"null"),
        Shown::Number(text) => out.write_all(text.as_bytes()),
        Shown::Text(text) => quoted(text, out),
    }
}

fn quoted(text: &str, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(out, text).map_err(io::Error::from)
}
