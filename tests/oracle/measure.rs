//! Measures of a group's rows, by looking at all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::clean::{Cell, Record};
use super::metric::{Condition, Kind, Measure};
use super::model::Row;
use super::parse;

/// The value of a measure, exact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Out {
    /// None.
    Null,
    /// A number: numerator, denominator, whether it is a quotient.
    Number(i128, i128, bool),
    /// Nanoseconds since 1970-01-01 UTC.
    Time(i128),
    /// A text.
    Text(Arc<str>),
}

impl Out {
    /// A cell as it is shown.
    pub fn cell(cell: &Cell) -> Out {
        match cell {
            Cell::Null => Out::Null,
            Cell::Int(n) => Out::Number((*n).into(), 1, false),
            Cell::Fixed(n) => Out::Number((*n).into(), 10_000_000, false),
            Cell::Time(n) => Out::Time(*n),
            Cell::Text(t) => Out::Text(t.clone()),
        }
    }
}

/// What the columns of a row need beside the row.
#[derive(Clone, Debug)]
pub struct Columns {
    /// Label, least and greatest age.
    pub age_groups: Vec<(String, i64, i64)>,
}

impl Columns {
    /// The value of a column, given or derived, in a row; times to the microsecond.
    pub fn value(&self, row: &Row, name: &str) -> Cell {
        let get = |column: &str| match row.sides.iter().flatten().find_map(|r| own(r, column)) {
            Some(Cell::Time(t)) => Cell::Time(t.div_euclid(1000) * 1000),
            Some(cell) => cell,
            None => Cell::Null,
        };
        let call =
            |f: &str| Some(name.strip_prefix(f)?.strip_prefix('(')?.strip_suffix(')')?.trim());
        if let Some(column) = call("length") {
            return match get(column) {
                Cell::Text(t) => Cell::Int(t.chars().count() as i64),
                _ => Cell::Null,
            };
        }
        if let Some(column) = call("year") {
            return year(&get(column));
        }
        let metas = ["stream", "outcome", "reason", "column", "state"];
        if let Some(at) = metas.iter().position(|m| *m == name) {
            return row.meta[at].map_or(Cell::Null, |t| Cell::Text(t.into()));
        }
        match name {
            "ind" => row.index.map_or(Cell::Null, |i| Cell::Int(i as i64)),
            "post_year" => year(&get("timestamp")),
            "join_year" => year(&get("date_joined")),
            "hour_of_day" => match get("timestamp") {
                Cell::Time(t) => {
                    Cell::Int((t.div_euclid(parse::SECOND * 3600)).rem_euclid(24) as i64)
                }
                _ => Cell::Null,
            },
            "geo_cell" => match (get("latitude"), get("longitude")) {
                (Cell::Fixed(lat), Cell::Fixed(lon)) => {
                    // No cell begins at the pole or at the date line's eastern side.
                    let cell = |d: i64, last: i64| d.div_euclid(10_000_000).min(last);
                    Cell::Text(format!("{},{}", cell(lat, 89), cell(lon, 179)).into())
                }
                _ => Cell::Null,
            },
            "tags" => match get("tag_list") {
                Cell::Text(t) => Cell::Int(t.split(',').count() as i64),
                _ => Cell::Null,
            },
            "age_group" => match get("age") {
                Cell::Int(age) => self
                    .age_groups
                    .iter()
                    .find(|(_, from, to)| (*from..=*to).contains(&age))
                    .map_or(Cell::Null, |(label, _, _)| Cell::Text((&**label).into())),
                _ => Cell::Null,
            },
            column => get(column),
        }
    }

    /// Whether all conditions hold; a comparison with null never does.
    pub fn holds(&self, row: &Row, conditions: &[Condition]) -> bool {
        conditions.iter().all(|c| {
            let value = self.value(row, &c.column);
            match &*c.op {
                "is null" => return value == Cell::Null,
                "is not null" => return value != Cell::Null,
                _ if value == Cell::Null => return false,
                _ => {}
            }
            let order = value.cmp(&c.constant);
            match &*c.op {
                "=" | "==" => order.is_eq(),
                "!=" | "<>" => order.is_ne(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                ">=" => order.is_ge(),
                other => panic!("the oracle does not know {other}"),
            }
        })
    }
}

fn own(record: &Record, column: &str) -> Option<Cell> {
    super::clean::COLUMNS[record.stream as usize].contains(&column).then(|| record.cell(column))
}

fn year(cell: &Cell) -> Cell {
    match cell {
        Cell::Time(t) => Cell::Int(parse::civil(t.div_euclid(parse::SECOND * 86_400) as i64).0),
        _ => Cell::Null,
    }
}

/// The rows of values that a measure gives, and whether it saw anything but nulls. Ratios are
/// left null here.
pub fn measure(
    m: &Measure,
    rows: &[&Row],
    columns: &Columns,
    all_ties: bool,
) -> (Vec<Vec<Out>>, bool) {
    let rows: Vec<&&Row> = rows.iter().filter(|r| columns.holds(r, &m.filter)).collect();
    let values = |column: &str| -> Vec<Cell> {
        let all = rows.iter().map(|r| columns.value(r, column));
        all.filter(|c| *c != Cell::Null).collect()
    };
    let single = |out: Out, any: bool| (vec![vec![out]], any);
    let count = |n: usize| single(Out::Number(n as i128, 1, false), n > 0);
    match &m.kind {
        Kind::Count => count(rows.len()),
        Kind::CountOf(c) => count(values(c).len()),
        Kind::CountDistinct(c) => count(values(c).into_iter().collect::<BTreeSet<_>>().len()),
        Kind::Sum(c) => {
            let all = values(c);
            let (sum, unit) = sum(&all, unit(c));
            single(Out::Number(sum, unit, false), !all.is_empty())
        }
        Kind::Mean(c) => {
            let all = values(c);
            if all.is_empty() {
                return single(Out::Null, false);
            }
            let (sum, unit) = sum(&all, unit(c));
            single(Out::Number(sum, unit * all.len() as i128, true), true)
        }
        Kind::Min(c) => best(values(c).into_iter().min()),
        Kind::Max(c) => best(values(c).into_iter().max()),
        Kind::Quantile(c, num, den, interpolated) => {
            let mut all = values(c);
            all.sort();
            let out = quantile(&all, *num, *den, *interpolated);
            single(out, !all.is_empty())
        }
        Kind::Top(k, c) => top(*k, values(c), all_ties),
        Kind::Argmax(of, returning) => {
            let pairs = rows
                .iter()
                .map(|r| (columns.value(r, of), columns.value(r, returning)))
                .filter(|(v, r)| *v != Cell::Null && *r != Cell::Null);
            argmax(pairs.collect(), all_ties)
        }
        Kind::Ratio(..) => single(Out::Null, false),
    }
}

fn unit(column: &str) -> i128 {
    if matches!(column, "latitude" | "longitude") { 10_000_000 } else { 1 }
}

fn sum(cells: &[Cell], unit: i128) -> (i128, i128) {
    let number = |cell: &Cell| match cell {
        Cell::Int(n) | Cell::Fixed(n) => i128::from(*n),
        Cell::Time(t) => t / 1000,
        _ => panic!("the oracle does not add texts"),
    };
    (cells.iter().map(number).sum(), unit)
}

fn best(cell: Option<Cell>) -> (Vec<Vec<Out>>, bool) {
    let any = cell.is_some();
    (vec![vec![cell.map_or(Out::Null, |c| Out::cell(&c))]], any)
}

/// Of ascending values: the smallest whose rank reaches q*n, or between the two around q*(n-1).
fn quantile(all: &[Cell], num: i128, den: i128, interpolated: bool) -> Out {
    let n = all.len() as i128;
    if n == 0 {
        return Out::Null;
    }
    if !interpolated {
        let rank = ((num * n + den - 1) / den).max(1);
        return Out::cell(&all[rank as usize - 1]);
    }
    let place = num * (n - 1);
    let (low, part) = ((place / den) as usize, place % den);
    let high = (low + 1).min(all.len() - 1);
    let number = |cell: &Cell| match Out::cell(cell) {
        Out::Number(value, unit, _) => (value, unit),
        _ => panic!("the oracle interpolates numbers only"),
    };
    let ((a, unit), (b, _)) = (number(&all[low]), number(&all[high]));
    Out::Number(a * (den - part) + b * part, den * unit, true)
}

fn top(k: usize, values: Vec<Cell>, all_ties: bool) -> (Vec<Vec<Out>>, bool) {
    let mut counts: BTreeMap<Cell, i128> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let mut list: Vec<(Cell, i128)> = counts.into_iter().collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let least = list.get(k - 1).map_or(0, |(_, n)| *n);
    let keep = |at: usize, n: i128| if all_ties { n >= least } else { at < k };
    let shown: Vec<Vec<Out>> = list
        .iter()
        .enumerate()
        .filter(|(at, (_, n))| keep(*at, *n))
        .map(|(_, (value, n))| vec![Out::cell(value), Out::Number(*n, 1, false)])
        .collect();
    if shown.is_empty() { (vec![vec![Out::Null, Out::Null]], false) } else { (shown, true) }
}

fn argmax(pairs: Vec<(Cell, Cell)>, all_ties: bool) -> (Vec<Vec<Out>>, bool) {
    let Some(most) = pairs.iter().map(|(v, _)| v.clone()).max() else {
        return (vec![vec![Out::Null, Out::Null]], false);
    };
    let winners: BTreeSet<Cell> =
        pairs.into_iter().filter(|(v, _)| *v == most).map(|(_, r)| r).collect();
    let take = if all_ties { winners.len() } else { 1 };
    let row = |r: &Cell| vec![Out::cell(r), Out::cell(&most)];
    (winners.iter().take(take).map(row).collect(), true)
}
