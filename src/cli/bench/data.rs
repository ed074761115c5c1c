//! Data to measure with: the demo's three streams as files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use crate::cli::{Failure, exit};
use crate::config::{Demo, Rate, Source, SourceKind};
use crate::source::{self, Read};

/// Indexes by posts sent: visits draw from them, so that one post in twenty is sent again.
const INDEXES: u64 = 10;
/// Bytes and records asked for at a time.
const BATCH: (usize, usize) = (1 << 20, 10_000);

/// Writes `pin.jsonl`, `geo.jsonl` and `user.jsonl` with so many lines in all.
pub fn demo(dir: &Path, records: u64, seed: u64) -> Result<(), Failure> {
    let writing = |e: &std::io::Error| Failure::io(format!("writing to {}", dir.display()), e);
    std::fs::create_dir_all(dir).map_err(|e| writing(&e))?;
    let indexes = (records / 3 * INDEXES).max(1);
    let config = Source {
        name: "demo".into(),
        kind: SourceKind::Demo(Demo {
            seed,
            rate: Rate::Max(10_000.0),
            indexes,
            records: Some(records),
        }),
        routes: Vec::new(),
    };
    let failed =
        |e: source::SourceError| Failure::new(exit::SOFTWARE, format!("generating data: {e}"), "");
    // A clock that stands still: equal seeds give equal files.
    let clock: source::Clock = Arc::new(|| 1_700_000_000_000_000);
    let mut demo = source::build(&config, true, clock).map_err(failed)?;
    for found in demo.discover().map_err(failed)?.found {
        let path = dir.join(format!("{}.jsonl", found.name));
        let mut out = BufWriter::new(File::create(path).map_err(|e| writing(&e))?);
        let mut reader = demo.open(&found.name, 0, found.start).map_err(failed)?;
        while let Read::Batch(batch) = reader.read(BATCH.0, BATCH.1).map_err(failed)? {
            for n in 0..batch.spans.len() {
                let payload = batch.payload(n);
                // A line is a message: one with line ends of its own would be several.
                if !payload.contains(&b'\n') {
                    out.write_all(payload)
                        .and_then(|()| out.write_all(b"\n"))
                        .map_err(|e| writing(&e))?;
                }
            }
        }
        out.flush().map_err(|e| writing(&e))?;
    }
    Ok(())
}

/// The bytes of all files below a folder.
pub fn bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let one = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_files() {
        let (a, b) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
        for dir in [&a, &b] {
            demo(dir.path(), 3000, 5).expect("written");
        }
        for name in ["pin", "geo", "user"] {
            let read =
                |dir: &Path| std::fs::read(dir.join(format!("{name}.jsonl"))).expect("there");
            let text = read(a.path());
            assert_eq!(text, read(b.path()));
            let lines = String::from_utf8_lossy(&text).lines().count();
            assert!((990..=1000).contains(&lines), "{name}: {lines}");
        }
        assert!(bytes(a.path()) > 100_000);
    }
}
