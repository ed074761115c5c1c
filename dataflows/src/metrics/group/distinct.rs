//! Rows that are equal in the declared columns count once, however many posts give them, until the
//! last of these is taken back. They are groups of their own (`Node::once`), whose keys are the
//! columns; what a group gives on is that it has come to hold rows, or that it holds none any more.
//!
//! Promises: at the end of each epoch that publishes what was given adds up to the distinct rows of
//! each window.
//! An own operator: differential's distinct sorts and keeps each row with its history; on the same
//! rows a table takes two fifths of the CPU and half of the memory.

use std::sync::Arc;

use super::super::plan::Plan;
use super::super::update::{Combine, Updates};
use super::NodeGroups;
use crate::operators::Step;
use crate::tick::Tick;

/// So many rows are given on at a time: some megabytes of changes.
const SLICE: usize = 1 << 15;

/// The distinct rows of all nodes that want such, on one worker.
pub struct Distinct {
    plan: Arc<Plan>,
    /// By the node.
    nodes: Vec<Option<NodeGroups>>,
    now: i64,
    /// The clock has moved, and not all that this epoch changed has been given on.
    giving: bool,
    combine: Combine,
}

impl Distinct {
    /// No rows yet; changes of groups are for so many workers. `now` as for
    /// [`Groups::new`](super::Groups::new).
    pub fn new(plan: Arc<Plan>, workers: usize, now: i64) -> Self {
        let rows = plan.nodes.iter().map(|node| node.once.as_deref().map(NodeGroups::new));
        let (nodes, combine) = (rows.collect(), Combine::new(&plan, workers));
        Distinct { plan, nodes, now, giving: false, combine }
    }

    /// Takes changes of rows up.
    pub fn update(&mut self, updates: &Updates) {
        let n = updates.node as usize;
        if let (Some(once), Some(rows)) = (&self.plan.nodes[n].once, &mut self.nodes[n]) {
            rows.take(once, updates, self.now);
        }
    }

    /// The clock moved; the changes of groups that some of the epoch's changes of rows make, and
    /// whether these were the last. They are never there all at once.
    pub fn tick(&mut self, tick: &Tick) -> (&mut Combine, Step) {
        let (moves, mut left) = (!std::mem::replace(&mut self.giving, true), SLICE);
        self.now = tick.now;
        for (n, node) in self.plan.nodes.iter().enumerate() {
            let (Some(once), Some(rows)) = (&node.once, &mut self.nodes[n]) else { continue };
            if moves {
                rows.move_on(once, tick);
            }
            left -= rows.live.crossed(left, |row, diff| {
                let (cells, at) = (node.look(&row.keys), (row.window, row.start));
                self.combine.placed(n, node, &cells, at, diff);
            });
        }
        if left == 0 {
            return (&mut self.combine, Step::More);
        }
        self.giving = false;
        if tick.last {
            self.nodes.iter_mut().for_each(|rows| *rows = None);
        }
        (&mut self.combine, Step::Done)
    }

    /// How many rows are held, those of buckets too, and their bytes, about.
    pub fn size(&self) -> (usize, usize) {
        let nodes = self.plan.nodes.iter().zip(&self.nodes);
        let held = nodes.filter_map(|(node, rows)| Some((node.once.as_deref()?, rows.as_ref()?)));
        held.map(|(once, rows)| rows.size(once)).fold((0, 0), |(rows, bytes), size| {
            (rows + size.groups + size.shares, bytes + size.bytes + size.share_bytes)
        })
    }
}
