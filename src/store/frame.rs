//! The framing that all state files share: a frame is a header with its own checksum, then a
//! body of chunks, some of them compressed, under one checksum.
//!
//! ```text
//! frame  = "PFw1" kind:u8 0:u8*3 number:u64 body_len:u64 body_sum:u64 header_sum:u64 body
//! body   = (section:u8 raw_len:u32 stored_len:u32 plain_len:u32 stored plain)*
//! stored = zstd of raw_len bytes, or these as they are where both lengths are equal
//!          all little-endian, sums xxh3-64; a chunk is what may be packed, then what is plain
//!          slots are not packed: they would be a sixth smaller, and docs/performance.md says what
//!          it cost
//! ```
//!
//! Promises: a frame that [`scan`] names is as it was written, byte for byte; no length is
//! believed before its checksum holds; reading holds one chunk in memory, never a whole frame.
//! Limits: a chunk holds at most [`MAX_RAW`] bytes before compression.

use std::cell::RefCell;
use std::io;

use memchr::memmem;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};
use zstd::bulk::{Compressor, Decompressor};

use super::disk::DiskFile;

#[cfg(test)]
pub(super) mod before;

const MAGIC: &[u8; 4] = b"PFw1";

/// zstd's level for what is written once a second and read at starts.
const LEVEL: i32 = 1;

/// Bytes of a frame's header.
pub const HEADER: usize = 40;

/// Bytes of a chunk's header.
const CHUNK_HEADER: usize = 13;

/// A chunk is closed when it holds so many bytes before compression.
pub const CHUNK: usize = 1 << 20;

/// No chunk holds more bytes before compression.
pub const MAX_RAW: usize = 256 << 20;

/// How many bytes are read at a time when checksums are verified.
const READ: usize = 1 << 18;

thread_local! {
    // Making these costs more than packing a small chunk does.
    static PACKER: RefCell<Compressor<'static>> = RefCell::default();
    static UNPACKER: RefCell<Decompressor<'static>> = RefCell::default();
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first of a file: what the file is and what it continues.
    Start = 1,
    /// A cut; its number is the cut's.
    Cut = 2,
    /// A part of a base; its number counts the parts from 0.
    Part = 3,
    /// The end of a base; its number is that of its parts.
    End = 4,
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Section {
    /// JSON of a [`super::manifest::Start`].
    Start = 1,
    /// JSON of a [`super::cut::Head`].
    Head = 2,
    /// Texts, each its number and its length as varints, then UTF-8.
    Texts = 3,
    /// Ledger entries.
    Ledger = 4,
    /// Slot entries.
    Slots = 5,
}

impl Section {
    fn from_byte(byte: u8) -> Option<Self> {
        use Section::{Head, Ledger, Slots, Start, Texts};
        [Start, Head, Texts, Ledger, Slots].into_iter().find(|s| *s as u8 == byte)
    }
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        use Kind::{Cut, End, Part, Start};
        [Start, Cut, Part, End].into_iter().find(|k| *k as u8 == byte)
    }
}

/// A frame being put together.
pub struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    /// An empty frame in a buffer of before.
    pub fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER, 0);
        Builder { bytes: buffer }
    }

    /// A chunk's header; where it ends.
    fn head(
        &mut self,
        section: Section,
        (raw, stored, plain): (usize, usize, usize),
    ) -> io::Result<usize> {
        let len = raw + plain;
        if len > MAX_RAW {
            return Err(io::Error::other(format!("a chunk of {len} bytes is too large")));
        }
        self.bytes.push(section as u8);
        for len in [raw, stored, plain] {
            self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
        }
        Ok(self.bytes.len())
    }

    /// Appends a chunk that is not worth packing, in two parts; an empty one is left out.
    pub fn chunk_plain(&mut self, section: Section, parts: [&[u8]; 2]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(parts) = before::parts(parts) {
            return self.chunk_before(section, parts);
        }
        let [first, second] = parts;
        if first.len() + second.len() == 0 {
            return Ok(());
        }
        self.head(section, (first.len(), first.len(), second.len()))?;
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        Ok(())
    }

    /// Appends a chunk, packed; an empty one is left out.
    pub fn chunk(&mut self, section: Section, raw: &[u8]) -> io::Result<()> {
        if raw.is_empty() {
            return Ok(());
        }
        let from = self.head(section, (raw.len(), 0, 0))?;
        self.bytes.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        let packed = PACKER.with_borrow_mut(|packer| {
            packer.set_compression_level(LEVEL)?;
            let mut to = io::Cursor::new(&mut self.bytes);
            to.set_position(from as u64);
            packer.compress_to_buffer(raw, &mut to)
        })?;
        if packed >= raw.len() {
            self.bytes.truncate(from);
            self.bytes.extend_from_slice(raw);
        }
        let stored = (self.bytes.len() - from) as u32;
        self.bytes[from - 8..from - 4].copy_from_slice(&stored.to_le_bytes());
        Ok(())
    }

    /// Appends a chunk as it lies elsewhere.
    pub fn chunk_as_is(&mut self, chunk: &ChunkAt, packed: &[u8]) -> io::Result<()> {
        self.head(chunk.section, (chunk.raw, chunk.stored, chunk.plain))?;
        self.bytes.extend_from_slice(packed);
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len() - HEADER
    }

    /// The whole frame.
    pub fn finish(mut self, kind: Kind, number: u64) -> Vec<u8> {
        let body = &self.bytes[HEADER..];
        let (len, sum) = (body.len() as u64, xxh3_64(body));
        let header = &mut self.bytes[..HEADER];
        header[..4].copy_from_slice(MAGIC);
        header[4] = kind as u8;
        header[8..16].copy_from_slice(&number.to_le_bytes());
        header[16..24].copy_from_slice(&len.to_le_bytes());
        header[24..32].copy_from_slice(&sum.to_le_bytes());
        let own = xxh3_64(&header[..32]);
        header[32..].copy_from_slice(&own.to_le_bytes());
        self.bytes
    }
}

/// Where a frame lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameAt {
    /// What it is.
    pub kind: Kind,
    /// Its number.
    pub number: u64,
    /// The offset of its header.
    pub offset: u64,
    /// Bytes of its body.
    pub body: u64,
    sum: u64,
}

impl FrameAt {
    /// The offset behind it.
    pub fn end(&self) -> u64 {
        self.offset + HEADER as u64 + self.body
    }

    fn parse(header: &[u8], offset: u64) -> Option<Self> {
        let word =
            |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let good = header.len() >= HEADER
            && header[..4] == *MAGIC
            && header[5..8] == [0; 3]
            && word(32) == xxh3_64(&header[..32]);
        let kind = good.then(|| Kind::from_byte(header[4])).flatten()?;
        Some(FrameAt { kind, number: word(8), offset, body: word(16), sum: word(24) })
    }
}

/// The frames at the start of a file.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The undamaged frames from the start on.
    pub frames: Vec<FrameAt>,
    /// The offset behind the last of them.
    pub good: u64,
    /// The file's length.
    pub len: u64,
    /// Behind `good` there is an undamaged frame: what lies between is damage, not the end of
    /// an interrupted write.
    pub more_behind: bool,
}

/// Reads a file and verifies every checksum up to the first frame that is not whole.
pub fn scan(file: &dyn DiskFile) -> io::Result<Scan> {
    scan_while(file, |_| true)
}

/// The same; `seen` is told of each whole frame once it has been read, and whether to go on is
/// what it answers.
pub fn scan_while(file: &dyn DiskFile, mut seen: impl FnMut(&FrameAt) -> bool) -> io::Result<Scan> {
    let len = file.size()?;
    let mut scan = Scan { len, ..Scan::default() };
    while let Some(frame) = frame_at(file, scan.good, len)? {
        scan.good = frame.end();
        scan.frames.push(frame);
        if !seen(&frame) {
            return Ok(scan);
        }
    }
    if scan.good < len {
        scan.more_behind = find_behind(file, scan.good, len)?;
    }
    Ok(scan)
}

/// The frames in the first `len` bytes, by their headers alone; none if these are damaged or do
/// not end at `len`. The bodies are verified when they are read.
pub fn headers(file: &dyn DiskFile, len: u64) -> io::Result<Option<Vec<FrameAt>>> {
    let mut frames = Vec::new();
    let mut at = 0;
    while at < len {
        let mut header = [0; HEADER];
        match file.read_at(&mut header, at) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let frame = FrameAt::parse(&header, at).filter(|f| f.body <= len && f.end() <= len);
        let Some(frame) = frame else { return Ok(None) };
        at = frame.end();
        frames.push(frame);
    }
    Ok(Some(frames))
}

/// The frame at an offset, if there is a whole one.
fn frame_at(file: &dyn DiskFile, offset: u64, len: u64) -> io::Result<Option<FrameAt>> {
    if offset + HEADER as u64 > len {
        return Ok(None);
    }
    let mut header = [0; HEADER];
    file.read_at(&mut header, offset)?;
    let Some(frame) = FrameAt::parse(&header, offset) else {
        return Ok(None);
    };
    if frame.body > len - offset - HEADER as u64 {
        return Ok(None);
    }
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; READ.min(frame.body as usize)];
    let (mut at, end) = (offset + HEADER as u64, frame.end());
    while at < end {
        let part = &mut buffer[..(end - at).min(READ as u64) as usize];
        file.read_at(part, at)?;
        hasher.update(part);
        at += part.len() as u64;
    }
    Ok((hasher.digest() == frame.sum).then_some(frame))
}

/// Whether a whole frame begins somewhere behind `from`.
fn find_behind(file: &dyn DiskFile, from: u64, len: u64) -> io::Result<bool> {
    let mut at = from;
    while at < len {
        // Windows overlap, so that no magic word is cut in two.
        let mut window = vec![0; (len - at).min(READ as u64) as usize];
        file.read_at(&mut window, at)?;
        for found in memmem::find_iter(&window, MAGIC) {
            let offset = at + found as u64;
            if offset > from && frame_at(file, offset, len)?.is_some() {
                return Ok(true);
            }
        }
        if window.len() < READ {
            break;
        }
        at += (READ - MAGIC.len()) as u64;
    }
    Ok(false)
}

/// Hands the chunks of a frame to `each`, unpacked, one at a time. The checksum is verified once
/// more on the way: an error means that what was handed out must not be used.
pub fn read_chunks(
    file: &dyn DiskFile,
    frame: &FrameAt,
    mut each: impl FnMut(Section, Vec<u8>) -> Result<(), String>,
) -> io::Result<()> {
    read_packed(file, frame, |chunk, packed| {
        let mut bytes = Vec::new();
        chunk.unpack(packed, &mut bytes)?;
        each(chunk.section, bytes).map_err(|what| damaged(&what))
    })
}

/// The same, packed.
pub fn read_packed<E: From<io::Error>>(
    file: &dyn DiskFile,
    frame: &FrameAt,
    mut each: impl FnMut(&ChunkAt, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut packed = Vec::new();
    let mut hasher = Xxh3::new();
    let mut at = frame.offset + HEADER as u64;
    while let Some(chunk) = chunk_at(file, frame, at, &mut hasher)? {
        chunk.read_packed(file, &mut packed)?;
        hasher.update(&packed);
        each(&chunk, &packed)?;
        at = chunk.end();
    }
    if hasher.digest() == frame.sum { Ok(()) } else { Err(damaged("the checksum differs").into()) }
}

/// The chunks of a frame, whose checksum is verified on the way.
pub fn chunks(file: &dyn DiskFile, frame: &FrameAt) -> io::Result<Vec<ChunkAt>> {
    let mut found = Vec::new();
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; READ.min(frame.body as usize)];
    let mut at = frame.offset + HEADER as u64;
    while let Some(chunk) = chunk_at(file, frame, at, &mut hasher)? {
        at = chunk.at;
        while at < chunk.end() {
            let part = &mut buffer[..(chunk.end() - at).min(READ as u64) as usize];
            file.read_at(part, at)?;
            hasher.update(part);
            at += part.len() as u64;
        }
        found.push(chunk);
    }
    if hasher.digest() == frame.sum { Ok(found) } else { Err(damaged("the checksum differs")) }
}

/// Where a chunk lies in its file.
#[derive(Clone, Copy, Debug)]
pub struct ChunkAt {
    /// What it holds.
    pub section: Section,
    at: u64,
    raw: usize,
    stored: usize,
    plain: usize,
}

impl ChunkAt {
    fn end(&self) -> u64 {
        self.at + (self.stored + self.plain) as u64
    }

    /// Bytes that it holds, unpacked.
    pub fn unpacked(&self) -> usize {
        self.raw + self.plain
    }

    /// Of what lies in the file the second part, which was never packed.
    pub fn plain<'a>(&self, packed: &'a [u8]) -> &'a [u8] {
        &packed[self.stored..]
    }

    /// Reads it as it lies.
    fn read_packed(&self, file: &dyn DiskFile, packed: &mut Vec<u8>) -> io::Result<()> {
        packed.resize(self.stored + self.plain, 0);
        file.read_at(packed, self.at)
    }

    /// Unpacks what lies in the file.
    pub fn unpack(&self, packed: &[u8], raw: &mut Vec<u8>) -> io::Result<()> {
        let (stored, plain) = packed.split_at(self.stored);
        raw.clear();
        raw.reserve(self.raw + self.plain);
        if self.stored == self.raw {
            raw.extend_from_slice(stored);
        } else {
            UNPACKER.with_borrow_mut(|unpacker| unpacker.decompress_to_buffer(stored, raw))?;
        }
        if raw.len() != self.raw {
            return Err(damaged("a chunk has another length than it says"));
        }
        raw.extend_from_slice(plain);
        Ok(())
    }

    /// Reads it into `packed` and from there unpacks it into `raw`.
    pub fn read(
        &self,
        file: &dyn DiskFile,
        packed: &mut Vec<u8>,
        raw: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.read_packed(file, packed)?;
        self.unpack(packed, raw)
    }
}

/// The chunk at an offset within a frame; none at the frame's end.
fn chunk_at(
    file: &dyn DiskFile,
    frame: &FrameAt,
    at: u64,
    hasher: &mut Xxh3,
) -> io::Result<Option<ChunkAt>> {
    let left = frame.end() - at;
    if left == 0 {
        return Ok(None);
    }
    if left < CHUNK_HEADER as u64 {
        return Err(damaged("a chunk is cut off"));
    }
    let mut head = [0; CHUNK_HEADER];
    file.read_at(&mut head, at)?;
    hasher.update(&head);
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let (raw, stored, plain) = (word(1) as usize, word(5) as usize, word(9) as usize);
    let within = (stored as u64 + plain as u64) <= left - CHUNK_HEADER as u64;
    if !within || raw > MAX_RAW {
        return Err(damaged("a chunk is longer than its frame"));
    }
    let section = Section::from_byte(head[0]).ok_or_else(|| damaged("an unknown section"))?;
    Ok(Some(ChunkAt { section, at: at + CHUNK_HEADER as u64, raw, stored, plain }))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
