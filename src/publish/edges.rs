//! Names and edges of windows.

use dataflows::metrics::declare::{Shape, Time, Window};
use dataflows::metrics::schema::span;
use dataflows::metrics::value::NULL;

use super::Frontier;

/// The names of all windows of a metric; where two would be the same, with their step and time.
pub fn labels(windows: &[Window]) -> Vec<String> {
    let plain: Vec<String> = windows.iter().map(Window::label).collect();
    let once = |l: &String| plain.iter().filter(|p| *p == l).count() == 1;
    let all = windows.iter().zip(&plain).map(|(window, name)| match window.shape {
        _ if once(name) => name.clone(),
        Shape::Sliding { every, .. } => format!("{name}/{}", span(every)),
        _ if window.time == Time::Arrival => format!("arrival {name}"),
        _ => format!("event {name}"),
    });
    all.collect()
}

/// The edges [start, end) of a window, microseconds; `start` as the group's key has it.
pub fn edges(window: &Window, start: i64, frontier: Frontier) -> (i64, i64) {
    if let Shape::Sliding { size, every } = window.shape
        && (start == NULL || window.slides())
    {
        return Window::latest(size, every, frontier.now, frontier.ended);
    }
    (start, window.end(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::time::{DAY, HOUR, SECOND, day_number};

    const MIN: i64 = 60 * SECOND;

    #[test]
    fn windows_have_names() {
        let named = |time, shape| Window { time, shape }.label();
        let slide = |size, every| Shape::Sliding { size, every };
        for (shape, name) in [
            (slide(5 * MIN, 10 * SECOND), "5min"),
            (slide(HOUR, MIN), "1h"),
            (slide(DAY, 15 * MIN), "24h"),
            (slide(7 * DAY, DAY), "7d"),
            (slide(100_000, 100_000), "100ms"),
            (slide(1, 1), "1us"),
            (Shape::Tumbling { size: HOUR }, "hour"),
            (Shape::Tumbling { size: 2 * HOUR }, "2h"),
            (Shape::Month, "month"),
        ] {
            assert_eq!(named(Time::Arrival, shape), name);
        }
        let both = [slide(MIN, SECOND), slide(MIN, MIN)]
            .map(|shape| Window { time: Time::Arrival, shape });
        assert_eq!(labels(&both), ["1min/1s", "1min/1min"]);
    }

    #[test]
    fn edges_follow_the_clock_or_the_key() {
        let at = |now, ended| Frontier { now, ended, ..Frontier::default() };
        let check = |time, shape, start, now, ended, want: (i64, i64)| {
            assert_eq!(edges(&Window { time, shape }, start, at(now, ended)), want, "{shape:?}");
        };
        let slide = Shape::Sliding { size: 300, every: 10 };
        check(Time::Arrival, slide, NULL, 1009, false, (700, 1000));
        check(Time::Arrival, slide, NULL, 1010, false, (710, 1010));
        check(Time::Arrival, slide, NULL, 1010, true, (720, 1020));
        check(Time::Event, slide, 40, 1010, false, (40, 340));
        let feb = day_number(2024, 2, 1) * DAY;
        check(Time::Event, Shape::Month, feb, 0, false, (feb, feb + 29 * DAY));
        let dec = day_number(2023, 12, 1) * DAY;
        check(Time::Event, Shape::Month, dec, 0, false, (dec, dec + 31 * DAY));
        let year = day_number(1969, 1, 1) * DAY;
        check(Time::Event, Shape::Year, year, 0, false, (year, 0));
        check(Time::Event, Shape::Tumbling { size: HOUR }, -HOUR, 0, false, (-HOUR, 0));
    }
}
