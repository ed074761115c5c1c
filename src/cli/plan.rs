//! `pinflow plan`: the dataflow that the declarations become, as text, JSON or a graph.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dataflows::metrics::explain::{Explained, Grouped, PostSize, Step};
use dataflows::metrics::plan::Plan;
use dataflows::names::Make;
use serde_json::{Value, json};

use super::PlanFormat;
use crate::config::Config;
use crate::telemetry::world;

/// The plan of a configuration, printed.
pub fn printed(config: &Config, format: PlanFormat) -> String {
    let plan = Plan::new(&config.metrics, &config.age_groups, config.state.all_columns);
    let explained = Explained::new(&plan);
    let bound = |m: &dataflows::metrics::plan::MetricPlan| {
        (m.schema.name.clone(), world::bound(&m.schema, &config.labels))
    };
    let series: BTreeMap<String, usize> = plan.metrics.iter().map(bound).collect();
    match format {
        PlanFormat::Text => text(&explained, &series, config.labels.max_series),
        PlanFormat::Json => format!("{:#}\n", json(&explained, &series)),
        PlanFormat::Dot => dot(&explained),
    }
}

fn json(explained: &Explained, series: &BTreeMap<String, usize>) -> Value {
    let mut value = json!(explained);
    value["series_at_most"] = json!(series);
    value
}

fn make(step: &Step) -> &'static str {
    match step.operator.make {
        Make::Timely => "timely",
        Make::Differential => "differential",
        Make::Own => "own",
    }
}

fn text(explained: &Explained, series: &BTreeMap<String, usize>, most: usize) -> String {
    let mut out = String::from("Operators\n");
    for step in &explained.operators {
        let operator = &step.operator;
        let inputs = step.inputs.join(", ");
        let _ = writeln!(out, "  {:<17} {:<12} from {inputs}", operator.name, make(step));
        wrapped(&mut out, 20, operator.does);
        if !operator.reason.is_empty() {
            wrapped(&mut out, 20, &format!("own because {}", operator.reason));
        }
    }
    out += "\nGroups\n";
    for group in &explained.groups {
        grouped(&mut out, group);
    }
    out += "\nMemory\n";
    post(&mut out, &explained.post);
    if let Some(arrivals) = &explained.arrivals {
        let until = match (&arrivals.horizon, arrivals.buckets) {
            (Some(horizon), Some(n)) => format!("dropped after {horizon}: at most {n} a post"),
            _ => "never dropped: some metric shows arrivals for ever".into(),
        };
        let (first, more) = (arrivals.first_bytes, arrivals.bucket_bytes);
        let _ = writeln!(out, "  arrivals: in buckets of {}, {until};", arrivals.bucket);
        let _ = writeln!(
            out,
            "    about {first} bytes more for a post that has any, and {more} a bucket"
        );
    }
    let total = series.values().sum::<usize>().min(most);
    let _ = writeln!(out, "\nSeries at /metrics, at most {total}");
    for (name, n) in series {
        let _ = writeln!(out, "  {n:>8}  {name}");
    }
    out
}

/// Words in lines of at most 96 columns, indented.
fn wrapped(out: &mut String, indent: usize, text: &str) {
    let mut width = 0;
    for word in text.split(' ') {
        if width == 0 || width + word.len() > 96 {
            if width > 0 {
                out.push('\n');
            }
            out.push_str(&" ".repeat(indent));
            width = indent;
        } else {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += word.len();
    }
    out.push('\n');
}

fn grouped(out: &mut String, group: &Grouped) {
    let _ = writeln!(out, "  {}", group.name);
    let mut line = |what: &str, text: String| {
        if !text.is_empty() {
            let mut lines = String::new();
            wrapped(&mut lines, 18, &text);
            let _ = write!(out, "    {what:<14}{}", lines.trim_start());
        }
    };
    line("of", format!("{}{}", group.of, if group.bag { " (as a bag)" } else { "" }));
    line("where", group.filter.join(" and "));
    line("distinct", group.distinct.join(", "));
    line("by", group.keys.join(", "));
    for window in &group.windows {
        let shape = format!("{}: {}, over {} time", window.name, window.shape, window.time);
        line("window", shape);
    }
    line("retain", group.retain.clone().unwrap_or_default());
    let conditions = |filter: &[String]| match filter {
        [] => String::new(),
        list => format!(" where {}", list.join(" and ")),
    };
    for cell in &group.cells {
        let of =
            if cell.measures.is_empty() { "every group".into() } else { cell.measures.join(", ") };
        line("adds up", format!("{}{}: {of}", cell.what, conditions(&cell.filter)));
    }
    for set in &group.multisets {
        let (filter, measures) = (conditions(&set.filter), set.measures.join(", "));
        line("keeps", format!("{}{filter}, {} bytes each: {measures}", set.what, set.member_bytes));
    }
    if let [_, _, ..] = &group.metrics[..] {
        line("shared by", group.metrics.join(", "));
    }
    let share = group.bucket_share_bytes;
    let share =
        share.map_or(String::new(), |b| format!(", and {b} for each bucket that it has rows in"));
    line("memory", format!("about {} bytes a group{share}", group.group_bytes));
}

fn post(out: &mut String, post: &PostSize) {
    let _ = writeln!(
        out,
        "  post: about {} bytes: {} of the slot, {} of the way to it",
        post.bytes, post.slot_bytes, post.index_bytes
    );
    let _ = writeln!(out, "    head {}", post.head_bytes);
    for side in &post.sides {
        let column = |c: &dataflows::metrics::explain::ColumnSize| match &*c.form {
            "int" | "symbol" => format!("{} {}", c.name, c.bytes),
            form => format!("{}({}) {}", form, c.name, c.bytes),
        };
        let columns: Vec<String> = side.columns.iter().map(column).collect();
        let text =
            format!("{:<4} version {}, {}", side.side, side.header_bytes, columns.join(", "));
        let mut lines = String::new();
        wrapped(&mut lines, 9, text.trim_end_matches([',', ' ']));
        let _ = write!(out, "    {}", lines.trim_start());
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn dot(explained: &Explained) -> String {
    let mut out = String::from(
        "digraph pinflow {\n  rankdir=LR;\n  node [shape=box, style=rounded, \
         fontname=\"sans-serif\"];\n  \
         batches [shape=plain]; ticks [shape=plain]; results [shape=plain];\n",
    );
    for step in &explained.operators {
        let style = match step.operator.make {
            Make::Timely => "rounded",
            Make::Differential => "\"rounded,bold\"",
            Make::Own => "\"rounded,filled\", fillcolor=\"#eeeeee\"",
        };
        let name = quoted(step.operator.name);
        let label = format!("\"{}\\n{}\"", step.operator.name, make(step));
        let _ = writeln!(out, "  {name} [label={label}, style={style}];");
        for input in &step.inputs {
            let _ = writeln!(out, "  {} -> {name};", quoted(input));
        }
    }
    for group in &explained.groups {
        let (name, from) = (quoted(&group.name), quoted(dataflows::names::GROUPS.name));
        let keys = group.keys.join(", ");
        let windows: Vec<&str> = group.windows.iter().map(|w| &*w.name).collect();
        let mut label = format!("{} by {keys}", group.of);
        if !windows.is_empty() {
            let _ = write!(label, " per {}", windows.join(", "));
        }
        let label = quoted(&label);
        let _ =
            writeln!(out, "  {from} -> {name};\n  {name} [label={label}, shape=note, style=\"\"];");
        for metric in &group.metrics {
            let id = quoted(&format!("metric {metric}"));
            let metric = quoted(metric);
            let _ = writeln!(out, "  {id} [label={metric}, shape=plain];");
            let _ = writeln!(out, "  {name} -> {id};\n  {id} -> results;");
        }
    }
    out + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, load};

    fn shown(file: &str, format: PlanFormat) -> String {
        let loaded = load(&[format!("builtin:{file}").into()], &[], &Env::new()).expect("valid");
        printed(&loaded.config, format)
    }

    #[test]
    fn every_built_in_metric_is_in_the_plan() {
        for file in ["default.toml", "bench.toml", "queries.toml"] {
            let loaded = load(&[format!("builtin:{file}").into()], &[], &Env::new());
            let metrics = loaded.expect("valid").config.metrics;
            let json: Value = serde_json::from_str(&shown(file, PlanFormat::Json)).expect("JSON");
            let groups = json["groups"].as_array().expect("a list");
            let of = |g: &Value| g["metrics"].as_array().expect("a list").clone();
            let planned: Vec<Value> = groups.iter().flat_map(of).collect();
            let (text, dot) = (shown(file, PlanFormat::Text), shown(file, PlanFormat::Dot));
            for metric in &metrics {
                assert!(planned.contains(&json!(metric.name)), "{} in JSON", metric.name);
                assert!(json["series_at_most"][&metric.name].is_u64(), "{}", metric.name);
                assert!(text.contains(&metric.name) && dot.contains(&metric.name));
            }
            assert!(text.lines().all(|l| l.len() <= 100), "{text}");
            assert!(
                dot.starts_with("digraph") && dot.matches('{').count() == dot.matches('}').count()
            );
        }
    }

    #[test]
    fn every_operator_says_what_it_is_made_of() {
        let text = shown("default.toml", PlanFormat::Text);
        for (name, made) in [
            ("Decode", "timely"),
            ("Assemble", "own"),
            ("Distinct", "differential"),
            ("Groups", "own"),
        ] {
            let line = text.lines().find(|l| l.trim_start().starts_with(&format!("{name}  ")));
            assert!(line.is_some_and(|l| l.contains(made)), "{name}: {line:?}");
        }
        assert!(text.contains("own because one look-up a record"));
    }
}
