//! Where a worker's operators leave what they have to say of an epoch besides what flows on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::sealed::Sealed;

/// The outputs of one worker by epoch, until they are taken.
#[derive(Clone, Default)]
pub struct Outbox(Rc<RefCell<BTreeMap<u64, Sealed>>>);

impl Outbox {
    /// Lets `put` add to an epoch's outputs.
    pub fn at(&self, epoch: u64, put: impl FnOnce(&mut Sealed)) {
        put(self.0.borrow_mut().entry(epoch).or_default());
    }

    /// Takes an epoch's outputs, once its frontier has passed.
    pub fn take(&self, epoch: u64) -> Sealed {
        self.0.borrow_mut().remove(&epoch).unwrap_or_default()
    }
}
