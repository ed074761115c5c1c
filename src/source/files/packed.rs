//! A compressed file, decoded as a stream. To start at a position it is decoded from its head
//! and what lies before is dropped.
//!
//! Promises: an incomplete end is unfinished, not rejected: what was decoded is read, the rest
//! when it has come; where the run is bounded none will, and it is refused. So are damage and more
//! than `max_unpacked` bytes, once the lines that were decoded before are read.
//! Limits: one read decodes at most [`BUDGET`] bytes; memory is the decoder's window (at most
//! 128 MiB), one block and one message.

use std::io::{self, BufReader};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dataflows::batch::Span;
use flate2::bufread::MultiGzDecoder;

use super::common::{Common, Opened, Shared};
use super::lines;
use super::scan::Packing;
use crate::source::{Read, Reader, SourceError};

/// A block at least and at most; bytes.
const BLOCK: std::ops::RangeInclusive<usize> = (64 << 10)..=(1 << 20);
/// What is decoded in one call without giving anything; bytes.
const BUDGET: u64 = 16 << 20;

/// A reader of a compressed file.
pub struct PackedReader {
    common: Common,
    packing: Packing,
    max_unpacked: u64,
    decoder: Option<Box<dyn io::Read + Send>>,
    /// Position of the first byte of `held`.
    at: u64,
    /// Decoded bytes that are not read yet: the beginning of a line.
    held: Vec<u8>,
    /// Bytes decoded, those that were dropped too.
    decoded: u64,
    /// The last byte decoded before `at`.
    before: u8,
    /// The line at `at` is longer than a message may be: `held` is its beginning, so many bytes
    /// behind that were left out.
    left_out: Option<u64>,
    /// Why nothing more can be decoded.
    broken: Option<String>,
    /// Why nothing more is read, if that has to be said yet.
    refused: Option<SourceError>,
    undecided: bool,
    /// All is decoded; what is held is still to be read.
    complete: bool,
    /// Its size when nothing more could be decoded.
    tried: u64,
}

/// The raw bytes of a file, counted.
struct Raw {
    opened: Opened,
    shared: Arc<Shared>,
}

impl io::Read for Raw {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.opened.disk.read(into)?;
        self.shared.raw.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// How a stretch of decoding ended.
enum Decoded {
    /// There may be more.
    More,
    /// The file is complete.
    Complete,
    /// The file ends in the middle.
    CutOff,
}

impl PackedReader {
    /// Reads from a position on.
    pub fn new(common: Common, at: u64, packing: Packing, max_unpacked: u64) -> Self {
        let undecided = common.may_be_array && at == 0;
        PackedReader {
            common,
            packing,
            max_unpacked,
            decoder: None,
            at,
            held: Vec::new(),
            decoded: 0,
            before: b'\n',
            left_out: None,
            broken: None,
            refused: None,
            undecided,
            complete: false,
            tried: 0,
        }
    }

    /// Opens the file at its head; false if that has to wait.
    fn start(&mut self) -> Result<bool, SourceError> {
        let Some(opened) = self.common.open()? else {
            return Ok(false);
        };
        let size = opened.disk.metadata().map_err(|e| self.common.unavailable("reading", &e))?;
        self.tried = size.len();
        self.common.shared.size.store(size.len(), Ordering::Relaxed);
        self.common.shared.raw.store(0, Ordering::Relaxed);
        let raw = Raw { opened, shared: self.common.shared.clone() };
        self.decoder = Some(match self.packing {
            Packing::Plain => Box::new(raw),
            Packing::Gzip => {
                Box::new(MultiGzDecoder::new(BufReader::with_capacity(128 << 10, raw)))
            }
            Packing::Zstd => Box::new(
                zstd::Decoder::new(raw).map_err(|e| self.common.unavailable("decoding", &e))?,
            ),
        });
        (self.decoded, self.left_out, self.before) = (0, None, b'\n');
        self.held = Vec::new();
        Ok(true)
    }

    /// Decodes more behind `bytes`, at most up to a length.
    fn decode(&mut self, bytes: &mut Vec<u8>, upto: usize) -> Decoded {
        use io::Read as _;
        if self.complete {
            return Decoded::Complete;
        }
        let Some(decoder) = &mut self.decoder else {
            return Decoded::CutOff;
        };
        let had = bytes.len();
        let result = decoder.take((upto - had) as u64).read_to_end(bytes);
        self.decoded += (bytes.len() - had) as u64;
        let beyond = self.decoded.saturating_sub(self.max_unpacked);
        if beyond > 0 {
            bytes.truncate(bytes.len().saturating_sub(beyond as usize).max(had));
            let most = self.max_unpacked;
            let why = format!("it unpacks to more than max_unpacked, {most} bytes; raise that");
            return self.breaks(why);
        }
        match result {
            Ok(_) if bytes.len() == upto => Decoded::More,
            Ok(_) => {
                // Among many files none is open longer than it has to be.
                (self.complete, self.decoder) = (true, None);
                Decoded::Complete
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Decoded::CutOff,
            Err(error) => {
                let after = self.decoded;
                self.breaks(format!("it is damaged after {after} bytes: {error}"))
            }
        }
    }

    /// Nothing more can be decoded; what was is still to be read.
    fn breaks(&mut self, why: String) -> Decoded {
        (self.broken, self.decoder) = (Some(why), None);
        Decoded::CutOff
    }

    /// Drops what lies before the position; none when that is done.
    fn skip(&mut self) -> Result<Option<Read>, SourceError> {
        let from = self.decoded;
        while self.decoded < self.at {
            if self.decoded - from > BUDGET {
                return Ok(Some(Read::Pending(Duration::ZERO)));
            }
            let len = (self.at - self.decoded).min(256 << 10) as usize;
            let mut bytes = self.common.pool.take(len);
            let end = self.decode(&mut bytes, len);
            self.before = bytes.last().copied().unwrap_or(self.before);
            self.note_arrivals(&bytes);
            drop(self.common.pool.give(bytes));
            if self.decoded == self.at {
                self.held.clear();
            } else if self.broken.is_some() {
                return Ok(Some(self.finish(&end)));
            } else if !matches!(end, Decoded::More) {
                // It holds less than was read of it.
                self.common.replaced()?;
                return Ok(Some(self.over()));
            }
        }
        Ok(None)
    }

    /// Keeps the arrival time of the latest row that is passed over; a row may lie over two
    /// blocks.
    fn note_arrivals(&mut self, bytes: &[u8]) {
        let Some(field) = &self.common.field else {
            return;
        };
        self.held.extend_from_slice(bytes);
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &self.held) {
            if let Some(found) = field.of(&self.held[start..end]) {
                self.common.arrival = found;
            }
            start = end + 1;
        }
        self.held.drain(..start);
        self.held.truncate(self.common.max_message);
    }

    fn give(&mut self, bytes: Vec<u8>, spans: Vec<Span>, next: u64) -> Read {
        let at = std::mem::replace(&mut self.at, next);
        self.before = b'\n';
        self.common.batch(at, bytes, spans, next)
    }

    /// More lines, or what the end of the data means.
    fn step(&mut self, max_bytes: usize, most: usize) -> Result<Option<Read>, SourceError> {
        let mut bytes = std::mem::take(&mut self.held);
        let had = bytes.len();
        let mut end = Decoded::More;
        if self.undecided || memchr::memchr(b'\n', &bytes).is_none() {
            // A line that goes on over many blocks doubles what is taken, up to what a message is.
            let want = max_bytes.clamp(*BLOCK.start(), *BLOCK.end()).max(had);
            let upto = had + want.min(self.common.max_message + 1);
            if had <= *BLOCK.start() {
                let mut block = self.common.pool.take(upto);
                block.extend_from_slice(&bytes);
                bytes = block;
            }
            end = self.decode(&mut bytes, upto);
        }
        if self.before != b'\n' && !lines::ends_line(&bytes) {
            self.common.ended = true;
            let how = format!("the line that ended its {} bytes has grown", self.at);
            return Err(self.common.changed(&how));
        }
        if let Some(gone) = self.left_out {
            return Ok(self.long(bytes, had, gone, &end));
        }
        if self.undecided {
            return self.head(bytes, &end);
        }
        Ok(self.lines(bytes, most, &end))
    }

    /// The lines that are complete; what is left waits for more.
    fn lines(&mut self, mut bytes: Vec<u8>, most: usize, end: &Decoded) -> Option<Read> {
        let mut spans = Vec::with_capacity((bytes.len() / 128).min(most));
        let taken = lines::split(&bytes, self.at == 0, most, &mut spans);
        let next = self.at + taken as u64;
        if taken > 0 {
            self.held.extend_from_slice(&bytes[taken..]);
            return self.pass(bytes, spans, next);
        }
        match end {
            Decoded::More => {
                if bytes.len() > self.common.max_message {
                    self.left_out = Some(self.cut(&mut bytes));
                }
                self.held = bytes;
                None
            }
            // More may be put behind a file that is complete, also within a line.
            Decoded::Complete
                if !self.common.bounded && !lines::is_blank(&bytes) && !lines::is_whole(&bytes) =>
            {
                Some(self.unfinished())
            }
            Decoded::Complete if !bytes.is_empty() => {
                let len = bytes.len();
                lines::push(&bytes, 0, len, self.at == 0, &mut spans);
                self.pass(bytes, spans, self.at + len as u64)
            }
            _ => Some(self.finish(end)),
        }
    }

    /// What is left of a complete file is the beginning of something: more may be put behind it.
    fn unfinished(&mut self) -> Read {
        self.common.unfinished(self.at);
        self.finish(&Decoded::CutOff)
    }

    /// Gives the records of a block, if there are any; blank lines are passed over.
    fn pass(&mut self, bytes: Vec<u8>, spans: Vec<Span>, next: u64) -> Option<Read> {
        if !spans.is_empty() {
            return Some(self.give(bytes, spans, next));
        }
        self.at = next;
        self.before = b'\n';
        self.common.shared.at.store(next, Ordering::Relaxed);
        None
    }

    /// Cuts the beginning of a line to what is delivered of it; says how many bytes that left out.
    fn cut(&self, bytes: &mut Vec<u8>) -> u64 {
        let most = self.common.max_message + 1;
        let gone = bytes.len().saturating_sub(most) as u64;
        bytes.truncate(most);
        gone
    }

    /// Goes on with a line longer than a message may be. Its first `had` bytes are known to hold
    /// no end, `gone` more have been left out behind them.
    fn long(&mut self, mut bytes: Vec<u8>, had: usize, gone: u64, end: &Decoded) -> Option<Read> {
        let found = memchr::memchr(b'\n', &bytes[had..]).map(|n| had + n);
        let line = match (found, end) {
            (Some(n), _) => n,
            (None, Decoded::Complete) if self.common.bounded => bytes.len(),
            (None, Decoded::More) => {
                self.left_out = Some(gone + self.cut(&mut bytes));
                self.held = bytes;
                return None;
            }
            (None, Decoded::Complete) => return Some(self.unfinished()),
            (None, _) => return Some(self.finish(end)),
        };
        let behind = (line + 1).min(bytes.len());
        self.held = bytes.split_off(behind);
        self.left_out = None;
        bytes.truncate(line);
        self.cut(&mut bytes);
        let mut spans = Vec::new();
        lines::push(&bytes, 0, bytes.len(), self.at == 0, &mut spans);
        self.pass(bytes, spans, self.at + gone + behind as u64)
    }

    /// Looks at the head of a file that may be one array over several lines: such a one is one
    /// message, once it is complete.
    fn head(&mut self, bytes: Vec<u8>, end: &Decoded) -> Result<Option<Read>, SourceError> {
        let start = bytes.len() - bytes.trim_ascii_start().len();
        let line = memchr::memchr(b'\n', &bytes[start..]).map(|n| start + n);
        let more = matches!(end, Decoded::More);
        let whole = match line {
            Some(n) => lines::opens_array(&bytes[start..n]),
            None => more && bytes.len() <= self.common.max_message,
        };
        if !whole || matches!(end, Decoded::CutOff) {
            self.undecided = whole;
            return Ok(self.lines_or_finish(bytes, end));
        }
        if more && bytes.len() > self.common.max_message {
            let why = format!("its one array is longer than {} bytes", self.common.max_message);
            return Err(self.common.refuse(&why));
        }
        if more {
            self.held = bytes;
            return Ok(None);
        }
        if !self.common.bounded && !lines::is_json(&bytes) {
            return Ok(Some(self.unfinished()));
        }
        self.undecided = false;
        let next = self.at + bytes.len() as u64;
        let spans = vec![lines::trimmed(&bytes)];
        Ok(Some(self.give(bytes, spans, next)))
    }

    fn lines_or_finish(&mut self, bytes: Vec<u8>, end: &Decoded) -> Option<Read> {
        if self.undecided {
            return Some(self.finish(end));
        }
        if matches!(end, Decoded::More) {
            self.held = bytes;
            return None;
        }
        self.lines(bytes, usize::MAX, end)
    }

    /// The data is at its end: the run's end, that of what can be read, or a rest until the file
    /// has grown.
    fn finish(&mut self, end: &Decoded) -> Read {
        (self.complete, self.decoder) = (false, None);
        self.held = Vec::new();
        if let Some(why) = self.broken.take() {
            self.refused = Some(self.common.refuse(&why));
            return self.over();
        }
        if matches!(end, Decoded::Complete) {
            self.common.shared.read.store(self.tried, Ordering::Relaxed);
        } else if self.common.bounded {
            self.common.counts.unfinished.fetch_add(1, Ordering::Relaxed);
            let why = format!("its end is missing; it was read up to byte {} unpacked", self.at);
            self.refused = Some(self.common.refuse(&why));
        }
        if self.common.bounded { self.over() } else { self.common.idle() }
    }

    fn over(&mut self) -> Read {
        self.common.ended = true;
        self.decoder = None;
        self.common.pool.clear();
        Read::End
    }
}

impl PackedReader {
    fn next(&mut self, max_bytes: usize, max_records: usize) -> Result<Read, SourceError> {
        if self.common.ended || self.common.shared.replaced.load(Ordering::Relaxed) {
            return Ok(self.over());
        }
        if self.decoder.is_none() && !self.complete && self.broken.is_none() {
            // Scans tell when it has grown.
            let grown = self.common.shared.size.load(Ordering::Relaxed) != self.tried;
            if !grown || !self.start()? {
                let wait = self.common.patience().max(Duration::from_millis(50));
                return Ok(if self.common.ended { self.over() } else { Read::Idle(wait) });
            }
        }
        if let Some(read) = self.skip()? {
            return Ok(read);
        }
        let from = self.decoded;
        while self.decoded - from <= BUDGET {
            if let Some(read) = self.step(max_bytes, max_records.max(1))? {
                return Ok(read);
            }
        }
        Ok(Read::Pending(Duration::ZERO))
    }
}

impl Reader for PackedReader {
    fn read(&mut self, max_bytes: usize, max_records: usize) -> Result<Read, SourceError> {
        let read = self.next(max_bytes, max_records)?;
        self.refused.take().map_or(Ok(read), Err)
    }

    fn end(&self) -> Option<u64> {
        let rests =
            self.decoder.is_none() && !self.complete && self.broken.is_none() && self.tried > 0;
        (self.common.ended || rests).then_some(self.at)
    }
}
