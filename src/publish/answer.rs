//! Answers: rows of a reading, chosen, ordered and printed.
//!
//! Promises: rows stand by the first measure descending, then by the keys (texts by their bytes,
//! whole numbers by their digits, null first), then as the group shows them; windows in the order
//! of the metric's list, then by start. So one frontier has one answer, byte for byte.

use std::collections::BTreeMap;
use std::fmt::Write;

use dataflows::metrics::schema::{Field, Schema};
use dataflows::metrics::value::{GroupKey, NULL, Value, Values};
use dataflows::record::Type;
use dataflows::symbol::Sym;

use super::edges::{edges, labels};
use super::print::{json, quoted, rfc3339, text};
use super::rank::{Places, Ranking};
use super::{Event, Frontier, Progress, Reading, Row, State};

/// Which rows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Keys by place with the text that they print as; empty = null. All must hold.
    pub keys: Vec<(usize, String)>,
    /// Names of windows; all must hold.
    pub windows: Vec<String>,
    /// Starts of windows, microseconds; all must hold.
    pub starts: Vec<i64>,
    /// At most so many rows a window.
    pub limit: Option<usize>,
}

impl Query {
    /// Whether a window of this name and with these edges is wanted.
    fn names(&self, window: Option<&str>, edges: Option<(i64, i64)>) -> bool {
        self.windows.iter().all(|name| window == Some(name))
            && self.starts.iter().all(|start| edges.is_some_and(|(at, _)| at == *start))
    }
}

/// One window of an answer.
pub struct Part<'a> {
    /// Its name; none where the metric has no windows.
    pub window: Option<&'a str>,
    /// Its edges, microseconds, the end exclusive.
    pub edges: Option<(i64, i64)>,
    /// Its rows, in order.
    pub rows: Vec<Row<'a>>,
}

/// The names of a reading's windows, in the order of the metric's list.
pub fn names(schema: &Schema) -> Vec<String> {
    labels(&schema.windows)
}

/// So many rows of a window are gathered before the best of them are chosen.
pub(super) fn room(limit: usize) -> usize {
    limit.saturating_mul(4).saturating_add(1024)
}

/// The wanted rows of a reading. `names` are its windows' [`names`].
pub fn answer<'a>(reading: &'a Reading, names: &'a [String], query: &Query) -> Vec<Part<'a>> {
    let schema = reading.schema();
    let mut parts: BTreeMap<(u16, i64), Vec<Row<'a>>> = BTreeMap::new();
    for (n, window) in schema.windows.iter().enumerate() {
        if window.slides() {
            parts.insert((n as u16, NULL), Vec::new());
        }
    }
    if schema.windows.is_empty() {
        parts.insert((0, NULL), Vec::new());
    }
    let wanted = Wanted::new(schema, &query.keys);
    for row in reading.table.rows().filter(|row| wanted.holds(|n| row.key(n))) {
        let rows = parts.entry((row.window(), row.start())).or_default();
        rows.push(row);
        if let Some(limit) = query.limit
            && rows.len() >= room(limit)
        {
            // Places of their own: those of all others would be found anew each time.
            Ranking::of(schema, rows.iter().copied(), &mut Places::default()).sort(rows);
            rows.truncate(limit);
        }
    }
    let mut places = Places::default();
    let ranking = Ranking::of(schema, parts.values().flatten().copied(), &mut places);
    let frame = |((window, start), mut rows): ((u16, i64), Vec<Row<'a>>)| {
        ranking.sort(&mut rows);
        rows.truncate(query.limit.unwrap_or(usize::MAX));
        let at = usize::from(window);
        let edges = schema.windows.get(at);
        Part {
            window: names.get(at).map(String::as_str),
            edges: edges.map(|w| edges_of(w, start, reading.frontier)),
            rows,
        }
    };
    parts.into_iter().map(frame).filter(|part| query.names(part.window, part.edges)).collect()
}

use edges as edges_of;

/// The keys of rows that are wanted: by place, with the text that they print as.
pub struct Wanted<'a> {
    fields: &'a [Field],
    keys: &'a [(usize, String)],
}

impl<'a> Wanted<'a> {
    /// Those of [`Query::keys`].
    pub fn new(schema: &'a Schema, keys: &'a [(usize, String)]) -> Self {
        Wanted { fields: &schema.keys, keys }
    }

    /// Whether all of them hold of a row whose keys are these.
    pub fn holds(&self, key: impl Fn(usize) -> i64) -> bool {
        self.keys.iter().all(|(n, want)| {
            let (cell, ty) = (key(*n), self.fields[*n].ty);
            match ty {
                _ if cell == NULL => want.is_empty(),
                Type::Text => Sym::from_cell(cell).as_str() == want,
                _ => {
                    let mut printed = String::new();
                    text(&mut printed, Value::from_cell(cell, ty), ty, None);
                    printed == *want
                }
            }
        })
    }
}

/// A group and its rows now.
type Changed = (GroupKey, Vec<Values>);

/// Writes rows as JSON objects.
pub struct Printer<'a> {
    schema: &'a Schema,
    /// `"name":` of the keys, then of the values.
    heads: Vec<String>,
}

impl<'a> Printer<'a> {
    /// For rows of this schema.
    pub fn new(schema: &'a Schema) -> Self {
        let head = |field: &Field| {
            let mut head = String::new();
            quoted(&mut head, &field.name);
            head.push(':');
            head
        };
        Printer { schema, heads: schema.keys.iter().chain(&schema.values).map(head).collect() }
    }

    fn row(&self, out: &mut String, keys: &[i64], values: Option<&dyn Fn(usize) -> Value>) {
        out.push('{');
        let columns = self.schema.keys.iter().zip(keys);
        let mut first = true;
        let mut comma = |out: &mut String| {
            if !std::mem::take(&mut first) {
                out.push(',');
            }
        };
        for (head, (field, cell)) in self.heads.iter().zip(columns) {
            comma(out);
            out.push_str(head);
            json(out, Value::from_cell(*cell, field.ty), field.ty);
        }
        if let Some(value) = values {
            let heads = self.heads[self.schema.keys.len()..].iter();
            for (n, (head, field)) in heads.zip(&self.schema.values).enumerate() {
                comma(out);
                out.push_str(head);
                json(out, value(n), field.ty);
            }
        }
        out.push('}');
    }

    /// A reading's answer, whole.
    pub fn answer(&self, reading: &Reading, parts: &[Part<'_>], positions: bool) -> String {
        let rows: usize = parts.iter().map(|p| p.rows.len()).sum();
        let mut out = String::with_capacity(256 + rows * 96);
        let progress = positions.then_some(&*reading.progress);
        self.open(&mut out, reading.frontier, reading.state, progress);
        for (n, part) in parts.iter().enumerate() {
            out.push_str(if n == 0 { "" } else { "," });
            frame(&mut out, part.window, part.edges);
            for (n, row) in part.rows.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                self.row(&mut out, &row.keys(), Some(&|n| row.value(n)));
            }
            out.push_str("]}");
        }
        out.push_str("]}");
        out
    }

    /// A change: in each window touched the rows of the groups that changed, as they are now,
    /// and the keys of those that are gone. None if nothing of it is wanted.
    pub fn change(
        &self,
        event: &Event,
        query: &Query,
        state: State,
        positions: bool,
    ) -> Option<String> {
        let (labels, wanted) = (names(self.schema), Wanted::new(self.schema, &query.keys));
        let frame_of = |(window, start): (u16, i64)| {
            let window = usize::from(window);
            let edges = self.schema.windows.get(window);
            let edges = edges.map(|w| edges_of(w, start, event.frontier));
            (labels.get(window).map(String::as_str), edges)
        };
        let mut parts: BTreeMap<(u16, i64), Vec<&Changed>> = BTreeMap::new();
        let named = |key: &GroupKey| {
            let (name, edges) = frame_of((key.window, key.start));
            query.names(name, edges)
        };
        for change in &event.changes {
            let (key, _) = change;
            if named(key) && wanted.holds(|n| key.keys[n]) {
                parts.entry((key.window, key.start)).or_default().push(change);
            }
        }
        if parts.is_empty() {
            return None;
        }
        let mut out = String::new();
        let progress = positions.then_some(&*event.progress);
        self.open(&mut out, event.frontier, state, progress);
        for (n, (part, changes)) in parts.into_iter().enumerate() {
            out.push_str(if n == 0 { "" } else { "," });
            let (name, edges) = frame_of(part);
            frame(&mut out, name, edges);
            let rows = changes.iter().flat_map(|(key, rows)| rows.iter().map(move |r| (key, r)));
            for (n, (key, row)) in rows.enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                let value = |n: usize| row.get(n).copied().unwrap_or(Value::Null);
                self.row(&mut out, &key.keys, Some(&value));
            }
            out.push_str("],\"gone\":[");
            let gone = changes.iter().filter(|(_, rows)| rows.is_empty());
            for (n, (key, _)) in gone.enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                self.row(&mut out, &key.keys, None);
            }
            out.push_str("]}");
        }
        out.push_str("]}");
        Some(out)
    }

    fn open(&self, out: &mut String, at: Frontier, state: State, progress: Option<&Progress>) {
        out.push_str("{\"metric\":");
        quoted(out, &self.schema.name);
        out.push_str(",\"frontier\":");
        frontier(out, at);
        if state == State::CatchingUp {
            out.push_str(",\"catching_up\":true");
        }
        if let Some(progress) = progress {
            let _ = write!(out, ",\"positions\":{}", progress.positions());
        }
        out.push_str(",\"windows\":[");
    }

    /// A reading's answer as CSV with a header: window columns where the metric has windows,
    /// then keys, then measures.
    pub fn csv(&self, parts: &[Part<'_>]) -> String {
        let windows = !self.schema.windows.is_empty();
        let fields = self.schema.keys.iter().chain(&self.schema.values);
        let heads = ["window", "start", "end"].iter().filter(|_| windows).copied();
        let heads: Vec<&str> = heads.chain(fields.map(|f| &*f.name)).collect();
        let mut out = String::new();
        line(&mut out, heads.into_iter());
        let mut cells: Vec<String> = Vec::new();
        for part in parts {
            for row in &part.rows {
                cells.clear();
                if windows {
                    cells.push(part.window.unwrap_or_default().into());
                    let edge = |at: Option<i64>| at.map(rfc3339).unwrap_or_default();
                    cells.push(edge(part.edges.map(|e| e.0)));
                    cells.push(edge(part.edges.map(|e| e.1)));
                }
                let keys = self.schema.keys.iter().zip(row.keys());
                let keys = keys.map(|(f, cell)| (Value::from_cell(cell, f.ty), f.ty));
                let values = self.schema.values.iter().enumerate();
                for (value, ty) in keys.chain(values.map(|(n, f)| (row.value(n), f.ty))) {
                    let mut cell = String::new();
                    text(&mut cell, value, ty, None);
                    cells.push(cell);
                }
                line(&mut out, cells.iter().map(String::as_str));
            }
        }
        out
    }
}

/// Appends a frontier as JSON.
pub fn frontier(out: &mut String, at: Frontier) {
    let (run, epoch, now) = (at.run, at.epoch, rfc3339(at.now));
    let _ = write!(out, "{{\"run\":{run},\"epoch\":{epoch},\"now\":\"{now}\"}}");
}

fn frame(out: &mut String, window: Option<&str>, edges: Option<(i64, i64)>) {
    let text = |text: Option<String>| serde_json::Value::from(text).to_string();
    let _ = write!(
        out,
        "{{\"window\":{},\"start\":{},\"end\":{},\"rows\":[",
        text(window.map(Into::into)),
        text(edges.map(|e| rfc3339(e.0))),
        text(edges.map(|e| rfc3339(e.1))),
    );
}

/// Appends a line of CSV, quoted where RFC 4180 asks for it, and where it would be empty: an empty
/// line is no record to many readers.
fn line<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>) {
    let from = out.len();
    for (n, cell) in cells.enumerate() {
        out.push_str(if n == 0 { "" } else { "," });
        if cell.contains(['"', ',', '\n', '\r']) {
            let _ = write!(out, "\"{}\"", cell.replace('"', "\"\""));
        } else {
            out.push_str(cell);
        }
    }
    if out.len() == from {
        out.push_str("\"\"");
    }
    out.push('\n');
}
