//! From declarations to operators: what is measured of the facts, and how.

pub mod bag;
pub mod changes;
pub mod declare;
pub mod explain;
pub mod expr;
pub mod group;
pub mod meta;
pub mod multiset;
pub mod packed;
pub mod plan;
pub mod schema;
pub mod update;
pub mod value;
pub mod window;
pub mod words;
