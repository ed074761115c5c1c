//! Metrics that are measured of a wider one's groups: of the same rows, but that they need more
//! sides, or show fewer of the windows.
//!
//! Promises: what such a metric measures is of its own rows alone. Where posts are complete, as
//! nearly all are in the end, the groups of both are the same, and are found once for both.

use std::cmp::Reverse;
use std::mem::discriminant;

use super::super::declare::{Expr, Join, Kind, Metric};
use super::sides;

/// The metric whose rows, keys and windows the groups have that this one (by its place in the
/// list) is measured of: it itself, or a wider one.
pub(super) fn widest(metrics: &[Metric], n: usize) -> usize {
    let width = |metric: &Metric| {
        let needed = sides(metric.fact).into_iter().filter(|needed| *needed).count();
        (needed, Reverse(metric.windows.len()))
    };
    let holding = (0..metrics.len()).filter(|wide| holds(metrics, *wide, n));
    let best = holding.min_by_key(|wide| width(&metrics[*wide])).unwrap_or(n);
    // One that is measured of another's groups has none of its own.
    if best == n || widest(metrics, best) == best { best } else { n }
}

/// Whether a metric can be measured of what the groups of another hold.
fn holds(metrics: &[Metric], wide: usize, n: usize) -> bool {
    let (wide, metric) = (&metrics[wide], &metrics[n]);
    let fewer = wide.windows != metric.windows;
    let has_windows = !metric.windows.is_empty()
        && metric.windows.iter().all(|window| wide.windows.contains(window));
    let more = wide.fact != metric.fact;
    let has_rows = sides(wide.fact).into_iter().zip(sides(metric.fact)).all(|(g, n)| n || !g)
        && discriminant(&wide.fact) == discriminant(&metric.fact)
        // Rows that are joined as bags, or made distinct, are others with each side more.
        && metric.join == Join::Newest
        && metric.distinct.is_empty()
        // A row comes anew with each side that somebody asks for: sums of it do not change then,
        // but it would leave multisets and come back.
        && metrics.iter().filter(|m| is_same(m, wide)).all(is_added_up);
    alike(wide, metric)
        && (!more || has_rows)
        // Multisets would be kept in windows that do not show them.
        && (!fewer || has_windows)
        && (!(more || fewer) || is_added_up(metric))
}

/// Whether two metrics have the same groups.
fn is_same(a: &Metric, b: &Metric) -> bool {
    alike(a, b) && (a.fact, &a.windows) == (b.fact, &b.windows)
}

/// Whether two metrics differ in their sides, windows and measures alone.
fn alike(a: &Metric, b: &Metric) -> bool {
    let by = |metric: &Metric| metric.keys.iter().map(|key| key.expr).collect::<Vec<Expr>>();
    (a.join, a.retain) == (b.join, b.retain)
        && (&a.filter, &a.distinct) == (&b.filter, &b.distinct)
        && by(a) == by(b)
}

/// Whether a metric needs no multisets.
fn is_added_up(metric: &Metric) -> bool {
    let added = |kind: Kind| {
        matches!(kind, Kind::Count | Kind::CountOf(_) | Kind::Sum(_) | Kind::Mean(_))
            || matches!(kind, Kind::Ratio(..))
    };
    metric.measures.iter().all(|m| added(m.kind))
}
