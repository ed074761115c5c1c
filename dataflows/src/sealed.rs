//! What one worker has to say of one sealed epoch, beside the state it keeps: the dataflow's
//! outputs, handed over whole once the epoch's frontier has passed.

use std::collections::BTreeMap;

use crate::assemble::block::Block;
use crate::metrics::changes::Changes;
use crate::metrics::meta::Ledger;
use crate::record::{Reason, Rule};

/// What became of the records of one partition. Every record read ends in exactly one of the
/// other five.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub struct Tally {
    pub read: u64,
    pub accepted: u64,
    pub duplicate: u64,
    pub superseded: u64,
    pub rejected: u64,
    pub ignored: u64,
}

impl Tally {
    /// Adds another tally.
    pub fn add(&mut self, other: &Tally) {
        self.read += other.read;
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.superseded += other.superseded;
        self.rejected += other.rejected;
        self.ignored += other.ignored;
    }

    /// What came since an earlier tally.
    pub fn minus(&self, earlier: &Tally) -> Tally {
        Tally {
            read: self.read - earlier.read,
            accepted: self.accepted - earlier.accepted,
            duplicate: self.duplicate - earlier.duplicate,
            superseded: self.superseded - earlier.superseded,
            rejected: self.rejected - earlier.rejected,
            ignored: self.ignored - earlier.ignored,
        }
    }

    /// `read = accepted + duplicate + superseded + rejected + ignored`.
    pub fn holds(&self) -> bool {
        self.read == self.accepted + self.duplicate + self.superseded + self.rejected + self.ignored
    }
}

/// A rejected record, for the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Reject {
    pub partition: u32,
    pub position: u64,
    pub sub: u32,
    pub arrived_at: i64,
    pub reason: Reason,
    pub payload: Vec<u8>,
    /// What the routing rules said of it, where they look at each record.
    pub rule: Option<Rule>,
}

/// Cleaned rows of one table from one partition, encoded, in the order of positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanRows {
    /// The table: 0 pin, 1 geo, 2 user.
    pub table: u8,
    /// The partition they came from.
    pub partition: u32,
    /// The position and number within the message of each row, ascending, and where the row ends
    /// in `bytes`.
    pub ends: Vec<(u64, u32, u32)>,
    /// The rows, each with its line end.
    pub bytes: Vec<u8>,
}

/// Counters that are named: wrappers taken off, unknown fields, defects, late records.
pub type Counters = BTreeMap<String, u64>;

/// Everything that one worker has to say of one epoch.
#[derive(Debug, Default)]
pub struct Sealed {
    /// By partition.
    pub tallies: Vec<(u32, Tally)>,
    /// Rejections, in no order.
    pub rejects: Vec<Reject>,
    /// Cleaned rows, where a sink wants them; in no order.
    pub rows: Vec<CleanRows>,
    /// Changed results, if this epoch publishes.
    pub changes: Changes,
    /// Changed sides of slots, if this epoch is a cut, as [`crate::assemble::codec`] encodes them.
    pub slots: Vec<Block>,
    /// Texts that the slots use and that no earlier cut held, by the numbers that name them.
    pub texts: Vec<(u64, &'static str)>,
    /// How many more records and fields of each kind there are, for metrics over them.
    pub ledger: Ledger,
    /// Named counters.
    pub counters: Counters,
    /// Bytes of slots that no cut holds yet; of those encoded ahead that changed again twice.
    pub unsaved_bytes: usize,
    /// Posts held, and how many of them have a pin, a geo, a user.
    pub posts: (u64, [u64; 3]),
}
