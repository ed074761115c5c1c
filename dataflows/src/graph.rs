//! The whole dataflow on one screen.
//!
//! ```text
//! batches -> Decode -> Assemble -+-----------------------------+-> Groups -> outbox
//!                 |              +-> distinct (differential) --+
//!                 +-> bag joins (differential) ----------------+
//! ticks --------------^ seal each epoch of the own operators ^
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::vec::input::Handle;
use timely::dataflow::operators::{Concatenate, OkErr, Probe};
use timely::dataflow::{InputHandleVec, ProbeHandle, StreamVec};
use timely::worker::Worker;

use crate::assemble::codec::{CodecError, Texts};
use crate::assemble::recs::{Head, Recs};
use crate::assemble::{Assemble, Partitions, Post};
use crate::batch::Dealt;
use crate::decode::{DecodeOptions, decode};
use crate::metrics::declare::Join;
use crate::metrics::distinct::{DistinctRow, distinct};
use crate::metrics::group::Groups;
use crate::metrics::meta::{self, Ledger};
use crate::metrics::plan::Plan;
use crate::metrics::slide::{self, Slides};
use crate::metrics::update::{Combine, Updates};
use crate::metrics::{bag, distinct as distinct_rows};
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
    slides: Rc<RefCell<Slides>>,
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
        let slides = self.slides.borrow().len();
        size::sizes(&self.plan, assemble, &groups, slides, &self.arranged)
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
    let slides = Rc::new(RefCell::new(Slides::new(plan.clone())));
    let arranged = Arranged::of(worker);
    let outbox = Outbox::default();
    let (mut batches, mut ticks) = (InputHandleVec::new(), InputHandleVec::new());
    let probe = ProbeHandle::new();
    worker.dataflow::<u64, _, _>(|scope| {
        let batches = batches.to_stream(scope);
        let ticks: StreamVec<'_, u64, Tick> = ticks.to_stream(scope);
        let recs = decode(batches, plan, options, outbox.clone());
        let ledger = (me == 0).then(|| restore.ledger.clone());
        let (changes, rows) =
            assembled((recs.clone(), ticks.clone()), plan, (&assemble, &slides), &outbox, ledger);
        let mut rows: Vec<Rows<'_>> = rows.into_iter().collect();
        let mut changes = vec![changes];
        if plan.has_bags() {
            for (updates, distinct) in bags(recs, plan) {
                changes.push(updates);
                rows.push(distinct);
            }
        }
        if !rows.is_empty() {
            changes.push(distinct_updates(rows, plan));
        }
        let changes = scope.concatenate(changes);
        let route = pooled::exchange(|updates: &Updates| updates.to);
        let work = Grouped { groups: groups.clone(), outbox: outbox.clone() };
        taking(changes, ticks, route, names::GROUPS.name, work).probe_with(&probe);
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
        slides,
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

type Given = Result<Updates, (DistinctRow, i64)>;

/// The assemble operator: changes of groups, and changes of rows that are to be made distinct, if
/// any node wants such.
fn assembled<'s>(
    (recs, ticks): (StreamVec<'s, u64, Recs>, StreamVec<'s, u64, Tick>),
    plan: &Arc<Plan>,
    (assemble, slides): (&Rc<RefCell<Assemble>>, &Rc<RefCell<Slides>>),
    outbox: &Outbox,
    mut first: Option<Ledger>,
) -> (StreamVec<'s, u64, Updates>, Option<Rows<'s>>) {
    let wanted = plan.nodes.iter().any(|n| !n.distinct.is_empty() && n.join == Join::Newest);
    let sliding = slide::wanted(plan).then(|| slides.clone());
    let (plan, assemble, outbox) = (plan.clone(), assemble.clone(), outbox.clone());
    let mut work =
        move |epoch, recs: &mut [Vec<Recs>], tick: &Tick, give: &mut dyn FnMut(Given)| {
            let mut distinct = Vec::new();
            let mut assemble = assemble.borrow_mut();
            if let Some(combine) = assemble.feed(&mut distinct) {
                combine.drain(|u| give(Ok(u)));
                distinct.into_iter().for_each(|d| give(Err(d)));
                return Step::More;
            }
            outbox.at(epoch, |out| {
                let recs = recs.iter_mut().flat_map(|list| list.drain(..));
                let combine = assemble.epoch(recs, tick, out, &mut distinct);
                meta::updates(&plan, out.ledger.iter(), combine);
                if let Some(ledger) = first.take() {
                    meta::updates(&plan, ledger.iter(), combine);
                }
                combine.drain(|u| give(Ok(u)));
            });
            distinct.into_iter().for_each(|d| give(Err(d)));
            Step::Done
        };
    let by_index = pooled::exchange(|recs: &Recs| recs.to);
    if !wanted {
        let updates =
            sealed(recs, ticks, by_index, names::ASSEMBLE.name, move |epoch, recs, tick, give| {
                work(epoch, recs, tick, &mut |given| given.into_iter().for_each(&mut *give))
            });
        return (updates, None);
    }
    let given = sealed(recs, ticks.clone(), by_index, names::ASSEMBLE.name, work);
    let (updates, mut rows) = given.ok_err(|given: Given| given);
    if let Some(slides) = sliding {
        rows = sealed(
            rows,
            ticks,
            Pipeline,
            names::DISTINCT_SLIDES.name,
            move |_, rows, tick, give| {
                let mut slides = slides.borrow_mut();
                let rows = rows.iter_mut().flat_map(|list| list.drain(..));
                rows.for_each(|row| slides.row(row, give));
                slides.tick(tick, give);
                Step::Done
            },
        );
    }
    (updates, Some(as_changes(rows, names::DISTINCT_ROWS.name, Some).as_collection()))
}

type Rows<'s> = VecCollection<'s, u64, DistinctRow, isize>;

/// Rows made distinct, as changes of groups.
fn distinct_updates<'s>(rows: Vec<Rows<'s>>, plan: &Arc<Plan>) -> StreamVec<'s, u64, Updates> {
    let mut rows = rows.into_iter();
    let first = rows.next().expect("there is at least one");
    let rows = rows.fold(first, Rows::concat);
    let plan = plan.clone();
    let mut combine = Combine::new(&plan, rows.scope().peers());
    by_epoch(distinct(rows).inner, names::DISTINCT_UPDATES.name, move |_, rows| {
        distinct_rows::updates(&plan, &mut combine, rows.into_iter())
    })
}

/// Bag joins: changes of groups, and of rows that are to be made distinct.
fn bags<'s>(
    recs: StreamVec<'s, u64, Recs>,
    plan: &Arc<Plan>,
) -> Vec<(StreamVec<'s, u64, Updates>, Rows<'s>)> {
    let layout = plan.layout.clone();
    let records = as_changes(recs, names::BAG_RECORDS.name, move |recs: Recs| {
        let rec = |(head, packed): (&Head, &[u8])| (head.index, head.stream(), packed.into());
        let list: Vec<(bag::Rec, i64)> = recs.each(&layout).map(|r| (rec(r), 1)).collect();
        recs.give_back();
        list
    });
    bag::join(plan, records.as_collection())
        .into_iter()
        .map(|(n, rows)| {
            let plan = plan.clone();
            let mut combine = Combine::new(&plan, rows.scope().peers());
            let given: StreamVec<'_, u64, Given> =
                by_epoch(rows.inner, names::BAG_UPDATES.name, move |_, rows| {
                    let (updates, distinct) =
                        bag::updates(&plan, n, &mut combine, rows.into_iter());
                    updates.into_iter().map(Ok).chain(distinct.into_iter().map(Err)).collect()
                });
            let (updates, rows) = given.ok_err(|given| given);
            (updates, as_changes(rows, names::BAG_ROWS.name, Some).as_collection())
        })
        .collect()
}
