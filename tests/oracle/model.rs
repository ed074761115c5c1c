//! What is held of everything read: versions, sides, arrivals, people, records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::clean::{COLUMNS, Cell, Field, Reason, Record, Verdict, clean};
use super::{Message, Rule, Rules, Stream};

/// What orders the records of one stream and index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Arrival time, microseconds since 1970-01-01 UTC.
    pub arrived_at: i64,
    /// The source's name.
    pub source: Arc<str>,
    /// The partition's name.
    pub partition: Arc<str>,
    /// The position.
    pub position: u64,
    /// The number within the message.
    pub sub: u32,
}

/// A record read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where it came from.
    pub version: Version,
    /// The stream that the rules said.
    pub ruled: Option<Stream>,
    /// What became of it.
    pub verdict: Verdict,
}

impl Seen {
    /// The record, if it could be used.
    pub fn kept(&self) -> Option<&Record> {
        match &self.verdict {
            Verdict::Kept(record) => Some(record),
            _ => None,
        }
    }
}

/// Everything read, and what follows from it.
#[derive(Debug, Default)]
pub struct Model {
    /// Every record, in the order of the messages.
    pub seen: Vec<Seen>,
    /// The place in `seen` of the newest version of a stream's index.
    pub sides: HashMap<(Stream, u64), usize>,
    /// The greatest arrival time read, microseconds; the least there is if nothing was.
    pub now: i64,
}

/// A row of a fact: the sides that are there, and what stands beside them.
#[derive(Clone, Debug, Default)]
pub struct Row<'a> {
    /// The index.
    pub index: Option<u64>,
    /// Pin, geo, user.
    pub sides: [Option<&'a Record>; 3],
    /// Arrival time, where the fact has one.
    pub arrived_at: Option<i64>,
    /// Columns of `records` and `fields`: stream, outcome, reason, column, state.
    pub meta: [Option<&'static str>; 5],
}

impl Model {
    /// Reads all messages.
    pub fn new(messages: &[Message], rules: &Rules) -> Self {
        let mut model = Model { now: i64::MIN, ..Model::default() };
        for message in messages {
            model.read(message, rules);
        }
        model
    }

    /// Reads one message.
    pub fn read(&mut self, message: &Message, rules: &Rules) {
        self.now = self.now.max(message.arrived_at);
        for (sub, verdict) in clean(message, rules).into_iter().enumerate() {
            let version = Version {
                arrived_at: message.arrived_at,
                source: message.source.clone(),
                partition: message.partition.clone(),
                position: message.position,
                sub: sub as u32,
            };
            let place = self.seen.len();
            if let Verdict::Kept(record) = &verdict {
                let held = self.sides.entry((record.stream, record.index)).or_insert(place);
                if *held != place && self.seen[*held].version < version {
                    *held = place;
                }
            }
            let ruled = match message.rule {
                Rule::Kind(stream) => Some(stream),
                _ => None,
            };
            self.seen.push(Seen { version, ruled, verdict });
        }
    }

    /// The current side of an index.
    pub fn side(&self, stream: Stream, index: u64) -> Option<&Record> {
        self.sides.get(&(stream, index)).and_then(|&at| self.seen[at].kept())
    }

    /// The indexes of which a stream's side is there, in order.
    fn indexes(&self, stream: Stream) -> BTreeSet<u64> {
        self.sides.keys().filter(|(s, _)| *s == stream).map(|(_, index)| *index).collect()
    }

    /// Current versions of these sides, joined on the index.
    pub fn joined(&self, sides: [bool; 3]) -> Vec<Row<'_>> {
        let first = Stream::ALL.into_iter().find(|s| sides[*s as usize]).expect("a side");
        let row = |index| {
            let held = Stream::ALL.map(|s| self.side(s, index).filter(|_| sides[s as usize]));
            Row { index: Some(index), sides: held, ..Row::default() }
        };
        let whole = |row: &Row| {
            Stream::ALL.iter().all(|s| row.sides[*s as usize].is_some() == sides[*s as usize])
        };
        self.indexes(first).into_iter().map(row).filter(whole).collect()
    }

    /// Every record with every other of its index: n pins and m geos make n * m rows.
    pub fn bag(&self, sides: [bool; 3]) -> Vec<Row<'_>> {
        let mut by: HashMap<u64, [Vec<&Record>; 3]> = HashMap::new();
        for record in self.seen.iter().filter_map(Seen::kept) {
            by.entry(record.index).or_default()[record.stream as usize].push(record);
        }
        let mut out = Vec::new();
        for (index, held) in by {
            let mut rows = vec![Row { index: Some(index), ..Row::default() }];
            for stream in Stream::ALL.into_iter().filter(|s| sides[*s as usize]) {
                rows = rows
                    .iter()
                    .flat_map(|row| {
                        held[stream as usize].iter().map(|record| {
                            let mut row = row.clone();
                            row.sides[stream as usize] = Some(record);
                            row
                        })
                    })
                    .collect();
            }
            out.extend(rows);
        }
        out
    }

    /// One per pin record, at its arrival time, with the index's current sides.
    pub fn arrivals(&self, sides: [bool; 3]) -> Vec<Row<'_>> {
        let mut out = Vec::new();
        for seen in &self.seen {
            let Some(record) = seen.kept().filter(|r| r.stream == Stream::Pin) else { continue };
            let held =
                Stream::ALL.map(|s| self.side(s, record.index).filter(|_| sides[s as usize]));
            if Stream::ALL.iter().all(|s| held[*s as usize].is_some() == sides[*s as usize]) {
                out.push(Row {
                    index: Some(record.index),
                    sides: held,
                    arrived_at: Some(seen.version.arrived_at),
                    ..Row::default()
                });
            }
        }
        out
    }

    /// One per distinct (user_name, age, date_joined) of current user sides.
    pub fn people(&self) -> Vec<Row<'_>> {
        let mut known: BTreeMap<[Cell; 3], Row> = BTreeMap::new();
        for index in self.indexes(Stream::User) {
            let user = self.side(Stream::User, index).expect("it is there");
            let key = ["user_name", "age", "date_joined"].map(|c| user.cell(c));
            known.insert(key, Row { sides: [None, None, Some(user)], ..Row::default() });
        }
        known.into_values().collect()
    }

    /// Every record read.
    pub fn records(&self) -> Vec<Row<'_>> {
        let row = |seen: &Seen| {
            let meta = match &seen.verdict {
                Verdict::Kept(r) => [Some(r.stream.name()), Some("kept"), None, None, None],
                Verdict::Rejected(reason, _) => {
                    let ruled = seen.ruled.map(Stream::name);
                    [ruled, Some("rejected"), Some(reason.name()), None, None]
                }
                Verdict::Ignored => [None, Some("ignored"), None, None, None],
            };
            Row { arrived_at: Some(seen.version.arrived_at), meta, ..Row::default() }
        };
        self.seen.iter().map(row).collect()
    }

    /// Every column of every usable record read.
    pub fn fields(&self) -> Vec<Row<'_>> {
        let mut out = Vec::new();
        for seen in &self.seen {
            let Some(record) = seen.kept() else { continue };
            for (column, field) in COLUMNS[record.stream as usize].iter().zip(&record.fields) {
                let (state, reason) = match field {
                    Field::Value(_) => ("value", None),
                    Field::Null => ("null", None),
                    Field::Placeholder => ("placeholder", None),
                    Field::Defect(defect) => ("defect", Some(defect.name())),
                };
                let stream = Some(record.stream.name());
                let meta = [stream, None, reason, Some(*column), Some(state)];
                let arrived_at = Some(seen.version.arrived_at);
                out.push(Row { arrived_at, meta, ..Row::default() });
            }
        }
        out
    }

    /// Rejections by reason.
    pub fn reasons(&self) -> BTreeMap<Reason, u64> {
        let mut out = BTreeMap::new();
        for seen in &self.seen {
            if let Verdict::Rejected(reason, _) = &seen.verdict {
                *out.entry(*reason).or_default() += 1;
            }
        }
        out
    }
}
