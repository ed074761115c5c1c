//! Distinct rows, on differential's own operators: rows that are equal in the declared columns
//! count once, however many posts give them, until the last of these is taken back.

use std::hash::{Hash, Hasher};

use differential_dataflow::VecCollection;
use differential_dataflow::operators::ThresholdTotal;
use serde::{Deserialize, Serialize};

use super::expr::all;
use super::plan::{Node, Plan};
use super::update::{Combine, Updates, placements};
use super::value::Cells;
use super::words::hash;

/// A row of a node that declares `distinct`, in one of its windows. Rows are ordered by their hash
/// first, so that sorting and seeking seldom look at more of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DistinctRow {
    /// Of all that follows, which nobody changes.
    hash: u64,
    /// The node.
    pub node: u16,
    /// The window.
    pub window: u16,
    /// Its start.
    pub start: i64,
    /// The declared columns.
    pub cells: Cells,
}

impl Hash for DistinctRow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl DistinctRow {
    /// A row.
    pub fn new(node: u16, window: u16, start: i64, cells: Cells) -> Self {
        let place = i64::from(node) << u16::BITS | i64::from(window);
        let hash = hash(&cells).wrapping_add(hash(&[place, start]));
        DistinctRow { hash, node, window, start, cells }
    }

    /// The rows that a row of these cells gives to a node, if it passes the filter: one a window.
    pub fn each(n: usize, node: &Node, cells: &[i64], bucket: i64, mut give: impl FnMut(Self)) {
        if !all(&node.filter, cells) {
            return;
        }
        let counted: Cells = node.distinct.iter().map(|place| cells[*place]).collect();
        placements(node, cells, bucket, |window, start| {
            give(DistinctRow::new(n as u16, window, start, counted.clone()));
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
