//! The whole dataflow on one screen.
//!
//! ```text
//! batches -> Decode -> Assemble -------------------+-> Distinct -+-> Groups -> outbox
//!                 |                                +-------------+
//!                 +-> bag joins (differential) ----+
//! ticks ------------------^ seal each epoch of the own operators ^
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::AsCollection;
use timely::dataflow::operators::vec::input::Handle;
use timely::dataflow::operators::{Concatenate, OkErr, Probe};
use timely::dataflow::{InputHandleVec, ProbeHandle, StreamVec};
use timely::worker::Worker;

use crate::assemble::codec::{CodecError, Texts};
use crate::assemble::recs::{Head, Recs};
use crate::assemble::{Assemble, Partitions, Post};
use crate::batch::Dealt;
use crate::decode::{DecodeOptions, decode};
use crate::metrics::bag;
use crate::metrics::group::Groups;
use crate::metrics::group::distinct::Distinct;
use crate::metrics::meta::{self, Ledger};
use crate::metrics::plan::Plan;
use crate::metrics::update::{Combine, Updates};
use crate::names;
use crate::operators::{Step, Take, as_changes, by_epoch, sealed, taking};
use crate::outbox::Outbox;
use crate::pooled;
use crate::size::{self, Arranged, Size};
use crate::tick::Tick;

/// What a state was restored from; shared by all workers.
#[derive(Default)]
pub struct Restore {
    /// The clock as of then, microseconds; no tick is before it.
    pub now: i64,
    /// Blocks of stored slots, oldest first.
    pub slots: Vec<Vec<u8>>,
    /// Their texts.
    pub texts: Texts,
    /// Counts of records and fields.
    pub ledger: Ledger,
}

/// One worker's handles on the dataflow.
pub struct Handles {
    /// Batches of the current epoch.
    pub batches: Handle<u64, Dealt>,
    /// One tick an epoch, when it is sealed.
    pub ticks: Handle<u64, Tick>,
    /// Which epochs are through, on all workers.
    pub probe: ProbeHandle<u64>,
    /// What this worker has to say of each epoch.
    pub outbox: Outbox,
    assemble: Rc<RefCell<Assemble>>,
    groups: Rc<RefCell<Groups>>,
    distinct: Rc<RefCell<Distinct>>,
    arranged: Arranged,
    plan: Arc<Plan>,
    partitions: Partitions,
}

impl Handles {
    /// A post, if this worker owns its index and has seen it.
    pub fn post(&self, index: u64) -> Option<Post> {
        self.assemble.borrow().look_up(index)
    }

    /// The partitions' (source, name) by number.
    pub fn partitions(&self) -> Vec<(String, String)> {
        self.partitions.read().clone()
    }

    /// What the operators hold, under the names of the plan.
    pub fn sizes(&self) -> Vec<Size> {
        let (assemble, groups) = (self.assemble.borrow().sizes(), self.groups.borrow().sizes());
        let distinct = self.distinct.borrow().size();
        size::sizes(&self.plan, assemble, &groups, distinct, &self.arranged)
    }
}

/// Builds the dataflow on a worker. Epochs begin at 0.
pub fn build(
    worker: &mut Worker,
    plan: &Arc<Plan>,
    options: &DecodeOptions,
    restore: &Arc<Restore>,
) -> Result<Handles, CodecError> {
    let (me, peers) = (worker.index() as u64, worker.peers() as u64);
    let mut state = Assemble::new(plan.clone(), options.partitions.clone(), worker.peers());
    state.restore(&restore.slots, &restore.texts, (me, peers), restore.now)?;
    let assemble = Rc::new(RefCell::new(state));
    let groups = Rc::new(RefCell::new(Groups::new(plan.clone(), restore.now)));
    let distinct = Distinct::new(plan.clone(), worker.peers(), restore.now);
    let distinct = Rc::new(RefCell::new(distinct));
    let arranged = Arranged::of(worker);
    let outbox = Outbox::default();
    let (mut batches, mut ticks) = (InputHandleVec::new(), InputHandleVec::new());
    let probe = ProbeHandle::new();
    worker.dataflow::<u64, _, _>(|scope| {
        let batches = batches.to_stream(scope);
        let ticks: StreamVec<'_, u64, Tick> = ticks.to_stream(scope);
        let recs = decode(batches, plan, options, outbox.clone());
        let ledger = (me == 0).then(|| restore.ledger.clone());
        let mut changes =
            assembled((recs.clone(), ticks.clone()), plan, &assemble, &outbox, ledger);
        if plan.has_bags() {
            changes = scope.concatenate(bags(recs, plan).into_iter().chain([changes]));
        }
        let route = || pooled::exchange(|updates: &Updates| updates.to);
        if plan.has_distinct() {
            let plan = plan.clone();
            let counts_once = move |n: u16| plan.nodes[usize::from(n)].once.is_some();
            let (rows, others) =
                changes.ok_err(move |u| if counts_once(u.node) { Ok(u) } else { Err(u) });
            let work = MadeDistinct(distinct.clone());
            let distinct = taking(rows, ticks.clone(), route(), names::DISTINCT.name, work);
            changes = scope.concatenate([others, distinct]);
        }
        let work = Grouped { groups: groups.clone(), outbox: outbox.clone() };
        taking(changes, ticks, route(), names::GROUPS.name, work).probe_with(&probe);
    });
    let partitions = options.partitions.clone();
    let plan = plan.clone();
    Ok(Handles {
        batches,
        ticks,
        probe,
        outbox,
        assemble,
        groups,
        distinct,
        arranged,
        plan,
        partitions,
    })
}

/// The groups operator.
struct Grouped {
    groups: Rc<RefCell<Groups>>,
    outbox: Outbox,
}

impl Take<Updates, ()> for Grouped {
    fn take(&mut self, updates: &mut Vec<Updates>) {
        let mut groups = self.groups.borrow_mut();
        updates.drain(..).for_each(|u| groups.update(&u));
    }

    fn end(&mut self, epoch: u64, tick: &Tick, _: &mut dyn FnMut(())) -> Step {
        let mut groups = self.groups.borrow_mut();
        self.outbox.at(epoch, |sealed| groups.tick(tick, &mut sealed.changes));
        Step::Done
    }
}

/// The distinct operator.
struct MadeDistinct(Rc<RefCell<Distinct>>);

impl Take<Updates, Updates> for MadeDistinct {
    fn take(&mut self, updates: &mut Vec<Updates>) {
        let mut distinct = self.0.borrow_mut();
        updates.drain(..).for_each(|u| distinct.update(&u));
    }

    fn end(&mut self, _: u64, tick: &Tick, give: &mut dyn FnMut(Updates)) -> Step {
        let mut distinct = self.0.borrow_mut();
        let (combine, step) = distinct.tick(tick);
        combine.drain(give);
        step
    }
}

/// The assemble operator: changes of groups, and of rows that are to be made distinct.
fn assembled<'s>(
    (recs, ticks): (StreamVec<'s, u64, Recs>, StreamVec<'s, u64, Tick>),
    plan: &Arc<Plan>,
    assemble: &Rc<RefCell<Assemble>>,
    outbox: &Outbox,
    mut first: Option<Ledger>,
) -> StreamVec<'s, u64, Updates> {
    let (plan, assemble, outbox) = (plan.clone(), assemble.clone(), outbox.clone());
    let by_index = pooled::exchange(|recs: &Recs| recs.to);
    sealed(recs, ticks, by_index, names::ASSEMBLE.name, move |epoch, recs, tick, give| {
        let mut assemble = assemble.borrow_mut();
        if let Some(combine) = assemble.feed() {
            combine.drain(give);
            return Step::More;
        }
        outbox.at(epoch, |out| {
            let recs = recs.iter_mut().flat_map(|list| list.drain(..));
            let combine = assemble.epoch(recs, tick, out);
            meta::updates(&plan, out.ledger.iter(), combine);
            if let Some(ledger) = first.take() {
                meta::updates(&plan, ledger.iter(), combine);
            }
            combine.drain(give);
        });
        Step::Done
    })
}

/// Bag joins: changes of groups, and of rows that are to be made distinct.
fn bags<'s>(recs: StreamVec<'s, u64, Recs>, plan: &Arc<Plan>) -> Vec<StreamVec<'s, u64, Updates>> {
    let layout = plan.layout.clone();
    let records = as_changes(recs, names::BAG_RECORDS.name, move |recs: Recs| {
        let rec = |(head, packed): (&Head, &[u8])| (head.index, head.stream(), packed.into());
        let list: Vec<(bag::Rec, i64)> = recs.each(&layout).map(|r| (rec(r), 1)).collect();
        recs.give_back();
        list
    });
    let joined = bag::join(plan, records.as_collection()).into_iter();
    joined
        .map(|(n, rows)| {
            let plan = plan.clone();
            let mut combine = Combine::of_rows(&plan, rows.scope().peers());
            by_epoch(rows.inner, names::BAG_UPDATES.name, move |_, rows| {
                bag::updates(&plan, n, &mut combine, rows.into_iter())
            })
        })
        .collect()
}
