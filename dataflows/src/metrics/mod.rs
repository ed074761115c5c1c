//! From declarations to operators: what is measured of the facts, and how.

pub mod declare;
pub mod schema;
pub mod value;
