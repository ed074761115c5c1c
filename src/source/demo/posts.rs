//! The demo's rows for who asks for them by number: post after post instead of stream after
//! stream.
//!
//! Promises: equal seeds and set sizes give equal rows; the three records of a post are about
//! the same index. A row may be spoiled as a real one: then it may name none.

use dataflows::record::Stream;

use super::visit::{self, Visit};
use super::world::World;
use super::{dirt, rows};

/// The demo as posts.
#[derive(Debug)]
pub struct Posts(World);

impl Posts {
    /// The posts of a seed over a closed set of so many indexes.
    pub fn new(seed: u64, indexes: u64) -> Self {
        Posts(World::new(seed, indexes))
    }

    /// Writes a stream's record of the n-th post, dirt included; returns the post's index.
    pub fn record(&self, stream: Stream, n: u64, out: &mut Vec<u8>) -> u64 {
        let (stream, start) = (stream as usize, out.len());
        let visit = visit::visit(&self.0, stream, n);
        rows::row(&self.0, stream, visit, out);
        dirt::spoil(&self.0, stream, n, start, out);
        visit.index
    }

    /// Writes a stream's row of an index as it was before any amendment.
    pub fn row(&self, stream: Stream, index: u64, out: &mut Vec<u8>) {
        rows::row(&self.0, stream as usize, Visit { index, edition: 0 }, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_of_a_post_are_about_one_index() {
        let posts = Posts::new(7, 1000);
        let mut named = 0;
        for n in 0..300 {
            let mut indexes = Vec::new();
            for stream in Stream::ALL {
                let mut out = Vec::new();
                let index = posts.record(stream, n, &mut out);
                indexes.push(index);
                let text = String::from_utf8_lossy(&out);
                named += usize::from(text.contains(&format!(":{index},")));
                assert!(!out.contains(&b'\n'), "a record is a line");
                let mut again = Vec::new();
                posts.record(stream, n, &mut again);
                assert_eq!(out, again);
            }
            assert!(indexes.iter().all(|i| *i == indexes[0]));
        }
        assert!(named > 850, "{named} of 900 rows name their index");
        let mut row = Vec::new();
        posts.row(Stream::User, 12_345, &mut row);
        assert!(String::from_utf8_lossy(&row).contains(":12345,"));
    }
}
