//! A file as it is on disk, read in blocks at its own positions.
//!
//! Promises: nothing is kept between two reads but the position, so what was cut off at a
//! block's end is read again with the next; a line that is longer than a block is measured
//! before memory is taken for it.
//! Limits: one read takes in at most [`BUDGET`] bytes.

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dataflows::batch::Span;
use memchr::memchr;

use super::common::{Common, Opened};
use super::lines;
use crate::source::{Read, Reader, SourceError};

/// A block at least and at most; bytes.
const BLOCK: std::ops::RangeInclusive<usize> = (64 << 10)..=(1 << 20);
/// What is looked through in one call for the end of a long line; bytes.
const BUDGET: u64 = 64 << 20;

/// A reader of a plain file.
pub struct PlainReader {
    common: Common,
    opened: Option<Opened>,
    at: u64,
    /// From here on the line at `at` has to be looked through for its end.
    looked: u64,
    /// What stands at the head has not been decided on yet: lines, or one array. Of this size
    /// it was no complete array.
    undecided: Option<u64>,
    /// There was a pause: the file has to be the same still before it is read on.
    paused: bool,
    /// The file is closed; the scans tell when there is more of it.
    closed: bool,
    /// The arrival time of the row before `at` is still to be found.
    behind: bool,
}

/// What to do after a step.
enum Step {
    Give(Read),
    Again,
}

impl PlainReader {
    /// Reads from a position on.
    pub fn new(common: Common, at: u64) -> Self {
        let undecided = (common.may_be_array && at == 0).then_some(0);
        let behind = common.field.is_some() && at > 0;
        PlainReader {
            common,
            opened: None,
            at,
            looked: at,
            undecided,
            paused: true,
            closed: false,
            behind,
        }
    }

    /// The size of the file now; none if there is nothing to do.
    fn size(&mut self) -> Result<Option<u64>, SourceError> {
        let known = self.common.shared.size.load(Ordering::Relaxed);
        if self.opened.is_none() {
            if self.closed && known <= self.at.max(self.looked) {
                return Ok(None);
            }
            self.opened = self.common.open()?;
            self.closed = false;
        }
        let Some(opened) = &self.opened else {
            return Ok(None);
        };
        let meta = opened.disk.metadata().map_err(|e| self.common.unavailable("reading", &e))?;
        if meta.len() < self.at {
            self.common.replaced()?;
            return Ok(None);
        }
        let read = meta.len() == self.looked.max(self.at) || self.undecided == Some(meta.len());
        if read && self.common.is_copied(&meta) {
            (self.opened, self.paused, self.looked) = (None, true, self.at);
            return Ok(None);
        }
        self.common.shared.size.store(meta.len(), Ordering::Relaxed);
        Ok(Some(meta.len()))
    }

    /// Something came after a rest: whether the file is still the same, and whether what was
    /// read before ended where a line ends.
    fn wake(&mut self, size: u64) -> Result<bool, SourceError> {
        let Some(opened) = &self.opened else {
            return Ok(false);
        };
        if !self.common.same(opened)? {
            return Ok(false);
        }
        if self.at > 0 {
            let mut before = [0];
            let read = opened.disk.read_exact_at(&mut before, self.at - 1);
            read.map_err(|e| self.common.unavailable("reading", &e))?;
            if before != *b"\n" && !self.has_end(size)? {
                self.common.ended = true;
                let how = format!("the line that ended its {} bytes has grown", self.at);
                return Err(self.common.changed(&how));
            }
        }
        if std::mem::take(&mut self.behind) {
            self.look_behind()?;
        }
        Ok(true)
    }

    /// Whether the line that ended at the position has its end there now, or only blanks behind it.
    fn has_end(&mut self, size: u64) -> Result<bool, SourceError> {
        let rest = self.block(self.at, (size - self.at).min(1 << 10) as usize)?;
        let is_whole = rest.len() as u64 == size - self.at || rest.contains(&b'\n');
        Ok(is_whole && lines::ends_line(&rest))
    }

    /// Finds the arrival time of the latest row before the position that has one.
    fn look_behind(&mut self) -> Result<(), SourceError> {
        let Some(field) = self.common.field.clone() else {
            return Ok(());
        };
        let mut width = 64 << 10;
        loop {
            let from = self.at.saturating_sub(width);
            let block = self.block(from, (self.at - from) as usize)?;
            // The first line may be a part of one, unless the block begins with the file.
            let whole =
                if from == 0 { 0 } else { memchr(b'\n', &block).map_or(block.len(), |n| n + 1) };
            let mut rows = block[whole..].rsplit(|b| *b == b'\n');
            if let Some(found) = rows.find_map(|row| field.of(row)) {
                self.common.arrival = found;
                return Ok(());
            }
            if from == 0 {
                return Ok(());
            }
            width *= 4;
        }
    }

    /// Bytes of the file; fewer if it ends before.
    fn block(&mut self, from: u64, len: usize) -> Result<Vec<u8>, SourceError> {
        let mut bytes = self.common.pool.take(len);
        let Some(opened) = &self.opened else {
            return Ok(bytes);
        };
        while bytes.len() < len {
            let at = from + bytes.len() as u64;
            let spare = rustix::buffer::spare_capacity(&mut bytes);
            match rustix::io::pread(opened.disk.as_fd(), spare, at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(self.common.unavailable("reading", &error.into())),
            }
        }
        // A used buffer may be larger than asked for.
        bytes.truncate(len);
        Ok(bytes)
    }

    /// What stands at the head: one array over several lines is one message.
    fn decide(&mut self, size: u64) -> Result<Option<Read>, SourceError> {
        let Some(end) = self.find_end(size)? else {
            if self.looked < size || !self.common.bounded {
                return Ok(Some(self.wait(size)));
            }
            // One line without an end: the same message either way.
            self.undecided = None;
            return Ok(None);
        };
        let first =
            self.block(self.at, (end - self.at).min(self.common.max_message as u64) as usize)?;
        if lines::is_blank(&first) {
            (self.at, self.looked) = (end + 1, end + 1);
            return Ok(None);
        }
        if !lines::opens_array(&first) {
            self.undecided = None;
            return Ok(None);
        }
        let most = self.common.max_message + 1;
        let bytes = self.block(self.at, (size - self.at).min(most as u64) as usize)?;
        if !self.common.bounded && bytes.len() < most && !lines::is_json(&bytes) {
            self.undecided = Some(size);
            return Ok(Some(self.rest()));
        }
        if bytes.len() < most && lines::is_half(&bytes) {
            self.common.unfinished(self.at);
            return Ok(Some(self.over()));
        }
        self.undecided = None;
        let spans = vec![lines::trimmed(&bytes)];
        Ok(Some(self.give(bytes, spans, size)))
    }

    /// Where the line at the position ends; none if it does not yet, or if one call is not
    /// enough to say (then `looked` is less than `size`).
    fn find_end(&mut self, size: u64) -> Result<Option<u64>, SourceError> {
        let upto = size.min(self.looked.saturating_add(BUDGET));
        while self.looked < upto {
            let len = (upto - self.looked).min(256 << 10) as usize;
            let bytes = self.block(self.looked, len)?;
            let found = memchr(b'\n', &bytes).map(|n| self.looked + n as u64);
            let read = bytes.len() as u64;
            drop(self.common.pool.give(bytes));
            if found.is_some() {
                return Ok(found);
            }
            if read == 0 {
                break;
            }
            self.looked += read;
        }
        Ok(None)
    }

    fn give(&mut self, bytes: Vec<u8>, spans: Vec<Span>, next: u64) -> Read {
        let at = std::mem::replace(&mut self.at, next);
        self.looked = next;
        if self.common.crowded() {
            self.opened = None;
        }
        self.common.batch(at, bytes, spans, next)
    }

    /// One step: a block of lines, or a line that is longer than a block.
    fn step(&mut self, size: u64, max_bytes: usize, most: usize) -> Result<Step, SourceError> {
        let want = max_bytes.clamp(*BLOCK.start(), *BLOCK.end()) as u64;
        let bytes = self.block(self.at, want.min(size - self.at) as usize)?;
        let mut spans = Vec::with_capacity((bytes.len() / 128).min(most));
        let taken = lines::split(&bytes, self.at == 0, most, &mut spans) as u64;
        let next = self.at + taken;
        if !spans.is_empty() {
            return Ok(Step::Give(self.give(bytes, spans, next)));
        }
        if taken > 0 {
            // Blank lines alone.
            (self.at, self.looked) = (next, next);
            self.common.shared.at.store(next, Ordering::Relaxed);
            return Ok(Step::Again);
        }
        self.looked = self.looked.max(self.at + bytes.len() as u64);
        drop(bytes);
        self.long(size)
    }

    /// A line that a block does not hold, or the last one without its end.
    fn long(&mut self, size: u64) -> Result<Step, SourceError> {
        let end = match self.find_end(size)? {
            Some(end) => end,
            None if self.looked >= size && self.common.bounded => size,
            None => return Ok(Step::Give(self.wait(size))),
        };
        let most = self.common.max_message as u64 + 1;
        let bytes = self.block(self.at, (end - self.at).min(most) as usize)?;
        if end == size && (bytes.len() as u64) < most && lines::is_half(&bytes) {
            // Taken now, what is behind it would be another line once its writer has gone on.
            self.common.unfinished(self.at);
            return Ok(Step::Give(self.over()));
        }
        let mut spans = Vec::new();
        lines::push(&bytes, 0, bytes.len(), self.at == 0, &mut spans);
        let next = (end + 1).min(size);
        if spans.is_empty() {
            (self.at, self.looked) = (next, next);
            self.common.shared.at.store(next, Ordering::Relaxed);
            return Ok(Step::Again);
        }
        Ok(Step::Give(self.give(bytes, spans, next)))
    }

    /// Waits: for more of a file, or for the next turn where one call was not enough.
    fn wait(&mut self, size: u64) -> Read {
        if self.looked < size { Read::Pending(Duration::ZERO) } else { self.rest() }
    }

    /// Whether what is left is the beginning of a line, or of an array, that waits for its end.
    fn waits(&self) -> bool {
        let size = self.common.shared.size.load(Ordering::Relaxed);
        let looked_through = self.looked >= size || self.undecided == Some(size);
        !self.common.bounded && self.at < size && looked_through
    }

    fn rest(&mut self) -> Read {
        self.paused = true;
        let still = self.common.patience() >= Duration::from_millis(250);
        if still && self.waits() {
            self.common.unfinished(self.at);
        }
        // Scans tell of growth of a file that is still for long, or of one among very many.
        if still || self.common.crowded() {
            self.opened = None;
            self.closed = true;
        }
        self.common.idle()
    }

    fn over(&mut self) -> Read {
        self.common.ended = true;
        self.opened = None;
        self.common.pool.clear();
        Read::End
    }
}

impl Reader for PlainReader {
    fn read(&mut self, max_bytes: usize, max_records: usize) -> Result<Read, SourceError> {
        if self.common.ended || self.common.shared.replaced.load(Ordering::Relaxed) {
            return Ok(self.over());
        }
        let Some(size) = self.size()? else {
            return Ok(if self.common.ended { self.over() } else { self.rest() });
        };
        if self.common.bounded && size == self.at {
            return Ok(self.over());
        }
        // A line of which no more has come is waited for, and so is an array.
        if !self.common.bounded
            && (size == self.looked.max(self.at) || self.undecided == Some(size))
        {
            return Ok(self.rest());
        }
        if self.paused {
            if !self.wake(size)? {
                return Ok(self.over());
            }
            self.paused = false;
        }
        // Blank lines make a step without a record; a few steps, then others have their turn.
        for _ in 0..16 {
            if self.at >= size {
                break;
            }
            if self.undecided.is_some() {
                if let Some(read) = self.decide(size)? {
                    return Ok(read);
                }
                continue;
            }
            if let Step::Give(read) = self.step(size, max_bytes, max_records.max(1))? {
                return Ok(read);
            }
        }
        Ok(Read::Pending(Duration::ZERO))
    }

    fn end(&self) -> Option<u64> {
        let size = self.common.shared.size.load(Ordering::Relaxed).max(self.at);
        // Of a line that waits for its end there is nothing to be read.
        Some(if self.waits() { self.at } else { size })
    }
}
