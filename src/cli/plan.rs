//! `pinflow plan`: the dataflow that the declarations become, as text, JSON or a graph.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dataflows::metrics::explain::{Explained, Grouped, PostSize, Step};
use dataflows::metrics::plan::Plan;
use dataflows::names::Make;
use serde::Serialize;
use serde_json::{Value, json};

use super::PlanFormat;
use crate::config::Config;
use crate::engine::{UNDER_WAY, epoch_bytes};
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
        PlanFormat::Text => text(&explained, &series, config),
        PlanFormat::Json => format!("{:#}\n", json(&explained, &series, config)),
        PlanFormat::Dot => dot(&explained),
    }
}

/// The memory budget in posts.
#[derive(Clone, Debug, Serialize)]
struct Reach {
    /// The budget.
    budget_bytes: u64,
    /// What the program and the epochs under way take of it, about.
    working_bytes: u64,
    /// What a post takes at least: its slot and the way to it.
    post_bytes_at_least: u64,
    /// And at most, but for groups: arrivals, and a member of its own in every multiset.
    post_bytes_at_most: u64,
    /// After so many posts it is used up at the earliest.
    posts_at_least: u64,
    /// And at the latest.
    posts_at_most: u64,
}

/// What the program takes by itself with what its readers keep, about, bytes. With so much runs
/// under 64 to 160 MiB ended within the range that is told, or did not end below its start.
const PROGRAM: u64 = 40 << 20;
/// An epoch takes so many times its messages' bytes; so many are there, with the open one.
const EPOCH: u64 = 2 * (UNDER_WAY as u64 + 1);

impl Reach {
    fn new(explained: &Explained, config: &Config) -> Option<Self> {
        let budget_bytes = config.engine.memory?;
        let working_bytes = PROGRAM + EPOCH * epoch_bytes(config) as u64;
        let sets = explained.groups.iter().flat_map(|g| &g.multisets);
        let members: usize = sets.map(|s| s.member_bytes).sum();
        let arrivals = explained.arrivals.as_ref().map_or(0, |a| a.first_bytes + a.several_bytes);
        let post_bytes_at_least = explained.post.bytes as u64;
        let post_bytes_at_most = post_bytes_at_least + (members + arrivals) as u64;
        let left = budget_bytes.saturating_sub(working_bytes);
        Some(Reach {
            budget_bytes,
            working_bytes,
            post_bytes_at_least,
            post_bytes_at_most,
            posts_at_least: left / post_bytes_at_most,
            posts_at_most: left / post_bytes_at_least,
        })
    }
}

fn json(explained: &Explained, series: &BTreeMap<String, usize>, config: &Config) -> Value {
    let mut value = json!(explained);
    value["series_at_most"] = json!(series);
    value["budget"] = json!(Reach::new(explained, config));
    value
}

fn make(step: &Step) -> &'static str {
    match step.operator.make {
        Make::Timely => "timely",
        Make::Differential => "differential",
        Make::Own => "own",
    }
}

fn text(explained: &Explained, series: &BTreeMap<String, usize>, config: &Config) -> String {
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
        let (first, several) = (arrivals.first_bytes, arrivals.several_bytes);
        let more = arrivals.bucket_bytes;
        let _ = writeln!(out, "  arrivals: in buckets of {}, {until};", arrivals.bucket);
        let _ = writeln!(
            out,
            "    about {first} bytes more for a post that has any, {several} where it has several \
             buckets, {more} a bucket"
        );
    }
    if let Some(reach) = Reach::new(explained, config) {
        budget(&mut out, &reach);
    }
    let total = series.values().sum::<usize>().min(config.labels.max_series);
    let _ = writeln!(out, "\nSeries at /metrics, at most {total}");
    for (name, n) in series {
        let _ = writeln!(out, "  {n:>8}  {name}");
    }
    out
}

fn budget(out: &mut String, reach: &Reach) {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let text = format!(
        "budget: {} MiB (engine.memory), about {} of them for the program and the epochs under \
         way; used up after {} to {} posts ({} to {} bytes a post), groups and distinct rows not \
         counted: they are as many as the data have",
        mib(reach.budget_bytes),
        mib(reach.working_bytes),
        grouped_digits(reach.posts_at_least),
        grouped_digits(reach.posts_at_most),
        reach.post_bytes_at_most,
        reach.post_bytes_at_least,
    );
    let mut lines = String::new();
    wrapped(&mut lines, 4, &text);
    let _ = write!(out, "  {}", lines.trim_start());
}

/// A number with a blank between thousands.
fn grouped_digits(n: u64) -> String {
    let digits = n.to_string();
    let head = digits.len() % 3;
    let mut out = digits[..head].to_owned();
    for three in digits.as_bytes()[head..].chunks(3) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&String::from_utf8_lossy(three));
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
        let from = window.rolled_up_from.as_ref();
        let from = from.map(|from| format!(", rolled up from {from}")).unwrap_or_default();
        let shape = format!("{}: {}, over {} time{from}", window.name, window.shape, window.time);
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
    for part in &group.parts {
        let windows = part.windows.join(", ");
        let windows = if windows.is_empty() { windows } else { format!(" in {windows}") };
        line("part", format!("{}{windows}{}", part.metric, conditions(&part.filter)));
    }
    let row = group.distinct_row_bytes;
    let row = row.map_or(String::new(), |b| format!(", {b} a distinct row in each of its windows"));
    let share = group.bucket_share_bytes;
    let share =
        share.map_or(String::new(), |b| format!(", and {b} for each bucket that it has rows in"));
    line("memory", format!("about {} bytes a group{row}{share}", group.group_bytes));
}

fn post(out: &mut String, post: &PostSize) {
    let _ = writeln!(
        out,
        "  post: about {} bytes: {} of the slot, {} of the way to it",
        post.bytes, post.slot_bytes, post.index_bytes
    );
    let _ = writeln!(out, "    head {}, padding {}", post.head_bytes, post.padding_bytes);
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
        let (filter, distinct) = (group.filter.join(" and "), group.distinct.join(", "));
        let retain = group.retain.clone().unwrap_or_default();
        let rest = [(" where ", filter), (" distinct ", distinct), (" retain ", retain)];
        for (word, what) in rest.iter().filter(|(_, what)| !what.is_empty()) {
            label.extend([*word, what]);
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
            // What tells two groups apart is to be seen.
            let mut notes: Vec<&str> = dot.lines().filter(|l| l.contains("shape=note")).collect();
            notes.iter_mut().for_each(|l| *l = l.split_once("[label=").map_or(*l, |l| l.1));
            let count = notes.len();
            notes.sort_unstable();
            notes.dedup();
            assert_eq!(notes.len(), count, "{dot}");
            assert!(
                dot.starts_with("digraph") && dot.matches('{').count() == dot.matches('}').count()
            );
        }
    }

    #[test]
    fn the_budget_is_told_in_posts() {
        let set = ["engine.memory=1GiB".to_owned()];
        let file = ["builtin:bench.toml".into()];
        let config = load(&file, &set, &Env::new()).expect("valid").config;
        let json: Value = serde_json::from_str(&printed(&config, PlanFormat::Json)).expect("JSON");
        let of = |key: &str| json["budget"][key].as_u64().expect("a number");
        assert_eq!(of("budget_bytes"), 1 << 30);
        assert_eq!(of("post_bytes_at_least"), json["post"]["bytes"].as_u64().expect("bytes"));
        let left = of("budget_bytes") - of("working_bytes");
        assert_eq!(of("posts_at_least"), left / of("post_bytes_at_most"));
        assert!((1_000_000..of("posts_at_most")).contains(&of("posts_at_least")), "{json:#}");
        let text = printed(&config, PlanFormat::Text);
        let posts = grouped_digits(of("posts_at_least"));
        assert!(text.contains("budget: 1024 MiB") && text.contains(&posts), "{text}");
        // The least budget that is allowed holds the program, whatever an epoch may take.
        let set = ["engine.memory=64MiB", "engine.max_epoch_bytes=1GiB"].map(str::to_owned);
        let config = load(&file, &set, &Env::new()).expect("valid").config;
        let json: Value = serde_json::from_str(&printed(&config, PlanFormat::Json)).expect("JSON");
        let least = json["budget"]["posts_at_least"].as_u64().expect("a number");
        assert!((50_000..200_000).contains(&least), "{json:#}");
        assert_eq!(["7", "1 000", "12 345 678"], [7, 1000, 12_345_678].map(grouped_digits));
    }

    #[test]
    fn every_operator_says_what_it_is_made_of() {
        let text = shown("default.toml", PlanFormat::Text);
        for (name, made) in
            [("Decode", "timely"), ("Assemble", "own"), ("Distinct", "own"), ("Groups", "own")]
        {
            let line = text.lines().find(|l| l.trim_start().starts_with(&format!("{name}  ")));
            assert!(line.is_some_and(|l| l.contains(made)), "{name}: {line:?}");
        }
        assert!(text.contains("own because one look-up a record"));
    }
}
