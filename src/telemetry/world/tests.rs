//! What is exported adds up, whatever the bounds, and stays within them.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataflows::metrics::declare::{Expr, Fraction, Kind, Metric, Shape, Time, Window};
use dataflows::metrics::schema::Schema;
use dataflows::metrics::value::{Change, GroupKey, NULL, Value};
use dataflows::record::Column;
use dataflows::symbol::intern;
use dataflows::time::{DAY, HOUR, SECOND};
use proptest::prelude::*;

use super::*;
use crate::publish::samples::{at, measure, metric as declare, returning, row, sliding};
use crate::publish::{Published, State};
use crate::telemetry::expose::scrape;
use crate::telemetry::{Machine, Status};

fn labels(max_series: usize, max_series_per_metric: usize) -> Labels {
    let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let named = BTreeMap::from([
        ("country".to_owned(), list(&["A", "B", "C"])),
        ("category".to_owned(), list(&["art", "travel"])),
    ]);
    Labels { named, max_series, max_series_per_metric }
}

fn exported(metrics: &[Metric], changes: Vec<Change>, labels: &Labels) -> (String, u64) {
    let published = Published::new(metrics.iter().map(Schema::of).collect());
    published.show(at(1), Arc::default(), changes);
    let mut text = Text::default();
    let overflow = write(&mut text, &published.read_all(), labels);
    (text.finish(), overflow.iter().map(|o| o.1).sum())
}

/// The samples alone, without the family's name.
fn samples(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines.map(|l| l.trim_start_matches("pinflow_world_").to_owned()).collect()
}

fn count(metric: u16, keys: &[Option<&str>], n: i64) -> Change {
    row(metric, 0, keys, &[Value::Int(n.into())])
}

#[test]
fn named_values_are_shown_and_the_rest_adds_up() {
    let m =
        declare("m", &["country"], vec![measure("count", Kind::Count)], sliding(&[300 * SECOND]));
    let changes = vec![
        count(0, &[Some("B")], 5),
        count(0, &[Some("A")], 2),
        count(0, &[Some("D\"\n")], 3),
        count(0, &[None], 4),
    ];
    let (text, overflow) = exported(&[m], changes, &labels(100, 100));
    assert_eq!(
        text,
        "# HELP pinflow_world_m what it means\n# TYPE pinflow_world_m gauge\n\
         pinflow_world_m{country=\"A\",window=\"5min\"} 2\n\
         pinflow_world_m{country=\"B\",window=\"5min\"} 5\n\
         pinflow_world_m{country=\"other\",window=\"5min\"} 7\n"
    );
    assert_eq!(overflow, 0);
}

#[test]
fn of_other_keys_the_greatest_are_shown_by_value_then_by_bytes() {
    let mut m = declare("m", &["poster_name"], vec![measure("count", Kind::Count)], Vec::new());
    m.export = 2;
    let names = [("z", 1), ("b", 5), ("y", 5), ("a", 5), ("x", 2)];
    let changes = names.iter().map(|(name, n)| count(0, &[Some(*name)], *n)).collect();
    let (text, _) = exported(&[m], changes, &labels(100, 100));
    let want = ["a\"} 5", "b\"} 5", "other\"} 8"].map(|s| format!("m{{poster_name=\"{s}"));
    assert_eq!(samples(&text), want);
}

#[test]
fn what_cannot_be_added_is_other_only_if_it_is_one_group() {
    let median = Kind::Quantile {
        of: Expr::Column(Column::FollowerCount),
        q: Fraction { num: 1, den: 2 },
        interpolated: false,
    };
    let m = declare("m", &["country"], vec![measure("median", median)], Vec::new());
    let one = vec![count(0, &[Some("A")], 2), count(0, &[Some("D")], 3)];
    let (text, _) = exported(std::slice::from_ref(&m), one.clone(), &labels(100, 100));
    assert_eq!(samples(&text), ["m{country=\"A\"} 2", "m{country=\"other\"} 3"]);
    let two = one.into_iter().chain([count(0, &[Some("E")], 4)]).collect();
    let (text, _) = exported(&[m], two, &labels(100, 100));
    assert_eq!(samples(&text), ["m{country=\"A\"} 2"]);
}

/// A group that is divided by 0 has no ratio, but would change that of several.
#[test]
fn a_ratio_of_other_stands_for_one_group_also_where_another_has_none() {
    let measures = || {
        let all = [("a", Kind::Count), ("b", Kind::Count), ("r", Kind::Ratio(0, 1))];
        all.map(|(name, kind)| measure(name, kind)).to_vec()
    };
    let m = declare("m", &["country"], measures(), Vec::new());
    let group = |country: &str, over: i128, under: i128| {
        let ratio = if under == 0 { Value::Null } else { Value::Ratio(over, under) };
        row(0, 0, &[Some(country)], &[Value::Int(over), Value::Int(under), ratio])
    };
    let of = |groups: Vec<Change>| {
        let (text, _) = exported(std::slice::from_ref(&m), groups, &labels(100, 100));
        samples(&text).into_iter().filter(|s| s.starts_with("m_r")).collect::<Vec<_>>()
    };
    let one = group("D", 7, 1);
    assert_eq!(of(vec![one.clone()]), ["m_r{country=\"other\"} 7"]);
    assert_eq!(of(vec![one, group("E", 100, 0)]), Vec::<String>::new());
    assert_eq!(of(vec![group("E", 100, 0)]), Vec::<String>::new());
}

#[test]
fn what_is_returned_is_a_label_and_several_measures_are_several_families() {
    let top = Kind::Top { k: 2, of: Expr::Column(Column::Category) };
    let measures = vec![
        returning("category", "n", top),
        measure("mean_age", Kind::Mean(Expr::Column(Column::Age))),
    ];
    let m = declare("m", &["country"], measures, Vec::new());
    let values = |name: &str, n: i128| {
        [Value::Text(intern(name)), Value::Int(n), Value::Ratio(7, 2)].into_iter().collect()
    };
    let key = GroupKey { window: 0, start: NULL, keys: [intern("A").cell()].into_iter().collect() };
    let rows = vec![values("art", 9), values("unheard", 3)];
    let changes = vec![Change { metric: 0, key, rows }];
    let (text, _) = exported(&[m], changes, &labels(100, 100));
    assert!(text.contains("# HELP pinflow_world_m_n what it means: n\n"));
    assert_eq!(
        samples(&text),
        [
            "m_n{country=\"A\",category=\"art\"} 9",
            "m_n{country=\"A\",category=\"other\"} 3",
            "m_mean_age{country=\"A\"} 3.5",
        ]
    );
}

#[test]
fn of_keyed_windows_the_newest_that_has_begun_is_shown() {
    let event = |shape| Window { time: Time::Event, shape };
    let windows = vec![event(Shape::Tumbling { size: DAY }), event(Shape::Year)];
    let m = declare("m", &[], vec![measure("count", Kind::Count)], windows);
    let now = at(1).now;
    let day = now - now.rem_euclid(DAY);
    let change = |window, start, n: i128| Change {
        metric: 0,
        key: GroupKey { window, start, keys: [].into_iter().collect() },
        rows: vec![[Value::Int(n)].into_iter().collect()],
    };
    let changes = vec![change(0, day - DAY, 1), change(0, day, 2), change(0, day + DAY, 3)];
    let (text, _) = exported(&[m], changes, &labels(100, 100));
    assert_eq!(samples(&text), ["m{window=\"day\"} 2"]);
}

/// It was a second series of one name, and the counts of one of the two vanished.
#[test]
fn the_text_other_is_a_part_of_other() {
    let mut m = declare("m", &["poster_name"], vec![measure("count", Kind::Count)], Vec::new());
    let groups = [(Some("other"), 5), (Some("a"), 4), (Some("b"), 1), (None, 2)];
    let changes = || groups.iter().map(|(name, n)| count(0, &[*name], *n)).collect();
    m.export = 1;
    let (text, _) = exported(std::slice::from_ref(&m), changes(), &labels(100, 100));
    assert_eq!(samples(&text), ["m{poster_name=\"a\"} 4", "m{poster_name=\"other\"} 8"]);
    m.export = 9;
    let (text, _) = exported(&[m], changes(), &labels(100, 100));
    let want = ["a\"} 4", "b\"} 1", "other\"} 7"].map(|s| format!("m{{poster_name=\"{s}"));
    assert_eq!(samples(&text), want);
    let top = Kind::Top { k: 2, of: Expr::Column(Column::PosterName) };
    let mut m = declare("m", &[], vec![returning("poster_name", "n", top)], Vec::new());
    m.export = 1;
    let value = |name, n| [Value::Text(intern(name)), Value::Int(n)].into_iter().collect();
    let key = GroupKey { window: 0, start: NULL, keys: [].into_iter().collect() };
    let rows = vec![value("other", 9), value("a", 3)];
    let (text, _) = exported(&[m], vec![Change { metric: 0, key, rows }], &labels(100, 100));
    assert_eq!(samples(&text), ["m{poster_name=\"a\"} 3", "m{poster_name=\"other\"} 9"]);
}

/// Prometheus takes no family twice. The first to be declared has the name, also without a row.
#[test]
fn two_families_of_one_name_are_told_apart() {
    let counts = |names: &[&str]| -> Vec<_> {
        names.iter().map(|name| measure(name, Kind::Count)).collect()
    };
    let one = declare("a", &[], counts(&["b", "c", "c_"]), Vec::new());
    let two = declare("a_b", &[], counts(&["count"]), Vec::new());
    let row_of = |n: u16, values: &[i128]| {
        let values: Vec<Value> = values.iter().copied().map(Value::Int).collect();
        row(n, 0, &[], &values)
    };
    let both = vec![row_of(0, &[1, 2, 3]), row_of(1, &[4])];
    let all = [one, two];
    let (text, _) = exported(&all, both, &labels(100, 100));
    assert_eq!(samples(&text), ["a_b 1", "a_c 2", "a_c_ 3", "a_b_ 4"]);
    let (text, _) = exported(&all, vec![row_of(1, &[4])], &labels(100, 100));
    assert_eq!(samples(&text), ["a_b_ 4"]);
}

proptest! {
    #[test]
    fn parts_and_other_add_up_within_the_bounds(
        groups in prop::collection::btree_map((0..9u8, 0..60u8, 0..2u16), 1..50i64, 0..300),
        export in 0..9usize,
        max in 0..60usize,
        each in 0..40usize,
    ) {
        let windows = sliding(&[300 * SECOND, HOUR]);
        let declared = |name: &str, keys: &[&str]| {
            let mut m = declare(name, keys, vec![measure("count", Kind::Count)], windows.clone());
            m.export = export;
            m
        };
        let one = declared("one", &["country", "poster_name"]);
        let metrics = [one, declared("two", &["poster_name"])];
        let mut sums = BTreeMap::new();
        let mut changes = Vec::new();
        for ((country, poster, window), n) in &groups {
            let country = (*country > 0).then(|| String::from(char::from(b'@' + country)));
            let poster = (*poster > 0).then(|| format!("p{poster}"));
            let keys = [country.as_deref(), poster.as_deref()];
            changes.push(row(0, *window, &keys, &[Value::Int((*n).into())]));
            *sums.entry(*window).or_insert(0i64) += *n;
        }
        let mut posters: BTreeMap<(u16, u8), i64> = BTreeMap::new();
        for ((_, poster, window), n) in &groups {
            *posters.entry((*window, *poster)).or_default() += *n;
        }
        for ((window, poster), n) in posters {
            let poster = (poster > 0).then(|| format!("p{poster}"));
            changes.push(row(1, window, &[poster.as_deref()], &[Value::Int(n.into())]));
        }
        let (text, overflow) = exported(&metrics, changes, &labels(max, each));
        let lines = samples(&text);
        prop_assert!(lines.len() <= max, "{} series", lines.len());
        for name in ["one", "two"] {
            let own: Vec<&String> = lines.iter().filter(|l| l.starts_with(name)).collect();
            prop_assert!(own.len() <= each);
            for (window, label) in [(0u16, "5min"), (1, "1h")] {
                let of = own.iter().filter(|l| l.contains(&format!("window=\"{label}\"")));
                let values = of.map(|l| l.rsplit(' ').next().and_then(|v| v.parse::<i64>().ok()));
                let sum: i64 = values.map(Option::unwrap_or_default).sum();
                let whole = sums.get(&window).copied().unwrap_or(0);
                // Without room for `other` of each window a metric is left out whole.
                prop_assert!(sum == whole || own.is_empty() && overflow > 0, "{sum} of {whole}");
            }
        }
    }
}

/// Countries and categories without end, in three windows.
fn attack(countries: u32, categories: u32) -> (Published, Labels) {
    let windows = sliding(&[300 * SECOND, HOUR, DAY]);
    let count = || vec![measure("count", Kind::Count)];
    let mut posters = declare("posters", &["poster_name"], count(), Vec::new());
    posters.export = 6000;
    let metrics = [declare("m", &["country", "category"], count(), windows), posters];
    let published = Published::new(metrics.iter().map(Schema::of).collect());
    let name = |kind: char, n: u32| format!("{kind}{n}");
    let mut changes = Vec::new();
    for country in 0..countries {
        for category in 0..categories {
            for window in 0..3 {
                let keys = [name('c', country), name('k', category)];
                let keys = [Some(&*keys[0]), Some(&*keys[1])];
                changes.push(row(0, window, &keys, &[Value::Int(country.into())]));
            }
            let poster = format!("p{country}-{category}");
            changes.push(row(1, 0, &[Some(&*poster)], &[Value::Int(category.into())]));
        }
    }
    published.show(at(1), Arc::default(), changes);
    published.set_state(State::Live);
    let list = |kind: char, n: u32| (0..n).map(|i| name(kind, i)).collect();
    let named =
        BTreeMap::from([("country".into(), list('c', 249)), ("category".into(), list('k', 12))]);
    (published, Labels { named, max_series: 20_000, max_series_per_metric: 12_000 })
}

fn scraped(published: &Published, labels: &Labels) -> String {
    scrape(&Machine::new(), published, &Status::default(), labels)
}

#[test]
fn an_attack_with_labels_stays_within_the_bounds() {
    let (published, labels) = attack(300, 20);
    let text = scraped(&published, &labels);
    let series = text.lines().filter(|l| l.starts_with("pinflow_world_")).count();
    assert_eq!(series, 250 * 13 * 3 + 6000);
    assert!(text.len() < 2_621_440, "{} bytes", text.len());
    assert!(text.contains("pinflow_world_m{country=\"other\",category=\"other\",window=\"1h\"} "));
}
