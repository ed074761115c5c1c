//! Troubles that come again and again: said when they are new or not what they were, then at most
//! once a minute, with how often they came.
//!
//! Limits: one entry a partition or source.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long the same trouble is not said again.
const SILENCE: Duration = Duration::from_mins(1);

/// What was said of whom, by number.
#[derive(Debug, Default)]
pub struct Repeats(BTreeMap<u32, Said>);

#[derive(Debug)]
struct Said {
    text: String,
    at: Instant,
    /// How often it came since.
    unsaid: u64,
}

impl Repeats {
    /// A trouble has come: how often it came since it was last said, if it is to be said now.
    pub fn came(&mut self, whose: u32, text: &str, now: Instant) -> Option<u64> {
        let Some(said) = self.0.get_mut(&whose).filter(|said| said.text == text) else {
            self.0.insert(whose, Said { text: text.to_owned(), at: now, unsaid: 0 });
            return Some(1);
        };
        said.unsaid += 1;
        if now.saturating_duration_since(said.at) < SILENCE {
            return None;
        }
        said.at = now;
        Some(std::mem::take(&mut said.unsaid))
    }

    /// Whether there was a trouble, which has gone.
    pub fn gone(&mut self, whose: u32) -> bool {
        self.0.remove(&whose).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each retry, one a second, was a line in the log.
    #[test]
    fn the_same_is_said_once_a_minute_and_another_at_once() {
        let mut repeats = Repeats::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let said: Vec<(u64, u64)> =
            (0..150).filter_map(|s| Some((s, repeats.came(7, "no file", at(s))?))).collect();
        assert_eq!(said, [(0, 1), (60, 60), (120, 60)]);
        assert_eq!(repeats.came(8, "no file", at(150)), Some(1), "of another");
        assert_eq!(repeats.came(7, "not allowed", at(150)), Some(1), "another");
        assert_eq!(repeats.came(7, "not allowed", at(151)), None);
        assert!(repeats.gone(7) && !repeats.gone(7));
        assert_eq!(repeats.came(7, "not allowed", at(152)), Some(1), "after it was gone");
    }
}
