//! The one shape that all of our own operators have: collect what comes for an epoch, and work on
//! it when the epoch is sealed and its tick is there.
//!
//! Promises: epochs are worked on in order, each exactly once, also those without data; nothing of
//! an epoch is sent on before it is complete. Wraps what we use of timely's operator builders, so
//! that an upgrade of timely is felt here alone.

use std::collections::BTreeMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::generic::OutputBuilderSession;

use crate::tick::Tick;

/// What an operator of ours sends into at the end of an epoch.
pub type Out<'a, 'b, O> = &'a mut OutputBuilderSession<'b, u64, CapacityContainerBuilder<Vec<O>>>;

/// An operator that works on whole epochs. `logic` gets the epoch, its data and its tick, and gives
/// what is sent on.
pub fn sealed<'s, D, O, P, L>(
    data: StreamVec<'s, u64, D>,
    ticks: StreamVec<'s, u64, Tick>,
    pact: P,
    name: &str,
    mut logic: L,
) -> StreamVec<'s, u64, O>
where
    D: Clone + 'static,
    O: Clone + 'static,
    P: ParallelizationContract<u64, Vec<D>>,
    L: FnMut(u64, Vec<Vec<D>>, &Tick, &mut dyn FnMut(O)) + 'static,
{
    data.binary_frontier(ticks, pact, Pipeline, name, move |_capability, _info| {
        let mut held: BTreeMap<u64, Vec<Vec<D>>> = BTreeMap::new();
        let mut due = BTreeMap::new();
        move |(data, data_frontier), (ticks, ticks_frontier), output| {
            data.for_each(|cap, batch| {
                held.entry(*cap.time()).or_default().push(std::mem::take(batch));
            });
            ticks.for_each(|cap, batch| {
                if let Some(tick) = batch.first() {
                    due.insert(*cap.time(), (*tick, cap.retain(0)));
                }
            });
            let open = |epoch: &u64| {
                data_frontier.less_equal(epoch) || ticks_frontier.less_equal(epoch)
            };
            while let Some(entry) = due.first_entry()
                && !open(entry.key())
            {
                let (epoch, (tick, cap)) = entry.remove_entry();
                let data = held.remove(&epoch).unwrap_or_default();
                let mut session = output.session(&cap);
                logic(epoch, data, &tick, &mut |o| session.give(o));
            }
        }
    })
}
