//! One stream of the demo: records as they fall due.
//!
//! Promises: record `n` is the same bytes at the same arrival time whenever it is read; nothing
//! is read before it is due.
//! Limits: a batch holds at most [`BATCH`] records, so that catching up stays in small steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dataflows::batch::{Arrivals, Batch, Given, Positions, Ruled, Span};
use dataflows::record::Rule;

use super::schedule::Schedule;
use super::world::World;
use super::{dirt, rows, visit};
use crate::source::pool::Pool;
use crate::source::{Clock, Read, Reader, SourceError};

/// Records of a batch at most.
const BATCH: usize = 4096;
/// A record that is not due is asked for again after this long at least: at high rates a few
/// records come together, which costs less than waking for each.
const NAP: i64 = 2_000;
/// And at most; microseconds.
const SLEEP: i64 = 1_000_000;

/// A stream from a record on.
pub struct DemoReader {
    pub(super) world: Arc<World>,
    pub(super) schedule: Arc<Schedule>,
    pub(super) clock: Clock,
    pub(super) stream: usize,
    pub(super) partition: u32,
    pub(super) rule: Rule,
    /// The record to read next, shared with the source.
    pub(super) next: Arc<[AtomicU64; 3]>,
    /// How many records there are; none = endless.
    pub(super) count: Option<u64>,
    /// As fast as asked.
    pub(super) max: bool,
    pub(super) pool: Pool,
}

impl Reader for DemoReader {
    fn read(&mut self, max_bytes: usize, max_records: usize) -> Result<Read, SourceError> {
        let from = self.next[self.stream].load(Ordering::Relaxed);
        let left = self.count.map_or(u64::MAX, |count| count.saturating_sub(from));
        if left == 0 {
            return Ok(Read::End);
        }
        let most = (max_records.clamp(1, BATCH) as u64).min(left);
        let wall = if self.max { i64::MAX } else { (self.clock)() };
        let mut arrivals = Vec::with_capacity(most as usize);
        let mut segment = self.schedule.segment(self.stream, from);
        let upto = segment_end(&self.schedule, self.stream, from);
        for n in from..from + most {
            if n >= upto {
                segment = self.schedule.segment(self.stream, n);
            }
            let arrival = segment.arrival(self.stream, n);
            if arrival > wall {
                if n == from {
                    let wait = (arrival - wall).clamp(NAP, SLEEP) as u64;
                    return Ok(Read::Idle(Duration::from_micros(wait)));
                }
                break;
            }
            arrivals.push(arrival);
        }
        Ok(Read::Batch(self.batch(from, arrivals, max_bytes)))
    }

    fn schedules(&self) -> bool {
        true
    }

    fn end(&self) -> Option<u64> {
        let next = self.next[self.stream].load(Ordering::Relaxed);
        if self.count.is_some() || self.max {
            return self.count;
        }
        // What is due by now; the last segment alone can be behind the clock.
        let last = self.schedule.segments.last()?;
        let due = ((self.clock)() - last.t0).max(0) as f64 * last.rate / 3e6;
        Some((last.first[self.stream] + due as u64).max(next))
    }
}

impl DemoReader {
    /// Records from `from` on, one for each arrival time, as far as the bytes reach.
    fn batch(&mut self, from: u64, mut arrivals: Vec<i64>, max_bytes: usize) -> Batch {
        let room = max_bytes.min(arrivals.len() * 640) + 4096;
        let mut bytes = self.pool.take(room);
        let mut spans = Vec::with_capacity(arrivals.len());
        for i in 0..arrivals.len() {
            if i > 0 && bytes.len() >= max_bytes {
                break;
            }
            let start = bytes.len();
            self.write(from + i as u64, &mut bytes);
            spans.push(Span { start: start as u32, len: (bytes.len() - start) as u32 });
        }
        arrivals.truncate(spans.len());
        let next = from + spans.len() as u64;
        self.next[self.stream].store(next, Ordering::Relaxed);
        Batch {
            partition: self.partition,
            block: self.pool.give(bytes),
            spans,
            positions: Positions::Counted(from),
            first_sub: 0,
            arrivals: Arrivals::Each(arrivals),
            arrival_given: Given::All(true),
            ruled: Ruled::All(self.rule),
            next,
        }
    }

    fn write(&self, n: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let tick = visit::tick(self.world.seed, self.stream, n);
        let visit = visit::visit(&self.world, self.stream, tick);
        rows::row(&self.world, self.stream, visit, out);
        dirt::spoil(&self.world, self.stream, n, start, out);
    }
}

/// The first record of a stream that a later segment than that of `n` schedules.
fn segment_end(schedule: &Schedule, stream: usize, n: u64) -> u64 {
    let later = schedule.segments.iter().map(|s| s.first[stream]).filter(|first| *first > n);
    later.min().unwrap_or(u64::MAX)
}
