//! What is stored, as values: cuts, their heads, what is restored from them. No I/O.

use std::collections::BTreeMap;

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
        let block = |block: &Block| block.parts().0.len() + block.parts().1.len();
        let slots: usize = self.slots.iter().map(block).sum();
        (slots + self.ledger.len() + self.texts.len() * size_of::<(u64, &str)>()) as u64
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

/// Sums of ledger entries by key; entries that came back to zero are left out when written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<Vec<u8>, i64>);

impl Ledger {
    /// Adds a block of entries.
    pub fn add(&mut self, mut block: &[u8]) -> Result<(), String> {
        Self::check(block)?;
        while let Some((len, rest)) = block.split_first_chunk::<2>() {
            let (key, rest) = rest.split_at(u16::from_le_bytes(*len) as usize);
            let (value, rest) = rest.split_first_chunk::<8>().expect("checked above");
            let value = i64::from_le_bytes(*value);
            if let Some(sum) = self.0.get_mut(key) {
                *sum = sum.wrapping_add(value);
                if *sum == 0 {
                    self.0.remove(key);
                }
            } else if value != 0 {
                self.0.insert(key.to_vec(), value);
            }
            block = rest;
        }
        Ok(())
    }

    /// Whether a block is made of whole entries.
    pub fn check(block: &[u8]) -> Result<(), String> {
        let mut rest = block;
        while !rest.is_empty() {
            let len = rest.split_first_chunk::<2>().map(|(len, _)| u16::from_le_bytes(*len));
            let end = len.map_or(usize::MAX, |len| usize::from(len) + 10);
            rest = rest.get(end..).ok_or_else(|| {
                let offset = block.len() - rest.len();
                format!("the ledger entry at byte {offset} is cut off")
            })?;
        }
        Ok(())
    }

    /// All entries, in blocks of about `size` bytes.
    pub fn encode_blocks(&self, size: usize) -> Vec<Vec<u8>> {
        let mut blocks = Vec::new();
        let mut block = Vec::new();
        for (key, value) in &self.0 {
            block.extend_from_slice(&(key.len() as u16).to_le_bytes());
            block.extend_from_slice(key);
            block.extend_from_slice(&value.to_le_bytes());
            if block.len() >= size {
                blocks.push(std::mem::take(&mut block));
            }
        }
        if !block.is_empty() {
            blocks.push(block);
        }
        blocks
    }
}
