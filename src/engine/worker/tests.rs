//! Whose turn it is to be read, and which arrival times move the clock.

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
#[derive(Default)]
struct Endless {
    partition: u32,
    reads: Arc<AtomicUsize>,
    /// The arrival times of its messages, over and over, and whether they were given.
    arrivals: Vec<i64>,
    given: bool,
    schedules: bool,
}

impl Reader for Endless {
    fn read(&mut self, max_bytes: usize, _: usize) -> Result<Read, SourceError> {
        let next = 1 + self.reads.fetch_add(1, Relaxed) as u64;
        Ok(Read::Batch(Batch {
            partition: self.partition,
            block: Block(Arc::new(vec![b' '; max_bytes])),
            spans: vec![Span { start: 0, len: max_bytes as u32 }; self.arrivals.len().max(1)],
            positions: Positions::Counted(next - 1),
            first_sub: 0,
            arrivals: match &self.arrivals[..] {
                [] => Arrivals::One(0),
                list => Arrivals::Each(list.to_vec()),
            },
            arrival_given: Given::All(self.given),
            ruled: Ruled::All(dataflows::record::Rule::Auto),
            next,
        }))
    }

    fn schedules(&self) -> bool {
        self.schedules
    }

    fn end(&self) -> Option<u64> {
        None
    }
}

/// A worker that owns these; works with it, and what it said.
#[allow(clippy::disallowed_methods, reason = "a test sends a few messages")]
fn with_feeder(
    readers: Vec<Endless>,
    farthest: Farthest,
    work: impl FnOnce(&mut Feeder) + Send + Sync + 'static,
) -> Vec<Event> {
    let (events, said) = unbounded();
    timely::execute_directly(move |worker| {
        let plan = Arc::new(Plan::new(&[], &[], false));
        let partitions = Partitions::default();
        partitions.write().extend(readers.iter().map(|r| ("s".into(), r.partition.to_string())));
        let options =
            DecodeOptions { rules: Arc::default(), known: Arc::default(), partitions, rows: None };
        let handles = graph::build(worker, &plan, &options, &Arc::new(Restore::default()));
        let (shared, (tell, inbox)) = (Arc::new(Shared::new(1)), unbounded());
        shared.reading.store(true, Relaxed);
        let bounds = Bounds { bytes: 2 * READ_BYTES, records: usize::MAX, farthest };
        let handles = handles.expect("a new state");
        let mut feeder = Feeder::new(0, handles, shared, inbox, events, bounds);
        for reader in readers {
            let (partition, reader) = (reader.partition, Box::new(reader));
            tell.send(ToWorker::Open { partition, reader }).expect("it is there");
        }
        feeder.hear();
        work(&mut feeder);
    });
    said.iter().collect()
}

/// Those behind the first few were not read as long as these had more.
#[test]
fn every_partition_has_its_turn_where_an_epoch_has_no_room_for_all() {
    let read: Vec<Arc<AtomicUsize>> = (0..5).map(|_| Arc::default()).collect();
    let reader = |(partition, reads): (u32, &Arc<AtomicUsize>)| {
        let reads = reads.clone();
        Endless { partition, reads, ..Endless::default() }
    };
    with_feeder((0..).zip(&read).map(reader).collect(), Farthest::Of(0), |feeder| {
        for _ in 0..10 {
            feeder.feed();
            feeder.close();
        }
    });
    let counts: Vec<usize> = read.iter().map(|count| count.load(Relaxed)).collect();
    assert_eq!(counts, [4; 5]);
}

/// The clock stood still a day after the first start of a state, whatever gave the times.
#[test]
fn the_far_future_moves_the_clock_where_a_schedule_says_so() {
    const DAY: i64 = dataflows::time::DAY;
    for (given, schedules, latest) in
        [(true, false, DAY + 5), (true, true, DAY + 6), (false, false, DAY + 6)]
    {
        let arrivals = vec![7, DAY + 5, DAY + 6];
        let reader = Endless { arrivals, given, schedules, ..Endless::default() };
        let said = with_feeder(vec![reader], Farthest::Of(5), |feeder| {
            feeder.feed();
            feeder.close();
        });
        let closed = said.into_iter().find_map(|event| match event {
            Event::Closed(closed) => Some(closed),
            _ => None,
        });
        let read = closed.expect("it was closed").read;
        assert_eq!(read[0].latest, Some(latest), "given {given}, by a schedule {schedules}");
    }
}
