//! What is exact at a frontier beside the results: positions and what became of the records.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataflows::record::Reason;
use dataflows::sealed::{Counters, Tally};

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The source's name.
    pub source: Arc<str>,
    /// The partition's name within it.
    pub partition: Arc<str>,
}

/// Positions, tallies and counters of one frontier; partitions by their number. What never
/// changes between two epochs is shared.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The partitions, by number.
    pub places: Arc<Vec<Place>>,
    /// The positions to read next, by partition.
    pub next: Vec<u64>,
    /// What became of the records, by partition.
    pub tallies: Vec<Tally>,
    /// Rejections by source and reason, in the order of [`Reason::ALL`].
    pub rejected: BTreeMap<Arc<str>, [u64; Reason::ALL.len()]>,
    /// Records handed to the dataflow by this process and before it.
    pub handed_over: u64,
    /// Records handed to the dataflow whose epoch is not sealed yet.
    pub in_flight: u64,
    /// Posts: distinct indexes that are held.
    pub posts: u64,
    /// Posts that lack a side, by pin, geo, user.
    pub incomplete: [u64; 3],
    /// Named counters: wrappers taken off, unknown fields, defects, late records.
    pub counters: Arc<Counters>,
}

impl Progress {
    /// All tallies added up.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in &self.tallies {
            total.add(tally);
        }
        total
    }

    /// Each partition with its position and tally.
    pub fn partitions(&self) -> impl Iterator<Item = (&Place, u64, Tally)> {
        self.places.iter().enumerate().map(|(n, place)| {
            let next = self.next.get(n).copied().unwrap_or(0);
            (place, next, self.tallies.get(n).copied().unwrap_or_default())
        })
    }

    /// The positions as JSON: `{source: {partition: position}}`.
    pub fn positions(&self) -> serde_json::Value {
        let mut all: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for (place, next, _) in self.partitions() {
            all.entry(&place.source).or_default().insert(&place.partition, next);
        }
        serde_json::json!(all)
    }
}
