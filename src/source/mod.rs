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

mod glob;
mod pool;
pub mod progress;

pub mod demo;
pub mod files;
pub mod kafka;
pub mod replay;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dataflows::batch::Batch;
use dataflows::record::Rule;
use serde_json::Value;

use crate::config;

/// The wall clock as a source sees it: microseconds since 1970-01-01 UTC. It decides when a
/// record is due and what "first seen" is; it is injected so that tests can turn it.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What a source is built with beside its configuration.
#[derive(Clone)]
pub struct Setup {
    /// The run ends when everything is read (`--once`).
    pub bounded: bool,
    /// A bounded run ends before the first record of this time or later, where the source can
    /// tell; microseconds since 1970-01-01 UTC. None: at the ends of its first start.
    pub until: Option<i64>,
    /// The wall clock.
    pub clock: Clock,
    /// Of a message longer than this only the first so many bytes and one more are delivered,
    /// which is enough for it to be rejected as too large; bytes.
    pub max_message: usize,
    /// Folders that the program writes to: no source reads below them.
    pub own: Arc<[PathBuf]>,
}

/// What is delivered of a message where nobody says how long one may be: bytes.
pub const MAX_MESSAGE: usize = 64 << 20;

/// The source of a configuration, with messages up to [`MAX_MESSAGE`]. Nothing is opened or
/// looked at before the first discovery.
pub fn build(
    config: &config::Source,
    bounded: bool,
    clock: Clock,
) -> Result<Box<dyn Source>, SourceError> {
    let setup =
        Setup { bounded, until: None, clock, max_message: MAX_MESSAGE, own: Arc::default() };
    build_with(config, setup)
}

/// The source of a configuration.
pub fn build_with(
    config: &config::Source,
    mut setup: Setup,
) -> Result<Box<dyn Source>, SourceError> {
    // Places in a block are 32 bits.
    setup.max_message = setup.max_message.clamp(1 << 10, 1 << 30);
    let routes = glob::Routes::new(&config.routes);
    Ok(match &config.kind {
        config::SourceKind::Demo(demo) => {
            Box::new(demo::DemoSource::new(&config.name, demo, routes, setup))
        }
        config::SourceKind::Files(files) => {
            Box::new(files::FilesSource::new(&config.name, files, routes, setup))
        }
        config::SourceKind::Kafka(kafka) => {
            Box::new(kafka::KafkaSource::new(&config.name, kafka, routes, setup))
        }
    })
}

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
    /// Known partitions that are there and not opened, as nothing of them is left; told once.
    pub still: Vec<String>,
    /// Memos that must be durable before the new partitions are opened.
    pub memos: Memos,
    /// Nothing more will ever be found (bounded runs).
    pub complete: bool,
    /// Whoever knows has not answered yet: what is there at the start is still to come.
    pub pending: bool,
}

/// What a source sees beside its readers.
#[derive(Debug, Default)]
pub struct Watch {
    /// Ends of partitions, as [`Reader::end`].
    pub ends: BTreeMap<String, u64>,
    /// Errors of this run, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Bytes that came over the network, if that is where it reads from.
    pub fetched: Option<u64>,
    /// Why it cannot be reached as a whole, if so.
    pub trouble: Option<String>,
    /// It cannot be reached: other ends than those given are not known any more.
    pub away: bool,
    /// What to do about that, where it is known.
    pub hint: Option<String>,
}

/// The half of a source that finds partitions.
pub trait Source: Send {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Takes back what was remembered, before the first discovery: memos, and the partitions with
    /// the positions to read next.
    fn restore(&mut self, memos: &Memos, positions: &[(String, u64)]) -> Result<(), SourceError>;

    /// Takes back the arrival time of the message before the next one, by partition; called before
    /// [`Source::restore`] where there are any.
    fn restore_arrivals(&mut self, _arrivals: &[(String, i64)]) {}

    /// Looks for partitions that have come since the last call; restored ones are found again if
    /// there is still something to read. Called at [`Source::interval`], quickly.
    fn discover(&mut self) -> Result<Discovery, SourceError>;

    /// How often to discover.
    fn interval(&self) -> std::time::Duration;

    /// A reader of a partition from a position on. `partition` is the number for its batches.
    fn open(&mut self, name: &str, partition: u32, at: u64)
    -> Result<Box<dyn Reader>, SourceError>;

    /// What was read up to these positions, to be read next, is durable. Called after each cut, and
    /// must be quick.
    fn durable(&mut self, _positions: &[(String, u64)]) {}

    /// An orderly stop: memos to keep (the demo ends its schedule's segment).
    fn stop(&mut self) -> Memos {
        Memos::new()
    }

    /// How far it is with what it knows of, for a progress bar; none if there is no end.
    fn progress(&self) -> Option<Done> {
        None
    }

    /// What is wrong with it although the last discovery succeeded: a folder that is not there, a
    /// file that must not be read. It is status; the source goes on.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Named counts of this run: files changed, refused, unfinished.
    fn counters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }

    /// What it sees beside its readers, for the status; asked about twice a second.
    fn watch(&self) -> Watch {
        Watch::default()
    }
}

/// How much of all that a source knows of has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Read.
    pub done: u64,
    /// In all.
    pub total: u64,
    /// Whether these are bytes on disk; else records.
    pub bytes: bool,
}

/// What a reader has.
#[derive(Debug)]
pub enum Read {
    /// Messages, at least one.
    Batch(Batch),
    /// Everything that there is has been read; ask again at this delay or when woken.
    Idle(std::time::Duration),
    /// There may be more, which is not here yet; ask again at this delay or when woken.
    Pending(std::time::Duration),
    /// Nothing ever again.
    End,
}

/// The half of a source that reads one partition.
pub trait Reader: Send {
    /// The next batch of about `max_bytes` and at most `max_records`.
    fn read(&mut self, max_bytes: usize, max_records: usize) -> Result<Read, SourceError>;

    /// Whether it is to be asked before its delay is over. Who wakes it unparks the worker that
    /// called [`Reader::read`].
    fn woken(&self) -> bool {
        false
    }

    /// Whether it gives records their arrival times by a schedule, which may be ahead of the wall
    /// clock: `now` follows them however far they are.
    fn schedules(&self) -> bool {
        false
    }

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
    /// As [`Self::Unavailable`], and what to do is known.
    #[error("{what}")]
    Unreachable {
        /// What was being done, with what, what was seen.
        what: String,
        /// What to do.
        hint: String,
    },
    /// What was read before is no longer what is there. Exit 65.
    #[error("{what}")]
    Changed {
        /// What was being done, with what, what was seen.
        what: String,
    },
    /// The rest of this partition is not read: damaged, cut off where no more can come, or larger
    /// than allowed. It is said once; after it the reader is at its end, and the other partitions
    /// go on. A bounded run that met one publishes what could be read, then exits 65.
    #[error("{what}")]
    Refused {
        /// What was being done, with what, what was seen.
        what: String,
    },
}
