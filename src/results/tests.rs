//! Rows of declared metrics as they are printed: the declarations are those that we ship.

use std::path::PathBuf;
use std::sync::Arc;

use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{Cells, Change, GroupKey, NULL, Value, Values};
use dataflows::symbol::intern;

use super::*;
use crate::config::{Env, load};
use crate::publish::rank::Places;
use crate::publish::{Frontier, Published};

fn schema(file: &str, name: &str) -> Schema {
    let loaded = load(&[PathBuf::from(format!("builtin:{file}"))], &[], &Env::new());
    let config = loaded.expect("it is valid").config;
    let metric = config.metrics.iter().find(|m| m.name == name).expect("it is declared");
    Schema::of(metric)
}

fn text(t: &str) -> i64 {
    if t.is_empty() { NULL } else { intern(t).cell() }
}

fn row(keys: &[i64], values: &[Value]) -> Row {
    let (keys, values) = (Cells::from_slice(keys), Values::from_slice(values));
    Row { window: 0, start: NULL, end: NULL, keys, values }
}

/// The rows as the published table gives them, in their order.
fn ordered(schema: &Schema, rows: Vec<Row>, limit: Option<usize>) -> Vec<Row> {
    let published = Published::new(vec![schema.clone()]);
    let change = |Row { window, start, keys, values, .. }| Change {
        metric: 0,
        key: GroupKey { window, start, keys },
        rows: vec![values],
    };
    let changes: Vec<Change> = rows.into_iter().map(change).collect();
    published.show(Frontier::default(), Arc::default(), changes);
    super::rows(&published.read(0).expect("the metric"), &[], limit)
}

fn printed(schema: &Schema, rows: Vec<Row>, format: Format) -> String {
    let rows = ordered(schema, rows, None);
    let mut out = Vec::new();
    write(schema, &rows, format, &mut out).expect("memory");
    String::from_utf8(out).expect("UTF-8")
}

const HOUR: i64 = 3_600_000_000;

#[test]
fn q1_has_its_hour_first_and_no_header() {
    let schema = schema("bench.toml", "q1");
    let at = |hour: i64, country: &str, n: i128| Row {
        start: hour * HOUR,
        end: (hour + 1) * HOUR,
        ..row(&[text(country), text("art")], &[Value::Int(n)])
    };
    let rows = vec![at(5, "B\tC", 1), at(4, "A", 1), at(5, "A", 1), at(5, "Z", 2), at(5, "", 1)];
    let want = "1970-01-01 04:00:00\tA\tart\t1\n\
                1970-01-01 05:00:00\tZ\tart\t2\n\
                1970-01-01 05:00:00\t\tart\t1\n\
                1970-01-01 05:00:00\tA\tart\t1\n\
                1970-01-01 05:00:00\tB\\tC\tart\t1\n";
    assert_eq!(printed(&schema, rows, Format::Tsv), want);
}

#[test]
fn q4_has_one_decimal() {
    let schema = schema("bench.toml", "q4");
    let group = |label, median| row(&[text(label)], &[median, Value::Int(9)]);
    let rows = vec![group("18-24", Value::Ratio(25, 2)), group("51+", Value::Int(3))];
    assert_eq!(printed(&schema, rows, Format::Tsv), "18-24\t12.5\t9\n51+\t3.0\t9\n");
}

#[test]
fn tops_are_ranked_by_their_count() {
    let schema = schema("queries.toml", "Q1_top");
    let top = |country, category, n| {
        row(&[text(country)], &[Value::Text(intern(category)), Value::Int(n)])
    };
    let rows = vec![top("Albania", "art", 3), top("Korea, South", "travel", 30)];
    let want = "country,category,category_count\n\"Korea, South\",travel,30\nAlbania,art,3\n";
    assert_eq!(printed(&schema, rows, Format::Csv), want);
    let rows = vec![top("", "art", 3)];
    let want = "{\"metric\":\"Q1_top\",\"windows\":[{\"window\":null,\"start\":null,\"end\":null,\
                \"rows\":[{\"country\":null,\"category\":\"art\",\"category_count\":3}]}]}\n";
    assert_eq!(printed(&schema, rows, Format::Json), want);
}

#[test]
fn a_record_of_one_null_is_no_empty_line_of_csv() {
    let mut schema = schema("bench.toml", "q4");
    schema.metric.output.columns = Some(vec!["age_group".into()]);
    let group = |label| row(&[text(label)], &[Value::Int(3), Value::Int(9)]);
    let rows = || vec![group(""), group("51+")];
    assert_eq!(printed(&schema, rows(), Format::Csv), "\"\"\n51+\n");
    assert_eq!(printed(&schema, rows(), Format::Tsv), "\n51+\n");
}

/// Whatever columns come first or last, and whichever texts come again.
#[test]
fn lines_are_their_cells_one_by_one() {
    let mut schema = schema("metrics.toml", "category_popularity_by_time");
    let countries = ["A", "", "B,\"C\"", "D\tE", "F\\", "A"].map(text);
    // So many categories that some are remembered in the place of others.
    let category =
        |n: i64| text(&format!("{}c{}", if n % 5 == 0 { "\t\"," } else { "" }, n % 1500));
    assert!((1..1500).any(|n| category(n) % 1024 == category(0) % 1024));
    let rows: Vec<Row> = (0..4000_i64)
        .map(|n| Row {
            window: (n / 1400) as u16,
            start: n / 50 * HOUR,
            end: (n / 50 + 1) * HOUR,
            ..row(
                &[countries[n as usize % 6], category(n)],
                &[if n % 9 == 0 { Value::Int(i128::MAX) } else { Value::Int(n.into()) }],
            )
        })
        .collect();
    for columns in [
        "window start end country category count",
        "count country start window category",
        "start country count end",
        "end window",
        "category",
        "window",
    ] {
        schema.metric.output.columns = Some(columns.split(' ').map(Into::into).collect());
        let printer = Printer::new(&schema);
        for (format, separator) in [(Format::Tsv, "\t"), (Format::Csv, ",")] {
            let line = |row: &Row| {
                let cells = printer.columns.iter().map(|c| {
                    let text = printer.cell(&row, c.from).plain();
                    let quoted = if format == Format::Csv { cell::csv } else { cell::tsv };
                    quoted(&text).into_owned()
                });
                cells.collect::<Vec<_>>().join(separator) + "\n"
            };
            let mut out = Vec::new();
            write(&schema, &rows, format, &mut out).expect("memory");
            let header = columns.replace(' ', separator) + "\n";
            let want: String = std::iter::once(header).chain(rows.iter().map(line)).collect();
            assert_eq!(String::from_utf8(out).expect("UTF-8"), want);
        }
    }
}

#[test]
fn windows_come_as_declared_and_limits_hold_in_each() {
    let schema = schema("metrics.toml", "category_popularity_by_time");
    let at = |window, start: i64, n: i128| Row {
        window,
        start: start * HOUR,
        end: (start + 1) * HOUR,
        ..row(&[text("A"), text(&n.to_string())], &[Value::Int(n)])
    };
    let rows = vec![at(1, 0, 1), at(0, 7, 1), at(0, 7, 3), at(0, 7, 2), at(0, 6, 1)];
    let rows = ordered(&schema, rows, Some(2));
    let got: Vec<_> = rows.iter().map(|r| (r.window, r.start / HOUR, r.values[0])).collect();
    let n = Value::Int;
    assert_eq!(got, [(0, 6, n(1)), (0, 7, n(3)), (0, 7, n(2)), (1, 0, n(1))]);
    let table = printed(&schema, rows, Format::Table);
    assert!(table.starts_with("window  start"), "{table}");
}

#[test]
fn numbers_as_keys_are_ordered_by_their_digits_and_nulls_of_measures_are_last() {
    let schema = schema("metrics.toml", "posts_by_hour_of_day");
    let hour = |h, n| row(&[h], &[n]);
    let one = Value::Int(1);
    let rows = vec![hour(2, one), hour(10, one), hour(NULL, one), hour(3, Value::Null)];
    assert_eq!(printed(&schema, rows, Format::Tsv), "hour_of_day\tcount\n\t1\n10\t1\n2\t1\n3\t\n");
}

#[test]
fn packed_rows_are_printed_like_their_copies() {
    let by_time = schema("metrics.toml", "category_popularity_by_time");
    let median = schema("bench.toml", "q4");
    let mut changes = Vec::new();
    for n in 0..2000_i64 {
        // Windows of one start follow each other; some texts, numbers and keys are unusual.
        let window = (n % 3) as u16;
        let country = ["", "A\tB", "Korea, South", "Z"][n as usize % 4];
        let count = if n % 500 == 0 { i128::MAX } else { i128::from(n % 7) };
        let keys = [text(country), text(&n.to_string())].into_iter().collect();
        let key = GroupKey { window, start: n / 900 * 24 * HOUR, keys };
        changes.push(Change {
            metric: 0,
            key,
            rows: vec![Values::from_slice(&[Value::Int(count)])],
        });
        let value = if n % 5 == 0 { Value::Null } else { Value::Ratio(n.into(), 2) };
        let key = GroupKey { window: 0, start: NULL, keys: [text(&n.to_string())][..].into() };
        let rows = vec![Values::from_slice(&[value, Value::Int(n.into())])];
        changes.push(Change { metric: 1, key, rows });
    }
    let published = Published::new(vec![by_time, median]);
    published.show(Frontier::default(), Arc::default(), changes);
    for (metric, format) in [(0, Format::Tsv), (0, Format::Csv), (1, Format::Tsv), (1, Format::Csv)]
    {
        let reading = published.read(metric).expect("the metric");
        let (mut packed, mut copied) = (Vec::new(), Vec::new());
        let mut places = Places::default();
        published::write_reading(&reading, format, &mut places, &mut packed).expect("memory");
        write(reading.schema(), &rows(&reading, &[], None), format, &mut copied).expect("memory");
        assert_eq!(String::from_utf8(packed), String::from_utf8(copied), "{metric} {format:?}");
    }
}

#[test]
fn files_replace_each_other_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let schema = schema("queries.toml", "Q6_users_joined_per_year");
    for n in [1, 2] {
        let rows = [row(&[2015], &[Value::Int(n)])];
        let part = Part::write(&dir.path().join("new"), "years.csv", |out| {
            write(&schema, &rows, Format::Csv, out)
        });
        let path = part.and_then(Part::rename);
        let text = std::fs::read_to_string(path.expect("written")).expect("readable");
        assert_eq!(text, format!("post_year,number_users_joined\n2015,{n}\n"));
    }
    let files = std::fs::read_dir(dir.path().join("new")).expect("a folder").count();
    assert_eq!(files, 1, "nothing temporary is left");
}
