//! `output`: how rows are printed.

use dataflows::metrics::declare::{Key, Output, Window};

use super::measure::Placed;
use crate::config::problem::{Place, meant};
use crate::config::section::Section;
use crate::config::{build, keys};

/// Digits behind the point at most: a double has no more.
const DECIMALS_MAX: i64 = 15;

/// The output of a metric with these columns.
pub fn output(
    s: &Section<'_>,
    by: &[(Key, Place)],
    measures: &[Placed],
    windows: &[Window],
) -> Output {
    let Some((table, place)) = s.table("output") else { return Output::default() };
    let kinds = &["metric.output"];
    let o = Section::new(s.problems, keys::title(kinds[0]), place, table, kinds);
    if let (Some(pattern), Some(node)) = (o.filled("time"), o.get("time")) {
        build::check_pattern(o.problems, &node.place, pattern);
    }
    let mut known: Vec<&str> = by.iter().map(|(k, _)| k.name.as_str()).collect();
    for placed in measures {
        known.extend(placed.measure.returned.as_deref());
        known.push(&placed.measure.name);
    }
    let edges = ["window", "start", "end"];
    if let (Some([]), Some(node)) = (o.list("columns", false), o.get("columns")) {
        let hint = "leave the key out to show all of them";
        o.problems.error(&node.place, "there are no columns to show", hint);
    }
    let mut seen: Vec<&str> = Vec::new();
    for node in o.list("columns", false).unwrap_or(&[]) {
        let Some(name) = node.as_text() else { continue };
        let edge = edges.contains(&name);
        if edge && windows.is_empty() {
            let hint = "this metric has no windows";
            o.problems.error(&node.place, format!("there is no `{name}`"), hint);
        } else if !edge && !known.contains(&name) {
            let all = known.iter().copied().chain(edges);
            let message = format!("this metric has no column `{name}`");
            o.problems.error(&node.place, message, meant(name, all));
        } else if seen.contains(&name) {
            o.problems.error(&node.place, format!("`{name}` is listed twice"), "remove one");
        }
        seen.push(name);
    }
    Output {
        columns: o.texts("columns"),
        header: o.flag("header").unwrap_or(true),
        time: o.filled("time").map(str::to_string),
        decimals: o.int("decimals", 0, DECIMALS_MAX).map(|n| n as u32),
    }
}
