//! From files, environment and flags to one tree of settings.
//!
//! Later wins: the defaults of `config/default.toml`, then each `--config` in order (what it
//! includes before it), the environment, `--set`, flags.
//! Limits: includes nest at most [`DEPTH`] deep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::{Place, Problem, Problems, Text, meant};
use super::tree::{self, Entry, Node, Table, Value};
use super::{Config, build, environment};

/// How deep includes may nest: deeper is a mistake.
const DEPTH: usize = 8;

/// Environment variables by name.
pub type Env = BTreeMap<String, String>;

/// The files that stand in the binary, by the name they are included under.
pub const BUILTIN: [(&str, &str); 6] = [
    ("default.toml", include_str!("../../config/default.toml")),
    ("metrics.toml", include_str!("../../config/metrics.toml")),
    ("demo.toml", include_str!("../../config/demo.toml")),
    ("bench.toml", include_str!("../../config/bench.toml")),
    ("kafka.toml", include_str!("../../config/kafka.toml")),
    ("queries.toml", include_str!("../../config/queries.toml")),
];

/// How built-in files are written in `include` and `--config`.
const BUILTIN_PREFIX: &str = "builtin:";

/// A configuration and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What holds.
    pub config: Config,
    /// Where each setting was written, by its path (`engine.workers`, `metric.NAME`).
    pub origins: BTreeMap<String, String>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Problem>,
}

/// One setting from outside the files.
#[derive(Clone, Debug)]
pub struct Override {
    /// What it is called in messages: `--set`, `--state`.
    pub origin: String,
    /// Its path, with dots; `source.*.rate` is the rate of every demo source.
    pub path: String,
    /// Its value.
    pub value: String,
    /// The value is a text whatever it looks like.
    pub literal: bool,
}

/// Reads the configuration that files, `--set a.b=v` and the environment `PINFLOW_A__B=v` give;
/// without files the built-in default. All that is wrong is returned at once.
pub fn load(paths: &[PathBuf], sets: &[String], env: &Env) -> Result<Loaded, Vec<Problem>> {
    load_with(paths, sets, &[], env)
}

/// [`load`], and flags that win over everything else.
pub fn load_with(
    paths: &[PathBuf],
    sets: &[String],
    flags: &[Override],
    env: &Env,
) -> Result<Loaded, Vec<Problem>> {
    let problems = Problems::default();
    let mut root = defaults(&problems);
    let mut reader = Reader { problems: &problems, open: Vec::new(), root: &mut root };
    if paths.is_empty() {
        reader.builtin("default.toml", None);
    }
    for path in paths {
        match path.to_str().and_then(|p| p.strip_prefix(BUILTIN_PREFIX)) {
            Some(name) => reader.builtin(name, None),
            None => reader.file(path, None),
        }
    }
    environment::lay(&mut root, env, &problems);
    for set in sets {
        argument(&mut root, set, &problems);
    }
    for flag in flags {
        let body = format!("{}={}", flag.path, flag.value);
        let text = Arc::new(Text { name: flag.origin.clone(), body });
        let keys = flag.path.split('.').map(str::to_string).collect::<Vec<_>>();
        apply(&mut root, &text, &keys, flag.path.len() + 1, flag.literal, &problems);
    }
    let config = build::config(&root, env, &problems);
    let (errors, warnings) = problems.into_parts();
    if errors.is_empty() {
        Ok(Loaded { config, origins: origins(&root), warnings })
    } else {
        Err(errors)
    }
}

/// The lowest layer: every section of the built-in default but its source and its metrics.
fn defaults(problems: &Problems) -> Table {
    let text = Text { name: format!("{BUILTIN_PREFIX}default.toml"), body: BUILTIN[0].1.into() };
    let mut table = tree::parse(&Arc::new(text), problems);
    for key in ["include", "source", "metric", "sink"] {
        table.remove(key);
    }
    table
}

/// Reads files and lays them over the root.
struct Reader<'a> {
    problems: &'a Problems,
    /// The files being read, outermost first.
    open: Vec<PathBuf>,
    root: &'a mut Table,
}

impl Reader<'_> {
    fn builtin(&mut self, name: &str, from: Option<&Place>) {
        if let Some((_, body)) = BUILTIN.iter().find(|b| b.0 == name) {
            let name = format!("{BUILTIN_PREFIX}{name}");
            self.text(Text { name: name.clone(), body: (*body).into() }, Path::new(&name));
        } else {
            let hint = meant(name, BUILTIN.iter().map(|b| b.0));
            self.fail(from, format!("there is no built-in file `{name}`"), hint);
        }
    }

    fn file(&mut self, path: &Path, from: Option<&Place>) {
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if self.open.contains(&identity) || self.open.len() >= DEPTH {
            let hint = "a file cannot include itself, nor be included too deep";
            self.fail(from, format!("`{}` is being read already", path.display()), hint.into());
            return;
        }
        match std::fs::read(path) {
            Ok(bytes) => {
                if let Ok(body) = String::from_utf8(bytes) {
                    let name = path.display().to_string();
                    self.text(Text { name, body }, &identity);
                } else {
                    let message = format!("config file `{}` is not UTF-8", path.display());
                    self.fail(from, message, "save it as UTF-8".into());
                }
            }
            Err(error) => {
                let message = format!("config file `{}` cannot be read: {error}", path.display());
                let hint = match from {
                    Some(_) => "included files stand relative to the file that includes them",
                    None => "give an existing file with --config",
                };
                self.fail(from, message, hint.into());
            }
        }
    }

    fn fail(&self, from: Option<&Place>, message: String, hint: String) {
        match from {
            Some(place) => self.problems.error(place, message, hint),
            None => self.problems.add(Problem::general(message, hint)),
        }
    }

    fn text(&mut self, text: Text, identity: &Path) {
        let text = Arc::new(text);
        let mut table = tree::parse(&text, self.problems);
        self.open.push(identity.to_path_buf());
        if let Some(include) = table.remove("include") {
            self.includes(&include, &text);
        }
        self.open.pop();
        self.duplicates(&table);
        self.root.merge(table);
    }

    fn includes(&mut self, include: &Entry, text: &Text) {
        let Value::List(list) = &include.node.value else {
            let hint = "for example include = [\"metrics.toml\"]";
            self.problems.error(&include.node.place, "`include` wants an array", hint);
            return;
        };
        for node in list {
            let Some(name) = node.as_text() else {
                self.problems.error(&node.place, "`include` wants names of files", "");
                continue;
            };
            let inside = text.name.starts_with(BUILTIN_PREFIX);
            if let Some(name) = name.strip_prefix(BUILTIN_PREFIX).or(inside.then_some(name)) {
                self.builtin(name, Some(&node.place));
            } else {
                let folder = Path::new(&text.name).parent().unwrap_or(Path::new(""));
                self.file(&folder.join(name), Some(&node.place));
            }
        }
    }

    /// Two metrics of one name in one file: the second would silently replace the first.
    fn duplicates(&self, table: &Table) {
        let Some(Entry { node: Node { value: Value::List(list), .. }, .. }) = table.get("metric")
        else {
            return;
        };
        let mut seen: BTreeMap<&str, &Node> = BTreeMap::new();
        for node in list {
            let Value::Table(metric) = &node.value else { continue };
            let Some(name) = metric.get("name").map(|e| &e.node) else { continue };
            let Some(text) = name.as_text() else { continue };
            if let Some(first) = seen.insert(text, name) {
                let message = format!("there are two metrics `{text}` in this file");
                let hint = format!("the other stands at {}", first.place);
                self.problems.error(&name.place, message, hint);
            }
        }
    }
}

/// Lays one `--set a.b=v` over the tree.
fn argument(root: &mut Table, set: &str, problems: &Problems) {
    let text = Arc::new(Text { name: "--set".into(), body: set.into() });
    let Some((path, _)) = set.split_once('=') else {
        let place = Place { text, span: 0..set.len() };
        problems.error(&place, "`--set` lacks a value", "write --set engine.workers=4");
        return;
    };
    let keys: Vec<String> = path.split('.').map(|k| k.trim().to_string()).collect();
    apply(root, &text, &keys, path.len() + 1, false, problems);
}

/// Lays one value over the tree, at `at` of `text`.
pub(super) fn apply(
    root: &mut Table,
    text: &Arc<Text>,
    keys: &[String],
    at: usize,
    literal: bool,
    problems: &Problems,
) {
    let place = Place { text: Arc::clone(text), span: 0..at - 1 };
    if keys.iter().any(String::is_empty) {
        problems.error(&place, "a part of the path is empty", "write --set engine.workers=4");
        return;
    }
    if keys.first().is_some_and(|k| k == "include") || keys.first().is_some_and(|k| k == "metric") {
        let message = format!("`{}` can only be set in a file", keys[0]);
        problems.error(&place, message, "put it into a file and give it with --config");
        return;
    }
    let node = if literal {
        let value = Value::Text(text.body[at..].to_string());
        Node { place: place.at(at..text.body.len()), value }
    } else {
        tree::parse_value(text, at, problems)
    };
    let names = match keys {
        [source, star, ..] if source == "source" && star == "*" => demo_sources(root),
        _ => vec![keys.get(1).cloned().unwrap_or_default()],
    };
    for name in names {
        let mut keys = keys.to_vec();
        if keys.len() > 1 {
            keys[1] = name;
        }
        let wrap = |node: Node, key: String| Node {
            place: place.clone(),
            value: Value::Table(Table { entries: vec![Entry { key, place: place.clone(), node }] }),
        };
        let full = keys.into_iter().rev().fold(node.clone(), wrap);
        if let Value::Table(table) = full.value {
            root.merge(table);
        }
    }
}

/// The names of the demo sources.
fn demo_sources(root: &Table) -> Vec<String> {
    let Some(Entry { node: Node { value: Value::Table(sources), .. }, .. }) = root.get("source")
    else {
        return Vec::new();
    };
    let is_demo = |e: &&Entry| {
        let Value::Table(source) = &e.node.value else { return false };
        let kind = source.get("kind").and_then(|k| k.node.as_text());
        kind.unwrap_or(&e.key) == "demo"
    };
    sources.entries.iter().filter(is_demo).map(|e| e.key.clone()).collect()
}

/// Where every value stands, by its path.
fn origins(root: &Table) -> BTreeMap<String, String> {
    fn walk(prefix: &str, table: &Table, into: &mut BTreeMap<String, String>) {
        for entry in &table.entries {
            let path = match prefix {
                "" => entry.key.clone(),
                _ => format!("{prefix}.{}", entry.key),
            };
            match &entry.node.value {
                Value::Table(table) => walk(&path, table, into),
                Value::List(list) if path == "metric" => {
                    for node in list {
                        let Value::Table(metric) = &node.value else { continue };
                        let Some(name) = metric.get("name") else { continue };
                        let Some(text) = name.node.as_text() else { continue };
                        into.insert(format!("metric.{text}"), name.place.to_string());
                    }
                }
                _ => {
                    into.insert(path, entry.place.to_string());
                }
            }
        }
    }
    let mut into = BTreeMap::new();
    walk("", root, &mut into);
    into
}
