//! Where records come from: partitions that come and go, positions that mean "next to read",
//! batches of raw bytes with arrival times.
//!
//! A source has two halves. [`Source`] lives on the coordinator's thread: it finds partitions and
//! opens readers. A [`Reader`] lives on the worker that owns its partition, is asked for a batch
//! when that worker has room, and never blocks for long: a queue that is full is a reader that is
//! not asked. Errors are status, not a crash.
//!
//! Promises: a reader opened at a position gives the messages from there on, the same ones with
//! the same arrival times every time. What a source must remember to keep that promise (the moment
//! a file was first seen, the demo's schedule) it hands out as memos, which are durable before any
//! record that depends on them is read.

use dataflows::batch::Batch;
use dataflows::record::Rule;
use serde_json::Value;

/// What a source remembers across restarts, by key. Written durably before first use.
pub type Memos = std::collections::BTreeMap<String, Value>;

/// A partition that a source has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name, unique within the source: path, topic/partition, shard. Orders versions.
    pub name: String,
    /// Where to start when nothing is remembered of it.
    pub start: u64,
    /// What the routing rules say of it.
    pub rule: Rule,
}

/// What a source's discovery saw.
#[derive(Debug, Default)]
pub struct Discovery {
    /// New partitions.
    pub found: Vec<Found>,
    /// Memos that must be durable before the new partitions are opened.
    pub memos: Memos,
    /// Nothing more will ever be found (bounded runs).
    pub complete: bool,
}

/// The half of a source that finds partitions.
pub trait Source: Send {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Takes back what was remembered, before the first discovery: memos, and the partitions with
    /// the positions to read next.
    fn restore(&mut self, memos: &Memos, positions: &[(String, u64)]) -> Result<(), SourceError>;

    /// Looks for partitions that have come since the last call; restored ones are found again if
    /// there is still something to read. Called at [`Source::interval`], quickly.
    fn discover(&mut self) -> Result<Discovery, SourceError>;

    /// How often to discover.
    fn interval(&self) -> std::time::Duration;

    /// A reader of a partition from a position on. `partition` is the number for its batches.
    fn open(
        &mut self,
        name: &str,
        partition: u32,
        at: u64,
    ) -> Result<Box<dyn Reader>, SourceError>;

    /// An orderly stop: memos to keep (the demo ends its schedule's segment).
    fn stop(&mut self) -> Memos {
        Memos::new()
    }
}

/// What a reader has.
#[derive(Debug)]
pub enum Read {
    /// Messages, at least one.
    Batch(Batch),
    /// Nothing now; ask again at this delay or when woken.
    Idle(std::time::Duration),
    /// Nothing ever again.
    End,
}

/// The half of a source that reads one partition.
pub trait Reader: Send {
    /// The next batch of about `max_bytes` and at most `max_records`.
    fn read(&mut self, max_bytes: usize, max_records: usize) -> Result<Read, SourceError>;

    /// The end of the partition as last seen, in positions; none if unknown. Never below the
    /// position to read next.
    fn end(&self) -> Option<u64>;
}

/// What can go wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be reached or read now; it is tried again. Exit 69 where it can never be.
    #[error("{what}")]
    Unavailable {
        /// What was being done, with what, what was seen.
        what: String,
    },
    /// What was read before is no longer what is there. Exit 65.
    #[error("{what}")]
    Changed {
        /// What was being done, with what, what was seen.
        what: String,
    },
}
