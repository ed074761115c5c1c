//! Whose turn it is to be read.

use std::sync::atomic::AtomicUsize;

use crossbeam_channel::unbounded;
use dataflows::assemble::Partitions;
use dataflows::batch::{Arrivals, Block, Given, Positions, Ruled, Span};
use dataflows::decode::DecodeOptions;
use dataflows::graph::{self, Restore};
use dataflows::metrics::plan::Plan;

use super::*;
use crate::source::SourceError;

/// A partition without an end; it counts how often it was read.
struct Endless(u32, Arc<AtomicUsize>);

impl Reader for Endless {
    fn read(&mut self, max_bytes: usize, _: usize) -> Result<Read, SourceError> {
        let next = 1 + self.1.fetch_add(1, Relaxed) as u64;
        Ok(Read::Batch(Batch {
            partition: self.0,
            block: Block(Arc::new(vec![b' '; max_bytes])),
            spans: vec![Span { start: 0, len: max_bytes as u32 }],
            positions: Positions::Counted(next - 1),
            first_sub: 0,
            arrivals: Arrivals::One(0),
            arrival_given: Given::All(false),
            ruled: Ruled::All(dataflows::record::Rule::Auto),
            next,
        }))
    }

    fn end(&self) -> Option<u64> {
        None
    }
}

/// Those behind the first few were not read as long as these had more.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test sends a few messages")]
fn every_partition_has_its_turn_where_an_epoch_has_no_room_for_all() {
    let read: Vec<Arc<AtomicUsize>> = (0..5).map(|_| Arc::default()).collect();
    let counts = read.clone();
    timely::execute_directly(move |worker| {
        let plan = Arc::new(Plan::new(&[], &[], false));
        let partitions = Partitions::default();
        partitions.write().extend((0..5).map(|n| ("s".to_owned(), n.to_string())));
        let options =
            DecodeOptions { rules: Arc::default(), known: Arc::default(), partitions, rows: None };
        let handles = graph::build(worker, &plan, &options, &Arc::new(Restore::default()));
        let (shared, (tell, inbox)) = (Arc::new(Shared::new(1)), unbounded());
        shared.reading.store(true, Relaxed);
        let bounds = Bounds { bytes: 2 * READ_BYTES, records: usize::MAX, until: 0 };
        let handles = handles.expect("a new state");
        let mut feeder = Feeder::new(0, handles, shared, inbox, unbounded().0, bounds);
        for (partition, count) in (0..).zip(&read) {
            let reader = Box::new(Endless(partition, count.clone()));
            tell.send(ToWorker::Open { partition, reader }).expect("it is there");
        }
        feeder.hear();
        for _ in 0..10 {
            feeder.feed();
            feeder.close();
        }
    });
    let counts: Vec<usize> = counts.iter().map(|count| count.load(Relaxed)).collect();
    assert_eq!(counts, [4; 5]);
}
