//! What a measure shows: exact until it is printed.

use smallvec::SmallVec;

use crate::record::Type;
use crate::symbol::Sym;

/// A row's cells as 64-bit numbers: integers as they are, text as symbols, times in
/// microseconds, degrees in 1e-7; [`NULL`] for null.
pub type Cells = SmallVec<[i64; 4]>;

/// The cell that means null.
pub const NULL: i64 = i64::MIN;

/// The value of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// None.
    Null,
    /// An integer in the units of the measure's type.
    Int(i128),
    /// A quotient in the units of the measure's type; the second is positive.
    Ratio(i128, i128),
    /// A text.
    Text(Sym),
}

impl Value {
    /// A cell of a type as a value.
    pub fn from_cell(cell: i64, ty: Type) -> Self {
        match (cell, ty) {
            (NULL, _) => Value::Null,
            (c, Type::Text) => Value::Text(Sym::from_cell(c)),
            (c, _) => Value::Int(c.into()),
        }
    }
}

/// The values of one row of a group: one per column of the metric's measures.
pub type Values = SmallVec<[Value; 2]>;

/// Which window and group a row belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The place of the window in the metric's list; 0 where it has none.
    pub window: u16,
    /// The start of the window, microseconds; [`NULL`] for windows that slide over arrivals
    /// (their edges follow from `now`) and where there are none.
    pub start: i64,
    /// The group keys.
    pub keys: Cells,
}

/// The rows of one group changed. A group has one owner, so the newest change holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The place of the metric in the plan.
    pub metric: u16,
    /// Which group.
    pub key: GroupKey,
    /// Its rows now, in the order to be shown; empty = it is gone. More than one only for `top`
    /// and for ties that are all shown.
    pub rows: Vec<Values>,
}
