//! Lines to send: the demo's three streams, made once, sent round after round; each round as new
//! posts, or as the same again.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use pinflow::cli::Failure;
use pinflow::cli::bench::data;

/// Bytes of a file's head that stay, and of what stands before where it is read.
const KEPT: u64 = 1 << 16;

/// The streams, as their files are called.
pub const STREAMS: [&str; 3] = ["pin", "geo", "user"];

/// A line's place in its file, and its index's.
struct Line {
    start: usize,
    end: usize,
    /// Where the index stands, and which it is; none in the dirt.
    index: Option<(usize, usize, u64)>,
}

/// The lines of the streams.
pub struct Pool {
    streams: Vec<(Vec<u8>, Vec<Line>)>,
    /// Beyond all indexes.
    indexes: u64,
}

impl Pool {
    /// Lines of so many posts, generated into a folder.
    pub fn new(dir: &Path, posts: u64, seed: u64) -> Result<Self, Failure> {
        data::demo(dir, posts * 3, seed)?;
        let mut streams = Vec::new();
        for name in STREAMS {
            let path = dir.join(format!("{name}.jsonl"));
            let text = std::fs::read(&path)
                .map_err(|e| Failure::io(format!("reading {}", path.display()), &e))?;
            let mut at = 0;
            let mut lines = Vec::new();
            for bytes in text.split_inclusive(|b| *b == b'\n') {
                let (start, end) = (at, at + bytes.len());
                lines.push(Line { start, end, index: index(bytes, start) });
                at = end;
            }
            streams.push((text, lines));
        }
        let all = streams.iter().flat_map(|(_, lines)| lines).filter_map(|l| l.index);
        let indexes = all.map(|(.., n)| n + 1).max().unwrap_or(1);
        Ok(Pool { streams, indexes })
    }
}

/// Where the index of a line stands, and which it is.
fn index(line: &[u8], start: usize) -> Option<(usize, usize, u64)> {
    let text = str::from_utf8(line).ok()?;
    serde_json::from_str::<&serde_json::value::RawValue>(text).ok()?;
    let at =
        ["{\"index\":", "{\"ind\":"].iter().find_map(|k| text.starts_with(k).then_some(k.len()))?;
    let from = at + text[at..].len() - text[at..].trim_start().len();
    let digits = text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let n = text[from..from + digits].parse().ok()?;
    Some((start + from, start + from + digits, n))
}

/// Gives back to the disk a part of a file, where the system can do that.
fn punch(file: &File, from: u64, len: u64) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(file, flags, from, len)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, from, len);
    Ok(())
}

/// Appends lines of a pool to the three files of a folder.
pub struct Pump<'a> {
    pool: &'a Pool,
    files: Vec<File>,
    /// The files, and their bytes so far.
    pub paths: Vec<PathBuf>,
    /// See there.
    pub ends: [u64; 3],
    /// Where in the pool the next line of each stream stands, and in which round.
    next: [(usize, u64); 3],
    /// Each round is of new posts.
    fresh: bool,
    /// What ends each line in place of its brace; the dirt, which has none, is left out then.
    pub tail: String,
    buffer: Vec<u8>,
}

impl<'a> Pump<'a> {
    /// Into a folder, whose files are made if they are not there.
    pub fn new(pool: &'a Pool, dir: &Path, fresh: bool) -> Result<Self, Failure> {
        let paths: Vec<PathBuf> = STREAMS.iter().map(|n| dir.join(format!("{n}.jsonl"))).collect();
        let mut files = Vec::new();
        let mut ends = [0; 3];
        std::fs::create_dir_all(dir)
            .map_err(|e| Failure::io(format!("creating {}", dir.display()), &e))?;
        for (path, end) in paths.iter().zip(&mut ends) {
            let failed = |e| Failure::io(format!("writing to {}", path.display()), &e);
            let file = File::options().create(true).append(true).open(path).map_err(failed)?;
            *end = file.metadata().map_err(failed)?.len();
            files.push(file);
        }
        let (next, tail, buffer) = ([(0, 0); 3], String::new(), Vec::new());
        Ok(Pump { pool, files, paths, ends, next, fresh, tail, buffer })
    }

    /// Sends so many records, a third to each stream; how many it were.
    pub fn send(&mut self, records: u64) -> Result<u64, Failure> {
        let each = records.div_ceil(3);
        for n in 0..3 {
            self.append(n, each)?;
        }
        Ok(each * 3)
    }

    /// Sends what is left of the round of each stream; how many records.
    pub fn finish(&mut self) -> Result<u64, Failure> {
        let mut all = 0;
        for n in 0..3 {
            let (at, lines) = (self.next[n].0, self.pool.streams[n].1.len());
            let left = (lines - at) as u64 % lines as u64;
            self.append(n, left)?;
            all += left;
        }
        Ok(all)
    }

    /// Gives back what the disk holds of the files before these places, but for their heads, by
    /// which they are known, and what stands right before: whoever goes on looks there. Their
    /// lengths stay.
    pub fn forget(&self, before: [u64; 3]) -> Result<(), Failure> {
        for ((path, file), before) in self.paths.iter().zip(&self.files).zip(before) {
            let Some(len) = before.checked_sub(2 * KEPT).filter(|len| *len > 0) else { continue };
            punch(file, KEPT, len).map_err(|e| {
                Failure::io(format!("giving back a part of {}", path.display()), &e)
            })?;
        }
        Ok(())
    }

    fn append(&mut self, n: usize, lines: u64) -> Result<(), Failure> {
        self.buffer.clear();
        for _ in 0..lines {
            self.line(n);
        }
        self.files[n]
            .write_all(&self.buffer)
            .map_err(|e| Failure::io(format!("writing to {}", self.paths[n].display()), &e))?;
        self.ends[n] += self.buffer.len() as u64;
        Ok(())
    }

    fn line(&mut self, n: usize) {
        let (text, lines) = &self.pool.streams[n];
        let (at, round) = &mut self.next[n];
        let line = &lines[*at];
        let body = text[line.start..line.end].trim_ascii_end();
        let out = &mut self.buffer;
        let before = out.len();
        match line.index {
            Some((from, to, index)) if self.fresh => {
                out.extend_from_slice(&text[line.start..from]);
                let moved = index + *round * self.pool.indexes;
                let _ = write!(out, "{moved}");
                out.extend_from_slice(&text[to..line.start + body.len()]);
            }
            _ => out.extend_from_slice(body),
        }
        if !self.tail.is_empty() && line.index.is_some() {
            out.pop();
            out.extend_from_slice(self.tail.as_bytes());
        }
        // What cannot say when it was sent would come now, and the clock with it.
        if !self.tail.is_empty() && line.index.is_none() {
            out.truncate(before);
        } else {
            out.push(b'\n');
        }
        *at += 1;
        if *at == lines.len() {
            (*at, *round) = (0, *round + 1);
        }
    }
}
