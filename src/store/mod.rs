//! The durable state: cuts, generations, recovery.
//!
//! Promises: what [`Store::commit`] returned `Ok` for is found again by [`Store::open`] after any
//! crash, with everything before it and nothing after it; damage is found by checksum, the newest
//! undamaged cut is used, and what that means is said. A file whose sync failed is never trusted
//! or written again.
//!
//! The store knows nothing of timely or of what a slot means: slots are entries of blocks
//! ([`dataflows::assemble::block`]), of which the newest per index and part holds.
//!
//! ```text
//! STATE/lock                 held while a process uses the state
//! STATE/manifest.json        the promise: what is durable (for people, and to judge damage by)
//! STATE/gen-000007/log       a first frame, then one frame a cut; a whole frame = a commit
//! STATE/gen-000007/base      the state just before the first cut of that log
//! STATE/dead-letters-0.jsonl rejected records
//! STATE/damaged/             what was found damaged
//! STATE/former/              the state before `--rebuild`, until the new one has caught up
//! ```
//!
//! A new generation begins when the logs since the newest base exceed it (and
//! [`Options::compact_min`]): first its log, so that commits go on, then its base, in the
//! background. The generations before the last base but one are removed once the newest base was
//! read back. On disk are at most two bases, the logs behind each, and a base being written.

mod compact;
mod cut;
pub mod dead;
pub mod disk;
mod error;
pub mod fault;
mod frame;
mod generations;
mod ledger;
mod letter;
mod lines;
mod log;
mod manifest;
mod open;
mod rebuild;
mod recover;
mod repair;
pub mod scripted;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::warn;

pub use cut::{CommitInfo, Cut, Head, Partition, Restored};
use disk::{Disk, Guard};
pub use error::{StoreError, io_error, is_full};
use generations::Running;
pub use ledger::{Coarser, Ledger};
use log::Log;
pub use manifest::{Difference, Fingerprint, Manifest, differences};
use manifest::{FORMAT, Prior, Start};
pub use open::{ReadOnly, check_fingerprint, fingerprint_of, generation_path, is_state};
pub use rebuild::{aside_folder, begin_rebuild, begin_rebuild_on, former_folder};

/// So much memory is kept for the next frame.
const BUFFER: usize = 16 << 20;

/// Where new bases are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// By a thread of their own.
    Background,
    /// Within `commit`, for tests that count every write.
    Inline,
}

/// How to use a state folder.
#[derive(Clone, Debug)]
pub struct Options {
    /// What decides the meaning of the state, item by item; compared with that of the state.
    pub fingerprint: Fingerprint,
    /// A new base is due when the logs since the last exceed it and this; bytes.
    pub compact_min: u64,
    /// The first base is due when the logs exceed this; bytes.
    pub compact_first: u64,
    /// Where new bases are written.
    pub compaction: Compaction,
    /// How they keep what is old of the ledger.
    pub coarser: Option<Coarser>,
}

impl Options {
    /// The usual ones: a first base at 1 MiB, so that a small state too stands in two files;
    /// later ones at 64 MiB or the size of the last.
    pub fn new(fingerprint: Fingerprint) -> Self {
        Options {
            fingerprint,
            compact_min: 64 << 20,
            compact_first: 1 << 20,
            compaction: Compaction::Background,
            coarser: None,
        }
    }
}

/// Sizes, for metrics and `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The generation that is appended to.
    pub generation: u64,
    /// Bytes of the newest base.
    pub base_bytes: u64,
    /// Bytes of the logs behind it.
    pub log_bytes: u64,
    /// Bases written by this process.
    pub bases_written: u64,
    /// Bytes of these.
    pub bases_written_bytes: u64,
    /// Bases that could not be written.
    pub bases_failed: u64,
    /// A base is being written.
    pub compacting: bool,
}

/// A file of the state that is no longer written.
#[derive(Clone, Debug)]
struct Closed {
    generation: u64,
    base: bool,
    len: u64,
    /// Entries of slots in it. All that was restored count as those of the log that was open.
    entries: u64,
}

/// The durable state, held by one process.
pub struct Store {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    _lock: Guard,
    options: Options,
    state: String,
    fingerprint: Fingerprint,
    /// The files that make up the state before the open log.
    closed: Vec<Closed>,
    log: Log,
    /// Entries of slots in it.
    log_entries: u64,
    /// Generations that begin with a whole state; true = as a base.
    starts: BTreeMap<u64, bool>,
    /// Generations with a folder, and from where on all have a log.
    kept: BTreeSet<u64>,
    oldest: u64,
    head: Head,
    ledger: Ledger,
    /// The grain of time in which it was last folded.
    folded: i64,
    lost: Option<String>,
    running: Option<Running>,
    compact_now: bool,
    compact_not_before: u64,
    figures: Figures,
    /// The memory that frames are put together in.
    buffer: Vec<u8>,
}

impl Store {
    /// Stores a cut; durable when it returns. After an error nothing of the cut is in the state:
    /// merge it with the next ([`Cut::merge`]) and commit that.
    pub fn commit(&mut self, cut: &Cut) -> Result<CommitInfo, StoreError> {
        let begun = Instant::now();
        self.take_base();
        if let Some(what) = &self.lost {
            return Err(StoreError::NeedsFull { what: what.clone() });
        }
        let frame = log::cut_frame(cut, std::mem::take(&mut self.buffer))?;
        self.append(&frame)?;
        let bytes = frame.len();
        self.buffer = frame;
        self.buffer.shrink_to(BUFFER);
        self.log_entries += cut.entries();
        self.head.merge(&cut.head);
        self.ledger.add(&cut.ledger).map_err(|what| StoreError::Malformed { what })?;
        Ok(self.after_commit(bytes, begun))
    }

    /// Whether only a cut of the whole state helps, by [`Store::commit_full`].
    pub fn needs_full(&self) -> bool {
        self.lost.is_some()
    }

    /// Stores a cut whose slots and texts are those of the whole state, head and ledger those
    /// since the last stored cut; it stands on none of the older files.
    pub fn commit_full(&mut self, cut: &Cut) -> Result<CommitInfo, StoreError> {
        let begun = Instant::now();
        self.stop_base();
        let (mut head, mut ledger) = (self.head.clone(), self.ledger.clone());
        head.merge(&cut.head);
        ledger.add(&cut.ledger).map_err(|what| StoreError::Malformed { what })?;
        let frame = log::full_frame(&head, &ledger, cut)?;
        let start = self.start(self.log.generation + 1, None);
        let mut log = Log::create(&*self.disk, &self.dir, &start)
            .map_err(io_error("begin a generation in", &self.dir))?;
        log.append(&frame).map_err(io_error("append a cut to", &log.path))?;
        self.lost = None;
        self.closed.clear();
        self.starts.insert(log.generation, false);
        self.kept.insert(log.generation);
        (self.log, self.log_entries) = (log, cut.entries());
        (self.head, self.ledger) = (head, ledger);
        Ok(self.after_commit(frame.len(), begun))
    }

    /// Compares a fingerprint with the state's.
    pub fn check_fingerprint(&self, fingerprint: &Fingerprint) -> Result<(), StoreError> {
        open::check_fingerprint(&self.dir, &self.fingerprint, fingerprint)
    }

    /// The state's id, drawn when it began.
    pub fn state_id(&self) -> &str {
        &self.state
    }

    /// The head of everything committed so far.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The state folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The disk it is on.
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// Sizes.
    pub fn figures(&self) -> Figures {
        let base = self.closed.first().filter(|file| file.base);
        Figures {
            generation: self.log.generation,
            base_bytes: base.map_or(0, |file| file.len),
            log_bytes: self.log_bytes(),
            compacting: self.running.is_some(),
            ..self.figures
        }
    }

    fn start(&self, generation: u64, prior: Option<Prior>) -> Start {
        Start {
            format: FORMAT,
            state: self.state.clone(),
            generation,
            prior,
            fingerprint: self.fingerprint.clone(),
        }
    }

    fn log_bytes(&self) -> u64 {
        self.log.len + self.closed.iter().filter(|f| !f.base).map(|f| f.len).sum::<u64>()
    }

    fn append(&mut self, frame: &[u8]) -> Result<(), StoreError> {
        if self.log.lost {
            self.replace_log()?;
        }
        let Err(e) = self.log.append(frame) else {
            return Ok(());
        };
        if !self.log.lost {
            return Err(io_error("append a cut to", &self.log.path)(e));
        }
        warn!(file = %self.log.path.display(), error = %e, "a sync failed, going on in a new file");
        self.replace_log()?;
        self.log.append(frame).map_err(io_error("append a cut to", &self.log.path))
    }

    /// Goes on in a new log after the old one was lost behind its durable length. What was synced
    /// before is read back; if it is not there any more, only a whole cut helps.
    fn replace_log(&mut self) -> Result<(), StoreError> {
        self.log.file().forget_cached(0..u64::MAX);
        let read = frame::scan(self.log.file()).map(|scan| scan.good >= self.log.len);
        if !matches!(read, Ok(true)) {
            let what = format!("{} does not read back as it was synced", self.log.path.display());
            self.lost = Some(what.clone());
            return Err(StoreError::NeedsFull { what });
        }
        self.next_generation()?;
        self.compact_now = true;
        Ok(())
    }

    /// Begins the next generation's log, which continues this one.
    fn next_generation(&mut self) -> Result<(), StoreError> {
        let prior = Prior { generation: self.log.generation, len: self.log.len };
        let start = self.start(self.log.generation + 1, Some(prior));
        let log = Log::create(&*self.disk, &self.dir, &start)
            .map_err(io_error("begin a generation in", &self.dir))?;
        let Prior { generation, len } = prior;
        let entries = std::mem::take(&mut self.log_entries);
        self.closed.push(Closed { generation, base: false, len, entries });
        self.kept.insert(log.generation);
        self.log = log;
        Ok(())
    }

    fn after_commit(&mut self, bytes: usize, begun: Instant) -> CommitInfo {
        let manifest_behind = !self.write_manifest();
        let (duration, generation) = (begun.elapsed(), self.log.generation);
        if !manifest_behind {
            self.remove_old();
        }
        self.fold();
        self.begin_base();
        CommitInfo { bytes: bytes as u64, duration, generation, manifest_behind }
    }

    /// Puts old counts together, once a grain of time: a new base may be days away.
    fn fold(&mut self) {
        let Some(coarser) = self.options.coarser else { return };
        let grain = self.head.now.div_euclid(coarser.grain.max(1));
        if grain > self.folded {
            self.ledger.fold(coarser, self.head.now);
            self.folded = grain;
        }
    }

    /// Writes the manifest. That it cannot be written costs no cut: the log holds it.
    fn write_manifest(&self) -> bool {
        let bases = self.starts.iter().filter(|(_, base)| **base).map(|(number, _)| *number);
        let manifest = Manifest {
            format: FORMAT,
            state: self.state.clone(),
            generation: self.log.generation,
            log_bytes: self.log.len,
            oldest: self.oldest,
            bases: bases.collect(),
            cut: self.head.cut,
            run: self.head.run,
            epoch: self.head.epoch,
            now: self.head.now,
            fingerprint: self.fingerprint.clone(),
            checksum: String::new(),
        };
        match manifest.write(&*self.disk, &self.dir) {
            Ok(()) => true,
            Err(e) => {
                warn!(error = %e, cut = manifest.cut, "the manifest could not be written");
                false
            }
        }
    }

    /// Removes the generations that are no longer needed, after the manifest has said so.
    fn remove_old(&mut self) {
        let Some(first) = self.starts.keys().next().copied() else {
            return;
        };
        while let Some(number) = self.kept.first().copied().filter(|number| *number < first) {
            fault::point("before_delete");
            let old = self.dir.join(format!("old-{number:06}"));
            let removed = self
                .disk
                .rename(&log::generation_dir(&self.dir, number), &old)
                .and_then(|()| disk::remove_all(&*self.disk, &old));
            if let Err(e) = removed {
                // The next start removes it.
                warn!(error = %e, generation = number, "an old generation is still there");
            }
            self.kept.remove(&number);
            fault::point("after_delete");
        }
    }
}

impl Closed {
    fn name(&self) -> &'static str {
        if self.base { "base" } else { "log" }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.store(true, Ordering::Relaxed);
            // Its temporary file is removed at the next start if it could not be now.
            let _ = running.thread.join();
        }
    }
}
