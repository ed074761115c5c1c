//! What the coordinator and the workers say to each other.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use dataflows::sealed::Sealed;
use dataflows::size::Size;
use dataflows::tick::Tick;
use parking_lot::Mutex;

use super::EngineError;
use super::posts::Reply;
use crate::source::{Reader, SourceError};

/// What all threads of the engine see.
#[derive(Default)]
pub struct Shared {
    /// The epoch that is open: records are taken up in it. Workers close those before it.
    pub open: AtomicU64,
    /// Workers read from their partitions.
    pub reading: AtomicBool,
    /// Epochs are full earlier, because memory is short.
    pub small_epochs: AtomicBool,
    /// Records in the dataflow.
    pub flow: Mutex<Flow>,
    /// Bytes of batches handed to the dataflow whose epoch is not sealed yet.
    pub queued_bytes: AtomicU64,
    /// Bytes of messages dealt to each worker to decode.
    dealt: Vec<AtomicU64>,
}

/// A worker decodes what it reads, until it is so many bytes ahead of another one.
const AHEAD: u64 = 512 << 10;

impl Shared {
    /// Nothing is open for so many workers.
    pub fn new(workers: usize) -> Self {
        let dealt = (0..workers).map(|_| AtomicU64::default()).collect();
        Shared { dealt, ..Shared::default() }
    }

    /// The worker that decodes so many bytes that `reader` read: itself, while all have as much to
    /// do, since its caches hold them.
    pub fn deal(&self, reader: usize, bytes: u64) -> usize {
        let load = |worker: &usize| self.dealt[*worker].load(Relaxed);
        let idlest = (0..self.dealt.len()).min_by_key(load).unwrap_or(reader);
        let to = if load(&reader) > load(&idlest) + AHEAD { idlest } else { reader };
        self.dealt[to].fetch_add(bytes, Relaxed);
        to
    }
}

/// Records handed to the dataflow, counted where they are decoded and where their epoch is
/// complete.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// Since this state began: `read` and `in_flight`.
    pub handed_over: u64,
    /// Of these, the records whose epoch is not complete.
    pub in_flight: u64,
}

/// To a worker.
pub enum ToWorker {
    /// It owns a partition now.
    Open {
        /// The partition's number.
        partition: u32,
        /// Its reader.
        reader: Box<dyn Reader>,
    },
    /// An epoch is sealed on all workers: its tick.
    Tick {
        /// The epoch.
        epoch: u64,
        /// The tick.
        tick: Tick,
    },
    /// Who owns the index answers.
    Post {
        /// The index.
        index: u64,
        /// Where to.
        reply: Reply,
    },
    /// The end: everything is sealed.
    Exit,
}

/// To the coordinator.
pub enum Event {
    /// A worker took up the first records of its open epoch, or as many as it may.
    Fed {
        /// The epoch.
        epoch: u64,
        /// No more go in.
        full: bool,
    },
    /// A worker closed an epoch.
    Closed(Closed),
    /// An epoch has passed a worker's dataflow.
    Sealed {
        /// Which worker.
        worker: usize,
        /// The epoch.
        epoch: u64,
        /// What it has to say of it.
        sealed: Box<Sealed>,
        /// Seconds it was busy since it last said so.
        busy: f64,
        /// What its operators hold, now and then.
        sizes: Option<Vec<Size>>,
    },
    /// A partition cannot be read now.
    Trouble {
        /// The partition's number.
        partition: u32,
        /// What was seen.
        error: SourceError,
    },
    /// The keeper is done with a cut, or with its end.
    Kept(Result<Kept, Box<EngineError>>),
    /// Someone asks for a post.
    Post {
        /// The index.
        index: u64,
        /// Where to.
        reply: Reply,
    },
    /// A signal that asks for an orderly end: its name.
    Stop(&'static str),
    /// A thread died.
    Died(String),
}

/// What a worker read of a partition in an epoch.
#[derive(Clone, Debug)]
pub struct PartRead {
    /// The partition's number.
    pub partition: u32,
    /// The position to read next.
    pub next: u64,
    /// The latest arrival time that moves the clock; none if none was read.
    pub latest: Option<i64>,
    /// The arrival time of the last message; none if nothing was read.
    pub last: Option<i64>,
    /// The end as last seen.
    pub end: Option<u64>,
    /// Bytes.
    pub bytes: u64,
    /// There was nothing more to read, at least once since it was opened.
    pub idle: bool,
    /// Nothing will ever come any more.
    pub ended: bool,
}

/// A worker's closing of an epoch.
#[derive(Debug)]
pub struct Closed {
    /// The epoch.
    pub epoch: u64,
    /// What was read in it.
    pub read: Vec<PartRead>,
    /// The earliest arrival time of what was read.
    pub earliest: Option<i64>,
}

/// What the keeper has done.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The number of the cut that is durable now, if it was one.
    pub cut: Option<u64>,
    /// Bytes written.
    pub bytes: u64,
    /// Bytes that the state takes up.
    pub disk_bytes: u64,
    /// Bytes of dead letters kept.
    pub dead_letter_bytes: u64,
    /// From its due time until it was durable.
    pub took: Duration,
    /// The next cut must hold all slots.
    pub full_wanted: bool,
    /// It could not be written; the next one holds it too.
    pub trouble: Option<String>,
    /// Bytes that wait in memory to be written.
    pub unwritten_bytes: u64,
    /// A new base is being written in the background.
    pub compacting: bool,
    /// When a sink wants the next one although nothing is read; none if none does.
    pub sinks_due: Option<Instant>,
}
