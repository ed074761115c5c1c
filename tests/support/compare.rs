//! Comparing what the binary wrote with what the oracle says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

use super::process::pinflow;
use super::table;
use crate::oracle::clean::{Cell, Record, Verdict};
use crate::oracle::measure::Columns;
use crate::oracle::metric::Metric;
use crate::oracle::model::{Model, Seen};
use crate::oracle::rows::{Now, rows};
use crate::oracle::{Stream, parse, print, unwrap};

/// Columns of the cleaned tables, in order, without the provenance.
pub const TABLES: [&[&str]; 3] = [
    &[
        "ind",
        "unique_id",
        "title",
        "description",
        "follower_count",
        "poster_name",
        "tag_list",
        "is_image_or_video",
        "image_src",
        "save_location",
        "category",
    ],
    &["ind", "country", "coordinates", "timestamp"],
    &["ind", "user_name", "age", "date_joined"],
];

/// The provenance behind them.
pub const PROVENANCE: [&str; 5] = ["_source", "_partition", "_position", "_sub", "_arrived_at"];

/// Where a record stands: the file's name, the position, the number within the message.
pub type Place = (String, u64, u64);

/// A cleaned row as it was written: names and values in order.
pub type Written = Vec<(String, Value)>;

/// The last part of a partition's name.
pub fn file_name(partition: &str) -> String {
    partition.rsplit('/').next().expect("never empty").to_string()
}

/// Goes through the rows that a folder of cleaned tables holds of a table; nothing unfinished may
/// stand in it.
pub fn each_line(dir: &Path, stream: Stream, mut each: impl FnMut(&str)) {
    for entry in std::fs::read_dir(dir).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let ending = path.extension().unwrap_or_default();
        assert!(ending != "part", "{name} was left unfinished");
        if name.starts_with(stream.name()) && ending == "jsonl" {
            let text = std::fs::read_to_string(&path).expect("rows are UTF-8");
            text.lines().for_each(&mut each);
        }
    }
}

fn written(line: &str) -> Written {
    let value = |raw: &str| serde_json::from_str(raw).expect("a JSON value");
    unwrap::pairs(line).into_iter().map(|(key, raw)| (key, value(&raw))).collect()
}

fn get<'a>(row: &'a Written, name: &str) -> &'a Value {
    let found = row.iter().find(|(key, _)| key == name);
    &found.unwrap_or_else(|| panic!("{name} is missing in {row:?}")).1
}

fn place(row: &Written) -> Place {
    let number = |name| get(row, name).as_u64().expect("a number");
    let partition = get(row, "_partition").as_str().expect("a text");
    (file_name(partition), number("_position"), number("_sub"))
}

/// Arrival times by file name, as provenance tells them: one moment a file.
pub fn arrivals(dir: &Path, letters: &[Value]) -> BTreeMap<String, i64> {
    let mut out = BTreeMap::new();
    let mut note = |file: String, at: &Value| {
        let nanos = parse::timestamp(at.as_str().expect("a text"), &[]).expect("a time");
        let micros = nanos.div_euclid(1000) as i64;
        let held = *out.entry(file.clone()).or_insert(micros);
        assert_eq!(held, micros, "{file} was first seen at one moment");
    };
    let mut known = BTreeSet::new();
    for stream in Stream::ALL {
        each_line(dir, stream, |line| {
            let at = line.rfind("\"_partition\":").expect("provenance");
            let partition = line[at..].split(',').next().expect("never empty");
            if known.insert(partition.to_string()) {
                let row = written(line);
                note(place(&row).0, get(&row, "_arrived_at"));
            }
        });
    }
    for letter in letters {
        let partition = letter["partition"].as_str().expect("a text");
        note(file_name(partition), &letter["arrived_at"]);
    }
    out
}

/// The row of a record in its cleaned table.
fn row(seen: &Seen, record: &Record) -> Vec<Value> {
    let cell = |name: &&str| match *name {
        "ind" => record.index.into(),
        "coordinates" => match (record.cell("latitude"), record.cell("longitude")) {
            (Cell::Null, _) | (_, Cell::Null) => Value::Null,
            (lat, lon) => vec![print::json(&lat), print::json(&lon)].into(),
        },
        column => print::json(&record.cell(column)),
    };
    let mut out: Vec<Value> = TABLES[record.stream as usize].iter().map(cell).collect();
    out.push(seen.version.position.into());
    out.push(seen.version.sub.into());
    out.push(print::moment(i128::from(seen.version.arrived_at) * 1000).into());
    out
}

/// Numbers as floats, so that `122` and `122.0` are equal.
fn loose(value: &Value) -> Value {
    match value {
        Value::Number(n) if n.is_f64() => n.as_f64().into(),
        Value::Array(list) => {
            list.iter().map(|v| v.as_f64().map_or_else(|| v.clone(), Value::from)).collect()
        }
        other => other.clone(),
    }
}

/// Asserts that the cleaned tables hold exactly the oracle's rows, cell for cell.
pub fn same_cleaned(dir: &Path, model: &Model) {
    let mut right: [HashMap<Place, &Seen>; 3] = Default::default();
    for seen in &model.seen {
        if let Verdict::Kept(record) = &seen.verdict {
            let v = &seen.version;
            let place = (file_name(&v.partition), v.position, u64::from(v.sub));
            right[record.stream as usize].insert(place, seen);
        }
    }
    for (stream, mut left) in Stream::ALL.into_iter().zip(right) {
        let columns = TABLES[stream as usize];
        let names: Vec<&str> = columns.iter().chain(&PROVENANCE).copied().collect();
        each_line(dir, stream, |line| {
            let row = written(line);
            let place = place(&row);
            let keys: Vec<&str> = row.iter().map(|(key, _)| &**key).collect();
            assert_eq!(keys, names, "the columns of {place:?}");
            let name = stream.name();
            let seen = left.remove(&place);
            let seen = seen.unwrap_or_else(|| panic!("{place:?} is no {name}, or stands twice"));
            let record = seen.kept().expect("only these are held");
            let skip = ["_source", "_partition"];
            let cells: Vec<Value> = row
                .iter()
                .filter(|(key, _)| !skip.contains(&&**key))
                .map(|(_, value)| loose(value))
                .collect();
            let wanted: Vec<Value> = self::row(seen, record).iter().map(loose).collect();
            assert_eq!(cells, wanted, "the {name} at {place:?}");
        });
        let missing: Vec<_> = left.keys().take(5).collect();
        assert!(missing.is_empty(), "{} {stream:?} rows are missing: {missing:?}", left.len());
    }
}

/// The dead letters of a state.
pub fn letters(state: &Path) -> Vec<Value> {
    let state = state.to_str().expect("a path of UTF-8");
    let listed = pinflow(["replay", "--state", state, "--list"]).ok().stdout;
    listed.lines().map(|line| serde_json::from_str(line).expect("JSON Lines")).collect()
}

/// Asserts that the dead letters are exactly the oracle's rejections.
pub fn same_letters(listed: &[Value], model: &Model) {
    use base64::Engine;
    let engine = &base64::engine::general_purpose::STANDARD;
    let ours: Vec<(Place, String, Vec<u8>)> = listed
        .iter()
        .map(|letter| {
            let partition = letter["partition"].as_str().expect("a text");
            let number = |key: &str| letter[key].as_u64().expect("a number");
            assert_eq!(letter["truncated"], Value::Bool(false), "{letter}");
            let payload = match (letter["payload"].as_str(), letter["payload_base64"].as_str()) {
                (Some(text), None) => text.as_bytes().to_vec(),
                (None, Some(text)) => engine.decode(text).expect("base64"),
                _ => panic!("no payload in {letter}"),
            };
            let reason = letter["reason"].as_str().expect("a text").to_string();
            ((file_name(partition), number("position"), number("sub")), reason, payload)
        })
        .collect();
    let right: Vec<(Place, String, Vec<u8>)> = model
        .seen
        .iter()
        .filter_map(|seen| match &seen.verdict {
            Verdict::Rejected(reason, payload) => {
                let v = &seen.version;
                let place = (file_name(&v.partition), v.position, u64::from(v.sub));
                Some((place, reason.name().to_string(), payload.clone()))
            }
            _ => None,
        })
        .collect();
    let set = |list: &[(Place, String, Vec<u8>)]| -> BTreeSet<(Place, String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        list.iter().map(|(p, r, b)| (p.clone(), r.clone(), text(b))).collect()
    };
    let (a, b) = (set(&ours), set(&right));
    let only = |x: &BTreeSet<_>, y: &BTreeSet<_>| {
        x.difference(y).take(5).cloned().collect::<Vec<(Place, String, String)>>()
    };
    assert!(
        a == b && ours.len() == right.len(),
        "{} dead letters, {} right\nlisted, but wrong: {:#?}\nright, but not listed: {:#?}",
        ours.len(),
        right.len(),
        only(&a, &b),
        only(&b, &a)
    );
}

/// Asserts that the written results of all metrics are the oracle's.
pub fn same_results(
    dir: &Path,
    ending: &str,
    metrics: &[Metric],
    model: &Model,
    columns: &Columns,
    now: Now,
) {
    for metric in metrics {
        let mut ours = table::read(&dir.join(format!("{}.{ending}", metric.name)));
        if metric.header {
            assert!(!ours.is_empty(), "{} has no header", metric.name);
            assert_eq!(ours.remove(0), print::header(metric), "the header of {}", metric.name);
        }
        let shown = rows(metric, model, columns, now);
        let right: Vec<_> = shown.iter().map(|r| print::cells(r, metric)).collect();
        table::same(&metric.name, &ours, &right);
    }
}
