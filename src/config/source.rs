//! `[source.NAME]`: where records come from.

use dataflows::record::{Rule, Stream};

use super::load::Env;
use super::problem::{Place, Problems, meant};
use super::section::Section;
use super::tree::{Entry, Value};
use super::units;
use super::{Demo, Files, Rate, Route, Source, SourceKind, kafka, keys};

/// The kinds of sources, with the tables of the catalogue that their keys are in.
const KINDS: [(&str, &[&str]); 3] = [
    ("demo", &["source.demo", "source"]),
    ("files", &["source.files", "source"]),
    ("kafka", &["source.kafka", "source"]),
];

/// Records a second at most: beyond it nothing measurable would change.
const RATE_MAX: f64 = 100_000_000.0;

/// The source that an entry of `[source]` means.
pub fn source(problems: &Problems, entry: &Entry, env: &Env) -> Option<Source> {
    let name = entry.key.as_str();
    let Value::Table(table) = &entry.node.value else {
        let message = format!("`source.{name}` wants a table, not {}", entry.node.kind());
        problems.error(&entry.place, message, "for example [source.demo]");
        return None;
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(good) {
        let hint = "use at most 64 letters, digits, `_`, `-`, `.`: it is part of provenance";
        problems.error(&entry.place, format!("a source cannot be called `{name}`"), hint);
    }
    if name == crate::source::replay::NAME {
        let hint = "call it something else; a state that was made with it is made anew";
        problems.error(&entry.place, "dead letters that are read again are called `replay`", hint);
    }
    let kinds = KINDS.map(|k| k.0);
    let title = format!("[source.{name}]");
    let given = table.get("kind").map(|e| &e.node);
    let kind = given.map_or(Some(name), |n| n.as_text());
    let Some((kind, sections)) = KINDS.iter().find(|(k, _)| Some(*k) == kind) else {
        match (given, kind) {
            (Some(node), Some(kind)) => {
                let message = format!("there is no kind of source `{kind}`");
                problems.error(&node.place, message, meant(kind, kinds));
            }
            (Some(node), None) => {
                problems.error(&node.place, "`kind` wants a text", meant("", kinds));
            }
            _ => {
                let message = format!("{title} lacks `kind`, and its name is not a kind");
                problems.error(&entry.place, message, meant("", kinds));
            }
        }
        return None;
    };
    let s = Section::new(problems, &title, &entry.place, table, sections);
    let routes = routes(&s, *kind == "kafka");
    let kind = match *kind {
        "demo" => SourceKind::Demo(demo(&s)),
        "kafka" => SourceKind::Kafka(Box::new(kafka::kafka(&s, env))),
        _ => SourceKind::Files(files(&s)),
    };
    Some(Source { name: name.to_string(), kind, routes })
}

fn demo(s: &Section<'_>) -> Demo {
    let nominal = number(s, "nominal_rate", "a number").unwrap_or(10_000.0);
    let max = s.get("rate").is_some_and(|n| n.as_text() == Some("max"));
    let rate = if max {
        Rate::Max(nominal)
    } else {
        Rate::PerSecond(number(s, "rate", "a number or \"max\"").unwrap_or(300.0))
    };
    Demo {
        seed: s.int("seed", 0, i64::MAX).unwrap_or(100) as u64,
        rate,
        indexes: s.int("indexes", 1, 1 << 32).unwrap_or(100_000) as u64,
        records: s.int("records", 1, i64::MAX).map(|n| n as u64),
    }
}

/// A number of records a second.
fn number(s: &Section<'_>, key: &str, wanted: &str) -> Option<f64> {
    let node = s.get(key)?;
    let rate = match &node.value {
        Value::Int(n) => *n as f64,
        Value::Float(text) => text.replace('_', "").parse().unwrap_or(f64::NAN),
        Value::Text(text) => units::decimal(text, 6).map_or(f64::NAN, |n| n as f64 / 1e6),
        _ => {
            s.wrong(key, node, wanted);
            return None;
        }
    };
    if rate > 0.0 && rate <= RATE_MAX {
        return Some(rate);
    }
    let message = format!("`{key}` is not {wanted} of records a second");
    s.problems.error(&node.place, message, "it is greater than 0 and at most 100000000");
    None
}

fn files(s: &Section<'_>) -> Files {
    let paths = s.texts("paths");
    if !s.has("paths") {
        s.missing("paths");
    } else if paths.as_ref().is_some_and(Vec::is_empty) {
        s.problems.error(s.place_of("paths"), "`paths` is empty", "for example paths = [\"data\"]");
    }
    Files {
        paths: paths.unwrap_or_default().into_iter().map(Into::into).collect(),
        scan_interval: s.duration("scan_interval", "10ms", "24h").unwrap_or(SCAN_INTERVAL),
        max_unpacked_bytes: s.size("max_unpacked", "1KiB", "1048576GiB").unwrap_or(MAX_UNPACKED),
        arrival_field: s.filled("arrival_field").map(str::to_string),
        input_layout: false,
    }
}

/// How often folders are scanned if nothing is said.
pub const SCAN_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

/// What a compressed file may unpack to if nothing is said.
pub const MAX_UNPACKED: u64 = 1 << 30;

fn routes(s: &Section<'_>, kafka: bool) -> Vec<Route> {
    let mut routes = Vec::new();
    for node in s.list("route", false).unwrap_or(&[]) {
        let Some(table) = s.element("route", node) else { continue };
        let kinds = &["source.route"];
        let r = Section::new(s.problems, keys::title(kinds[0]), &node.place, table, kinds);
        let rules = RULES.map(|rule| (rule.name(), rule));
        if !r.has("as") {
            r.missing("as");
        }
        let glob = |key: &str| {
            let text = r.filled(key)?;
            check_glob(&r, &r.get(key)?.place, text);
            Some(text.to_string())
        };
        let route = Route {
            partition: glob("partition").unwrap_or_else(|| "*".into()),
            topic: glob("topic"),
            key: glob("key"),
            headers: headers(&r),
            rule: r.choice("as", &rules).unwrap_or(Rule::Auto),
        };
        for key in ["topic", "key", "header"].into_iter().filter(|key| r.has(key) && !kafka) {
            let message = format!("`{key}` is of records of Kafka, and this source is not it");
            r.problems.error(r.place_of(key), message, "`partition` is a glob over paths");
        }
        let all = |route: &Route| *route == Route::of("*", route.rule);
        if routes.iter().any(all) {
            let message = "this rule never holds: one that everything matches stands before it";
            r.problems.warn(&node.place, message, "the first that matches holds");
        }
        routes.push(route);
    }
    routes
}

/// What a record may be ruled to be.
const RULES: [Rule; 5] = [
    Rule::Kind(Stream::Pin),
    Rule::Kind(Stream::Geo),
    Rule::Kind(Stream::User),
    Rule::Auto,
    Rule::Ignore,
];

/// The globs over headers of a routing rule.
fn headers(r: &Section<'_>) -> Vec<(String, String)> {
    let Some((table, place)) = r.table("header") else { return Vec::new() };
    let mut out = Vec::new();
    for entry in &table.entries {
        match entry.node.as_text() {
            Some(text) => {
                check_glob(r, &entry.place, text);
                out.push((entry.key.clone(), text.to_string()));
            }
            None => r.wrong("header", &entry.node, "names of headers with globs over their values"),
        }
    }
    if table.entries.is_empty() {
        let hint = "for example header = { kind = \"pin\" }";
        r.problems.error(place, "`header` names no header", hint);
    }
    out
}

fn check_glob(r: &Section<'_>, place: &Place, glob: &str) {
    if glob.matches('[').count() != glob.matches(']').count() {
        let message = format!("`{glob}` is not a glob: a bracket is not closed");
        r.problems.error(place, message, "`*`, `?` and `[a-z]` are known");
    }
}
