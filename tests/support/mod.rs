//! What the process tests share: running the real binary, reading what it wrote, reading files
//! as the oracle sees them.

#![allow(dead_code)]

pub mod compare;
pub mod declare;
pub mod generate;
pub mod golden;
pub mod http;
pub mod metrics;
pub mod port;
pub mod process;
pub mod room;
pub mod table;
pub mod wire;

use std::path::{Path, PathBuf};

/// A folder of the sample data that is committed with the tests.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A file of `config/`.
pub fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// The folder that an environment variable names, or a committed one.
pub fn folder(variable: &str, committed: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| data(committed), PathBuf::from)
}

/// A number that an environment variable gives, or a default.
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Small seeded random numbers (xorshift64*), so that a failure can be repeated.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.bits() >> 11) % bound
    }

    /// Whether something of this chance in a thousand happens.
    pub fn chance(&mut self, of_thousand: u64) -> bool {
        self.below(1000) < of_thousand
    }

    /// One of a list.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}
