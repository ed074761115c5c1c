//! From the tree of settings to a valid [`Config`]: one function per section.

use std::path::PathBuf;

use dataflows::metrics::declare::AgeGroup;
use dataflows::record::rules::Wrappers;
use dataflows::record::{Column, Rules};

use super::load::Env;
use super::problem::{Place, Problems};
use super::section::Section;
use super::tree::{Entry, Value};
use super::{
    Clock, Config, DeadLetters, Engine, Http, Labels, Secret, State, keys, limits, metric, sink,
    source, units,
};

/// The greatest number of bytes of anything that is bounded in memory.
const MEMORY: &str = "64GiB";

/// The configuration that a tree means. Where something is wrong it is noted, and a stand-in
/// takes its place: the result holds only if nothing was noted.
pub fn config(root: &super::tree::Table, env: &Env, problems: &Problems) -> Config {
    let start = root.entries.first().map(|e| e.place.at(0..0));
    let start = start.expect("the built-in default has sections");
    let top = Section::new(problems, keys::title(""), &start, root, &[""]);
    let age_groups = age_groups(&top.section("columns", &["columns"]));
    let http = http(&top.section("http", &["http"]), env);
    let labels = labels(&top.section("labels", &["labels"]));
    Config {
        engine: engine(&top.section("engine", &["engine"])),
        sources: tables(&top, "source").filter_map(|e| source::source(problems, e, env)).collect(),
        cleaning: cleaning(&top.section("cleaning", &["cleaning"])),
        state: state(&top.section("state", &["state"])),
        dead_letters: DeadLetters {
            max_bytes: top
                .section("dead_letters", &["dead_letters"])
                .size("max_bytes", "0", "1024GiB")
                .unwrap_or_default(),
        },
        sinks: sink::sinks(&top),
        metrics: metric::metrics(&top, &age_groups, labels.max_series_per_metric),
        age_groups,
        http,
        labels,
    }
}

/// The tables below a key.
fn tables<'a>(top: &Section<'a>, key: &str) -> impl Iterator<Item = &'a Entry> {
    top.table(key).into_iter().flat_map(|(table, _)| &table.entries)
}

fn engine(s: &Section<'_>) -> Engine {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let bytes = s.size("max_epoch_bytes", "64KiB", "1GiB");
    Engine {
        workers: s.int("workers", 1, 1024).map_or(cores, |n| n as usize),
        clock: s
            .choice("clock", &[("wall", Clock::Wall), ("arrival", Clock::Arrival)])
            .unwrap_or(Clock::Wall),
        epoch: s.duration("epoch", "1ms", "1min").unwrap_or_default(),
        max_epoch_bytes: bytes.unwrap_or_default() as usize,
        max_epoch_records: s.int("max_epoch_records", 1, i64::MAX).map(|n| n as usize),
        withhold: s.duration("withhold", "0s", "24h").unwrap_or_default(),
        shutdown_timeout: s.duration("shutdown_timeout", "1s", "1h").unwrap_or_default(),
        memory: s.size("memory", "64MiB", "65536GiB").or_else(share),
    }
}

/// The budget where none is given.
fn share() -> Option<u64> {
    Some(limits::memory()? / 100 * MEMORY_SHARE)
}

/// The share of what the machine lets us have that is the budget where none is given, in
/// hundredths: the rest is for the peaks of an epoch, of a restart, and for others.
const MEMORY_SHARE: u64 = 80;

fn cleaning(s: &Section<'_>) -> Rules {
    let on = |w: &Section<'_>, key| w.flag(key).unwrap_or(true);
    let w = s.section("wrappers", &["cleaning.wrappers"]);
    let p = s.section("placeholders", &["cleaning.placeholders"]);
    let texts = |key| p.texts(key).unwrap_or_default();
    let patterns = s.texts("timestamp_patterns").unwrap_or_default();
    let nodes = s.get("timestamp_patterns").map(|n| match &n.value {
        Value::List(list) => list.as_slice(),
        _ => &[],
    });
    for (pattern, node) in patterns.iter().zip(nodes.unwrap_or(&[])) {
        check_pattern(s.problems, &node.place, pattern);
    }
    Rules {
        max_record_bytes: s.size("max_record", "1KiB", "1GiB").unwrap_or_default() as usize,
        max_depth: s.int("max_depth", 1, 127).unwrap_or(1) as usize,
        wrappers: Wrappers {
            value: on(&w, "value"),
            index: on(&w, "index"),
            text: on(&w, "text"),
            base64: on(&w, "base64"),
            kpl: on(&w, "kpl"),
        },
        title: texts("title"),
        description: texts("description"),
        user_info: texts("user_info"),
        tag_list: texts("tag_list"),
        image_src: texts("image_src"),
        save_location_prefix: s.text("save_location_prefix").unwrap_or_default().to_string(),
        timestamp_patterns: patterns,
        max_future_micros: s.micros("max_future", "0s", "365250d").unwrap_or_default(),
    }
}

/// Notes a `chrono` pattern that is none.
pub fn check_pattern(problems: &Problems, place: &Place, pattern: &str) {
    let bad = |i: chrono::format::Item<'_>| matches!(i, chrono::format::Item::Error);
    if chrono::format::StrftimeItems::new(pattern).any(bad) {
        let hint = "patterns are those of chrono's strftime, like \"%Y-%m-%d %H:%M:%S\"";
        problems.error(place, format!("`{pattern}` is not a pattern of times"), hint);
    }
}

fn age_groups(s: &Section<'_>) -> Vec<AgeGroup> {
    let mut groups: Vec<(AgeGroup, Place)> = Vec::new();
    for node in s.list("age_groups", false).unwrap_or(&[]) {
        let Some(table) = s.element("age_groups", node) else { continue };
        let kinds = &["columns.age_group"];
        let g = Section::new(s.problems, keys::title(kinds[0]), &node.place, table, kinds);
        for key in ["label", "from"] {
            if !g.has(key) {
                g.missing(key);
            }
        }
        let label = g.filled("label").unwrap_or_default().to_string();
        let from = g.int("from", 0, 150).unwrap_or(0);
        let to = g.int("to", 0, 150).unwrap_or(150);
        if from > to {
            let hint = "from and to are both part of the group";
            g.problems.error(&node.place, "this age group ends before it begins", hint);
        }
        for (other, place) in &groups {
            if !label.is_empty() && other.label == label {
                let hint = format!("the other stands at {place}");
                g.problems.error(&node.place, format!("two age groups are called `{label}`"), hint);
            } else if from.max(other.from) <= to.min(other.to) {
                let message = format!("`{label}` overlaps `{}`", other.label);
                let hint = format!("age {} is in both", from.max(other.from));
                g.problems.error(&node.place, message, hint);
            }
        }
        groups.push((AgeGroup { label, from, to }, node.place.clone()));
    }
    groups.into_iter().map(|g| g.0).collect()
}

fn state(s: &Section<'_>) -> State {
    State {
        dir: s.filled("dir").unwrap_or("state").into(),
        cut_interval: s.duration("cut_interval", "10ms", "1h").unwrap_or_default(),
        cut_bytes: s.size("cut_bytes", "64KiB", MEMORY).unwrap_or_default() as usize,
        all_columns: s.choice("columns", &[("declared", false), ("all", true)]).unwrap_or_default(),
    }
}

fn http(s: &Section<'_>, env: &Env) -> Http {
    let listen = s.filled("listen").filter(|t| *t != "none");
    let parsed = listen.map(units::address);
    if let (Some(Err(why)), Some(text)) = (&parsed, listen) {
        let hint = format!("{why}; \"none\" opens no port");
        let place = &s.get("listen").expect("it was read").place;
        s.problems.error(place, format!("`{text}` is not an address to listen on"), hint);
    }
    // Where no port is opened nobody asks for the token, and it need not be there.
    let token = match listen {
        Some(_) => secret(s, "token", env),
        None => held(s, "token").and(None),
    };
    let http = Http {
        listen: parsed.and_then(Result::ok),
        token,
        insecure: s.flag("insecure").unwrap_or(false),
        max_connections: s.int("max_connections", 1, 100_000).unwrap_or(1) as usize,
    };
    if let Some(address) = http.listen.filter(|a| !a.ip().is_loopback())
        && http.token.is_none()
        && !http.insecure
        && !s.has("token")
    {
        let message = format!("{address} can be reached by others, and nothing is asked of them");
        let hint = "give `token = { env = \"PINFLOW_TOKEN\" }` in [http], listen on \
                        127.0.0.1, or allow it with insecure = true";
        s.problems.error(&s.get("listen").expect("it was read").place, message, hint);
    }
    http
}

/// Where a secret stands.
enum Held {
    Env(String),
    File(String),
}

fn held(s: &Section<'_>, key: &str) -> Option<Held> {
    let node = s.get(key)?;
    let hint = format!("write {key} = {{ env = \"NAME\" }} or {key} = {{ file = \"PATH\" }}");
    let Value::Table(table) = &node.value else {
        let message = "a secret does not stand in the configuration itself";
        s.problems.error(&node.place, message, hint);
        return None;
    };
    let title = format!("`{key}`");
    let t = Section::new(s.problems, &title, s.place_of(key), table, &["secret"]);
    match (t.filled("env"), t.filled("file")) {
        (Some(name), None) => Some(Held::Env(name.into())),
        (None, Some(path)) => Some(Held::File(path.into())),
        _ => {
            s.problems.error(&node.place, format!("`{key}` wants either `env` or `file`"), hint);
            None
        }
    }
}

/// A secret: what an environment variable or a file holds.
pub fn secret(s: &Section<'_>, key: &str, env: &Env) -> Option<Secret> {
    let (read, hint) = match held(s, key)? {
        Held::Env(name) => {
            let unset = || format!("the environment variable `{name}` is not set");
            (env.get(&name).cloned().ok_or_else(unset), format!("set it, e.g. export {name}=..."))
        }
        Held::File(path) => {
            let failed = |error| format!("the file of `{key}`, `{path}`, cannot be read: {error}");
            let hint = "name a file that is there and that this user may read";
            (std::fs::read_to_string(&path).map_err(failed), hint.into())
        }
    };
    let (message, hint) = match read.map(|text| text.trim().to_string()) {
        Ok(text) if text.is_empty() => {
            (format!("`{key}` is empty"), "what is there is blank".into())
        }
        Ok(text) => return Some(Secret(text)),
        Err(message) => (message, hint),
    };
    s.problems.error(&s.get(key)?.place, message, hint);
    None
}

/// The file that holds a secret, if it is one that does.
pub fn secret_file(s: &Section<'_>, key: &str) -> Option<PathBuf> {
    let Value::Table(table) = &s.get(key)?.value else { return None };
    table.get("file")?.node.as_text().map(PathBuf::from)
}

fn labels(s: &Section<'_>) -> Labels {
    let lists = [Column::Country, Column::Category].map(Column::name);
    let named = |key: &str| {
        let list = s.texts(key)?;
        let mut sorted: Vec<&String> = list.iter().collect();
        sorted.sort();
        let mut pairs = sorted.iter().zip(sorted.iter().skip(1));
        if let Some((twice, _)) = pairs.find(|(a, b)| a == b) {
            let message = format!("`{twice}` is listed twice");
            s.problems.error(s.place_of(key), message, "remove one");
        }
        if list.iter().any(|l| l == "other") {
            let hint = "all values that are not listed are exported under that name";
            s.problems.error(s.place_of(key), "`other` cannot be listed", hint);
        }
        Some((key.to_string(), list))
    };
    Labels {
        named: lists.into_iter().filter_map(named).collect(),
        max_series: s.int("max_series", 1, 10_000_000).unwrap_or(1) as usize,
        max_series_per_metric: s.int("max_series_per_metric", 1, 10_000_000).unwrap_or(1) as usize,
    }
}
