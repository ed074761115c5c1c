//! What the readers of plain and of compressed files have in common.

use std::collections::BTreeMap;
use std::fs::{File as Disk, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dataflows::batch::{Arrivals, Batch, Given, Positions, Ruled, Span};
use dataflows::record::Rule;
use parking_lot::Mutex;

use super::arrival::Field;
use super::known::{File, Head};
use crate::config::Files;
use crate::source::pool::Pool;
use crate::source::{Read, Setup, SourceError};

/// Files that idle readers may keep open; beyond it they rely on the scans to tell of growth.
const OPEN: usize = 256;

/// So many files are named whose last line lacks its end; the others are counted.
const SAID: u64 = 10;

/// What a file's reader and the scans tell each other.
#[derive(Debug)]
pub struct Shared {
    /// Where it is now.
    pub path: Mutex<PathBuf>,
    /// Device and inode, as last scanned.
    inode: Mutex<(u64, u64)>,
    /// How many scans have seen it.
    scans: AtomicU64,
    /// The position to read next.
    pub at: AtomicU64,
    /// Bytes on disk as last seen by either.
    pub size: AtomicU64,
    /// When it was written last, as last scanned; microseconds since 1970-01-01 UTC.
    pub modified: AtomicI64,
    /// Bytes on disk that the decoder has taken.
    pub raw: AtomicU64,
    /// A compressed file of so many bytes has been read to its end; 0 = not yet.
    pub read: AtomicU64,
    /// It is another file now: this partition is at its end.
    pub replaced: AtomicBool,
}

impl Shared {
    /// A file that no scan of this run has seen yet.
    pub fn new(path: PathBuf) -> Self {
        Shared {
            path: Mutex::new(path),
            inode: Mutex::default(),
            scans: AtomicU64::new(0),
            at: AtomicU64::new(0),
            size: AtomicU64::new(0),
            modified: AtomicI64::new(0),
            raw: AtomicU64::new(0),
            read: AtomicU64::new(0),
            replaced: AtomicBool::new(false),
        }
    }

    /// A scan has seen it.
    pub fn see(&self, inode: (u64, u64), size: u64, modified: i64) {
        *self.inode.lock() = inode;
        self.scans.fetch_add(1, Ordering::Relaxed);
        self.size.store(size, Ordering::Relaxed);
        self.modified.store(modified, Ordering::Relaxed);
    }
}

/// Whether no more files can be opened now.
fn is_full(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|full| code == Some(full.raw_os_error()))
}

/// Counts of a run.
#[derive(Debug, Default)]
pub struct Counts {
    /// New files.
    pub found: AtomicU64,
    /// Files that were no longer what had been read.
    pub changed: AtomicU64,
    /// Files of which the rest is not read.
    pub refused: AtomicU64,
    /// Files whose end is missing, or that of their last line.
    pub unfinished: AtomicU64,
    /// Rows without an arrival time where one is to be in a field: they have that of the row
    /// before.
    pub no_arrival: AtomicU64,
    /// Files open now.
    pub open: AtomicUsize,
}

impl Counts {
    /// The counts by name.
    pub fn named(&self) -> BTreeMap<&'static str, u64> {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed);
        BTreeMap::from([
            ("files_found", of(&self.found)),
            ("files_changed", of(&self.changed)),
            ("files_refused", of(&self.refused)),
            ("files_unfinished", of(&self.unfinished)),
            ("rows_without_arrival", of(&self.no_arrival)),
        ])
    }
}

/// An open file, counted.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub disk: Disk,
    counts: Arc<Counts>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a reader knows whatever the packing.
pub struct Common {
    /// The partition's name.
    pub name: String,
    /// What the scans know.
    pub shared: Arc<Shared>,
    /// It may be one array.
    pub may_be_array: bool,
    /// The run ends at the end.
    pub bounded: bool,
    /// Where a line was that was said to lack its end.
    unfinished: Option<u64>,
    /// Messages longer than this are cut.
    pub max_message: usize,
    /// Used blocks.
    pub pool: Pool,
    /// Counts of the source.
    pub counts: Arc<Counts>,
    /// The field that holds arrival times.
    pub field: Option<Field>,
    /// The arrival time of the latest row; at first when the file was first seen.
    pub arrival: i64,
    /// Nothing more comes.
    pub ended: bool,
    partition: u32,
    rule: Rule,
    head: Head,
    /// After so many scans another inode was where the file was found.
    doubted: Option<u64>,
    clock: crate::source::Clock,
    /// When something was read last.
    active: i64,
}

impl Common {
    /// For a reader of a file.
    pub fn new(
        file: &File,
        partition: u32,
        config: &Files,
        setup: &Setup,
        counts: &Arc<Counts>,
    ) -> Self {
        Common {
            name: file.name.clone(),
            shared: file.shared.clone(),
            may_be_array: file.may_be_array,
            bounded: setup.bounded,
            unfinished: None,
            max_message: setup.max_message,
            pool: Pool::default(),
            counts: counts.clone(),
            field: config.arrival_field.as_deref().map(Field::new),
            arrival: file.seen,
            ended: false,
            partition,
            rule: file.rule,
            head: file.head,
            doubted: None,
            clock: setup.clock.clone(),
            active: i64::MIN,
        }
    }

    /// Opens the file; none if that has to wait. A followed one waits while another file is where
    /// it was found: it may have been renamed since, which only a scan can tell.
    pub fn open(&mut self) -> Result<Option<Opened>, SourceError> {
        let path = self.shared.path.lock().clone();
        match Disk::open(&path) {
            Ok(disk) => {
                self.counts.open.fetch_add(1, Ordering::Relaxed);
                let opened = Opened { disk, counts: self.counts.clone() };
                if self.bounded {
                    return Ok(self.same(&opened)?.then_some(opened));
                }
                let meta = opened.disk.metadata().map_err(|e| self.unavailable("reading", &e))?;
                Ok((self.is_found(&meta) && self.fits(&opened)?).then_some(opened))
            }
            // Renamed since the last scan, or too many files are open: the next look will tell.
            Err(error) if !self.bounded || is_full(&error) => Ok(None),
            Err(error) => Err(self.unavailable("opening", &error)),
        }
    }

    /// Whether an opened file has the inode that scans saw. There are file systems where inodes
    /// change by themselves: once a further scan has seen it where it is, it may have another.
    fn is_found(&mut self, meta: &Metadata) -> bool {
        let scans = self.shared.scans.load(Ordering::Relaxed);
        let found = !self.is_copied(meta);
        let seen_since = self.doubted.is_some_and(|doubted| doubted != scans);
        self.doubted = (!found).then(|| self.doubted.unwrap_or(scans));
        found || seen_since
    }

    /// Whether scans found a followed file with another inode, as a copy in the same place.
    pub fn is_copied(&self, meta: &Metadata) -> bool {
        !self.bounded && *self.shared.inode.lock() != (meta.dev(), meta.ino())
    }

    /// Whether an open file is still the one that was found; if not, this partition has ended.
    pub fn same(&mut self, opened: &Opened) -> Result<bool, SourceError> {
        if self.fits(opened)? { Ok(true) } else { self.replaced().map(|()| false) }
    }

    fn fits(&self, opened: &Opened) -> Result<bool, SourceError> {
        self.head.fits(&opened.disk).map_err(|e| self.unavailable("reading", &e))
    }

    /// The file is no longer the one that was found.
    pub fn replaced(&mut self) -> Result<(), SourceError> {
        self.shared.replaced.store(true, Ordering::Relaxed);
        self.ended = true;
        let at = self.shared.at.load(Ordering::Relaxed);
        if self.bounded {
            return Err(self.changed(&format!("it is not the file of which {at} bytes were read")));
        }
        tracing::debug!(file = %self.name, "no longer the same file");
        Ok(())
    }

    /// The error of a file that is no longer what was read.
    pub fn changed(&self, how: &str) -> SourceError {
        SourceError::Changed { what: format!("reading {}: {how}", self.name) }
    }

    /// The error of a file that cannot be read now.
    pub fn unavailable(&self, doing: &str, error: &std::io::Error) -> SourceError {
        SourceError::Unavailable { what: format!("{doing} {}: {error}", self.name) }
    }

    /// The rest of the file is not read.
    pub fn refuse(&mut self, why: &str) -> SourceError {
        self.ended = true;
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        SourceError::Refused { what: format!("reading {}: {why}", self.name) }
    }

    /// The line at a position is not read, as its end is missing: that is counted, and said of the
    /// first of such files.
    pub fn unfinished(&mut self, at: u64) {
        if self.unfinished.replace(at) == Some(at) {
            return;
        }
        if self.counts.unfinished.fetch_add(1, Ordering::Relaxed) < SAID {
            let next = if self.bounded { "a later run reads it" } else { "it is waited for" };
            tracing::warn!(file = %self.name, at, "the last line lacks its end: {next}");
        }
    }

    /// Whether a reader that waits should close its file.
    pub fn crowded(&self) -> bool {
        self.counts.open.load(Ordering::Relaxed) > OPEN
    }

    /// Nothing now. A file that was written a moment ago is looked at every millisecond, one
    /// that has long been still hardly at all.
    pub fn idle(&mut self) -> Read {
        self.pool.clear();
        Read::Idle(self.patience())
    }

    /// How long to wait before the next look.
    pub fn patience(&self) -> Duration {
        let active = self.active.max(self.shared.modified.load(Ordering::Relaxed));
        let still = (self.clock)().saturating_sub(active) / 1_000_000;
        Duration::from_millis(match still {
            ..2 => 1,
            2..10 => 4,
            10..60 => 50,
            60..600 => 250,
            _ => 1000,
        })
    }

    /// Messages of a block that begins at a position.
    pub fn batch(&mut self, at: u64, bytes: Vec<u8>, spans: Vec<Span>, next: u64) -> Read {
        self.active = (self.clock)();
        let (arrivals, arrival_given) = match &self.field {
            None => (Arrivals::One(self.arrival), Given::All(false)),
            Some(field) => {
                let latest = &mut self.arrival;
                let each = spans.iter().map(|s| {
                    let row = &bytes[s.start as usize..][..s.len as usize];
                    let found = field.of(row);
                    *latest = found.unwrap_or(*latest);
                    (*latest, found.is_some())
                });
                let (each, given): (Vec<i64>, Vec<bool>) = each.unzip();
                let lacking = given.iter().filter(|given| !**given).count() as u64;
                if lacking > 0 && self.counts.no_arrival.fetch_add(lacking, Ordering::Relaxed) == 0
                {
                    let (path, field) = (self.shared.path.lock().clone(), field.name());
                    tracing::warn!(
                        ?path,
                        field,
                        "rows without an arrival time have that of the row before"
                    );
                }
                (Arrivals::Each(each), given.into())
            }
        };
        self.shared.at.store(next, Ordering::Relaxed);
        Read::Batch(Batch {
            partition: self.partition,
            block: self.pool.give(bytes),
            spans,
            positions: Positions::Bytes(at),
            first_sub: 0,
            arrivals,
            arrival_given,
            ruled: Ruled::All(self.rule),
            next,
        })
    }
}
