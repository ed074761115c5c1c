//! Epochs under way: which are open, closed on some workers, sealed on some.
//!
//! Promises: epochs become complete in order; one is opened when the one before it is sealed, and
//! at most [`UNDER_WAY`] are sealed and not complete, or [`MANY`] that hold little, so that what is
//! in memory is bounded.

use std::collections::VecDeque;
use std::time::Instant;

use dataflows::sealed::Sealed;
use dataflows::tick::Tick;

use super::messages::{Closed, PartRead};

/// Epochs that may be sealed and not complete: workers that are done with one need not wait for
/// each other.
pub const UNDER_WAY: usize = 3;
/// The same of those that are full of records before they hold many bytes.
const MANY: usize = 4 * UNDER_WAY;

/// An epoch that is sealed: workers close it, are given its tick, and pass it.
pub struct Flight {
    /// The epoch.
    pub epoch: u64,
    /// When its first record went into it; of one without records, when it was opened.
    pub opened: Instant,
    /// What was read in it.
    pub read: Vec<PartRead>,
    /// The earliest arrival time of what was read.
    pub earliest: Option<i64>,
    /// Its tick, once all workers have closed it.
    pub tick: Option<Tick>,
    closed: usize,
    /// What the workers have to say of it.
    pub sealed: Vec<(usize, Sealed)>,
}

/// The epochs under way.
pub struct Epochs {
    workers: usize,
    /// The epoch that is open.
    pub open: u64,
    /// When it was opened.
    pub opened: Instant,
    /// When the first record went into the open epoch.
    pub first: Option<Instant>,
    /// Whether a worker can take no more into it.
    pub full: bool,
    flights: VecDeque<Flight>,
}

impl Epochs {
    /// Epoch 0 is open.
    pub fn new(workers: usize) -> Self {
        Epochs {
            workers,
            open: 0,
            opened: Instant::now(),
            first: None,
            full: false,
            flights: VecDeque::new(),
        }
    }

    /// A worker took something into an epoch.
    pub fn fed(&mut self, epoch: u64, full: bool) {
        if epoch == self.open {
            self.first.get_or_insert_with(Instant::now);
            self.full |= full;
        }
    }

    /// Whether another epoch may be sealed. More may be where the open one is full, though `little`
    /// is in all of them: to hear that the next one is open takes workers as long as such an epoch.
    pub fn may_seal(&self, little: bool) -> bool {
        self.flights.len() < if little && self.full { MANY } else { UNDER_WAY }
    }

    /// Whether nothing is under way.
    pub fn idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// Seals the open epoch and opens the next; the caller tells the workers.
    pub fn seal(&mut self) {
        self.flights.push_back(Flight {
            epoch: self.open,
            opened: self.first.unwrap_or(self.opened),
            read: Vec::new(),
            earliest: None,
            tick: None,
            closed: 0,
            sealed: Vec::new(),
        });
        self.open += 1;
        self.opened = Instant::now();
        self.first = None;
        self.full = false;
    }

    /// A sealed epoch that is not complete.
    pub fn flight(&mut self, epoch: u64) -> Option<&mut Flight> {
        self.flights.iter_mut().find(|f| f.epoch == epoch)
    }

    /// A worker closed an epoch; the epoch if that was the last, and its tick is now due. Epochs
    /// become due in order, because each worker closes them in order.
    pub fn closed(&mut self, closed: Closed) -> Option<&mut Flight> {
        let workers = self.workers;
        let flight = self.flight(closed.epoch)?;
        flight.read.extend(closed.read);
        flight.earliest = flight.earliest.into_iter().chain(closed.earliest).min();
        flight.closed += 1;
        (flight.closed == workers).then_some(flight)
    }

    /// An epoch passed a worker; the epoch if that was the last: it is complete.
    pub fn sealed(&mut self, epoch: u64, worker: usize, sealed: Sealed) -> Option<Flight> {
        let workers = self.workers;
        let flight = self.flight(epoch)?;
        flight.sealed.push((worker, sealed));
        let first = self.flights.front()?;
        (first.sealed.len() == workers).then(|| self.flights.pop_front()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_become_complete_in_order_and_not_too_many_are_under_way() {
        let mut epochs = Epochs::new(2);
        while epochs.may_seal(true) {
            epochs.seal();
        }
        assert_eq!(epochs.open, UNDER_WAY as u64);
        for epoch in 0..epochs.open {
            let closed = |earliest| Closed { epoch, read: Vec::new(), earliest };
            assert!(epochs.closed(closed(Some(7))).is_none());
            let due = epochs.closed(closed(Some(5))).map(|flight| (flight.epoch, flight.earliest));
            assert_eq!(due, Some((epoch, Some(5))));
        }
        // One worker is ahead of the other.
        for epoch in 0..epochs.open {
            assert!(epochs.sealed(epoch, 0, Sealed::default()).is_none());
        }
        for epoch in 0..epochs.open {
            assert!(!epochs.idle() && epochs.may_seal(false) == (epoch > 0));
            let done = epochs.sealed(epoch, 1, Sealed::default()).expect("both are through");
            assert_eq!((done.epoch, done.sealed.len()), (epoch, 2));
        }
        assert!(epochs.idle());
    }

    #[test]
    fn more_epochs_are_under_way_where_full_ones_hold_little() {
        let mut epochs = Epochs::new(1);
        while epochs.may_seal(true) {
            epochs.fed(epochs.open, true);
            assert_eq!(epochs.may_seal(false), epochs.open < UNDER_WAY as u64);
            epochs.seal();
            epochs.fed(epochs.open, epochs.open < 2 * UNDER_WAY as u64);
        }
        assert_eq!(epochs.open, 2 * UNDER_WAY as u64, "this one is not full");
        epochs.fed(epochs.open, true);
        while epochs.may_seal(true) {
            epochs.seal();
            epochs.fed(epochs.open, true);
        }
        assert_eq!(epochs.open, MANY as u64);
    }
}
