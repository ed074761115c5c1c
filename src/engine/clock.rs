//! The one place that reads clocks, and the rule by which `now` moves.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Clock;

/// How far beyond the wall clock of the state's first start an arrival time may move `now`.
const MAX_AHEAD: i64 = dataflows::time::DAY;

/// The wall clock, microseconds since 1970-01-01 UTC.
pub fn wall() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_micros() as i64)
}

/// The farthest arrival time that counts for `now`, for a state that first started at `born` (wall
/// clock). Whoever sums up arrival times passes over those beyond it: one that is there must not
/// hide the others, which depends on what is summed up together.
pub fn farthest(clock: Clock, born: i64) -> i64 {
    match clock {
        Clock::Arrival => born.saturating_add(MAX_AHEAD),
        Clock::Wall => i64::MAX,
    }
}

/// `now`: it follows the wall clock or the arrival times, and never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    clock: Clock,
    now: i64,
    /// Arrival times beyond this do not move it.
    until: i64,
}

impl Now {
    /// `now` as stored; arrival times beyond `until` do not move it.
    pub fn new(clock: Clock, stored: i64, until: i64) -> Self {
        Now { clock, now: stored, until }
    }

    /// The value.
    pub fn get(&self) -> i64 {
        self.now
    }

    /// Moves it on, given the wall clock and the greatest arrival time of the epoch.
    pub fn advance(&mut self, wall: i64, arrivals: impl Iterator<Item = i64>) -> i64 {
        let to = match self.clock {
            Clock::Wall => Some(wall),
            Clock::Arrival => arrivals.filter(|t| *t <= self.until).max(),
        };
        self.now = self.now.max(to.unwrap_or(self.now));
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back_and_mistrusts_the_far_future() {
        let mut now = Now::new(Clock::Arrival, 10, farthest(Clock::Arrival, 100));
        assert_eq!(now.advance(0, [5, 7].into_iter()), 10);
        assert_eq!(now.advance(0, [12, i64::MAX].into_iter()), 12);
        assert_eq!(now.advance(0, std::iter::empty()), 12);
        let mut now = Now::new(Clock::Wall, 10, 100);
        assert_eq!((now.advance(8, [99].into_iter()), now.advance(11, [].into_iter())), (10, 11));
    }
}
