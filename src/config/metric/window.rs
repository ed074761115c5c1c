//! `windows`, `time` and `retain`.

use std::collections::BTreeMap;

use dataflows::metrics::declare::{Fact, Shape, Time, Window};
use dataflows::metrics::words::WINDOWS;
use dataflows::time::{DAY, HOUR, MILLISECOND};

use super::scope::fact_name;
use crate::config::keys;
use crate::config::problem::{Place, meant};
use crate::config::section::{self, Section};
use crate::config::tree::{Node, Value};

/// Windows by name.
const NAMED: [(&str, Shape); 4] = [
    ("hour", Shape::Tumbling { size: HOUR }),
    ("day", Shape::Tumbling { size: DAY }),
    ("month", Shape::Month),
    ("year", Shape::Year),
];

/// A window that slides over arrivals holds at most so many buckets of `every`.
const BUCKETS: i64 = 100_000;
/// A row lies in at most so many windows that slide over event time.
const OVERLAP: i64 = 1000;
/// The shortest `size` and `every`, microseconds: an epoch is about as long.
const SHORTEST: i64 = 10_000;

/// The windows of a metric over a fact.
pub fn windows(s: &Section<'_>, fact: Fact) -> Vec<Window> {
    let over_records = matches!(fact, Fact::Arrivals(_) | Fact::Records | Fact::Fields);
    let times = [("arrival", Time::Arrival), ("event", Time::Event)];
    let default = if over_records { Time::Arrival } else { Time::Event };
    let time = s.choice("time", &times).unwrap_or(default);
    let nodes = s.list("windows", false).unwrap_or(&[]);
    if nodes.is_empty() {
        if s.has("time") && declared(s) == Some(0) {
            let hint = "for example windows = [\"day\"]";
            s.problems.error(s.place_of("time"), "`time` says nothing without `windows`", hint);
        }
        return Vec::new();
    }
    if let Some(node) = nodes.get(WINDOWS) {
        let hint = format!("at most {WINDOWS}; another metric may have the others");
        s.problems.error(&node.place, "the metric has too many windows", hint);
    }
    check_time(s, fact, time);
    let mut windows = Vec::new();
    let mut labels: BTreeMap<String, &Place> = BTreeMap::new();
    for node in nodes {
        let Some(shape) = shape(s, node, time) else { continue };
        let window = Window { time, shape };
        if let Some(other) = labels.insert(window.label(), &node.place) {
            let message = format!("two windows are called `{}`", window.label());
            let hint = format!("the other stands at {other}; windows are told apart by their size");
            s.problems.error(&node.place, message, hint);
        }
        windows.push(window);
    }
    windows
}

/// Notes a time that the fact has not.
fn check_time(s: &Section<'_>, fact: Fact, time: Time) {
    let name = fact_name(fact);
    let place = if s.has("time") { s.place_of("time") } else { s.place_of("windows") };
    match (fact, time) {
        (Fact::People, _) => {
            let hint = "a person has no time; group by `join_year` instead";
            s.problems.error(place, "`people` have no windows", hint);
        }
        (Fact::Sides([_, geo, _]) | Fact::Arrivals([_, geo, _]), Time::Event) if !geo => {
            let needed = match fact {
                Fact::Arrivals([pin, _, user]) => Fact::Arrivals([pin, true, user]),
                Fact::Sides([pin, _, user]) => Fact::Sides([pin, true, user]),
                other => other,
            };
            let message = format!("event time is that of geo, which `{name}` lacks");
            let hint = format!("of = \"{}\" has it", fact_name(needed));
            s.problems.error(place, message, hint);
        }
        (Fact::Sides(_), Time::Arrival) => {
            let message = format!("`{name}` has no arrival time: it is what holds now");
            let hint = "of = \"arrivals\" is what arrives; `time = \"event\"` is the geo timestamp";
            s.problems.error(place, message, hint);
        }
        (Fact::Records | Fact::Fields, Time::Event) => {
            let message = format!("`{name}` have no event time");
            s.problems.error(place, message, "their windows are over arrival time");
        }
        _ => {}
    }
}

fn shape(s: &Section<'_>, node: &Node, time: Time) -> Option<Shape> {
    let table = match &node.value {
        Value::Text(text) => {
            let found = NAMED.iter().find(|n| n.0 == text).map(|n| n.1);
            if found.is_none() {
                let sized = crate::config::units::duration(text).is_ok();
                let hint = if sized {
                    format!("write {{ size = \"{text}\" }}")
                } else {
                    meant(text, NAMED.map(|n| n.0))
                };
                s.problems.error(&node.place, format!("there is no window `{text}`"), hint);
            }
            return found;
        }
        Value::Table(table) => table,
        _ => {
            s.wrong("windows", node, "names or tables");
            return None;
        }
    };
    let kinds = &["metric.window"];
    let w = Section::new(s.problems, keys::title(kinds[0]), &node.place, table, kinds);
    if !w.has("size") {
        w.missing("size");
    }
    let length = |key: &str| {
        let micros = section::duration(&w, key, w.get(key)?)?;
        let place = &w.get(key)?.place;
        if micros < SHORTEST {
            w.problems.error(place, format!("`{key}` is too short"), "at least 10ms");
            return None;
        }
        if micros % MILLISECOND != 0 {
            let message = format!("`{key}` is no whole number of milliseconds");
            w.problems.error(place, message, "windows start and end at milliseconds");
            return None;
        }
        Some(micros)
    };
    let size = length("size")?;
    if !w.has("every") {
        return Some(Shape::Tumbling { size });
    }
    let every = length("every")?;
    let place = &w.get("every")?.place;
    let bad = |message: &str, hint: String| {
        w.problems.error(place, message, hint);
        None
    };
    if every > size {
        return bad(
            "`every` is longer than `size`: rows between would be lost",
            "swap them".into(),
        );
    }
    if size % every != 0 {
        let hint = "`size` is a whole number of `every`, so that both edges fall on one grid";
        return bad("`every` does not divide `size`", hint.into());
    }
    let limit = if time == Time::Arrival { BUCKETS } else { OVERLAP };
    if size / every > limit {
        let hint = format!("at most {limit} steps a window: a longer `every`, or a shorter `size`");
        return bad("`every` is too short for `size`", hint);
    }
    // A window that slides by its own size tumbles; over arrivals it is the last whole one.
    let tumbles = every == size && time == Time::Event;
    Some(if tumbles { Shape::Tumbling { size } } else { Shape::Sliding { size, every } })
}

/// How many windows are declared; none where what stands there is no list of them.
fn declared(s: &Section<'_>) -> Option<usize> {
    match &s.get("windows").map(|node| &node.value) {
        None => Some(0),
        Some(Value::List(list)) => Some(list.len()),
        Some(_) => None,
    }
}

/// How long windows are published beyond their end, microseconds.
pub fn retain(s: &Section<'_>, windows: &[Window]) -> Option<i64> {
    let retain = s.micros("retain", "0s", "365250d");
    if declared(s) != Some(windows.len()) {
        // What it would say of windows that are wrong themselves is not known.
        return retain;
    }
    let place = s.place_of("retain");
    if s.has("retain") && windows.is_empty() {
        let hint = "for example windows = [\"day\"]";
        s.problems.error(place, "`retain` says nothing without `windows`", hint);
    } else if s.has("retain") && windows.iter().all(Window::slides) {
        let hint = "remove it: a window that slides over arrivals shows its last position alone";
        s.problems.error(place, "`retain` says nothing of sliding windows", hint);
    }
    let kept = |w: &Window| w.time == Time::Arrival && !w.slides();
    if !s.has("retain") && windows.iter().any(kept) {
        let message = "every arrival is kept for ever: memory grows without end";
        s.problems.warn(s.place_of("windows"), message, "for example retain = \"90d\"");
    }
    retain
}
