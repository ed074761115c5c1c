//! How a file begins, which tells it from others.
//!
//! Promises: it stays what it was when the file was first seen, however the file grows.

use std::fs::File as Disk;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of a file's head that tell it from others.
const HEAD: u64 = 1024;

/// With fewer another file may begin the same, by chance or with the same first line.
const TELLING: u64 = 64;

/// The first bytes of a file, as their number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head(u64, u64);

impl Head {
    /// The head of an open file of so many bytes.
    pub fn of(file: &Disk, size: u64) -> io::Result<Self> {
        let mut bytes = vec![0; size.min(HEAD) as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Head(bytes.len() as u64, xxh3_64(&bytes)))
    }

    /// Whether it is long enough to know a file by it alone.
    pub fn tells(self) -> bool {
        self.0 >= TELLING
    }

    /// Whether an open file still begins like this.
    pub fn fits(self, file: &Disk) -> io::Result<bool> {
        let mut bytes = [0; HEAD as usize];
        let bytes = &mut bytes[..self.0.min(HEAD) as usize];
        match file.read_exact_at(bytes, 0) {
            Ok(()) => Ok(xxh3_64(bytes) == self.1),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}
