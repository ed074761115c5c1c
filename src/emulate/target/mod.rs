//! Where records are sent to.

mod kafka;
mod lines;

use std::time::Duration;

use dataflows::record::Stream;

pub use kafka::{Cluster, KafkaTarget, Key, decided};
pub use lines::{FilesTarget, StdoutTarget};

use crate::cli::Failure;

/// A record to send.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Which stream it belongs to.
    pub stream: Stream,
    /// The index that its post is about; none if no record of it names one.
    pub index: Option<u64>,
    /// What is sent; a line, without its end.
    pub bytes: &'a [u8],
}

/// A place that records are sent to.
pub trait Target {
    /// What it is called in messages.
    fn name(&self) -> String;

    /// Takes a record; says whether anybody wants more (not so behind `| head`).
    fn send(&mut self, record: Record<'_>) -> Result<bool, Failure>;

    /// Nothing comes for so long: brings what was taken on its way, then waits.
    fn idle(&mut self, pause: Duration) -> Result<(), Failure>;

    /// Brings everything that was taken to its place; returns how many records of each stream are
    /// known to have come there.
    fn finish(&mut self) -> Result<[u64; 3], Failure>;
}
