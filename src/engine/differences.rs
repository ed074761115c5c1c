//! What differs between the settings that a state was made under and those of now, in the words
//! of the configuration.
//!
//! Promises: only what differs is named, as it would be written; where a metric is the reason, it
//! is named too.

use std::collections::BTreeSet;

use dataflows::metrics::declare::{Fact, Metric};
use dataflows::metrics::plan::Plan;
use dataflows::metrics::schema::span;
use serde_json::Value;

use super::EngineError;
use super::fingerprint::{BUCKET, COLUMNS, COUNTED, HORIZON, horizon};
use crate::cli::{Failure, exit};
use crate::config::{Config, units};
use crate::store::{Difference, StoreError};

/// A refusal of a state, explained; any other error as it is.
pub fn explained(error: StoreError, config: &Config, hint: &str) -> EngineError {
    let StoreError::Fingerprint { dir, differences } = error else { return error.into() };
    let lines = sentences(&differences, config).join("\n  ");
    let what = format!("the state in {} was made under other settings:\n  {lines}", dir.display());
    Failure::new(exit::CONFIG, what, hint).into()
}

/// A sentence for each difference.
pub fn sentences(differences: &[Difference], config: &Config) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for difference in differences {
        for line in difference_lines(difference, config) {
            if !out.contains(&line) {
                out.push(line);
            }
        }
    }
    out
}

fn difference_lines(difference: &Difference, config: &Config) -> Vec<String> {
    let (former, now) = (difference.former.as_deref(), difference.now.as_deref());
    let (old, new) = (former.unwrap_or_default(), now.unwrap_or_default());
    let item = difference.item.as_str();
    if item == COLUMNS {
        return columns(old, new, config);
    }
    if let Some(n) = COUNTED.iter().position(|counted| *counted == item) {
        let fact = [Fact::Records, Fact::Fields][n];
        let name = ["records", "fields"][n];
        let why = because(config, |m, _| m.fact == fact);
        return vec![format!(
            "{name} are counted now{why}: the state has counted none of those that it has read"
        )];
    }
    if item == BUCKET {
        let least = old.parse::<i64>().unwrap_or(1).max(1);
        let why = because(config, |_, plan| plan.bucket % least != 0);
        let change = change(old, new, length);
        return vec![format!("arrivals are counted in stretches of: {change}{why}")];
    }
    if item == HORIZON {
        let why = because(config, |_, plan| plan.arrivals && horizon(plan) == new);
        return vec![format!("arrivals are kept for: {}{why}", change(old, new, length))];
    }
    if let Some(rule) = item.strip_prefix("cleaning.") {
        return rules(rule, old, new);
    }
    if let Some((name, _)) = item.strip_prefix("source.").and_then(|rest| rest.rsplit_once('.')) {
        return vec![match (former, now) {
            (None, _) => format!("source {name}: the state has not been made with it"),
            (_, None) => format!("source {name}: the state has been made with it"),
            _ => format!("{item}: {}", change(old, new, plain)),
        }];
    }
    vec![difference.to_string()]
}

fn change(old: &str, new: &str, print: impl Fn(&str) -> String) -> String {
    format!("{} -> {}", print(old), print(new))
}

/// Microseconds as the configuration writes them; what is no number has been said already.
fn length(micros: &str) -> String {
    match micros.parse() {
        Ok(micros) => span(micros),
        Err(_) if micros == "none" => "nothing".to_owned(),
        Err(_) => micros.to_owned(),
    }
}

fn size(bytes: &str) -> String {
    bytes.parse().map_or_else(|_| bytes.to_owned(), units::written_size)
}

fn plain(value: &str) -> String {
    if value.is_empty() { "nothing".to_owned() } else { value.to_owned() }
}

/// The metrics that are the reason: those of which the plan of one alone tells so.
fn because(config: &Config, is: impl Fn(&Metric, &Plan) -> bool) -> String {
    let alone =
        |m: &&Metric| is(m, &Plan::new(std::slice::from_ref(*m), &config.age_groups, false));
    let names: Vec<&str> = config.metrics.iter().filter(alone).map(|m| m.name.as_str()).collect();
    match &names[..] {
        [] => String::new(),
        [one] => format!(", for metric {one}"),
        [one, two] => format!(", for metrics {one} and {two}"),
        [one, rest @ ..] => format!(", for metric {one} and {} others", rest.len()),
    }
}

/// Kept columns: each that has come. What has gone is no reason to refuse a state.
fn columns(old: &str, new: &str, config: &Config) -> Vec<String> {
    let set = |list: &str| -> BTreeSet<String> { list.split(' ').map(str::to_owned).collect() };
    let (old, new) = (set(old), set(new));
    // The usual forms of a column go without saying.
    let shown = |kept: &str| match kept.split_once(':') {
        Some((column, "symbol" | "int")) => column.to_owned(),
        Some((column, form)) => format!("{column} ({form})"),
        None => kept.to_owned(),
    };
    let came = new.difference(&old).map(|kept| {
        let needs = |_: &Metric, plan: &Plan| plan.layout.names().iter().any(|n| *n == **kept);
        let why = match because(config, needs) {
            why if why.is_empty() && config.state.all_columns => ", for state.columns".to_owned(),
            why => why,
        };
        format!("columns: {} is kept now too{why}", shown(kept))
    });
    came.collect()
}

/// A cleaning rule: lists and tables entry by entry.
fn rules(rule: &str, old: &str, new: &str) -> Vec<String> {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let lists = ["title", "description", "user_info", "tag_list", "image_src"];
    let table = if lists.contains(&rule) { "cleaning.placeholders" } else { "cleaning" };
    match (read(old), read(new)) {
        (Value::Array(old), Value::Array(new)) => {
            let lacking = |from: &[Value], there: &[Value]| -> String {
                let each = from.iter().filter(|v| !there.contains(v)).map(Value::to_string);
                each.collect::<Vec<_>>().join(", ")
            };
            let said = [("no longer", lacking(&old, &new)), ("now also", lacking(&new, &old))];
            let said = said.iter().filter(|s| !s.1.is_empty()).map(|s| format!("{} {}", s.0, s.1));
            let said: Vec<String> = said.collect();
            let order = "the same in another order".to_owned();
            let said = if said.is_empty() { order } else { said.join("; ") };
            vec![format!("{table}.{rule}: {said}")]
        }
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            let value = |side: &serde_json::Map<String, Value>, key: &String| {
                side.get(key).map_or_else(|| "nothing".to_owned(), Value::to_string)
            };
            let differ = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
            differ
                .map(|k| format!("{table}.{rule}.{k}: {} -> {}", value(&old, k), value(&new, k)))
                .collect()
        }
        _ if rule.ends_with("_micros") => {
            let rule = rule.trim_end_matches("_micros");
            vec![format!("{table}.{rule}: {}", change(old, new, length))]
        }
        _ if rule.ends_with("_bytes") => {
            let rule = rule.trim_end_matches("_bytes");
            vec![format!("{table}.{rule}: {}", change(old, new, size))]
        }
        _ => vec![format!("{table}.{rule}: {}", change(old, new, plain))],
    }
}
