//! JSON Lines files and folders, plain or compressed, read to their ends or followed as they
//! grow and appear.
//!
//! A partition is a file; its name is the path as configured (and below a folder, joined), with
//! `%XX` for bytes that are no UTF-8, for control characters, `%` and `#`, so that no two paths
//! share a name. A position is a byte offset in the decoded file. A line is a record; lines of
//! nothing but blanks are none; `\r` before the end and a byte order mark at the head of the file
//! are not part of one. A file `*.json` whose first line opens an array that it does not close
//! is one message.
//!
//! Promises: a file is the same partition after a rename, and after a copy to the same place, also
//! where its new name (`NAME.1`) would not be read by itself; folders of our own, and of other
//! states, are not read; a file arrives at the moment of the scan that saw it first, which is
//! durable before it is read; a last line without its end waits for it: always where a plain file
//! is followed; in a bounded run where it is the beginning of a JSON text; where a compressed file
//! that is whole is followed unless it is a JSON text.
//! Limits: a compressed file may unpack to `max_unpacked`; of a message longer than
//! `Setup::max_message` only that much is delivered; a scan takes at most a hundredth of the time.
//! What can go wrong: a path or file that cannot be read (bounded: `Unavailable`; followed: status,
//! looked at again at the next scan); a file that was read is another one now (followed: read anew
//! as `path#2`, counted; bounded: `Changed`); a damaged or too large compressed file, or, bounded,
//! one whose end is missing (`Refused`).

mod arrival;
mod common;
mod known;
mod lines;
mod packed;
mod plain;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use self::common::{Common, Counts};
use self::known::Known;
use self::packed::PackedReader;
use self::plain::PlainReader;
use self::scan::{Packing, Passed};
use super::glob::Routes;
use super::{Discovery, Done, Memos, Reader, Setup, Source, SourceError};
use crate::config::Files;

/// Files and folders as a source.
pub struct FilesSource {
    name: String,
    config: Files,
    routes: Routes,
    setup: Setup,
    known: Known,
    counts: Arc<Counts>,
    /// How long the last scan took.
    took: Duration,
    scanned: bool,
    /// What the last scan could not read, each with why.
    troubles: Vec<String>,
    /// How many files were said to be passed over, and when.
    told: Option<(usize, Instant)>,
}

/// Whether what is written into a folder that a source reads would be read; `json`: its names end
/// as those of JSON do.
pub fn would_read(config: &Files, dir: &Path, json: bool) -> bool {
    if config.input_layout {
        return !scan::stream_names().any(|name| dir.join(name).is_file());
    }
    json
}

/// What is read of a folder in `paths`, in words.
const WANTED: &str = "in folders every file below them that ends in .jsonl, .json, .ndjson, .gz or \
                      .zst and is not hidden, without the folders of states and sinks";

/// How often it is said that more files are passed over.
const TOLD: Duration = Duration::from_mins(10);

impl FilesSource {
    /// The files of a configuration; nothing is looked at yet.
    pub(super) fn new(name: &str, config: &Files, routes: Routes, setup: Setup) -> Self {
        FilesSource {
            name: name.to_owned(),
            config: config.clone(),
            routes,
            known: Known::default(),
            counts: Arc::default(),
            setup,
            took: Duration::ZERO,
            scanned: false,
            troubles: Vec::new(),
            told: None,
        }
    }

    /// Says how many files of folders are not read for what they are called, if more than before.
    fn tell_passed(&mut self, passed: Passed, now: Instant) {
        if is_news(self.told, passed.files, now) {
            self.told = Some((passed.files, now));
            let (files, some, source) = (passed.files, passed.some.join(", "), &self.name);
            let wanted = WANTED;
            tracing::info!(
                source,
                files,
                some,
                wanted,
                "files and folders are passed over for their names, or for what wrote them"
            );
        }
    }

    /// Says that a bounded run has nothing to read, and what would have been.
    fn nothing(&self) {
        let paths = self.config.paths.iter().map(|p| p.display().to_string());
        let paths = paths.collect::<Vec<_>>().join(", ");
        let wanted = if self.config.input_layout {
            "pin, geo or user .jsonl, .jsonl.gz or .jsonl.zst, else every file below it that is \
             not hidden"
        } else {
            &format!("files, and {WANTED}")
        };
        tracing::warn!(
            source = self.name,
            paths,
            wanted,
            "nothing to read: no file, or only empty"
        );
    }
}

/// Whether so many files that are passed over have to be said, after what was said before.
fn is_news(before: Option<(usize, Instant)>, files: usize, now: Instant) -> bool {
    let long_ago = |at: Instant| now.saturating_duration_since(at) >= TOLD;
    before.map_or(files > 0, |(said, at)| files > said && long_ago(at))
}

impl Source for FilesSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn restore(&mut self, memos: &Memos, positions: &[(String, u64)]) -> Result<(), SourceError> {
        self.known.restore(&self.name, memos, positions)
    }

    fn discover(&mut self) -> Result<Discovery, SourceError> {
        let bounded = self.setup.bounded;
        if bounded && self.scanned {
            return Ok(Discovery { complete: true, ..Discovery::default() });
        }
        let start = Instant::now();
        self.troubles.clear();
        let told = scan::Told {
            source: &self.name,
            bounded,
            own: &self.setup.own,
            is_known: &|inode| self.known.has_inode(inode),
        };
        let (seen, passed) = scan::scan(&told, &self.config, &self.routes, &mut self.troubles)?;
        self.tell_passed(passed, start);
        let empty = seen.iter().all(|file| file.size == 0);
        let now = (self.setup.clock)();
        let mut memos = self.known.finished();
        let (found, mut still) =
            self.known.resolve(&self.name, seen, now, bounded, &self.counts, &mut memos)?;
        if bounded && empty {
            self.nothing();
        }
        self.troubles.append(&mut self.known.unreadable);
        self.took = start.elapsed();
        if std::mem::replace(&mut self.scanned, true) {
            still.clear();
        }
        Ok(Discovery { found, still, memos, complete: bounded, pending: false })
    }

    fn interval(&self) -> Duration {
        self.config.scan_interval.max(self.took * 100)
    }

    fn open(
        &mut self,
        name: &str,
        partition: u32,
        at: u64,
    ) -> Result<Box<dyn Reader>, SourceError> {
        let Some(file) = self.known.get(name) else {
            let what = format!("opening {name}: no scan has found it");
            return Err(SourceError::Unavailable { what });
        };
        file.shared.at.store(at, Ordering::Relaxed);
        let common = Common::new(file, partition, &self.config, &self.setup, &self.counts);
        Ok(match file.packing {
            Packing::Plain => Box::new(PlainReader::new(common, at)),
            Packing::Gzip | Packing::Zstd => {
                let most = self.config.max_unpacked_bytes;
                Box::new(PackedReader::new(common, at, file.packing, most))
            }
        })
    }

    fn stop(&mut self) -> Memos {
        self.known.finished()
    }

    fn progress(&self) -> Option<Done> {
        let (done, total) = self.known.progress();
        self.setup.bounded.then_some(Done { done, total, bytes: true })
    }

    fn trouble(&self) -> Option<String> {
        let (first, others) = self.troubles.split_first()?;
        Some(match others.len() {
            0 => first.clone(),
            n => format!("{first}; and {n} more like it"),
        })
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.counts.named()
    }
}
