//! Slots as they were written before: the entries of a block packed, its hashes of eight bytes.
//! For tests of states that were written so.

use std::cell::Cell;
use std::io;

use super::{Builder, CHUNK_HEADER, Section};

thread_local! {
    /// Whether this thread writes them so.
    pub(in crate::store) static ON: Cell<bool> = const { Cell::new(false) };
}

/// The parts of a block as they were, if they are to be written so.
pub(super) fn parts([entries, hashes]: [&[u8]; 2]) -> Option<[Vec<u8>; 2]> {
    if !ON.get() || entries.is_empty() {
        return None;
    }
    // What is left is the tail.
    let (hashes, _) = hashes.as_chunks::<6>();
    let mut wide: Vec<u8> = hashes.iter().flat_map(|h| [h, &[0; 2][..]].concat()).collect();
    wide.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    Some([entries.to_vec(), wide])
}

impl Builder {
    /// Appends a chunk whose first part is packed.
    pub(super) fn chunk_before(
        &mut self,
        section: Section,
        [first, second]: [Vec<u8>; 2],
    ) -> io::Result<()> {
        let from = self.bytes.len() + CHUNK_HEADER;
        self.chunk(section, &first)?;
        self.bytes[from - 4..from].copy_from_slice(&(second.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&second);
        Ok(())
    }
}
