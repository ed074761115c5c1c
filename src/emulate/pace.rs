//! How fast posts are sent: pauses between them, or a rate.

use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::config::units;
use crate::source::demo::Dice;

/// What is ahead of its time by less than this is sent at once: at high rates a few posts go
/// together, which costs less than a sleep for each.
const AHEAD: Duration = Duration::from_millis(2);

/// How fast posts are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as they are taken.
    Max,
    /// So many records a second; more than 0.
    Rate(f64),
    /// A pause before every post but the first, evenly drawn from this range.
    Interval(Duration, Duration),
    /// The pauses that the stock script draws: 0 or 1 seconds, before every post.
    Stock,
}

/// Tells when the next post is due.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    dice: Dice,
    started: Instant,
    first: bool,
}

impl Pacer {
    /// Begins now.
    pub fn new(pace: Pace, seed: u64) -> Self {
        // The pauses are other throws than the posts of the same seed.
        let dice = Dice::new(seed ^ 0x7061_7573);
        Pacer { pace, dice, started: Instant::now(), first: true }
    }

    /// When the next post is due, so many records having been sent; none = at once.
    pub fn due(&mut self, records: u64, stock_sleep_seconds: u32) -> Option<Instant> {
        let first = std::mem::replace(&mut self.first, false);
        match self.pace {
            Pace::Max => None,
            Pace::Rate(rate) => {
                let due = self.started + Duration::from_secs_f64(records as f64 / rate);
                (due.saturating_duration_since(Instant::now()) >= AHEAD).then_some(due)
            }
            Pace::Interval(..) if first => None,
            Pace::Interval(least, most) => {
                let spread = most.saturating_sub(least).as_micros() as u64;
                let pause = Duration::from_micros(self.dice.below(spread + 1));
                Some(Instant::now() + least + pause)
            }
            Pace::Stock => Some(Instant::now() + Duration::from_secs(stock_sleep_seconds.into())),
        }
    }
}

/// A rate in words: records a second, or `max`.
pub fn rate(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    match f64::from_str(text) {
        // A slower rate would be due beyond what a clock can say.
        Ok(rate) if (1e-6..=1e9).contains(&rate) => Ok(Pace::Rate(rate)),
        _ => Err("write a number of records a second above 0, or max".into()),
    }
}

/// Pauses in words: `2s`, or `0..2s` for any between them.
pub fn interval(text: &str) -> Result<Pace, String> {
    let one = |text: &str| match text {
        "0" => Ok(Duration::ZERO),
        text => units::duration(text).map(|micros| Duration::from_micros(micros as u64)),
    };
    let (least, most) = match text.split_once("..") {
        Some((least, most)) => (one(least)?, one(most)?),
        None => (one(text)?, one(text)?),
    };
    if least > most {
        return Err("the shorter pause comes first, like 0..2s".into());
    }
    Ok(Pace::Interval(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let between = |a, b| Ok(Pace::Interval(Duration::from_millis(a), Duration::from_millis(b)));
        assert_eq!(interval("0..2s"), between(0, 2000));
        assert_eq!(interval("10ms..1s"), between(10, 1000));
        assert_eq!(interval("500ms"), between(500, 500));
        assert_eq!(interval("0"), between(0, 0));
        for bad in ["", "2", "2s..1s", "..", "a..b", "1s..", "-1s"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
        assert_eq!((rate("max"), rate("0.5")), (Ok(Pace::Max), Ok(Pace::Rate(0.5))));
        for bad in ["", "0", "-3", "fast", "inf", "nan", "1e-9"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pauses_lie_in_their_range() {
        let range = (Duration::from_secs(10), Duration::from_secs(20));
        let mut pacer = Pacer::new(Pace::Interval(range.0, range.1), 1);
        assert_eq!(pacer.due(0, 0), None, "nothing is waited for before the first post");
        for _ in 0..100 {
            let before = Instant::now();
            let due = pacer.due(3, 0).expect("a pause");
            let after = Instant::now();
            assert!(due >= before + range.0 && due <= after + range.1);
        }
        let mut pacer = Pacer::new(Pace::Rate(10.0), 1);
        assert_eq!(pacer.due(0, 0), None);
        let due = pacer.due(36_000, 0).expect("an hour from now");
        assert_eq!(due - pacer.started, Duration::from_hours(1));
        assert!(Pacer::new(Pace::Stock, 1).due(0, 1).is_some());
    }
}
