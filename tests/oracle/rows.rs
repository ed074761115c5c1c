//! A metric's rows at a frontier: windows, groups, measures.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::clean::Cell;
use super::measure::{Columns, Out, measure};
use super::metric::{Fact, Kind, Metric, Shape, Window};
use super::model::{Model, Row};
use super::parse;

/// The clock at which results are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Microseconds since 1970-01-01 UTC.
    pub at: i64,
    /// A bounded run has ended: arrival windows reach beyond the last arrival.
    pub ended: bool,
}

/// A row of results.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    /// The place of the window in the metric's list; 0 where it has none.
    pub window: usize,
    /// Its edges, microseconds.
    pub edges: Option<(i64, i64)>,
    /// The group keys.
    pub keys: Vec<Cell>,
    /// The measures.
    pub values: Vec<Out>,
}

const DAY: i64 = 86_400_000_000;

/// The windows that hold a time, as edges in microseconds.
fn holding(shape: Shape, t: i64) -> Vec<(i64, i64)> {
    let start_of = |y: i64, m: u32| parse::day_number(y, m, 1).expect("a month") * DAY;
    match shape {
        Shape::Tumbling(size) => {
            let start = t.div_euclid(size) * size;
            vec![(start, start + size)]
        }
        Shape::Sliding(size, every) => {
            let first = t.div_euclid(every) * every + every;
            let ends = (0..).map(|n| first + n * every).take_while(|end| end - size <= t);
            ends.map(|end| (end - size, end)).collect()
        }
        Shape::Month => {
            let (y, m, _) = parse::civil(t.div_euclid(DAY));
            let next = if m == 12 { (y + 1, 1) } else { (y, m + 1) };
            vec![(start_of(y, m), start_of(next.0, next.1))]
        }
        Shape::Year => {
            let (y, _, _) = parse::civil(t.div_euclid(DAY));
            vec![(start_of(y, 1), start_of(y + 1, 1))]
        }
    }
}

/// The windows that a row counts in and that are shown now.
fn windows(
    metric: &Metric,
    window: &Window,
    row: &Row,
    columns: &Columns,
    now: Now,
) -> Vec<(i64, i64)> {
    let time = if window.event {
        match columns.value(row, "timestamp") {
            Cell::Time(nanos) => Some(nanos.div_euclid(1000) as i64),
            _ => None,
        }
    } else {
        row.arrived_at
    };
    let Some(t) = time else { return Vec::new() };
    let mut out = holding(window.shape, t);
    if let (Shape::Sliding(_, every), false) = (window.shape, window.event) {
        let last = now.at.div_euclid(every) * every + if now.ended { every } else { 0 };
        out.retain(|(_, end)| *end == last);
    } else if let Some(retain) = metric.retain {
        out.retain(|(_, end)| now.at < end + retain);
    }
    out
}

/// A window's place, its edges, the group keys.
type Group = (usize, Option<(i64, i64)>, Vec<Cell>);

/// All rows of a metric, in the order in which they are shown.
pub fn rows(metric: &Metric, model: &Model, columns: &Columns, now: Now) -> Vec<Shown> {
    let facts = match metric.fact {
        Fact::Sides(sides) if metric.bag => model.bag(sides),
        Fact::Sides(sides) => model.joined(sides),
        Fact::Arrivals(sides) => model.arrivals(sides),
        Fact::People => model.people(),
        Fact::Records => model.records(),
        Fact::Fields => model.fields(),
    };
    let mut groups: HashMap<Group, Vec<&Row>> = HashMap::new();
    for row in facts.iter().filter(|r| columns.holds(r, &metric.filter)) {
        let keys: Vec<Cell> = metric.keys.iter().map(|(_, c)| columns.value(row, c)).collect();
        if metric.windows.is_empty() {
            groups.entry((0, None, keys)).or_default().push(row);
            continue;
        }
        for (place, window) in metric.windows.iter().enumerate() {
            for edges in windows(metric, window, row, columns, now) {
                groups.entry((place, Some(edges), keys.clone())).or_default().push(row);
            }
        }
    }
    let mut out = Vec::new();
    for ((window, edges, keys), rows) in groups {
        for values in group(metric, rows, columns) {
            out.push(Shown { window, edges, keys: keys.clone(), values });
        }
    }
    order(&mut out, metric);
    out
}

/// The rows of one group.
fn group(metric: &Metric, mut rows: Vec<&Row>, columns: &Columns) -> Vec<Vec<Out>> {
    if !metric.distinct.is_empty() {
        let mut known = HashSet::new();
        rows.retain(|row| {
            let values: Vec<Cell> = metric.distinct.iter().map(|c| columns.value(row, c)).collect();
            known.insert(values)
        });
    }
    let mut parts = Vec::new();
    let mut any = false;
    for m in &metric.measures {
        let (shown, saw) = measure(m, &rows, columns, metric.all_ties);
        any |= saw;
        parts.push(shown);
    }
    if !any && !metric.keep_empty {
        return Vec::new();
    }
    let named: BTreeMap<&str, Out> = metric
        .measures
        .iter()
        .zip(&parts)
        .map(|(m, shown)| (&**m.names.last().expect("a name"), shown[0][0].clone()))
        .collect();
    for (m, shown) in metric.measures.iter().zip(&mut parts) {
        if let Kind::Ratio(a, b) = &m.kind {
            *shown = vec![vec![quotient(&named[&**a], &named[&**b])]];
        }
    }
    let lines = parts.iter().map(Vec::len).max().unwrap_or(0);
    let line = |at: usize| {
        let cells = parts.iter().flat_map(|shown| shown[at.min(shown.len() - 1)].clone());
        cells.collect()
    };
    (0..lines).map(line).collect()
}

fn quotient(a: &Out, b: &Out) -> Out {
    match (a, b) {
        (Out::Number(..), Out::Number(0, ..)) => Out::Null,
        (Out::Number(a, au, _), Out::Number(b, bu, _)) => {
            let sign = if *b < 0 { -1 } else { 1 };
            Out::Number(sign * a * bu, sign * b * au, true)
        }
        _ => Out::Null,
    }
}

/// A key as it is printed, for its bytes.
fn printed(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Int(n) => n.to_string(),
        Cell::Fixed(n) => super::print::fixed((*n).into()),
        Cell::Time(t) => super::print::moment(*t),
        Cell::Text(t) => t.to_string(),
    }
}

/// By window, then first measure descending, then keys by bytes; cut to the limit.
fn order(rows: &mut Vec<Shown>, metric: &Metric) {
    let first = match metric.measures[0].kind {
        Kind::Top(..) | Kind::Argmax(..) => 1,
        _ => 0,
    };
    let number = |out: &Out| match out {
        Out::Number(num, den, _) => (1, *num as f64 / *den as f64),
        Out::Time(t) => (1, *t as f64),
        _ => (0, 0.0),
    };
    rows.sort_by(|a, b| {
        let (x, y) = (number(&a.values[first]), number(&b.values[first]));
        let value = y.0.cmp(&x.0).then(y.1.total_cmp(&x.1));
        let place = (a.window, a.edges).cmp(&(b.window, b.edges));
        let keys = a.keys.iter().map(printed).cmp(b.keys.iter().map(printed));
        place.then(value).then(keys).then(a.values.cmp(&b.values))
    });
    if let Some(limit) = metric.limit {
        let mut held: HashMap<(usize, Option<(i64, i64)>), usize> = HashMap::new();
        rows.retain(|row| {
            let seen = held.entry((row.window, row.edges)).or_default();
            *seen += 1;
            *seen <= limit
        });
    }
}
