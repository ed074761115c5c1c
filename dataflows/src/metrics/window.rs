//! Windows as pure functions: which ones hold a time, and where they end.

use std::ops::Range;

use super::declare::{Shape, Time, Window};
use crate::tick::Tick;
use crate::time::{DAY, civil, day_number, floor};

impl Window {
    /// The starts of the windows that hold a time.
    pub fn starts(&self, t: i64) -> impl Iterator<Item = i64> + use<> {
        let (first, step, n) = match self.shape {
            Shape::Tumbling { size } => (floor(t, size), size, 1),
            Shape::Sliding { size, every } => {
                // Ends lie in (t, t + size], multiples of `every`.
                let first = floor(t, every) + every;
                let n = (floor(t + size, every) - first) / every + 1;
                (first - size, every, n.max(0))
            }
            Shape::Month => {
                let (y, m, _) = civil(t.div_euclid(DAY));
                (day_number(y, m, 1) * DAY, DAY, 1)
            }
            Shape::Year => (day_number(crate::time::year(t), 1, 1) * DAY, DAY, 1),
        };
        (0..n).map(move |k| first + k * step)
    }

    /// The end of the window that starts there.
    pub fn end(&self, start: i64) -> i64 {
        match self.shape {
            Shape::Tumbling { size } | Shape::Sliding { size, .. } => start.saturating_add(size),
            Shape::Month => {
                let (y, m, _) = civil(start.div_euclid(DAY));
                let (y, m) = if m == 12 { (y + 1, 1) } else { (y, m + 1) };
                day_number(y, m, 1) * DAY
            }
            Shape::Year => day_number(crate::time::year(start) + 1, 1, 1) * DAY,
        }
    }

    /// Whether each of these windows lies within one of the others, which are longer.
    fn nests_in(&self, of: &Window) -> bool {
        self.time == of.time
            && match (self.shape, of.shape) {
                (Shape::Tumbling { size }, Shape::Tumbling { size: of }) => {
                    of > size && of % size == 0
                }
                (Shape::Tumbling { size }, Shape::Month | Shape::Year) => DAY % size == 0,
                (Shape::Month, Shape::Year) => true,
                _ => false,
            }
    }

    /// Whether it slides over arrivals, so that its edges follow from `now` and buckets move in and
    /// out of it.
    pub fn slides(&self) -> bool {
        self.time == Time::Arrival && matches!(self.shape, Shape::Sliding { .. })
    }

    /// The edges `[start, end)` at `now` of a window that slides over arrivals; at the end of a
    /// bounded run the window reaches beyond `now`.
    pub fn latest(size: i64, every: i64, now: i64, ended: bool) -> (i64, i64) {
        let end = floor(now, every) + if ended { every } else { 0 };
        (end - size, end)
    }

    /// The edges as of a tick, if it slides over arrivals.
    fn edges(&self, tick: &Tick) -> Option<(i64, i64)> {
        match self.shape {
            Shape::Sliding { size, every } if self.slides() => {
                Some(Window::latest(size, every, tick.now, tick.ended))
            }
            _ => None,
        }
    }

    /// The largest step that every edge of the window is a multiple of.
    pub fn grain(&self) -> i64 {
        match self.shape {
            Shape::Tumbling { size } => gcd(size, DAY),
            Shape::Sliding { size, every } => gcd(size, every),
            Shape::Month | Shape::Year => DAY,
        }
    }
}

/// Of each window the finest one that it is rolled up from, if there is any: each of that one's
/// lies within one of its own.
pub fn roll_ups(windows: &[Window]) -> Vec<Option<usize>> {
    let all = || windows.iter().enumerate();
    let is_finest = |of: &Window| !windows.iter().any(|finer| finer.nests_in(of));
    let finest = |of: &Window| all().find(|(_, w)| w.nests_in(of) && is_finest(w)).map(|(n, _)| n);
    windows.iter().map(finest).collect()
}

/// The edges that the windows of a node are at which slide over arrivals.
pub struct Edges(Vec<(i64, i64)>);

/// How a window has moved: its place, the buckets that came into it or went out of it, and whether
/// they went.
pub type Moved = (usize, Range<i64>, bool);

impl Edges {
    /// Nothing is in any of so many windows.
    pub fn new(windows: usize) -> Self {
        Edges(vec![(i64::MIN, i64::MIN); windows])
    }

    /// Whether a bucket is in a window.
    pub fn hold(&self, window: usize, bucket: i64) -> bool {
        let (from, to) = self.0[window];
        (from..to).contains(&bucket)
    }

    /// Moves them to where they are as of a tick.
    pub fn slide(&mut self, windows: &[Window], tick: &Tick) -> Vec<Moved> {
        let mut moved = Vec::new();
        for (w, (window, edges)) in windows.iter().zip(&mut self.0).enumerate() {
            let Some((from, to)) = window.edges(tick) else { continue };
            let (was_from, was_to) = std::mem::replace(edges, (from, to));
            if (from, to) == (was_from, was_to) {
                continue;
            }
            let (gone, came) = (was_from..was_to.min(from), was_to.max(from)..to);
            let ranges = [(w, gone, true), (w, came, false)];
            moved.extend(ranges.into_iter().filter(|(_, range, _)| !range.is_empty()));
        }
        moved
    }

    /// The first bucket that any of the windows reaches as of a tick, or still holds.
    pub fn oldest(&self, windows: &[Window], tick: &Tick) -> Option<i64> {
        let first = |(window, held): (&Window, &(i64, i64))| {
            let (from, _) = window.edges(tick)?;
            Some(if held.0 < held.1 { from.min(held.0) } else { from })
        };
        windows.iter().zip(&self.0).filter_map(first).min()
    }
}

/// The greatest common divisor.
pub fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::declare::Time;
    use super::*;

    fn window(shape: Shape) -> Window {
        Window { time: Time::Event, shape }
    }

    #[test]
    fn windows_hold_their_times() {
        let shapes = [
            Shape::Tumbling { size: 7 },
            Shape::Sliding { size: 10, every: 3 },
            Shape::Sliding { size: 3, every: 10 },
            Shape::Month,
            Shape::Year,
        ];
        for shape in shapes {
            let w = window(shape);
            for t in [-100, -1, 0, 5, 9, 10, 999, DAY * 59, DAY * 365 - 1] {
                for start in w.starts(t) {
                    assert!((start..w.end(start)).contains(&t), "{shape:?} {t} {start}");
                }
            }
        }
        let n = |size, every, t| window(Shape::Sliding { size, every }).starts(t).count();
        assert_eq!((n(10, 5, 0), n(10, 5, 3), n(3, 10, 3), n(3, 10, 8)), (2, 2, 0, 1));
    }

    #[test]
    fn windows_are_rolled_up_from_the_finest_within_them() {
        let tumbling = |size| window(Shape::Tumbling { size });
        let (month, year) = (window(Shape::Month), window(Shape::Year));
        let hour = tumbling(crate::time::HOUR);
        let check = |windows: &[Window], want: &[Option<usize>]| {
            assert_eq!(roll_ups(windows), want, "{windows:?}");
            for (n, from) in want.iter().enumerate() {
                let Some(from) = from else { continue };
                for t in
                    [-DAY * 366, -1, 0, DAY - 1, DAY, DAY * 59, DAY * 365 - 1, DAY * 20_000 + 7]
                {
                    let start = windows[*from].starts(t).next().expect("one");
                    assert!(windows[n].starts(start).eq(windows[n].starts(t)));
                }
            }
        };
        check(&[month, hour, year, tumbling(DAY)], &[Some(1), None, Some(1), Some(1)]);
        check(&[year, month], &[Some(1), None]);
        check(
            &[tumbling(4), tumbling(6), tumbling(12), tumbling(2)],
            &[Some(3), Some(3), Some(3), None],
        );
        check(&[tumbling(4), tumbling(6), tumbling(12)], &[None, None, Some(0)]);
        // Days that are no multiple, weeks in months, what slides, equal ones, another time.
        check(&[tumbling(7 * DAY), month, tumbling(7)], &[Some(2), None, None]);
        check(&[window(Shape::Sliding { size: 60, every: 10 }), tumbling(60)], &[None, None]);
        let arrival = Window { time: Time::Arrival, shape: Shape::Month };
        check(&[hour, hour, arrival], &[None, None, None]);
    }
}
