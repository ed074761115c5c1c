//! Typed reading of a table: what is there is checked, what is unknown is said, and reading goes
//! on whatever is wrong.

use std::time::Duration;

use super::keys;
use super::problem::{Place, Problems, meant, one_of};
use super::tree::{Entry, Node, Table, Value};
use super::units;

/// A table being read.
#[derive(Clone, Copy)]
pub struct Section<'a> {
    /// Where problems go.
    pub problems: &'a Problems,
    /// Its name in messages, like `[engine]`.
    pub name: &'a str,
    /// Where it begins.
    pub place: &'a Place,
    table: &'a Table,
    kinds: &'static [&'static str],
}

/// What a table that is not there is read as.
static NOTHING: Table = Table { entries: Vec::new() };

impl<'a> Section<'a> {
    /// Reads `table`, whose keys must be among those of `kinds` in the catalogue.
    pub fn new(
        problems: &'a Problems,
        name: &'a str,
        place: &'a Place,
        table: &'a Table,
        kinds: &'static [&'static str],
    ) -> Self {
        let section = Section { problems, name, place, table, kinds };
        for entry in &table.entries {
            if !kinds.iter().any(|kind| keys::known(kind, &entry.key)) {
                section.unknown(entry);
            }
        }
        section
    }

    /// Explains a key that is not known.
    fn unknown(&self, entry: &Entry) {
        let (key, kinds) = (&entry.key, self.kinds);
        let known: Vec<&str> = kinds.iter().flat_map(|kind| keys::names(kind)).collect();
        let hint = if let Some(hint) = kinds.iter().find_map(|k| keys::explained(k, key)) {
            hint
        } else if let Some(home) = keys::home(key) {
            format!("`{key}` belongs to {home}")
        } else {
            meant(key, known)
        };
        let message = format!("unknown key `{key}` in {}", self.name);
        self.problems.error(&entry.place, message, hint);
    }

    /// Whether a key is given.
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.table.get(key).map(|e| &e.node)
    }

    /// Where a key stands; where the table begins if it is not given.
    pub fn place_of(&self, key: &str) -> &'a Place {
        self.table.get(key).map_or(self.place, |e| &e.place)
    }

    /// Notes that a value is not what its key takes.
    pub fn wrong(&self, key: &str, node: &Node, wanted: &str) {
        let message = format!("`{key}` wants {wanted}, not {}", node.kind());
        self.problems.error(&node.place, message, self.example(key));
    }

    /// An example of a key, as a hint.
    fn example(&self, key: &str) -> String {
        let found = self.kinds.iter().find_map(|kind| keys::example(kind, key));
        found.map_or(String::new(), |e| format!("for example {e}"))
    }

    /// A table below this one; `None` where it is not given or is no table.
    pub fn table(&self, key: &str) -> Option<(&'a Table, &'a Place)> {
        let entry = self.table.get(key)?;
        if let Value::Table(table) = &entry.node.value {
            Some((table, &entry.place))
        } else {
            self.wrong(key, &entry.node, "a table");
            None
        }
    }

    /// The section of a key, empty where it is not given.
    pub fn section(&self, key: &str, kinds: &'static [&'static str]) -> Section<'a> {
        let (table, place) = self.table(key).unwrap_or((&NOTHING, self.place));
        Section::new(self.problems, keys::title(kinds[0]), place, table, kinds)
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        let node = self.get(key)?;
        let text = node.as_text();
        if text.is_none() {
            self.wrong(key, node, "a text");
        }
        text
    }

    /// A text that is not empty.
    pub fn filled(&self, key: &str) -> Option<&'a str> {
        let text = self.text(key)?;
        if text.trim().is_empty() {
            self.problems.error(&self.get(key)?.place, format!("`{key}` is empty"), "");
            return None;
        }
        Some(text)
    }

    /// true or false.
    pub fn flag(&self, key: &str) -> Option<bool> {
        let node = self.get(key)?;
        if let Value::Bool(b) = node.value {
            Some(b)
        } else {
            self.wrong(key, node, "true or false");
            None
        }
    }

    /// An integer between `min` and `max`.
    pub fn int(&self, key: &str, min: i64, max: i64) -> Option<i64> {
        let node = self.get(key)?;
        let Value::Int(n) = node.value else {
            self.wrong(key, node, "an integer");
            return None;
        };
        self.within(key, node, n, min, max, &|n| n.to_string())
    }

    fn within(
        &self,
        key: &str,
        node: &Node,
        n: i64,
        min: i64,
        max: i64,
        show: &dyn Fn(i64) -> String,
    ) -> Option<i64> {
        if (min..=max).contains(&n) {
            return Some(n);
        }
        let (n, min, max) = (show(n), show(min), show(max));
        let message = format!("`{key}` is {n}, which is out of range");
        self.problems.error(&node.place, message, format!("it lies between {min} and {max}"));
        None
    }

    /// A duration between `min` and `max`, in microseconds.
    pub fn micros(&self, key: &str, min: &str, max: &str) -> Option<i64> {
        let node = self.get(key)?;
        let limit = |text| units::duration(text).expect("limits are durations");
        let micros = duration(self, key, node)?;
        self.within(key, node, micros, limit(min), limit(max), &dataflows::metrics::schema::span)
    }

    /// A duration between `min` and `max`.
    pub fn duration(&self, key: &str, min: &str, max: &str) -> Option<Duration> {
        Some(Duration::from_micros(self.micros(key, min, max)?.unsigned_abs()))
    }

    /// A size in bytes between `min` and `max`.
    pub fn size(&self, key: &str, min: &str, max: &str) -> Option<u64> {
        let node = self.get(key)?;
        let bytes = match &node.value {
            Value::Int(n) => u64::try_from(*n).map_err(|_| "it is negative".to_string()),
            Value::Text(t) => units::size(t),
            _ => {
                self.wrong(key, node, "a size");
                return None;
            }
        };
        let shown = |why: String| {
            self.problems.error(&node.place, format!("`{key}` is not a size"), why);
        };
        let bytes = bytes.map_err(shown).ok()?;
        let limit = |text| units::size(text).expect("limits are sizes");
        if (limit(min)..=limit(max)).contains(&bytes) {
            return Some(bytes);
        }
        let message = format!("`{key}` is {bytes} bytes, which is out of range");
        self.problems.error(&node.place, message, format!("it lies between {min} and {max}"));
        None
    }

    /// One of several words.
    pub fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let node = self.get(key)?;
        let names = || words.iter().map(|w| w.0);
        let Some(text) = node.as_text() else {
            self.wrong(key, node, &one_of(names()));
            return None;
        };
        let found = words.iter().find(|w| w.0 == text).map(|w| w.1);
        if found.is_none() {
            let message = format!("`{key}` cannot be `{text}`");
            self.problems.error(&node.place, message, meant(text, names()));
        }
        found
    }

    /// The elements of an array; a single value counts as one where `lone` allows it.
    pub fn list(&self, key: &str, lone: bool) -> Option<&'a [Node]> {
        let node = self.get(key)?;
        match &node.value {
            Value::List(list) => Some(list),
            _ if lone => Some(std::slice::from_ref(node)),
            _ => {
                self.wrong(key, node, "an array");
                None
            }
        }
    }

    /// An array of texts.
    pub fn texts(&self, key: &str) -> Option<Vec<String>> {
        let list = self.list(key, false)?;
        let text = |node: &Node| {
            let text = node.as_text().map(str::to_string);
            if text.is_none() {
                self.wrong(key, node, "texts");
            }
            text
        };
        list.iter().map(text).collect()
    }

    /// The table that an element of an array of tables is.
    pub fn element(&self, key: &str, node: &'a Node) -> Option<&'a Table> {
        if let Value::Table(table) = &node.value {
            Some(table)
        } else {
            self.wrong(key, node, "tables");
            None
        }
    }

    /// Notes a key that must be there and is not.
    pub fn missing(&self, key: &str) {
        let message = format!("{} lacks `{key}`", self.name);
        self.problems.error(self.place, message, self.example(key));
    }
}

/// The microseconds of a duration value.
pub fn duration(section: &Section<'_>, key: &str, node: &Node) -> Option<i64> {
    let Some(text) = node.as_text() else {
        section.wrong(key, node, "a duration");
        return None;
    };
    let shown = |why: String| {
        let message = format!("`{key}` cannot be `{text}`");
        section.problems.error(&node.place, message, why);
    };
    units::duration(text).map_err(shown).ok()
}
