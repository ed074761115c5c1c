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
    /// Changes of results are handed out.
    pub publish: bool,
    /// Slots are handed out.
    pub cut: CutKind,
    /// The bounded run ends with this epoch: sliding windows reach beyond `now`.
    pub ended: bool,
    /// Nothing comes after this epoch and nobody asks: what is held is let go once it is handed
    /// out, which leaves the last results its room.
    pub last: bool,
}
