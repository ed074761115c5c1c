//! A base being written, in frames of about [`PART`] bytes.
//!
//! Promises: what is cached of it stays little.

use std::io;
use std::path::Path;

use dataflows::assemble::block::Block;

use super::super::disk::{Disk, DiskFile, Mode};
use super::super::fault;
use super::super::frame::{Builder, CHUNK, ChunkAt, Kind, Section};
use super::super::log::start_frame;
use super::super::manifest::Start;

/// A frame of a base is closed when it holds so many bytes.
const PART: usize = 2 * CHUNK;

/// So much of a base is written, then made durable and let go of: what is cached stays little, and
/// memory that was just in use is cheap to write to. Bytes.
const STRIDE: u64 = 16 << 20;

/// The base being written.
pub(super) struct Out {
    file: Box<dyn DiskFile>,
    at: u64,
    /// Up to here it is durable and not cached.
    durable: u64,
    parts: u64,
    /// How many entries of slots there are in it.
    entries: u64,
    builder: Builder,
}

impl Out {
    /// Begins it, in a file that is made.
    pub(super) fn create(disk: &dyn Disk, path: &Path, start: &Start) -> io::Result<Self> {
        let file = disk.open(path, Mode::Create)?;
        let builder = Builder::new(Vec::with_capacity(PART + PART / 4));
        let mut out = Out { file, at: 0, durable: 0, parts: 0, entries: 0, builder };
        out.write(&start_frame(start)?)?;
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

    /// Takes a chunk.
    pub(super) fn chunk(&mut self, section: Section, raw: &[u8]) -> io::Result<()> {
        self.builder.chunk(section, raw)?;
        if self.builder.len() >= PART { self.part() } else { Ok(()) }
    }

    /// Takes a block of slots.
    pub(super) fn block(&mut self, block: &Block) -> io::Result<()> {
        self.entries += block.entries();
        self.builder.chunk_plain(Section::Slots, block.parts())?;
        if self.builder.len() >= PART { self.part() } else { Ok(()) }
    }

    /// Takes the texts, if they are at least so many bytes.
    pub(super) fn texts(&mut self, texts: &mut Vec<u8>, least: usize) -> io::Result<()> {
        if texts.len() < least {
            return Ok(());
        }
        self.chunk(Section::Texts, texts)?;
        texts.clear();
        Ok(())
    }

    /// Takes a chunk over as it lies, with so many entries.
    pub(super) fn as_is(&mut self, chunk: &ChunkAt, packed: &[u8], entries: u64) -> io::Result<()> {
        self.entries += entries;
        self.builder.chunk_as_is(chunk, packed)?;
        if self.builder.len() >= PART { self.part() } else { Ok(()) }
    }

    fn part(&mut self) -> io::Result<()> {
        let builder = std::mem::replace(&mut self.builder, Builder::new(Vec::new()));
        let frame = builder.finish(Kind::Part, self.parts);
        self.write(&frame)?;
        self.builder = Builder::new(frame);
        self.parts += 1;
        Ok(())
    }

    /// Ends it, durable on return; its parts, and its entries.
    pub(super) fn finish(mut self) -> io::Result<(u64, u64)> {
        if self.builder.len() > 0 {
            self.part()?;
        }
        let end = Builder::new(Vec::new()).finish(Kind::End, self.parts);
        self.write(&end)?;
        fault::point("after_base_write");
        self.sync()?;
        Ok((self.parts, self.entries))
    }
}
