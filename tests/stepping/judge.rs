//! What is published beside what the oracle says, as texts that are equal when they mean the same.

use std::collections::{BTreeMap, BTreeSet};

use dataflows::metrics::declare::Window;
use dataflows::metrics::plan::Plan;
use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{GroupKey, NULL, Value, Values};
use dataflows::record::Type;
use dataflows::sealed::Tally;
use proptest::prelude::*;

use super::declared::Declared;
use super::inputs::PARTITIONS;
use crate::oracle::Stream;
use crate::oracle::clean::Verdict;
use crate::oracle::measure::{Columns, Out};
use crate::oracle::metric::default_age_groups;
use crate::oracle::model::Model;
use crate::oracle::rows::{Now, rows};

/// Where results are looked at.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)] // the epoch is there to be printed
pub struct Frontier {
    /// The epoch, counted from the process's start.
    pub epoch: usize,
    /// The clock, microseconds.
    pub now: i64,
    /// The bounded run has ended.
    pub ended: bool,
}

fn fraction(mut num: i128, mut den: i128) -> String {
    let (mut a, mut b) = (num.abs(), den.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (num, den) = (num / a.max(1), den / a.max(1));
    if den == 1 { num.to_string() } else { format!("{num}/{den}") }
}

fn ours(value: Value, ty: Type) -> String {
    let unit = if ty == Type::Fixed7 { 10_000_000 } else { 1 };
    match value {
        Value::Null => "null".into(),
        Value::Int(t) if ty == Type::Time => format!("at {t}"),
        Value::Int(n) => fraction(n, unit),
        Value::Ratio(a, b) => fraction(a, b * unit),
        Value::Text(text) => format!("{:?}", text.as_str()),
    }
}

fn theirs(out: &Out) -> String {
    match out {
        Out::Null => "null".into(),
        Out::Number(num, den, _) => fraction(*num, *den),
        Out::Time(nanos) => format!("at {}", nanos.div_euclid(1000)),
        Out::Text(text) => format!("{text:?}"),
    }
}

/// A row as a line: window, edges, keys, values.
fn line(window: usize, edges: Option<(i64, i64)>, keys: &[String], values: &[String]) -> String {
    format!("window {window} {edges:?} | {} | {}", keys.join(", "), values.join(", "))
}

fn edges(windows: &[Window], key: &GroupKey, at: Frontier) -> Option<(i64, i64)> {
    let window = windows.get(key.window as usize)?;
    if key.start != NULL {
        return Some((key.start, window.end(key.start)));
    }
    match window.shape {
        dataflows::metrics::declare::Shape::Sliding { size, every } => {
            Some(Window::latest(size, every, at.now, at.ended))
        }
        _ => None,
    }
}

fn line_of(schema: &Schema, key: &GroupKey, row: &Values, at: Frontier) -> String {
    let cells = key.keys.iter().zip(&schema.keys);
    let keys: Vec<_> = cells.map(|(c, f)| ours(Value::from_cell(*c, f.ty), f.ty)).collect();
    let values: Vec<_> = row.iter().zip(&schema.values).map(|(v, f)| ours(*v, f.ty)).collect();
    assert_eq!(row.len(), schema.values.len(), "a column each");
    line(key.window.into(), edges(&schema.windows, key, at), &keys, &values)
}

/// All metrics are the oracle's.
pub fn results(
    plan: &Plan,
    declared: &Declared,
    model: &Model,
    shown: &BTreeMap<(u16, GroupKey), Vec<Values>>,
    at: Frontier,
) -> Result<(), TestCaseError> {
    let columns = Columns { age_groups: default_age_groups() };
    for (n, (metric, right)) in plan.metrics.iter().zip(&declared.oracle).enumerate() {
        let mine = shown.iter().filter(|((m, _), _)| *m == n as u16);
        let schema = &metric.schema;
        let lines = mine.flat_map(|((_, key), rows)| {
            rows.iter().map(|row| line_of(schema, key, row, at)).collect::<Vec<_>>()
        });
        let mut ours: Vec<String> = lines.collect();
        let now = Now { at: at.now, ended: at.ended };
        let right = rows(right, model, &columns, now);
        let lines = right.iter().map(|row| {
            let keys: Vec<_> = row.keys.iter().map(|k| theirs(&Out::cell(k))).collect();
            let values: Vec<_> = row.values.iter().map(theirs).collect();
            line(row.window, row.edges, &keys, &values)
        });
        let mut theirs: Vec<String> = lines.collect();
        ours.sort();
        theirs.sort();
        if ours != theirs {
            let (a, b): (BTreeSet<_>, BTreeSet<_>) =
                (ours.iter().collect(), theirs.iter().collect());
            let only = |x: &BTreeSet<&String>, y: &BTreeSet<&String>| {
                let list: Vec<_> = x.difference(y).take(6).map(|l| format!("  {l}")).collect();
                list.join("\n")
            };
            return Err(TestCaseError::fail(format!(
                "{}\nat {at:?}: {} rows shown, {} right\nshown, but wrong:\n{}\nright, but not \
                 shown:\n{}",
                declared.text[n],
                ours.len(),
                theirs.len(),
                only(&a, &b),
                only(&b, &a)
            )));
        }
    }
    Ok(())
}

/// Every record ends in exactly one way, rejections and posts are the oracle's.
pub fn counts(
    model: &Model,
    tallies: &[Tally; 3],
    (posts, present): (u64, [u64; 3]),
) -> Result<(), TestCaseError> {
    for (tally, (source, name, _)) in tallies.iter().zip(PARTITIONS) {
        let mine = |s: &&crate::oracle::model::Seen| {
            (&*s.version.source, &*s.version.partition) == (source, name)
        };
        let count = |what: fn(&Verdict) -> bool| {
            model.seen.iter().filter(mine).filter(|s| what(&s.verdict)).count() as u64
        };
        prop_assert!(tally.holds(), "{tally:?}");
        prop_assert_eq!(tally.read, count(|_| true));
        prop_assert_eq!(tally.rejected, count(|v| matches!(v, Verdict::Rejected(..))));
    }
    let indexes: BTreeSet<u64> = model.sides.keys().map(|(_, index)| *index).collect();
    let of = |s: Stream| model.sides.keys().filter(|(stream, _)| *stream == s).count() as u64;
    prop_assert_eq!((posts, present), (indexes.len() as u64, Stream::ALL.map(of)));
    Ok(())
}
