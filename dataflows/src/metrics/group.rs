//! Groups: the state of every node's groups on one worker, and what is published of it.
//!
//! Promises: what is shown is a function of the updates taken and of `now`; the order of updates
//! within an epoch does not matter. Windows that others lie within are rolled up from them; where
//! there is neither `retain` nor a multiset that waits until something is shown, as at the end of a
//! backlog.
//! Windows leave memory when `now` passes their end and `retain`, buckets of arrivals when no
//! window reaches them any more.
//! An own operator: counts that arrive summed by key need no sorted batches, and multisets need
//! their cursors (see [`super::multiset`]); differential's operators on the same rows cost twice
//! the CPU and five times the memory.

mod buckets;
pub mod distinct;
mod live;
mod rolls;
mod rows;
pub mod size;
mod store;

use std::sync::Arc;

use super::changes::Changes;
use super::plan::{Node, Plan};
use super::update::Updates;
use crate::tick::Tick;
use buckets::Buckets;
use live::Live;

/// The groups of one node on one worker.
struct NodeGroups {
    live: Live,
    /// Where some of its windows slide over arrivals.
    buckets: Option<Buckets>,
    /// The windows that are rolled up from others are still to be: nothing has been shown yet.
    to_roll: bool,
}

/// All groups of one worker.
pub struct Groups {
    plan: Arc<Plan>,
    nodes: Vec<NodeGroups>,
    now: i64,
}

impl Groups {
    /// No groups yet. What comes back from disk, before the first tick, is as of `now`,
    /// microseconds: of windows that have retired by then no group is made.
    pub fn new(plan: Arc<Plan>, now: i64) -> Self {
        Groups { nodes: plan.nodes.iter().map(NodeGroups::new).collect(), plan, now }
    }

    /// Takes changes up.
    pub fn update(&mut self, updates: &Updates) {
        let node = &self.plan.nodes[updates.node as usize];
        self.nodes[updates.node as usize].take(node, updates, self.now);
    }

    /// The clock moved: windows retire and, if the epoch publishes, slide. Then the changes.
    pub fn tick(&mut self, tick: &Tick, changes: &mut Changes) {
        self.now = tick.now;
        let plan = self.plan.clone();
        for (n, node) in plan.nodes.iter().enumerate() {
            let groups = &mut self.nodes[n];
            let moved = groups.move_on(node, tick);
            if tick.publish {
                groups.live.publish(node, &plan.metrics, changes);
                if tick.last {
                    *groups = NodeGroups::new(node);
                }
            } else if moved {
                groups.live.forget();
            }
        }
    }
}

impl NodeGroups {
    fn new(node: &Node) -> Self {
        let live = Live::new(node);
        let slides = node.sliding().next().is_some();
        let buckets = slides.then(|| Buckets::new(node, live.groups.form().clone()));
        NodeGroups { live, buckets, to_roll: rolls::can_wait(node) }
    }

    /// Takes changes up.
    fn take(&mut self, node: &Node, updates: &Updates, now: i64) {
        if let Some(buckets) = &mut self.buckets {
            self.live.take(node, &buckets.arrive(node, updates), now);
        }
        self.live.take(node, updates, now);
        if !self.to_roll {
            self.roll(node, updates, now);
        }
    }

    /// What changed in windows changes in those that are rolled up from them.
    fn roll(&mut self, node: &Node, updates: &Updates, now: i64) {
        if let Some(rolled_up) = rolls::rolled_up(node, self.live.groups.form(), updates) {
            self.live.take(node, &rolled_up, now);
        }
    }

    /// Rolls up all that is held, if that has waited.
    fn roll_up(&mut self, node: &Node, now: i64) {
        if !std::mem::take(&mut self.to_roll) {
            return;
        }
        // Nothing is rolled up from what comes of it.
        for chunk in 0..self.live.groups.chunks() {
            let words = self.live.groups.entries(chunk).flatten().copied().collect();
            self.roll(node, &Updates { words, ..Updates::default() }, now);
        }
    }

    /// The clock moved: windows retire and, if the epoch publishes, slide; what waited for that is
    /// rolled up. Whether any window retired or slid.
    fn move_on(&mut self, node: &Node, tick: &Tick) -> bool {
        if tick.publish {
            self.roll_up(node, tick.now);
        }
        let NodeGroups { live, buckets, .. } = self;
        let slid = buckets.as_mut().is_some_and(|b| b.slide(node, tick, live));
        live.retire(node, tick.now) || slid
    }
}
