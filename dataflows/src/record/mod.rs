//! Bytes in, cleaned records or rejections out.
//!
//! Promises: nothing that a payload holds stops the flow or costs a neighbour; a verdict depends
//! on the payload, its rule, its arrival time and the [`Rules`], and on nothing else.

mod bytes;
mod clean;
pub mod column;
mod decoder;
mod fast;
mod general;
mod kpl;
mod notes;
mod number;
pub mod project;
pub mod rules;
pub mod table;
mod unwrap;
mod wire;

#[cfg(test)]
mod clean_tests;
#[cfg(test)]
mod tests;

pub use column::{Column, ColumnSet, Stream, Type};
pub use decoder::{Decoder, Messages};
pub use rules::{Rule, Rules, Wrappers};

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Why nothing of a record could be used. The first that holds, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Reason {
    TooLarge,
    Empty,
    BadUtf8,
    TooDeep,
    NotJson,
    UndecodableWrapper,
    NotAnObject,
    UnknownKind,
    MissingIndex,
    BadIndex,
}

impl Reason {
    /// All reasons, in order.
    pub const ALL: [Reason; 10] = [
        Reason::TooLarge,
        Reason::Empty,
        Reason::BadUtf8,
        Reason::TooDeep,
        Reason::NotJson,
        Reason::UndecodableWrapper,
        Reason::NotAnObject,
        Reason::UnknownKind,
        Reason::MissingIndex,
        Reason::BadIndex,
    ];

    /// The label in metrics, dead letters and answers.
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

/// Why a field of a usable record became null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Defect {
    BadNumber,
    BadTimestamp,
    OutOfRange,
    Future,
    BadText,
}

impl Defect {
    /// All defects, in order.
    pub const ALL: [Defect; 5] = [
        Defect::BadNumber,
        Defect::BadTimestamp,
        Defect::OutOfRange,
        Defect::Future,
        Defect::BadText,
    ];

    /// The label in metrics and answers.
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

/// A cleaned field: its value, or why it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<T> {
    /// A value.
    Value(T),
    /// Absent, JSON null, or blank text.
    Null,
    /// A known placeholder of the producers.
    Placeholder,
    /// Something that cannot be this column's value.
    Defect(Defect),
}

impl<T> Cell<T> {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Cell::Value(v) => Some(v),
            _ => None,
        }
    }
}

/// A cleaned text: borrowed from the payload unless it had escapes.
pub type Text<'a> = Cell<Cow<'a, str>>;

/// A moment: microseconds since 1970-01-01 UTC for computing, nanoseconds of the second for
/// printing it as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds since 1970-01-01 UTC, rounded down.
    pub micros: i64,
    /// Nanoseconds within the second, 0..1e9.
    pub nanos: u32,
}

/// A cleaned pin.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Pin<'a> {
    pub unique_id: Text<'a>,
    pub title: Text<'a>,
    pub description: Text<'a>,
    pub follower_count: Cell<i64>,
    pub poster_name: Text<'a>,
    pub tag_list: Text<'a>,
    pub is_image_or_video: Text<'a>,
    pub image_src: Text<'a>,
    pub downloaded: Cell<i64>,
    pub save_location: Text<'a>,
    pub category: Text<'a>,
}

/// A cleaned geo record; degrees in units of 1e-7.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Geo<'a> {
    pub country: Text<'a>,
    pub latitude: Cell<i64>,
    pub longitude: Cell<i64>,
    pub timestamp: Cell<Moment>,
}

/// A cleaned user.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct User<'a> {
    pub user_name: Text<'a>,
    pub age: Cell<i64>,
    pub date_joined: Cell<Moment>,
}

/// The cleaned fields of a record, by stream.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Fields<'a> {
    Pin(Pin<'a>),
    Geo(Geo<'a>),
    User(User<'a>),
}

impl Fields<'_> {
    /// The stream it belongs to.
    pub fn stream(&self) -> Stream {
        match self {
            Fields::Pin(_) => Stream::Pin,
            Fields::Geo(_) => Stream::Geo,
            Fields::User(_) => Stream::User,
        }
    }
}

/// A record of which something can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    /// The index, 0 <= i < 2^63.
    pub index: u64,
    /// 64-bit hash of the unwrapped object's bytes.
    pub hash: u64,
    /// The rules said one kind, the fields told only another.
    pub misrouted: bool,
    /// The cleaned fields.
    pub fields: Fields<'a>,
}

/// What became of one record of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded<'a> {
    /// It can be used.
    Record(&'a Record<'a>),
    /// Nothing of it can be used.
    Rejected {
        /// Why.
        reason: Reason,
        /// The bytes of it: the element of an array, else the whole message.
        payload: &'a [u8],
    },
    /// The rules say that it is none of ours.
    Ignored,
}

/// Where a record came from. Its order within equal arrival times is that of the source's and
/// the partition's names, then of the position and the number within the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Arrival time, microseconds since 1970-01-01 UTC.
    pub arrived_at: i64,
    /// The number of the partition, in the order of discovery.
    pub partition: u32,
    /// The message's position in its partition.
    pub position: u64,
    /// The record's number within the message.
    pub sub: u32,
}
