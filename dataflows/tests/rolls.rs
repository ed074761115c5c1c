//! Windows that are rolled up from others, whether from each change or, before anything has been
//! shown, from all groups at once: against a count of all rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dataflows::metrics::changes::Changes;
use dataflows::metrics::declare::{
    Expr, Fact, Join, Key, Kind, Measure, Metric, Output, Shape, Ties, Time, Window,
    default_age_groups,
};
use dataflows::metrics::group::Groups;
use dataflows::metrics::group::distinct::Distinct;
use dataflows::metrics::plan::Plan;
use dataflows::metrics::update::Combine;
use dataflows::metrics::value::{GroupKey, Value};
use dataflows::operators::Step;
use dataflows::record::Column;
use dataflows::symbol::intern;
use dataflows::tick::Tick;
use dataflows::time::{DAY, HOUR};
use proptest::prelude::*;

/// A row: when it came, its category, and a number.
type Row = (i64, u8, i64);
/// What is shown, by window, start and category.
type Shown = BTreeMap<(u16, i64, i64), (i128, i128)>;

/// Rows count once where `distinct`.
fn plan(distinct: bool) -> Arc<Plan> {
    let columns = [Column::Category, Column::FollowerCount].map(Expr::Column);
    let measure =
        |name: &str, kind| Measure { name: name.into(), returned: None, kind, filter: vec![] };
    let shapes = [Shape::Month, Shape::Tumbling { size: HOUR }, Shape::Tumbling { size: DAY }];
    let metric = Metric {
        name: "m".into(),
        meaning: String::new(),
        fact: Fact::Sides([true, false, false]),
        join: Join::Newest,
        filter: vec![],
        keys: vec![Key { name: "category".into(), expr: Expr::Column(Column::Category) }],
        distinct: if distinct { columns.to_vec() } else { vec![] },
        measures: vec![
            measure("rows", Kind::Count),
            measure("sum", Kind::Sum(Expr::Column(Column::FollowerCount))),
        ],
        windows: shapes.map(|shape| Window { time: Time::Arrival, shape }).to_vec(),
        retain: None,
        ties: Ties::First,
        keep_empty: false,
        export: 0,
        limit: None,
        output: Output::default(),
    };
    Arc::new(Plan::new(&[metric], &default_age_groups(), false))
}

fn category(n: u8) -> i64 {
    intern(&format!("category {n}")).cell()
}

fn counted(plan: &Plan, rows: &[Row]) -> Shown {
    let (mut all, mut once) = (Shown::new(), BTreeSet::new());
    for (at, name, number) in rows {
        for (w, window) in plan.nodes[0].windows.iter().enumerate() {
            for start in window.starts(*at) {
                if plan.has_distinct() && !once.insert((w, start, name, number)) {
                    continue;
                }
                let group = all.entry((w as u16, start, category(*name))).or_default();
                *group = (group.0 + 1, group.1 + i128::from(*number));
            }
        }
    }
    all
}

/// What a change makes of what was shown.
fn change(shown: &mut Shown, key: &GroupKey, rows: &[impl AsRef<[Value]>]) {
    let place = (key.window, key.start, key.keys[0]);
    match rows.first().map(AsRef::as_ref) {
        Some([Value::Int(count), Value::Int(sum)]) => {
            shown.insert(place, (*count, *sum));
        }
        other => {
            assert_eq!(other, None);
            assert!(shown.remove(&place).is_some(), "what is not shown cannot go");
        }
    }
}

proptest! {
    #[test]
    fn what_is_rolled_up_late_is_what_is_rolled_up_at_once(
        // Rows that come, how many of those before them go, and whether that is shown.
        steps in prop::collection::vec(
            (
                prop::collection::vec((0..90 * DAY, 0u8..4, -5i64..5), 0..3000),
                0usize..2000,
                any::<bool>(),
            ),
            1..6,
        ),
        once in any::<bool>(),
    ) {
        let plan = plan(once);
        let node = plan.nodes[0].first();
        assert_eq!(node.roll_ups, [Some(1), None, Some(1)]);
        let mut groups = Groups::new(plan.clone(), i64::MIN);
        let mut distinct = Distinct::new(plan.clone(), 1, i64::MIN);
        let (mut combine, mut rows, mut shown) = (Combine::of_rows(&plan, 1), vec![], Shown::new());
        for (came, go, publish) in steps {
            rows.extend(came.iter().copied());
            let gone: Vec<Row> = rows.drain(..go.min(rows.len())).collect();
            let signed = came.iter().map(|r| (r, 1)).chain(gone.iter().map(|r| (r, -1)));
            for ((at, name, number), diff) in signed {
                combine.row(0, node, &[category(*name), *number], *at, diff);
            }
            let (mut changes, tick) =
                (Changes::default(), Tick { now: 0, publish, ..Tick::default() });
            if once {
                combine.drain(|updates| distinct.update(&updates));
                let mut step = Step::More;
                while step == Step::More {
                    let given = distinct.tick(&tick);
                    given.0.drain(|updates| groups.update(&updates));
                    step = given.1;
                }
            } else {
                combine.drain(|updates| groups.update(&updates));
            }
            groups.tick(&tick, &mut changes);
            changes.list().iter().for_each(|c| change(&mut shown, &c.key, &c.rows));
            if publish {
                prop_assert_eq!(&shown, &counted(&plan, &rows));
            }
        }
    }
}
