//! From an object's text to a cleaned record, or the reason why nothing of it can be used.

use std::sync::Arc;

use super::parse;
use super::unwrap::{Item, pairs, unwrap};
use super::{Message, Rule, Rules, Stream};

/// Why nothing of a record can be used; the first that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// More bytes than `max_record`.
    TooLarge,
    /// Nothing but blanks, `null`, `""`.
    Empty,
    /// Not UTF-8.
    BadUtf8,
    /// Nested deeper than `max_depth`.
    TooDeep,
    /// Not JSON.
    NotJson,
    /// A wrapper whose content cannot be had.
    UndecodableWrapper,
    /// JSON, but no object.
    NotAnObject,
    /// The fields tell no kind.
    UnknownKind,
    /// No key.
    MissingIndex,
    /// A key that is no index.
    BadIndex,
}

impl Reason {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Reason::TooLarge => "too_large",
            Reason::Empty => "empty",
            Reason::BadUtf8 => "bad_utf8",
            Reason::TooDeep => "too_deep",
            Reason::NotJson => "not_json",
            Reason::UndecodableWrapper => "undecodable_wrapper",
            Reason::NotAnObject => "not_an_object",
            Reason::UnknownKind => "unknown_kind",
            Reason::MissingIndex => "missing_index",
            Reason::BadIndex => "bad_index",
        }
    }
}

/// Why a field became null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Defect {
    /// Not a number of this column.
    BadNumber,
    /// Not a time.
    BadTimestamp,
    /// Beyond the column's bounds.
    OutOfRange,
    /// Beyond the arrival time.
    Future,
    /// Not a text.
    BadText,
}

impl Defect {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Defect::BadNumber => "bad_number",
            Defect::BadTimestamp => "bad_timestamp",
            Defect::OutOfRange => "out_of_range",
            Defect::Future => "future",
            Defect::BadText => "bad_text",
        }
    }
}

/// A value, comparable within its column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    /// None.
    Null,
    /// An integer.
    Int(i64),
    /// Degrees in 1e-7.
    Fixed(i64),
    /// Nanoseconds since 1970-01-01 UTC.
    Time(i128),
    /// A text.
    Text(Arc<str>),
}

/// A cleaned field.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// A value.
    Value(Cell),
    /// Absent, null or blank.
    Null,
    /// A known placeholder.
    Placeholder,
    /// Something that cannot be this column's value.
    Defect(Defect),
}

impl Field {
    /// The value, or null.
    pub fn cell(&self) -> Cell {
        match self {
            Field::Value(cell) => cell.clone(),
            _ => Cell::Null,
        }
    }
}

/// The columns of the three streams that metrics see.
pub const COLUMNS: [&[&str]; 3] = [
    &[
        "unique_id",
        "title",
        "description",
        "follower_count",
        "poster_name",
        "tag_list",
        "is_image_or_video",
        "image_src",
        "downloaded",
        "save_location",
        "category",
    ],
    &["country", "latitude", "longitude", "timestamp"],
    &["user_name", "age", "date_joined"],
];

/// A record of which something can be used.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it turned out to be.
    pub stream: Stream,
    /// Its index.
    pub index: u64,
    /// Whether the rules said another kind.
    pub misrouted: bool,
    /// Stands for the bytes of the unwrapped object.
    pub content: (u64, usize),
    /// One per column of [`COLUMNS`].
    pub fields: Vec<Field>,
}

impl Record {
    /// A column's value; null if it is another stream's.
    pub fn cell(&self, column: &str) -> Cell {
        let place = COLUMNS[self.stream as usize].iter().position(|c| *c == column);
        place.map_or(Cell::Null, |p| self.fields[p].cell())
    }
}

/// What became of one record of a message.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It can be used.
    Kept(Record),
    /// Nothing of it can be used; with the bytes that a dead letter keeps.
    Rejected(Reason, Vec<u8>),
    /// None of ours.
    Ignored,
}

/// The verdicts on a message, in the order of its records.
pub fn clean(message: &Message, rules: &Rules) -> Vec<Verdict> {
    if message.rule == Rule::Ignore {
        return vec![Verdict::Ignored];
    }
    let verdict = |item| match item {
        Item::Bad(reason, bytes) => Verdict::Rejected(reason, bytes),
        Item::Object(text, bytes) => match record(&text, message, rules) {
            Ok(record) => Verdict::Kept(record),
            Err(reason) => Verdict::Rejected(reason, bytes),
        },
    };
    unwrap(&message.payload, rules).into_iter().map(verdict).collect()
}

/// The fields of an object by name; of a doubled key the last counts.
struct Object(Vec<(String, String)>);

impl Object {
    /// The raw text of a value; none if absent or null.
    fn raw(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(k, _)| k == key)?;
        (found.1 != "null").then_some(&found.1)
    }

    fn has(&self, keys: [&str; 2]) -> bool {
        keys.iter().all(|key| self.0.iter().any(|(k, _)| k == key))
    }
}

fn record(text: &str, message: &Message, rules: &Rules) -> Result<Record, Reason> {
    let object = Object(pairs(text));
    let told: Vec<Stream> = Stream::ALL
        .into_iter()
        .zip([["unique_id", "category"], ["timestamp", "country"], ["first_name", "date_joined"]])
        .filter(|(_, keys)| object.has(*keys))
        .map(|(stream, _)| stream)
        .collect();
    let first = *told.first().ok_or(Reason::UnknownKind)?;
    let (stream, misrouted) = match message.rule {
        Rule::Kind(stream) if told.contains(&stream) => (stream, false),
        Rule::Kind(_) => (first, true),
        _ => (first, false),
    };
    let key = ["index", "ind", "idx"].iter().find_map(|key| object.raw(key));
    let index = index(key.ok_or(Reason::MissingIndex)?).ok_or(Reason::BadIndex)?;
    let fields = match stream {
        Stream::Pin => pin(&object),
        Stream::Geo => geo(&object, message, rules),
        Stream::User => user(&object, rules),
    };
    Ok(Record { stream, index, misrouted, content: content(text), fields })
}

fn content(text: &str) -> (u64, usize) {
    use std::hash::Hasher;
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(text.as_bytes());
    (hasher.finish(), text.len())
}

fn index(raw: &str) -> Option<u64> {
    let text = match raw.strip_prefix('"') {
        Some(_) => serde_json::from_str::<String>(raw).ok()?,
        None => raw.to_string(),
    };
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value = if digits { text.parse::<u64>().ok()? } else { return None };
    (value < 1 << 63).then_some(value)
}

/// A field's text: null, placeholder, defect, or the text as it came.
fn text(raw: Option<&str>, placeholders: &[&str]) -> Result<String, Field> {
    let raw = raw.ok_or(Field::Null)?;
    let bad = Field::Defect(Defect::BadText);
    if !raw.starts_with('"') {
        return Err(bad);
    }
    let text: String = serde_json::from_str(raw).map_err(|_| bad)?;
    if text.chars().all(char::is_whitespace) {
        return Err(Field::Null);
    }
    if placeholders.contains(&&*text) {
        return Err(Field::Placeholder);
    }
    Ok(text)
}

fn cell(text: Result<String, Field>) -> Field {
    text.map_or_else(|field| field, |t| Field::Value(Cell::Text(t.into())))
}

/// The text of a number, whether it came as a number or as text.
fn digits(raw: Option<&str>, placeholders: &[&str]) -> Result<(String, bool), Field> {
    match raw {
        Some(r) if r.starts_with('"') => match text(raw, placeholders) {
            Err(Field::Defect(_)) => Err(Field::Defect(Defect::BadNumber)),
            other => other.map(|t| (t, true)),
        },
        Some(r) => Ok((r.to_string(), false)),
        None => Err(Field::Null),
    }
}

fn bounded(raw: Option<&str>, most: i64) -> Field {
    let found = digits(raw, &[]).and_then(|(text, quoted)| {
        let value = parse::integer(&text).filter(|_| !quoted || !text.starts_with('-'));
        let value = value.ok_or(Field::Defect(Defect::BadNumber))?;
        let fine = (0..=i128::from(most)).contains(&value);
        if fine { Ok(value as i64) } else { Err(Field::Defect(Defect::OutOfRange)) }
    });
    found.map_or_else(|field| field, |v| Field::Value(Cell::Int(v)))
}

fn degrees(raw: Option<&str>, limit: i64) -> Field {
    let infinite = ["nan", "inf", "infinity"];
    let found = digits(raw, &[]).and_then(|(text, quoted)| {
        let bare = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
        if quoted && infinite.contains(&&*bare) {
            return Err(Field::Defect(Defect::OutOfRange));
        }
        parse::degrees(&text, limit).map_err(Field::Defect)
    });
    found.map_or_else(|field| field, |v| Field::Value(Cell::Fixed(v)))
}

fn time(raw: Option<&str>, rules: &Rules) -> Field {
    match text(raw, &[]) {
        Ok(text) => match parse::timestamp(&text, &rules.patterns) {
            Some(nanos) => Field::Value(Cell::Time(nanos)),
            None => Field::Defect(Defect::BadTimestamp),
        },
        Err(Field::Defect(_)) => Field::Defect(Defect::BadTimestamp),
        Err(field) => field,
    }
}

const NO_USER: &[&str] = &["User Info Error"];

fn pin(object: &Object) -> Vec<Field> {
    let any = |key, placeholders| cell(text(object.raw(key), placeholders));
    let save = text(object.raw("save_location"), &[])
        .map(|t| t.strip_prefix("Local save in ").map_or_else(|| t.clone(), ToString::to_string));
    vec![
        any("unique_id", &[]),
        any("title", &["No Title Data Available"]),
        any("description", &["No description available", "No description available Story format"]),
        followers(object.raw("follower_count")),
        any("poster_name", NO_USER),
        any("tag_list", &["N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e"]),
        any("is_image_or_video", &[]),
        any("image_src", &["Image src error."]),
        bounded(object.raw("downloaded"), 1),
        cell(save),
        any("category", &[]),
    ]
}

fn followers(raw: Option<&str>) -> Field {
    let found = digits(raw, NO_USER).and_then(|(text, quoted)| {
        if quoted {
            return parse::followers(&text).map_err(Field::Defect);
        }
        let value = parse::integer(&text).ok_or(Field::Defect(Defect::BadNumber))?;
        let fine = (0..=i128::from(i64::MAX)).contains(&value);
        if fine { Ok(value as i64) } else { Err(Field::Defect(Defect::OutOfRange)) }
    });
    found.map_or_else(|field| field, |v| Field::Value(Cell::Int(v)))
}

fn geo(object: &Object, message: &Message, rules: &Rules) -> Vec<Field> {
    let mut at = time(object.raw("timestamp"), rules);
    let latest = i128::from(message.arrived_at.saturating_add(rules.max_future)) * 1000;
    if message.given && matches!(at, Field::Value(Cell::Time(t)) if t > latest) {
        at = Field::Defect(Defect::Future);
    }
    vec![
        cell(text(object.raw("country"), &[])),
        degrees(object.raw("latitude"), 90),
        degrees(object.raw("longitude"), 180),
        at,
    ]
}

fn user(object: &Object, rules: &Rules) -> Vec<Field> {
    let name = |key| text(object.raw(key), &[]);
    let full = match (name("first_name"), name("last_name")) {
        (Ok(first), Ok(last)) => Ok(format!("{first} {last}")),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
        (Err(defect @ Field::Defect(_)), Err(_)) | (Err(_), Err(defect)) => Err(defect),
    };
    vec![cell(full), bounded(object.raw("age"), 150), time(object.raw("date_joined"), rules)]
}
