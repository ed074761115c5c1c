//! What is stored, as values: cuts, their heads, what is restored from them. No I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use dataflows::assemble::block::Block;
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
    /// How many sides are held: so many of the stored entries hold. 0 = as in the cut before; not
    /// known, where there was none. It decides how a new base is written, not what is in it.
    #[serde(default)]
    pub held: u64,
    /// Partitions that are new with this cut, in the order of their numbers.
    pub partitions: Vec<Partition>,
    /// Positions to read next that changed, by partition number.
    pub positions: BTreeMap<u32, u64>,
    /// The arrival time of the last message read, by partition, microseconds since 1970-01-01 UTC.
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

impl Head {
    /// Takes up a later head: what it has replaces what was there, its partitions follow.
    pub fn merge(&mut self, later: &Head) {
        self.cut = later.cut;
        self.run = later.run;
        self.epoch = later.epoch;
        self.now = later.now;
        self.held = if later.held > 0 { later.held } else { self.held };
        self.partitions.extend(later.partitions.iter().cloned());
        self.positions.extend(&later.positions);
        self.arrivals.extend(&later.arrivals);
        self.tallies.extend(&later.tallies);
        for (source, memos) in &later.memos {
            let held = self.memos.entry(source.clone()).or_default();
            held.extend(memos.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        self.counters.extend(later.counters.iter().map(|(k, v)| (k.clone(), *v)));
        self.marks.extend(later.marks.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
}

/// Everything of a cut.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// The structured part.
    pub head: Head,
    /// Changed sides of slots.
    pub slots: Vec<Block>,
    /// Texts that the slots name, by their numbers.
    pub texts: Vec<(u64, &'static str)>,
    /// Additive entries `[key len u16 LE][key][i64 LE]`; equal keys add up.
    pub ledger: Vec<u8>,
}

impl Cut {
    /// About how many bytes of memory it takes up.
    pub fn bytes(&self) -> u64 {
        let slots: usize = self.slots.iter().flat_map(Block::parts).map(<[u8]>::len).sum();
        (slots + self.ledger.len() + self.texts.len() * size_of::<(u64, &str)>()) as u64
    }

    /// How many entries of slots it holds.
    pub fn entries(&self) -> u64 {
        self.slots.iter().map(Block::entries).sum()
    }

    /// Takes up the cut that followed, where this one could not be stored.
    pub fn merge(&mut self, later: Cut) {
        self.head.merge(&later.head);
        self.slots.extend(later.slots);
        self.texts.extend(later.texts);
        self.ledger.extend(later.ledger);
    }
}

/// What was found at start: all heads merged into one, and the data.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The merged head of the newest undamaged cut.
    pub head: Head,
    /// Blocks of slots, oldest first: later entries replace earlier ones of the same index and
    /// part.
    pub slots: Vec<Vec<u8>>,
    /// All texts by their numbers.
    pub texts: Vec<(u64, String)>,
    /// Blocks of ledger entries; they add up.
    pub ledger: Vec<Vec<u8>>,
    /// What was damaged and what it means, in sentences; empty = nothing.
    pub damage: Vec<String>,
    /// Cuts that had been stored are lost: sinks may be ahead of this state.
    pub fell_back: bool,
}

/// What a commit did.
#[derive(Clone, Copy, Debug)]
pub struct CommitInfo {
    /// Bytes appended.
    pub bytes: u64,
    /// From call to durable.
    pub duration: Duration,
    /// The generation that was appended to.
    pub generation: u64,
    /// The manifest could not be written; the cut is durable all the same.
    pub manifest_behind: bool,
}
