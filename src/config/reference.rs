//! The reference pages and the code say the same: tables of the pages are written from the
//! catalogue of keys and from the declarations that we ship.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::{Problem, Problems, Text};
use super::tree::{self, Table, Value};
use super::{BUILTIN, Env, FACTS, keys, load};

/// The raw text of a default, where `config/default.toml` gives one that fits a table.
fn default_of(root: &Table, section: &str, name: &str) -> String {
    let mut table = root;
    for part in section.split('.').filter(|p| !p.is_empty()) {
        match table.get(part).map(|e| &e.node.value) {
            Some(Value::Table(inner)) => table = inner,
            _ => return String::new(),
        }
    }
    let Some(node) = table.get(name).map(|e| &e.node) else { return String::new() };
    let raw = &node.place.text.body[node.place.span.clone()];
    match node.value {
        Value::Table(_) => String::new(),
        _ if raw.contains('\n') || raw.len() > 60 => "as in `default.toml`".into(),
        _ => format!("`{raw}`"),
    }
}

fn default_file() -> Table {
    let text = Text { name: "default.toml".into(), body: BUILTIN[0].1.into() };
    tree::parse(&Arc::new(text), &Problems::default())
}

fn key_tables() -> String {
    let root = default_file();
    let mut out = String::new();
    for (section, title) in keys::SECTIONS {
        let title = match *section {
            "" => "The file".to_string(),
            _ => title.trim_matches('`').to_string(),
        };
        let _ = write!(out, "\n## {title}\n\n| key | example | default | |\n|---|---|---|---|\n");
        for key in keys::KEYS.iter().filter(|k| k.section == *section) {
            let default = default_of(&root, section, key.name);
            let _ =
                writeln!(out, "| `{}` | `{}` | {default} | {} |", key.name, key.example, key.what);
        }
    }
    out
}

fn builtin_metrics() -> String {
    let path = PathBuf::from("builtin:metrics.toml");
    let config = load(&[path], &[], &Env::new()).expect("it is valid").config;
    let mut out =
        String::from("\n| name | fact | keys | windows | meaning |\n|---|---|---|---|---|\n");
    for m in &config.metrics {
        let keys: Vec<&str> = m.keys.iter().map(|k| k.name.as_str()).collect();
        let windows: Vec<String> =
            m.windows.iter().map(dataflows::metrics::declare::Window::label).collect();
        let (name, fact) = (&m.name, super::fact_name(m.fact));
        let (keys, windows) = (keys.join(", "), windows.join(", "));
        let _ = writeln!(out, "| `{name}` | {fact} | {keys} | {windows} | {} |", m.meaning);
    }
    out
}

/// Checks that what stands in a page between `<!-- begin -->` and `<!-- end -->` is `want`;
/// `PINFLOW_BLESS=1` writes it.
fn check(page: &str, want: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(page);
    let text = std::fs::read_to_string(&path).expect("readable");
    let (head, rest) = text.split_once("<!-- begin -->\n").expect("a beginning");
    let (got, tail) = rest.split_once("\n<!-- end -->").expect("an end");
    if std::env::var_os("PINFLOW_BLESS").is_some() {
        let text = format!("{head}<!-- begin -->\n{want}\n<!-- end -->{tail}");
        std::fs::write(&path, text).expect("writable");
        return;
    }
    let hint = "write it with PINFLOW_BLESS=1 cargo test --lib config::reference";
    assert!(got == want, "{page} differs from the code; {hint}");
}

#[test]
fn the_pages_are_those_of_the_code() {
    check("config.md", &key_tables());
    check("metrics.md", &builtin_metrics());
}

#[test]
fn every_key_stands_in_the_default_file() {
    let text = BUILTIN[0].1;
    for key in keys::KEYS {
        let name = key.name;
        let written = [
            format!("\n{name} ="),
            format!("\n# {name} ="),
            format!("{{ {name} ="),
            format!(", {name} ="),
            format!("[{name}]"),
            format!("[source.{name}]"),
            format!("[{name}."),
            format!(".{name}]"),
        ];
        let stands = written.iter().any(|w| text.contains(w)) || name == "source";
        assert!(stands, "`{name}` of [{}] is not in default.toml", key.section);
    }
}

/// The default file with its commented examples switched on.
#[test]
fn the_examples_of_the_default_file_hold() {
    let example = |line: &&str| {
        let key = line.split(" = ").next().unwrap_or_default();
        let word = |c: char| c.is_ascii_lowercase() || c == '_';
        line.starts_with(['[', ']', ' ']) || (line.contains(" = ") && key.chars().all(word))
    };
    // One of the two, what does not go together, and what names files that are not there.
    let other = ["measure = ", "retain = ", "token = ", "client_properties = ", "tls = "];
    let on = |line: &str| match line.strip_prefix("# ").filter(example) {
        Some(code) if !other.iter().any(|o| code.starts_with(o)) => format!("{code}\n"),
        _ => format!("{line}\n"),
    };
    let text = BUILTIN[0].1.replace("include = [\"metrics.toml\"]", "");
    let text: String = text.lines().map(on).collect();
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.toml");
    std::fs::write(&path, text).expect("writable");
    let said = |problems: Vec<Problem>| -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    };
    let loaded = load(&[path], &[], &Env::new()).map_err(said);
    let config = loaded.unwrap_or_else(|said| panic!("{}", said.join("\n"))).config;
    assert_eq!((config.sources.len(), config.sinks.len(), config.metrics.len()), (3, 1, 1));
    assert_eq!(config.metrics[0].measures.len(), 12);
}

#[test]
fn every_fact_stands_in_the_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md");
    let text = std::fs::read_to_string(path).expect("readable");
    for fact in FACTS {
        assert!(text.contains(&format!("`{fact}`")), "{fact}");
    }
    for name in keys::names("metric.measure").chain(keys::names("metric")) {
        assert!(text.contains(name), "{name}");
    }
    for column in dataflows::record::Column::ALL {
        assert!(text.contains(&format!("`{}`", column.name())), "{}", column.name());
    }
}
