//! The cells and multisets of a group node, and which measures of which metrics share them.

use serde::Serialize;

use super::super::declare::{Kind, Measure};
use super::super::group::size;
use super::super::plan::{Node, Order, Plan, Show};
use super::{is_ratio, text};

/// An additive cell of every group.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cell {
    /// What is added up.
    pub what: String,
    /// Conditions on the rows that it looks at.
    pub filter: Vec<String>,
    /// Metrics and measures that are read off it.
    pub measures: Vec<String>,
}

/// A multiset of every group.
#[derive(Clone, Debug, Serialize)]
pub struct Set {
    /// What is kept, and in which order.
    pub what: String,
    /// Conditions on the rows that it looks at.
    pub filter: Vec<String>,
    /// Metrics and measures that are read off it.
    pub measures: Vec<String>,
    /// Bytes of a distinct member, about.
    pub member_bytes: usize,
}

/// The measures of a node's metrics with how they are read off a group, and their full names.
fn shows<'a>(
    plan: &'a Plan,
    node: &'a Node,
) -> impl Iterator<Item = (String, &'a Measure, &'a Show)> {
    node.metrics.iter().flat_map(|m| {
        let plan = &plan.metrics[*m as usize];
        let metric = &plan.schema.metric;
        let named = |m: &Measure| format!("{}.{}", metric.name, m.name);
        metric.measures.iter().zip(&plan.shows).map(move |(m, show)| (named(m), m, show))
    })
}

/// The additive cells of a node.
pub fn cells(plan: &Plan, node: &Node) -> Vec<Cell> {
    let mut cells = vec![Cell::default(); node.adds.len()];
    cells[0].what = "rows".into();
    for (name, measure, show) in shows(plan, node) {
        let mut uses = |n: usize, what: String| {
            let cell = &mut cells[n];
            if cell.what.is_empty() {
                cell.what = what;
                cell.filter = text::conditions(&measure.filter);
            }
            if !cell.measures.contains(&name) {
                cell.measures.push(name.clone());
            }
        };
        // The measures of a ratio are among the others and say what their cells add up.
        let other = |kind| if is_ratio(kind) { String::new() } else { text::added(kind) };
        let values = || text::values(measure.kind);
        match *show {
            Show::Add { add, seen } => {
                uses(add, other(measure.kind));
                if seen != add {
                    uses(seen, values());
                }
            }
            Show::Ratio { over, under, .. } => {
                uses(over, other(measure.kind));
                uses(under, if is_ratio(measure.kind) { String::new() } else { values() });
            }
            _ => {}
        }
    }
    cells
}

/// The multisets of a node.
pub fn sets(plan: &Plan, node: &Node) -> Vec<Set> {
    let one = |(n, set): (usize, &super::super::plan::Set)| {
        let mine = shows(plan, node).filter(|(_, _, show)| match show {
            Show::Quantile { set, .. }
            | Show::Min { set }
            | Show::Max { set }
            | Show::Distinct { set }
            | Show::Top { set, .. }
            | Show::Argmax { set } => *set == n,
            Show::Add { .. } | Show::Ratio { .. } => false,
        });
        let mine: Vec<(String, &Measure, &Show)> = mine.collect();
        let of = mine.first().map(|(_, m, _)| m.kind);
        Set {
            what: of.map_or(String::new(), |kind| what(kind, set.order)),
            filter: mine.first().map_or(Vec::new(), |(_, m, _)| text::conditions(&m.filter)),
            measures: mine.into_iter().map(|(name, ..)| name).collect(),
            member_bytes: size::member(set.order),
        }
    };
    node.sets.iter().enumerate().map(one).collect()
}

fn what(kind: Kind, order: Order) -> String {
    let values = text::values(kind);
    match (kind, order) {
        (Kind::Argmax { returning, .. }, _) => {
            format!("{values} with {}, in order", returning.name())
        }
        (_, Order::Often { .. }) => format!("{values}, by how often they occur"),
        _ => format!("{values}, in order"),
    }
}
