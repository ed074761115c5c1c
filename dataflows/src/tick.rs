//! The clock as data: one tick an epoch, sent when the epoch is sealed.

use serde::{Deserialize, Serialize};

/// Which slots an epoch hands out to be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CutKind {
    /// None.
    #[default]
    No,
    /// Those changed since the last cut.
    Changed,
    /// All of them.
    Full,
}

/// What a worker is told when an epoch is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The clock, microseconds since 1970-01-01 UTC; never less than in the epoch before.
    pub now: i64,
    /// Windows that slide over arrivals move, and changes of results are handed out.
    pub publish: bool,
    /// Slots are handed out.
    pub cut: CutKind,
    /// Slots will be handed out soon: where more than so many of a worker have changed, some are
    /// encoded already.
    pub encode_beyond: Option<u32>,
    /// The bounded run ends with this epoch: sliding windows reach beyond `now`.
    pub ended: bool,
    /// No epoch comes after this one and nobody asks: posts and groups are let go once they are
    /// handed out, which leaves their room to the last results.
    pub last: bool,
}
