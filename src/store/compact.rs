//! Writing a new base from the files of the state, in the background.
//!
//! Promises: commits go on meanwhile (into the next generation's log); the base is verified by
//! reading it back before it gets its name; stopped at any point it leaves nothing but a
//! temporary file. Memory: 16 bytes per index and the texts' hashes, not the slots.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use xxhash_rust::xxh3::xxh3_128;

use super::cut::{Head, Ledger, push_slot, slot_entries};
use super::disk::{Disk, DiskFile, Mode};
use super::fault;
use super::frame::{self, Builder, CHUNK, FrameAt, Kind, Section};
use super::log::{generation_dir, start_frame, text_chunks, texts_of};
use super::manifest::Start;

/// zstd's level for what is written once and read at starts.
const LEVEL: i32 = 3;

/// A frame of a base is closed when it holds so many bytes before compression.
const PART: usize = 8 * CHUNK;

/// A file that goes into the base, up to a length.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its path.
    pub path: PathBuf,
    /// How many bytes of it count.
    pub len: u64,
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
    let merged = Merged::of(job)?;
    let file = job.disk.open(temporary, Mode::Create)?;
    let mut out = Out { file, at: 0, parts: 0, builder: Builder::new(LEVEL), raw: 0 };
    out.write(&start_frame(&job.start)?)?;
    out.chunk(Section::Head, &serde_json::to_vec(&merged.head).map_err(io::Error::from)?)?;
    for block in merged.ledger.encode_blocks(CHUNK) {
        out.chunk(Section::Ledger, &block)?;
    }
    let mut seen = HashSet::new();
    let mut texts = Vec::new();
    let mut held = 0;
    let mut block = Vec::new();
    let mut ordinal = 0;
    each_chunk(job, |section, bytes| {
        match section {
            Section::Texts => texts_of(&bytes, |text| {
                if seen.insert(xxh3_128(text.as_bytes())) {
                    held += text.len();
                    texts.push(text.to_owned());
                }
            })?,
            Section::Slots => {
                for entry in slot_entries(&bytes) {
                    let (index, slot) = entry?;
                    if merged.newest.get(&index) == Some(&ordinal) {
                        push_slot(&mut block, index, slot);
                    }
                    ordinal += 1;
                }
            }
            _ => {}
        }
        if held >= CHUNK {
            out.texts(&mut texts).map_err(|e| e.to_string())?;
            held = 0;
        }
        if block.len() >= PART {
            out.slots(&mut block).map_err(|e| e.to_string())?;
        }
        Ok(())
    })?;
    out.texts(&mut texts)?;
    out.slots(&mut block)?;
    out.finish()
}

/// Reads the temporary file back from the medium; its bytes.
fn verify(job: &Job, temporary: &Path, parts: u64) -> Result<u64, Failure> {
    let file = job.disk.open(temporary, Mode::Read)?;
    file.forget_cached();
    let scan = frame::scan(&*file)?;
    let whole = scan.good == scan.len
        && scan.frames.len() as u64 == parts + 2
        && scan.frames.last().is_some_and(|f| f.kind == Kind::End && f.number == parts);
    if whole {
        Ok(scan.len)
    } else {
        Err(Failure::Io(io::Error::other("the new base does not read back as it was written")))
    }
}

/// What the first reading of all inputs tells.
struct Merged {
    head: Head,
    ledger: Ledger,
    /// Which entry of each index is the newest, by its place among all entries read.
    newest: HashMap<u64, u64, FxBuildHasher>,
}

impl Merged {
    fn of(job: &Job) -> Result<Self, Failure> {
        let mut merged =
            Merged { head: Head::default(), ledger: Ledger::default(), newest: HashMap::default() };
        let mut ordinal = 0;
        each_chunk(job, |section, bytes| {
            match section {
                Section::Head => {
                    let head = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
                    merged.head.merge(&head);
                }
                Section::Ledger => merged.ledger.add(&bytes)?,
                Section::Slots => {
                    for entry in slot_entries(&bytes) {
                        merged.newest.insert(entry?.0, ordinal);
                        ordinal += 1;
                    }
                }
                Section::Start | Section::Texts => {}
            }
            Ok(())
        })?;
        Ok(merged)
    }
}

/// Hands all chunks of all inputs to `each`, in order.
fn each_chunk(
    job: &Job,
    mut each: impl FnMut(Section, Vec<u8>) -> Result<(), String>,
) -> Result<(), Failure> {
    for input in &job.inputs {
        let damaged = |what: &str| Failure::Damaged(format!("{}: {what}", input.path.display()));
        let file = match job.disk.open(&input.path, Mode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(damaged("it is gone")),
            opened => opened?,
        };
        let frames: Vec<FrameAt> = match frame::headers(&*file, input.len)? {
            Some(frames) => frames,
            None => return Err(damaged("a frame is damaged")),
        };
        for at in &frames {
            if job.stop.load(Ordering::Relaxed) {
                return Err(Failure::Stopped);
            }
            // An error of the disk while writing comes through here as text, too; a second look
            // at the frame tells the two apart.
            if let Err(e) = frame::read_chunks(&*file, at, &mut each) {
                return Err(match frame::read_chunks(&*file, at, |_, _| Ok(())) {
                    Ok(()) => Failure::Io(e),
                    Err(again) => damaged(&again.to_string()),
                });
            }
        }
    }
    Ok(())
}

/// The base being written.
struct Out {
    file: Box<dyn DiskFile>,
    at: u64,
    parts: u64,
    builder: Builder,
    raw: usize,
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn chunk(&mut self, section: Section, raw: &[u8]) -> io::Result<()> {
        self.builder.chunk(section, raw)?;
        self.raw += raw.len();
        if self.raw >= PART { self.part() } else { Ok(()) }
    }

    fn part(&mut self) -> io::Result<()> {
        let builder = std::mem::replace(&mut self.builder, Builder::new(LEVEL));
        self.write(&builder.finish(Kind::Part, self.parts))?;
        self.parts += 1;
        self.raw = 0;
        Ok(())
    }

    fn texts(&mut self, texts: &mut Vec<String>) -> io::Result<()> {
        for chunk in text_chunks(texts.iter().map(String::as_str)) {
            self.chunk(Section::Texts, &chunk)?;
        }
        texts.clear();
        Ok(())
    }

    /// Writes a block of slots in the order of their indexes, which packs better.
    fn slots(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        let mut entries: Vec<(u64, &[u8])> = slot_entries(block).filter_map(Result::ok).collect();
        entries.sort_unstable_by_key(|(index, _)| *index);
        let mut chunk = Vec::with_capacity(CHUNK.min(block.len()));
        let mut chunks = Vec::new();
        for (index, slot) in entries {
            push_slot(&mut chunk, index, slot);
            if chunk.len() >= CHUNK {
                chunks.push(std::mem::take(&mut chunk));
            }
        }
        chunks.push(chunk);
        for chunk in chunks {
            self.chunk(Section::Slots, &chunk)?;
        }
        block.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<u64, Failure> {
        if self.raw > 0 {
            self.part()?;
        }
        let end = Builder::new(LEVEL).finish(Kind::End, self.parts);
        self.write(&end)?;
        fault::point("after_base_write");
        self.file.sync()?;
        Ok(self.parts)
    }
}
