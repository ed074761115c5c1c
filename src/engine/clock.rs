//! The one place that reads clocks, and the rule by which `now` moves.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Clock;

/// How far beyond the wall clock an arrival time that a source was given may move `now`.
const MAX_AHEAD: i64 = dataflows::time::DAY;

/// The wall clock, microseconds since 1970-01-01 UTC.
pub fn wall() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_micros() as i64)
}

/// Up to when arrival times that a source was given move `now`. Whoever sums up arrival times
/// passes over those beyond it: one that is there must not hide the others, which depends on what
/// is summed up together.
#[derive(Clone, Copy, Debug)]
pub enum Farthest {
    /// A day beyond the wall clock at which a bounded run began, which a restart does not change:
    /// its result does not depend on when a record was read.
    Of(i64),
    /// A day beyond the wall clock as it goes on.
    OfNow,
}

impl Farthest {
    /// The time, microseconds since 1970-01-01 UTC.
    pub fn get(self) -> i64 {
        let wall = match self {
            Farthest::Of(began) => began,
            Farthest::OfNow => wall(),
        };
        wall.saturating_add(MAX_AHEAD)
    }
}

/// `now`: it follows the wall clock or the arrival times, and never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    clock: Clock,
    now: i64,
}

impl Now {
    /// `now` as stored.
    pub fn new(clock: Clock, stored: i64) -> Self {
        Now { clock, now: stored }
    }

    /// The value.
    pub fn get(&self) -> i64 {
        self.now
    }

    /// Moves it on, given the wall clock and the greatest arrival times of the epoch, of those
    /// that count ([`Farthest`]).
    pub fn advance(&mut self, wall: i64, arrivals: impl Iterator<Item = i64>) -> i64 {
        let to = match self.clock {
            Clock::Wall => Some(wall),
            Clock::Arrival => arrivals.max(),
        };
        self.now = self.now.max(to.unwrap_or(self.now));
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        let mut now = Now::new(Clock::Arrival, 10);
        assert_eq!(now.advance(0, [5, 7].into_iter()), 10);
        assert_eq!(now.advance(0, [12, 11].into_iter()), 12);
        assert_eq!(now.advance(0, std::iter::empty()), 12);
        let mut now = Now::new(Clock::Wall, 10);
        assert_eq!((now.advance(8, [99].into_iter()), now.advance(11, [].into_iter())), (10, 11));
    }

    #[test]
    fn a_bounded_run_knows_from_its_beginning_how_far_a_running_one_goes_on() {
        assert_eq!(Farthest::Of(100).get(), 100 + MAX_AHEAD);
        let (before, of_now) = (wall(), Farthest::OfNow.get());
        assert!((before..=wall()).contains(&(of_now - MAX_AHEAD)));
    }
}
