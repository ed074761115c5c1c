//! The house rules that a machine can check: sizes, prefaces, words that must not stay, every
//! metric described, nothing of one machine in the tree.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of the tree that are kept, as paths from the root.
fn files() -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let skipped = ["target", "state", ".git", "node_modules"].contains(&&*name);
            match path.is_dir() {
                _ if skipped => {}
                true => walk(&path, out),
                false => out.push(path),
            }
        }
    }
    let mut out = Vec::new();
    walk(root(), &mut out);
    out.sort();
    out
}

fn sources() -> Vec<(String, String)> {
    let rust = files().into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs"));
    rust.map(|path| (shown(&path), std::fs::read_to_string(&path).unwrap())).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn tidy_sources_have_a_preface_and_fit() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        if !text.starts_with("//!") {
            found.push(format!("{name}: no preface"));
        }
        if text.lines().count() > 500 {
            found.push(format!("{name}: {} lines", text.lines().count()));
        }
        for (n, line) in text.lines().enumerate() {
            if line.chars().count() > 100 {
                found.push(format!("{name}:{}: longer than 100 columns", n + 1));
            }
        }
        found.extend(long_functions(&name, &text));
    }
    none("sources that do not fit", &found);
}

/// Functions of more than 70 lines: from the line of `fn` to the brace at its indent.
fn long_functions(name: &str, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (n, line) in lines.iter().enumerate() {
        let bare = line.trim_start();
        let head = bare.split('(').next().unwrap();
        let heads =
            ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn ", "async fn ", "pub async fn "];
        // A trait's function without a body ends where it begins.
        if bare.ends_with(';') || !heads.iter().any(|h| head.starts_with(h)) {
            continue;
        }
        let close = format!("{}}}", &line[..line.len() - bare.len()]);
        let length = lines[n..].iter().position(|l| *l == close).unwrap_or(0) + 1;
        if length > 70 {
            out.push(format!("{name}:{}: {length} lines in one function", n + 1));
        }
    }
    out
}

#[test]
fn tidy_sources_are_ascii() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        // Names that people have are part of what is tested.
        let data = name.starts_with("tests/") || name.contains("/tests") || name.contains("demo/");
        for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.is_ascii()) {
            if !data {
                found.push(format!("{name}:{}: {line}", n + 1));
            }
        }
    }
    none("not ASCII", &found);
}

#[test]
fn tidy_sources_hold_nothing_that_must_not_stay() {
    let words: Vec<String> = [
        ("to", "do!("),
        ("unimplem", "ented!("),
        ("db", "g!("),
        ("print", "ln!("),
        ("FIX", "ME"),
        ("TO", "DO"),
        ("XX", "X"),
    ]
    .iter()
    .map(|(a, b)| format!("{a}{b}"))
    .collect();
    let mut found = Vec::new();
    for (name, text) in sources() {
        for (n, line) in text.lines().enumerate() {
            // A bench prints its table: that is what it is for.
            let prints = name.starts_with("benches/") && line.contains(&*words[3]);
            if !prints && words.iter().any(|w| line.contains(&**w)) {
                found.push(format!("{name}:{}: {}", n + 1, line.trim()));
            }
        }
    }
    none("left behind", &found);
}

#[test]
fn tidy_tree_is_small_and_of_no_machine() {
    let mut found = Vec::new();
    let homes = ["/home", "/root", "/Users", "/work"].map(|h| format!("{h}/"));
    for path in files() {
        let size = std::fs::metadata(&path).unwrap().len();
        if size > 1 << 20 {
            found.push(format!("{}: {size} bytes", shown(&path)));
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for home in &homes {
            let own = |at: usize| {
                let before = text[..at].chars().next_back();
                before.is_none_or(|c| c.is_whitespace() || "\"'`(=:".contains(c))
            };
            if text.match_indices(&**home).any(|(at, _)| own(at)) {
                found.push(format!("{}: a path of one machine, {home}", shown(&path)));
            }
        }
    }
    none("too large, or of one machine", &found);
}

/// Names in a text that begin so.
fn names(text: &str, head: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (at, _) in text.match_indices(head) {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        out.push(rest[..end].to_string());
    }
    out.sort();
    out.dedup();
    out
}

fn folder(name: &str, ending: &str) -> String {
    let inside = |p: &&PathBuf| {
        p.starts_with(root().join(name)) && p.extension().is_some_and(|e| e == ending)
    };
    let files = files();
    let texts = files.iter().filter(inside).map(|p| std::fs::read_to_string(p).unwrap());
    texts.collect::<Vec<_>>().join("\n")
}

/// The names of the machine's metrics, from the sources that expose them.
fn machine() -> Vec<String> {
    let read =
        |name: &str| std::fs::read_to_string(root().join("src/telemetry").join(name)).unwrap();
    let mut out = Vec::new();
    for (at, _) in read("expose.rs").match_indices("\"pinflow_") {
        let text = read("expose.rs");
        let name = text[at + 1..].split('"').next().unwrap().to_string();
        if name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !name.ends_with('_') {
            out.push(name);
        }
    }
    // In machine.rs every quoted name with an underscore is a metric; labels have none.
    for name in read("machine.rs").split('"').skip(1).step_by(2) {
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if plain && name.contains('_') && !name.ends_with('_') {
            out.push(format!("pinflow_{name}"));
        }
    }
    out.sort();
    out.dedup();
    out
}

#[test]
fn tidy_metrics_are_described() {
    let docs = folder("docs/reference", "md");
    let missing: Vec<String> =
        machine().into_iter().filter(|name| !docs.contains(&**name)).collect();
    none("metrics that docs/reference does not describe", &missing);
    let declared = std::fs::read_to_string(root().join("config/metrics.toml")).unwrap();
    let built_in: Vec<&str> =
        declared.lines().filter_map(|l| l.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(built_in.len() >= 15, "the built-in metrics: {built_in:?}");
    let missing: Vec<String> =
        built_in.iter().filter(|name| !docs.contains(**name)).map(ToString::to_string).collect();
    none("built-in metrics that docs/reference does not describe", &missing);
}

#[test]
fn tidy_dashboards_ask_only_for_what_is_there() {
    let boards = folder("grafana", "json") + &folder("grafana", "yaml");
    let known = machine();
    let suffixes = ["", "_bucket", "_sum", "_count"];
    let declared = std::fs::read_to_string(root().join("config/metrics.toml")).unwrap();
    let unknown: Vec<String> = names(&boards, "pinflow_")
        .into_iter()
        .filter(|name| match name.strip_prefix("pinflow_world_") {
            Some(metric) => {
                let parts: Vec<&str> = metric.split('_').collect();
                let fits = |n: usize| declared.contains(&format!("\"{}\"", parts[..n].join("_")));
                !(1..=parts.len()).any(fits)
            }
            None => !suffixes
                .iter()
                .any(|s| name.strip_suffix(s).is_some_and(|base| known.iter().any(|k| k == base))),
        })
        .collect();
    none("dashboards ask for metrics that nobody exposes", &unknown);
}
