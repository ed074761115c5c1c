//! What the daemon says of itself: machine metrics, the metrics of the world, status, logs.

#[cfg(test)]
mod contract;
pub mod expose;
pub mod log;
pub mod machine;
pub mod process;
pub mod status;
#[cfg(test)]
mod tests;
pub mod world;

pub use machine::Machine;
pub use status::{SharedStatus, Status};
