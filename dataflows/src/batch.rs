//! What goes into the dataflow: blocks of bytes with the bounds of their messages.
//!
//! Promises: a batch is cheap to clone and to send to another worker; nothing per record is
//! allocated on the way to the decoder.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::record::Rule;

/// Shared bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block(pub Arc<Vec<u8>>);

impl Serialize for Block {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(d).map(|v| Block(Arc::new(v)))
    }
}

/// Where one message lies in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Bytes.
    pub len: u32,
}

/// The positions of a batch's messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Positions {
    /// A message's position is this plus its first byte's place in the block.
    Bytes(u64),
    /// A message's position is this plus its number in the batch.
    Counted(u64),
    /// One by one.
    Each(Vec<u64>),
}

/// The arrival times of a batch's messages, microseconds since 1970-01-01 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrivals {
    /// The same for all.
    One(i64),
    /// One by one.
    Each(Vec<i64>),
}

/// Whether the broker or the records themselves gave the arrival times of a batch's messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Given {
    /// The same of all.
    All(bool),
    /// One by one: some lack what the others have; also where all do, as they may have that of a
    /// message before, which was given.
    Each(Vec<bool>),
}

impl From<Vec<bool>> for Given {
    fn from(each: Vec<bool>) -> Self {
        if each.iter().all(|given| *given) { Given::All(true) } else { Given::Each(each) }
    }
}

/// What the routing rules say of a batch's messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ruled {
    /// The same of all.
    All(Rule),
    /// One by one: they look at each record.
    Each(Vec<Rule>),
}

/// Messages of one partition, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The partition's number.
    pub partition: u32,
    /// The bytes.
    pub block: Block,
    /// The messages.
    pub spans: Vec<Span>,
    /// Their positions.
    pub positions: Positions,
    /// The number within the message of each one's first record: 0, but for dead letters, which
    /// may be single elements of a message.
    pub first_sub: u32,
    /// Their arrival times.
    pub arrivals: Arrivals,
    /// Whether those were given, or had to be made up.
    pub arrival_given: Given,
    /// What the routing rules say of them.
    pub ruled: Ruled,
    /// The position to read next, behind the last message.
    pub next: u64,
}

/// A batch with the number of the worker that decodes it, modulo their count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dealt {
    /// The worker.
    pub to: u64,
    /// The batch.
    pub batch: Batch,
}

impl Batch {
    /// The position of message `n`.
    pub fn position(&self, n: usize) -> u64 {
        match &self.positions {
            Positions::Bytes(base) => base + u64::from(self.spans[n].start),
            Positions::Counted(base) => base + n as u64,
            Positions::Each(list) => list[n],
        }
    }

    /// The arrival time of message `n`.
    pub fn arrival(&self, n: usize) -> i64 {
        match &self.arrivals {
            Arrivals::One(t) => *t,
            Arrivals::Each(list) => list[n],
        }
    }

    /// Whether the arrival time of message `n` was given.
    pub fn arrival_given(&self, n: usize) -> bool {
        match &self.arrival_given {
            Given::All(given) => *given,
            Given::Each(list) => list[n],
        }
    }

    /// What the routing rules say of message `n`.
    pub fn rule(&self, n: usize) -> Rule {
        match &self.ruled {
            Ruled::All(rule) => *rule,
            Ruled::Each(list) => list[n],
        }
    }

    /// Where message `n` lies in the block.
    pub fn place(&self, n: usize) -> Range<usize> {
        let Span { start, len } = self.spans[n];
        start as usize..start as usize + len as usize
    }

    /// What all messages lie within: nothing before the first of them, nothing behind the last.
    pub fn extent(&self) -> Range<usize> {
        let ends = |n| self.place(n).end;
        let start = self.spans.iter().map(|span| span.start as usize).min().unwrap_or(0);
        start..(0..self.spans.len()).map(ends).max().unwrap_or(start)
    }

    /// The bytes of message `n`.
    pub fn payload(&self, n: usize) -> &[u8] {
        &self.block.0[self.place(n)]
    }

    /// The greatest arrival time that is not beyond `until`, where it has one; none if there is
    /// none.
    pub fn latest(&self, until: Option<i64>) -> Option<i64> {
        let all = match &self.arrivals {
            Arrivals::One(t) if !self.spans.is_empty() => std::slice::from_ref(t),
            Arrivals::One(_) => &[],
            Arrivals::Each(list) => list,
        };
        all.iter().copied().filter(|t| until.is_none_or(|until| *t <= until)).max()
    }
}
