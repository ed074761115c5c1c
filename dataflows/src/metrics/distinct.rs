//! Distinct rows, on differential's own operators: rows that are equal in the declared columns
//! count once, however many posts give them, until the last of these is taken back.

use differential_dataflow::VecCollection;
use differential_dataflow::operators::ThresholdTotal;
use serde::{Deserialize, Serialize};

use super::expr::all;
use super::plan::{Node, Plan};
use super::update::{Combine, Updates, placements};
use super::value::Cells;

/// A row of a node that declares `distinct`, in one of its windows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DistinctRow {
    /// The node.
    pub node: u16,
    /// The window.
    pub window: u16,
    /// Its start.
    pub start: i64,
    /// The declared columns.
    pub cells: Cells,
}

impl DistinctRow {
    /// The rows that a row of these cells gives to a node, if it passes the filter: one a window.
    pub fn each(n: usize, node: &Node, cells: &[i64], bucket: i64, mut give: impl FnMut(Self)) {
        if !all(&node.filter, cells) {
            return;
        }
        let counted: Cells = node.distinct.iter().map(|place| cells[*place]).collect();
        placements(node, cells, bucket, |window, start| {
            give(DistinctRow { node: n as u16, window, start, cells: counted.clone() });
        });
    }
}

/// The distinct rows of a collection of rows.
pub fn distinct<'s>(
    rows: VecCollection<'s, u64, DistinctRow, isize>,
) -> VecCollection<'s, u64, DistinctRow, isize> {
    rows.distinct_total()
}

/// The group changes that changes of distinct rows make.
pub fn updates(
    plan: &Plan,
    combine: &mut Combine,
    rows: impl Iterator<Item = (DistinctRow, isize)>,
) -> Vec<Updates> {
    for (row, diff) in rows {
        let n = row.node as usize;
        let (node, at) = (&plan.nodes[n], (row.window, row.start));
        combine.placed(n, node, &node.look(&row.cells), at, diff as i64);
    }
    let mut out = Vec::new();
    combine.drain(|u| out.push(u));
    out
}
