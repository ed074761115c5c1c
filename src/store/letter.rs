//! One dead letter as it is written and listed, and reading those of a file one at a time.
//!
//! Promises: a damaged line costs that line: the others are read, and it is said which were not.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use dataflows::sealed::Reject;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::cut::Partition;
use super::disk::{Disk, DiskFile, Mode};
use super::error::{StoreError, io_error};

/// How many bytes are read at a time.
const READ: usize = 1 << 16;

/// One dead letter, as it is written and listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The source's name.
    pub source: String,
    /// The partition's name.
    pub partition: String,
    /// The message's position.
    pub position: u64,
    /// The record's number within the message.
    pub sub: u32,
    /// When it arrived, RFC 3339 with microseconds.
    pub arrived_at: String,
    /// Why it was rejected.
    pub reason: String,
    /// The payload, if it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Else the payload in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_base64: Option<String>,
    /// The payload was cut off where the partition's bound was reached.
    pub truncated: bool,
    /// What the routing rules said of it, where they look at each record: `pin`, `geo`, `user` or
    /// `auto`.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub ruled: Option<String>,
}

/// Which letter: source, partition, position, sub.
pub type LetterId = (String, String, u64, u32);

impl Letter {
    pub(super) fn new(partition: &Partition, reject: &Reject, room: u64) -> Self {
        let mut payload = &reject.payload[..];
        let truncated = payload.len() as u64 > room;
        let mut text = std::str::from_utf8(payload).ok();
        if truncated {
            payload = &payload[..room as usize];
            text = text.map(|text| &text[..text.floor_char_boundary(room as usize)]);
        }
        Letter {
            source: partition.source.clone(),
            partition: partition.name.clone(),
            position: reject.position,
            sub: reject.sub,
            arrived_at: rfc3339(reject.arrived_at),
            reason: reject.reason.name().to_owned(),
            payload: text.map(str::to_owned),
            payload_base64: text.is_none().then(|| STANDARD.encode(payload)),
            truncated,
            ruled: reject.rule.map(|rule| rule.name().to_owned()),
        }
    }

    /// The payload's bytes; an error if the base64 is not.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        match (&self.payload, &self.payload_base64) {
            (Some(text), _) => Ok(text.as_bytes().to_vec()),
            (None, Some(text)) => STANDARD.decode(text).map_err(|e| e.to_string()),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// When it arrived, microseconds since 1970-01-01 UTC.
    pub fn arrived_at_micros(&self) -> Option<i64> {
        let time = DateTime::parse_from_rfc3339(&self.arrived_at).ok();
        time.map(|time| time.timestamp_micros()).or_else(|| self.arrived_at.parse().ok())
    }

    /// Which letter it is.
    pub fn id(&self) -> LetterId {
        (self.source.clone(), self.partition.clone(), self.position, self.sub)
    }
}

fn rfc3339(micros: i64) -> String {
    // A time beyond what a calendar can say stays a number.
    DateTime::from_timestamp_micros(micros).map_or_else(
        || micros.to_string(),
        |time| time.to_rfc3339_opts(SecondsFormat::Micros, true),
    )
}

/// What is kept of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Letters in the store.
    pub letters: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Letters that were only counted.
    pub dropped: u64,
    /// The bound was reached: whatever follows is only counted.
    #[serde(default)]
    pub full: bool,
}

/// What stands in the cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The number of the file.
    pub(super) n: u64,
    /// How many bytes of it count.
    pub(super) len: u64,
    /// The sum of the lines' hashes: flipped bytes are found.
    #[serde(default)]
    pub(super) sum: u64,
    /// What is kept, by partition number.
    pub(super) partitions: BTreeMap<u32, Kept>,
    /// Up to which byte the letters have been sent elsewhere, by who sends them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) sent: BTreeMap<String, u64>,
}

/// Up to where letters are durable: the number of the file, and how many bytes of it count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The number of the file. Another one begins with the same letters.
    pub n: u64,
    /// How many bytes of it are durable.
    pub len: u64,
}

/// Bytes of payload that a mark in a cut's head says are kept; none if it is not one.
pub fn marked_bytes(mark: &Value) -> Option<u64> {
    Some(Mark::deserialize(mark).ok()?.partitions.values().map(|kept| kept.bytes).sum())
}

/// The path of a file of letters.
pub(super) fn path(dir: &Path, n: u64) -> PathBuf {
    dir.join(format!("dead-letters-{n}.jsonl"))
}

/// The whole letters of a stretch of a file that begins at `at`, about `most` bytes but at least
/// one, each with the place behind it; lines that are no letters are left out.
pub fn stretch(
    disk: &dyn Disk,
    dir: &Path,
    extent: Extent,
    at: u64,
    most: usize,
) -> Result<Vec<(Option<Letter>, u64)>, StoreError> {
    let path = path(dir, extent.n);
    let file = disk.open(&path, Mode::Read).map_err(io_error("open", &path))?;
    let len = extent.len.min(file.size().map_err(io_error("read", &path))?);
    let (mut block, mut at, mut read) = (Vec::new(), at.min(len), at.min(len));
    let mut wanted = most.max(1);
    while read < len && (block.len() < most || memchr::memchr(b'\n', &block).is_none()) {
        let part = (len - read).min(wanted as u64) as usize;
        let from = block.len();
        block.resize(from + part, 0);
        file.read_at(&mut block[from..], read).map_err(io_error("read", &path))?;
        read += part as u64;
        wanted = READ;
    }
    let mut letters = Vec::new();
    for line in block.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")) {
        at += line.len() as u64;
        letters.push((serde_json::from_slice(line).ok(), at));
    }
    Ok(letters)
}

/// Letters, read one at a time.
pub struct Letters {
    file: Option<Box<dyn DiskFile>>,
    path: PathBuf,
    at: u64,
    len: u64,
    held: Vec<u8>,
    /// Lines read so far, and the sum of their hashes.
    lines: u64,
    sum: u64,
    /// The length and the sum of hashes that the mark says.
    owed: (u64, u64),
    ended: bool,
}

impl Letters {
    /// The letters of a state that is not open, by its mark (none: there are no letters).
    pub fn of(disk: &dyn Disk, dir: &Path, mark: Option<&Value>) -> Result<Self, StoreError> {
        let mark = mark.map(Mark::deserialize).transpose();
        let mark = mark.map_err(|e| StoreError::Damaged {
            dir: dir.to_path_buf(),
            what: vec![format!("the mark of the dead letters is unreadable: {e}")],
        })?;
        Letters::open(disk, dir, &mark.unwrap_or_default())
    }

    pub(super) fn open(disk: &dyn Disk, dir: &Path, mark: &Mark) -> Result<Self, StoreError> {
        let path = path(dir, mark.n);
        let file = match disk.open(&path, Mode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(io_error("open", &path))?),
        };
        let size = file.as_ref().map_or(Ok(0), |file| file.size());
        let size = size.map_err(io_error("read", &path))?;
        Ok(Letters {
            file,
            path,
            at: 0,
            len: mark.len.min(size),
            held: Vec::new(),
            lines: 0,
            sum: 0,
            owed: (mark.len, mark.sum),
            ended: false,
        })
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.held) {
                let rest = self.held.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.held, rest)));
            }
            let left = (self.len - self.at).min(READ as u64) as usize;
            let Some(file) = self.file.as_ref().filter(|_| left > 0) else {
                let last = std::mem::take(&mut self.held);
                return Ok((!last.is_empty()).then_some(last));
            };
            let mut part = vec![0; left];
            file.read_at(&mut part, self.at)?;
            self.at += left as u64;
            self.held.extend_from_slice(&part);
        }
    }
}

impl Letters {
    /// At the end: whether all that was written has been read, as it was written.
    fn end(&mut self) -> Option<StoreError> {
        let (len, sum) = self.owed;
        self.ended = true;
        let what = if self.len < len {
            format!(
                "it holds {} bytes, the state says {len}: the letters behind are lost",
                self.len
            )
        } else if self.sum != sum {
            "it does not hold what was written to it: letters may be others than they were".into()
        } else {
            return None;
        };
        Some(StoreError::Letters { path: self.path.clone(), what })
    }
}

impl Iterator for Letters {
    type Item = Result<Letter, StoreError>;

    /// The next letter, or what is damaged: a line, and at the end the file as a whole. After a
    /// damaged line it goes on with the next.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.line() {
            Ok(Some(line)) => {
                self.lines += 1;
                self.sum = self.sum.wrapping_add(xxh3_64(&line));
                let damaged = |e: serde_json::Error| StoreError::Letters {
                    path: self.path.clone(),
                    what: format!("line {} is no letter: {e}", self.lines),
                };
                Some(serde_json::from_slice(&line).map_err(damaged))
            }
            Ok(None) => self.end().map(Err),
            Err(e) => {
                self.ended = true;
                Some(Err(io_error("read", &self.path)(e)))
            }
        }
    }
}
