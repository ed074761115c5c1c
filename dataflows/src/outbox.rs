//! Where a worker's operators leave what they have to say of an epoch besides what flows on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::sealed::Sealed;

/// The outputs of one worker by epoch, until they are taken.
#[derive(Clone, Default)]
pub struct Outbox(Rc<RefCell<BTreeMap<u64, Sealed>>>, Rc<Cell<u64>>);

impl Outbox {
    /// Lets `put` add to an epoch's outputs.
    pub fn at(&self, epoch: u64, put: impl FnOnce(&mut Sealed)) {
        put(self.0.borrow_mut().entry(epoch).or_default());
    }

    /// So many records were decoded.
    pub fn decoded(&self, records: u64) {
        self.1.set(self.1.get() + records);
    }

    /// How many records were decoded since this was last asked.
    pub fn take_decoded(&self) -> u64 {
        self.1.take()
    }

    /// Takes an epoch's outputs, once its frontier has passed.
    pub fn take(&self, epoch: u64) -> Sealed {
        self.0.borrow_mut().remove(&epoch).unwrap_or_default()
    }
}
