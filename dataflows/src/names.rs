//! The operators of the dataflow by name: what `pinflow plan` lists, what the dataflow is built
//! with, and what live figures are told under.

use serde::Serialize;

/// What an operator is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Make {
    /// Timely's operators.
    Timely,
    /// Differential's operators.
    Differential,
    /// Our own, with the reason why.
    Own,
}

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// Its name.
    pub name: &'static str,
    /// What it is made of.
    pub make: Make,
    /// What it does.
    pub does: &'static str,
    /// Why it is our own; empty if it is not.
    pub reason: &'static str,
}

const fn of(name: &'static str, make: Make, does: &'static str) -> Operator {
    Operator { name, make, does, reason: "" }
}

const fn own(name: &'static str, does: &'static str, reason: &'static str) -> Operator {
    Operator { name, make: Make::Own, does, reason }
}

/// From batches to records.
pub const DECODE: Operator =
    of("Decode", Make::Timely, "cleans messages, packs the columns that the metrics need");

/// From records to changes of posts.
pub const ASSEMBLE: Operator = own(
    "Assemble",
    "keeps the newest version of each side of each index, and turns an epoch's records into \
     changes of groups",
    "one look-up a record costs a seventh of differential's joins of three arrangements, and does \
     not slow as the state grows",
);

/// A part of [`ASSEMBLE`]'s state.
pub const ARRIVALS: &str = "Assemble arrivals";

/// Distinct rows.
pub const DISTINCT: Operator = own(
    "Distinct",
    "rows that are equal count once, until the last one goes",
    "windows slide as `now` moves, which is data and not differential's time; and a table of rows \
     costs half of the sorted history that differential keeps of each",
);

/// Records as a collection.
pub const BAG_RECORDS: Operator =
    of("Records as a bag", Make::Timely, "records as changes of a collection");

/// Bag joins.
pub const BAG_JOIN: Operator =
    of("Bag join", Make::Differential, "every record of a side with every other of its index");

/// Changes of joined rows as changes of groups.
pub const BAG_UPDATES: Operator =
    of("Bag updates", Make::Timely, "joined rows as changes of groups");

/// From changes of groups to results.
pub const GROUPS: Operator = own(
    "Groups",
    "adds up what each group measures, moves and retires windows, gives changed results",
    "counts that arrive summed by key need no sorted batches, and exact quantiles, tops and \
     winners need ordered multisets with cursors: differential's reduce reads every value of a \
     changed key again",
);

/// A part of [`GROUPS`]' state: what arrived, by bucket and group, where windows slide.
pub const BUCKETS: &str = "Buckets";
