//! Answers of a running daemon, for people: CSV as columns, JSON as an outline.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;

use super::{Format, cell};

/// Columns side by side; those of numbers alone to the right.
pub fn align(names: Vec<String>, lines: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let number = |text: &String| text.is_empty() || text.parse::<f64>().is_ok();
    let columns = names.len();
    let cell = |line: &Vec<String>, i: usize| line.get(i).map_or(0, |c| width(c));
    let widths: Vec<usize> = (0..columns)
        .map(|i| lines.iter().map(|l| cell(l, i)).max().unwrap_or(0).max(width(&names[i])))
        .collect();
    let right: Vec<bool> = (0..columns)
        .map(|i| !lines.is_empty() && lines.iter().all(|l| l.get(i).is_none_or(number)))
        .collect();
    let mut out = String::new();
    for line in std::iter::once(&names).chain(lines) {
        let mut text = String::new();
        for (i, cell) in line.iter().enumerate().take(columns) {
            let pad = " ".repeat(widths[i].saturating_sub(width(cell)));
            let gap = if i > 0 { "  " } else { "" };
            let printable: String =
                cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let (before, after) = if right[i] { (pad.as_str(), "") } else { ("", pad.as_str()) };
            for part in [gap, before, &printable, after] {
                text += part;
            }
        }
        out += text.trim_end_matches(' ');
        out.push('\n');
    }
    out
}

/// The records of a CSV text.
fn records(text: &str) -> Vec<Vec<String>> {
    let mut records = Vec::new();
    let (mut record, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quoted) {
            ('"', true) if chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            ('"', _) => quoted = !quoted,
            (',', false) => record.push(std::mem::take(&mut field)),
            ('\r', false) if chars.peek() == Some(&'\n') => {}
            ('\n', false) => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            (c, _) => field.push(c),
        }
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        records.push(record);
    }
    records
}

/// A CSV text as aligned columns; its first record names them.
pub fn csv_to_table(text: &str) -> String {
    let mut records = records(text).into_iter();
    let Some(names) = records.next() else { return String::new() };
    align(names, &records.collect::<Vec<_>>())
}

/// A CSV text as tab-separated lines.
pub fn csv_to_tsv(text: &str) -> String {
    separated(records(text).into_iter(), cell::tsv, "\t")
}

/// Records as lines, each cell written by a function.
fn separated(
    records: impl Iterator<Item = Vec<String>>,
    write: fn(&str) -> Cow<'_, str>,
    between: &str,
) -> String {
    let line = |record: Vec<String>| {
        record.iter().map(|cell| write(cell)).collect::<Vec<_>>().join(between) + "\n"
    };
    records.map(line).collect()
}

/// The catalogue of metrics as name and meaning; as JSON whole.
pub fn catalogue(value: &Value, format: Format) -> String {
    let list = value.get("metrics").unwrap_or(value).as_array().cloned().unwrap_or_default();
    let text =
        |m: &Value, key: &str| m.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let lines: Vec<_> = list.iter().map(|m| vec![text(m, "name"), text(m, "meaning")]).collect();
    let names = vec!["metric".into(), "meaning".into()];
    match format {
        Format::Json => format!("{value}\n"),
        Format::Table => align(names, &lines),
        Format::Csv => separated(std::iter::once(names).chain(lines), cell::csv, ","),
        Format::Tsv => separated(std::iter::once(names).chain(lines), cell::tsv, "\t"),
    }
}

/// A JSON value as indented lines.
pub fn outline(value: &Value) -> String {
    let mut out = String::new();
    nested(value, 0, &mut out);
    out
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if let Some(text) = scalar(value) {
                    let _ = writeln!(out, "{pad}{key}: {text}");
                } else {
                    let _ = writeln!(out, "{pad}{key}:");
                    nested(value, depth + 1, out);
                }
            }
        }
        Value::Array(list) => {
            for value in list {
                if let Some(text) = scalar(value) {
                    let _ = writeln!(out, "{pad}- {text}");
                } else {
                    let mut inner = String::new();
                    nested(value, depth + 1, &mut inner);
                    let rest = inner.trim_start();
                    let _ = write!(out, "{pad}- {rest}");
                }
            }
        }
        _ => {
            let _ = writeln!(out, "{pad}{}", scalar(value).unwrap_or_default());
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(map) if map.is_empty() => Some("none".into()),
        Value::Array(list) if list.is_empty() => Some("none".into()),
        Value::Object(_) | Value::Array(_) => None,
        Value::Null => Some("-".into()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_as_columns() {
        let text = "country,n\n\"Korea, South\",7\nAlbania,12\n,3\n";
        assert_eq!(
            csv_to_table(text),
            "country        n\nKorea, South   7\nAlbania       12\n               3\n"
        );
        assert_eq!(csv_to_tsv("a,\"b\tc\"\n"), "a\tb\\tc\n");
        assert_eq!(csv_to_table(""), "");
    }

    /// As CSV and TSV it was printed as JSON.
    #[test]
    fn the_catalogue_in_every_format() {
        let list = serde_json::json!({"metrics": [{"name": "m", "meaning": "a,\tb", "of": "pin"}]});
        for (format, want) in [
            (Format::Table, "metric  meaning\nm       a, b\n".to_owned()),
            (Format::Csv, "metric,meaning\nm,\"a,\tb\"\n".to_owned()),
            (Format::Tsv, "metric\tmeaning\nm\ta,\\tb\n".to_owned()),
            (Format::Json, format!("{list}\n")),
        ] {
            assert_eq!(catalogue(&list, format), want, "{format:?}");
        }
    }

    #[test]
    fn json_as_an_outline() {
        let value = serde_json::json!({"a": 1, "b": {"c": ["x", {"d": null, "e": 2}]}, "f": []});
        let want = "a: 1\nb:\n  c:\n    - x\n    - d: -\n      e: 2\nf: none\n";
        assert_eq!(outline(&value), want);
    }
}
