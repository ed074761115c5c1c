//! Groups: the state of every node's groups on one worker, and what is published of it.
//!
//! Promises: what is shown is a function of the updates taken and of `now`; the order of updates
//! within an epoch does not matter. Windows leave memory when `now` passes their end and `retain`,
//! buckets of arrivals when no window reaches them any more.
//! An own operator: counts that arrive summed by key need no sorted batches, and multisets need
//! their cursors (see [`super::multiset`]); differential's operators on the same rows cost twice
//! the CPU and five times the memory.

mod buckets;
mod live;
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
        let NodeGroups { live, buckets } = &mut self.nodes[updates.node as usize];
        if let Some(buckets) = buckets {
            live.take(node, &buckets.arrive(node, updates), self.now);
        }
        live.take(node, updates, self.now);
    }

    /// The clock moved: windows slide and retire. Then, if the epoch publishes, the changes.
    pub fn tick(&mut self, tick: &Tick, changes: &mut Changes) {
        self.now = tick.now;
        let plan = self.plan.clone();
        for (n, node) in plan.nodes.iter().enumerate() {
            let NodeGroups { live, buckets } = &mut self.nodes[n];
            let slid = buckets.as_mut().is_some_and(|b| b.slide(node, tick, live));
            let moved = live.retire(node, tick.now) || slid;
            if tick.publish {
                live.publish(node, &plan.metrics, changes);
                if tick.last {
                    self.nodes[n] = NodeGroups::new(node);
                }
            } else if moved {
                live.forget();
            }
        }
    }
}

impl NodeGroups {
    fn new(node: &Node) -> Self {
        let live = Live::new(node);
        let slides = node.sliding().next().is_some();
        let buckets = slides.then(|| Buckets::new(node, live.groups.form().clone()));
        NodeGroups { live, buckets }
    }
}
