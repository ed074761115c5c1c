//! Metrics that look at some rows of another metric, by the same keys, are kept in the groups of
//! that one: one look-up of a group serves both.
//!
//! Promises: what a metric shows is the same, whoever's groups it is kept in.
//! Limits: what is added up is kept so, with at most [`MOST`] cells more in each group of the wider
//! metric; and what that one keeps for itself. Where few rows pass a filter a node of its own would
//! be smaller.

use std::cmp::Reverse;

use super::super::declare::{Condition, Expr, Fact, Join, Kind, Measure, Metric};
use super::super::expr::{AgeLabels, At, Compiler, Cond, Ex, Over, all, place};
use super::{Add, Adds, MetricPlan, Node, distinct_exprs, sides};
use crate::record::Stream;

/// So many cells more a group may have for a metric of some of its rows.
const MOST: usize = 2;

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
    /// Of each window of the node its place among the metric's own, if it is there.
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
    let has_sets = |m: &Metric| m.measures.iter().any(|m| cells(m).is_none());
    let wide = |m: &Metric| {
        let sides = sides(m.fact).into_iter().filter(|there| *there).count();
        (sides, m.filter.len(), Reverse(m.windows.len()), !has_sets(m))
    };
    let mut order: Vec<usize> = (0..metrics.len()).collect();
    order.sort_by_key(|n| wide(&metrics[*n]));
    let mut owners = vec![0; metrics.len()];
    let mut own: Vec<usize> = Vec::new();
    for n in order {
        // The narrowest of those that will do.
        let mut narrower = own.iter().rev();
        let owner = narrower.find(|owner| can_keep(&metrics[**owner], &metrics[n])).copied();
        owners[n] = owner.unwrap_or(n);
        own.extend(owner.is_none().then_some(n));
    }
    owners
}

/// Whether a metric's groups can be kept in those of another.
fn can_keep(wide: &Metric, metric: &Metric) -> bool {
    let exprs = |m: &Metric| m.keys.iter().map(|k| k.expr).collect::<Vec<Expr>>();
    let alike = |m: &Metric| (m.join, m.retain, distinct_exprs(m), exprs(m), m.windows.is_empty());
    let is_among = alike(wide) == alike(metric)
        && metric.windows.iter().all(|w| wide.windows.contains(w))
        && wide.filter.iter().all(|c| metric.filter.contains(c));
    if !is_among {
        return false;
    }
    let rest = Rest::of(wide, metric);
    let same_rows = wide.fact == metric.fact && rest == Rest::default();
    if same_rows && wide.windows.len() == metric.windows.len() {
        return true;
    }
    let of_rows = match (wide.fact, metric.fact) {
        (Fact::Sides(a), Fact::Sides(b)) | (Fact::Arrivals(a), Fact::Arrivals(b)) => {
            a.iter().zip(b).all(|(a, b)| !*a || b)
        }
        (a, b) => a == b,
    };
    let plain = metric.join == Join::Newest && distinct_exprs(metric).is_empty();
    of_rows && plain && more_cells(wide, metric, &rest).is_some_and(|more| more <= MOST)
}

/// How many cells more, at most, a group of the wider metric has for another one; none where that
/// keeps multisets of its own.
fn more_cells(wide: &Metric, metric: &Metric, rest: &Rest) -> Option<usize> {
    let is_held = |m: &Measure| {
        rest.is_of_keys()
            && wide.measures.iter().any(|w| (w.kind, &w.filter) == (m.kind, &m.filter))
    };
    let counts = |m: &Measure| m.kind == Kind::Count && m.filter.is_empty();
    let rows = usize::from(!rest.is_of_keys() && !metric.measures.iter().any(counts));
    let others = metric.measures.iter().filter(|m| !is_held(m)).map(cells);
    others.sum::<Option<usize>>().map(|others| others + rows)
}

/// How many additive cells a measure is read off; none if it is a multiset.
fn cells(measure: &Measure) -> Option<usize> {
    match measure.kind {
        Kind::Ratio(..) => Some(0),
        Kind::Count | Kind::CountOf(_) => Some(1),
        Kind::Sum(_) | Kind::Mean(_) => Some(2),
        _ => None,
    }
}

impl Rest {
    /// What a metric asks of rows beyond a wider one.
    pub fn of(wide: &Metric, metric: &Metric) -> Self {
        let more = metric.filter.iter().filter(|c| !wide.filter.contains(c)).cloned();
        let is_of_key = |c: &Condition| {
            let (Condition::Compare(expr, ..) | Condition::IsNull(expr, _)) = c;
            metric.keys.iter().any(|key| key.expr == *expr)
        };
        let (keys, rows) = more.partition(is_of_key);
        let (wide, all) = (sides(wide.fact), sides(metric.fact));
        let is_more = |s: &Stream| all[*s as usize] && !wide[*s as usize];
        Rest { keys, rows, sides: Stream::ALL.into_iter().filter(is_more).collect() }
    }

    /// Whether it is of all rows of a group, or of none.
    fn is_of_keys(&self) -> bool {
        self.rows.is_empty() && self.sides.is_empty()
    }

    /// What tells the metric's rows from others of a group; a side is there, or its cell is null.
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
        let own = |w| metric.windows.iter().position(|own| own == w).map(|n| n as u16);
        let windows = (node.windows != metric.windows).then(|| node.windows.iter().map(own));
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
