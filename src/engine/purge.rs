//! Memory that is free in the allocator, back to the system.
//!
//! mimalloc gives pages back a second after they became free, but only when it is called: it
//! collects once in ten thousand allocations of a thread that are not small. A thread that waits
//! makes none, so what an epoch left free stays with the process for as long as nothing is read.
//! There is no safe call that collects; this makes the allocations.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Allocations after which the allocator collects, and their size: above what it calls small.
const ALLOCATIONS: usize = 10_000;
const BYTES: usize = 2048;
/// How often at most; it takes less than a millisecond.
const EVERY: Duration = Duration::from_millis(250);

/// One thread's share of giving memory back.
#[derive(Default)]
pub struct Purge {
    last: Option<Instant>,
}

impl Purge {
    /// Has the allocator give back what is free, if it is time.
    pub fn look(&mut self) {
        if self.last.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        for _ in 0..ALLOCATIONS {
            drop(black_box(Vec::<u8>::with_capacity(black_box(BYTES))));
        }
    }
}
