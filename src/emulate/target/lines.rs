//! Records as lines: on standard output, or a file a stream.
//!
//! Promises: a record is one line; before every pause all that was taken is on its way.

use std::fs::OpenOptions;
use std::io::{BufWriter, ErrorKind, Stdout, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{Failure, exit};
use crate::emulate::feed;

use super::{Record, Target};

/// Bytes gathered before they are written.
const BUFFER: usize = 1 << 16;

/// Standard output: the records of all streams as they come.
#[derive(Debug)]
pub struct StdoutTarget {
    out: BufWriter<Stdout>,
    sent: [u64; 3],
    /// Nobody reads any more.
    gone: bool,
}

impl StdoutTarget {
    /// Standard output.
    pub fn new() -> Self {
        let out = BufWriter::with_capacity(BUFFER, std::io::stdout());
        StdoutTarget { out, sent: [0; 3], gone: false }
    }

    /// A reader that has seen enough is no failure.
    fn seen(&mut self, result: std::io::Result<()>) -> Result<(), Failure> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(())
            }
            other => other.map_err(|error| Failure::io("writing to standard output", &error)),
        }
    }
}

impl Default for StdoutTarget {
    fn default() -> Self {
        Self::new()
    }
}

impl Target for StdoutTarget {
    fn name(&self) -> String {
        "standard output".into()
    }

    fn send(&mut self, record: Record<'_>) -> Result<bool, Failure> {
        let written = line(&mut self.out, record.bytes);
        self.seen(written)?;
        self.sent[record.stream as usize] += u64::from(!self.gone);
        Ok(!self.gone)
    }

    fn idle(&mut self, pause: Duration) -> Result<(), Failure> {
        let flushed = self.out.flush();
        self.seen(flushed)?;
        std::thread::sleep(pause);
        Ok(())
    }

    fn finish(&mut self) -> Result<[u64; 3], Failure> {
        let flushed = self.out.flush();
        self.seen(flushed)?;
        Ok(self.sent)
    }
}

/// A folder with `pin.jsonl`, `geo.jsonl` and `user.jsonl`.
#[derive(Debug)]
pub struct FilesTarget {
    dir: PathBuf,
    files: [BufWriter<std::fs::File>; 3],
    sent: [u64; 3],
}

impl FilesTarget {
    /// New files in a folder, which is created. Files that are there are not touched.
    pub fn create(dir: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(dir)
            .map_err(|error| Failure::io(format!("creating {}", dir.display()), &error))?;
        let paths = feed::files(dir).map(|(_, path)| path);
        if let Some(path) = paths.iter().find(|path| path.exists()) {
            let message = format!("{} is there already and is not overwritten", path.display());
            let hint = "name another folder with --out, or take the file away";
            return Err(Failure::new(exit::USAGE, message, hint));
        }
        let create = |path: &PathBuf| {
            let file = OpenOptions::new().write(true).create_new(true).open(path);
            file.map(|file| BufWriter::with_capacity(BUFFER, file))
                .map_err(|error| Failure::io(format!("creating {}", path.display()), &error))
        };
        let files = [create(&paths[0])?, create(&paths[1])?, create(&paths[2])?];
        Ok(FilesTarget { dir: dir.to_path_buf(), files, sent: [0; 3] })
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.files.iter_mut().try_for_each(Write::flush).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        Failure::io(format!("writing to {}", self.dir.display()), error)
    }
}

impl Target for FilesTarget {
    fn name(&self) -> String {
        self.dir.display().to_string()
    }

    fn send(&mut self, record: Record<'_>) -> Result<bool, Failure> {
        let stream = record.stream as usize;
        line(&mut self.files[stream], record.bytes).map_err(|error| self.failed(&error))?;
        self.sent[stream] += 1;
        Ok(true)
    }

    fn idle(&mut self, pause: Duration) -> Result<(), Failure> {
        self.flush()?;
        std::thread::sleep(pause);
        Ok(())
    }

    fn finish(&mut self) -> Result<[u64; 3], Failure> {
        self.flush()?;
        Ok(self.sent)
    }
}

fn line(out: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    out.write_all(bytes)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::record::Stream;

    #[test]
    fn a_record_is_a_line_of_its_stream_and_files_are_not_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        let out = dir.path().join("a/b");
        let mut target = FilesTarget::create(&out).expect("new");
        for (stream, bytes) in [(Stream::Pin, "1"), (Stream::User, "2"), (Stream::Pin, "3")] {
            let record = Record { stream, index: None, bytes: bytes.as_bytes() };
            assert!(target.send(record).expect("taken"));
        }
        target.idle(Duration::ZERO).expect("written");
        let read = |name: &str| std::fs::read_to_string(out.join(name)).expect("there");
        assert_eq!((read("pin.jsonl"), read("geo.jsonl")), ("1\n3\n".into(), String::new()));
        assert_eq!(target.finish().expect("written"), [2, 0, 1]);
        let failure = FilesTarget::create(&out).expect_err("it is there");
        assert_eq!(failure.exit_code, exit::USAGE);
    }
}
