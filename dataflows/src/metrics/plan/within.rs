//! Metrics that look at some rows of another metric, by the same keys, are kept in the groups of
//! that one: one look-up of a group serves both.
//!
//! Promises: what a metric shows is the same, whoever's groups it is kept in.
//! Limits: counts are kept so, with at most [`MOST`] cells more in each group of the wider metric;
//! other measures only where that one has them too, and all rows of a group are looked at. Where
//! few rows pass a filter groups of its own would be fewer, and fewer changes: of each that the
//! wider metric shows anew it is told that there are no rows of the other.

use std::cmp::Reverse;

use super::super::declare::{Condition, Expr, Fact, Join, Kind, Measure, Metric};
use super::super::expr::{AgeLabels, At, Compiler, Cond, Ex, Over, all, place};
use super::{Add, Adds, MetricPlan, Node, distinct_exprs, sides};
use crate::record::Stream;

/// So many cells more a group may have for other metrics: with them it takes twice as much room.
const MOST: usize = 4;

/// What a metric asks of rows beyond the wider one that it is kept with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Conditions on group keys: they hold for all rows of a group, or for none.
    pub keys: Vec<Condition>,
    /// Other conditions.
    pub rows: Vec<Condition>,
    /// Sides that have to be there.
    pub sides: Vec<Stream>,
}

/// Which groups of its node are a metric's, and which of their rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Within {
    /// Of each window of the node its place among the metric's own, if it is there; empty where
    /// these are the same.
    windows: Vec<Option<u16>>,
    /// Conditions on the group keys, by their places.
    keys: Vec<Cond>,
    /// The additive cell that counts the metric's rows, if they are not all of a group's.
    pub rows: Option<usize>,
}

impl Within {
    /// Whether groups of some windows are none of the metric's, or have another place there.
    pub fn has_own_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Whether groups of some keys are none of the metric's.
    pub fn has_own_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The place of a group's window in the metric's list, if the group is one of its own.
    pub(super) fn window_of(&self, window: u16, keys: &[i64]) -> Option<u16> {
        let place = match self.windows.get(usize::from(window)) {
            None => window,
            Some(place) => (*place)?,
        };
        all(&self.keys, keys).then_some(place)
    }
}

impl MetricPlan {
    /// The place of a group's window in the metric's list, if the group is one of its own.
    #[inline]
    pub fn window_of(&self, window: u16, keys: &[i64]) -> Option<u16> {
        self.within.as_ref().map_or(Some(window), |within| within.window_of(window, keys))
    }
}

/// Of each metric the one that it is kept with: itself, or one of the same rows or more.
pub fn owners(metrics: &[Metric]) -> Vec<usize> {
    // Those of more rows and windows first; of the same rows those that cannot be kept with others,
    // then those that take more cells.
    let breadth = |m: &Metric| {
        let needed = sides(m.fact).into_iter().filter(|needed| *needed).count();
        let count: Option<usize> = m.measures.iter().map(cells).sum();
        (needed, m.filter.len(), Reverse(m.windows.len()), count.is_some(), Reverse(count))
    };
    let mut order: Vec<usize> = (0..metrics.len()).collect();
    order.sort_by_key(|n| breadth(&metrics[*n]));
    let mut owners = vec![0; metrics.len()];
    let mut alone: Vec<Kept<'_>> = Vec::new();
    for n in order {
        // The narrowest of those that will do.
        let found = alone.iter_mut().rev().find_map(|kept| {
            let more = kept.more_cells(&metrics[n])?;
            (more == 0 || kept.cells + more <= MOST).then_some((kept, more))
        });
        owners[n] = if let Some((kept, more)) = found {
            kept.metrics.push(&metrics[n]);
            kept.cells += more;
            kept.owner
        } else {
            alone.push(Kept { owner: n, metrics: vec![&metrics[n]], cells: 0 });
            n
        };
    }
    owners
}

/// A metric that is kept by itself, and others with it.
struct Kept<'a> {
    owner: usize,
    /// First the one that it is.
    metrics: Vec<&'a Metric>,
    /// How many cells the others have more, at most.
    cells: usize,
}

impl Kept<'_> {
    /// How many cells more, at most, a metric of fewer rows has if it is kept here; 0 for one of
    /// the same rows, which has them wherever it is; none if it cannot be kept here.
    fn more_cells(&self, metric: &Metric) -> Option<usize> {
        let wider = self.metrics[0];
        let exprs = |m: &Metric| m.keys.iter().map(|k| k.expr).collect::<Vec<Expr>>();
        let alike =
            |m: &Metric| (m.join, m.retain, distinct_exprs(m), exprs(m), m.windows.is_empty());
        let is_among = alike(wider) == alike(metric)
            && metric.windows.iter().all(|w| wider.windows.contains(w))
            && wider.filter.iter().all(|c| metric.filter.contains(c));
        if !is_among {
            return None;
        }
        let rest = Rest::of(wider, metric);
        let same_rows = wider.fact == metric.fact && rest == Rest::default();
        if same_rows && wider.windows.len() == metric.windows.len() {
            return Some(0);
        }
        let of_its_rows = match (wider.fact, metric.fact) {
            (Fact::Sides(a), Fact::Sides(b)) | (Fact::Arrivals(a), Fact::Arrivals(b)) => {
                a.iter().zip(b).all(|(a, b)| !*a || b)
            }
            (a, b) => a == b,
        };
        let plain = metric.join == Join::Newest && distinct_exprs(metric).is_empty();
        // What changes of a side that only the other one needs would go through all its multisets.
        let cheap = rest.sides.is_empty() || !wider.measures.iter().any(is_multiset);
        if of_its_rows && plain && cheap { self.cells_of(metric, &rest) } else { None }
    }

    /// Those of a metric that asks so much more of rows, without what is there already.
    fn cells_of(&self, metric: &Metric, rest: &Rest) -> Option<usize> {
        let wider = self.metrics[0];
        let same_rows = |m: &&&Metric| Rest::of(wider, m).of_rows() == rest.of_rows();
        let there: Vec<&&Metric> = self.metrics.iter().filter(same_rows).collect();
        let is_there = |m: &&Measure| {
            let same = |other: &Measure| (other.kind, &other.filter) == (m.kind, &m.filter);
            there.iter().any(|metric| metric.measures.iter().any(same))
        };
        let new = metric.measures.iter().filter(|m| !is_there(m)).map(cells);
        let new: usize = new.sum::<Option<usize>>()?;
        // One that counts rows, unless a measure does.
        let counts = |m: &Measure| m.kind == Kind::Count && m.filter.is_empty();
        let rows = there.is_empty() && !metric.measures.iter().any(counts);
        Some(new + usize::from(rows))
    }
}

/// How many additive cells a measure of counts is read off; none of others: sums of values are of
/// two words, and those of one are added up faster where all are.
fn cells(measure: &Measure) -> Option<usize> {
    match measure.kind {
        Kind::Ratio(..) => Some(0),
        Kind::Count | Kind::CountOf(_) => Some(1),
        _ => None,
    }
}

fn is_multiset(measure: &Measure) -> bool {
    !matches!(measure.kind, Kind::Sum(_) | Kind::Mean(_)) && cells(measure).is_none()
}

impl Rest {
    /// What a metric asks of rows beyond a wider one.
    pub fn of(wider: &Metric, metric: &Metric) -> Self {
        let more = metric.filter.iter().filter(|c| !wider.filter.contains(c)).cloned();
        let is_of_key = |c: &Condition| {
            let (Condition::Compare(expr, ..) | Condition::IsNull(expr, _)) = c;
            metric.keys.iter().any(|key| key.expr == *expr)
        };
        let (keys, rows) = more.partition(is_of_key);
        let (there, needed) = (sides(wider.fact), sides(metric.fact));
        let is_more = |s: &Stream| needed[*s as usize] && !there[*s as usize];
        Rest { keys, rows, sides: Stream::ALL.into_iter().filter(is_more).collect() }
    }

    /// What holds for some rows of a group, and for others not.
    fn of_rows(&self) -> (&[Condition], &[Stream]) {
        (&self.rows, &self.sides)
    }

    /// The conditions that tell the metric's rows from others of a group; of a side the one that
    /// it is there.
    pub(super) fn conds(&self, compiler: &mut Compiler<'_>) -> Vec<Cond> {
        let mut conds = compiler.conds(&self.rows);
        let there = self.sides.iter().map(|side| place(compiler.cells, Ex::There(*side)));
        conds.extend(there.map(|cell| Cond::IsNull(cell, false)));
        conds
    }
}

impl Within {
    /// Has the node of a wider metric tell the rows of another by these conditions, and which of
    /// its groups are that one's; none if all are.
    pub(super) fn of(
        node: &mut Node,
        rest: &Rest,
        metric: &Metric,
        conds: &[Cond],
        ages: &AgeLabels,
    ) -> Option<Self> {
        let place_of = |w| metric.windows.iter().position(|own| own == w).map(|n| n as u16);
        let windows = (node.windows != metric.windows).then(|| node.windows.iter().map(place_of));
        let exprs: Vec<Expr> = metric.keys.iter().map(|key| key.expr).collect();
        let mut keys: Vec<Ex> = (0..exprs.len()).map(|n| Ex::Cell(At::Cell(n))).collect();
        let over = Over::Cells(&exprs);
        let mut compiler = Compiler { over, cells: &mut keys, ages: ages.clone() };
        let rows = Add { what: Adds::Rows, filter: conds.to_vec() };
        for side in &rest.sides {
            node.watched |= side.bit();
        }
        let within = Within {
            windows: windows.into_iter().flatten().collect(),
            keys: compiler.conds(&rest.keys),
            rows: (!conds.is_empty()).then(|| place(&mut node.adds, rows)),
        };
        (within != Within::default()).then_some(within)
    }
}
