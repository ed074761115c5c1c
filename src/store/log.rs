//! The log that cuts are appended to, and the folders of generations.
//!
//! Promises: [`Log::append`] returns `Ok` only when the frame is durable; after any error the log
//! is as long as before, or is given up: a file whose sync failed is never written again.

use std::io;
use std::path::{Path, PathBuf};

use dataflows::assemble::block::{VARINT, put, take, take_varint};

use super::cut::{Cut, Head};
use super::disk::{Disk, DiskFile, Mode};
use super::error::StoreError;
use super::fault;
use super::frame::{Builder, CHUNK, Kind, Section};
use super::ledger::Ledger;
use super::manifest::Start;

/// The folder of a generation.
pub fn generation_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("gen-{generation:06}"))
}

/// The generation that a folder's name says.
pub fn generation_of(name: &str) -> Option<u64> {
    name.strip_prefix("gen-")?.parse().ok()
}

/// The log of a generation, open for appending.
pub struct Log {
    file: Box<dyn DiskFile>,
    /// Its path, for messages.
    pub path: PathBuf,
    /// The generation.
    pub generation: u64,
    /// Durable bytes.
    pub len: u64,
    /// A sync failed, or its end could not be cut off: no byte of it is written any more.
    pub lost: bool,
}

impl Log {
    /// Begins a generation: its folder and a log with a first frame, durable on return.
    pub fn create(disk: &dyn Disk, dir: &Path, start: &Start) -> io::Result<Self> {
        fault::point("before_generation");
        let folder = generation_dir(dir, start.generation);
        disk.create_dir(&folder)?;
        let path = folder.join("log");
        let mut file = disk.open(&path, Mode::Create)?;
        let frame = start_frame(start)?;
        file.write_at(&frame, 0)?;
        file.sync()?;
        disk.sync_dir(&folder)?;
        disk.sync_dir(dir)?;
        fault::point("after_generation");
        let len = frame.len() as u64;
        Ok(Log { file, path, generation: start.generation, len, lost: false })
    }

    /// Goes on with a log behind its first `len` bytes; what follows them is cut off.
    pub fn resume(disk: &dyn Disk, dir: &Path, generation: u64, len: u64) -> io::Result<Self> {
        let path = generation_dir(dir, generation).join("log");
        let mut file = disk.open(&path, Mode::Write)?;
        if file.size()? != len {
            file.set_len(len)?;
        }
        // What a killed process wrote may still be on its way to the medium.
        let lost = file.sync().is_err();
        Ok(Log { file, path, generation, len, lost })
    }

    /// Appends a frame; durable on return.
    pub fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        fault::point("before_log_append");
        if let Err(e) = self.file.write_at(frame, self.len) {
            self.lost |= self.file.set_len(self.len).is_err();
            return Err(e);
        }
        fault::point("after_log_write");
        if let Err(e) = self.file.sync() {
            self.lost = true;
            // Not relied upon: whatever continues this log names its length.
            let _ = self.file.set_len(self.len);
            return Err(e);
        }
        self.len += frame.len() as u64;
        fault::point("after_log_append");
        Ok(())
    }

    /// The file, to be read back.
    pub fn file(&self) -> &dyn DiskFile {
        &*self.file
    }
}

/// The first frame of a log or a base.
pub fn start_frame(start: &Start) -> io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    builder.chunk(Section::Start, &serde_json::to_vec(start)?)?;
    Ok(builder.finish(Kind::Start, start.generation))
}

/// A cut as a frame, in a buffer of before. What could not be restored is refused here.
pub fn cut_frame(cut: &Cut, buffer: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    frame_of(&cut.head, &[&cut.ledger], cut, buffer)
}

/// A whole state as a frame: the merged head and ledger, and the slots and texts of a cut.
pub fn full_frame(head: &Head, ledger: &Ledger, cut: &Cut) -> Result<Vec<u8>, StoreError> {
    let blocks = ledger.encode_blocks(CHUNK);
    let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
    frame_of(head, &blocks, cut, Vec::new())
}

fn frame_of(
    head: &Head,
    ledger: &[&[u8]],
    cut: &Cut,
    buffer: Vec<u8>,
) -> Result<Vec<u8>, StoreError> {
    let malformed = |what: String| StoreError::Malformed { what };
    let json = serde_json::to_vec(head).map_err(|e| malformed(e.to_string()))?;
    let mut builder = Builder::new(buffer);
    ledger.iter().try_for_each(|block| Ledger::check(block)).map_err(malformed)?;
    let mut fill = || {
        builder.chunk(Section::Head, &json)?;
        let mut texts = Vec::new();
        for (number, text) in &cut.texts {
            push_text(&mut texts, *number, text);
            if texts.len() >= CHUNK {
                builder.chunk(Section::Texts, &texts)?;
                texts.clear();
            }
        }
        builder.chunk(Section::Texts, &texts)?;
        ledger.iter().try_for_each(|block| builder.chunk(Section::Ledger, block))?;
        cut.slots.iter().try_for_each(|block| builder.chunk_plain(Section::Slots, block.parts()))
    };
    fill().map_err(|e| malformed(e.to_string()))?;
    Ok(builder.finish(Kind::Cut, head.cut))
}

/// Appends a text and its number to a chunk.
pub fn push_text(chunk: &mut Vec<u8>, number: u64, text: &str) {
    let (mut head, mut len) = ([0; 2 * VARINT], 0);
    put(&mut head, &mut len, number);
    put(&mut head, &mut len, text.len() as u64);
    chunk.extend_from_slice(&head[..len]);
    chunk.extend_from_slice(text.as_bytes());
}

/// The texts of a chunk by their numbers.
pub fn texts_of(mut chunk: &[u8], mut each: impl FnMut(u64, &str)) -> Result<(), String> {
    while !chunk.is_empty() {
        let mut text = || {
            let (number, len) = (take_varint(&mut chunk)?, take_varint(&mut chunk)?);
            let bytes = take(&mut chunk, usize::try_from(len).ok()?)?;
            Some((number, std::str::from_utf8(bytes).ok()?))
        };
        let (number, text) = text().ok_or("a text is cut off")?;
        each(number, text);
    }
    Ok(())
}
