//! The lists in which records travel between workers: some tens of kilobytes each, and used again.
//!
//! timely's own are of eight kilobytes and made anew, each by one thread and given back by another,
//! which costs more in the allocator and in cleared pages than the records in them.
//!
//! Promises: nothing is lost, nothing changes its order.
//! Limits: a thread keeps at most [`KEPT`] lists of a type.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use timely::container::{ContainerBuilder, LengthPreservingContainerBuilder, PushInto};
use timely::dataflow::channels::pact::ExchangeCore;

/// Bytes of a list.
const BYTES: usize = 32 << 10;
/// Lists of a type that a thread keeps: what an epoch of some megabytes takes.
const KEPT: usize = 64;

thread_local! {
    /// Lists without entries, by the type of entries.
    static FREE: RefCell<FxHashMap<TypeId, Box<dyn Any>>> = RefCell::default();
}

fn with_free<D: 'static, R>(work: impl FnOnce(&mut Vec<Vec<D>>) -> R) -> R {
    FREE.with_borrow_mut(|free| {
        let lists = free.entry(TypeId::of::<D>()).or_insert_with(|| Box::<Vec<Vec<D>>>::default());
        work(lists.downcast_mut().expect("lists of a type are kept under it"))
    })
}

/// A list that is empty, with room for [`BYTES`].
pub fn take<D: 'static>() -> Vec<D> {
    let most = (BYTES / size_of::<D>().max(1)).max(1);
    with_free(Vec::pop).unwrap_or_else(|| Vec::with_capacity(most))
}

/// Gives a list to be used again.
pub fn give_back<D: 'static>(mut list: Vec<D>) {
    list.clear();
    if list.capacity() * size_of::<D>() >= BYTES / 2 {
        with_free(|free| {
            if free.len() < KEPT {
                free.push(list);
            }
        });
    }
}

/// A pact that sends each entry to the worker that `route` names, in lists of this module.
pub fn exchange<D: 'static, F: FnMut(&D) -> u64 + 'static>(route: F) -> ExchangeCore<Lists<D>, F> {
    ExchangeCore::<Lists<D>, F>::new_core(route)
}

/// Puts entries into lists.
#[derive(Debug)]
pub struct Lists<D> {
    filling: Vec<D>,
    full: VecDeque<Vec<D>>,
    given: Vec<D>,
}

impl<D> Default for Lists<D> {
    fn default() -> Self {
        Lists { filling: Vec::new(), full: VecDeque::new(), given: Vec::new() }
    }
}

impl<D: 'static> PushInto<D> for Lists<D> {
    #[inline]
    fn push_into(&mut self, entry: D) {
        if self.filling.capacity() == 0 {
            self.filling = take();
        }
        self.filling.push(entry);
        if self.filling.len() == self.filling.capacity() {
            self.full.push_back(std::mem::take(&mut self.filling));
        }
    }
}

impl<D: 'static> ContainerBuilder for Lists<D> {
    type Container = Vec<D>;

    #[inline]
    fn extract(&mut self) -> Option<&mut Vec<D>> {
        self.given = self.full.pop_front()?;
        Some(&mut self.given)
    }

    fn finish(&mut self) -> Option<&mut Vec<D>> {
        if !self.filling.is_empty() {
            self.full.push_back(std::mem::take(&mut self.filling));
        }
        self.extract()
    }
}

impl<D: 'static> LengthPreservingContainerBuilder for Lists<D> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_in_order_and_lists_are_used_again() {
        let mut lists: Lists<u64> = Lists::default();
        let (mut out, mut places) = (Vec::new(), Vec::new());
        for n in 0..20_000 {
            lists.push_into(n);
            while let Some(list) = lists.extract() {
                places.push(list.as_ptr());
                out.extend_from_slice(list);
                give_back(std::mem::take(list));
            }
        }
        while let Some(list) = lists.finish() {
            out.extend_from_slice(list);
        }
        assert!(out.into_iter().eq(0..20_000));
        assert!(places.len() == 4 && places.windows(2).all(|two| two[0] == two[1]));
    }
}
