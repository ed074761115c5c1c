//! The changed groups of an epoch, packed one after the other.
//!
//! Promises: what is pushed comes out as it went in, in that order. A group costs some words and
//! no allocation of its own, so that an epoch that changes every group (the only one that a
//! bounded run shows) takes little memory; who takes them over frees them while going through.
//! Limits: 2^16 - 1 keys a group, as many columns a row.
//!
//! ```text
//! change = metric:16|window:16|keys:16|columns:16  rows  start  key*  value*      words of 64 bits
//! value  = number << 2, or symbol << 2 | TEXT, or NONE, or WIDE: the next of the wide ones
//! ```

use smallvec::SmallVec;

use super::value::{Change, GroupKey, Value, Values};
use crate::symbol::Sym;

/// The rows of one group.
pub type Rows = SmallVec<[Values; 1]>;

const NUMBER: i64 = 0;
const TEXT: i64 = 1;
const NONE: i64 = 2;
const WIDE: i64 = 3;
const TAG: i64 = 3;

/// Words of a block, about.
const BLOCK: usize = 32 << 10;

/// So many changes are brought near before they are shown.
const AHEAD: usize = 32;

/// Who takes changes up.
pub trait Take {
    /// Whether it helps to be told of changes before they come.
    fn looks_ahead(&self) -> bool {
        false
    }

    /// This change comes soon: what it touches may be brought near.
    fn near(&self, _metric: u16, _key: &GroupKey) {}

    /// A change: metric, group, rows.
    fn take(&mut self, metric: u16, key: &GroupKey, rows: &[Values]);
}

impl<F: FnMut(u16, &GroupKey, &[Values])> Take for F {
    fn take(&mut self, metric: u16, key: &GroupKey, rows: &[Values]) {
        self(metric, key, rows);
    }
}

/// Changes of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Blocks of whole changes.
    blocks: Vec<Vec<i64>>,
    /// Quotients, and numbers beyond 62 bits.
    wide: Vec<Value>,
    len: usize,
}

impl Changes {
    /// How many groups changed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none did.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a change; the rows have the same columns.
    pub fn push(&mut self, metric: u16, key: &GroupKey, rows: &[Values]) {
        let columns = rows.first().map_or(0, SmallVec::len);
        let head = [metric, key.window, key.keys.len() as u16, columns as u16];
        let head = head.iter().rev().fold(0, |word, part| word << 16 | i64::from(*part));
        let width = 3 + key.keys.len() + rows.len() * columns;
        let words = match self.blocks.last_mut() {
            Some(block) if block.len() + width <= BLOCK => block,
            last => {
                // The first grows with what is in it: most epochs change little.
                let room = if last.is_some() { BLOCK.max(width) } else { width };
                self.blocks.push(Vec::with_capacity(room));
                self.blocks.last_mut().expect("one was just pushed")
            }
        };
        words.extend([head, rows.len() as i64, key.start]);
        words.extend_from_slice(&key.keys);
        for value in rows.iter().flatten() {
            let narrow = match value {
                Value::Null => Some(NONE),
                Value::Text(text) => Some(text.cell() << 2 | TEXT),
                Value::Int(v) => i64::try_from(*v).ok().and_then(|v| {
                    let word = v << 2 | NUMBER;
                    (word >> 2 == v).then_some(word)
                }),
                Value::Ratio(..) => None,
            };
            words.push(narrow.unwrap_or_else(|| {
                self.wide.push(*value);
                WIDE
            }));
        }
        self.len += 1;
    }

    /// The metrics of the changes.
    pub fn metrics(&self) -> impl Iterator<Item = u16> {
        self.blocks.iter().flat_map(|block| {
            let mut words = &block[..];
            std::iter::from_fn(move || {
                let head = Head::read(words)?;
                words = &words[head.words()..];
                Some(head.metric)
            })
        })
    }

    /// Shows each change.
    pub fn each(&self, mut to: impl Take) {
        let mut wide = self.wide.iter();
        self.blocks.iter().for_each(|block| each(block, &mut wide, &mut to));
    }

    /// The same; what was shown is freed on the way.
    pub fn take_each(self, mut to: impl Take) {
        let mut wide = self.wide.iter();
        self.blocks.into_iter().for_each(|block| each(&block, &mut wide, &mut to));
    }

    /// The changes one by one.
    pub fn list(&self) -> Vec<Change> {
        let mut list = Vec::with_capacity(self.len);
        self.each(|metric: u16, key: &GroupKey, rows: &[Values]| {
            list.push(Change { metric, key: key.clone(), rows: rows.to_vec() });
        });
        list
    }
}

/// Shows the changes of a block.
fn each<'a>(mut words: &[i64], wide: &mut impl Iterator<Item = &'a Value>, to: &mut impl Take) {
    let mut key = GroupKey { window: 0, start: 0, keys: SmallVec::new() };
    let mut rows: Vec<Values> = Vec::new();
    let some = if to.looks_ahead() { AHEAD } else { 0 };
    loop {
        let mut ahead = words;
        for _ in 0..some {
            let Some((head, _)) = take_change(&mut ahead, &mut key) else { break };
            to.near(head.metric, &key);
        }
        for _ in 0..AHEAD {
            let Some((head, values)) = take_change(&mut words, &mut key) else { return };
            rows.resize_with(head.rows, Values::new);
            for (n, row) in rows.iter_mut().enumerate() {
                row.clear();
                let words = &values[n * head.columns..][..head.columns];
                row.extend(words.iter().map(|word| value(*word, wide)));
            }
            to.take(head.metric, &key, &rows);
        }
    }
}

/// Takes a change off the front: its head and values; its group goes into `key`.
fn take_change<'a>(words: &mut &'a [i64], key: &mut GroupKey) -> Option<(Head, &'a [i64])> {
    let head = Head::read(words)?;
    let (change, rest) = words.split_at(head.words());
    *words = rest;
    let (keys, values) = change[3..].split_at(head.keys);
    (key.window, key.start) = (head.window, change[2]);
    key.keys.clear();
    key.keys.extend_from_slice(keys);
    Some((head, values))
}

impl From<Vec<Change>> for Changes {
    fn from(list: Vec<Change>) -> Self {
        let mut changes = Changes::default();
        list.iter().for_each(|c| changes.push(c.metric, &c.key, &c.rows));
        changes
    }
}

/// What stands before a change's keys.
struct Head {
    metric: u16,
    window: u16,
    keys: usize,
    columns: usize,
    rows: usize,
}

impl Head {
    fn read(words: &[i64]) -> Option<Self> {
        let [head, rows, ..] = *words else { return None };
        let part = |n: u32| (head >> (16 * n)) as u16;
        Some(Head {
            metric: part(0),
            window: part(1),
            keys: part(2).into(),
            columns: part(3).into(),
            rows: rows as usize,
        })
    }

    fn words(&self) -> usize {
        3 + self.keys + self.rows * self.columns
    }
}

fn value<'a>(word: i64, wide: &mut impl Iterator<Item = &'a Value>) -> Value {
    match word & TAG {
        TEXT => Value::Text(Sym::from_cell(word >> 2)),
        NONE => Value::Null,
        WIDE => wide.next().copied().unwrap_or(Value::Null),
        _ => Value::Int((word >> 2).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbol::intern;

    #[test]
    fn changes_come_out_as_they_went_in() {
        let values = [
            Value::Null,
            Value::Int(-1),
            Value::Int((1 << 61) - 1),
            Value::Int(1 << 61),
            Value::Int(i128::MIN),
            Value::Ratio(-7, 3),
            Value::Text(intern("a text")),
        ];
        let mut list = Vec::new();
        for (n, value) in values.into_iter().enumerate() {
            let keys = (0..n as i64).map(|k| k * i64::MIN).collect();
            let key = GroupKey { window: u16::MAX - n as u16, start: -5, keys };
            let row = |v: Value| -> Values { std::iter::repeat_n(v, n + 1).collect() };
            let rows = (0..n % 3).map(|_| row(value)).collect();
            list.push(Change { metric: n as u16 * 9000, key, rows });
        }
        // Over several blocks.
        let list: Vec<Change> = list.iter().cycle().take(9000).cloned().collect();
        let changes = Changes::from(list.clone());
        assert!(changes.blocks.len() > 1);
        assert_eq!((changes.list(), changes.len()), (list.clone(), list.len()));
        assert!(changes.metrics().eq(list.iter().map(|c| c.metric)));
        let mut taken = Vec::new();
        changes.take_each(|metric: u16, key: &GroupKey, rows: &[Values]| {
            taken.push(Change { metric, key: key.clone(), rows: rows.to_vec() });
        });
        assert_eq!(taken, list);
    }
}
