//! What the operators hold, under the names of the plan; and what differential's arrangements
//! hold, which only its log tells.

use std::cell::Cell;
use std::rc::Rc;

use differential_dataflow::logging::{DifferentialEvent, DifferentialEventBuilder};
use timely::worker::Worker;

use crate::metrics::bag::Joined;
use crate::metrics::explain::{bucket_name, node_name};
use crate::metrics::group::size::GroupsSize;
use crate::metrics::plan::Plan;
use crate::names;

/// What an operator holds on one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// The name in the plan.
    pub name: String,
    /// Records.
    pub records: u64,
    /// Bytes, about.
    pub bytes: u64,
}

impl Size {
    fn new(name: impl Into<String>, records: usize, bytes: usize) -> Self {
        Size { name: name.into(), records: records as u64, bytes: bytes as u64 }
    }
}

/// Updates in differential's arrangements on one worker.
#[derive(Clone, Debug, Default)]
pub struct Arranged(Rc<Cell<isize>>);

impl Arranged {
    /// Counts those of dataflows built from here on.
    pub fn of(worker: &mut Worker) -> Self {
        let arranged = Arranged::default();
        let count = arranged.0.clone();
        if let Some(mut register) = worker.log_register() {
            register.insert::<DifferentialEventBuilder, _>(
                "differential/arrange",
                move |_, log| {
                    for (_, event) in log.iter().flat_map(|events| events.iter()) {
                        let change = match event {
                            DifferentialEvent::Batch(b) => b.length as isize,
                            DifferentialEvent::Drop(d) => -(d.length as isize),
                            DifferentialEvent::Merge(m) => match m.complete {
                                Some(merged) => {
                                    merged as isize - m.length1 as isize - m.length2 as isize
                                }
                                None => 0,
                            },
                            _ => 0,
                        };
                        count.set(count.get() + change);
                    }
                },
            );
        }
        arranged
    }

    fn len(&self) -> usize {
        self.0.get().max(0) as usize
    }
}

/// What the operators of a plan hold on one worker.
pub(crate) fn sizes(
    plan: &Plan,
    [slots, arrivals]: [(usize, usize); 2],
    groups: &[GroupsSize],
    distinct: (usize, usize),
    arranged: &Arranged,
) -> Vec<Size> {
    let mut out = vec![Size::new(names::ASSEMBLE.name, slots.0, slots.1)];
    if plan.arrivals {
        out.push(Size::new(names::ARRIVALS, arrivals.0, arrivals.1));
    }
    if plan.has_bags() {
        let updates = arranged.len();
        out.push(Size::new(names::BAG_JOIN.name, updates, updates * size_of::<Joined>()));
    }
    if plan.has_distinct() {
        out.push(Size::new(names::DISTINCT.name, distinct.0, distinct.1));
    }
    for (n, size) in groups.iter().enumerate() {
        out.push(Size::new(node_name(plan, n), size.groups, size.bytes));
        let node = &plan.nodes[n];
        if node.once.is_none() && node.sliding().next().is_some() {
            out.push(Size::new(bucket_name(plan, n), size.shares, size.share_bytes));
        }
    }
    out
}
