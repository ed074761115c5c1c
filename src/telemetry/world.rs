//! `pinflow_world_...`: the declared metrics as gauges with bounded label sets.
//!
//! A metric with one measure is one family, `pinflow_world_<metric>`; with several, one family
//! each, `pinflow_world_<metric>_<measure>`. Labels are the group keys, the value that `top` and
//! `argmax` return, and `window` where there are windows.
//!
//! Promises: families have names of their own: one that another has already ends in `_`. A key
//! that the configuration names values for (`labels.country`) shows these; of any other key the
//! `export` greatest values are shown, by the first measure and then by bytes; all else, null and
//! the text `other` too, is `other`. For counts and sums the parts and `other` add up to
//! the whole, whatever the bounds. `other` of any other measure (a median cannot be added) is
//! there only if it stands for one group. A scrape never exceeds `max_series`, and a metric never
//! `max_series_per_metric`: what is beyond is folded into `other` and counted.
//! Limits: windows that are tied to the calendar or to events are shown of metrics without group
//! keys alone, and of them the newest that has begun: a gauge of every past hour is no gauge.

mod fold;
mod label;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use dataflows::metrics::declare::{Kind, Window};
use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{NULL, Value};
use dataflows::record::Type;

use self::fold::{Acc, Family, Folded};
use self::label::{Column, Source};
use super::expose::Text;
use crate::config::Labels;
use crate::publish::answer::names;
use crate::publish::{Picture, Reading, print};

/// Writes the families of all metrics; says of which metrics how many series were folded or left
/// out for lack of room.
pub fn write(text: &mut Text, picture: &Picture, labels: &Labels) -> Vec<(String, u64)> {
    let named = |r: &&Reading| is_name(&r.schema().name);
    let readings = picture.readings.iter().filter(named);
    let mut left = labels.max_series;
    let mut overflow = Vec::new();
    let mut taken = BTreeSet::new();
    for reading in readings {
        let room = left.min(labels.max_series_per_metric);
        let mut families = families(reading.schema());
        // Of every metric, also of one without a row: names do not change with the data.
        families.iter_mut().for_each(|family| distinguish(&mut family.name, &mut taken));
        let (used, folded) = metric(text, reading, families, labels, room);
        left -= used;
        if folded > 0 {
            overflow.push((reading.schema().name.clone(), folded));
        }
    }
    overflow
}

/// Names that stand for files of `--results` alone are no metric names.
fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The greatest number of series that a metric may ever have.
pub fn bound(schema: &Schema, labels: &Labels) -> usize {
    if !is_name(&schema.name) {
        return 0;
    }
    let shown = |w: &&Window| w.slides() || schema.keys.is_empty();
    let windows = match schema.windows.len() {
        0 => 1,
        _ => schema.windows.iter().filter(shown).count(),
    };
    let most = |source| Column::new(schema, source, labels).most();
    let keys = (0..schema.keys.len()).map(|n| most(Source::Key(n)));
    let keys = keys.fold(1, u128::saturating_mul);
    let one = |f: &Family| keys.saturating_mul(f.returned.map_or(1, |n| most(Source::Value(n))));
    let all = families(schema).iter().map(one).fold(0, u128::saturating_add);
    let cap = labels.max_series.min(labels.max_series_per_metric) as u128;
    all.saturating_mul(windows as u128).min(cap) as usize
}

/// Makes a name one that is not taken, and takes it.
fn distinguish(name: &mut String, taken: &mut BTreeSet<String>) {
    while name.is_empty() || !taken.insert(name.clone()) {
        name.push('_');
    }
}

fn metric(
    text: &mut Text,
    reading: &Reading,
    families: Vec<Family>,
    labels: &Labels,
    room: usize,
) -> (usize, u64) {
    let schema = reading.schema();
    let starts = starts(reading);
    let mut folded = 0;
    if starts.iter().all(Option::is_none) {
        return (0, 0);
    }
    let shown = |row: &crate::publish::Row<'_>| {
        starts.get(usize::from(row.window())).copied().flatten() == Some(row.start())
    };
    let rows = || reading.table.rows().filter(shown);
    let mut keys: Vec<Column> =
        (0..schema.keys.len()).map(|n| Column::new(schema, Source::Key(n), labels)).collect();
    let lead = schema.rank();
    label::keep_greatest(&mut keys, rows, lead, schema);
    let mut used = 0;
    for family in families {
        let mut columns = keys.clone();
        if let Some(n) = family.returned {
            let mut column = vec![Column::new(schema, Source::Value(n), labels)];
            label::keep_greatest(&mut column, rows, family.value, schema);
            columns.append(&mut column);
        }
        let windows = starts.iter().flatten().count();
        let mut series = Folded::new(&family, columns);
        let list = schema.windows.len() as u16;
        series.add(rows(), list, schema.metric.measures.iter().any(|m| m.returned.is_some()));
        folded += series.bound(room - used, windows);
        used += series.len();
        series_of(text, schema, &family, &series);
    }
    (used, folded)
}

/// Which window of each of the metric's list is shown: its start as the groups' keys have it.
fn starts(reading: &Reading) -> Vec<Option<i64>> {
    let schema = reading.schema();
    let windows = &schema.windows;
    if windows.is_empty() {
        return vec![Some(NULL)];
    }
    let mut starts: Vec<Option<i64>> = windows.iter().map(|w| w.slides().then_some(NULL)).collect();
    if windows.iter().all(Window::slides) || !schema.keys.is_empty() {
        return starts;
    }
    for row in reading.table.rows() {
        let n = usize::from(row.window());
        let keyed = windows.get(n).is_some_and(|w| !w.slides());
        if keyed && row.start() <= reading.frontier.now && Some(row.start()) > starts[n] {
            starts[n] = Some(row.start());
        }
    }
    starts
}

/// The families of a metric: one a measure that is a number.
fn families(schema: &Schema) -> Vec<Family> {
    let measures = &schema.metric.measures;
    let mut at = 0;
    let mut families = Vec::new();
    for measure in measures {
        let returned = measure.returned.is_some().then_some(at);
        at += usize::from(returned.is_some());
        if schema.values[at].ty != Type::Text {
            let base = format!("pinflow_world_{}", schema.name);
            let alone = measures.len() == 1;
            families.push(Family {
                name: if alone { base } else { format!("{base}_{}", plain(&measure.name)) },
                help: if alone {
                    schema.meaning.clone()
                } else {
                    format!("{}: {}", schema.meaning, measure.name)
                },
                value: at,
                returned,
                additive: fold::additive(measure.kind),
                nulls_count: matches!(measure.kind, Kind::Ratio(..)),
            });
        }
        at += 1;
    }
    families
}

/// A name with only the characters that labels and families may have.
fn plain(name: &str) -> String {
    let good = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(good).collect();
    name.trim_end_matches('_').into()
}

/// The names of a family's labels, distinct.
fn label_names(schema: &Schema, columns: &[Column]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    if !schema.windows.is_empty() {
        taken.insert("window".into());
    }
    let name = |column: &Column| {
        let mut name = plain(&column.name);
        distinguish(&mut name, &mut taken);
        name
    };
    columns.iter().map(name).collect()
}

fn series_of(text: &mut Text, schema: &Schema, family: &Family, series: &Folded) {
    let windows = names(schema);
    let label_names = label_names(schema, &series.columns);
    let ty = schema.values[family.value].ty;
    let mut sorted: BTreeMap<(u16, Vec<String>), &Acc> = BTreeMap::new();
    for (window, labels, acc) in series.iter() {
        sorted.insert((window, labels), acc);
    }
    text.family(&family.name, "gauge", &family.help);
    for ((window, values), acc) in sorted {
        let Some(value) = acc.shown(family.additive) else { continue };
        let window = windows.get(usize::from(window)).map(|w| ("window", w.as_str()));
        let labels = label_names.iter().map(String::as_str).zip(values.iter().map(String::as_str));
        let labels = labels.chain(window);
        match (value, ty) {
            (Value::Int(n), Type::Int | Type::Bool) => text.sample(labels, n),
            _ => match print::number(value, ty) {
                Some(number) => text.sample(labels, number),
                None => continue,
            },
        };
    }
}
