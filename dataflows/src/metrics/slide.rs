//! Windows that slide over arrivals, for rows that are to be made distinct: a row enters each
//! window when it arrives or when the window reaches its bucket, and leaves when the window passes
//! on, so that what is made distinct are the rows of a window and not those of a bucket.
//!
//! Promises: what has been sent of a window adds up to the rows of the buckets between its edges.
//! Limits: holds every row of the buckets that some window reaches or will reach.
//! An own operator: differential's rows have no clock but the epoch, and `now` is data.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::distinct::DistinctRow;
use super::plan::{Node, Plan};
use super::update::SLIDING;
use super::value::{Cells, NULL};
use super::window::Edges;
use crate::tick::Tick;

/// A row with how many more there are of it.
type Change = (DistinctRow, i64);

/// The rows of one node.
struct Rows {
    buckets: BTreeMap<i64, FxHashMap<Cells, i64>>,
    edges: Edges,
}

/// The rows of all nodes on one worker.
pub struct Slides {
    plan: Arc<Plan>,
    nodes: Vec<Rows>,
}

/// Whether a plan has distinct rows in windows that slide over arrivals.
pub fn wanted(plan: &Plan) -> bool {
    plan.nodes.iter().any(slides)
}

fn slides(node: &Node) -> bool {
    !node.distinct.is_empty() && node.sliding().next().is_some()
}

impl Slides {
    /// No rows yet.
    pub fn new(plan: Arc<Plan>) -> Self {
        let node = |n: &Node| Rows { buckets: BTreeMap::new(), edges: Edges::new(n.windows.len()) };
        Slides { nodes: plan.nodes.iter().map(node).collect(), plan }
    }

    /// How many rows are held, each once a bucket.
    pub fn len(&self) -> usize {
        self.nodes.iter().flat_map(|n| n.buckets.values()).map(FxHashMap::len).sum()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row came or went; those of other windows pass.
    pub fn row(&mut self, (row, diff): Change, give: &mut dyn FnMut(Change)) {
        if row.window != SLIDING {
            return give((row, diff));
        }
        let DistinctRow { node, start: bucket, cells, .. } = row;
        let rows = &mut self.nodes[node as usize];
        *rows.buckets.entry(bucket).or_default().entry(cells.clone()).or_insert(0) += diff;
        for w in self.plan.nodes[node as usize].sliding() {
            if rows.edges.hold(w.0, bucket) {
                give((shown(node, w.0, &cells), diff));
            }
        }
    }

    /// The clock moved: buckets come into windows and go out of them.
    pub fn tick(&mut self, tick: &Tick, give: &mut dyn FnMut(Change)) {
        let plan = self.plan.clone();
        for (n, node) in plan.nodes.iter().enumerate().filter(|(_, n)| slides(n)) {
            let rows = &mut self.nodes[n];
            let moved = rows.edges.slide(&node.windows, tick);
            for (w, range, minus) in moved.ranges {
                let sign = if minus { -1 } else { 1 };
                for (cells, count) in rows.buckets.range(range).flat_map(|(_, b)| b) {
                    if *count != 0 {
                        give((shown(n as u16, w, cells), count * sign));
                    }
                }
            }
            if let Some(oldest) = moved.oldest {
                rows.buckets = rows.buckets.split_off(&oldest);
            }
        }
    }
}

/// A row in a window that slides; its edges follow from `now`.
fn shown(node: u16, w: usize, cells: &Cells) -> DistinctRow {
    DistinctRow::new(node, w as u16, NULL, cells.clone())
}
