//! Our own operators give what differential's give on the same rows: counts and sums what
//! `count_total` counts, quantiles, top and argmax what `reduce` recomputes from all values of a
//! key, distinct what the general `distinct` does, at every epoch, on 1, 2 and 3 workers.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use dataflows::metrics::changes::Changes;
use dataflows::metrics::declare::{
    Expr, Fact, Fraction, Join, Key, Kind, Measure, Metric, Output, Ties, default_age_groups,
};
use dataflows::metrics::group::Groups;
use dataflows::metrics::group::distinct::Distinct;
use dataflows::metrics::plan::Plan;
use dataflows::metrics::update::{Combine, Updates};
use dataflows::metrics::value::{Change, NULL, Value};
use dataflows::metrics::words::{Words, start, window};
use dataflows::operators::{Step, Take, by_epoch, taking};
use dataflows::record::Column;
use dataflows::symbol::{Sym, intern};
use dataflows::tick::Tick;
use differential_dataflow::VecCollection;
use differential_dataflow::input::Input;
use differential_dataflow::operators::CountTotal;
use proptest::prelude::*;
use timely::dataflow::InputHandleVec;
use timely::dataflow::ProbeHandle;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Concatenate, Inspect, Probe};

/// A row: category, followers, the poster's place; the latter two may be null.
type Cells = (u8, Option<i64>, Option<usize>);

const POSTERS: [&str; 3] = ["Ann", "bob", "Zoe"];

fn poster(row: &Cells) -> Option<&'static str> {
    row.2.map(|p| POSTERS[p])
}

/// Shown of a category, as text; by the measure's place.
type Shown = BTreeMap<(u8, usize), String>;

fn measure(name: &str, returned: Option<&str>, kind: Kind) -> Measure {
    Measure { name: name.into(), returned: returned.map(Into::into), kind, filter: vec![] }
}

/// Every kind of measure of one key, over rows of three cells.
fn plan() -> Arc<Plan> {
    let [category, followers, poster] =
        [Column::Category, Column::FollowerCount, Column::PosterName].map(Expr::Column);
    let half = Fraction { num: 1, den: 2 };
    let quantile = |q, interpolated| Kind::Quantile { of: followers, q, interpolated };
    let metric = Metric {
        name: "m".into(),
        meaning: String::new(),
        fact: Fact::Sides([true, false, false]),
        join: Join::Newest,
        filter: vec![],
        keys: vec![Key { name: "category".into(), expr: category }],
        distinct: vec![category, followers, poster],
        measures: vec![
            measure("rows", None, Kind::Count),
            measure("values", None, Kind::CountOf(followers)),
            measure("sum", None, Kind::Sum(followers)),
            measure("posters", None, Kind::CountDistinct(poster)),
            measure("least", None, Kind::Min(followers)),
            measure("most", None, Kind::Max(followers)),
            measure("median", None, quantile(half, false)),
            measure("nine", None, quantile(Fraction { num: 9, den: 10 }, false)),
            measure("between", None, quantile(half, true)),
            measure("n", Some("poster"), Kind::Top { k: 1, of: poster }),
            measure("followers", Some("who"), Kind::Argmax { of: followers, returning: poster }),
        ],
        windows: vec![],
        retain: None,
        ties: Ties::First,
        keep_empty: true,
        export: 0,
        limit: None,
        output: Output::default(),
    };
    Arc::new(Plan::new(&[metric], &default_age_groups(), false))
}

fn cells(row: &Cells) -> [i64; 3] {
    [row.0.into(), row.1.unwrap_or(NULL), poster(row).map_or(NULL, |t| intern(t).cell())]
}

fn text(value: Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Int(n) => n.to_string(),
        Value::Ratio(a, b) => format!("{a}/{b}"),
        Value::Text(t) => t.as_str().into(),
    }
}

fn ours(shown: &mut Shown, change: &Change) {
    let category = change.key.keys[0] as u8;
    shown.retain(|(c, _), _| *c != category);
    for (n, value) in change.rows.first().into_iter().flatten().enumerate() {
        shown.insert((category, n), text(*value));
    }
}

/// All measures of a category's rows, from nothing.
fn recomputed(rows: &[(&Cells, isize)]) -> Vec<(usize, String)> {
    let all = || rows.iter().flat_map(|(r, n)| (0..*n).map(move |_| *r));
    let mut values: Vec<i64> = all().filter_map(|r| r.1).collect();
    values.sort_unstable();
    let posters: BTreeSet<&str> = all().filter_map(poster).collect();
    let at = |rank: usize| values.get(rank).map_or("null".into(), i64::to_string);
    let ranked = |num: usize, den: usize| at((num * values.len()).div_ceil(den).max(1) - 1);
    let between = match values.len() {
        0 => "null".into(),
        n if n % 2 == 1 => at(n / 2),
        n => {
            let twice = values[n / 2 - 1] + values[n / 2];
            if twice % 2 == 0 { (twice / 2).to_string() } else { format!("{twice}/2") }
        }
    };
    let often = |p: &str| all().filter(|r| poster(r) == Some(p)).count();
    let top = posters.iter().max_by_key(|p| (often(p), std::cmp::Reverse(**p)));
    let best = all().filter_map(|r| Some((r.1?, std::cmp::Reverse(poster(r)?)))).max();
    let null = || "null".to_string();
    [
        posters.len().to_string(),
        at(0),
        values.last().map_or_else(null, i64::to_string),
        ranked(1, 2),
        ranked(9, 10),
        between,
        top.map_or_else(null, ToString::to_string),
        top.map_or_else(null, |p| often(p).to_string()),
        best.map_or_else(null, |b| b.1.0.into()),
        best.map_or_else(null, |b| b.0.to_string()),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, text)| (n + 3, text))
    .collect()
}

/// The same by differential's operators: counts and sums by `count_total`, all else by `reduce`.
fn theirs(
    rows: VecCollection<'_, u64, Cells, isize>,
) -> VecCollection<'_, u64, ((u8, usize), String), isize> {
    let counted = rows.clone().map(|r| r.0).count_total();
    let counted = counted.map(|(category, n)| ((category, 0), n.to_string()));
    // Of rows without a value the count and the sum stay 0, which `count_total` does not show.
    let sums = rows.clone().explode(|r| {
        let value = r.1.map_or(0, |v| v as isize);
        [((r.0, 1), isize::from(r.1.is_some())), ((r.0, 2), value)]
    });
    let zeros = rows.clone().map(|r| r.0).distinct().flat_map(|c| [(c, 1), (c, 2)]);
    let sums = sums.count_total().concat(zeros.map(|key| (key, 0)));
    let sums = sums.reduce(|_, values, out| {
        let last = values.iter().map(|(v, _)| **v).find(|v| *v != 0).unwrap_or(0);
        out.push((last.to_string(), 1));
    });
    let others = rows.map(|r| (r.0, r)).reduce(|_, rows, out| {
        out.extend(recomputed(rows).into_iter().map(|shown| (shown, 1)));
    });
    let others = others.map(|(category, (n, text))| ((category, n), text));
    counted.concat(sums).concat(others)
}

fn updates(plan: &Plan, combine: &mut Combine, rows: Vec<(Cells, isize)>) -> Vec<Updates> {
    for (row, diff) in rows {
        let node = &plan.nodes[0];
        combine.placed(0, node, &node.look(&cells(&row)), (0, NULL), diff as i64);
    }
    let mut out = Vec::new();
    combine.drain(|u| out.push(u));
    out
}

type Kept<T> = Arc<Mutex<Vec<T>>>;

/// The groups operator as the graph has it.
struct Ours {
    groups: Groups,
    shown: Kept<(u64, Change)>,
}

impl Take<Updates, ()> for Ours {
    fn take(&mut self, list: &mut Vec<Updates>) {
        list.drain(..).for_each(|u| self.groups.update(&u));
    }

    fn end(&mut self, epoch: u64, tick: &Tick, _: &mut dyn FnMut(())) -> Step {
        let mut changes = Changes::default();
        self.groups.tick(tick, &mut changes);
        self.shown.lock().unwrap().extend(changes.list().into_iter().map(|c| (epoch, c)));
        Step::Done
    }
}

/// Runs the epochs' changes through both; what each shows after every epoch.
fn run(epochs: Vec<Vec<(Cells, isize)>>, workers: usize) -> (Vec<Shown>, Vec<Shown>) {
    let n = epochs.len();
    let (mine, differential): (Kept<(u64, Change)>, Kept<_>) = Default::default();
    let (a, b) = (mine.clone(), differential.clone());
    let config =
        if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
    let guards = timely::execute(config, move |worker| {
        let plan = plan();
        let (me, peers) = (worker.index(), worker.peers());
        let mut ticks = InputHandleVec::new();
        let probe = ProbeHandle::new();
        let mut rows = worker.dataflow::<u64, _, _>(|scope| {
            let (handle, rows) = scope.new_collection::<Cells, isize>();
            let ticks = ticks.to_stream(scope);
            let p = plan.clone();
            let mut combine = Combine::new(&p, peers);
            let rows_of = move |_, r| updates(&p, &mut combine, r);
            let changes = by_epoch(rows.clone().inner, "Rows", rows_of);
            let route = Exchange::new(|updates: &Updates| updates.to);
            let work = Ours { groups: Groups::new(plan.clone(), i64::MIN), shown: a.clone() };
            let done = taking(changes, ticks, route, "Groups", work);
            let b = b.clone();
            let theirs = theirs(rows).inner.inspect(move |c| b.lock().unwrap().push(c.clone()));
            let theirs = by_epoch(theirs, "Nothing", |_, _| Vec::<()>::new());
            scope.concatenate([done, theirs]).probe_with(&probe);
            handle
        });
        for (e, changes) in epochs.iter().enumerate() {
            for (row, diff) in changes.iter().skip(me).step_by(peers) {
                rows.update(*row, *diff);
            }
            rows.advance_to(e as u64 + 1);
            rows.flush();
            ticks.advance_to(e as u64);
            ticks.send(Tick { publish: true, ..Tick::default() });
            ticks.advance_to(e as u64 + 1);
            ticks.flush();
            while probe.less_equal(&(e as u64)) {
                worker.step();
            }
        }
    });
    guards.unwrap().join().into_iter().for_each(|r| r.unwrap());
    let mut own: Vec<Shown> = vec![Shown::new(); n];
    for e in 0..n {
        let mut shown = if e == 0 { Shown::new() } else { own[e - 1].clone() };
        let changes = mine.lock().unwrap();
        changes.iter().filter(|c| c.0 == e as u64).for_each(|c| ours(&mut shown, &c.1));
        own[e] = shown;
    }
    let changes = differential.lock().unwrap();
    let at = |e: usize| {
        let mut counts: BTreeMap<((u8, usize), String), isize> = BTreeMap::new();
        for (data, t, diff) in changes.iter().filter(|c| c.1 <= e as u64) {
            let _ = t;
            *counts.entry(data.clone()).or_default() += diff;
        }
        counts.retain(|_, n| *n != 0);
        assert!(counts.values().all(|n| *n == 1), "one value each: {counts:?}");
        counts.into_keys().collect::<Shown>()
    };
    (own, (0..n).map(at).collect())
}

/// Epochs of insertions and of removals of what is there.
fn history() -> impl Strategy<Value = Vec<Vec<(Cells, isize)>>> {
    let value = prop_oneof![1 => Just(None), 4 => (-3i64..9).prop_map(Some)];
    let row = (0u8..3, value, prop::option::of(0usize..3));
    let change = (row, any::<bool>(), any::<prop::sample::Index>());
    let epoch = prop::collection::vec(change, 0..12);
    prop::collection::vec(epoch, 1..8).prop_map(|epochs| {
        let mut there: Vec<Cells> = Vec::new();
        let mut one = |(row, add, which): (Cells, bool, prop::sample::Index)| {
            if add || there.is_empty() {
                there.push(row);
                (row, 1)
            } else {
                (there.swap_remove(which.index(there.len())), -1)
            }
        };
        epochs.into_iter().map(|e| e.into_iter().map(&mut one).collect()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn groups_equal_count_total_and_reduce(epochs in history(), workers in 1usize..4) {
        let (own, differential) = run(epochs, workers);
        for (e, (own, right)) in own.into_iter().zip(differential).enumerate() {
            prop_assert_eq!(own, right, "after epoch {}", e);
        }
    }

    #[test]
    fn distinct_rows_equal_the_general_distinct(epochs in history(), workers in 1usize..4) {
        let right: Kept<(DistinctRow, u64, isize)> = Arc::default();
        let (list, all) = (right.clone(), epochs.clone());
        timely::execute_directly(move |worker| {
            let mut input = worker.dataflow::<u64, _, _>(|scope| {
                let (input, rows) = scope.new_collection::<DistinctRow, isize>();
                rows.distinct().inner.inspect(move |c| list.lock().unwrap().push(*c));
                input
            });
            for (e, changes) in all.into_iter().enumerate() {
                changes.iter().for_each(|(row, diff)| input.update(distinct_row(row), *diff));
                input.advance_to(e as u64 + 1);
                input.flush();
            }
        });
        let left = distinct_changes(&epochs, workers);
        let mut counts: BTreeMap<(u64, DistinctRow), isize> = BTreeMap::new();
        for (row, e, diff) in right.lock().unwrap().iter() {
            *counts.entry((*e, *row)).or_default() += diff;
        }
        counts.retain(|_, n| *n != 0);
        prop_assert_eq!(left, counts);
    }
}

/// A window, its start, and the cells of a row in it.
type DistinctRow = (u16, i64, [i64; 3]);

fn distinct_row(row: &Cells) -> DistinctRow {
    (u16::from(row.0 == 1), i64::from(row.0 == 2) * 3_600_000_000, cells(row))
}

/// The changes of distinct rows at each epoch, by the operator's state on so many workers. A
/// group for each of the rows tells them apart.
fn distinct_changes(
    epochs: &[Vec<(Cells, isize)>],
    workers: usize,
) -> BTreeMap<(u64, DistinctRow), isize> {
    let mut metric = plan().metrics[0].schema.metric.clone();
    let key = |expr: &Expr| Key { name: expr.name(), expr: *expr };
    metric.keys = metric.distinct.iter().map(key).collect();
    metric.measures.truncate(1);
    let plan = Arc::new(Plan::new(&[metric], &default_age_groups(), false));
    let (node, form) = (&plan.nodes[0], Words::of(&plan.nodes[0]));
    let state = |_| Distinct::new(plan.clone(), workers, i64::MIN);
    let mut states: Vec<Distinct> = (0..workers).map(state).collect();
    let mut combine = Combine::of_rows(&plan, workers);
    let mut changed = BTreeMap::new();
    for (e, changes) in epochs.iter().enumerate() {
        for (row, diff) in changes {
            let (window, start, cells) = distinct_row(row);
            combine.placed(0, node.first(), &cells, (window, start), *diff as i64);
        }
        combine.drain(|updates| states[updates.to as usize].update(&updates));
        for state in &mut states {
            let (combine, step) = state.tick(&Tick::default());
            assert_eq!(step, Step::Done, "they are few");
            combine.drain(|updates| {
                for entry in updates.words.chunks_exact(form.width()) {
                    let cells = form.keys(entry)[..].try_into().unwrap();
                    let row = (window(entry[0]), start(entry[0]), cells);
                    *changed.entry((e as u64, row)).or_default() += form.sum(entry, 0) as isize;
                }
            });
        }
    }
    let held: usize = states.iter().map(|s| s.size().0).sum();
    assert_eq!(held as isize, changed.values().sum::<isize>(), "rows that are gone leave memory");
    changed.retain(|_, n| *n != 0);
    changed
}

#[test]
fn symbols_order_as_their_texts() {
    let list: BTreeSet<Sym> = POSTERS.iter().map(|t| intern(t)).collect();
    let texts: Vec<&str> = list.iter().map(|s| s.as_str()).collect();
    assert_eq!(texts, ["Ann", "Zoe", "bob"]);
}
