//! When the demo's records arrive: a list of segments, each a start and a rate.
//!
//! Promises: the arrival time of a record that was ever due stays what it was; arrival times of
//! a stream never go back. Only an orderly stop or a new rate opens a segment: after a crash the
//! schedule runs on, so what would have come meanwhile is caught up with.

use serde::{Deserialize, Serialize};

use crate::config::Rate;

/// The streams of the demo.
pub const STREAMS: usize = 3;

/// A stretch of the schedule with one rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Where it starts, microseconds since 1970-01-01 UTC.
    pub t0: i64,
    /// Records a second over all three streams; nominal if `max`.
    pub rate: f64,
    /// As fast as they are taken.
    pub max: bool,
    /// The first record of each stream that it schedules.
    pub first: [u64; STREAMS],
}

impl Segment {
    /// The arrival time of record `n` of a stream. The streams take turns.
    pub fn arrival(&self, stream: usize, n: u64) -> i64 {
        let turn = (n - self.first[stream]) * STREAMS as u64 + stream as u64;
        self.t0.saturating_add((turn as f64 * 1e6 / self.rate) as i64)
    }
}

/// The schedule, and what it schedules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The generator's seed; another one would be other records under the same numbers.
    pub seed: u64,
    /// Its closed set of indexes.
    pub indexes: u64,
    /// In order.
    pub segments: Vec<Segment>,
    /// The run that wrote it last came to an orderly stop.
    pub stopped: bool,
}

impl Schedule {
    /// Opens a segment if one is due, and says whether it did. `next` is the record to read next
    /// of each stream.
    pub fn open(&mut self, rate: Rate, now: i64, next: [u64; STREAMS]) -> bool {
        let (rate, max) = match rate {
            Rate::PerSecond(rate) => (rate, false),
            Rate::Max(nominal) => (nominal, true),
        };
        let runs_on = |last: &Segment| {
            !self.stopped && last.rate.to_bits() == rate.to_bits() && last.max == max
        };
        if self.segments.last().is_some_and(runs_on) {
            return false;
        }
        let behind = (0..STREAMS)
            .filter(|s| next[*s] > 0 && !self.segments.is_empty())
            .map(|s| self.arrival(s, next[s] - 1));
        let t0 = behind.max().map_or(now, |latest| latest.max(now));
        self.segments.push(Segment { t0, rate, max, first: next });
        self.stopped = false;
        true
    }

    /// The segment that schedules a record: the last that starts at or before it.
    pub fn segment(&self, stream: usize, n: u64) -> &Segment {
        let after = self.segments.iter().rposition(|s| s.first[stream] <= n);
        &self.segments[after.unwrap_or(0)]
    }

    /// The arrival time of a record.
    pub fn arrival(&self, stream: usize, n: u64) -> i64 {
        self.segment(stream, n).arrival(stream, n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Schedule {
        Schedule { seed: 1, indexes: 10, segments: Vec::new(), stopped: false }
    }

    #[test]
    fn a_crash_runs_on_and_a_stop_or_a_new_rate_opens_a_segment() {
        let mut s = fresh();
        let rate = Rate::PerSecond(300.0);
        assert!(s.open(rate, 1_000_000, [0; 3]));
        assert_eq!(s.arrival(0, 100), 2_000_000);
        assert_eq!(s.arrival(1, 0), 1_003_333);
        // A crash: later, the same rate, whatever was read.
        assert!(!s.open(rate, 9_000_000, [50, 40, 60]));
        assert_eq!(s.arrival(0, 100), 2_000_000);
        // A stop.
        s.stopped = true;
        assert!(s.open(rate, 9_000_000, [50, 40, 60]));
        assert_eq!(s.arrival(0, 49), 1_490_000);
        assert_eq!(s.arrival(0, 50), 9_000_000);
        assert!(!s.stopped);
        // A new rate, while the clock went back: arrivals do not.
        assert!(s.open(Rate::Max(3e6), 0, [150, 40, 60]));
        assert_eq!(s.arrival(0, 149), 9_990_000);
        assert_eq!(s.arrival(0, 150), 9_990_000);
        assert_eq!(s.arrival(0, 151), 9_990_001);
        let copy: Schedule =
            serde_json::from_value(serde_json::to_value(&s).expect("plain")).expect("its own");
        assert_eq!(copy, s);
    }

    #[test]
    fn arrivals_never_go_back() {
        let mut s = fresh();
        s.open(Rate::PerSecond(777.7), 5, [0; 3]);
        s.stopped = true;
        s.open(Rate::PerSecond(10.0), 6, [1000, 999, 1001]);
        for stream in 0..STREAMS {
            let times: Vec<i64> = (0..3000).map(|n| s.arrival(stream, n)).collect();
            assert!(times.is_sorted());
        }
    }
}
