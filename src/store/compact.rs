//! Writing a new base from the files of the state, in the background.
//!
//! Promises: commits go on meanwhile (into the next generation's log); the base is verified by
//! reading it back before it gets its name; stopped at any point it leaves nothing but a
//! temporary file; what it reads and writes does not stay cached.
//!
//! As long as nearly all that is stored still holds, as in a state that grows, it is taken over as
//! it lies, packed, in its order: whoever reads it lets later entries replace earlier ones anyway.
//! Else what holds is picked out; that takes at most 34 bytes of memory per index and as much again
//! while that table grows, and the texts' numbers, not the slots.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dataflows::assemble::block::{self, Block, Entry, Writer};
use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use super::cut::Head;
use super::disk::{Disk, DiskFile, Mode};
use super::fault;
use super::frame::{self, Builder, CHUNK, ChunkAt, FrameAt, Kind, Section};
use super::ledger::Ledger;
use super::log::{generation_dir, push_text, start_frame, texts_of};
use super::manifest::Start;

/// zstd's level for what is written once and read at starts.
const LEVEL: i32 = 1;

/// A frame of a base is closed when it holds so many bytes.
const PART: usize = 2 * CHUNK;

/// A block of so many bytes that all still hold goes into the base as it is; smaller ones are put
/// together. Less in tests, whose states are small: both ways are to be gone.
const AS_IS: usize = if cfg!(test) { 256 } else { block::FULL / 2 };

/// A base leaves out what holds no longer once that is more than this part of what is stored.
const STALE: u64 = 8;

/// After so much work a rest is due, so many times as long, and at most so long.
const WORK: Duration = Duration::from_millis(1);
const RESTS: u32 = 3;
const REST_MAX: Duration = Duration::from_millis(10);

/// So much of a base is written, then made durable and let go of: what is cached stays little, and
/// memory that was just in use is cheap to write to. Bytes.
const STRIDE: u64 = 16 << 20;

/// How far the thread that writes a base steps back behind those that work on records (`nice`).
#[cfg(target_os = "linux")]
const STEP_BACK: i32 = 10;

/// Makes this thread take less of the processors where others want them, if the system lets it.
pub fn step_back() {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), STEP_BACK);
    }
}

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
    /// Set by whoever wants it to end early.
    pub stop: Arc<AtomicBool>,
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

/// Writes, verifies and names the base; its bytes.
pub fn run(job: &Job) -> Result<u64, Failure> {
    fault::point("before_base");
    let folder = generation_dir(&job.dir, job.start.generation);
    let temporary = folder.join("base.tmp");
    let written = write(job, &temporary).and_then(|parts| verify(job, &temporary, parts));
    let bytes = match written {
        Ok(bytes) => bytes,
        Err(failure) => {
            // Nothing reads it; the next start would remove it, too.
            let _ = job.disk.remove(&temporary);
            return Err(failure);
        }
    };
    job.disk.rename(&temporary, &folder.join("base"))?;
    job.disk.sync_dir(&folder)?;
    fault::point("after_base_rename");
    Ok(bytes)
}

/// Writes the temporary file; the number of its parts.
fn write(job: &Job, temporary: &Path) -> Result<u64, Failure> {
    let mut out = Out::create(job, temporary)?;
    out.chunk(Section::Head, &serde_json::to_vec(&job.head).map_err(io::Error::from)?)?;
    for block in job.ledger.encode_blocks(CHUNK) {
        out.chunk(Section::Ledger, &block)?;
    }
    let fill = if is_stale(job)? { newest } else { all };
    fill(job, &mut out)?;
    out.finish()
}

/// Whether so much of what is stored holds no longer that it is worth being left out.
fn is_stale(job: &Job) -> Result<bool, Failure> {
    let mut stored = 0;
    for input in &job.inputs {
        let (file, frames) = input.open(job)?;
        for frame in &frames {
            let chunks = frame::peek_chunks(&*file, frame).map_err(|e| input.damaged(&e))?;
            let slots = chunks.iter().filter(|chunk| chunk.section == Section::Slots);
            stored += slots.map(|chunk| chunk.plain() as u64 / block::HASH).sum::<u64>();
        }
    }
    Ok(stored.saturating_sub(job.head.held) > stored / STALE)
}

/// Everything that is stored, in the order in which it was.
fn all(job: &Job, out: &mut Out) -> Result<(), Failure> {
    let (mut writer, mut texts) = (Writer::default(), Vec::new());
    let is_small = |chunk: &ChunkAt| chunk.unpacked() < AS_IS;
    each_chunk(job, Order::OldestFirst, is_small, |chunk, packed, bytes| {
        if !is_small(chunk) {
            // What was stored before it comes before it.
            writer.finish().map_or(Ok(()), |block| out.block(&block))?;
            return Ok(out.as_is(chunk, packed)?);
        }
        if chunk.section == Section::Texts {
            texts.extend_from_slice(bytes);
            return Ok(out.texts(&mut texts, CHUNK)?);
        }
        for entry in block::entries(bytes) {
            let entry = entry.map_err(|e| Failure::Damaged(e.to_string()))?;
            writer.push(&entry).map_or(Ok(()), |block| out.block(&block))?;
        }
        Ok(())
    })?;
    out.texts(&mut texts, 0)?;
    Ok(writer.finish().map_or(Ok(()), |block| out.block(&block))?)
}

/// Of everything that is stored what holds: read from the newest entry to the oldest, the first of
/// its kind. Where all of a block still holds it is taken over as it lies, packed.
fn newest(job: &Job, out: &mut Out) -> Result<(), Failure> {
    let (mut seen, mut is_new) = (Seen::default(), Vec::new());
    let mut named: HashSet<u64, FxBuildHasher> = HashSet::default();
    let (mut writer, mut texts) = (Writer::default(), Vec::new());
    each_chunk(
        job,
        Order::NewestFirst,
        |_| true,
        |chunk, packed, bytes| {
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
                return Ok(out.as_is(chunk, packed)?);
            }
            for (entry, _) in entries.iter().rev().zip(&is_new).filter(|(_, new)| **new) {
                writer.push(entry).map_or(Ok(()), |block| out.block(&block))?;
            }
            Ok(())
        },
    )?;
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
fn verify(job: &Job, temporary: &Path, parts: u64) -> Result<u64, Failure> {
    let file = job.disk.open(temporary, Mode::Read)?;
    file.forget_cached(0..u64::MAX);
    let mut pace = Pace::new();
    let scan = frame::scan_each(&*file, |frame| {
        file.forget_cached(0..frame.end());
        pace.rest();
    })?;
    let whole = scan.good == scan.len
        && scan.frames.len() as u64 == parts + 2
        && scan.frames.last().is_some_and(|f| f.kind == Kind::End && f.number == parts);
    if whole {
        Ok(scan.len)
    } else {
        Err(Failure::Io(io::Error::other("the new base does not read back as it was written")))
    }
}

/// In which order what is stored is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    OldestFirst,
    NewestFirst,
}

impl Order {
    fn of<T>(self, list: &[T]) -> impl Iterator<Item = &T> {
        let at = move |n| if self == Order::OldestFirst { n } else { list.len() - 1 - n };
        (0..list.len()).map(move |n| &list[at(n)])
    }
}

/// Hands the slots' and texts' chunks of all inputs to `each`, packed and, where wanted, unpacked.
fn each_chunk(
    job: &Job,
    order: Order,
    unpack: impl Fn(&ChunkAt) -> bool,
    mut each: impl FnMut(&ChunkAt, &[u8], &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut packed, mut raw, mut pace) = (Vec::new(), Vec::new(), Pace::new());
    for input in order.of(&job.inputs) {
        let (file, frames) = input.open(job)?;
        for at in order.of(&frames) {
            // What cannot be read twice is damaged, whatever the system calls it.
            let chunks = match frame::chunks(&*file, at) {
                Err(_) => frame::chunks(&*file, at).map_err(|e| input.damaged(&e))?,
                Ok(chunks) => chunks,
            };
            let mine = |chunk: &&ChunkAt| matches!(chunk.section, Section::Slots | Section::Texts);
            for chunk in order.of(&chunks).filter(mine) {
                if job.stop.load(Ordering::Relaxed) {
                    return Err(Failure::Stopped);
                }
                let read = if unpack(chunk) {
                    chunk.read(&*file, &mut packed, &mut raw)
                } else {
                    chunk.read_packed(&*file, &mut packed)
                };
                read.map_err(|e| input.damaged(&e))?;
                each(chunk, &packed, &raw).map_err(|failure| match failure {
                    Failure::Damaged(what) => input.damaged(&what),
                    other => other,
                })?;
                pace.rest();
            }
            // What has been read, or read ahead, and is not needed any more.
            file.forget_cached(match order {
                Order::OldestFirst => 0..at.end(),
                Order::NewestFirst => at.offset..u64::MAX,
            });
        }
    }
    Ok(())
}

/// Keeps the thread from holding a processor for long: those that work on records share what is
/// left, and are not moved away from each other at once.
struct Pace(Instant);

impl Pace {
    fn new() -> Self {
        Pace(Instant::now())
    }

    /// Rests, if it has worked for long enough.
    fn rest(&mut self) {
        let worked = self.0.elapsed();
        if worked >= WORK {
            std::thread::sleep((worked * RESTS).min(REST_MAX));
            self.0 = Instant::now();
        }
    }
}

/// The base being written.
struct Out {
    file: Box<dyn DiskFile>,
    at: u64,
    /// Up to here it is durable and not cached.
    durable: u64,
    parts: u64,
    builder: Builder,
}

impl Out {
    fn create(job: &Job, temporary: &Path) -> Result<Self, Failure> {
        let file = job.disk.open(temporary, Mode::Create)?;
        let builder = Builder::new(LEVEL, Vec::with_capacity(PART + PART / 4));
        let mut out = Out { file, at: 0, durable: 0, parts: 0, builder };
        out.write(&start_frame(&job.start)?)?;
        Ok(out)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.at - self.durable >= STRIDE { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.file.forget_cached(self.durable..self.at);
        self.durable = self.at;
        Ok(())
    }

    fn chunk(&mut self, section: Section, raw: &[u8]) -> io::Result<()> {
        self.builder.chunk(section, raw)?;
        if self.builder.len() >= PART { self.part() } else { Ok(()) }
    }

    fn block(&mut self, block: &Block) -> io::Result<()> {
        let (entries, hashes) = block.parts();
        self.builder.chunk_of(Section::Slots, entries, hashes)?;
        if self.builder.len() >= PART { self.part() } else { Ok(()) }
    }

    /// Takes the texts, if they are more than so many bytes.
    fn texts(&mut self, texts: &mut Vec<u8>, least: usize) -> io::Result<()> {
        if texts.len() < least {
            return Ok(());
        }
        self.chunk(Section::Texts, texts)?;
        texts.clear();
        Ok(())
    }

    fn as_is(&mut self, chunk: &ChunkAt, packed: &[u8]) -> io::Result<()> {
        self.builder.chunk_as_is(chunk, packed);
        if self.builder.len() >= PART { self.part() } else { Ok(()) }
    }

    fn part(&mut self) -> io::Result<()> {
        let builder = std::mem::replace(&mut self.builder, Builder::new(LEVEL, Vec::new()));
        let frame = builder.finish(Kind::Part, self.parts);
        self.write(&frame)?;
        self.builder = Builder::new(LEVEL, frame);
        self.parts += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<u64, Failure> {
        if self.builder.len() > 0 {
            self.part()?;
        }
        let end = Builder::new(LEVEL, Vec::new()).finish(Kind::End, self.parts);
        self.write(&end)?;
        fault::point("after_base_write");
        self.sync()?;
        Ok(self.parts)
    }
}
