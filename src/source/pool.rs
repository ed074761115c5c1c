//! Blocks of bytes that are used again once nobody holds them: a reader that keeps up needs no
//! new memory and touches no new pages.
//!
//! Promises: a block that is handed out is nobody else's.
//! Limits: at most [`KEPT`] blocks of [`HELD`] bytes together are remembered.

use std::sync::Arc;

use dataflows::batch::Block;

/// Blocks remembered: a reader's share of what is under way at a time.
const KEPT: usize = 32;
/// Bytes remembered; a block that alone is larger was for one long message and is not kept.
const HELD: usize = 8 << 20;

/// The blocks that one reader handed out lately.
#[derive(Debug, Default)]
pub struct Pool(Vec<Block>);

impl Pool {
    /// An empty buffer of at least so many bytes.
    pub fn take(&mut self, capacity: usize) -> Vec<u8> {
        let fits = capacity..=capacity.saturating_mul(4);
        let free = |b: &Block| Arc::strong_count(&b.0) == 1 && fits.contains(&b.0.capacity());
        // The latest, which the processor's caches may still hold.
        let place = self.0.iter().rposition(free);
        let block = place.and_then(|n| Arc::try_unwrap(self.0.remove(n).0).ok());
        let mut bytes = block.unwrap_or_else(|| Vec::with_capacity(capacity));
        bytes.clear();
        bytes
    }

    /// A filled buffer as a block.
    pub fn give(&mut self, bytes: Vec<u8>) -> Block {
        let size = bytes.capacity();
        let block = Block(Arc::new(bytes));
        if size > HELD {
            return block;
        }
        while self.0.len() >= KEPT || self.held() + size > HELD {
            self.0.remove(0);
        }
        self.0.push(block.clone());
        block
    }

    fn held(&self) -> usize {
        self.0.iter().map(|b| b.0.capacity()).sum()
    }

    /// Gives all memory back; for a reader that waits.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_only_when_it_is_let_go() {
        let mut pool = Pool::default();
        let mut bytes = pool.take(1000);
        bytes.extend_from_slice(b"abc");
        let held = pool.give(bytes);
        let place = held.0.as_ptr();
        let other = pool.take(1000);
        assert_ne!(other.as_ptr(), place);
        assert_eq!(&**held.0, b"abc");
        drop(held);
        let again = pool.take(1000);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        let other = pool.take(1000);
        assert_ne!(other.as_ptr(), place);
    }
}
