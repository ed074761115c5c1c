//! What is shared is said to be, and the operators are those that the dataflow has.

use super::*;
use crate::metrics::declare::{
    Condition, Constant, Fact, Key, Measure, Op, Output, Shape, Ties, default_age_groups,
};
use crate::metrics::plan::Touched;
use crate::metrics::value::NULL;
use crate::record::Column;
use crate::time::{HOUR, SECOND};

const CATEGORY: Expr = Expr::Column(Column::Category);
const FOLLOWERS: Expr = Expr::Column(Column::FollowerCount);

fn metric(name: &str, fact: Fact, kinds: &[(&str, Kind)]) -> Metric {
    let measure = |(name, kind): &(&str, Kind)| Measure {
        name: (*name).into(),
        returned: None,
        kind: *kind,
        filter: vec![],
    };
    Metric {
        name: name.into(),
        meaning: String::new(),
        fact,
        join: Join::Newest,
        filter: vec![Condition::Compare(
            Expr::Year(Column::Timestamp),
            Op::Ge,
            Constant::Int(2018),
        )],
        keys: vec![Key { name: "category".into(), expr: CATEGORY }],
        distinct: vec![],
        measures: kinds.iter().map(measure).collect(),
        windows: vec![],
        retain: None,
        ties: Ties::First,
        keep_empty: false,
        export: 100,
        limit: None,
        output: Output::default(),
    }
}

fn explained(metrics: &[Metric]) -> Explained {
    Explained::new(&Plan::new(metrics, &default_age_groups(), false))
}

#[test]
fn metrics_of_the_same_rows_share_a_node_and_its_cells() {
    let fact = Fact::Sides([true, true, false]);
    let median = Kind::Quantile {
        of: FOLLOWERS,
        q: crate::metrics::declare::Fraction { num: 1, den: 2 },
        interpolated: false,
    };
    let e = explained(&[
        metric("a", fact, &[("mean", Kind::Mean(FOLLOWERS)), ("median", median)]),
        metric("b", fact, &[("sum", Kind::Sum(FOLLOWERS)), ("most", Kind::Max(FOLLOWERS))]),
    ]);
    let [node] = &e.groups[..] else { panic!("one node, not {}", e.groups.len()) };
    assert_eq!(node.name, "Groups of a");
    assert_eq!(
        (&*node.of, &node.keys, &node.filter),
        ("pin+geo", &vec!["category".to_string()], &vec!["post_year >= 2018".to_string()])
    );
    let cells: Vec<_> = node.cells.iter().map(|c| (&*c.what, c.measures.join(" "))).collect();
    let want = [
        ("rows", String::new()),
        ("values of follower_count", "a.mean b.sum".into()),
        ("sum of follower_count", "a.mean b.sum".into()),
    ];
    assert_eq!(cells, want);
    let sets: Vec<_> = node.multisets.iter().map(|s| (&*s.what, s.measures.join(" "))).collect();
    assert_eq!(sets, [("values of follower_count, in order", "a.median b.most".to_string())]);
    let columns = &e.post.sides[0].columns;
    let column = |n: &str| columns.iter().find(|c| c.name == n).map(|c| (c.bytes, &*c.form));
    assert_eq!(column("follower_count"), Some((8, "int")));
    assert_eq!(column("category"), Some((4, "symbol")));
    let sum: usize = e
        .post
        .sides
        .iter()
        .map(|s| s.header_bytes + s.columns.iter().map(|c| c.bytes).sum::<usize>())
        .sum();
    assert_eq!(e.post.slot_bytes, e.post.head_bytes + sum + e.post.padding_bytes);
}

#[test]
fn a_metric_of_some_rows_is_kept_in_the_groups_of_all() {
    let tumbling = |size| Window { time: Time::Event, shape: Shape::Tumbling { size } };
    let mut all = metric("all", Fact::Sides([true, true, false]), &[("n", Kind::Count)]);
    all.windows = vec![tumbling(24 * HOUR), tumbling(HOUR)];
    let of = |change: &dyn Fn(&mut Metric)| {
        let mut one = metric("some", Fact::Sides([true; 3]), &[("n", Kind::Count)]);
        one.windows = vec![tumbling(HOUR)];
        change(&mut one);
        // The narrower one is declared first.
        let groups = explained(&[one, all.clone()]).groups;
        let parts = groups[0].parts.iter().map(|part| {
            let [filter, windows] = [&part.filter, &part.windows].map(|list| list.join(" "));
            format!("{} {filter}: {windows}", part.metric)
        });
        (groups.len(), groups[0].metrics.join(" "), parts.collect::<Vec<_>>().join("; "))
    };
    let shared = |what: &str| (1, "all some".to_owned(), what.to_owned());
    assert_eq!(of(&|_| {}), shared("some user is there: hour"));
    let art = Condition::Compare(CATEGORY, Op::Eq, Constant::Text("art".into()));
    assert_eq!(of(&|m| m.windows.clear()).0, 2);
    assert_eq!(of(&|m| m.retain = Some(HOUR)).0, 2);
    assert_eq!(of(&|m| m.distinct = vec![CATEGORY]).0, 2);
    assert_eq!(of(&|m| m.join = Join::Bag).0, 2);
    assert_eq!(of(&|m| m.keys.clear()).0, 2);
    assert_eq!(of(&|m| m.fact = Fact::Sides([true, false, true])).0, 2);
    assert_eq!(of(&|m| m.filter.clear()).0, 2);
    assert_eq!(of(&|m| m.measures[0].kind = Kind::Max(FOLLOWERS)).0, 2);
    // Sums of values are of two words.
    assert_eq!(of(&|m| m.measures[0].kind = Kind::CountOf(FOLLOWERS)).0, 1);
    assert_eq!(of(&|m| m.measures[0].kind = Kind::Sum(FOLLOWERS)).0, 2);
    let by_key = |m: &mut Metric| {
        m.fact = Fact::Sides([true, true, false]);
        m.windows = vec![m.windows[0], tumbling(24 * HOUR)];
        m.filter.push(Condition::Compare(CATEGORY, Op::Eq, Constant::Text("art".into())));
    };
    assert_eq!(of(&by_key), shared("some category = 'art': "));
    let mut narrow = metric("some", Fact::Sides([true; 3]), &[("n", Kind::CountOf(FOLLOWERS))]);
    narrow.windows.clone_from(&all.windows);
    narrow.filter.extend([art, Condition::IsNull(FOLLOWERS, false)]);
    let [node] = &explained(&[all, narrow]).groups[..] else { panic!("one node") };
    let cells: Vec<_> =
        node.cells.iter().map(|c| (c.filter.join(" "), c.measures.join(" "))).collect();
    let of = "follower_count is not null user is there";
    let want = [("", "all.n"), (of, "some"), (of, "some.n")].map(|(a, b)| (a.into(), b.into()));
    assert_eq!(cells, want);
}

#[test]
fn groups_have_no_more_cells_for_other_metrics_than_it_is_worth() {
    let all = metric("all", Fact::Sides([true, true, false]), &[("n", Kind::Count)]);
    let most = metric("all", all.fact, &[("most", Kind::Max(FOLLOWERS))]);
    let narrow = |n: i64| {
        let mut one = metric("some", all.fact, &[("n", Kind::Count)]);
        one.filter.push(Condition::Compare(FOLLOWERS, Op::Ge, Constant::Int(n)));
        one
    };
    let nodes = |metrics: &[Metric]| {
        explained(metrics).groups.iter().map(|node| node.cells.len()).collect::<Vec<_>>()
    };
    let several = |n| [vec![all.clone()], (0..n).map(narrow).collect()].concat();
    assert_eq!(nodes(&several(4)), [5]);
    assert_eq!(nodes(&several(6)), [5, 1, 1]);
    // Those of the same rows have the same cells, and are kept together in any case.
    let alike = [vec![all.clone()], vec![narrow(1); 6]].concat();
    assert_eq!(nodes(&alike), [2]);
    let mut sums = narrow(1);
    sums.measures[0].kind = Kind::Mean(FOLLOWERS);
    assert_eq!(nodes(&[all.clone(), narrow(1), sums]), [1, 3]);
    // Where a multiset would get a post's value again as its user comes.
    let posts = metric("posts", Fact::Sides([true; 3]), &[("n", Kind::Count)]);
    assert_eq!(nodes(&[all.clone(), posts.clone()]), [2]);
    assert_eq!(nodes(&[most.clone(), posts]), [1, 1]);
    assert_eq!(nodes(&[most, narrow(5)]), [2]);
}

#[test]
fn what_metrics_name_of_a_post_is_a_cell_once() {
    let fact = Fact::Sides([true, true, false]);
    let both = [
        metric("a", fact, &[("mean", Kind::Mean(FOLLOWERS)), ("n", Kind::CountOf(CATEGORY))]),
        metric("b", Fact::Arrivals([true, true, false]), &[("most", Kind::Max(FOLLOWERS))]),
    ];
    let cells = |metrics: &[Metric], sides| {
        let plan = Plan::new(metrics, &default_age_groups(), false);
        let mut cells = vec![];
        plan.look(5, sides, &mut cells);
        cells
    };
    // The year, the category (whether there is one is known from it), the followers.
    assert_eq!(cells(&both, [None; 3]), [NULL; 3]);
    let pin = |plan: &Plan| vec![1; plan.layout.side(Stream::Pin).bytes];
    let packed = pin(&Plan::new(&both, &default_age_groups(), false));
    let seen = cells(&both, [Some(&packed), None, None]);
    assert_eq!((seen.len(), seen.iter().filter(|cell| **cell == NULL).count()), (3, 1));
    // Of what is to be distinct the post's cells are those that tell rows apart.
    let mut distinct = both[0].clone();
    distinct.distinct = vec![CATEGORY, FOLLOWERS];
    let plan = Plan::new(&[distinct], &default_age_groups(), false);
    assert_eq!(plan.nodes[0].look(&[3, 4]).to_vec(), [3, 4]);
}

#[test]
fn a_node_that_gets_a_row_finds_all_that_it_reads() {
    let (pin, geo) = ([true, false, false], [false, true, false]);
    let both = [true, true, false];
    let country = Expr::Column(Column::Country);
    let mut metrics = [
        metric("a", Fact::Sides(pin), &[("mean", Kind::Mean(FOLLOWERS))]),
        metric("b", Fact::Arrivals(both), &[("top", Kind::Top { k: 1, of: country })]),
        metric("c", Fact::Sides(geo), &[("n", Kind::CountOf(country))]),
        metric("d", Fact::Sides(both), &[("n", Kind::Count)]),
        metric("e", Fact::People, &[("n", Kind::Count)]),
    ];
    metrics[3].distinct = vec![CATEGORY, country];
    metrics[4].keys[0].expr = Expr::AgeGroup;
    let plan = Plan::new(&metrics, &default_age_groups(), false);
    let packed = Stream::ALL.map(|s| vec![1; plan.layout.side(s).bytes]);
    let mut rows = 0;
    for (there, changed, arrived) in (0..128).map(|n| (n % 8, n / 8 % 8, n / 64 > 0)) {
        let sides = Stream::ALL.map(|s| (there & s.bit() != 0).then(|| &packed[s as usize][..]));
        let (touched, mut full, mut some) = (Touched { there, changed, arrived }, vec![], vec![]);
        plan.look(5, sides, &mut full);
        let any = plan.look_for(touched, 5, sides, &mut some);
        let met: Vec<&Node> = plan.nodes.iter().filter(|n| n.wants().is_met(touched)).collect();
        assert_eq!((any, some.len()), (!met.is_empty(), if any { full.len() } else { 0 }));
        for cell in met.iter().flat_map(|node| node.first().reads()) {
            assert_eq!(some[cell], full[cell], "{touched:?}");
            rows += 1;
        }
    }
    assert!(rows > 100);
}

#[test]
fn windows_tell_what_they_are_rolled_up_from() {
    let mut one = metric("a", Fact::Sides([true, true, false]), &[("n", Kind::Count)]);
    let tumbling = |size| Window { time: Time::Event, shape: Shape::Tumbling { size } };
    one.windows = vec![tumbling(24 * HOUR), tumbling(HOUR)];
    let from = |one: &Metric| -> Vec<Option<String>> {
        let windows = explained(std::slice::from_ref(one)).groups.remove(0).windows;
        windows.into_iter().map(|w| w.rolled_up_from).collect()
    };
    assert_eq!(from(&one), [Some("hour".to_owned()), None]);
    one.distinct = vec![CATEGORY];
    assert_eq!(from(&one), [None, None]);
}

#[test]
fn operators_are_those_that_the_plan_needs() {
    let names = |metrics: &[Metric]| -> Vec<&str> {
        explained(metrics).operators.iter().map(|s| s.operator.name).collect()
    };
    let plain = metric("a", Fact::Sides([true, true, false]), &[("n", Kind::Count)]);
    assert_eq!(names(std::slice::from_ref(&plain)), ["Decode", "Assemble", "Groups"]);
    let mut slides = metric("a", Fact::Arrivals([true, true, false]), &[("n", Kind::Count)]);
    let shape = Shape::Sliding { size: HOUR, every: 60 * SECOND };
    slides.windows = vec![Window { time: Time::Arrival, shape }];
    let e = explained(std::slice::from_ref(&slides));
    let arrivals = e.arrivals.expect("it is over arrivals");
    assert_eq!((&*arrivals.bucket, arrivals.horizon.as_deref()), ("1min", Some("61min")));
    assert_eq!(e.groups[0].windows[0].shape, "the last 1h, moving every 1min");
    slides.distinct = vec![CATEGORY];
    assert_eq!(names(&[slides]), ["Decode", "Assemble", "Distinct", "Groups"]);
    let mut bag = plain;
    bag.join = Join::Bag;
    let mut both = bag.clone();
    both.distinct = vec![CATEGORY];
    let e = explained(&[both]);
    let [.., distinct, groups] = &e.operators[..] else { panic!("{:?}", e.operators) };
    assert_eq!(distinct.operator.name, "Distinct");
    assert_eq!(distinct.inputs, ["Assemble", "Bag updates", "ticks"]);
    assert_eq!(groups.inputs, ["Assemble", "Bag updates", "Distinct", "ticks"]);
    let want = ["Decode", "Assemble", "Records as a bag", "Bag join", "Bag updates", "Groups"];
    assert_eq!(names(&[bag]), want);
    assert!(
        e.operators
            .iter()
            .all(|s| { (s.operator.make == names::Make::Own) != s.operator.reason.is_empty() })
    );
}
