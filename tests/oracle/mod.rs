//! The oracle: a plain, single-threaded recomputation of everything that pinflow shows.
//!
//! It shares no code with the product. It reads the same bytes and the same declarations, holds
//! every record in memory and evaluates each metric from scratch, so that what it says is easy to
//! check by reading. Where the product and the oracle differ, one of them has the law wrong.
//!
//! Limits: everything is held in memory; about a million records a few seconds in release.

#![allow(dead_code)]

pub mod clean;
pub mod kpl;
pub mod measure;
pub mod metric;
pub mod model;
pub mod parse;
pub mod print;
pub mod rows;
pub mod unwrap;

use std::sync::Arc;

/// What the routing rules say of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The fields tell.
    Auto,
    /// Records of this stream.
    Kind(Stream),
    /// Other people's records.
    Ignore,
}

/// The three streams, in the order in which fields tell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// What was posted.
    Pin,
    /// Where and when.
    Geo,
    /// Who.
    User,
}

impl Stream {
    /// All three.
    pub const ALL: [Stream; 3] = [Stream::Pin, Stream::Geo, Stream::User];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Pin => "pin",
            Stream::Geo => "geo",
            Stream::User => "user",
        }
    }
}

/// What a source delivers at one position.
#[derive(Clone, Debug)]
pub struct Message {
    /// The source's name.
    pub source: Arc<str>,
    /// The partition's name.
    pub partition: Arc<str>,
    /// The position.
    pub position: u64,
    /// The bytes.
    pub payload: Vec<u8>,
    /// What the routing rules say of it.
    pub rule: Rule,
    /// Arrival time, microseconds since 1970-01-01 UTC.
    pub arrived_at: i64,
    /// Whether the broker or the record itself gave the arrival time.
    pub given: bool,
}

/// The cleaning rules.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Bytes of the largest message.
    pub max_record: usize,
    /// The deepest nesting.
    pub max_depth: usize,
    /// Further patterns of timestamps.
    pub patterns: Vec<String>,
    /// How far a geo timestamp may lie beyond a given arrival time, microseconds.
    pub max_future: i64,
}

impl Default for Rules {
    fn default() -> Self {
        let max_future = 5 * 60 * 1_000_000;
        Rules { max_record: 1 << 20, max_depth: 64, patterns: Vec::new(), max_future }
    }
}
