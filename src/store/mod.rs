//! The durable state: cuts, generations, recovery.
//!
//! Promises: what [`Store::commit`] returned `Ok` for is found again by [`Store::open`] after any
//! crash, with everything before it and nothing after it; damage is found by checksum, the newest
//! undamaged cut is used, and what that means is said.
//!
//! The store knows nothing of timely or of what a slot means: slots are entries
//! `[index u64 LE][len u32 LE][bytes]`, of which the newest per index holds.

use std::collections::BTreeMap;

use dataflows::sealed::Tally;
use serde::{Deserialize, Serialize};

use crate::source::Memos;

/// A partition as the state knows it. Its number is its place in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// The source's name.
    pub source: String,
    /// The partition's name within it.
    pub name: String,
}

/// The small, structured part of a cut: what changed since the cut before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The number of the cut; the first (manifest 0) is 0.
    pub cut: u64,
    /// The number of starts on this state.
    pub run: u64,
    /// The epoch that was cut.
    pub epoch: u64,
    /// The clock, microseconds since 1970-01-01 UTC.
    pub now: i64,
    /// Partitions that are new with this cut, in the order of their numbers.
    pub partitions: Vec<Partition>,
    /// Positions to read next that changed, by partition number.
    pub positions: BTreeMap<u32, u64>,
    /// The latest arrival time by partition number, where it changed.
    pub arrivals: BTreeMap<u32, i64>,
    /// Tallies (whole, not differences) that changed, by partition number.
    pub tallies: BTreeMap<u32, Tally>,
    /// Memos of the sources that changed, by source name.
    pub memos: BTreeMap<String, Memos>,
    /// Named counters (whole) that changed.
    pub counters: BTreeMap<String, u64>,
    /// Further small values of the engine that changed (sinks' marks, dead letters' marks).
    pub marks: BTreeMap<String, serde_json::Value>,
}

/// Everything of a cut.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// The structured part.
    pub head: Head,
    /// Changed slots, one block per worker.
    pub slots: Vec<Vec<u8>>,
    /// Texts that the slots name by their hash.
    pub texts: Vec<String>,
    /// Additive entries `[key len u16 LE][key][i64 LE]`; equal keys add up.
    pub ledger: Vec<u8>,
}

/// What was found at start: all heads merged into one, and the data.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The merged head of the newest undamaged cut.
    pub head: Head,
    /// Blocks of slot entries, oldest first: later entries replace earlier ones.
    pub slots: Vec<Vec<u8>>,
    /// All texts.
    pub texts: Vec<String>,
    /// Blocks of ledger entries; they add up.
    pub ledger: Vec<Vec<u8>>,
    /// What was damaged and what it means, in sentences; empty = nothing.
    pub damage: Vec<String>,
}
