//! Tables against a plain map, readings that stay, feeds that miss nothing, answers byte by byte.

use std::collections::HashMap;

use dataflows::metrics::changes::Part;
use dataflows::metrics::declare::{Expr, Kind, Shape, Time, Window};
use dataflows::metrics::packed::RowLayout;
use dataflows::metrics::value::{GroupKey, NULL, Value, Values};
use dataflows::record::Column;
use dataflows::symbol::intern;
use dataflows::time::HOUR;
use proptest::prelude::*;

use super::answer::{Printer, Query, answer, names};
use super::samples::{at, change, measure, metric, popularity};
use super::*;

/// The rows of groups.
type Groups = HashMap<GroupKey, Vec<Values>>;

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        (-5i128..5).prop_map(Value::Int),
        Just(Value::Int(i64::MIN.into())),
        Just(Value::Int(i128::from(i64::MIN) + 1)),
        (-3i128..3).prop_map(|n| Value::Int(n + i128::from(i32::MIN))),
        (-3i128..3).prop_map(|n| Value::Int(n + i128::from(i32::MAX))),
        Just(Value::Int(i128::MAX)),
        (-5i128..5, 1i128..5).prop_map(|(n, d)| Value::Ratio(n, d)),
        (0i128..3).prop_map(|n| Value::Ratio(n + i128::from(i64::MIN), 7)),
        Just(Value::Ratio(i128::MAX, 3)),
        Just(Value::Text(intern("t"))),
    ]
}

fn any_rows() -> impl Strategy<Value = Vec<[Value; 4]>> {
    prop::collection::vec([any_value(), any_value(), any_value(), any_value()], 0..3)
}

/// A table of four measures by age and country, and what is to be in it.
struct Pair {
    table: Table,
    map: Groups,
    layout: Arc<RowLayout>,
    /// Whether somebody is told of changes.
    followed: bool,
}

impl Pair {
    fn new(windows: &[Shape], followed: bool) -> Self {
        let measures = vec![
            measure("mean", Kind::Mean(Expr::Column(Column::Age))),
            measure("max", Kind::Max(Expr::Column(Column::Category))),
            measure("count", Kind::Count),
            measure("years", Kind::Sum(Expr::Column(Column::Age))),
        ];
        let windows = windows.iter().map(|s| Window { time: Time::Event, shape: *s });
        let schema = Schema::of(&metric("m", &["age", "country"], measures, windows.collect()));
        let layout = Arc::new(RowLayout::of(&schema));
        Pair { table: Table::new(&schema), map: Groups::new(), layout, followed }
    }

    /// An epoch's changes, of which followers are told those that differ.
    fn epoch(&mut self, seen: Groups) {
        let (mut changes, mut differ) = (Part::new(&self.layout), Vec::new());
        for (key, rows) in seen {
            changes.push(&key, &rows);
            if self.map.get(&key).map_or(&[][..], |rows| rows) != rows {
                differ.push(key.clone());
            }
            if rows.is_empty() {
                self.map.remove(&key)
            } else {
                self.map.insert(key, rows)
            };
        }
        if self.followed {
            let told = self.table.take_differing(changes);
            assert!(told.groups().map(|group| group.key()).eq(differ));
        } else {
            self.table.take(changes);
        }
    }

    /// A list shows the same, and becomes a table again.
    fn listed(mut self) -> Self {
        self.table = self.table.empty_like(1);
        self.table.list();
        let all = std::mem::take(&mut self.map);
        self.epoch(all);
        for _ in 0..2 {
            let mut shown = Groups::new();
            for row in self.table.rows() {
                let key = GroupKey { window: row.window(), start: row.start(), keys: row.keys() };
                shown.entry(key).or_default().push(row.values());
            }
            assert_eq!((&shown, self.table.groups()), (&self.map, self.map.len()));
            self.table.sort_out();
        }
        self
    }

    fn check(&self) {
        assert_eq!(self.table.groups(), self.map.len());
        assert_eq!(self.table.rows().count(), self.map.values().map(Vec::len).sum::<usize>());
        self.map.iter().for_each(|(key, rows)| assert_eq!(&self.table.get(key), rows));
    }
}

proptest! {
    #[test]
    fn a_table_is_a_map(
        steps in prop::collection::vec((0..3u16, 0..40i64, any_rows()), 1..400),
        rounds in 1..4i64,
        windows in 0..4usize,
        followed in any::<bool>(),
    ) {
        // Whole hours, but for the last.
        let shapes = [Shape::Month, Shape::Year, Shape::Tumbling { size: 1 }];
        let grain = if windows < shapes.len() { HOUR } else { 1 };
        let mut pair = Pair::new(&shapes[..windows], followed);
        let (mut kept, mut seen) = (None, Groups::new());
        for round in 0..rounds {
            for (window, key, rows) in &steps {
                let country = if key % 3 == 0 { NULL } else { intern(&key.to_string()).cell() };
                let age = if key % 5 == 0 { NULL } else { (*key - 20) * 7 + round };
                let keys = [age, country].into_iter().collect();
                let window = window % windows.max(1) as u16;
                let start = if windows > 0 && key % 4 > 0 { (key - 9) * grain } else { NULL };
                let key = GroupKey { window, start, keys };
                let rows: Vec<Values> = rows.iter().map(|row| Values::from_slice(row)).collect();
                // A group that comes twice is in the next epoch.
                if seen.contains_key(&key) {
                    pair.epoch(std::mem::take(&mut seen));
                }
                seen.insert(key, rows);
            }
            pair.epoch(std::mem::take(&mut seen));
            kept.get_or_insert_with(|| (pair.table.clone(), pair.map.clone()));
        }
        pair.check();
        let (table, map) = kept.expect("at least one round");
        Pair { table, map, layout: Arc::clone(&pair.layout), followed }.check();
        let mut pair = pair.listed();
        pair.check();
        // Everything can be taken out again, and the table shrinks with it.
        pair.epoch(pair.map.keys().map(|key| (key.clone(), Vec::new())).collect());
        prop_assert_eq!((pair.table.groups(), pair.table.rows().count()), (0, 0));
    }
}

proptest! {
    /// The dataflow shows a group again that came back to what it was.
    #[test]
    fn followers_are_told_of_what_differs_and_of_nothing_else(
        epochs in prop::collection::vec(prop::collection::btree_map(0..6u8, 0..3i64, 0..6), 1..40),
    ) {
        let published = popularity();
        let (_, mut feed) = published.subscribe(0).expect("there");
        let mut map = HashMap::new();
        for (n, groups) in epochs.into_iter().enumerate() {
            let name = |group: u8| format!("country {group}");
            let of = |(group, count): (&u8, &i64)| change(Some(&name(*group)), "art", *count);
            let changes: Vec<_> = groups.iter().map(of).collect();
            let mut differ = changes.clone();
            differ.retain(|c| map.get(&c.key).cloned().unwrap_or_default() != c.rows);
            map.extend(changes.iter().map(|c| (c.key.clone(), c.rows.clone())));
            published.show(at(n as u64), Arc::default(), changes);
            let told = feed.try_next().map_or(Vec::new(), |event| event.changes.clone());
            let differ: Vec<_> = differ.into_iter().map(|c| (c.key, c.rows)).collect();
            prop_assert_eq!(told, differ);
        }
    }
}

#[test]
fn a_reading_is_of_one_frontier_and_stays() {
    let published = popularity();
    published.show(at(1), Arc::default(), vec![change(Some("A"), "art", 1)]);
    let before = published.read(0).expect("there");
    published.show(at(2), Arc::default(), vec![change(Some("A"), "art", 0)]);
    assert_eq!((before.frontier.epoch, before.table.groups()), (1, 1));
    assert_eq!(published.read_all().readings[0].table.groups(), 0);
    assert!(published.read(1).is_none());
}

#[test]
fn the_last_changes_of_several_workers_are_taken_up_at_once() {
    let shown = |last| {
        let published = popularity();
        let one = vec![change(Some("A"), "art", 1), change(None, "x", 4)];
        let lists = [one, vec![], vec![change(Some("B"), "art", 2)]];
        let lists = lists.map(|list| published.packed(list)).into();
        published.apply_lists(at(1), Arc::default(), lists, last);
        let table = published.read(0).expect("there").table;
        let mut rows: Vec<_> = table.rows().map(|r| (r.keys().to_vec(), r.values())).collect();
        rows.sort_by_key(|row| row.0.clone());
        // What follows finds its groups.
        published.show(at(2), Arc::default(), vec![change(Some("B"), "art", 0)]);
        (rows, table.groups(), published.read(0).expect("there").table.groups())
    };
    let last = shown(true);
    assert_eq!((last.1, last.2), (3, 2));
    assert_eq!(last, shown(false));
}

#[test]
fn answers_are_ordered_and_cut() {
    let published = popularity();
    let changes = vec![
        change(Some("B"), "art", 2),
        change(Some("A"), "a,\"r\"t", 2),
        change(None, "art", 2),
        change(Some("A"), "art", 5),
    ];
    published.show(at(1), Arc::default(), changes);
    let reading = published.read(0).expect("there");
    let names = names(reading.schema());
    let show = |query: &Query, csv: bool| {
        let parts = answer(&reading, &names, query);
        let printer = Printer::new(reading.schema());
        if csv { printer.csv(&parts) } else { printer.answer(&reading, &parts, true) }
    };
    let head = concat!(
        r#"{"metric":"category_popularity","#,
        r#""frontier":{"run":1,"epoch":1,"now":"2018-03-04T05:06:07Z"},"#,
        r#""positions":{},"windows":["#
    );
    let window =
        r#"{"window":"5min","start":"2018-03-04T05:01:00Z","end":"2018-03-04T05:06:00Z","rows":["#;
    let two = Query { limit: Some(2), windows: vec!["5min".into()], ..Query::default() };
    assert_eq!(
        show(&two, false),
        format!(
            "{head}{window}{}{}]}}]}}",
            r#"{"country":"A","category":"art","count":5},"#,
            r#"{"country":null,"category":"art","count":2}"#
        )
    );
    let keyed = Query { keys: vec![(0, "A".into())], ..two.clone() };
    assert_eq!(
        show(&keyed, true),
        "window,start,end,country,category,count\n\
         5min,2018-03-04T05:01:00Z,2018-03-04T05:06:00Z,A,art,5\n\
         5min,2018-03-04T05:01:00Z,2018-03-04T05:06:00Z,A,\"a,\"\"r\"\"t\",2\n"
    );
    let null = Query { keys: vec![(0, String::new())], limit: None, ..two.clone() };
    assert!(show(&null, false).contains(r#"[{"country":null,"category":"art","count":2}]"#));
    let none = Query { windows: vec!["1h".into(), "5min".into()], ..Query::default() };
    assert_eq!(show(&none, false), format!("{head}]}}"));
}

/// It wrapped around, and all rows were put in order again with each one that came.
#[test]
fn a_limit_of_any_size_leaves_room_for_it() {
    for limit in [0, 1, 1 << 40, 1 << 62, usize::MAX] {
        assert!(answer::room(limit) >= limit && answer::room(limit) > 1000);
    }
}

#[test]
fn a_feed_continues_its_snapshot_and_a_slow_one_is_cut_off() {
    let published = popularity();
    published.show(at(1), Arc::default(), vec![change(Some("A"), "art", 1)]);
    let (reading, mut feed) = published.subscribe(0).expect("there");
    assert_eq!(reading.table.groups(), 1);
    // Nothing is new in either.
    published.show(at(2), Arc::default(), vec![]);
    published.show(at(2), Arc::default(), vec![change(Some("A"), "art", 1)]);
    published.show(
        at(3),
        Arc::default(),
        vec![change(Some("B"), "art", 2), change(Some("A"), "art", 0)],
    );
    let event = feed.try_next().expect("one change");
    assert_eq!((event.frontier.epoch, event.changes.len()), (3, 2));
    let schema = &published.schemas()[0];
    let told = |query: &Query| Printer::new(schema).change(&event, query, State::CatchingUp, false);
    let shown = told(&Query::default()).expect("all of it");
    let tail = concat!(
        r#""catching_up":true,"windows":[{"window":"5min","#,
        r#""start":"2018-03-04T05:01:00Z","end":"2018-03-04T05:06:00Z","#,
        r#""rows":[{"country":"B","category":"art","count":2}],"#,
        r#""gone":[{"country":"A","category":"art"}]}]}"#
    );
    assert!(shown.ends_with(tail), "{shown}");
    // Of the groups and windows that are asked for.
    let of = |country: &str, window: &str| {
        let (keys, windows) = (vec![(0, country.to_owned())], vec![window.to_owned()]);
        told(&Query { keys, windows, ..Query::default() })
    };
    let one = of("A", "5min").expect("one is gone");
    let tail = r#""rows":[],"gone":[{"country":"A","category":"art"}]}]}"#;
    assert!(one.ends_with(tail), "{one}");
    assert_eq!((of("A", "1h"), of("C", "5min")), (None, None));
    assert!(feed.try_next().is_none());
    // An epoch that feeds are being given is not behind them yet.
    let giving = published.feeds.lock();
    assert_eq!(published.given(), None);
    drop(giving);
    assert_eq!(published.given(), Some(event.frontier));
    for epoch in 0..=FEED_EVENTS as u64 {
        let count = epoch as i64 + 1;
        published.show(at(4 + epoch), Arc::default(), vec![change(Some("A"), "art", count)]);
    }
    assert_eq!(published.counts().2, 1);
    let mut seen = 0;
    while let Some(event) = feed.try_next() {
        seen += 1;
        assert_eq!(event.frontier.epoch, 3 + seen);
    }
    assert_eq!(seen, FEED_EVENTS as u64);
}
