//! From rows to what is shown of groups, against a recomputation from nothing: many groups and
//! few, windows that slide over arrivals and windows that retire, rows that come, go and come late,
//! put together and drained at any moment, for one worker and for several.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use dataflows::assemble::block::Block;
use dataflows::assemble::codec::{Encoder, Numbers, texts};
use dataflows::assemble::layout::Header;
use dataflows::assemble::{Assemble, Partitions};
use dataflows::metrics::changes::Changes;
use dataflows::metrics::declare::{
    Expr, Fact, Fraction, Join, Key, Kind, Measure, Meta, Metric, Output, Shape, Ties, Time,
    Window, default_age_groups,
};
use dataflows::metrics::group::Groups;
use dataflows::metrics::group::distinct::Distinct;
use dataflows::metrics::meta;
use dataflows::metrics::plan::Plan;
use dataflows::metrics::update::{Combine, Placing, SLIDING};
use dataflows::metrics::value::{Change, NULL, Value, Values};
use dataflows::metrics::words::{HEAD, Words, window};
use dataflows::operators;
use dataflows::record::{Column, Origin, Stream};
use dataflows::symbol::intern;
use dataflows::tick::Tick;
use proptest::prelude::*;

/// A row: category, followers, the poster's number.
type Cells = (u16, Option<i64>, u8);
/// Where it belongs: the window or [`SLIDING`], and the start or the bucket.
type At = (u16, i64);
/// What is shown, by window, start and category.
type Shown = BTreeMap<(u16, i64, u16), Vec<Values>>;

const SIZES: [i64; 2] = [60 * MS, 300 * MS];
const EVERY: i64 = 10 * MS;
const HOUR: i64 = 3600 * MS;
const RETAIN: i64 = 1800 * MS;
/// Microseconds of a millisecond, the least that windows tell apart.
const MS: i64 = 1000;

fn plan() -> Arc<Plan> {
    let [category, followers, poster] =
        [Column::Category, Column::FollowerCount, Column::PosterName].map(Expr::Column);
    let measure = |name: &str, returned: Option<&str>, kind| Measure {
        name: name.into(),
        returned: returned.map(Into::into),
        kind,
        filter: vec![],
    };
    let q = Fraction { num: 1, den: 2 };
    let window = |time, shape| Window { time, shape };
    let sliding = |size| window(Time::Arrival, Shape::Sliding { size, every: EVERY });
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
            measure("sum", None, Kind::Sum(followers)),
            measure("median", None, Kind::Quantile { of: followers, q, interpolated: false }),
            measure("n", Some("poster"), Kind::Top { k: 1, of: poster }),
            measure("followers", Some("who"), Kind::Argmax { of: followers, returning: poster }),
        ],
        windows: vec![
            sliding(SIZES[0]),
            window(Time::Arrival, Shape::Tumbling { size: HOUR }),
            sliding(SIZES[1]),
        ],
        retain: Some(RETAIN),
        ties: Ties::First,
        keep_empty: false,
        export: 0,
        limit: None,
        output: Output::default(),
    };
    Arc::new(Plan::new(&[metric], &default_age_groups(), false))
}

fn poster(row: &Cells) -> i64 {
    intern(&format!("poster {}", row.2 % 7)).cell()
}

/// What is to be shown of some rows.
fn measured(rows: &[Cells]) -> Values {
    let text = |cell| Value::Text(dataflows::symbol::Sym::from_cell(cell));
    let mut values: Vec<i64> = rows.iter().filter_map(|r| r.1).collect();
    values.sort_unstable();
    let median = values.get(values.len().div_ceil(2).max(1) - 1);
    let mut often: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for row in rows {
        let name = format!("poster {}", row.2 % 7);
        often.entry(name).or_insert((0, poster(row))).0 += 1;
    }
    // The first of the most frequent, the first of those with the most followers.
    let most = often.values().map(|(n, _)| *n).max().unwrap();
    let top = often.values().find(|(n, _)| *n == most).unwrap().1;
    let best = values.last().map(|best| {
        let tied = rows.iter().filter(|r| r.1 == Some(*best));
        let first = tied.min_by_key(|r| r.2 % 7).unwrap();
        [text(poster(first)), Value::Int((*best).into())]
    });
    let mut out: Values = [
        Value::Int(rows.len() as i128),
        Value::Int(values.iter().map(|v| i128::from(*v)).sum()),
        median.map_or(Value::Null, |v| Value::Int((*v).into())),
        text(top),
        Value::Int(most.into()),
    ]
    .into_iter()
    .collect();
    out.extend(best.unwrap_or([Value::Null, Value::Null]));
    out
}

/// All that is to be shown at a time, from all rows that are there.
fn recomputed(rows: &[(At, Cells)], now: i64) -> Shown {
    let mut groups: BTreeMap<(u16, i64, u16), Vec<Cells>> = BTreeMap::new();
    for ((window, start), row) in rows {
        if *window != SLIDING {
            if now < start + HOUR + RETAIN {
                groups.entry((*window, *start, row.0)).or_default().push(*row);
            }
            continue;
        }
        for (w, size) in [(0, SIZES[0]), (2, SIZES[1])] {
            let (from, to) = Window::latest(size, EVERY, now, false);
            if (from..to).contains(start) {
                groups.entry((w, NULL, row.0)).or_default().push(*row);
            }
        }
    }
    groups.into_iter().map(|(key, rows)| (key, vec![measured(&rows)])).collect()
}

/// One worker's groups, and the window that it is the owner of a group in.
struct Workers {
    plan: Arc<Plan>,
    combine: Combine,
    groups: Vec<Groups>,
    owners: BTreeMap<i64, u64>,
}

impl Workers {
    fn change(&mut self, at: At, row: &Cells, diff: i64) {
        let category = intern(&format!("category {}", row.0)).cell();
        let cells = [category, row.1.unwrap_or(NULL), poster(row)];
        let node = &self.plan.nodes[0];
        self.combine.placed(0, node, &node.look(&cells), at, diff);
    }

    fn drain(&mut self) {
        let Workers { plan, combine, groups, owners } = self;
        let width = Words::of(&plan.nodes[0]).width();
        combine.drain(|updates| {
            assert_eq!(updates.words.len() % width, 0);
            for entry in updates.words.chunks_exact(width) {
                assert_eq!(*owners.entry(entry[HEAD]).or_insert(updates.to), updates.to);
            }
            groups[updates.to as usize].update(&updates);
        });
    }
}

/// A step: how many rows come and go, where, and how far the clock moves.
type Step = (u16, u16, u8, i64);

fn run(workers: usize, categories: u16, steps: &[Step], seed: u64) {
    let plan = plan();
    let groups = (0..workers).map(|_| Groups::new(plan.clone(), i64::MIN)).collect();
    let combine = Combine::new(&plan, workers);
    let mut all = Workers { plan, combine, groups, owners: BTreeMap::new() };
    let mut random = seed | 1;
    let mut below = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % n
    };
    let (mut rows, mut shown, mut now) = (Vec::new(), Shown::new(), 10_000 * MS);
    for (come, go, kind, wait) in steps {
        for _ in 0..*come {
            let followers = (below(5) > 0).then(|| below(900) as i64 - 20);
            let row = (below(categories.into()) as u16, followers, below(250) as u8);
            let late = below(200) as i64 * MS;
            let at = match below(3) {
                0 => (1, (now - 30 * late).div_euclid(HOUR) * HOUR),
                _ => (SLIDING, (now - late + 5 * MS).div_euclid(EVERY) * EVERY),
            };
            all.change(at, &row, 1);
            // What is retired when it comes is nowhere.
            if at.0 == SLIDING || now < at.1 + HOUR + RETAIN {
                rows.push((at, row));
            }
            if below(50) == 0 {
                all.drain();
            }
        }
        for _ in 0..(*go).min(rows.len() as u16) {
            let (at, row) = rows.swap_remove(below(rows.len() as u64) as usize);
            // Some come and go more than once, the going first.
            for diff in if below(4) == 0 { &[-1, 1, -1][..] } else { &[-1] } {
                all.change(at, &row, *diff);
            }
        }
        all.drain();
        now += wait * MS;
        let tick = Tick { now, publish: kind % 3 > 0, ..Tick::default() };
        for groups in &mut all.groups {
            let mut changes = Changes::default();
            groups.tick(&tick, &mut changes);
            for change in changes.list() {
                let text = dataflows::symbol::Sym::from_cell(change.key.keys[0]).as_str();
                let category = text.trim_start_matches("category ").parse().unwrap();
                let key = (change.key.window, change.key.start, category);
                if change.rows.is_empty() {
                    assert!(shown.remove(&key).is_some(), "what is not shown cannot go");
                } else {
                    shown.insert(key, change.rows);
                }
            }
        }
        if tick.publish {
            assert_eq!(shown, recomputed(&rows, now));
        }
    }
    now += 100 * HOUR;
    for groups in &mut all.groups {
        groups.tick(&Tick { now, publish: true, ..Tick::default() }, &mut Changes::default());
        let sizes = groups.sizes();
        assert!(sizes.iter().all(|s| (s.groups, s.shares, s.bytes, s.share_bytes) == (0, 0, 0, 0)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_shown_is_what_a_recomputation_gives(
        workers in 1usize..5,
        categories in prop::sample::select(vec![1u16, 3, 100, 6000]),
        steps in prop::collection::vec((0u16..900, 0u16..700, any::<u8>(), 0i64..150), 1..8),
        far in prop::option::of(1000i64..9000),
        seed in any::<u64>(),
    ) {
        let mut steps = steps;
        if let Some(step) = steps.first_mut() {
            step.3 += far.unwrap_or(0);
        }
        run(workers, categories, &steps, seed);
    }
}

proptest! {
    #[test]
    fn no_window_tells_old_counts_apart_that_are_put_together(
        size in prop::sample::select(vec![60i64, 300, 3600, 7200, 86_400, 90_000]),
        sliding in prop::option::of(1i64..50),
        at in -1_000_000_000i64..1_000_000_000,
        now in 0i64..1_000_000_000,
    ) {
        const SECOND: i64 = 1_000_000;
        let (size, at, now) = (size * SECOND, at * SECOND, now * SECOND);
        let mut windows = vec![Window { time: Time::Arrival, shape: Shape::Tumbling { size } }];
        windows.push(Window { time: Time::Arrival, shape: Shape::Month });
        let every = 10 * SECOND;
        let shape = |n| Shape::Sliding { size: n * 3600 * SECOND, every };
        windows.extend(sliding.map(|n| Window { time: Time::Arrival, shape: shape(n) }));
        let mut metric = plan().metrics[0].schema.metric.clone();
        metric.fact = Fact::Records;
        metric.keys = vec![Key { name: "stream".into(), expr: Expr::Meta(Meta::Stream) }];
        (metric.distinct, metric.windows, metric.retain) = (vec![], windows, None);
        metric.measures.truncate(1);
        let plan = Plan::new(&[metric], &default_age_groups(), false);
        let (after, grain) = meta::coarser(&plan);
        let placed = |bucket| {
            let mut out = Vec::new();
            Placing::of(&plan.nodes[0]).each(&[NULL; 3], bucket, |window, start| {
                let slides = window == SLIDING;
                let hours = sliding.filter(|_| slides).map_or(0, |n| n * 3600 * SECOND);
                let (from, to) = Window::latest(hours, every, now, false);
                if !slides || (from..to).contains(&bucket) {
                    out.push((window, if slides { NULL } else { start }));
                }
                // And in what is rolled up from it.
                let rolls = plan.nodes[0].roll_ups.iter().enumerate().filter(|_| !slides);
                for (to, _) in rolls.filter(|(_, from)| **from == Some(usize::from(window))) {
                    let starts = plan.nodes[0].windows[to].starts(start);
                    out.extend(starts.map(|start| (to as u16, start)));
                }
            });
            out
        };
        if at < now - after {
            prop_assert_eq!(placed(at), placed(at.div_euclid(grain) * grain));
        }
        prop_assert_eq!((3600 * SECOND) % grain, 0);
    }
}

#[test]
fn distinct_rows_are_given_on_in_pieces_and_leave_memory_with_their_windows() {
    let plan = plan();
    let (node, form) = (&plan.nodes[0], Words::of(&plan.nodes[0]));
    let mut distinct = Distinct::new(plan.clone(), 1, i64::MIN);
    let mut rows = Combine::of_rows(&plan, 1);
    let now = 100 * HOUR;
    let many = 100_000;
    for n in 0..2 * many {
        let cells = [intern("one").cell(), n % many, NULL];
        for at in [(1, now), (SLIDING, now - 100 * MS)] {
            rows.placed(0, node.first(), &cells, at, 1);
        }
    }
    rows.drain(|updates| distinct.update(&updates));
    let mut ticked = |now, publish| {
        let (mut given, mut calls, tick) = ([0; 3], 0, Tick { now, publish, ..Tick::default() });
        loop {
            let (combine, step) = distinct.tick(&tick);
            combine.drain(|updates| {
                for entry in updates.words.chunks_exact(form.width()) {
                    given[usize::from(window(entry[0]))] += form.sum(entry, 0) as i64;
                }
            });
            calls += 1;
            if step == operators::Step::Done {
                return (given, calls, distinct.size());
            }
        }
    };
    // In the hour, and once they are shown in the longer of the windows that slide.
    let (given, some, (held, _)) = ticked(now, false);
    assert_eq!((given, held as i64), ([0, many, 0], 2 * many));
    let (given, others, (held, bytes)) = ticked(now, true);
    assert_eq!((given, held as i64), ([0, 0, many], 3 * many));
    assert!(some + others > 5 && bytes > 3 * many as usize * 20, "{some} {others} {bytes}");
    let (given, _, (held, _)) = ticked(now + 500 * MS, true);
    assert_eq!((given, held as i64), ([0, 0, -many], many));
    let (given, _, size) = ticked(now + HOUR + RETAIN, true);
    assert_eq!((given, size), ([0, -many, 0], (0, 0)));
    let mut one = |at| {
        rows.placed(0, node.first(), &[NULL; 3], at, 1);
        rows.drain(|updates| distinct.update(&updates));
    };
    one((1, now + 2 * HOUR));
    let (_, step) = distinct.tick(&Tick { now: now + 2 * HOUR, last: true, ..Tick::default() });
    assert_eq!((step, distinct.size()), (operators::Step::Done, (0, 0)));
}

#[test]
fn buckets_leave_memory_when_no_window_holds_them_or_is_going_to() {
    let plan = plan();
    let (node, now) = (&plan.nodes[0], 100 * HOUR);
    for shown in [false, true] {
        let mut distinct = Distinct::new(plan.clone(), 1, i64::MIN);
        let mut rows = Combine::of_rows(&plan, 1);
        rows.placed(0, node.first(), &[NULL; 3], (SLIDING, now - 100 * MS), 1);
        rows.drain(|updates| distinct.update(&updates));
        let mut held = |now, publish| {
            while distinct.tick(&Tick { now, publish, ..Tick::default() }).1
                != operators::Step::Done
            {}
            distinct.size().0
        };
        // The share, and the row in the longer of the windows.
        assert_eq!(held(now, shown), if shown { 2 } else { 1 });
        // It is taken out of windows when these are shown again.
        assert_eq!(held(now + HOUR, false), if shown { 2 } else { 0 });
        assert_eq!(held(now + HOUR, true), 0);
    }
}

#[test]
fn groups_without_keys_have_not_all_one_owner() {
    let plan = plan();
    let one = plan.metrics[0].schema.metric.clone();
    let metrics: Vec<Metric> = (0..32)
        .map(|n| Metric { name: format!("m{n}"), keys: vec![], retain: Some(n), ..one.clone() })
        .collect();
    let plan = Arc::new(Plan::new(&metrics, &default_age_groups(), false));
    let mut combine = Combine::new(&plan, 4);
    for (n, node) in plan.nodes.iter().enumerate() {
        combine.placed(n, node, &node.look(&[NULL; 3]), (1, 0), 1);
    }
    let mut owned = [0; 4];
    combine.drain(|updates| owned[updates.to as usize] += 1);
    assert_eq!((plan.nodes.len(), owned.iter().sum::<i32>()), (32, 32));
    assert!(owned.iter().all(|n| (2..20).contains(n)), "{owned:?}");
}

#[test]
fn what_comes_back_makes_no_group_of_a_window_that_has_retired() {
    let plan = plan();
    for (now, groups) in [(0, 2), (HOUR + RETAIN, 1), (2 * HOUR + RETAIN, 0)] {
        let mut all = Workers {
            combine: Combine::new(&plan, 1),
            groups: vec![Groups::new(plan.clone(), now)],
            plan: plan.clone(),
            owners: BTreeMap::new(),
        };
        [0, HOUR].into_iter().for_each(|start| all.change((1, start), &(0, None, 0), 1));
        all.drain();
        assert_eq!(all.groups[0].sizes()[0].groups, groups, "as of {now}");
    }
}

/// Of a window that has retired nothing is taken up, of one that is rolled up from it all.
#[test]
fn what_is_too_late_for_an_hour_counts_in_its_day() {
    let mut metric = plan().metrics[0].schema.metric.clone();
    let tumbling = |size| Window { time: Time::Arrival, shape: Shape::Tumbling { size } };
    metric.windows = vec![tumbling(HOUR), tumbling(24 * HOUR)];
    metric.distinct = vec![];
    metric.measures.truncate(3);
    let plan = Arc::new(Plan::new(&[metric], &default_age_groups(), false));
    let (mut combine, mut groups) = (Combine::new(&plan, 1), Groups::new(plan.clone(), 0));
    let mut step = |start, followers, diff, now| {
        let cells = [intern("one").cell(), followers, NULL];
        combine.placed(0, &plan.nodes[0], &cells, (0, start), diff);
        combine.drain(|updates| groups.update(&updates));
        let mut changes = Changes::default();
        groups.tick(&Tick { now, publish: true, ..Tick::default() }, &mut changes);
        let shown = |c: &Change| {
            let row = c.rows.first().map(|row| row.to_vec());
            (c.key.window, c.key.start, row)
        };
        let mut list: Vec<_> = changes.list().iter().map(shown).collect();
        list.sort_by_key(|(window, start, _)| (*window, *start));
        list
    };
    let row = |rows, sum, median| Some([rows, sum, median].map(Value::Int).to_vec());
    assert_eq!(step(0, 5, 1, HOUR / 2), [(0, 0, row(1, 5, 5)), (1, 0, row(1, 5, 5))]);
    let now = HOUR + RETAIN;
    let want = [(0, 0, None), (0, HOUR, row(1, 7, 7)), (1, 0, row(2, 12, 5))];
    assert_eq!(step(HOUR, 7, 1, now), want);
    assert_eq!(step(0, 9, 1, now), [(1, 0, row(3, 21, 7))]);
    assert_eq!(step(0, 5, -1, now), [(1, 0, row(2, 16, 7))]);
}

#[test]
fn what_comes_back_holds_no_arrivals_that_no_window_reaches() {
    let mut metric = plan().metrics[0].schema.metric.clone();
    metric.fact = Fact::Arrivals([true, false, false]);
    metric.distinct = vec![];
    metric.windows.truncate(1);
    metric.measures.truncate(1);
    let plan = Arc::new(Plan::new(&[metric], &default_age_groups(), false));
    let (mut numbers, slot) = (Numbers::default(), vec![0; plan.layout.stride]);
    let origin = Origin { arrived_at: 500 * MS, partition: 0, position: 0, sub: 0 };
    let counts = [(500 * MS, 1), (600 * MS, 2)];
    let mut encoder = Encoder::new(&plan.layout, &mut numbers);
    encoder.side((7, Header { origin, hash: 7 }), &slot, Stream::Pin, &counts);
    let (blocks, named) = encoder.finish();
    let blocks: Vec<Vec<u8>> = blocks.iter().map(Block::bytes).collect();
    let texts = texts(&named).unwrap();
    for (now, held) in [(0, 2), (550 * MS, 2), (600 * MS, 1), (HOUR, 0)] {
        let mut assemble = Assemble::new(plan.clone(), Partitions::default(), 1);
        assemble.restore(&blocks, &texts, (0, 1), now).unwrap();
        let [(posts, _), (arrivals, _)] = assemble.sizes();
        assert_eq!((posts, arrivals), (1, held), "as of {now}");
    }
}
