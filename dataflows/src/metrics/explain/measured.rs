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

/// A measure of one of a node's metrics.
struct Shown<'a> {
    /// Its full name.
    name: String,
    measure: &'a Measure,
    /// How it is read off a group.
    show: &'a Show,
    /// Conditions on the rows that it looks at.
    filter: Vec<String>,
}

/// The measures of a node's metrics.
fn shows<'a>(plan: &'a Plan, node: &'a Node) -> impl Iterator<Item = Shown<'a>> {
    node.metrics.iter().flat_map(move |m| {
        let mine = &plan.metrics[*m as usize];
        let metric = &mine.schema.metric;
        let rest = text::of_rows(&super::rest(plan, node, *m));
        mine.schema.metric.measures.iter().zip(&mine.shows).map(move |(measure, show)| Shown {
            name: format!("{}.{}", metric.name, measure.name),
            measure,
            show,
            filter: [rest.clone(), text::conditions(&measure.filter)].concat(),
        })
    })
}

/// The additive cells of a node.
pub fn cells(plan: &Plan, node: &Node) -> Vec<Cell> {
    let mut cells = vec![Cell::default(); node.adds.len()];
    cells[0].what = "rows".into();
    for Shown { name, measure, show, filter } in shows(plan, node) {
        let mut uses = |n: usize, what: String| {
            let cell = &mut cells[n];
            if cell.what.is_empty() {
                cell.what = what;
                cell.filter.clone_from(&filter);
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
    for m in &node.metrics {
        let metric = &plan.metrics[*m as usize];
        let rows = metric.within.as_ref().and_then(|within| within.rows);
        if let Some(cell) = rows.map(|n| &mut cells[n]).filter(|cell| cell.what.is_empty()) {
            let filter = text::of_rows(&super::rest(plan, node, *m));
            let measures = vec![metric.schema.name.clone()];
            *cell = Cell { what: "rows".into(), filter, measures };
        }
    }
    cells
}

/// The multisets of a node.
pub fn sets(plan: &Plan, node: &Node) -> Vec<Set> {
    let one = |(n, set): (usize, &super::super::plan::Set)| {
        let mine = shows(plan, node).filter(|shown| match shown.show {
            Show::Quantile { set, .. }
            | Show::Min { set }
            | Show::Max { set }
            | Show::Distinct { set }
            | Show::Top { set, .. }
            | Show::Argmax { set } => *set == n,
            Show::Add { .. } | Show::Ratio { .. } => false,
        });
        let mine: Vec<Shown<'_>> = mine.collect();
        let of = mine.first().map(|shown| shown.measure.kind);
        Set {
            what: of.map_or(String::new(), |kind| what(kind, set.order)),
            filter: mine.first().map_or(Vec::new(), |shown| shown.filter.clone()),
            measures: mine.into_iter().map(|shown| shown.name).collect(),
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
