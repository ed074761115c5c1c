//! The computation of pinflow: records, cleaning, joining, windows, metrics, as a timely and
//! differential dataflow.
//!
//! Promises: no I/O, no clock, no threads of its own. What is published is a function of the
//! positions read and of `now`, both of which come in as data.

pub mod assemble;
pub mod batch;
pub mod decode;
pub mod graph;
mod index;
pub mod metrics;
pub mod names;
pub mod operators;
pub mod outbox;
mod pooled;
pub mod record;
pub mod sealed;
pub mod size;
pub mod symbol;
pub mod tick;
pub mod time;
