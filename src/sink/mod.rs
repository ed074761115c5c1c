//! Where cleaned rows go, and dead letters beside the disk. Of rows there is one trait; every sink
//! follows the same protocol in its own way.
//!
//! Promises: *outputs before inputs*. What [`Sink::prepare_cut`] returned a mark for is durable
//! before the cut that holds the mark; what lies behind the newest stored mark is not seen by
//! readers of finished output, and is written again, not twice. So a row stands there exactly
//! once, whatever crashed when.

pub mod files;
pub mod letters;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dataflows::record::Stream;
use dataflows::sealed::CleanRows;
use serde_json::Value;

use crate::config;
use crate::store::Partition;
use crate::store::disk::Disk;

/// The name of a cleaned table by its number.
pub fn table_name(number: usize) -> &'static str {
    Stream::ALL[number].name()
}

/// What a sink is told at start.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    /// The state's id.
    pub state: &'a str,
    /// The sink's mark in the restored cut; none = that cut knows nothing of this sink.
    pub mark: Option<&'a Value>,
    /// How far the state has read, by source and partition: the positions to read next.
    pub next: &'a BTreeMap<(String, String), u64>,
    /// The state has read something already.
    pub started: bool,
    /// The state lost cuts that had been stored: the sink may be ahead of it.
    pub fell_back: bool,
}

/// A sink of cleaned rows.
///
/// The order of calls: `begin`; then `write` for each epoch; at a cut `prepare_cut`, and
/// `after_cut` once the cut that holds the mark is stored (if it could not be stored,
/// `prepare_cut` again with the next); `finish` after the last `after_cut` of an orderly end.
pub trait Sink: Send {
    /// Under which name its mark stands in the cut; unique among the sinks of a state.
    fn name(&self) -> &str;

    /// Puts the output into the state of the mark. Sentences worth a warning come back.
    fn begin(&mut self, begin: &Begin<'_>) -> Result<Vec<String>, SinkError>;

    /// Takes the rows of one epoch, or of several that follow each other; `partitions` by number. A
    /// full disk is no error before much is held in memory. After an error the sink is used no
    /// more.
    fn write(&mut self, partitions: &[Partition], rows: Vec<CleanRows>) -> Result<(), SinkError>;

    /// Bytes of rows that are held in memory until they are written.
    fn held_bytes(&self) -> u64;

    /// When it wants a cut although no rows come; none if it can wait.
    fn due(&self) -> Option<Instant>;

    /// Makes all rows so far durable; the mark. After an error that [is
    /// transient](SinkError::is_transient) it is called again later.
    fn prepare_cut(&mut self) -> Result<Value, SinkError>;

    /// The cut that holds the newest mark is stored.
    fn after_cut(&mut self) -> Result<(), SinkError>;

    /// An orderly end: what the newest stored mark covers becomes finished output.
    fn finish(&mut self) -> Result<(), SinkError>;
}

/// A sink as configured, on a disk.
pub fn open(config: &config::Sink, disk: Arc<dyn Disk>) -> Box<dyn Sink> {
    match config {
        config::Sink::Files(files) => Box::new(files::FilesSink::new(files.clone(), disk)),
    }
}

/// What can go wrong with a sink.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The output is not this state's.
    #[error("{what}; give the sink a new folder, or the state that the folder belongs to")]
    Refused {
        /// What was found.
        what: String,
    },
    /// Output that the state counts on is gone.
    #[error("{what}; put it back, or start with `--rebuild` and a new folder")]
    Changed {
        /// What was found.
        what: String,
    },
    /// No room on the disk for so long that too much is held in memory.
    #[error(
        "no room for cleaned rows in {}: {held} bytes are waiting; make room there and start again",
        dir.display()
    )]
    Full {
        /// The folder.
        dir: PathBuf,
        /// Bytes in memory.
        held: usize,
    },
    /// The disk refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// The same may succeed later.
        transient: bool,
    },
}

impl SinkError {
    /// The exit code that a process ends with for this.
    pub fn exit_code(&self) -> u8 {
        match self {
            SinkError::Refused { .. } => 78,
            SinkError::Changed { .. } => 65,
            SinkError::Full { .. } | SinkError::Io { .. } => 74,
        }
    }

    /// Whether the same call may succeed later without a restart: the disk is full.
    pub fn is_transient(&self) -> bool {
        matches!(self, SinkError::Io { transient: true, .. })
    }

    /// Makes an [`io::Error`] one that says what was being done.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| SinkError::Io { what, path, source, transient: false }
    }
}
