//! One label of a family: where its values come from and which of them are shown.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use dataflows::metrics::declare::Kind;
use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{NULL, Value};
use dataflows::record::Type;
use dataflows::symbol::{Sym, intern};
use rustc_hash::FxHashMap;

use super::fold::additive;
use crate::config::Labels;
use crate::publish::{Row, print};

/// The label of all that is not shown by itself.
const OTHER: &str = "other";

/// Where a label's values stand in a row.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// Among the group keys.
    Key(usize),
    /// Among the values: what `top` and `argmax` return.
    Value(usize),
}

/// A label. The place of a shown value is its number; 0 is `other`.
#[derive(Clone)]
pub struct Column {
    pub name: String,
    source: Source,
    ty: Type,
    /// The cell of a text that is `other` itself: it has no label of its own, or two series would
    /// have one name, and one of them would be lost.
    other: i64,
    /// At most so many values a window, where none are named.
    export: Option<usize>,
    /// The places of named values, by cell.
    named: FxHashMap<i64, u32>,
    /// The places of chosen values, by window and cell.
    chosen: FxHashMap<(u16, i64), u32>,
    /// The shown values' cells, from place 1.
    cells: Vec<i64>,
}

impl Column {
    /// A label of a metric. Values are named under the key's own name or that of its column.
    pub fn new(schema: &Schema, source: Source, labels: &Labels) -> Self {
        let (field, column) = match source {
            Source::Key(n) => (&schema.keys[n], Some(schema.metric.keys[n].expr)),
            Source::Value(n) => (&schema.values[n], returned(schema, n)),
        };
        let by_column = || labels.named.get(&column?.name());
        let named = labels.named.get(&field.name).or_else(by_column);
        let mut column = Column {
            name: field.name.clone(),
            source,
            ty: field.ty,
            other: if field.ty == Type::Text { intern(OTHER).cell() } else { NULL },
            export: named.is_none().then_some(schema.metric.export),
            named: FxHashMap::default(),
            chosen: FxHashMap::default(),
            cells: Vec::new(),
        };
        for value in named.into_iter().flatten().filter(|_| field.ty == Type::Text) {
            let cell = intern(value).cell();
            column.cells.push(cell);
            column.named.insert(cell, column.cells.len() as u32);
        }
        column
    }

    fn choose(&mut self, window: u16, cell: i64) {
        self.cells.push(cell);
        self.chosen.insert((window, cell), self.cells.len() as u32);
    }

    /// The number of places, with `other`.
    pub fn size(&self) -> u128 {
        self.cells.len() as u128 + 1
    }

    /// The greatest number of places that it may ever have, with `other`.
    pub fn most(&self) -> u128 {
        self.export.map_or(self.size(), |n| n as u128 + 1)
    }

    /// Whether it is a group key.
    pub fn is_key(&self) -> bool {
        matches!(self.source, Source::Key(_))
    }

    /// The cell of a row; [`NULL`] also for `other`, and for values that no cell holds.
    fn cell(&self, row: &Row<'_>) -> i64 {
        let cell = match self.source {
            Source::Key(n) => row.key(n),
            Source::Value(n) => match row.value(n) {
                Value::Text(s) => s.cell(),
                Value::Int(v) => i64::try_from(v).unwrap_or(NULL),
                Value::Null | Value::Ratio(..) => NULL,
            },
        };
        if cell == self.other { NULL } else { cell }
    }

    /// The place of a row's value.
    pub fn place(&self, row: &Row<'_>) -> u32 {
        let cell = self.cell(row);
        let place = match self.export {
            None => self.named.get(&cell),
            Some(_) => self.chosen.get(&(row.window(), cell)),
        };
        place.copied().unwrap_or(0)
    }

    /// The text of a place.
    pub fn text(&self, place: u128) -> String {
        let Some(at) = place.checked_sub(1) else { return OTHER.into() };
        let mut text = String::new();
        let value = Value::from_cell(self.cells[at as usize], self.ty);
        print::text(&mut text, value, self.ty, None);
        text
    }

    /// The order of two cells of this label by bytes.
    fn by_bytes(&self, a: i64, b: i64) -> Ordering {
        match self.ty {
            Type::Text => Sym::from_cell(a).cmp(&Sym::from_cell(b)),
            _ => a.cmp(&b),
        }
    }
}

/// The expression that stands behind a returned column.
fn returned(schema: &Schema, column: usize) -> Option<dataflows::metrics::declare::Expr> {
    let name = &schema.values[column].name;
    let measure = schema.metric.measures.iter().find(|m| m.returned.as_ref() == Some(name))?;
    match measure.kind {
        Kind::Top { of, .. } => Some(of),
        Kind::Argmax { returning, .. } => Some(returning),
        _ => None,
    }
}

/// What a label's value is worth, for choosing the greatest: by value, then first by bytes.
#[derive(Clone, Copy)]
struct Worth {
    value: Value,
    /// The rank of the text among equals: greater comes first.
    cell: i64,
    text: bool,
}

impl Worth {
    fn new(value: Value, cell: i64, ty: Type) -> Self {
        Worth { value, cell, text: ty == Type::Text }
    }
}

impl Ord for Worth {
    fn cmp(&self, other: &Self) -> Ordering {
        print::order(self.value, other.value).then_with(|| {
            if self.text {
                Sym::from_cell(other.cell).cmp(&Sym::from_cell(self.cell))
            } else {
                other.cell.cmp(&self.cell)
            }
        })
    }
}

impl PartialOrd for Worth {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worth {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Worth {}

/// Chooses for each column without named values the greatest ones, by a value column.
pub fn keep_greatest<'a, I: Iterator<Item = Row<'a>>>(
    columns: &mut [Column],
    rows: impl Fn() -> I,
    value: usize,
    schema: &Schema,
) {
    let adds = kind_of(schema, value).is_some_and(additive);
    // Where the groups differ in this label alone each value stands in one row of a window.
    let alone = columns.len() == 1 && schema.keys.len() == 1;
    for column in columns.iter_mut() {
        let Some(export) = column.export else { continue };
        let mut best: BTreeMap<u16, BinaryHeap<Reverse<Worth>>> = BTreeMap::new();
        let mut offer = |window: u16, worth: Worth| {
            let heap = best.entry(window).or_default();
            if heap.len() < export {
                heap.push(Reverse(worth));
            } else if heap.peek().is_some_and(|Reverse(least)| worth > *least) {
                heap.pop();
                heap.push(Reverse(worth));
            }
            // The least that is kept, once as many as may be are.
            heap.peek().filter(|_| heap.len() >= export).map(|Reverse(least)| least.value)
        };
        if alone && matches!(column.source, Source::Key(_)) {
            let mut before = None;
            // Most rows are less than the least that is kept; that is all there is to see of them.
            let mut floors = vec![i64::MIN; schema.windows.len().max(1)];
            for row in rows() {
                let (window, cell) = (row.window(), column.cell(&row));
                let this = Some((window, cell));
                let floor = floors.get_mut(usize::from(window));
                let low = matches!((&floor, row.int(value)), (Some(f), Some(n)) if n < **f);
                if cell != NULL && this != before && !low {
                    let least = offer(window, Worth::new(row.value(value), cell, column.ty));
                    if let (Some(floor), Some(Value::Int(n))) = (floor, least) {
                        *floor = i64::try_from(n).unwrap_or(i64::MIN);
                    }
                }
                before = this;
            }
        } else {
            for ((window, cell), worth) in totals(column, rows(), value, adds) {
                offer(window, Worth::new(worth, cell, column.ty));
            }
        }
        for (window, heap) in best {
            let mut cells: Vec<i64> = heap.into_iter().map(|Reverse(w)| w.cell).collect();
            cells.sort_by(|a, b| column.by_bytes(*a, *b));
            for cell in cells {
                column.choose(window, cell);
            }
        }
    }
}

/// What each value of a column is worth over all groups: the sum of what can be added, else the
/// greatest.
fn totals<'a>(
    column: &Column,
    rows: impl Iterator<Item = Row<'a>>,
    value: usize,
    adds: bool,
) -> FxHashMap<(u16, i64), Value> {
    let mut totals: FxHashMap<(u16, i64), Value> = FxHashMap::default();
    for row in rows {
        let cell = column.cell(&row);
        if cell == NULL {
            continue;
        }
        let worth = row.value(value);
        let total = totals.entry((row.window(), cell)).or_insert(Value::Null);
        *total = match (*total, worth) {
            (Value::Int(a), Value::Int(b)) if adds => Value::Int(a.saturating_add(b)),
            (a, b) if print::order(a, b) == Ordering::Less => b,
            (a, _) => a,
        };
    }
    totals
}

fn kind_of(schema: &Schema, column: usize) -> Option<Kind> {
    let mut at = 0;
    for measure in &schema.metric.measures {
        at += usize::from(measure.returned.is_some());
        if at == column {
            return Some(measure.kind);
        }
        at += 1;
    }
    None
}
