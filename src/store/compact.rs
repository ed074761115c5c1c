//! Writing a new base from the files of the state, in the background.
//!
//! Promises: commits go on meanwhile (into the next generation's log); the base is verified by
//! reading it back before it gets its name; stopped at any point it leaves nothing but a
//! temporary file; what it reads and writes does not stay cached.
//!
//! As long as nearly all that is stored still holds, as in a state that grows, it is taken over as
//! it lies, in its order: whoever reads it lets later entries replace earlier ones anyway.
//! Else what holds is picked out; that takes at most 34 bytes of memory per index and as much again
//! while that table grows, and the texts' numbers, not the slots.
//! Limits: what is taken over as it lies is compared with its checksum, not understood: entries
//! that were malformed before that was made are found where they are read.

mod out;
mod pace;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dataflows::assemble::block::{self, Entry, Writer};
use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use super::cut::Head;
use super::disk::{Disk, DiskFile, Mode};
use super::fault;
use super::frame::{self, CHUNK, ChunkAt, FrameAt, Kind, Section};
use super::ledger::Ledger;
use super::log::{generation_dir, push_text, texts_of};
use super::manifest::Start;
use out::Out;
use pace::Pace;
pub use pace::step_back;

/// A block of so many bytes that all still hold goes into the base as it is; smaller ones are put
/// together. Less in tests, whose states are small: both ways are to be gone.
const AS_IS: usize = if cfg!(test) { 256 } else { block::FULL / 2 };

/// A base leaves out what holds no longer once that is more than this part of what is stored.
const STALE: u64 = 8;

/// A file that goes into the base, up to a length.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its path.
    pub path: PathBuf,
    /// How many bytes of it count.
    pub len: u64,
}

impl Input {
    /// The file and its frames.
    fn open(&self, job: &Job) -> Result<(Box<dyn DiskFile>, Vec<FrameAt>), Failure> {
        let file = match job.disk.open(&self.path, Mode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(self.damaged(&"it is gone"));
            }
            opened => opened?,
        };
        let frames = frame::headers(&*file, self.len)?;
        let frames = frames.ok_or_else(|| self.damaged(&"a frame is damaged"))?;
        Ok((file, frames))
    }

    fn damaged(&self, what: &dyn Display) -> Failure {
        Failure::Damaged(format!("{}: {what}", self.path.display()))
    }
}

/// What is to be done.
pub struct Job {
    /// Where.
    pub disk: Arc<dyn Disk>,
    /// The state folder.
    pub dir: PathBuf,
    /// What the base says of itself.
    pub start: Start,
    /// The files of the state, oldest first.
    pub inputs: Vec<Input>,
    /// What their heads come to.
    pub head: Head,
    /// What their ledgers come to.
    pub ledger: Ledger,
    /// How many entries of slots the inputs hold.
    pub entries: u64,
    /// Set by whoever wants it to end early.
    pub stop: Arc<AtomicBool>,
    /// Set by whoever wants it to end soon, whomever it is in the way of.
    pub hurry: Arc<AtomicBool>,
}

impl Job {
    /// Whether it is still wanted.
    fn go_on(&self) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) { Err(Failure::Stopped) } else { Ok(()) }
    }
}

/// Why there is no new base.
#[derive(Debug)]
pub enum Failure {
    /// It was asked to stop.
    Stopped,
    /// One of the inputs is no longer what was written.
    Damaged(String),
    /// The disk refused.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Io(e)
    }
}

/// Writes, verifies and names the base; its bytes, and its entries.
pub fn run(job: &Job) -> Result<(u64, u64), Failure> {
    fault::point("before_base");
    let folder = generation_dir(&job.dir, job.start.generation);
    let temporary = folder.join("base.tmp");
    let written = write(job, &temporary)
        .and_then(|(parts, entries)| Ok((verify(job, &temporary, parts)?, entries)));
    let done = match written {
        Ok(done) => done,
        Err(failure) => {
            // Nothing reads it; the next start would remove it, too.
            let _ = job.disk.remove(&temporary);
            return Err(failure);
        }
    };
    job.disk.rename(&temporary, &folder.join("base"))?;
    job.disk.sync_dir(&folder)?;
    fault::point("after_base_rename");
    Ok(done)
}

/// Writes the temporary file; the numbers of its parts and of its entries.
fn write(job: &Job, temporary: &Path) -> Result<(u64, u64), Failure> {
    let mut out = Out::create(&*job.disk, temporary, &job.start)?;
    out.chunk(Section::Head, &serde_json::to_vec(&job.head).map_err(io::Error::from)?)?;
    for block in job.ledger.encode_blocks(CHUNK) {
        out.chunk(Section::Ledger, &block)?;
    }
    let fill = if is_stale(job) { newest } else { all };
    fill(job, &mut out)?;
    Ok(out.finish()?)
}

/// Whether so much of what is stored holds no longer that it is worth being left out.
fn is_stale(job: &Job) -> bool {
    job.entries.saturating_sub(job.head.held) > job.entries / STALE
}

/// Everything that is stored, in the order in which it was. Small blocks that follow each other
/// are put together.
fn all(job: &Job, out: &mut Out) -> Result<(), Failure> {
    let (mut writer, mut texts, mut bytes) = (Writer::default(), Vec::new(), Vec::new());
    oldest_first(job, |chunk, packed| {
        let is_small = chunk.unpacked() < AS_IS;
        match chunk.section {
            Section::Texts if is_small => {
                chunk.unpack(packed, &mut bytes).map_err(|e| Failure::Damaged(e.to_string()))?;
                texts.extend_from_slice(&bytes);
                out.texts(&mut texts, CHUNK)?;
            }
            Section::Texts => out.as_is(chunk, packed, 0)?,
            Section::Slots if is_small => {
                chunk.unpack(packed, &mut bytes).map_err(|e| Failure::Damaged(e.to_string()))?;
                for entry in block::entries(&bytes) {
                    let entry = entry.map_err(|e| Failure::Damaged(e.to_string()))?;
                    writer.push(&entry).map_or(Ok(()), |block| out.block(&block))?;
                }
            }
            Section::Slots => {
                // What was stored before it comes before it.
                writer.finish().map_or(Ok(()), |block| out.block(&block))?;
                out.as_is(chunk, packed, block::count(chunk.plain(packed)))?;
            }
            _ => {}
        }
        Ok(())
    })?;
    out.texts(&mut texts, 0)?;
    Ok(writer.finish().map_or(Ok(()), |block| out.block(&block))?)
}

/// Of everything that is stored what holds: read from the newest entry to the oldest, the first of
/// its kind. Where all of a block still holds it is taken over as it lies.
fn newest(job: &Job, out: &mut Out) -> Result<(), Failure> {
    let (mut seen, mut is_new) = (Seen::default(), Vec::new());
    let mut named: HashSet<u64, FxBuildHasher> = HashSet::default();
    let (mut writer, mut texts) = (Writer::default(), Vec::new());
    newest_first(job, |chunk, packed, bytes| {
        if chunk.section == Section::Texts {
            let new = |number, text: &str| {
                if named.insert(number) {
                    push_text(&mut texts, number, text);
                }
            };
            texts_of(bytes, new).map_err(Failure::Damaged)?;
            return Ok(out.texts(&mut texts, CHUNK)?);
        }
        let entries = block::entries(bytes).collect::<Result<Vec<Entry<'_>>, _>>();
        let entries = entries.map_err(|e| Failure::Damaged(e.to_string()))?;
        // Looked up together, so that the processor waits for many at a time.
        is_new.clear();
        is_new.extend(entries.iter().rev().map(|entry| seen.is_new(entry)));
        if chunk.unpacked() >= AS_IS && is_new.iter().all(|new| *new) {
            return Ok(out.as_is(chunk, packed, entries.len() as u64)?);
        }
        for (entry, _) in entries.iter().rev().zip(&is_new).filter(|(_, new)| **new) {
            writer.push(entry).map_or(Ok(()), |block| out.block(&block))?;
        }
        Ok(())
    })?;
    out.texts(&mut texts, 0)?;
    Ok(writer.finish().map_or(Ok(()), |block| out.block(&block))?)
}

/// Which parts of which indexes there were already: four bits an index, and sixteen indexes that
/// follow each other in one word, so that the table of a dense state stays in the cache.
#[derive(Default)]
struct Seen(HashMap<u64, u64, FxBuildHasher>);

impl Seen {
    fn is_new(&mut self, entry: &Entry<'_>) -> bool {
        let bit = 1 << (entry.index % 16 * 4 + u64::from(entry.part));
        let parts = self.0.entry(entry.index / 16).or_default();
        let before = std::mem::replace(parts, *parts | bit);
        before != *parts
    }
}

// Four bits an index are enough.
const _: () = assert!(block::PARTS <= 4);

/// Reads the temporary file back from the medium; its bytes.
pub(super) fn verify(job: &Job, temporary: &Path, parts: u64) -> Result<u64, Failure> {
    let file = job.disk.open(temporary, Mode::Read)?;
    file.forget_cached(0..u64::MAX);
    let mut pace = Pace::new(&job.hurry);
    let scan = frame::scan_while(&*file, |frame| {
        file.forget_cached(0..frame.end());
        pace.rest();
        job.go_on().is_ok()
    })?;
    job.go_on()?;
    let whole = scan.good == scan.len
        && scan.frames.len() as u64 == parts + 2
        && scan.frames.last().is_some_and(|f| f.kind == Kind::End && f.number == parts);
    if whole {
        Ok(scan.len)
    } else {
        Err(Failure::Io(io::Error::other("the new base does not read back as it was written")))
    }
}

/// Hands the slots' and texts' chunks of all inputs to `each`, packed, the oldest first. Each frame
/// is compared with its checksum as it is handed out.
fn oldest_first(
    job: &Job,
    mut each: impl FnMut(&ChunkAt, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut pace = Pace::new(&job.hurry);
    for input in &job.inputs {
        let (file, frames) = input.open(job)?;
        for at in &frames {
            let read = frame::read_packed(&*file, at, |chunk, packed| {
                job.go_on()?;
                pace.rest();
                each(chunk, packed)
            });
            read.map_err(|failure| match failure {
                Failure::Damaged(what) => input.damaged(&what),
                // What cannot be read twice is damaged, whatever the system calls it; what can be
                // was no damage of the input.
                Failure::Io(e) => match frame::chunks(&*file, at) {
                    Ok(_) => Failure::Io(e),
                    Err(e) => input.damaged(&e),
                },
                Failure::Stopped => Failure::Stopped,
            })?;
            // It has been read, and is not needed any more.
            file.forget_cached(0..at.end());
        }
    }
    Ok(())
}

/// Hands the slots' and texts' chunks of all inputs to `each`, packed and unpacked, the newest
/// first.
fn newest_first(
    job: &Job,
    mut each: impl FnMut(&ChunkAt, &[u8], &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut packed, mut raw, mut pace) = (Vec::new(), Vec::new(), Pace::new(&job.hurry));
    for input in job.inputs.iter().rev() {
        let (file, frames) = input.open(job)?;
        for at in frames.iter().rev() {
            job.go_on()?;
            // What cannot be read twice is damaged, whatever the system calls it.
            let chunks = match frame::chunks(&*file, at) {
                Err(_) => frame::chunks(&*file, at).map_err(|e| input.damaged(&e))?,
                Ok(chunks) => chunks,
            };
            for chunk in chunks.iter().rev() {
                if matches!(chunk.section, Section::Slots | Section::Texts) {
                    job.go_on()?;
                    let read = chunk.read(&*file, &mut packed, &mut raw);
                    read.map_err(|e| input.damaged(&e))?;
                    each(chunk, &packed, &raw).map_err(|failure| match failure {
                        Failure::Damaged(what) => input.damaged(&what),
                        other => other,
                    })?;
                }
                pace.rest();
            }
            // What lies behind it has been read, or read ahead.
            file.forget_cached(at.offset..u64::MAX);
        }
    }
    Ok(())
}
