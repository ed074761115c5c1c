//! Settings as a tree in which every key and value knows where it was written.

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problems, Text};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub value: Value,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub enum Value {
    /// A text.
    Text(String),
    /// An integer.
    Int(i64),
    /// A number with a point, as it was written.
    Float(String),
    /// true or false.
    Bool(bool),
    /// A date or time, which no key takes bare.
    Moment,
    /// An array.
    List(Vec<Node>),
    /// A table.
    Table(Table),
}

impl Node {
    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a text",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number with a point",
            Value::Bool(_) => "true or false",
            Value::Moment => "a date",
            Value::List(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(t) => Some(t),
            _ => None,
        }
    }

    /// Where bytes `span` of this text value stand. Escapes move bytes about, so that with them
    /// it is the whole value.
    pub fn within(&self, span: Range<usize>) -> Place {
        let Some(value) = self.as_text() else { return self.place.clone() };
        let raw = self.place.text.body.get(self.place.span.clone()).unwrap_or("");
        let quotes = ["\"\"\"", "'''", "\"", "'", ""];
        let open = quotes.iter().find(|q| {
            let inner = raw.strip_prefix(**q).and_then(|r| r.strip_suffix(**q));
            inner == Some(value)
        });
        match open {
            Some(q) => {
                let base = self.place.span.start + q.len();
                self.place.at(base + span.start..base + span.end)
            }
            None => self.place.clone(),
        }
    }
}

/// One key of a table.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where it stands.
    pub place: Place,
    /// Its value.
    pub node: Node,
}

/// A table in the order it was written.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its keys.
    pub entries: Vec<Entry>,
}

impl Table {
    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let at = self.entries.iter().position(|e| e.key == key)?;
        Some(self.entries.remove(at))
    }

    /// Lays `over` on top: tables key by key, `[[metric]]` by name, all else replaced.
    pub fn merge(&mut self, over: Table) {
        for entry in over.entries {
            let Some(here) = self.entries.iter_mut().find(|e| e.key == entry.key) else {
                self.entries.push(entry);
                continue;
            };
            match (&mut here.node.value, entry.node.value) {
                (Value::Table(base), Value::Table(over)) => {
                    base.merge(over);
                    here.place = entry.place;
                }
                (Value::List(base), Value::List(over)) if entry.key == "metric" => {
                    merge_by_name(base, over);
                }
                (_, value) => {
                    here.node = Node { place: entry.node.place, value };
                    here.place = entry.place;
                }
            }
        }
    }
}

fn name_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Table(t) => t.get("name")?.node.as_text(),
        _ => None,
    }
}

fn merge_by_name(base: &mut Vec<Node>, over: Vec<Node>) {
    for node in over {
        let same = name_of(&node)
            .and_then(|name| base.iter().position(|b| name_of(b).is_some_and(|n| n == name)));
        match same {
            Some(at) => base[at] = node,
            None => base.push(node),
        }
    }
}

/// Parses a TOML text; syntax errors are noted, and what can be read is returned.
pub fn parse(text: &Arc<Text>, problems: &Problems) -> Table {
    let (table, errors) = DeTable::parse_recoverable(&text.body);
    for error in &errors {
        let end = text.body.len();
        let span = error.span().unwrap_or(end..end);
        let message = error.message().replace('\n', ", ");
        let place = Place { text: Arc::clone(text), span };
        problems.error(&place, message, "not TOML; see https://toml.io for the notation");
    }
    Converter { text, from: 0, to: 0, problems }.table(table.get_ref())
}

/// Parses one value of an override, which stands at `at` of `text`; what is no TOML is a text.
pub fn parse_value(text: &Arc<Text>, at: usize, problems: &Problems) -> Node {
    const HEAD: &str = "v = ";
    let raw = &text.body[at..];
    let document = format!("{HEAD}{raw}");
    let place = Place { text: Arc::clone(text), span: at..text.body.len() };
    let plain = || Node { place: place.clone(), value: Value::Text(raw.to_string()) };
    let Ok(table) = DeTable::parse(&document) else { return plain() };
    let scratch = Problems::default();
    let converter = Converter { text, from: HEAD.len(), to: at, problems: &scratch };
    let mut table = converter.table(table.get_ref());
    for problem in scratch.into_parts().0 {
        problems.add(problem);
    }
    match (table.remove("v"), table.entries.is_empty()) {
        (Some(Entry { node: Node { value: Value::Moment, .. }, .. }), _) => plain(),
        (Some(entry), true) => entry.node,
        _ => plain(),
    }
}

/// Copies what the parser gave, moving spans by `to - from`.
struct Converter<'a> {
    text: &'a Arc<Text>,
    from: usize,
    to: usize,
    problems: &'a Problems,
}

impl Converter<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        let moved = |i: usize| (i + self.to).saturating_sub(self.from);
        Place { text: Arc::clone(self.text), span: moved(span.start)..moved(span.end) }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| Entry {
            key: AsRef::<str>::as_ref(key.get_ref()).to_string(),
            place: self.place(key.span()),
            node: self.node(value),
        };
        // What the parser made up to go on after a mistake stands nowhere.
        let written = |(_, value): &(_, &toml::Spanned<DeValue<'_>>)| !value.span().is_empty();
        let mut entries: Vec<Entry> = table.iter().filter(written).map(entry).collect();
        entries.sort_by_key(|e| e.place.span.start);
        Table { entries }
    }

    fn node(&self, value: &toml::Spanned<DeValue<'_>>) -> Node {
        let place = self.place(value.span());
        let value = match value.get_ref() {
            DeValue::String(s) => Value::Text(s.to_string()),
            DeValue::Integer(i) => {
                if let Ok(n) = i64::from_str_radix(i.as_str(), i.radix()) {
                    Value::Int(n)
                } else {
                    let hint = "integers lie between -2^63 and 2^63 - 1";
                    self.problems.error(&place, format!("`{i}` is too large"), hint);
                    Value::Int(0)
                }
            }
            DeValue::Float(x) => Value::Float(x.as_str().to_string()),
            DeValue::Boolean(b) => Value::Bool(*b),
            DeValue::Datetime(_) => Value::Moment,
            DeValue::Array(list) => Value::List(list.iter().map(|v| self.node(v)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { place, value }
    }
}
