//! The files that are known, and which of those a scan sees they are.
//!
//! A file is itself by its inode and the hash of its head (so a rename changes nothing), or by
//! its path and the hash of its head (so a copy to the same place changes nothing). It is another
//! one when its head is another, or when it is shorter than what was read of it.
//!
//! Promises: one file is one partition, under whatever paths; every name is used once.
//! Limits: the head is the first min(size at first sight, 1024) bytes; a file whose later bytes
//! are rewritten in place is not noticed. Memory is one entry a file ever seen.

use std::collections::{HashMap, HashSet};
use std::fs::File as Disk;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dataflows::record::Rule;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::common::{Counts, Shared};
use super::scan::{Packing, Seen};
use crate::source::{Found, Memos, SourceError};

/// Bytes of a file's head that tell it from others.
const HEAD: u64 = 1024;

/// A followed file that was written so lately is opened even if nothing is left of it, so that
/// its growth is seen before the next scan; microseconds.
const LIVELY: i64 = 600_000_000;

/// The first bytes of a file, as their number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head(u64, u64);

impl Head {
    /// The head of an open file of so many bytes.
    fn of(file: &Disk, size: u64) -> io::Result<Self> {
        let mut bytes = vec![0; size.min(HEAD) as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Head(bytes.len() as u64, xxh3_64(&bytes)))
    }

    /// Whether an open file still begins like this.
    pub fn fits(self, file: &Disk) -> io::Result<bool> {
        let mut bytes = [0; HEAD as usize];
        let bytes = &mut bytes[..self.0.min(HEAD) as usize];
        match file.read_exact_at(bytes, 0) {
            Ok(()) => Ok(xxh3_64(bytes) == self.1),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What is remembered of a file, as a memo under its partition's name.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Memo {
    /// When it was first seen, microseconds since 1970-01-01 UTC.
    seen: i64,
    ino: u64,
    head: Head,
    /// Its path, as text, where that is not its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// A compressed file of so many bytes has been read to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read: Option<u64>,
}

/// A known file.
#[derive(Debug)]
pub struct File {
    /// The partition's name.
    pub name: String,
    /// What rules it.
    pub rule: Rule,
    /// How it is packed.
    pub packing: Packing,
    /// It may be one array.
    pub may_be_array: bool,
    /// When it was first seen.
    pub seen: i64,
    /// How it begins.
    pub head: Head,
    /// What its reader and the scans tell each other.
    pub shared: Arc<Shared>,
    ino: u64,
    /// The path as text.
    text: String,
    /// Inode, size and time of writing at the last scan.
    last: (u64, u64, i64),
    /// Handed out in this run.
    opened: bool,
    /// A memo says that it was read to its end at this size.
    read: u64,
}

impl File {
    fn memo(&self) -> serde_json::Value {
        let memo = Memo {
            seen: self.seen,
            ino: self.ino,
            head: self.head,
            path: (base(&self.name) != self.text).then(|| self.text.clone()),
            read: (self.read > 0).then_some(self.read),
        };
        serde_json::to_value(memo).expect("numbers and texts are JSON")
    }

    /// Whether this may be the file seen: it begins the same and is not shorter than before.
    fn fits(&self, seen: &Seen) -> io::Result<bool> {
        let least = match seen.packing {
            Packing::Plain => self.shared.at.load(Ordering::Relaxed),
            _ => self.read,
        };
        if self.shared.replaced.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let disk = Disk::open(&seen.path)?;
        // Its size as it is now: since the scan looked it may have grown, and been read on.
        if disk.metadata()?.len() < least {
            return Ok(false);
        }
        self.head.fits(&disk)
    }

    fn left(&self) -> bool {
        match self.packing {
            Packing::Plain => self.last.1 > self.shared.at.load(Ordering::Relaxed),
            _ => self.last.1 != self.read,
        }
    }
}

/// A partition's name without its version.
fn base(name: &str) -> &str {
    name.split_once('#').map_or(name, |(base, _)| base)
}

/// The version in a partition's name.
fn version(name: &str) -> u32 {
    name.split_once('#').and_then(|(_, v)| v.parse().ok()).unwrap_or(1)
}

/// All known files.
#[derive(Debug, Default)]
pub struct Known {
    files: Vec<File>,
    by_name: HashMap<String, usize>,
    by_path: HashMap<String, usize>,
    /// Those that had an inode one after the other, the latest last: a file system uses it again.
    by_ino: HashMap<u64, Vec<usize>>,
    /// The moment of the latest scan that found something.
    latest: i64,
    /// Versions of each path so far.
    versions: HashMap<String, u32>,
    /// Files that were there at the last scan and could not be read, each with why.
    pub unreadable: Vec<String>,
}

impl Known {
    /// Takes back what was remembered.
    pub fn restore(
        &mut self,
        source: &str,
        memos: &Memos,
        positions: &[(String, u64)],
    ) -> Result<(), SourceError> {
        let read = |(name, memo): (&String, &serde_json::Value)| {
            let memo: Memo = serde_json::from_value(memo.clone()).map_err(|error| {
                let what = format!("taking back what source {source} remembers of {name}: {error}");
                SourceError::Changed { what }
            })?;
            Ok((name.clone(), memo))
        };
        let mut memos: Vec<_> = memos.iter().map(read).collect::<Result<_, SourceError>>()?;
        memos.sort_by_key(|(name, memo)| (memo.seen, version(name)));
        for (name, memo) in &memos {
            let text = memo.path.clone().unwrap_or_else(|| base(name).to_owned());
            self.latest = self.latest.max(memo.seen);
            self.add(File {
                name: name.clone(),
                rule: Rule::Auto,
                packing: Packing::Plain,
                may_be_array: false,
                seen: memo.seen,
                head: memo.head,
                shared: Arc::new(Shared::new(PathBuf::new())),
                ino: memo.ino,
                text,
                last: (0, 0, 0),
                opened: false,
                read: memo.read.unwrap_or(0),
            });
        }
        for (name, at) in positions {
            if let Some(file) = self.get(name) {
                file.shared.at.store(*at, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The file of a partition.
    pub fn get(&self, name: &str) -> Option<&File> {
        self.by_name.get(name).map(|id| &self.files[*id])
    }

    /// Whether an inode is that of a file that is known.
    pub fn has_inode(&self, inode: u64) -> bool {
        self.by_ino.contains_key(&inode)
    }

    fn add(&mut self, file: File) {
        let id = self.files.len();
        let version = version(&file.name);
        let versions = self.versions.entry(base(&file.name).to_owned()).or_default();
        // Of the versions of a path the last is the one that may still be there.
        let newest = version > *versions;
        *versions = version.max(*versions);
        if newest || !self.by_path.contains_key(&file.text) {
            self.by_path.insert(file.text.clone(), id);
        }
        self.by_ino.entry(file.ino).or_default().push(id);
        self.by_name.insert(file.name.clone(), id);
        self.files.push(file);
    }

    /// Matches what a scan saw with what is known; gives what is to be opened, and the memos of
    /// what is new. Also the names of those that are there, have nothing left, or are empty now,
    /// and were not opened in this run.
    pub fn resolve(
        &mut self,
        source: &str,
        seen: Vec<Seen>,
        now: i64,
        bounded: bool,
        counts: &Counts,
        memos: &mut Memos,
    ) -> Result<(Vec<Found>, Vec<String>), SourceError> {
        self.unreadable.clear();
        // A later scan's moment is never the earlier one, whatever the clock does.
        let now = now.max(self.latest);
        let (mut matched, mut emptied) = (HashSet::new(), Vec::new());
        let mut inodes = HashSet::new();
        let rest = self.match_known(source, seen, bounded, memos, &mut matched, &mut inodes)?;
        for file in rest {
            if file.renamed || !inodes.insert(file.inode) {
                // Another file with a known one's inode, which by its name is not read; or a
                // second path to what is known.
                continue;
            }
            let old = self.by_path.get(&file.text).copied().filter(|id| !matched.contains(id));
            // An empty one is followed for what comes, which tells it; nothing comes in a bounded
            // run.
            if let Some(old) = old
                && (bounded || file.size > 0)
            {
                self.changed(source, old, &file, bounded, counts)?;
            }
            if file.size == 0 {
                emptied.extend(old);
                continue;
            }
            let head = Disk::open(&file.path).and_then(|disk| Head::of(&disk, file.size));
            match head {
                Ok(head) => {
                    self.latest = now;
                    let id = self.begin(file, head, now);
                    matched.insert(id);
                    memos.insert(self.files[id].name.clone(), self.files[id].memo());
                    counts.found.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => self.unreadable(source, &file.path, &error, bounded)?,
            }
        }
        let mut found = Vec::new();
        let mut ids: Vec<usize> = matched.into_iter().collect();
        ids.sort_unstable();
        for id in &ids {
            let file = &mut self.files[*id];
            let lively = !bounded && now.saturating_sub(file.last.2) < LIVELY;
            if !file.opened && (file.left() || lively) {
                file.opened = true;
                found.push(Found { name: file.name.clone(), start: 0, rule: file.rule });
            }
        }
        let still = ids.iter().chain(&emptied).map(|id| &self.files[*id]);
        let still = still.filter(|file| !file.opened).map(|file| file.name.clone()).collect();
        Ok((found, still))
    }

    /// Finds known files again: unchanged ones by what the disk says of them, renamed ones by
    /// inode, then copied ones by path. Gives the files that are none of them.
    fn match_known(
        &mut self,
        source: &str,
        seen: Vec<Seen>,
        bounded: bool,
        memos: &mut Memos,
        matched: &mut HashSet<usize>,
        inodes: &mut HashSet<(u64, u64)>,
    ) -> Result<Vec<Seen>, SourceError> {
        let mut rest = seen;
        for round in 0..3 {
            let mut left = Vec::new();
            for file in rest {
                match self.find(&file, round, matched) {
                    Ok(Some(id)) => {
                        matched.insert(id);
                        inodes.insert(file.inode);
                        self.again(id, file, memos);
                    }
                    Ok(None) => left.push(file),
                    // Only its inode is known: it need not be ours.
                    Err(_) if file.renamed => {}
                    Err(error) => self.unreadable(source, &file.path, &error, bounded)?,
                }
            }
            rest = left;
        }
        Ok(rest)
    }

    /// The known file that a seen one is, as far as this round of [`Known::match_known`] tells.
    fn find(&self, seen: &Seen, round: u32, matched: &HashSet<usize>) -> io::Result<Option<usize>> {
        let ids = match round {
            1 => self.by_ino.get(&seen.inode.1).map_or(&[][..], Vec::as_slice),
            _ => self.by_path.get(&seen.text).map_or(&[][..], std::slice::from_ref),
        };
        // Of the versions of a path only the last is still there: the others were replaced.
        let newest = self.by_path.get(&seen.text).map(|id| (*id, base(&self.files[*id].name)));
        for id in ids.iter().rev().filter(|id| !matched.contains(id)) {
            let file = &self.files[*id];
            let was = file.text == seen.text
                && newest.is_some_and(|(newest, of)| newest != *id && of == base(&file.name));
            if was {
                continue;
            }
            let same = if round == 0 {
                file.last == (seen.inode.1, seen.size, seen.modified)
                    && !file.shared.replaced.load(Ordering::Relaxed)
            } else {
                file.fits(seen)?
            };
            if same {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }

    /// A known file is seen again.
    fn again(&mut self, id: usize, seen: Seen, memos: &mut Memos) {
        let file = &mut self.files[id];
        let moved = file.text != seen.text || file.ino != seen.inode.1;
        (file.rule, file.packing, file.may_be_array) = (seen.rule, seen.packing, seen.may_be_array);
        file.last = (seen.inode.1, seen.size, seen.modified);
        file.shared.see(seen.inode, seen.size, seen.modified);
        *file.shared.path.lock() = seen.path;
        (file.text, file.ino) = (seen.text, seen.inode.1);
        if moved {
            memos.insert(file.name.clone(), file.memo());
        }
        self.by_path.insert(file.text.clone(), id);
        let ids = self.by_ino.entry(file.ino).or_default();
        if ids.last() != Some(&id) {
            ids.retain(|other| *other != id);
            ids.push(id);
        }
    }

    /// A file that is there cannot be read. One that is no longer there is none.
    fn unreadable(
        &mut self,
        source: &str,
        path: &Path,
        error: &io::Error,
        bounded: bool,
    ) -> Result<(), SourceError> {
        if error.kind() == io::ErrorKind::NotFound {
            return Ok(());
        }
        let path = path.display();
        if bounded {
            let what =
                format!("reading {path} for source {source}: {error}; check its permissions");
            return Err(SourceError::Unavailable { what });
        }
        self.unreadable.push(format!("reading {path}: {error}"));
        Ok(())
    }

    /// A known file is no longer what was read.
    fn changed(
        &mut self,
        source: &str,
        id: usize,
        now: &Seen,
        bounded: bool,
        counts: &Counts,
    ) -> Result<(), SourceError> {
        let file = &self.files[id];
        let at = file.shared.at.load(Ordering::Relaxed);
        if bounded {
            let (name, size) = (&file.name, now.size);
            let unpacked = if now.packing == Packing::Plain { "" } else { " unpacked" };
            let what = format!(
                "reading {name} for source {source}: it has {size} bytes, and is not the file of \
                 which {at}{unpacked} were read before"
            );
            return Err(SourceError::Changed { what });
        }
        counts.changed.fetch_add(1, Ordering::Relaxed);
        file.shared.replaced.store(true, Ordering::Relaxed);
        tracing::warn!(%source, file = %file.name, read = at, "another file: read anew");
        Ok(())
    }

    /// A file that is new.
    fn begin(&mut self, seen: Seen, head: Head, now: i64) -> usize {
        let version = self.versions.get(&seen.text).map_or(1, |v| v + 1);
        let name = match version {
            1 => seen.text.clone(),
            v => format!("{}#{v}", seen.text),
        };
        let shared = Arc::new(Shared::new(seen.path));
        shared.see(seen.inode, seen.size, seen.modified);
        self.add(File {
            name,
            rule: seen.rule,
            packing: seen.packing,
            may_be_array: seen.may_be_array,
            seen: now,
            head,
            shared,
            ino: seen.inode.1,
            text: seen.text,
            last: (seen.inode.1, seen.size, seen.modified),
            opened: false,
            read: 0,
        });
        self.files.len() - 1
    }

    /// Memos of compressed files that have been read to their ends since the last call.
    pub fn finished(&mut self) -> Memos {
        let mut memos = Memos::new();
        for file in &mut self.files {
            let read = file.shared.read.load(Ordering::Relaxed);
            if read > 0 && read != file.read {
                file.read = read;
                memos.insert(file.name.clone(), file.memo());
            }
        }
        memos
    }

    /// Bytes on disk read, and in all, of the files handed out in this run.
    pub fn progress(&self) -> (u64, u64) {
        let opened = self.files.iter().filter(|f| f.opened);
        opened.fold((0, 0), |(done, total), f| {
            let size = f.shared.size.load(Ordering::Relaxed);
            let raw = match f.packing {
                Packing::Plain => f.shared.at.load(Ordering::Relaxed),
                _ => f.shared.raw.load(Ordering::Relaxed),
            };
            (done + raw.min(size), total + size)
        })
    }
}
