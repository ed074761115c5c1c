//! Files of lines, read a part at a time: what is whole in them, and the sum of its hashes.

use std::io;

use xxhash_rust::xxh3::xxh3_64;

use super::disk::DiskFile;

/// How many bytes are read at a time.
const READ: usize = 1 << 16;

/// The length of the whole lines in the first `size` bytes, and the sum of their hashes.
pub fn whole_lines(file: Option<&dyn DiskFile>, size: u64) -> io::Result<(u64, u64)> {
    let (mut whole, mut sum) = (0, 0_u64);
    if let Some(file) = file {
        each_line(file, size, |line| {
            if line.ends_with(b"\n") {
                whole += line.len() as u64;
                sum = sum.wrapping_add(xxh3_64(line));
            }
            Ok(())
        })?;
    }
    Ok((whole, sum))
}

/// Hands the lines of the first `len` bytes to `each`, with their ends.
pub fn each_line(
    file: &dyn DiskFile,
    len: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut at, mut held) = (0, Vec::new());
    while at < len {
        let mut part = vec![0; (len - at).min(READ as u64) as usize];
        file.read_at(&mut part, at)?;
        at += part.len() as u64;
        let mut rest = &part[..];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            held.extend_from_slice(&rest[..=end]);
            each(&held)?;
            held.clear();
            rest = &rest[end + 1..];
        }
        held.extend_from_slice(rest);
    }
    if held.is_empty() { Ok(()) } else { each(&held) }
}
