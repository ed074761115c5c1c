//! The shape of our own operators: [`taking`] takes up what comes for an epoch, and ends the epoch
//! when it is sealed and its tick is there; [`sealed`] collects until then, and works on the whole.
//!
//! Promises: epochs are worked on in order, each to its end once, also those without data; nothing
//! of an epoch is sent on before it is complete. Wraps what we use of timely's operator builders,
//! so that an upgrade of timely is felt here alone.

use std::collections::BTreeMap;

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::Operator;

use crate::pooled::give_back;
use crate::tick::Tick;

/// Whether an operator is done with an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is.
    Done,
    /// It is to be called again once others have had their turn, with the same epoch.
    More,
}

/// What an operator of [`taking`] does.
pub trait Take<D, O> {
    /// Takes entries of the epoch that ends next, which leave their list.
    fn take(&mut self, list: &mut Vec<D>);
    /// That epoch is sealed, and all of it has been taken; `give` sends on.
    fn end(&mut self, epoch: u64, tick: &Tick, give: &mut dyn FnMut(O)) -> Step;
}

/// An operator that takes up an epoch's data as they come, and ends it when it is sealed. What
/// comes early of later epochs waits.
///
/// Panics where epochs do not begin at 0 or one has no tick.
pub fn taking<'s, D, O, P>(
    data: StreamVec<'s, u64, D>,
    ticks: StreamVec<'s, u64, Tick>,
    pact: P,
    name: &str,
    mut work: impl Take<D, O> + 'static,
) -> StreamVec<'s, u64, O>
where
    D: Clone + 'static,
    O: Clone + 'static,
    P: ParallelizationContract<u64, Vec<D>>,
{
    let scope = data.scope();
    data.binary_frontier(ticks, pact, Pipeline, name, move |_capability, info| {
        let activator = scope.activator_for(info.address);
        let mut early: BTreeMap<u64, Vec<Vec<D>>> = BTreeMap::new();
        let mut due = BTreeMap::new();
        let mut next = 0;
        move |(data, data_frontier), (ticks, ticks_frontier), output| {
            data.for_each(|cap, batch| match cap.least() {
                Some(epoch) if *epoch == next => {
                    work.take(batch);
                    give_back(std::mem::take(batch));
                }
                Some(epoch) => early.entry(*epoch).or_default().push(std::mem::take(batch)),
                None => {}
            });
            ticks.for_each(|cap, batch| {
                if let (Some(tick), Some(cap)) = (batch.first(), cap.retain_least(0)) {
                    due.insert(*cap.time(), (*tick, cap));
                }
            });
            let open =
                |epoch: &u64| data_frontier.less_equal(epoch) || ticks_frontier.less_equal(epoch);
            while let Some(entry) = due.first_entry()
                && !open(entry.key())
            {
                let (epoch, (tick, cap)) = (*entry.key(), entry.get());
                assert_eq!(epoch, next, "epochs begin at 0 and each has a tick");
                let mut session = output.session(cap);
                if work.end(epoch, tick, &mut |o| session.give(o)) == Step::More {
                    return activator.activate();
                }
                drop(session);
                entry.remove();
                next += 1;
                for mut list in early.remove(&next).into_iter().flatten() {
                    work.take(&mut list);
                    give_back(list);
                }
            }
        }
    })
}

/// An operator that works on whole epochs. `logic` gets the epoch, its data and its tick, and gives
/// what is sent on; it may take the data out of their lists, which are then used again. Called
/// again after [`Step::More`] it gets the same lists as it left them.
pub fn sealed<'s, D, O, P, L>(
    data: StreamVec<'s, u64, D>,
    ticks: StreamVec<'s, u64, Tick>,
    pact: P,
    name: &str,
    logic: L,
) -> StreamVec<'s, u64, O>
where
    D: Clone + 'static,
    O: Clone + 'static,
    P: ParallelizationContract<u64, Vec<D>>,
    L: FnMut(u64, &mut [Vec<D>], &Tick, &mut dyn FnMut(O)) -> Step + 'static,
{
    taking(data, ticks, pact, name, Collected { lists: Vec::new(), logic })
}

/// An epoch's data until it is sealed.
struct Collected<D, L> {
    lists: Vec<Vec<D>>,
    logic: L,
}

impl<D, O, L> Take<D, O> for Collected<D, L>
where
    D: 'static,
    L: FnMut(u64, &mut [Vec<D>], &Tick, &mut dyn FnMut(O)) -> Step,
{
    fn take(&mut self, list: &mut Vec<D>) {
        self.lists.push(std::mem::take(list));
    }

    fn end(&mut self, epoch: u64, tick: &Tick, give: &mut dyn FnMut(O)) -> Step {
        let step = (self.logic)(epoch, &mut self.lists, tick, give);
        if step == Step::Done {
            self.lists.drain(..).for_each(give_back);
        }
        step
    }
}

/// A differential collection's changes, epoch by epoch, turned into what `turn` makes of them.
/// A container may hold changes of later epochs than its own: each is sent on at its own.
pub fn by_epoch<'s, D, O>(
    changes: StreamVec<'s, u64, (D, u64, isize)>,
    name: &str,
    mut turn: impl FnMut(u64, Vec<(D, isize)>) -> Vec<O> + 'static,
) -> StreamVec<'s, u64, O>
where
    D: Clone + 'static,
    O: Clone + 'static,
{
    changes.unary(Pipeline, name, move |_capability, _info| {
        move |input, output| {
            input.for_each(|cap, changes| {
                let mut epochs: BTreeMap<u64, Vec<(D, isize)>> = BTreeMap::new();
                for (data, epoch, diff) in changes.drain(..) {
                    epochs.entry(epoch).or_default().push((data, diff));
                }
                for (epoch, changes) in epochs {
                    let cap = cap.delayed(&epoch, 0);
                    output.session(&cap).give_iterator(turn(epoch, changes).into_iter());
                }
            });
        }
    })
}

/// Rows with their multiplicities, of which `split` may find several in an entry, as a differential
/// collection's changes.
pub fn as_changes<'s, D, E, I>(
    rows: StreamVec<'s, u64, E>,
    name: &str,
    mut split: impl FnMut(E) -> I + 'static,
) -> StreamVec<'s, u64, (D, u64, isize)>
where
    D: Clone + 'static,
    E: Clone + 'static,
    I: IntoIterator<Item = (D, i64)>,
{
    rows.unary(Pipeline, name, move |_capability, _info| {
        move |input, output| {
            input.for_each(|cap, rows| {
                let Some(&epoch) = cap.least() else { return };
                let rows = rows.drain(..).flat_map(&mut split);
                let changes = rows.map(|(data, diff)| (data, epoch, diff as isize));
                output.session(&cap).give_iterator(changes);
            });
        }
    })
}
