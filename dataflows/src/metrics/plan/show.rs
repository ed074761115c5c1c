//! What a measure needs of its node's groups, and how it is read off them.
//!
//! Promises: measures that need the same share it.

use super::super::declare::{Expr, Kind, Metric};
use super::super::expr::{Compiler, Cond, Need, place};
use super::{Add, Adds, Node, Order, Set};
use crate::record::Type;

/// How a measure is read off a group.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Show {
    /// An additive cell; `seen` is the cell that tells whether there was a value.
    Add { add: usize, seen: usize },
    /// The quotient of two additive cells.
    Ratio { over: usize, under: usize, seen: usize },
    /// A quantile of a multiset by value.
    Quantile { set: usize, num: u64, den: u64, interpolated: bool },
    /// The least value.
    Min { set: usize },
    /// The greatest value.
    Max { set: usize },
    /// How many distinct values.
    Distinct { set: usize },
    /// The most frequent values.
    Top { set: usize, k: usize },
    /// The greatest value with what is returned.
    Argmax { set: usize },
}

impl Show {
    /// Whether it shows winners with what they win by: as many rows as there are.
    pub fn has_winners(&self) -> bool {
        matches!(self, Show::Top { .. } | Show::Argmax { .. })
    }
}

/// Has a node keep what a measure of some of its rows is read off.
pub(super) fn show(
    node: &mut Node,
    compiler: &mut Compiler<'_>,
    kind: Kind,
    filter: &[Cond],
) -> Show {
    let mut value = |e| compiler.expr(e, Need::Value);
    let mut add = |what| place(&mut node.adds, Add { what, filter: filter.to_vec() });
    let mut set = |order, value, with| {
        place(&mut node.sets, Set { order, value, with, filter: filter.to_vec() })
    };
    let text = |e: Expr| e.ty() == Type::Text;
    match kind {
        Kind::Count => {
            let add = add(Adds::Rows);
            Show::Add { add, seen: add }
        }
        Kind::CountOf(e) => {
            let add = add(Adds::Values(compiler.expr(e, Need::Presence)));
            Show::Add { add, seen: add }
        }
        Kind::Sum(e) => {
            let of = value(e);
            let seen = add(Adds::Values(of));
            Show::Add { add: add(Adds::Sum(of)), seen }
        }
        Kind::Mean(e) => {
            let of = value(e);
            let seen = add(Adds::Values(of));
            Show::Ratio { over: add(Adds::Sum(of)), under: seen, seen }
        }
        Kind::Min(e) => Show::Min { set: set(Order::Value, value(e), None) },
        Kind::Max(e) => Show::Max { set: set(Order::Value, value(e), None) },
        Kind::Quantile { of, q, interpolated } => {
            let set = set(Order::Value, value(of), None);
            Show::Quantile { set, num: q.num, den: q.den, interpolated }
        }
        Kind::CountDistinct(e) => {
            Show::Distinct { set: set(Order::Often { text: text(e) }, value(e), None) }
        }
        Kind::Top { k, of } => {
            Show::Top { set: set(Order::Often { text: text(of) }, value(of), None), k }
        }
        Kind::Argmax { of, returning } => {
            let order = Order::Ranked { text: text(returning) };
            let (of, with) = (value(of), value(returning));
            Show::Argmax { set: set(order, of, Some(with)) }
        }
        Kind::Ratio(..) => unreachable!("ratios are made of the other measures"),
    }
}

/// Puts the ratios between the other measures, in the order of the declaration.
pub(super) fn with_ratios(metric: &Metric, others: Vec<Show>) -> Vec<Show> {
    let mut others = others.into_iter();
    let mut shows: Vec<Option<Show>> = metric
        .measures
        .iter()
        .map(|m| if matches!(m.kind, Kind::Ratio(..)) { None } else { others.next() })
        .collect();
    for n in 0..shows.len() {
        if let Kind::Ratio(a, b) = metric.measures[n].kind
            && let (Some(Show::Add { add: over, .. }), Some(Show::Add { add: under, seen })) =
                (&shows[a], &shows[b])
        {
            shows[n] = Some(Show::Ratio { over: *over, under: *under, seen: *seen });
        }
    }
    shows.into_iter().map(|s| s.expect("a ratio is of two counts or sums")).collect()
}
